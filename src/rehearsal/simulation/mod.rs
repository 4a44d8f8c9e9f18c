//! The deterministic simulation: the whole tree over the simulated world, in virtual time, everything decided by one seed.
//!
//! ```text
//!  seed ──► Plan ──► play: real actors, domain, ledger  ──► Run: log, violations, counts
//!            │        over sim::direct, in paused time                 │
//!            └──────────── shrink: fewer events, same violation ◄──────┘
//! ```
//!
//! One thread, one runtime, no socket, no disk: hours pass in seconds. Nothing in the tree knows that it is simulated. What is
//! checked is what can be seen from outside: `watch` has the rules.
//!
//! One seed gives the same log, byte for byte: whatever could draw lots is kept out of the tree by `tests/layering`.

mod pace;
pub mod plan;
mod play;
mod process;
mod produce;
pub mod record;
mod recordings;
pub mod report;
pub mod rules;
pub mod shrink;
pub mod soak;
mod watch;

use anyhow::Context as _;
use tracing_subscriber::fmt::MakeWriter;

use self::pace::{PATIENCE, Pace};
pub use self::plan::{Plan, Size};
use self::play::Play;
use self::record::Record;
pub use self::record::{Counts, Violation};
use crate::sim::direct::Parts;

/// What came of a plan.
#[derive(Debug, Clone)]
pub struct Run {
    /// Line by line, in virtual milliseconds.
    pub log: String,
    /// In the order in which they were seen; a run ends with the first.
    pub violations: Vec<Violation>,
    pub counts: Counts,
    /// How much time went by in it.
    pub virtual_ms: u64,
}

/// Plays a plan from its beginning to the first violation, or until everything has settled after its end.
///
/// # Errors
/// If the stage cannot be set, or a journal does not open again, which is a violation that leaves nothing to go on with.
pub fn run(plan: &Plan) -> anyhow::Result<Run> {
    run_over(plan, |parts| parts)
}

/// The same over a world whose parts were changed: by one that lies, for example, to see which rule tells.
///
/// # Errors
/// As [`run`].
pub fn run_over(plan: &Plan, over: fn(Parts) -> Parts) -> anyhow::Result<Run> {
    let pace = Pace::begin(PATIENCE).context("a thread that looks whether time goes on")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("the runtime of the simulation")?;
    runtime.block_on(async {
        let record = Record::begin();
        // What the tree has to say about it, on this thread alone.
        let said = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(Said(record.clone()))
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        let _said = tracing::subscriber::set_default(said);
        tokio::select! {
            biased;
            () = pace.stands() => {
                let what = "everybody is busy, and nobody waits".to_owned();
                record.violated(rules::PROGRESS, what);
            }
            played = Box::pin(play(plan, over, record.clone(), pace.clone())) => played?,
        }
        Ok(Run {
            virtual_ms: record.now_ms(),
            log: record.log(),
            violations: record.violations(),
            counts: record.counts(),
        })
    })
}

async fn play(plan: &Plan, over: fn(Parts) -> Parts, record: Record, pace: Pace) -> anyhow::Result<()> {
    let mut play = Box::pin(Play::begin(plan, over, record, pace)).await?;
    play.perform(plan).await?;
    play.settle().await?;
    play.finish().await;
    Ok(())
}

/// Writes what the tree logs into the record.
struct Said(Record);

impl<'a> MakeWriter<'a> for Said {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            record: self.0.clone(),
            text: Vec::new(),
        }
    }
}

/// One line on its way.
struct Line {
    record: Record,
    text: Vec<u8>,
}

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        self.record.note(&format!("says {}", text.trim()));
    }
}
