//! The commands a simulated machine understands: what the coordinator runs on a VM, and little else.
//!
//! | command | does |
//! |---|---|
//! | `true`, `echo …`, `sleep N`, `uptime` | what they always do |
//! | `hostname`, `nproc`, `free`, `df`, `top`, `cat` and `head` of `/proc` | figures that agree with each other |
//! | `systemctl is-active UNIT` | prints and tells by its status |
//! | `systemctl show\|status\|cat UNIT …`, `journalctl -u UNIT` | what systemd would say |
//! | `systemctl start\|stop\|restart UNIT` | starts and stops the simulated process |
//! | `systemctl kill [-s SIG] UNIT` | signals it: `KILL` ends even a hung studio, `STOP` hangs it |
//! | `pgrep -x obs`, `pkill [-SIG] [-x] obs` | finds or signals the studio |
//! | `timeout N bash -c '… /dev/tcp/"$0"/"$1"' HOST PORT` | connects from the machine, if `HOST` is on loopback |
//! | `find`, `cp`, `rm` and others | look at and change the machine's files: see [`files`] |
//! | `git`, `npm` | succeed in silence: there are no checkouts here |
//! | `sh -c LINE` | runs the line, if it is one plain command |
//!
//! `sudo` in front makes it root's; `env` with `NAME=value` or `--chdir` changes nothing. Anything else is not found (127).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpSocket;

use super::super::machine::Shared;
use super::{figures, files, units, words};
use crate::domain::time::Timestamp;
use crate::sim::model::machine::disk::Who;
use crate::sim::model::machine::{Machine, Process, Service, Signal};

/// Process id of every simulated studio.
pub(super) const STUDIO_PID: u32 = 1_204;

/// What a command printed and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: u32,
}

impl Output {
    fn ok() -> Self {
        Self::default()
    }

    pub(super) fn printed(stdout: impl Into<String>, status: u32) -> Self {
        Self {
            stdout: stdout.into().into_bytes(),
            stderr: Vec::new(),
            status,
        }
    }

    pub(super) fn failed(stderr: impl Into<String>, status: u32) -> Self {
        Self {
            stdout: Vec::new(),
            stderr: stderr.into().into_bytes(),
            status,
        }
    }
}

/// Runs one command line.
pub(super) async fn run(machine: &Arc<Shared>, line: &str) -> Output {
    let words = match words::split(line) {
        Ok(words) => words,
        Err(error) => return Output::failed(format!("sh: 1: {error}\n"), 2),
    };
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut who = Who::User;
    while let Some(before) = prefix(&words) {
        if words[0] == "sudo" {
            who = Who::Root;
        }
        words.drain(..before);
    }
    if let Some(output) = files::run(machine, who, &words).await {
        return output;
    }
    match words.as_slice() {
        [] | ["true" | ":"] => Output::ok(),
        ["false"] => Output::printed("", 1),
        ["echo", rest @ ..] => Output::printed(format!("{}\n", rest.join(" ")), 0),
        // A line within a line within a line is nobody's.
        ["sh", "-c", line] if !line.starts_with("sh ") => Box::pin(run(machine, line)).await,
        ["sleep", seconds] => sleep(seconds).await,
        ["uptime", ..] => uptime(machine),
        ["hostname"] => figures::hostname(machine),
        ["nproc"] => figures::nproc(),
        ["head", "-n", "1", path] => figures::file(machine, path),
        ["free", options @ ..] => figures::free(options),
        ["df", rest @ ..] => figures::df(rest),
        ["top", ..] => figures::top(machine),
        ["journalctl", rest @ ..] => units::journal(machine, rest),
        ["git" | "npm", ..] => Output::ok(),
        ["systemctl", rest @ ..] => systemctl(machine, rest).await,
        ["pgrep", rest @ ..] => pgrep(machine, rest),
        ["pkill", rest @ ..] => pkill(machine, rest),
        ["timeout", limit, "bash", "-c", script, host, port] if script.contains("/dev/tcp/") => {
            connect(machine, limit, host, port).await
        }
        [name, ..] => Output::failed(format!("sh: 1: {name}: not found\n"), 127),
    }
}

async fn sleep(seconds: &str) -> Output {
    let span = seconds
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match span {
        Some(span) => {
            tokio::time::sleep(span).await;
            Output::ok()
        }
        None => Output::failed(format!("sleep: invalid time interval '{seconds}'\n"), 1),
    }
}

/// How many words of what is first in the line change nothing here; `None` if there are none.
fn prefix(words: &[&str]) -> Option<usize> {
    let counts = |count: fn(&&&str) -> bool| words[1..].iter().take_while(count).count();
    match *words.first()? {
        // So the shell becomes the command, and a signal finds it.
        "exec" if words.len() > 1 => Some(1),
        "sudo" => Some(1 + counts(|word| word.starts_with('-'))),
        "env" if words.len() > 1 => {
            Some(1 + counts(|word| word.starts_with("--chdir=") || word.contains('=')))
        }
        _ => None,
    }
}

fn uptime(machine: &Shared) -> Output {
    let up = machine.inspect(Machine::uptime).as_secs();
    let (hours, minutes) = (up / 3_600, up / 60 % 60);
    Output::printed(
        format!(" up {hours}:{minutes:02},  0 users,  load average: 0.42, 0.40, 0.38\n"),
        0,
    )
}

async fn systemctl(machine: &Arc<Shared>, words: &[&str]) -> Output {
    let words: Vec<&str> = words
        .iter()
        .copied()
        .filter(|w| !matches!(*w, "--quiet" | "-q" | "--user"))
        .collect();
    match words.as_slice() {
        ["show", rest @ ..] => units::show(machine, rest),
        ["status", rest @ ..] => units::status(machine, rest),
        ["cat", unit] => units::cat(unit),
        ["is-active", unit] => match Service::from_unit(unit) {
            None => Output::printed("inactive\n", 4),
            Some(service) => {
                let process = machine.inspect(|model, _| model.process(service));
                let status = if matches!(process, Process::Running | Process::Hung) {
                    0
                } else {
                    3
                };
                Output::printed(format!("{}\n", process.active_state()), status)
            }
        },
        ["start", unit] => with_unit(unit, |service| {
            machine.change(|model, now| model.start(service, now));
        }),
        [verb @ ("stop" | "restart"), unit] => {
            let Some(service) = Service::from_unit(unit) else {
                return not_loaded(unit);
            };
            let gone_at = machine.change(|model, now| match *verb {
                "stop" => model.stop(service, now),
                _ => model.restart(service, now),
            });
            until(machine, gone_at).await;
            Output::ok()
        }
        ["kill", options @ .., unit] => match signal_of(options) {
            Some(signal) => with_unit(unit, |service| {
                machine.change(|model, now| model.signal(service, signal, now));
            }),
            None => Output::failed(
                format!("Failed to parse signal string {}.\n", options.join(" ")),
                1,
            ),
        },
        _ => Output::failed(format!("Unknown command verb {}.\n", words.join(" ")), 1),
    }
}

fn not_loaded(unit: &str) -> Output {
    Output::failed(
        format!("Failed to act on {unit}.service: Unit {unit}.service not loaded.\n"),
        5,
    )
}

fn with_unit(unit: &str, act: impl FnOnce(Service)) -> Output {
    match Service::from_unit(unit) {
        Some(service) => {
            act(service);
            Output::ok()
        }
        None => not_loaded(unit),
    }
}

/// systemd waits for the process to be gone before it answers.
async fn until(machine: &Shared, at: Timestamp) {
    tokio::time::sleep_until(machine.clock().instant(at)).await;
}

/// The signal that options such as `-s KILL`, `--signal=SIGKILL` or `-9` ask for; `TERM` without any.
fn signal_of(options: &[&str]) -> Option<Signal> {
    let mut name = "TERM";
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match *option {
            "-s" | "--signal" => name = rest.next()?,
            "-x" | "-f" | "--kill-whom=all" | "--kill-who=all" | "--kill-whom=main" | "--kill-who=main" => {}
            other => {
                let signal = other.strip_prefix("--signal=");
                name = signal.or_else(|| other.strip_prefix('-'))?;
            }
        }
    }
    match name.strip_prefix("SIG").unwrap_or(name) {
        "TERM" | "15" | "INT" | "2" | "QUIT" | "3" | "HUP" | "1" => Some(Signal::Term),
        "KILL" | "9" => Some(Signal::Kill),
        "STOP" | "19" => Some(Signal::Stop),
        "CONT" | "18" => Some(Signal::Cont),
        _ => None,
    }
}

fn pgrep(machine: &Shared, words: &[&str]) -> Output {
    let is_there = machine.inspect(|model, _| model.studio_connected());
    if is_there && words.last() == Some(&"obs") {
        Output::printed(format!("{STUDIO_PID}\n"), 0)
    } else {
        Output::printed("", 1)
    }
}

fn pkill(machine: &Shared, words: &[&str]) -> Output {
    let Some((&"obs", options)) = words.split_last() else {
        return Output::printed("", 1);
    };
    let Some(signal) = signal_of(options) else {
        return Output::failed("pkill: unknown signal\n", 2);
    };
    let found = machine.change(|model, now| model.signal(Service::Studio, signal, now));
    Output::printed("", u32::from(!found))
}

/// Opens a TCP connection from the machine's own address.
async fn connect(machine: &Shared, limit: &str, host: &str, port: &str) -> Output {
    let Ok(limit_s) = limit.trim_end_matches('s').parse::<f64>() else {
        return Output::failed(format!("timeout: invalid time interval '{limit}'\n"), 125);
    };
    let limit = Duration::try_from_secs_f64(limit_s).unwrap_or(Duration::from_secs(3_600));
    let complain = |why: &str| {
        let place = format!("/dev/tcp/{host}/{port}");
        Output::failed(format!("bash: connect: {why}\nbash: line 1: {place}: {why}\n"), 1)
    };
    let address = match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST),
        other => other.parse().ok(),
    };
    let (Some(address), Ok(port)) = (address, port.parse::<u16>()) else {
        return complain("Name or service not known");
    };
    if !address.is_loopback() {
        return complain("Network is unreachable");
    }
    let attempt = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(machine.address()), 0))?;
        socket.connect(SocketAddr::from((address, port))).await
    };
    match tokio::time::timeout(limit, attempt).await {
        Ok(Ok(_)) => Output::ok(),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            complain("Connection refused")
        }
        Ok(Err(_)) => complain("No route to host"),
        // As `timeout` reports it.
        Err(_) => Output::printed("", 124),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_understood_in_every_usual_form() {
        for options in [
            &["-s", "KILL"][..],
            &["--signal=SIGKILL"],
            &["-9"],
            &["-KILL", "-x"],
        ] {
            assert_eq!(signal_of(options), Some(Signal::Kill), "{options:?}");
        }
        assert_eq!(signal_of(&[]), Some(Signal::Term));
        assert_eq!(signal_of(&["-s", "NONSENSE"]), None);
    }
}
