//! Following the status: in place on a terminal, else a block or a JSON line whenever something changed.
//!
//! It asks at an interval: a server that restarts is found again without any state to repair, and what was
//! last known stays in sight meanwhile. Only a refusal of the token ends it, as that does not mend itself.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::board;
use super::snapshot::Snapshot;
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::screen::{Quit, Resized, Screen};
use crate::cli::span;
use crate::cli::style::Tone;
use crate::cli::table::Line;
use crate::cli::terminal::{Reader, Terminal};

/// Limit on an answer while somebody looks on.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(
    client: Client,
    name: Option<String>,
    every: Duration,
    terminal: &Terminal,
) -> Outcome {
    let mut view = View {
        client: client.impatient(PATIENCE),
        name,
        last: None,
        trouble: None,
    };
    if terminal.interactive && !terminal.json {
        in_place(&mut view, every, terminal).await
    } else {
        by_change(&mut view, every, terminal).await
    }
}

/// What is known, and what is wrong since.
struct View {
    client: Client,
    name: Option<String>,
    /// With the moment at which it came.
    last: Option<(Snapshot, Instant)>,
    trouble: Option<Failure>,
}

impl View {
    /// Asks once.
    ///
    /// # Errors
    /// What will not mend itself.
    async fn look(&mut self) -> Result<(), Failure> {
        match Snapshot::fetch(&self.client).await {
            Ok(mut snapshot) => {
                if let Some(name) = &self.name {
                    snapshot.narrow(name);
                }
                self.last = Some((snapshot, Instant::now()));
                self.trouble = None;
            }
            Err(failure) if failure.exit == Exit::Denied => return Err(failure),
            Err(failure) => self.trouble = Some(failure),
        }
        Ok(())
    }

    fn draw(&self, screen: &mut Screen, terminal: &Terminal) -> std::io::Result<()> {
        screen.draw(&self.body(terminal), &self.footer().render(terminal))
    }

    fn body(&self, terminal: &Terminal) -> String {
        let mut text = match &self.last {
            Some((snapshot, came)) => {
                let now = later(snapshot.at, came.elapsed());
                board::render(snapshot, Some(now), terminal)
            }
            None => Line::new()
                .push(Tone::Strong, "understudy")
                .push(Tone::Plain, format!("  {}", self.client.url()))
                .render(terminal),
        };
        text.push('\n');
        text
    }

    fn footer(&self) -> Line {
        let line = Line::new();
        match (&self.trouble, &self.last) {
            (None, None) => line.push(Tone::Dim, "asking…   q quits"),
            (None, Some((snapshot, _))) => {
                line.push(Tone::Dim, format!("{}   q quits", span::clock(snapshot.at)))
            }
            (Some(failure), last) => {
                let line = line
                    .push(Tone::Bad, "reconnecting")
                    .push(Tone::Plain, format!(": {failure}"));
                match last {
                    Some((_, came)) => {
                        let ago = span::long(came.elapsed());
                        line.push(Tone::Dim, format!("   last answer {ago} ago   q quits"))
                    }
                    None => line.push(Tone::Dim, "   q quits"),
                }
            }
        }
    }
}

async fn in_place(view: &mut View, every: Duration, terminal: &Terminal) -> Outcome {
    let mut resized = Resized::listen()?;
    // Leaves the screen as it found it when it goes out of scope, before a failure is told.
    let mut screen = Screen::enter()?;
    let mut quit = Quit::listen(&screen)?;
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    view.draw(&mut screen, terminal)?;
    loop {
        tokio::select! {
            biased;
            () = quit.wait() => break,
            () = resized.wait() => {}
            _ = beat.tick() => tokio::select! {
                biased;
                () = quit.wait() => break,
                looked = view.look() => looked?,
            },
        }
        view.draw(&mut screen, &terminal.resized())?;
    }
    Ok(Exit::Done)
}

async fn by_change(view: &mut View, every: Duration, terminal: &Terminal) -> Outcome {
    let mut quit = Quit::on_signals()?;
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<String> = None;
    loop {
        let look = async {
            beat.tick().await;
            view.look().await
        };
        tokio::select! {
            biased;
            () = quit.wait() => break,
            looked = look => looked?,
        }
        let state = match (&view.trouble, &view.last) {
            (Some(failure), _) => failure.message.clone(),
            (None, Some((snapshot, _))) => board::render(snapshot, None, &Terminal::plain()),
            (None, None) => continue,
        };
        if told.as_ref() == Some(&state) {
            continue;
        }
        told = Some(state);
        if tell(view, terminal)? == Reader::Gone {
            break;
        }
    }
    Ok(Exit::Done)
}

/// Tells the state of things once.
fn tell(view: &View, terminal: &Terminal) -> std::io::Result<Reader> {
    match (&view.trouble, &view.last) {
        (Some(failure), _) if terminal.json => {
            terminal.print_json_line(&json!({"server": view.client.url(), "reconnecting": failure.message}))
        }
        (Some(failure), _) => {
            terminal.note(&format!("reconnecting: {failure}"));
            Ok(Reader::There)
        }
        (None, Some((snapshot, _))) if terminal.json => terminal.print_json_line(&snapshot.json()),
        (None, Some((snapshot, _))) => {
            let board = board::render(snapshot, Some(snapshot.at), terminal);
            terminal.print(&format!("{}  {board}\n", span::date(snapshot.at)))
        }
        (None, None) => Ok(Reader::There),
    }
}

fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(at)
}
