//! Invariants watched while a rehearsal runs, from both ends: the coordinator's ledger and the ingest.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::report::Invariants;
use crate::actors::coordinator::{Batch, Coordinator};
use crate::domain::invariants;
use crate::sim::wire::Ingest;

/// Looks at every state the ledger publishes.
pub struct Watch {
    found: Arc<Mutex<Invariants>>,
    task: JoinHandle<()>,
}

impl Watch {
    #[must_use]
    pub fn begin(coordinator: &Coordinator) -> Self {
        let found = Arc::new(Mutex::new(Invariants::default()));
        let task = tokio::spawn(look(coordinator.feed(), Arc::clone(&found)));
        Self { found, task }
    }

    /// What was found.
    #[must_use]
    pub fn end(self) -> Invariants {
        self.task.abort();
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds what the ingest saw: two publishers at once break the first invariant whatever anybody else says.
pub fn add_ingest(found: &mut Invariants, ingest: &Ingest) {
    found.checked += ingest.stretches().len() as u64;
    for overlap in ingest.overlaps() {
        let (one, other) = overlap.publishers;
        found.violations.push(format!(
            "{one} and {other} published {} at the same time for {} ms",
            overlap.key,
            overlap.to.since(overlap.from).as_millis()
        ));
    }
}

async fn look(mut feed: broadcast::Receiver<Arc<Batch>>, found: Arc<Mutex<Invariants>>) {
    loop {
        match feed.recv().await {
            Ok(batch) => {
                let violations = invariants::violations(&batch.state);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.checked += 1;
                found.violations.extend(violations);
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
