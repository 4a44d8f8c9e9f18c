//! The commands a simulated machine understands: what the coordinator runs on a VM, and little else.
//!
//! [`run()`] does at once what a command does. What takes time comes out as a [`Run`], for a front to wait.
//!
//! | command | does |
//! |---|---|
//! | `true`, `echo …`, `sleep N`, `uptime` | what they always do |
//! | `date +%s.%N` | the machine's own clock, which may be wrong |
//! | `hostname`, `nproc`, `free`, `df`, `top`, `cat` and `head` of `/proc` | figures that agree with each other |
//! | `systemctl is-active UNIT` | prints and tells by its status |
//! | `systemctl show\|status\|cat UNIT …`, `journalctl -u UNIT` | what systemd would say |
//! | `systemctl start\|stop\|restart UNIT` | starts and stops the simulated process |
//! | `systemctl kill [-s SIG] UNIT` | signals it: `KILL` ends even a hung studio, `STOP` hangs it |
//! | `pgrep -x obs`, `pkill [-SIG] [-x] obs` | finds or signals the studio |
//! | `timeout N bash -c '… /dev/tcp/"$0"/"$1"' HOST PORT` | connects from the machine |
//! | `find`, `cp`, `rm` and others | look at and change the machine's files: see [`files`] |
//! | `git`, `npm` | succeed in silence: there are no checkouts here |
//! | `sh -c LINE` | runs the line, if it is one plain command |
//!
//! `sudo` in front makes it root's; `env` with `NAME=value` or `--chdir` changes nothing. Anything else is not found (127).

mod figures;
mod files;
mod sum;
mod units;
pub mod words;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use self::sum::Sum;
use super::machine::disk::Who;
use super::machine::{Machine, Process, Service, Signal};
use crate::domain::time::Timestamp;

/// Process id of every simulated studio.
const STUDIO_PID: u32 = 1_204;

/// What a command printed and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: u32,
}

impl Output {
    fn ok() -> Self {
        Self::default()
    }

    fn printed(stdout: impl Into<String>, status: u32) -> Self {
        Self {
            stdout: stdout.into().into_bytes(),
            stderr: Vec::new(),
            status,
        }
    }

    fn failed(stderr: impl Into<String>, status: u32) -> Self {
        Self {
            stdout: Vec::new(),
            stderr: stderr.into().into_bytes(),
            status,
        }
    }
}

/// A machine as a command on it finds it.
pub struct Host<'a> {
    pub model: &'a mut Machine,
    pub address: Ipv4Addr,
    pub now: Timestamp,
}

impl Host<'_> {
    /// The machine's name, as EC2 gives it: from its private address.
    #[must_use]
    pub fn name(&self) -> String {
        format!("ip-{}", self.address.to_string().replace('.', "-"))
    }
}

/// What became of a command when it was run.
#[derive(Debug)]
pub enum Run {
    Ended(Output),
    /// It ends then.
    Until {
        at: Timestamp,
        output: Output,
    },
    /// It ends when a connection was made from the machine, or not: [`Connect::ended`].
    Connect(Connect),
    /// It ends after many steps.
    Sum(Sum),
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self::Ended(output)
    }
}

/// Runs one command line.
pub fn run(host: &mut Host<'_>, line: &str) -> Run {
    let words = match words::split(line) {
        Ok(words) => words,
        Err(error) => return Output::failed(format!("sh: 1: {error}\n"), 2).into(),
    };
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut who = Who::User;
    while let Some(before) = prefix(&words) {
        if words[0] == "sudo" {
            who = Who::Root;
        }
        words.drain(..before);
    }
    if let Some(run) = files::run(host, who, &words) {
        return run;
    }
    let output = match words.as_slice() {
        [] | ["true" | ":"] => Output::ok(),
        ["false"] => Output::printed("", 1),
        ["echo", rest @ ..] => Output::printed(format!("{}\n", rest.join(" ")), 0),
        // A line within a line within a line is nobody's.
        ["sh", "-c", line] if !line.starts_with("sh ") => return run(host, line),
        ["sleep", seconds] => return sleep(host, seconds),
        ["uptime", ..] => uptime(host),
        ["hostname"] => figures::hostname(host),
        ["date", "+%s.%N"] => figures::date(host),
        ["nproc"] => figures::nproc(),
        ["head", "-n", "1", path] => figures::file(host, path),
        ["free", options @ ..] => figures::free(options),
        ["df", rest @ ..] => figures::df(rest),
        ["top", ..] => figures::top(host),
        ["journalctl", rest @ ..] => units::journal(host, rest),
        ["git" | "npm", ..] => Output::ok(),
        ["systemctl", rest @ ..] => return systemctl(host, rest),
        ["pgrep", rest @ ..] => pgrep(host, rest),
        ["pkill", rest @ ..] => pkill(host, rest),
        ["timeout", limit, "bash", "-c", script, name, port] if script.contains("/dev/tcp/") => {
            return connect(limit, name, port);
        }
        [name, ..] => Output::failed(format!("sh: 1: {name}: not found\n"), 127),
    };
    output.into()
}

fn sleep(host: &Host<'_>, seconds: &str) -> Run {
    let span = seconds
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match span {
        Some(span) => Run::Until {
            at: host.now + span,
            output: Output::ok(),
        },
        None => Output::failed(format!("sleep: invalid time interval '{seconds}'\n"), 1).into(),
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

fn uptime(host: &Host<'_>) -> Output {
    let up = host.model.uptime(host.now).as_secs();
    let (hours, minutes) = (up / 3_600, up / 60 % 60);
    Output::printed(
        format!(" up {hours}:{minutes:02},  0 users,  load average: 0.42, 0.40, 0.38\n"),
        0,
    )
}

fn systemctl(host: &mut Host<'_>, words: &[&str]) -> Run {
    let words: Vec<&str> = words
        .iter()
        .copied()
        .filter(|w| !matches!(*w, "--quiet" | "-q" | "--user"))
        .collect();
    let now = host.now;
    let output = match words.as_slice() {
        ["show", rest @ ..] => units::show(host, rest),
        ["status", rest @ ..] => units::status(host, rest),
        ["cat", unit] => units::cat(unit),
        ["is-active", unit] => is_active(host, unit),
        ["start", unit] => with_unit(unit, |service| host.model.start(service, now)),
        [verb @ ("stop" | "restart"), unit] => {
            let Some(service) = Service::from_unit(unit) else {
                return not_loaded(unit).into();
            };
            let gone_at = match *verb {
                "stop" => host.model.stop(service, now),
                _ => host.model.restart(service, now),
            };
            // systemd waits for the process to be gone before it answers.
            return Run::Until {
                at: gone_at,
                output: Output::ok(),
            };
        }
        ["kill", options @ .., unit] => match signal_of(options) {
            Some(signal) => with_unit(unit, |service| {
                host.model.signal(service, signal, now);
            }),
            None => Output::failed(
                format!("Failed to parse signal string {}.\n", options.join(" ")),
                1,
            ),
        },
        _ => Output::failed(format!("Unknown command verb {}.\n", words.join(" ")), 1),
    };
    output.into()
}

fn is_active(host: &Host<'_>, unit: &str) -> Output {
    let Some(service) = Service::from_unit(unit) else {
        return Output::printed("inactive\n", 4);
    };
    let process = host.model.process(service);
    let is_active = matches!(process, Process::Running | Process::Hung);
    let status = if is_active { 0 } else { 3 };
    Output::printed(format!("{}\n", process.active_state()), status)
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

fn pgrep(host: &Host<'_>, words: &[&str]) -> Output {
    if host.model.studio_connected() && words.last() == Some(&"obs") {
        Output::printed(format!("{STUDIO_PID}\n"), 0)
    } else {
        Output::printed("", 1)
    }
}

fn pkill(host: &mut Host<'_>, words: &[&str]) -> Output {
    let Some((&"obs", options)) = words.split_last() else {
        return Output::printed("", 1);
    };
    let Some(signal) = signal_of(options) else {
        return Output::failed("pkill: unknown signal\n", 2);
    };
    let found = host.model.signal(Service::Studio, signal, host.now);
    Output::printed("", u32::from(!found))
}

/// A TCP connection that is to be opened from the machine's own address.
#[derive(Debug)]
pub struct Connect {
    name: String,
    pub to: SocketAddr,
    pub limit: Duration,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Connected,
    Refused,
    NetworkUnreachable,
    NoRoute,
    TimedOut,
}

impl Connect {
    /// What the command says then.
    #[must_use]
    pub fn ended(&self, reached: Reached) -> Output {
        let complain = |why| no_connection(&self.name, &self.to.port().to_string(), why);
        match reached {
            Reached::Connected => Output::ok(),
            Reached::Refused => complain("Connection refused"),
            Reached::NetworkUnreachable => complain("Network is unreachable"),
            Reached::NoRoute => complain("No route to host"),
            // As `timeout` reports it.
            Reached::TimedOut => Output::printed("", 124),
        }
    }
}

fn no_connection(name: &str, port: &str, why: &str) -> Output {
    let place = format!("/dev/tcp/{name}/{port}");
    Output::failed(format!("bash: connect: {why}\nbash: line 1: {place}: {why}\n"), 1)
}

fn connect(limit: &str, name: &str, port: &str) -> Run {
    let Ok(limit_s) = limit.trim_end_matches('s').parse::<f64>() else {
        return Output::failed(format!("timeout: invalid time interval '{limit}'\n"), 125).into();
    };
    let limit = Duration::try_from_secs_f64(limit_s).unwrap_or(Duration::from_secs(3_600));
    let address = match name {
        "localhost" => Some(Ipv4Addr::LOCALHOST),
        other => other.parse().ok(),
    };
    match (address, port.parse::<u16>()) {
        (Some(address), Ok(number)) => Run::Connect(Connect {
            name: name.to_owned(),
            to: SocketAddr::from((address, number)),
            limit,
        }),
        _ => no_connection(name, port, "Name or service not known").into(),
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
