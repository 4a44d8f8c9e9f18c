//! What happens to shows, told as it happens: one line per fact, with the seconds since the beginning.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection;
use super::style::Tone;
use super::table::Line;
use super::terminal::Terminal;
use crate::domain::archive;
use crate::domain::cleaning::{Report, Way};
use crate::domain::event::{Entry, Event};
use crate::domain::failover::{Fence, Record};
use crate::domain::ids::{ShowId, VmId};
use crate::domain::show::{Event as ShowEvent, Show};
use crate::domain::state::State;
use crate::domain::studio::MadeBy;
use crate::domain::time::{Timestamp, millis};
use crate::domain::vm::Event as VmEvent;

/// Width of the column with the name of who it is about.
const NAME_WIDTH: usize = 12;

/// When the story began.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    began: Timestamp,
}

impl Story {
    #[must_use]
    pub fn begin(now: Timestamp) -> Self {
        Self { began: now }
    }

    /// One fact as a line, if it is worth one.
    #[must_use]
    pub fn line(&self, entry: &Entry, state: &State) -> Option<Line> {
        match &entry.event {
            Event::Show { show, event } => {
                let (tone, text) = show_line(event, state.show(show).map(AsRef::as_ref))?;
                Some(self.said(entry.at, show.as_str(), tone, text))
            }
            Event::Vm { vm, event } => {
                let (tone, text) = vm_line(event)?;
                Some(self.said(entry.at, vm.as_str(), tone, text))
            }
            Event::Execution { .. } | Event::PoolConfigured { .. } => None,
        }
    }

    fn said(&self, at: Timestamp, who: &str, tone: Tone, text: String) -> Line {
        let seconds = millis(at.since(self.began)) as f64 / 1000.0;
        Line::new()
            .push(Tone::Dim, format!("{seconds:8.2} s  "))
            .push(Tone::Strong, format!("{who:<NAME_WIDTH$} "))
            .push(tone, text)
    }
}

fn show_line(event: &ShowEvent, show: Option<&Show>) -> Option<(Tone, String)> {
    let line = match event {
        ShowEvent::Assigned { vm, .. } => (Tone::Taken, format!("has {vm}")),
        ShowEvent::Reassigned { from, vm, .. } => (Tone::Busy, format!("has {vm} instead of {from}")),
        ShowEvent::WentOnAir { .. } => (Tone::Live, "is on air".to_owned()),
        ShowEvent::WentOffAir { .. } => (Tone::Plain, "is off air".to_owned()),
        ShowEvent::Held { held: true } => {
            (Tone::Busy, "is on hold: it is not moved automatically".to_owned())
        }
        ShowEvent::Held { held: false } => (Tone::Plain, "is no longer on hold".to_owned()),
        ShowEvent::FailoverBegan { cause, to, epoch, .. } => {
            let whereto = to
                .as_ref()
                .map_or("waits for a spare".to_owned(), |to| format!("moves to {to}"));
            (
                Tone::Bad,
                format!("{}: {whereto} (epoch {epoch})", cause.as_str().replace('-', " ")),
            )
        }
        ShowEvent::SpareChosen { vm, .. } => (Tone::Busy, format!("moves to {vm}")),
        ShowEvent::SpareLost { vm, reason, .. } => (Tone::Bad, format!("{vm} cannot take over: {reason}")),
        ShowEvent::Silenced { how, .. } => (Tone::Plain, format!("publishes nothing: {}", fenced(*how))),
        ShowEvent::Fenced { how, .. } => (Tone::Busy, format!("old VM publishes no more: {}", fenced(*how))),
        ShowEvent::Restored { by, .. } => {
            let mut text = match show.and_then(|show| show.studio.as_ref()) {
                Some(studio) => format!("studio restored: {} scenes", studio.scenes.len()),
                None => "studio made from its configuration".to_owned(),
            };
            if let Some(by) = by {
                text.push_str(&format!(", by {}", by.as_str()));
            }
            if let Some(why) = by.as_ref().and_then(MadeBy::why_not_file) {
                text.push_str(&format!(" (not from a file: {why})"));
            }
            (Tone::Busy, text)
        }
        ShowEvent::Compared { differences, .. } if differences.is_empty() => {
            (Tone::Good, "its studio is as it was to be".to_owned())
        }
        ShowEvent::Compared { differences, .. } => (
            Tone::Bad,
            format!("its studio is not as it was to be: {}", differences.join("; ")),
        ),
        ShowEvent::Publishing { .. } => (Tone::Busy, "starts the stream".to_owned()),
        ShowEvent::FailoverEnded { .. } => ended(show.and_then(|show| show.records.last())?),
        ShowEvent::ReleaseBegan { .. } => (Tone::Plain, "gives its VM back".to_owned()),
        ShowEvent::Archive { event, .. } => archived(event)?,
        ShowEvent::Released { vm, .. } => (Tone::Plain, format!("has given {vm} back")),
        ShowEvent::SetUp { .. } => (Tone::Plain, "is configured".to_owned()),
        ShowEvent::StreamWanted { .. } | ShowEvent::Captured { .. } | ShowEvent::ReleaseJoined { .. } => {
            return None;
        }
    };
    Some(line)
}

fn archived(event: &archive::Event) -> Option<(Tone, String)> {
    Some(match event {
        archive::Event::UploadBegan { upload } => {
            let bytes = upload.recording.bytes;
            (
                Tone::Plain,
                format!("archives {} ({bytes} bytes)", upload.recording.name),
            )
        }
        archive::Event::Removed { name } => (Tone::Plain, format!("{name} is archived and verified")),
        archive::Event::UploadDropped { reason, .. } => {
            (Tone::Busy, format!("begins an upload again: {reason}"))
        }
        archive::Event::Ended {
            ending: archive::Ending::Failed { reason },
        } => (Tone::Bad, format!("its recordings are not archived: {reason}")),
        archive::Event::Asked { .. }
        | archive::Event::PartStored { .. }
        | archive::Event::Kept { .. }
        | archive::Event::Ended {
            ending: archive::Ending::Done { .. },
        } => return None,
    })
}

fn ended(record: &Record) -> (Tone, String) {
    let whereto = record
        .failover
        .to
        .as_ref()
        .map_or("its VM".to_owned(), ToString::to_string);
    match record.timeline().off_air_ms {
        Some(ms) => (
            Tone::Live,
            format!("ON AIR from {whereto}; the picture was away for {ms} ms"),
        ),
        None => (Tone::Plain, format!("has {whereto}")),
    }
}

fn fenced(how: Fence) -> &'static str {
    match how {
        Fence::StreamStopped => "its studio stopped the stream",
        Fence::StudioKilled => "its studio was killed",
        Fence::MachineOff => "the machine is off",
    }
}

fn vm_line(event: &VmEvent) -> Option<(Tone, String)> {
    let line = match event {
        VmEvent::Starting { .. } => (Tone::Dim, "starts".to_owned()),
        VmEvent::Ready => (Tone::Good, "is ready".to_owned()),
        VmEvent::Stopping { .. } => (Tone::Dim, "stops".to_owned()),
        VmEvent::Stopped => (Tone::Dim, "is off".to_owned()),
        VmEvent::Gone => (Tone::Dim, "is gone".to_owned()),
        VmEvent::Faulted { reason } | VmEvent::Withheld { reason } | VmEvent::StopFailed { reason } => {
            (Tone::Bad, reason.clone())
        }
        VmEvent::Cleaned { report, .. } => cleaned(report)?,
        VmEvent::ArchiveResumed { .. } => (Tone::Busy, "is asked for its recordings again".to_owned()),
        VmEvent::Archive { event, .. } => archived(event)?,
        VmEvent::FaultCleared => (Tone::Good, "has proven itself and is available again".to_owned()),
        VmEvent::Adopted { .. }
        | VmEvent::Described { .. }
        | VmEvent::Booting
        | VmEvent::HealthTurned { .. }
        | VmEvent::Resealed { .. }
        | VmEvent::MaintenanceBegan { .. }
        | VmEvent::MaintenanceEnded => return None,
    };
    Some(line)
}

/// `None` where there was nothing to clean.
fn cleaned(report: &Report) -> Option<(Tone, String)> {
    let seconds = report.ended_at.since(report.began_at).as_secs_f64();
    match report.way {
        Way::Nothing => None,
        Way::Template | Way::Studio if report.is_clean() => {
            let text = format!("is clean of show {}, after {seconds:.1} s", report.show);
            Some((Tone::Good, text))
        }
        Way::Template | Way::Studio => {
            let text = format!("is not clean of show {}: {}", report.show, report.faults());
            Some((Tone::Bad, text))
        }
    }
}

/// Tells a story on a terminal.
#[derive(Debug, Clone)]
pub struct Teller {
    story: Story,
    terminal: Arc<Terminal>,
    quiet: u8,
}

impl Teller {
    #[must_use]
    pub fn new(story: Story, terminal: Terminal, quiet: u8) -> Self {
        Self {
            story,
            terminal: Arc::new(terminal),
            quiet,
        }
    }

    pub fn welcome(&self, address: SocketAddr) {
        if self.quiet == 0 {
            self.say(
                Tone::Strong,
                "understudy, on a simulated pool: 2 machines warm, 3 cold.",
            );
            self.say(
                Tone::Dim,
                &format!(
                    "API: http://{address}/api/docs   Another terminal: {} status --watch{}",
                    program(),
                    at(address)
                ),
            );
            self.say(Tone::Plain, "");
        }
    }

    /// A fact from the ledger.
    pub fn tell(&self, entry: &Entry, state: &State) {
        if self.terminal.json {
            self.print_json(entry);
        } else if (self.quiet < 2 || is_result(&entry.event))
            && let Some(line) = self.story.line(entry, state)
        {
            self.print(&line.render(&self.terminal));
        }
    }

    pub fn pause(&self, text: &str) {
        if self.quiet == 0 {
            self.say(Tone::Plain, "");
            self.say(Tone::Strong, text);
            self.say(Tone::Plain, "");
        }
    }

    pub fn disaster(&self, show: &ShowId, vm: &VmId) {
        if self.quiet < 2 {
            self.say(
                Tone::Bad,
                &format!("The studio on {vm} crashes, with show {show} on air on it."),
            );
        }
    }

    pub fn table(&self, text: &str) {
        if self.quiet == 0 && !self.terminal.json {
            self.print(&format!("\n{text}"));
        }
    }

    pub fn encore(&self, address: SocketAddr) {
        if self.quiet < 2 {
            self.say(Tone::Plain, "");
            self.say(
                Tone::Dim,
                &format!("Look around at http://{address}/api/docs; Ctrl-C ends it."),
            );
        }
    }

    fn say(&self, tone: Tone, text: &str) {
        if !self.terminal.json {
            self.print(&Line::new().push(tone, text).render(&self.terminal));
        }
    }

    fn print(&self, text: &str) {
        // A reader that went away has seen enough; the demonstration goes on for its server's clients.
        let _ = self.terminal.print(text);
    }

    fn print_json(&self, entry: &Entry) {
        let _ = self.terminal.print_json_line(entry);
    }
}

/// What a demonstration is for.
fn is_result(event: &Event) -> bool {
    let ended = |event: &ShowEvent| matches!(event, ShowEvent::FailoverEnded { .. });
    matches!(event, Event::Show { event, .. } if ended(event))
}

/// The option that names the server, where it is not the one that is asked without.
fn at(address: SocketAddr) -> String {
    let url = format!("http://{address}");
    if url == connection::DEFAULT_URL {
        String::new()
    } else {
        format!(" --server {url}")
    }
}

/// This program as it was called, for people to call it the same way.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "understudy".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_is_named_to_the_other_terminal() {
        assert_eq!(at(SocketAddr::from(([127, 0, 0, 1], 3003))), "");
        let other = at(SocketAddr::from(([127, 0, 0, 1], 3999)));
        assert_eq!(other, " --server http://127.0.0.1:3999");
    }
}
