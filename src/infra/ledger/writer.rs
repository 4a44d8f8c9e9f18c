//! The one durable writer: an operating-system thread that turns queued commands into transactions.
//!
//! ```text
//! queue ─► stage: State::with, one after the other ─► one transaction ─► publish ─► answer all
//!                   │ refused: answered alone             │ cannot write
//!                   └─ the others go on                   └─► fail-stop: nothing staged is ever visible
//! ```
//!
//! It takes what waits and no more: nothing is delayed to make a group larger. While one transaction is being
//! synced the next group gathers by itself.
//!
//! A refusal is answered after the transaction of its group, since what made it impossible may be part of
//! that group: a caller that is refused finds the reason in the state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::domain::event::{Entry, Event};
use crate::domain::ids::Seq;
use crate::domain::state::{Rejected, State};
use crate::domain::time::Timestamp;
use crate::infra::watch;

use super::Committed;
use super::error::{CommitError, FatalError, OpenError, StorageError};
use super::journal::{Journal, Part, Row};
use super::lock::Lock;
use super::published::Published;
use super::snapshot::Snapshots;

/// Bytes of JSON in one transaction, so that a few huge groups do not delay those behind them. A single group
/// may be larger.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) type Reply = oneshot::Sender<Result<Committed, CommitError>>;

/// What the writer is asked for.
pub(super) enum Command {
    Append(Append),
    /// Store a piece of a snapshot. The answer comes once it is durable.
    Keep {
        part: Part,
        kept: oneshot::Sender<()>,
    },
    /// Say when everything queued before this is decided.
    Settle {
        settled: oneshot::Sender<()>,
    },
    /// Finish what was queued before this, then end.
    Close,
}

/// A group of events to be committed.
pub(super) struct Append {
    pub at: Timestamp,
    pub events: Vec<Event>,
    /// Each event as JSON.
    pub rows: Vec<Vec<u8>>,
    pub reply: Reply,
}

pub(super) struct Writer {
    pub journal: Journal,
    /// Never read: holding it is its use.
    pub lock: Lock,
    pub queue: mpsc::Receiver<Command>,
    /// The way of snapshots back into the queue; weak, so that it does not keep the queue open.
    pub sender: mpsc::WeakSender<Command>,
    pub published: Arc<Published>,
    pub batch_max: usize,
    pub snapshots: Snapshots,
}

impl Writer {
    /// Starts the thread. What is returned turns true when the thread has let go of journal and lock.
    pub fn start(self) -> Result<watch::Receiver<bool>, OpenError> {
        let (finished, finish) = watch::channel(false);
        let run = move || {
            let published = Arc::clone(&self.published);
            let path = self.journal.path().to_owned();
            guard(&published, path, || self.run());
            finished.send_replace(true);
        };
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(run)
            .map_err(OpenError::Thread)?;
        Ok(finish)
    }

    fn run(mut self) {
        let mut outcome = Ok(());
        while let Some(first) = self.queue.blocking_recv() {
            let before = self.published.state();
            let group = self.gather(first, &before);
            let closes = group.closes;
            outcome = self.write(group, &before);
            if closes || outcome.is_err() {
                break;
            }
            self.snapshots.consider(&self.published.state(), &self.sender);
        }
        self.end(outcome);
    }

    /// Stages what waits, up to the limits.
    fn gather(&mut self, first: Command, before: &State) -> Group {
        let mut group = Group::after(before);
        group.take(first);
        while !group.is_full(self.batch_max)
            && let Ok(command) = self.queue.try_recv()
        {
            group.take(command);
        }
        group
    }

    /// Makes the group durable, then visible, then answers it.
    fn write(&mut self, group: Group, before: &State) -> Result<(), Arc<FatalError>> {
        if group.has_something_to_store() {
            let began = Instant::now();
            if let Err(error) = self.journal.append(group.rows(before.seq), group.part()) {
                let error = self.fail(error);
                group.answer_failed(&error);
                return Err(error);
            }
            self.published.metrics.synced(began.elapsed());
        }
        let completed = group.part().filter(|part| part.is_last()).map(|part| part.seq);
        group.publish(&self.published, before.seq);
        if let Some(seq) = completed {
            self.published.count_snapshot();
            let kept = self.snapshots.completed(seq);
            self.journal
                .keep_snapshots(kept)
                .map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// From here on the ledger has failed; said before anybody is answered.
    fn fail(&self, error: StorageError) -> Arc<FatalError> {
        let error = Arc::new(FatalError::from(error));
        error!(error = %error, cause = %chain(&*error), "the ledger has stopped");
        self.published.fail(Arc::clone(&error));
        error
    }

    fn end(mut self, outcome: Result<(), Arc<FatalError>>) {
        self.queue.close();
        while let Ok(command) = self.queue.try_recv() {
            if let Command::Append(append) = command {
                let answer = match &outcome {
                    Ok(()) => CommitError::Closed,
                    Err(error) => CommitError::Failed(Arc::clone(error)),
                };
                // An error only says that the caller waits no more.
                let _ = append.reply.send(Err(answer));
            }
        }
        self.snapshots.join();
        let seq = self.published.state().seq;
        match outcome {
            // After a failure the files are left as they are: what is in them is for the next start to say.
            Err(_) => drop(self.journal),
            Ok(()) => match self.journal.close() {
                Ok(()) => info!(%seq, "the ledger is closed"),
                Err(error) => warn!(%seq, %error, "the ledger is closed; its log stays beside the journal"),
            },
        }
        drop(self.lock);
    }
}

/// Runs the writer; should it panic, the ledger has failed like with a broken disk.
fn guard(published: &Published, path: PathBuf, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        error!(journal = %path.display(), "the ledger's thread died");
        published.fail(Arc::new(FatalError::WriterDied { path }));
    }
}

/// The causes beneath an error, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What is going to be one transaction.
struct Group {
    /// The state after everything staged.
    state: State,
    staged: Vec<Append>,
    refused: Vec<(Reply, Rejected)>,
    keep: Option<(Part, oneshot::Sender<()>)>,
    /// Wait for this group and those before it.
    settling: Vec<oneshot::Sender<()>>,
    bytes: usize,
    closes: bool,
}

impl Group {
    fn after(state: &State) -> Self {
        Self {
            state: state.clone(),
            staged: Vec::new(),
            refused: Vec::new(),
            keep: None,
            settling: Vec::new(),
            bytes: 0,
            closes: false,
        }
    }

    /// Full at its limits; also after a piece of a snapshot, of which a transaction carries one, and after the
    /// command to end.
    fn is_full(&self, batch_max: usize) -> bool {
        self.staged.len() + self.refused.len() + self.settling.len() >= batch_max
            || self.bytes >= BATCH_BYTES_MAX
            || self.keep.is_some()
            || self.closes
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Append(append) => self.stage(append),
            Command::Keep { part, kept } => self.keep = Some((part, kept)),
            Command::Settle { settled } => self.settling.push(settled),
            Command::Close => self.closes = true,
        }
    }

    fn stage(&mut self, append: Append) {
        // Its caller waits no more: it has been told that the outcome is not known, or is gone.
        if append.reply.is_closed() {
            return;
        }
        match self.state.with(&append.events, append.at) {
            Ok(state) => {
                self.state = state;
                self.bytes += append.rows.iter().map(Vec::len).sum::<usize>();
                self.staged.push(append);
            }
            Err(rejected) => self.refused.push((append.reply, rejected)),
        }
    }

    fn has_something_to_store(&self) -> bool {
        !self.staged.is_empty() || self.keep.is_some()
    }

    fn part(&self) -> Option<&Part> {
        self.keep.as_ref().map(|(part, _)| part)
    }

    /// The rows to store, numbered from the one after `seq`.
    fn rows(&self, seq: Seq) -> impl Iterator<Item = Row<'_>> {
        let events = self.staged.iter().flat_map(|append| {
            let at = append.at;
            append.rows.iter().map(move |event| (at, event))
        });
        events.zip(seq.0 + 1..).map(|((at, event), seq)| Row {
            seq: Seq(seq),
            at,
            event,
        })
    }

    /// Shows what is durable now and answers everybody. Nobody who is answered finds the state older than the
    /// answer. A failed send only says that the caller waits no more.
    fn publish(self, published: &Published, mut seq: Seq) {
        let state = Arc::new(self.state);
        let mut entries = Vec::with_capacity(self.staged.len());
        let mut answers = Vec::with_capacity(self.staged.len());
        for append in self.staged {
            for event in append.events {
                seq = seq.next();
                let at = append.at;
                entries.push(Entry { seq, at, event });
            }
            answers.push((append.reply, seq));
        }
        if !entries.is_empty() {
            published.publish(entries, Arc::clone(&state), answers.len());
        }
        for (reply, seq) in answers {
            let state = Arc::clone(&state);
            let _ = reply.send(Ok(Committed { seq, state }));
        }
        for (reply, rejected) in self.refused {
            published.count_rejected();
            let _ = reply.send(Err(CommitError::Rejected(rejected)));
        }
        if let Some((_, kept)) = self.keep {
            let _ = kept.send(());
        }
        for settled in self.settling {
            let _ = settled.send(());
        }
    }

    /// Nothing of the group was made visible, so nobody in it is answered but with the failure.
    fn answer_failed(self, error: &Arc<FatalError>) {
        let staged = self.staged.into_iter().map(|append| append.reply);
        for reply in staged.chain(self.refused.into_iter().map(|(reply, _)| reply)) {
            let _ = reply.send(Err(CommitError::Failed(Arc::clone(error))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_panics_has_failed_for_ever() {
        let published = Published::new(State::default());
        guard(&published, "journal.db".into(), || {});
        assert!(published.failure().is_none());
        guard(&published, "journal.db".into(), || panic!("a defect"));
        let failure = published.failure().map(|error| error.to_string());
        assert!(failure.is_some_and(|text| text.contains("journal.db died of a defect")));
    }
}
