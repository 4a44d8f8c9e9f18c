//! The ledger: the one place where facts become durable, and the state that they add up to.
//!
//! ```text
//!            queue (bounded)                          SQLite, WAL, synchronous=FULL
//! commit ──► ▒▒▒▒▒▒▒▒▒▒▒▒▒▒ ──► writer (one thread) ──► journal file
//!    ▲                              │ after the sync
//!    └────────── answer ◄───────────┼──► state()      the fold of all events, lock-free
//!                                   ├──► subscribe()  every batch, in order, without gaps
//!                                   └──► health()     Ok, or failed for ever
//! ```
//!
//! What it promises:
//!
//! - A commit that returned `Ok` survives the death of the process and of the machine: it was synced.
//! - A group of events is written as a whole or not at all.
//! - The state is always that of a prefix of the journal: nothing is visible before it is durable, and the
//!   journal replayed gives the state in memory, exactly.
//! - When the journal cannot be written, the ledger stops for good and says why and what to do. It never
//!   carries on without a disk, and never retries a failed sync: what a disk then holds is not known.
//!
//! What it does not do: decide anything ([`State::apply`](crate::domain::state::State::apply) does), forget
//! history (every event stays in the file), keep observations that need not survive, or share a journal
//! between processes.

mod error;
mod journal;
mod lock;
mod look;
mod memory;
mod published;
mod replay;
mod snapshot;
mod writer;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, debug, debug_span, info};

use crate::domain::event::Event;
use crate::domain::ids::Seq;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::infra::metrics::LedgerMetrics;
use crate::infra::watch;

pub use error::{CloseError, CommitError, Defect, FatalError, OpenError, StorageError, Stranger};
pub use lock::{Holder, last_holder};
pub use look::{Look, look};
pub use memory::{Death, MemoryJournal};
pub use published::{Batch, Counts, Health};

use journal::Journal;
use lock::Lock;
use memory::Memory;
use published::Published;
use snapshot::Snapshots;
use writer::{Append, Command, Writer};

/// Far beyond a healthy disk, near enough for somebody who waits for an answer.
const COMMIT_DEADLINE: Duration = Duration::from_secs(5);
/// Limit on a graceful close: all commits in flight and the final checkpoint.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Where the journal is and how it is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// The journal's file. Beside it live `-wal` and `-shm` (SQLite's) and `.lock`.
    pub path: PathBuf,
    /// Commits that may wait; more are refused at once. At least 1.
    pub queue_max: usize,
    /// Commits in one transaction. At least 1.
    pub batch_max: usize,
    /// Events from one snapshot to the next, which bounds the replay at the next start. At least 1.
    pub snapshot_every: u64,
    /// Limit on each commit, from call to answer.
    pub commit_deadline: Duration,
}

impl Options {
    /// The usual limits for the journal at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            // A second's worth at the rate of a slow disk with group commit.
            queue_max: 4096,
            // Beyond this the sync is a small part of a transaction's cost.
            batch_max: 512,
            // A tenth of a second of replay, and still rare enough for a state of megabytes.
            snapshot_every: 20_000,
            commit_deadline: COMMIT_DEADLINE,
        }
    }
}

/// A group that is durable and visible.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Of the group's last event.
    pub seq: Seq,
    /// The state right after the batch that contains the group.
    pub state: Arc<State>,
}

/// A handle to the ledger; clones share it. When the last one is dropped the ledger closes as by
/// [`Ledger::close`], in its own time.
#[derive(Clone)]
pub struct Ledger {
    published: Arc<Published>,
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Thread(Arc<Thread>),
    Memory(Arc<Memory>),
}

/// The caller's side of the writer's thread.
struct Thread {
    queue: mpsc::Sender<Command>,
    finished: watch::Receiver<bool>,
    commit_deadline: Duration,
    path: PathBuf,
}

impl Ledger {
    /// Opens the journal, or creates it and its folder; takes the lock of its one process; replays it; starts
    /// the writer. Blocks on the disk: to be called before the runtime has work, or in `spawn_blocking`.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with which file and what to do. The journal is as it was then.
    pub fn open(options: Options) -> Result<Ledger, OpenError> {
        create_folder(&options.path)?;
        let lock = Lock::acquire(&options.path)?;
        let journal = Journal::open(&options.path)?;
        Self::start(options, lock, journal)
    }

    fn start(options: Options, lock: Lock, journal: Journal) -> Result<Ledger, OpenError> {
        let replayed = replay::read(&journal)?;
        info!(
            journal = %options.path.display(),
            seq = %replayed.state.seq,
            snapshot = %replayed.snapshot,
            vms = replayed.state.vm_count(),
            "the ledger is open"
        );
        let published = Arc::new(Published::new(replayed.state));
        let (sender, queue) = mpsc::channel(options.queue_max.max(1));
        let writer = Writer {
            journal,
            lock,
            queue,
            sender: sender.downgrade(),
            published: Arc::clone(&published),
            batch_max: options.batch_max.max(1),
            snapshots: Snapshots::new(options.snapshot_every, replayed.snapshot),
        };
        let thread = Thread {
            finished: writer.start()?,
            queue: sender,
            commit_deadline: options.commit_deadline,
            path: options.path,
        };
        Ok(Ledger {
            published,
            backend: Backend::Thread(Arc::new(thread)),
        })
    }

    /// An empty ledger in memory, for tests in paused time: without a thread, and without waiting.
    #[must_use]
    pub fn in_memory() -> Ledger {
        Self::over_memory(Memory::empty(COMMIT_DEADLINE), State::default())
    }

    /// A ledger over a journal in memory, replayed from its first event. A ledger that had it open is cut off:
    /// its commits are answered [`CommitError::Closed`], as if its process had been killed.
    ///
    /// # Errors
    /// [`OpenError`] as from [`Ledger::open`] if the journal does not replay to a sound state.
    pub fn open_in_memory(journal: &MemoryJournal) -> Result<Ledger, OpenError> {
        let (memory, state) = Memory::open(journal, COMMIT_DEADLINE)?;
        Ok(Self::over_memory(memory, state))
    }

    fn over_memory(memory: Memory, state: State) -> Ledger {
        Ledger {
            published: Arc::new(Published::new(state)),
            backend: Backend::Memory(Arc::new(memory)),
        }
    }

    /// Appends a group of events as one unit: when this returns `Ok` the group is durable, folded into the
    /// state and published. An empty group commits nothing and returns the present state. Time may go
    /// backwards from one commit to the next; `at` is stored as given.
    ///
    /// A dropped call is like [`CommitError::TimedOut`]: the group may or may not become durable.
    ///
    /// # Errors
    /// [`CommitError`]; after any but [`CommitError::TimedOut`] and [`CommitError::Failed`] nothing of the
    /// group was written.
    pub async fn commit(&self, at: Timestamp, events: Vec<Event>) -> Result<Committed, CommitError> {
        if events.is_empty() {
            let state = self.state();
            return Ok(Committed {
                seq: state.seq,
                state,
            });
        }
        let began = Instant::now();
        let span = debug_span!("commit", events = events.len());
        let told = async {
            let answer = self.append(at, events).await;
            match &answer {
                Ok(committed) => debug!(seq = committed.seq.0, "committed"),
                Err(error) => debug!(%error, "not committed"),
            }
            answer
        };
        let answer = told.instrument(span).await;
        let metrics = &self.published.metrics;
        metrics.commits.count([outcome(&answer)]);
        if answer.is_ok() {
            metrics.commit_duration.took(began.elapsed());
        }
        answer
    }

    async fn append(&self, at: Timestamp, events: Vec<Event>) -> Result<Committed, CommitError> {
        // On the caller's thread: the writer's time is everybody's.
        let rows = replay::encode(&events)?;
        match &self.backend {
            Backend::Memory(memory) => memory.commit(&self.published, at, events, rows).await,
            Backend::Thread(thread) => {
                let (reply, answer) = oneshot::channel();
                self.enqueue(
                    thread,
                    Append {
                        at,
                        events,
                        rows,
                        reply,
                    },
                )?;
                match timeout(thread.commit_deadline, answer).await {
                    Ok(Ok(answer)) => answer,
                    // It answers everybody as long as it lives.
                    Ok(Err(_)) => Err(CommitError::Failed(Arc::new(FatalError::WriterDied {
                        path: thread.path.clone(),
                    }))),
                    Err(_) => Err(CommitError::TimedOut(thread.commit_deadline)),
                }
            }
        }
    }

    /// Returns once everything that was handed in before this call is decided: it is in the state, or it never
    /// will be. Whoever takes over from a caller that died over a commit reads the state after this.
    ///
    /// # Errors
    /// [`CommitError::TimedOut`]; [`CommitError::Closed`] and [`CommitError::Failed`], after which the state
    /// changes no more.
    pub async fn settled(&self) -> Result<(), CommitError> {
        let thread = match &self.backend {
            Backend::Memory(memory) => return memory.settled(&self.published).await,
            Backend::Thread(thread) => thread,
        };
        let (settled, decided) = oneshot::channel();
        let wait = async {
            // An error of the first drops the other end of the second.
            let _ = thread.queue.send(Command::Settle { settled }).await;
            decided.await
        };
        match timeout(thread.commit_deadline, wait).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                let failure = self.published.failure();
                Err(failure.map_or(CommitError::Closed, CommitError::Failed))
            }
            Err(_) => Err(CommitError::TimedOut(thread.commit_deadline)),
        }
    }

    fn enqueue(&self, thread: &Thread, append: Append) -> Result<(), CommitError> {
        match thread.queue.try_send(Command::Append(append)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(CommitError::QueueFull),
            Err(TrySendError::Closed(_)) => {
                let failure = self.published.failure();
                Err(failure.map_or(CommitError::Closed, CommitError::Failed))
            }
        }
    }

    /// The state after everything that is durable. Never waits.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.published.state()
    }

    /// Every batch from now on, in order and without gaps. Subscribe first, then read [`Ledger::state`], and
    /// skip the batches that it contains already. A subscriber that falls too far behind is told so
    /// (`RecvError::Lagged`) and reads the state again.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.published.subscribe()
    }

    /// Whether the ledger can write, and when that ends.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.published.health()
    }

    /// What was done since it was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.published.counts()
    }

    /// The same for Prometheus, and what happened by it.
    #[must_use]
    pub fn metrics(&self) -> &LedgerMetrics {
        &self.published.metrics
    }

    /// Commits that wait for the writer, and how many may; `None` in memory, where none waits.
    #[must_use]
    pub fn queued(&self) -> Option<(usize, usize)> {
        match &self.backend {
            Backend::Memory(_) => None,
            Backend::Thread(thread) => {
                let limit = thread.queue.max_capacity();
                Some((limit - thread.queue.capacity(), limit))
            }
        }
    }

    /// Closes gracefully: commits in flight finish, later ones are answered [`CommitError::Closed`], the log
    /// is moved into the journal's file, the lock is released. May be called more than once.
    ///
    /// # Errors
    /// [`CloseError`]; everything acknowledged is durable all the same.
    pub async fn close(&self) -> Result<(), CloseError> {
        match &self.backend {
            Backend::Memory(memory) => memory.close(&self.published, CLOSE_DEADLINE).await,
            Backend::Thread(thread) => {
                let mut finished = thread.finished.clone();
                let closed = async {
                    // An error says that the writer has ended already; so does one of the next line.
                    let _ = thread.queue.send(Command::Close).await;
                    let _ = finished.wait_for(|finished| *finished).await;
                };
                timeout(CLOSE_DEADLINE, closed)
                    .await
                    .map_err(|_| CloseError::TimedOut(CLOSE_DEADLINE))?;
                self.published
                    .failure()
                    .map_or(Ok(()), |error| Err(CloseError::Failed(error)))
            }
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("seq", &self.state().seq)
            .finish_non_exhaustive()
    }
}

/// How a commit ended, in one word for Prometheus.
fn outcome(answer: &Result<Committed, CommitError>) -> &'static str {
    match answer {
        Ok(_) => "committed",
        Err(CommitError::Rejected(_)) => "rejected",
        Err(CommitError::QueueFull) => "queue_full",
        Err(CommitError::NotStorable { .. }) => "not_storable",
        Err(CommitError::Failed(_)) => "failed",
        Err(CommitError::Closed) => "closed",
        Err(CommitError::TimedOut(_)) => "timed_out",
    }
}

/// Creates the journal's folder, for this user alone, and so durably that a journal in it cannot vanish with it.
fn create_folder(journal: &Path) -> Result<(), StorageError> {
    let folder = match journal.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => return Ok(()),
    };
    let storage = |error| StorageError::from_io(folder, error);
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(storage)?;
    missing
        .iter()
        .try_for_each(|made| sync_entry(made))
        .map_err(storage)
}

/// A folder's name is kept by its parent.
fn sync_entry(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
