//! Values that are fine alone and wrong together.

use std::time::Duration;

use super::error::Conflict;
use super::machines::{HostKeys, ObsVia, Provider};
use super::server::{Auth, is_loopback};
use super::source::Warning;
use super::{Config, span};

/// Every contradiction in `config`, in the order of the reference.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut found = Vec::new();
    access(config, &mut found);
    counts(config, &mut found);
    coordinator_spans(config, &mut found);
    link_spans(config, &mut found);
    cloud_and_vm(config, &mut found);
    ssh(config, &mut found);
    found
}

/// What is legal but probably not meant.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let server = &config.server;
    let mut found = Vec::new();
    match server.auth {
        Auth::Compat => {
            found.push(Warning::Compat {
                listen: server.listen,
            });
            if server.admin_token.is_none() {
                found.push(Warning::NoAdminToken);
            }
        }
        Auth::Open | Auth::Required => {}
    }
    if !config.ssh.enabled {
        found.push(Warning::NoSsh);
    }
    if config.cloud.provider == Provider::Ec2 && config.cloud.ami_id.is_none() {
        found.push(Warning::NoImage);
    }
    found
}

fn access(config: &Config, found: &mut Vec<Conflict>) {
    let server = &config.server;
    if server.auth == Auth::Open && !is_loopback(server.listen) {
        found.push(Conflict {
            keys: vec!["server.auth", "server.listen"],
            message: format!(
                "server.auth = \"open\" lets everybody do everything, so it is refused on {}, which other machines can \
                 reach: listen on 127.0.0.1, or set server.auth to \"required\" or \"compat\"",
                server.listen
            ),
        });
    }
    if server.auth == Auth::Required && server.admin_token.is_none() {
        found.push(Conflict {
            keys: vec!["server.auth", "server.listen"],
            message: "server.auth = \"required\" without an admin token would refuse everybody: set \
                      COORDINATOR_ADMIN_TOKEN, or name a file that holds the token in server.admin_token_file"
                .to_owned(),
        });
    }
    if server.auth == Auth::Required && server.cors_origins.iter().any(|origin| origin == "*") {
        found.push(Conflict {
            keys: vec!["server.cors_origins", "server.auth"],
            message: "server.cors_origins must list origins by name where server.auth = \"required\": with \"*\" any \
                      web page could call with a token it got hold of"
                .to_owned(),
        });
    }
}

fn counts(config: &Config, found: &mut Vec<Conflict>) {
    let Config {
        server, ledger, pool, ..
    } = config;
    for (small, large, reason) in [
        (
            ("server.sockets_max", server.sockets_max),
            ("server.connections_max", server.connections_max),
            "every Socket.IO client holds a connection",
        ),
        (
            ("ledger.batch_max", ledger.batch_max),
            ("ledger.queue_max", ledger.queue_max),
            "a batch is taken from the queue",
        ),
        (
            ("pool.warm_count", pool.warm_count as usize),
            ("pool.max_instances", pool.max_instances as usize),
            "the warm target could never be met",
        ),
        (
            ("pool.max_concurrent", pool.max_concurrent as usize),
            ("pool.max_instances", pool.max_instances as usize),
            "every show needs an instance",
        ),
    ] {
        if small.1 > large.1 {
            found.push(Conflict {
                keys: vec![small.0, large.0],
                message: format!(
                    "{} = {} is more than {} = {}: {reason}",
                    small.0, small.1, large.0, large.1
                ),
            });
        }
    }
}

type Named = (&'static str, Duration);

fn coordinator_spans(config: &Config, found: &mut Vec<Conflict>) {
    let Config {
        server,
        ledger,
        pool,
        cloud,
        probe,
        supervision,
        ..
    } = config;
    ordered(
        found,
        &[
            (
                ("ledger.commit_deadline", ledger.commit_deadline),
                ("server.request_timeout", server.request_timeout),
                "a request waits for its commit",
            ),
            (
                ("pool.warmup_time", pool.warmup_time),
                ("pool.start_timeout", pool.start_timeout),
                "every start would be estimated to fail",
            ),
            (
                ("probe.deadline", probe.deadline),
                ("pool.health_check_interval", pool.health_check_interval),
                "a probe would run into the next one",
            ),
            (
                ("probe.deadline_on_air", probe.deadline_on_air),
                ("probe.interval_on_air", probe.interval_on_air),
                "a probe would run into the next one",
            ),
            (
                ("probe.interval_on_air", probe.interval_on_air),
                ("pool.health_check_interval", pool.health_check_interval),
                "a VM on air is watched at least as closely as an idle one",
            ),
            (
                ("cloud.connect_timeout", cloud.connect_timeout),
                ("cloud.attempt_timeout", cloud.attempt_timeout),
                "connecting is part of an attempt",
            ),
            (
                ("cloud.read_timeout", cloud.read_timeout),
                ("cloud.attempt_timeout", cloud.attempt_timeout),
                "reading is part of an attempt",
            ),
            (
                ("cloud.attempt_timeout", cloud.attempt_timeout),
                ("cloud.operation_timeout", cloud.operation_timeout),
                "an attempt is part of an operation",
            ),
            (
                ("cloud.backoff_initial", cloud.backoff_initial),
                ("cloud.backoff_max", cloud.backoff_max),
                "back-off grows",
            ),
            (
                ("supervision.backoff_initial", supervision.backoff_initial),
                ("supervision.backoff_max", supervision.backoff_max),
                "back-off grows",
            ),
        ],
    );
}

fn link_spans(config: &Config, found: &mut Vec<Conflict>) {
    let Config {
        obs, ssh, failover, ..
    } = config;
    ordered(
        found,
        &[
            (
                ("obs.poll_on_air", obs.poll_on_air),
                ("obs.poll", obs.poll),
                "a studio on air is watched at least as closely as an idle one",
            ),
            (
                ("obs.reconnect_initial", obs.reconnect_initial),
                ("obs.reconnect_max", obs.reconnect_max),
                "back-off grows",
            ),
            (
                ("obs.capture_debounce", obs.capture_debounce),
                ("obs.capture_interval", obs.capture_interval),
                "a capture would never be allowed to start",
            ),
            (
                ("ssh.keepalive_on_air", ssh.keepalive_on_air),
                ("ssh.keepalive", ssh.keepalive),
                "a VM on air is watched at least as closely as an idle one",
            ),
            (
                ("failover.fence_obs_deadline", failover.fence_obs_deadline),
                ("failover.fence_deadline", failover.fence_deadline),
                "it is a part of the fence",
            ),
            (
                ("failover.fence_ssh_deadline", failover.fence_ssh_deadline),
                ("failover.fence_deadline", failover.fence_deadline),
                "it is a part of the fence",
            ),
        ],
    );
    let looks = obs.poll_on_air.saturating_mul(2);
    if failover.silence_limit < looks {
        found.push(Conflict {
            keys: vec!["failover.silence_limit", "obs.poll_on_air"],
            message: format!(
                "failover.silence_limit = {} is shorter than twice obs.poll_on_air = {}: silence is two looks at the \
                 output that saw no rise",
                span::show(failover.silence_limit),
                span::show(obs.poll_on_air)
            ),
        });
    }
}

/// The shorter one, the longer one, and why it cannot be the other way round.
fn ordered(found: &mut Vec<Conflict>, pairs: &[(Named, Named, &str)]) {
    for ((short, least), (long, most), reason) in pairs {
        if least > most {
            found.push(Conflict {
                keys: vec![short, long],
                message: format!(
                    "{short} = {} is longer than {long} = {}: {reason}",
                    span::show(*least),
                    span::show(*most)
                ),
            });
        }
    }
}

fn cloud_and_vm(config: &Config, found: &mut Vec<Conflict>) {
    let Config { cloud, vm, .. } = config;
    if cloud.provider == Provider::Rest && cloud.endpoint_url.is_none() {
        found.push(Conflict {
            keys: vec!["cloud.provider", "cloud.endpoint_url"],
            message: "cloud.provider = \"rest\" needs cloud.endpoint_url".to_owned(),
        });
    }
    let ports = [
        ("vm.service_port", vm.service_port),
        ("vm.obs_port", vm.obs_port),
        ("vm.ssh_port", vm.ssh_port),
    ];
    for (index, (key, port)) in ports.iter().enumerate() {
        for (other, _) in ports
            .iter()
            .skip(index + 1)
            .filter(|(_, other_port)| other_port == port)
        {
            found.push(Conflict {
                keys: vec![key, other],
                message: format!(
                    "{key} and {other} are both {port}: two services of a VM cannot share a port"
                ),
            });
        }
    }
}

fn ssh(config: &Config, found: &mut Vec<Conflict>) {
    let ssh = &config.ssh;
    let sources = ssh.key_sources();
    if ssh.enabled && sources.is_empty() {
        found.push(Conflict {
            keys: vec!["ssh.enabled", "ssh.key_path"],
            message: "ssh.enabled = true needs ssh.key_path or another source of the private key".to_owned(),
        });
    }
    if sources.len() > 1 {
        found.push(Conflict {
            message: format!(
                "{} each give a private key: keep one of them, so that it is certain which key is used",
                sources.join(" and ")
            ),
            keys: sources,
        });
    }
    if config.archive.bucket.is_some() && !ssh.enabled {
        found.push(Conflict {
            keys: vec!["archive.bucket", "ssh.enabled"],
            message:
                "archive.bucket needs an SSH connection to every VM, to read its recordings: set ssh.key_path"
                    .to_owned(),
        });
    }
    if config.obs.enabled && config.obs.via == ObsVia::Ssh && !ssh.enabled {
        found.push(Conflict {
            keys: vec!["obs.via", "ssh.enabled"],
            message: "obs.via = \"ssh\" needs an SSH connection to every VM: set ssh.key_path, or obs.via to \"direct\""
                .to_owned(),
        });
    }
    let by_authority = ssh.host_keys == HostKeys::Authority;
    if by_authority && ssh.enabled && ssh.host_ca_path.is_none() {
        found.push(Conflict {
            keys: vec!["ssh.host_keys", "ssh.host_ca_path"],
            message: "ssh.host_keys = \"ca\" needs ssh.host_ca_path".to_owned(),
        });
    }
    if !by_authority && ssh.host_ca_path.is_some() {
        found.push(Conflict {
            keys: vec!["ssh.host_ca_path", "ssh.host_keys"],
            message: "ssh.host_ca_path is for ssh.host_keys = \"ca\" alone, and would be left out of account"
                .to_owned(),
        });
    }
    if ssh.enabled && ssh.host_keys == HostKeys::KnownHosts && ssh.known_hosts_path.is_none() {
        found.push(Conflict {
            keys: vec!["ssh.host_keys", "ssh.known_hosts_path"],
            message: "ssh.host_keys = \"known_hosts\" needs ssh.known_hosts_path".to_owned(),
        });
    }
}
