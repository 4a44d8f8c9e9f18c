//! The rows of a journal: replayed to a sound state, or refused with the first that does not follow.
//!
//! A row a line: milliseconds since the epoch, a space, the event.

use std::sync::Arc;

use understudy::domain::invariants::violations;
use understudy::domain::state::{Snapshot, State};
use understudy::domain::time::Timestamp;
use understudy::infra::ledger::{Ledger, MemoryJournal, OpenError};

use super::RUNTIME;

/// # Errors
/// Why it is refused.
pub fn run(text: &str) -> Result<Arc<State>, OpenError> {
    let rows = text.lines().filter_map(|line| {
        let (at, event) = line.split_once(' ')?;
        Some((Timestamp(at.parse().ok()?), event.as_bytes().to_vec()))
    });
    let journal = MemoryJournal::of(rows);
    let ledger = Ledger::open_in_memory(&journal)
        .inspect_err(|error| assert!(!error.to_string().is_empty(), "refused without a word"))?;
    let state = ledger.state();
    assert_eq!(violations(&state), Vec::<String>::new());
    RUNTIME
        .block_on(ledger.close())
        .expect("a ledger in memory closes");
    let again = journal
        .replay()
        .expect("what was replayed once is replayed again");
    assert_eq!(again, *state, "two replays of one journal differ");
    let snapshot = serde_json::to_vec(&Snapshot::from(&*state)).expect("a state is plain data");
    let read: Snapshot = serde_json::from_slice(&snapshot).expect("what was written is read");
    assert_eq!(State::from(read), *state, "a snapshot is another state");
    Ok(state)
}
