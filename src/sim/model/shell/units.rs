//! What systemd says of the units of a simulated machine: `systemctl show`, `status`, `cat`, and the journal. The
//! layouts are those of systemd 249 on Ubuntu 22.04.

use std::fmt::Write as _;

use super::{Host, Output, STUDIO_PID};
use crate::sim::model::machine::{Process, Service};

/// Entries of a journal that is asked for more.
const ENTRIES_MAX: usize = 200;

/// `ActiveState` and `SubState` as systemd has them.
fn states(process: Process) -> (&'static str, &'static str) {
    let sub = match process {
        Process::Running | Process::Hung => "running",
        Process::Starting { .. } => "start",
        Process::Exiting { .. } | Process::HungExiting { .. } => "stop-sigterm",
        Process::Failed => "failed",
        Process::Stopped => "dead",
    };
    (process.active_state(), sub)
}

fn pid(service: Service, process: Process) -> u32 {
    match process {
        Process::Stopped | Process::Failed => 0,
        Process::Starting { .. }
        | Process::Running
        | Process::Hung
        | Process::Exiting { .. }
        | Process::HungExiting { .. } => match service {
            Service::Studio => STUDIO_PID,
            Service::Display => 1_180,
            Service::Status => 1_231,
            Service::Nimble => 1_257,
            Service::Ssh => 812,
        },
    }
}

/// `systemctl show`: a block of properties per unit, in the order of the arguments.
pub(super) fn show(host: &Host<'_>, words: &[&str]) -> Output {
    let wanted = words.iter().find_map(|word| {
        word.strip_prefix("--property=")
            .map(|names| names.split(',').collect::<Vec<_>>())
    });
    let units = words.iter().filter(|word| !word.starts_with('-'));
    let blocks = units.map(|unit| {
        let (load, active, sub, pid) = match Service::from_unit(unit) {
            Some(service) => {
                let process = host.model.process(service);
                let (active, sub) = states(process);
                ("loaded", active, sub, pid(service, process))
            }
            None => ("not-found", "inactive", "dead", 0),
        };
        // In systemd's own order, whatever was asked for.
        let properties = [
            ("MainPID", pid.to_string()),
            ("LoadState", load.to_owned()),
            ("ActiveState", active.to_owned()),
            ("SubState", sub.to_owned()),
        ];
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|names| names.contains(&name));
        properties.into_iter().filter(|(name, _)| is_wanted(name)).fold(
            String::new(),
            |mut block, (name, value)| {
                // Writing to a string does not fail.
                let _ = writeln!(block, "{name}={value}");
                block
            },
        )
    });
    Output::printed(blocks.collect::<Vec<_>>().join("\n"), 0)
}

/// `systemctl cat`: the unit's file, or 1 if there is none.
pub(super) fn cat(unit: &str) -> Output {
    match Service::from_unit(unit) {
        Some(service) => {
            let name = service.unit();
            let text = format!(
                "# /etc/systemd/system/{name}.service\n[Unit]\nDescription={name}\n\n[Service]\nRestart=always\n"
            );
            Output::printed(text, 0)
        }
        None => Output::failed(format!("No files found for {unit}.service.\n"), 1),
    }
}

/// `systemctl status`: 3 if one is not active, 4 if one is not there (systemctl(1)).
pub(super) fn status(host: &Host<'_>, words: &[&str]) -> Output {
    let mut text = String::new();
    let mut missing = String::new();
    let mut code = 0;
    for unit in words.iter().filter(|word| !word.starts_with('-')) {
        let Some(service) = Service::from_unit(unit) else {
            let _ = writeln!(missing, "Unit {unit}.service could not be found.");
            code = 4;
            continue;
        };
        let process = host.model.process(service);
        let (active, sub) = states(process);
        let (dot, name, main) = match active {
            "active" => ('●', service.unit(), pid(service, process)),
            "failed" => ('×', service.unit(), 0),
            _ => ('○', service.unit(), pid(service, process)),
        };
        if active != "active" && code == 0 {
            code = 3;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let file = format!("/etc/systemd/system/{name}.service");
        let _ = writeln!(text, "{dot} {name}.service - {name}");
        let _ = writeln!(
            text,
            "     Loaded: loaded ({file}; enabled; vendor preset: enabled)"
        );
        let _ = writeln!(text, "     Active: {active} ({sub})");
        if main > 0 {
            let _ = writeln!(text, "   Main PID: {main} ({name})");
        }
    }
    Output {
        stdout: text.into_bytes(),
        stderr: missing.into_bytes(),
        status: code,
    }
}

/// `journalctl -u UNIT -n LINES --no-pager`: what the unit's process would have said by now.
pub(super) fn journal(host: &Host<'_>, words: &[&str]) -> Output {
    let mut rest = words.iter();
    let (mut unit, mut lines) = ("", 10);
    while let Some(word) = rest.next() {
        match *word {
            "-u" => unit = rest.next().copied().unwrap_or_default(),
            "-n" => lines = rest.next().and_then(|count| count.parse().ok()).unwrap_or(lines),
            _ => {}
        }
    }
    let Some(service) = Service::from_unit(unit) else {
        return Output::printed("-- No entries --\n", 0);
    };
    let process = host.model.process(service);
    let name_of_host = host.name();
    let (name, main) = (service.unit(), pid(service, process));
    let entries = lines.min(ENTRIES_MAX);
    let text: String = (1..=entries)
        .map(|entry| {
            let second = entry % 60;
            let said = if entry == entries {
                format!("{name} is {}", process.active_state())
            } else {
                format!("request {entry} answered")
            };
            format!("Nov 21 18:00:{second:02} {name_of_host} {name}[{main}]: {said}\n")
        })
        .collect();
    Output::printed(text, 0)
}
