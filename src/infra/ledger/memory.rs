//! The ledger without a disk, for tests in paused time: the same rows, the same replay, no thread.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::event::{Entry, Event};
use crate::domain::ids::Seq;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

use super::Committed;
use super::error::{CommitError, OpenError};
use super::journal::Row;
use super::published::Published;
use super::replay::Fold;

/// A journal in memory. It outlives the ledgers opened on it, as a file outlives processes: clones share it,
/// and opening it again is what a restart is to a file.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<(Timestamp, Vec<u8>)>,
    /// Which ledger may write; rises by one with each that is opened or closed.
    owner: u64,
}

impl MemoryJournal {
    /// Events in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows().rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing in here panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One opening of a [`MemoryJournal`].
#[derive(Debug)]
pub(super) struct Memory {
    journal: MemoryJournal,
    owner: u64,
}

impl Memory {
    /// A journal of its own, without events.
    pub fn empty() -> Self {
        Self {
            journal: MemoryJournal::default(),
            owner: 0,
        }
    }

    /// Replays the journal and cuts off whoever had it open, as death cuts off a process.
    pub fn open(journal: &MemoryJournal) -> Result<(Self, State), OpenError> {
        let mut rows = journal.rows();
        let mut fold = Fold::new(State::default(), Path::new("(memory)"));
        for ((at, event), seq) in rows.rows.iter().zip(1..) {
            fold.take(Row {
                seq: Seq(seq),
                at: *at,
                event,
            })?;
        }
        let state = fold.finish()?;
        rows.owner += 1;
        let memory = Self {
            journal: journal.clone(),
            owner: rows.owner,
        };
        Ok((memory, state))
    }

    pub fn commit(
        &self,
        published: &Published,
        at: Timestamp,
        events: Vec<Event>,
        rows: Vec<Vec<u8>>,
    ) -> Result<Committed, CommitError> {
        let mut journal = self.journal.rows();
        if journal.owner != self.owner {
            return Err(CommitError::Closed);
        }
        let before = published.state();
        let state = before
            .with(&events, at)
            .inspect_err(|_| published.count_rejected())?;
        journal.rows.extend(rows.into_iter().map(|row| (at, row)));
        let numbered = events.into_iter().zip(before.seq.0 + 1..);
        let entries = numbered.map(|(event, seq)| Entry {
            seq: Seq(seq),
            at,
            event,
        });
        let state = Arc::new(state);
        published.publish(entries.collect(), Arc::clone(&state), 1);
        Ok(Committed {
            seq: state.seq,
            state,
        })
    }

    pub fn close(&self) {
        let mut journal = self.journal.rows();
        if journal.owner == self.owner {
            journal.owner += 1;
        }
    }
}
