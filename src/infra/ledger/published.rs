//! What the rest of the process sees of the ledger: the state, the batches as they come, its health, counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::broadcast;

use crate::domain::event::Entry;
use crate::domain::state::State;
use crate::infra::metrics::LedgerMetrics;
use crate::infra::watch;

use super::error::FatalError;

/// Batches kept for a slow subscriber: seconds of a busy pool. Whoever falls further behind is told so and
/// reads the state instead.
pub(super) const BACKLOG_BATCHES: usize = 1024;

/// Events that became durable together, and the state after the last of them.
#[derive(Debug)]
pub struct Batch {
    /// In order; never empty.
    pub entries: Vec<Entry>,
    pub state: Arc<State>,
}

/// Whether the ledger can write. Once failed, it has failed for ever.
#[derive(Debug, Clone)]
pub enum Health {
    Ok,
    Failed(Arc<FatalError>),
}

impl Health {
    /// Why it has failed, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<&Arc<FatalError>> {
        match self {
            Self::Ok => None,
            Self::Failed(error) => Some(error),
        }
    }
}

/// What the ledger has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Groups committed.
    pub commits: u64,
    /// Groups refused by the state.
    pub rejected: u64,
    /// Events committed.
    pub events: u64,
    /// Durable transactions that carried them: `commits / transactions` is how well group commit groups.
    pub transactions: u64,
    /// Snapshots completed.
    pub snapshots: u64,
}

pub(super) struct Published {
    state: ArcSwap<State>,
    batches: broadcast::Sender<Arc<Batch>>,
    health: watch::Sender<Health>,
    commits: AtomicU64,
    rejected: AtomicU64,
    events: AtomicU64,
    transactions: AtomicU64,
    snapshots: AtomicU64,
    pub metrics: LedgerMetrics,
}

impl Published {
    pub fn new(state: State) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            batches: broadcast::Sender::new(BACKLOG_BATCHES),
            health: watch::Sender::new(Health::Ok),
            commits: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            events: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            metrics: LedgerMetrics::default(),
        }
    }

    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.batches.subscribe()
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub fn failure(&self) -> Option<Arc<FatalError>> {
        self.health.borrow().failure().cloned()
    }

    /// What `commits` groups made of the state, now durable.
    pub fn publish(&self, entries: Vec<Entry>, state: Arc<State>, commits: usize) {
        self.commits.fetch_add(commits as u64, Ordering::Relaxed);
        self.events.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.metrics.published(&self.state(), &entries, &state, commits);
        // The state first: whoever hears of the batch finds it there.
        self.state.store(Arc::clone(&state));
        // An error only says that nobody listens.
        let _ = self.batches.send(Arc::new(Batch { entries, state }));
    }

    pub fn fail(&self, error: Arc<FatalError>) {
        self.health.send_replace(Health::Failed(error));
    }

    pub fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_snapshot(&self) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
        self.metrics.snapshot_completed();
    }

    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            commits: read(&self.commits),
            rejected: read(&self.rejected),
            events: read(&self.events),
            transactions: read(&self.transactions),
            snapshots: read(&self.snapshots),
        }
    }
}
