//! The machines of the pool: which of their ports can be reached from here, whether they take the key, what time they have.
//!
//! A port that refuses has a machine behind it and no service; one that is silent has a wall before it, or no machine.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use tokio::net::TcpStream;

use super::clock::{self, Whose};
use super::finding::Finding;
use super::key::Key;
use crate::config::{Address, Config, ObsVia};
use crate::domain::instance::{Instance, InstanceState};
use crate::infra::ssh::{self, Connector as _, Exec, Exit, Session};

/// Limit on connecting to a port. The pool's machines are near.
const CONNECT: Duration = Duration::from_secs(3);
/// Limit on logging in, on top.
const LOG_IN_MAX: Duration = Duration::from_secs(6);
/// Limit on a command, and on a tunnel.
const COMMAND: Duration = Duration::from_secs(4);
/// Machines that are looked at side by side.
const AT_ONCE: usize = 64;
const OUTPUT_BYTES_MAX: usize = 256;

/// How a port answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Port {
    Open,
    Refused,
    Silent,
    Unreachable(String),
}

impl Port {
    fn told(&self, service: &str) -> String {
        match self {
            Self::Open => format!("{service} is open"),
            Self::Refused => format!("{service} is refused"),
            Self::Silent => format!("{service} is silent"),
            Self::Unreachable(why) => format!("{service} cannot be reached ({why})"),
        }
    }
}

/// Looks at every running machine until `deadline`.
pub async fn look(
    config: &Config,
    instances: &[Instance],
    key: &Key,
    deadline: tokio::time::Instant,
) -> Vec<Finding> {
    let running: Vec<&Instance> = instances
        .iter()
        .filter(|instance| instance.state == InstanceState::Running)
        .collect();
    let others = instances.len() - running.len();
    let looks = running.into_iter().map(|instance| async move {
        let name = named(instance);
        let looked = tokio::time::timeout_at(deadline, machine(config, instance, &name, key)).await;
        looked.unwrap_or_else(|_| {
            vec![Finding::skipped(
                format!("machine {name}"),
                "there was no time left for it",
            )]
        })
    });
    let mut findings: Vec<Finding> = futures_util::stream::iter(looks)
        .buffered(AT_ONCE)
        .collect::<Vec<_>>()
        .await
        .concat();
    if others > 0 {
        let why = format!("{others} are not running, and were not looked at");
        findings.push(Finding::skipped("machines", why));
    }
    findings
}

/// As people know it.
fn named(instance: &Instance) -> String {
    match instance.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{} ({name})", instance.instance_id),
        None => instance.instance_id.to_string(),
    }
}

async fn machine(config: &Config, instance: &Instance, name: &str, key: &Key) -> Vec<Finding> {
    let (ip, which) = match config.cloud.address {
        Address::Public => (instance.public_ip, "public"),
        Address::Private => (instance.private_ip, "private"),
    };
    let Some(ip) = ip else {
        let advice = format!("give it one, or set cloud.address to the kind that it has (it is \"{which}\")");
        let detail = format!("it runs and has no {which} address");
        return vec![Finding::fail(format!("machine {name}"), detail, advice)];
    };
    let address = |port| SocketAddr::new(ip, port);
    let (shell, server) = tokio::join!(
        port(address(config.vm.ssh_port)),
        port(address(config.vm.service_port))
    );
    let mut findings = Vec::new();
    let mut ports = vec![(format!("show server (port {})", config.vm.service_port), server)];
    if let Key::Usable(connector) = key {
        ports.insert(0, (format!("SSH (port {})", config.vm.ssh_port), shell.clone()));
        if shell == Port::Open {
            let session = log_in(config, instance, address(config.vm.ssh_port), connector).await;
            findings.extend(logged_in(name, &config.ssh.user, &session));
            if let Ok(session) = &session {
                findings.push(its_clock(name, session).await);
                if config.obs.enabled && through_ssh(config) {
                    let to = SocketAddr::new(config.obs.tunnel_address.unwrap_or(ip), config.vm.obs_port);
                    ports.push((
                        format!("OBS (port {} through SSH)", to.port()),
                        tunnel(session, to).await,
                    ));
                }
                session.close().await;
            }
        }
    }
    if config.obs.enabled && !through_ssh(config) {
        let obs = port(address(config.vm.obs_port)).await;
        ports.push((format!("OBS (port {})", config.vm.obs_port), obs));
    }
    findings.insert(0, judge_ports(name, ip, &ports));
    findings
}

fn through_ssh(config: &Config) -> bool {
    match config.obs.via {
        ObsVia::Direct => false,
        ObsVia::Ssh => true,
        ObsVia::Auto => config.ssh.enabled,
    }
}

async fn port(address: SocketAddr) -> Port {
    match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Port::Open,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Port::Refused,
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Port::Silent,
        Ok(Err(error)) => Port::Unreachable(error.to_string()),
        Err(_) => Port::Silent,
    }
}

fn judge_ports(name: &str, ip: IpAddr, ports: &[(String, Port)]) -> Finding {
    let check = format!("ports of {name}");
    let told: Vec<String> = ports.iter().map(|(service, port)| port.told(service)).collect();
    let detail = format!("{ip}: {}", told.join(", "));
    let that_are = |wanted: &Port| {
        let services = ports.iter().filter(|(_, port)| port == wanted);
        services
            .map(|(service, _)| service.as_str())
            .collect::<Vec<_>>()
            .join(" and ")
    };
    if ports.iter().all(|(_, port)| *port == Port::Open) {
        return Finding::pass(check, detail);
    }
    let advice = if ports
        .iter()
        .all(|(_, port)| matches!(port, Port::Silent | Port::Unreachable(_)))
    {
        "nothing of it answers: see that its security group lets this machine in and that there is a route, then that the \
         machine itself is up (its status checks)"
            .to_owned()
    } else if ports.iter().any(|(_, port)| *port == Port::Silent) {
        format!(
            "let this machine in to {} in its security group",
            that_are(&Port::Silent)
        )
    } else if ports.iter().any(|(_, port)| *port == Port::Refused) {
        format!(
            "the machine is up and nothing listens there: start {}",
            that_are(&Port::Refused)
        )
    } else {
        "see that there is a route from here".to_owned()
    };
    Finding::fail(check, detail, advice)
}

async fn log_in(
    config: &Config,
    instance: &Instance,
    address: SocketAddr,
    connector: &ssh::RusshConnector,
) -> Result<Arc<dyn Session>, ssh::Error> {
    connector
        .connect(&ssh::Endpoint {
            address,
            host: instance.instance_id.to_string(),
            connect_deadline: config.ssh.connect_deadline.min(LOG_IN_MAX),
        })
        .await
}

fn logged_in(name: &str, user: &str, session: &Result<Arc<dyn Session>, ssh::Error>) -> Option<Finding> {
    let check = format!("login to {name}");
    let Err(error) = session else {
        return Some(Finding::pass(check, format!("it takes the key for {user}")));
    };
    let advice = match error {
        ssh::Error::AuthFailed { .. } => format!(
            "put the key's public half into ~{user}/.ssh/authorized_keys on it, or set ssh.key_path and ssh.user to what it \
             knows"
        ),
        ssh::Error::HostKeyChanged { .. } => {
            "if the machine was replaced on purpose, remove its pin (ssh.pins_path) or its line in known_hosts; else somebody \
             else answers there"
                .to_owned()
        }
        ssh::Error::HostKeyUnknown { .. } | ssh::Error::HostCertificate { .. } => {
            "add the machine's host key or certificate to what ssh.host_keys names".to_owned()
        }
        // Said once, of the key.
        ssh::Error::BadKey(_) | ssh::Error::KeyUnavailable(_) => return None,
        ssh::Error::Refused
        | ssh::Error::TimedOut(_)
        | ssh::Error::Unreachable(_)
        | ssh::Error::HostKeyStore(_)
        | ssh::Error::BadCommand(_)
        | ssh::Error::Busy
        | ssh::Error::Stubborn
        | ssh::Error::NotRunning
        | ssh::Error::NotListening(_)
        | ssh::Error::ForwardingForbidden(_)
        | ssh::Error::Closed
        | ssh::Error::Protocol(_) => "see what its SSH server says (journalctl -u ssh)".to_owned(),
    };
    Some(Finding::fail(check, error.to_string(), advice))
}

async fn its_clock(name: &str, session: &Arc<dyn Session>) -> Finding {
    let check = format!("clock of {name}");
    let (before, began) = (SystemTime::now(), Instant::now());
    let asked = session
        .exec(&Exec {
            argv: vec!["date".to_owned(), "+%s.%N".to_owned()],
            deadline: COMMAND,
            output_bytes_max: OUTPUT_BYTES_MAX,
        })
        .await;
    let took = began.elapsed();
    let finished = match asked {
        Ok(finished) if finished.exit == Exit::Status(0) => finished,
        Ok(_) => return Finding::skipped(check, "its `date` does not say"),
        Err(error) => return Finding::skipped(check, error.to_string()),
    };
    let seconds = String::from_utf8_lossy(&finished.stdout).trim().parse().ok();
    let theirs = seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|since| UNIX_EPOCH.checked_add(since));
    match theirs {
        Some(theirs) => clock::judge(check, Whose::Theirs, clock::ahead(theirs, before, took)),
        None => Finding::skipped(check, "its `date` says no time"),
    }
}

async fn tunnel(session: &Arc<dyn Session>, to: SocketAddr) -> Port {
    match session.tunnel(to, COMMAND).await {
        Ok(_) => Port::Open,
        Err(ssh::Error::NotListening(_)) => Port::Refused,
        Err(ssh::Error::TimedOut(_)) => Port::Silent,
        Err(error) => Port::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn judged(ports: &[Port]) -> Finding {
        let services = ["SSH (port 22)", "show server (port 3003)"];
        let ports: Vec<(String, Port)> = services
            .into_iter()
            .map(str::to_owned)
            .zip(ports.iter().cloned())
            .collect();
        judge_ports("i-1 (studio)", IpAddr::from([10, 0, 0, 4]), &ports)
    }

    #[test]
    fn a_wall_is_told_from_a_dead_service_and_from_a_dead_machine() {
        assert_eq!(judged(&[Port::Open, Port::Open]).verdict, Verdict::Pass);
        let advice = |ports: &[Port]| judged(ports).advice.unwrap();
        let walled = advice(&[Port::Open, Port::Silent]);
        assert!(
            walled.contains("show server (port 3003) in its security group"),
            "{walled}"
        );
        let dead = advice(&[Port::Open, Port::Refused]);
        assert!(dead.contains("start show server (port 3003)"), "{dead}");
        let off = advice(&[Port::Silent, Port::Silent]);
        assert!(off.contains("nothing of it answers"), "{off}");
    }
}
