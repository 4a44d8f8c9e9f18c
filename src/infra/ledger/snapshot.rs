//! Snapshots, made off the writer's path.
//!
//! A state is immutable, so another thread can turn it into bytes while commits go on. The bytes go back
//! through the writer's queue in parts, the next one when the last is durable: each rides along with a group
//! of events, and a state of any size delays a commit by one part at most.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::domain::ids::Seq;
use crate::domain::state::State;

use super::journal::{PART_BYTES, Part};
use super::replay::encode_snapshot;
use super::writer::Command;

/// When to make the next one, and which to keep.
pub(super) struct Snapshots {
    /// Events from one to the next.
    every: u64,
    /// The newest that is complete and good.
    newest: Seq,
    /// The last one begun.
    begun: Seq,
    thread: Option<JoinHandle<()>>,
}

impl Snapshots {
    /// `newest` is the one that the replay began with.
    pub fn new(every: u64, newest: Seq) -> Self {
        Self {
            every: every.max(1),
            newest,
            begun: newest,
            thread: None,
        }
    }

    /// Begins one if it is due and none is being made.
    pub fn consider(&mut self, state: &Arc<State>, queue: &mpsc::WeakSender<Command>) {
        let is_due = state.seq.0.saturating_sub(self.begun.0) >= self.every;
        if !is_due || self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        self.begun = state.seq;
        let (state, queue) = (Arc::clone(state), queue.clone());
        let thread = std::thread::Builder::new()
            .name("ledger-snapshot".to_owned())
            .spawn(move || make(&state, &queue));
        match thread {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => {
                warn!(%error, "no thread for a snapshot of the ledger; the next start takes longer");
            }
        }
    }

    /// Notes that `seq` is complete and says which to keep: it and its predecessor, should it be damaged later.
    pub fn completed(&mut self, seq: Seq) -> [Seq; 2] {
        [seq, std::mem::replace(&mut self.newest, seq)]
    }

    /// Waits for one that is being made to end, which it does as soon as it finds the queue closed.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("a snapshot of the ledger died; the next start takes longer");
        }
    }
}

fn make(state: &State, queue: &mpsc::WeakSender<Command>) {
    let Some(bytes) = encode_snapshot(state) else {
        error!(seq = %state.seq, "the state cannot be stored as a snapshot; starts take longer until it can");
        return;
    };
    let chunks = bytes.chunks(PART_BYTES);
    // Four thousand million parts are a petabyte.
    let parts = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    for (number, chunk) in (0..parts).zip(chunks) {
        let part = Part {
            seq: state.seq,
            at: state.at,
            number,
            parts,
            bytes: chunk.to_vec(),
        };
        if !keep(part, queue) {
            return;
        }
    }
}

/// Whether the writer stored the part; if not it has ended.
fn keep(part: Part, queue: &mpsc::WeakSender<Command>) -> bool {
    let (kept, answer) = oneshot::channel();
    // Upgraded for the moment of sending only: an idle queue with no callers left must be seen to be so.
    let sent = queue
        .upgrade()
        .is_some_and(|queue| queue.blocking_send(Command::Keep { part, kept }).is_ok());
    sent && answer.blocking_recv().is_ok()
}
