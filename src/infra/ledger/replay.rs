//! From rows to the state, and from a state to the bytes of a snapshot.
//!
//! The newest snapshot that can be read, then every event after it. A snapshot is a shortcut, never the
//! truth: one that is damaged is passed over with a warning, for the one before or for the whole journal. An
//! event is the truth: one that is missing, cannot be read or cannot follow ends the replay.

use std::path::{Path, PathBuf};

use tracing::warn;

use crate::domain::event::Event;
use crate::domain::ids::Seq;
use crate::domain::invariants::violations;
use crate::domain::state::{Snapshot, State};

use super::error::{CommitError, Defect, OpenError};
use super::journal::{Journal, Row};

/// What the journal says.
pub(super) struct Replayed {
    pub state: State,
    /// The snapshot it began with; 0 if with none.
    pub snapshot: Seq,
}

/// Reads the journal into a state and checks that the state is sound.
pub(super) fn read(journal: &Journal) -> Result<Replayed, OpenError> {
    let base = newest_snapshot(journal)?;
    let snapshot = base.seq;
    let last = journal.last_seq()?;
    if last < snapshot {
        return Err(OpenError::Corrupt {
            path: journal.path().to_owned(),
            seq: last.next(),
            defect: Defect::BehindSnapshot,
        });
    }
    let mut fold = Fold::new(base, journal.path());
    journal.each_after(snapshot, |row| fold.take(row))?;
    Ok(Replayed {
        state: fold.finish()?,
        snapshot,
    })
}

fn newest_snapshot(journal: &Journal) -> Result<State, OpenError> {
    for seq in journal.snapshots()? {
        match decode_snapshot(&journal.snapshot(seq)?) {
            Ok(state) if state.seq == seq => return Ok(state),
            Ok(state) => {
                warn!(%seq, says = %state.seq, "a snapshot of the journal is not what it says; passed over");
            }
            Err(error) => warn!(%seq, %error, "a snapshot of the journal cannot be read; passed over"),
        }
    }
    Ok(State::default())
}

/// A state under construction from rows.
pub(super) struct Fold {
    state: State,
    path: PathBuf,
}

impl Fold {
    pub fn new(base: State, path: &Path) -> Self {
        Self {
            state: base,
            path: path.to_owned(),
        }
    }

    pub fn take(&mut self, row: Row<'_>) -> Result<(), OpenError> {
        let expected = self.state.seq.next();
        if row.seq != expected {
            return Err(self.corrupt(expected, Defect::Missing { next: row.seq }));
        }
        let event: Event = serde_json::from_slice(row.event)
            .map_err(|error| self.corrupt(row.seq, Defect::Unreadable(error)))?;
        self.state
            .apply(&event, row.at)
            .map_err(|rejected| self.corrupt(row.seq, Defect::Impossible(rejected)))
    }

    pub fn finish(self) -> Result<State, OpenError> {
        match violations(&self.state).into_iter().next() {
            Some(violation) => Err(OpenError::Broken {
                path: self.path,
                violation,
            }),
            None => Ok(self.state),
        }
    }

    fn corrupt(&self, seq: Seq, defect: Defect) -> OpenError {
        OpenError::Corrupt {
            path: self.path.clone(),
            seq,
            defect,
        }
    }
}

/// Each event as JSON that is known to read back as the same event.
pub(super) fn encode(events: &[Event]) -> Result<Vec<Vec<u8>>, CommitError> {
    let encode = |(index, event): (usize, &Event)| {
        let text = serde_json::to_vec(event).map_err(|_| CommitError::NotStorable { index })?;
        match serde_json::from_slice::<Event>(&text) {
            Ok(read) if read == *event => Ok(text),
            Ok(_) | Err(_) => Err(CommitError::NotStorable { index }),
        }
    };
    events.iter().enumerate().map(encode).collect()
}

/// The state as bytes that are known to read back as the same state; `None` if they would not, which would be
/// a defect of ours, and no snapshot is better than a wrong one.
pub(super) fn encode_snapshot(state: &State) -> Option<Vec<u8>> {
    let bytes = serde_json::to_vec(&Snapshot::from(state)).ok()?;
    let read = decode_snapshot(&bytes).ok()?;
    (read == *state).then_some(bytes)
}

fn decode_snapshot(bytes: &[u8]) -> Result<State, serde_json::Error> {
    serde_json::from_slice::<Snapshot>(bytes).map(State::from)
}
