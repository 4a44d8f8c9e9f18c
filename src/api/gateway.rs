//! What every route and every socket shares: the handle to the tree, the options, and the bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::ConfigView;
use super::error::ApiError;
use super::limits::Bucket;
use super::options::Options;
use super::project::{self, Reach};
use super::socket::Transports;
use super::types::pool::{Counts, PoolStatus};
use super::types::vm::VmRecord;
use super::uploads::Uploads;
use crate::actors::coordinator::{CommandError, Coordinator};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::vm::Vm;

/// How long a written pool view is served for an unchanged ledger. What may be stale by that is only what the
/// board says, whose own checks are seconds apart.
const POOL_VIEW_AGE_MAX: Duration = Duration::from_millis(250);
/// Boot webhooks: a whole pool may boot at once, and each VM posts once.
const HINTS_BURST: u32 = 50;
const HINTS_PER_SECOND: f64 = 5.0;
/// A pair of Prometheus servers scrapes at a time; with thousands of VMs each answer is megabytes.
const SCRAPES_MAX: usize = 2;
/// Time in which as many Socket.IO sessions may be opened as there may be clients, and how many if those are
/// few: clients come back.
const HANDSHAKE_WINDOW_S: f64 = 10.0;
const HANDSHAKES_MIN: u32 = 64;

/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

struct Shared {
    coordinator: Coordinator,
    options: Options,
    last_activity: AtomicU64,
    sockets: AtomicUsize,
    delta_sockets: AtomicUsize,
    transports: Transports,
    requests: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
    uploads: Uploads,
    waits: Semaphore,
    hints: Bucket,
    handshakes: Bucket,
    pool_view: ArcSwapOption<PoolView>,
}

/// The pool as written for one ledger position.
struct PoolView {
    seq: u64,
    written_at: Instant,
    json: Bytes,
}

impl Gateway {
    #[must_use]
    pub fn new(options: Options, coordinator: Coordinator) -> Self {
        let handshakes = u32::try_from(options.sockets_max)
            .unwrap_or(u32::MAX)
            .max(HANDSHAKES_MIN);
        Self(Arc::new(Shared {
            last_activity: AtomicU64::new(coordinator.now().0),
            sockets: AtomicUsize::new(0),
            delta_sockets: AtomicUsize::new(0),
            transports: Transports::default(),
            requests: Arc::new(Semaphore::new(options.requests_max)),
            scrapes: Arc::new(Semaphore::new(SCRAPES_MAX)),
            uploads: Uploads::new(options.uploads_max),
            waits: Semaphore::new(options.waits_max),
            hints: Bucket::new(HINTS_BURST, HINTS_PER_SECOND),
            handshakes: Bucket::new(handshakes, f64::from(handshakes) / HANDSHAKE_WINDOW_S),
            pool_view: ArcSwapOption::empty(),
            coordinator,
            options,
        }))
    }

    #[must_use]
    pub fn coordinator(&self) -> &Coordinator {
        &self.0.coordinator
    }

    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.0.coordinator.state()
    }

    #[must_use]
    pub fn reach(&self) -> Reach {
        let coordinator = &self.0.coordinator;
        Reach::new(coordinator.address(), &self.0.options, &coordinator.settings())
    }

    /// Bound on requests that are being answered.
    #[must_use]
    pub fn requests(&self) -> &Arc<Semaphore> {
        &self.0.requests
    }

    /// Bound on scrapes that are being answered.
    #[must_use]
    pub fn scrapes(&self) -> &Arc<Semaphore> {
        &self.0.scrapes
    }

    /// Bound on request bodies on their way.
    #[must_use]
    pub fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    /// Bound on assign requests that are held open.
    #[must_use]
    pub fn waits(&self) -> &Semaphore {
        &self.0.waits
    }

    /// Bound on boot webhooks.
    #[must_use]
    pub fn hints(&self) -> &Bucket {
        &self.0.hints
    }

    /// Bound on Socket.IO sessions being opened.
    #[must_use]
    pub fn handshakes(&self) -> &Bucket {
        &self.0.handshakes
    }

    /// Connected Socket.IO clients.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.0.sockets.load(Ordering::Relaxed)
    }

    /// Those of them that get deltas.
    #[must_use]
    pub fn delta_sockets(&self) -> usize {
        self.0.delta_sockets.load(Ordering::Relaxed)
    }

    /// Connections of Socket.IO sessions.
    #[must_use]
    pub fn transports(&self) -> &Transports {
        &self.0.transports
    }

    /// Counts one more Socket.IO client, unless there are too many. Each admitted one is to be forgotten once.
    #[must_use]
    pub fn admit_socket(&self, deltas: bool) -> bool {
        let max = self.0.options.sockets_max;
        let more = |now: usize| (now < max).then_some(now + 1);
        let admitted = self
            .0
            .sockets
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if admitted && deltas {
            self.0.delta_sockets.fetch_add(1, Ordering::Relaxed);
        }
        let metrics = self.0.coordinator.metrics();
        if admitted {
            metrics.sockets.rise([feed(deltas)]);
        } else {
            metrics.sockets_cut.count(["full"]);
        }
        admitted
    }

    /// Counts one Socket.IO client less.
    pub fn forget_socket(&self, deltas: bool) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
        if deltas {
            self.0.delta_sockets.fetch_sub(1, Ordering::Relaxed);
        }
        self.0.coordinator.metrics().sockets.fall([feed(deltas)]);
    }

    /// Somebody did something.
    pub fn touch(&self) {
        self.0
            .last_activity
            .store(self.0.coordinator.now().0, Ordering::Relaxed);
    }

    #[must_use]
    pub fn last_activity(&self) -> Timestamp {
        Timestamp(self.0.last_activity.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn idle(&self) -> Duration {
        self.0.coordinator.now().since(self.last_activity())
    }

    /// # Errors
    /// 503 until the pool has been looked at for the first time.
    pub fn require_initialized(&self) -> Result<(), ApiError> {
        let readiness = self.0.coordinator.readiness();
        if readiness.initialized {
            Ok(())
        } else {
            Err(ApiError::not_initialized(readiness.reason))
        }
    }

    /// What a refused command looks like to a client.
    #[must_use]
    pub fn refuse(&self, error: CommandError) -> ApiError {
        ApiError::from_command(error, &self.state())
    }

    #[must_use]
    pub fn config(&self) -> ConfigView {
        ConfigView::new(&self.0.coordinator.settings(), &self.0.options.launch)
    }

    /// One VM as it is now.
    #[must_use]
    pub fn record(&self, vm: &Vm, reach: Reach) -> VmRecord {
        project::record(vm, &self.0.coordinator.board().latest(&vm.id), reach)
    }

    /// The pool as it is now.
    #[must_use]
    pub fn pool_status(&self) -> PoolStatus {
        let readiness = self.0.coordinator.readiness();
        if !readiness.initialized {
            return PoolStatus {
                initialized: false,
                message: Some(
                    readiness
                        .reason
                        .unwrap_or_else(|| "VM pool manager not initialized".into()),
                ),
                vms: Vec::new(),
                config: None,
                pool_config: None,
                counts: Counts::default(),
                summary: Counts::default(),
                seq: self.state().seq.0,
            };
        }
        let state = self.state();
        let reach = self.reach();
        let vms = state.vms().map(|vm| Arc::new(self.record(vm, reach))).collect();
        self.pool_status_of(&state, vms)
    }

    /// A pool status from records that were made already.
    #[must_use]
    pub fn pool_status_of(&self, state: &State, vms: Vec<Arc<VmRecord>>) -> PoolStatus {
        let (counts, config) = (project::counts(state), self.config());
        PoolStatus {
            initialized: true,
            message: None,
            vms,
            pool_config: Some(config.clone()),
            config: Some(config),
            counts,
            summary: counts,
            seq: state.seq.0,
        }
    }

    /// The pool as JSON, written once per ledger position and shared.
    ///
    /// # Errors
    /// Only if it cannot be written as JSON, which its types rule out.
    pub fn pool_json(&self) -> Result<Bytes, serde_json::Error> {
        let seq = self.state().seq.0;
        if let Some(view) = self.0.pool_view.load().as_ref()
            && view.seq == seq
            && view.written_at.elapsed() < POOL_VIEW_AGE_MAX
        {
            return Ok(view.json.clone());
        }
        let status = self.pool_status();
        let json = Bytes::from(serde_json::to_vec(&status)?);
        if status.initialized {
            let (seq, written_at) = (status.seq, Instant::now());
            self.0.pool_view.store(Some(Arc::new(PoolView {
                seq,
                written_at,
                json: json.clone(),
            })));
        }
        Ok(json)
    }
}

fn feed(deltas: bool) -> &'static str {
    if deltas { "deltas" } else { "snapshots" }
}
