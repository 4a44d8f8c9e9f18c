//! `understudy status`: the pool and its shows, once or live.
//!
//! [`snapshot`] asks, [`board`] lays out, [`watch`] repeats. It only ever reads.

pub mod board;
pub mod snapshot;
mod watch;

use std::time::Duration;

use super::client::Client;
use super::connection::Connection;
use super::failure::{Exit, Outcome};
use super::span;
use super::terminal::Terminal;

pub use snapshot::Snapshot;

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Only this show or VM, and what belongs to it
    #[arg(value_name = "SHOW|VM")]
    pub name: Option<String>,
    /// Stay and follow it: in place on a terminal (q quits), else one block or JSON line per change
    #[arg(long, short)]
    pub watch: bool,
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch", value_parser = interval)]
    pub interval: Duration,
    #[command(flatten)]
    pub connection: Connection,
}

/// More often tells nobody more, and costs the server something.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, String> {
    let span = span::parse(text)?;
    if span < INTERVAL_MIN {
        return Err(format!("at least {} ms", INTERVAL_MIN.as_millis()));
    }
    Ok(span)
}

/// # Errors
/// What the client says, and a name that nothing has.
pub async fn run(args: StatusArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    if args.watch {
        return watch::run(client, args.name, args.interval, terminal).await;
    }
    let mut snapshot = Snapshot::fetch(&client).await?;
    if let Some(name) = &args.name {
        let nothing = snapshot.nothing_named(name);
        if !snapshot.narrow(name) {
            return Err(nothing.into());
        }
    }
    if terminal.json {
        terminal.print_json(&snapshot.json())?;
    } else {
        terminal.print(&board::render(&snapshot, Some(snapshot.at), terminal))?;
    }
    Ok(Exit::Done)
}
