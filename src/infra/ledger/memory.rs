//! The ledger without a disk, for tests in paused time: the same rows, the same replay, no thread.
//!
//! Its disk is as good as it is told to be: [`MemoryJournal::leave_room_for`] fills it,
//! [`MemoryJournal::slow_down`] has every commit take its time, and [`MemoryJournal::die_at_next_commit`] ends the
//! process that writes it at the worst moment. What a ledger makes of these is what it makes of a real disk's.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use crate::domain::event::{Entry, Event};
use crate::domain::ids::Seq;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::infra::watch;

use super::Committed;
use super::error::{CloseError, CommitError, FatalError, OpenError, StorageError};
use super::journal::Row;
use super::published::Published;
use super::replay::Fold;

/// Stands for a path in sentences.
const PLACE: &str = "(memory)";

/// A journal in memory. It outlives the ledgers opened on it, as a file outlives processes: clones share it,
/// and opening it again is what a restart is to a file.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Disk>);

#[derive(Debug, Default)]
struct Disk {
    rows: Mutex<Rows>,
    /// How often a process died over a commit.
    deaths: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<(Timestamp, Vec<u8>)>,
    /// Which ledger may write; rises by one with each that is opened or closed.
    owner: u64,
    events_max: Option<usize>,
    /// What every commit takes.
    delay: Duration,
    death: Option<Death>,
    /// Whose process died last over a commit.
    dead: Option<u64>,
}

/// When, within a commit, its process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Nothing of the group is on disk.
    BeforeTheSync,
    /// All of the group is on disk; whoever committed it has not been told.
    AfterTheSync,
}

impl MemoryJournal {
    /// A journal that was written before: each event as JSON, with the time of its commit.
    #[must_use]
    pub fn of(rows: impl IntoIterator<Item = (Timestamp, Vec<u8>)>) -> Self {
        let journal = Self::default();
        journal.rows().rows.extend(rows);
        journal
    }

    /// Events in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows().rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leaves the disk with room for so many more events, until [`MemoryJournal::free`]. The first commit that does
    /// not fit fails, and with it the ledger.
    pub fn leave_room_for(&self, events: usize) {
        let mut rows = self.rows();
        rows.events_max = Some(rows.rows.len() + events);
    }

    /// Makes room again. A ledger that has failed stays so; one that is opened now can write.
    pub fn free(&self) {
        self.rows().events_max = None;
    }

    /// From now on every commit takes this long, one after the other. Zero is as before.
    pub fn slow_down(&self, each: Duration) {
        self.rows().delay = each;
    }

    /// The process that has the journal open dies now: none of its commits is decided any more, and none answered but
    /// by its deadline.
    pub fn die(&self) {
        let mut rows = self.rows();
        rows.dead = Some(rows.owner);
        rows.owner += 1;
        drop(rows);
        self.0.deaths.send_modify(|deaths| *deaths += 1);
    }

    /// The process that has the journal open dies over its next commit: that one and every later one is never
    /// answered but by its deadline, and nothing of it is seen before the journal is opened again.
    pub fn die_at_next_commit(&self, death: Death) {
        self.rows().death = Some(death);
    }

    /// How often a process has died so far; changes the moment that one does.
    #[must_use]
    pub fn deaths(&self) -> watch::Receiver<u64> {
        self.0.deaths.subscribe()
    }

    /// The journal's state by replay, without opening it.
    ///
    /// # Errors
    /// [`OpenError`] as from [`super::Ledger::open_in_memory`].
    pub fn replay(&self) -> Result<State, OpenError> {
        replay(&self.rows())
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing in here panics between two changes that belong together.
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn replay(rows: &Rows) -> Result<State, OpenError> {
    let mut fold = Fold::new(State::default(), Path::new(PLACE));
    for ((at, event), seq) in rows.rows.iter().zip(1..) {
        fold.take(Row {
            seq: Seq(seq),
            at: *at,
            event,
        })?;
    }
    fold.finish()
}

/// One opening of a [`MemoryJournal`].
#[derive(Debug)]
pub(super) struct Memory {
    journal: MemoryJournal,
    owner: u64,
    commit_deadline: Duration,
    /// Held over each commit: the writer writes one after the other, in the order in which they came.
    turn: Arc<Turn<()>>,
}

/// A group on its way to the disk.
struct Group {
    at: Timestamp,
    events: Vec<Event>,
    rows: Vec<Vec<u8>>,
}

/// What became of a group; `None` if its process died over it.
type Written = Option<Result<Committed, CommitError>>;

impl Memory {
    /// A journal of its own, without events.
    pub fn empty(commit_deadline: Duration) -> Self {
        Self::over(MemoryJournal::default(), 0, commit_deadline)
    }

    /// Replays the journal and cuts off whoever had it open, as death cuts off a process.
    pub fn open(journal: &MemoryJournal, commit_deadline: Duration) -> Result<(Self, State), OpenError> {
        let mut rows = journal.rows();
        let state = replay(&rows)?;
        rows.owner += 1;
        Ok((Self::over(journal.clone(), rows.owner, commit_deadline), state))
    }

    fn over(journal: MemoryJournal, owner: u64, commit_deadline: Duration) -> Self {
        Self {
            journal,
            owner,
            commit_deadline,
            turn: Arc::default(),
        }
    }

    pub async fn commit(
        &self,
        published: &Arc<Published>,
        at: Timestamp,
        events: Vec<Event>,
        rows: Vec<Vec<u8>>,
    ) -> Result<Committed, CommitError> {
        let group = Group { at, events, rows };
        let delay = self.journal.rows().delay;
        let answer = async {
            // A commit whose caller waits no more when its turn comes is not begun.
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let written = if delay.is_zero() {
                self.write(published, group)
            } else {
                self.write_slowly(published, group, turn, delay).await
            };
            match written {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        };
        match timeout(self.commit_deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(CommitError::TimedOut(self.commit_deadline)),
        }
    }

    /// What has been begun is finished, whoever waits for it.
    async fn write_slowly(
        &self,
        published: &Arc<Published>,
        group: Group,
        turn: OwnedMutexGuard<()>,
        delay: Duration,
    ) -> Written {
        let (tell, told) = oneshot::channel();
        let published = Arc::clone(published);
        let disk = Self::over(self.journal.clone(), self.owner, self.commit_deadline);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let written = disk.write(&published, group);
            drop(turn);
            // An error only says that the caller waits no more.
            let _ = tell.send(written);
        });
        // It only vanishes with its runtime, as a process does.
        told.await.unwrap_or(None)
    }

    fn write(&self, published: &Published, group: Group) -> Written {
        let Group { at, events, rows } = group;
        let mut journal = self.journal.rows();
        if journal.dead == Some(self.owner) {
            return None;
        }
        if let Some(error) = published.failure() {
            return Some(Err(CommitError::Failed(error)));
        }
        if journal.owner != self.owner {
            return Some(Err(CommitError::Closed));
        }
        let before = published.state();
        let state = match before.with(&events, at) {
            Ok(state) => Arc::new(state),
            Err(rejected) => {
                published.count_rejected();
                return Some(Err(rejected.into()));
            }
        };
        let fits = |max| journal.rows.len() + rows.len() <= max;
        if !journal.events_max.is_none_or(fits) {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            let error = Arc::new(FatalError::from(StorageError::from_io(Path::new(PLACE), full)));
            published.fail(Arc::clone(&error));
            return Some(Err(CommitError::Failed(error)));
        }
        let death = journal.death.take();
        if death != Some(Death::BeforeTheSync) {
            journal.rows.extend(rows.into_iter().map(|row| (at, row)));
        }
        if death.is_some() {
            journal.dead = Some(self.owner);
            journal.owner += 1;
            drop(journal);
            self.journal.0.deaths.send_modify(|deaths| *deaths += 1);
            return None;
        }
        let numbered = events.into_iter().zip(before.seq.0 + 1..);
        let entries = numbered.map(|(event, seq)| Entry {
            seq: Seq(seq),
            at,
            event,
        });
        published.publish(entries.collect(), Arc::clone(&state), 1);
        Some(Ok(Committed {
            seq: state.seq,
            state,
        }))
    }

    /// Returns once everything that was handed in before this call is decided.
    pub async fn settled(&self, published: &Published) -> Result<(), CommitError> {
        let settled = async {
            let _turn = self.turn.lock().await;
            if self.journal.rows().dead == Some(self.owner) {
                std::future::pending::<()>().await;
            }
        };
        if timeout(self.commit_deadline, settled).await.is_err() {
            return Err(CommitError::TimedOut(self.commit_deadline));
        }
        match published.failure() {
            Some(error) => Err(CommitError::Failed(error)),
            None if self.journal.rows().owner != self.owner => Err(CommitError::Closed),
            None => Ok(()),
        }
    }

    /// Finishes what waits, then refuses the rest.
    pub async fn close(&self, published: &Published, limit: Duration) -> Result<(), CloseError> {
        let turn = timeout(limit, self.turn.lock()).await;
        let _turn = turn.map_err(|_| CloseError::TimedOut(limit))?;
        if let Some(error) = published.failure() {
            return Err(CloseError::Failed(error));
        }
        let mut journal = self.journal.rows();
        if journal.owner == self.owner {
            journal.owner += 1;
        }
        Ok(())
    }
}
