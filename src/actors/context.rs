//! What every actor needs: the clock, the ledger, the board, the outside world, and the way to the others.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use ractor::Message;
use tokio::sync::Semaphore;

use super::board::Board;
use super::cleaning::CleaningOptions;
use super::clock::Clock;
use super::coordinator::CloudStanding;
use super::executions::{ExecutionOptions, Executions};
use super::mailbox::ActorRef;
use super::news::{Alert, Item, Level, News};
use super::{cloud, pool, show, task, vm};
use crate::domain::event::Event;
use crate::domain::failover::{Cap, verdict};
use crate::domain::health::Thresholds;
use crate::domain::ids::{ShowId, VmId};
use crate::domain::instance::Instance;
use crate::domain::operation::Catalogue;
use crate::domain::pool::Settings;
use crate::domain::restart;
use crate::domain::service::Units;
use crate::domain::stall::{self, Stalls};
use crate::domain::state::State;
use crate::domain::studio::Secret;
use crate::domain::time::Timestamp;
use crate::infra::archive::Store;
use crate::infra::cloud::Cloud;
use crate::infra::ledger::{CommitError, Committed, Ledger};
use crate::infra::metrics::{CountedCloud, Metrics};
use crate::infra::probe::Probe;
use crate::infra::template::Templates;
use crate::infra::vault::Vault;
use crate::infra::{obs, ssh};

/// Each holds two parts of its recording in memory.
const ARCHIVES_AT_ONCE: usize = 4;
/// The same, of VMs that try again what could not be archived at a release.
const ARCHIVES_OF_VMS_AT_ONCE: usize = 2;
/// VMs that are cleaned at once on their own account. After an upgrade, or a restart, that may be all there are: each has
/// an execution, of which there are 64 unless configured otherwise, and up to 8 MiB of a machine's files in memory. A
/// pool of a hundred is clean in a minute.
const CLEANED_AT_ONCE: usize = 8;

/// The outside world. Without OBS or SSH the pool works, with less to go by.
#[derive(Clone)]
pub struct World {
    pub cloud: Arc<dyn Cloud>,
    pub probe: Arc<dyn Probe>,
    pub obs: Option<Arc<dyn obs::Connector>>,
    pub ssh: Option<Arc<dyn ssh::Connector>>,
    /// Keeps recordings; `None` where no bucket is configured.
    pub archive: Option<Arc<dyn Store>>,
    /// Seals the secrets of shows.
    pub vault: Arc<Vault>,
    /// What shows are made from.
    pub templates: Arc<Templates>,
}

/// Which of an instance's addresses the coordinator dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    Public,
    Private,
}

impl AddressKind {
    /// That address, if the instance has it now. A stopped instance may keep its private one.
    #[must_use]
    pub fn of(self, instance: &Instance) -> Option<IpAddr> {
        match self {
            Self::Public => instance.public_ip,
            Self::Private => instance.private_ip,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Options {
    /// The pool's settings until an operator changes them.
    pub settings: Settings,
    pub address: AddressKind,
    pub obs_port: u16,
    pub ssh_port: u16,
    /// Tell a VM's show server which show it serves.
    pub notify_show_server: bool,
    /// From asking for a start to the cloud saying running.
    pub start_timeout: Duration,
    /// From running to every service having answered.
    pub ready_timeout: Duration,
    pub stop_timeout: Duration,
    pub sweep_interval: Duration,
    pub probe: ProbeOptions,
    pub obs: ObsOptions,
    pub ssh: SshOptions,
    pub failover: FailoverOptions,
    /// What may be done on a VM over SSH.
    pub operations: Arc<Catalogue>,
    pub executions: ExecutionOptions,
    pub cleaning: CleaningOptions,
    pub archive: ArchiveOptions,
    /// What the services are called on the VMs.
    pub units: Units,
    pub restart: restart::Policy,
    pub load: LoadOptions,
}

/// How running VMs are asked how busy they are.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// Between two questions to a VM; `None`: they are not asked.
    pub interval: Option<Duration>,
    /// VMs that are asked at the same time.
    pub at_once: usize,
}

#[derive(Debug, Clone)]
pub struct ProbeOptions {
    pub interval_on_air: Duration,
    pub deadline: Duration,
    pub deadline_on_air: Duration,
    pub thresholds: Thresholds,
}

/// How a studio is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObsVia {
    Direct,
    /// Through the machine's SSH server, which connects to this address; `None` is the machine's own.
    Ssh {
        tunnel_ip: Option<IpAddr>,
    },
}

#[derive(Debug, Clone)]
pub struct ObsOptions {
    pub via: ObsVia,
    pub password: Option<Secret>,
    pub connect_deadline: Duration,
    pub call_deadline: Duration,
    pub poll: Duration,
    pub poll_on_air: Duration,
    pub reconnect_initial: Duration,
    pub reconnect_max: Duration,
    pub capture_debounce: Duration,
    pub capture_interval: Duration,
    pub restore: ObsRestore,
    /// Where a VM's OBS keeps its settings.
    pub config_path: String,
}

/// How a studio is made equal to a captured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObsRestore {
    Auto,
    Requests,
    File,
}

/// Where recordings are kept, and how they get there.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// `None`: nothing can be archived.
    pub bucket: Option<String>,
    /// Beginning of every key; empty, or without `/` at its end.
    pub prefix: String,
    pub part_bytes: u64,
    /// From asking for it to giving up.
    pub deadline: Duration,
    /// The VMs' folder of recordings.
    pub recordings_path: String,
}

#[derive(Debug, Clone)]
pub struct SshOptions {
    pub connect_deadline: Duration,
    pub keepalive: Duration,
    pub keepalive_on_air: Duration,
    pub keepalive_deadline: Duration,
}

#[derive(Debug, Clone)]
pub struct FailoverOptions {
    pub enabled: bool,
    pub verdict: verdict::Policy,
    pub cap: Cap,
    /// Limit on each way of fencing.
    pub fence_obs_deadline: Duration,
    pub fence_ssh_deadline: Duration,
    /// Limit on the cloud confirming that the machine is off.
    pub fence_deadline: Duration,
    pub restore_deadline: Duration,
    pub verify_deadline: Duration,
    pub ingest_check_deadline: Duration,
}

/// Shared by every actor of one tree.
pub struct Context {
    pub clock: Clock,
    pub started_at: Timestamp,
    pub ledger: Ledger,
    pub board: Board,
    pub news: News,
    pub metrics: Metrics,
    pub options: Options,
    pub world: World,
    pub(super) machines: vm::Machines,
    pub(super) shows: show::Shows,
    pub(super) executions: Executions,
    pub(super) pool: pool::Pool,
    pub(super) cloud: cloud::Sweeper,
    /// Recordings of so many shows are on their way at once; the others wait.
    pub(super) archives: Semaphore,
    /// The same for what VMs try again.
    pub(super) archives_of_vms: Semaphore,
    /// Places for VMs that are asked how busy they are.
    pub(super) loads: Semaphore,
    /// Places for idle VMs that are cleaned on their own account. What a release cleans, or what boots for a show,
    /// needs none: somebody waits for it.
    pub(super) cleanings: Arc<Semaphore>,
    stalls: Mutex<Stalls>,
    pub(super) standing: ArcSwap<CloudStanding>,
    pub(super) initialized: AtomicBool,
    pub(super) stopping: AtomicBool,
}

impl Context {
    #[must_use]
    pub fn new(clock: Clock, ledger: Ledger, options: Options, mut world: World) -> Self {
        let metrics = Metrics::new(ledger.metrics());
        let loads = Semaphore::new(options.load.at_once);
        world.cloud = Arc::new(CountedCloud::new(world.cloud, metrics.clone()));
        Self {
            clock,
            started_at: clock.now(),
            ledger,
            board: Board::default(),
            news: News::default(),
            metrics,
            options,
            world,
            machines: vm::Machines::default(),
            shows: show::Shows::default(),
            executions: Executions::default(),
            pool: pool::Pool::default(),
            cloud: cloud::Sweeper::default(),
            archives: Semaphore::new(ARCHIVES_AT_ONCE),
            archives_of_vms: Semaphore::new(ARCHIVES_OF_VMS_AT_ONCE),
            loads,
            cleanings: Arc::new(Semaphore::new(CLEANED_AT_ONCE)),
            stalls: Mutex::new(Stalls::new(clock.now())),
            standing: ArcSwap::from_pointee(CloudStanding::Unknown),
            initialized: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.ledger.state()
    }

    /// The pool's settings as they are now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.ledger
            .state()
            .settings
            .clone()
            .unwrap_or_else(|| self.options.settings.clone())
    }

    /// Commits events that happen now.
    ///
    /// # Errors
    /// [`CommitError`]; a rejection means that somebody else was first.
    pub async fn commit(&self, events: Vec<Event>) -> Result<Committed, CommitError> {
        self.ledger.commit(self.now(), events).await
    }

    /// For an actor that takes over from one that was killed: what that one had handed to the ledger shows in the
    /// state from now on, or never will.
    pub(super) async fn settled(&self) {
        if let Err(error) = self.ledger.settled().await {
            // Closed or failed, it changes no more. Too slow, and a change may come that nobody carries out; to
            // leave a machine unwatched until then would be worse.
            tracing::warn!(%error, "an actor starts although its predecessor's last commit may still come");
        }
    }

    /// Returns once a commit that was not decided in time is decided, however long that takes: the state says how.
    pub(super) async fn decided(&self) {
        // Each round has the ledger's own deadline.
        while let Err(CommitError::TimedOut(_)) = self.ledger.settled().await {}
    }

    /// A commit that was not decided in time may be decided yet, either way: then is the time to look what is to be
    /// done. Nothing happens after any other failure.
    pub(super) fn once_decided(
        self: &Arc<Self>,
        error: &CommitError,
        look: impl FnOnce(&Self) + Send + 'static,
    ) {
        if matches!(error, CommitError::TimedOut(_)) {
            let ctx = Arc::clone(self);
            task::effect(async move {
                ctx.decided().await;
                look(&ctx);
            });
        }
    }

    /// When this process did not run, as of now.
    pub(super) fn stalls(&self) -> Stalls {
        let mut stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stall) = stalls.look(self.now()) {
            let stalled_ms = stall.as_millis();
            tracing::warn!(
                stalled_ms,
                "this process did not run for a while; what seems to have failed meanwhile is looked at again"
            );
        }
        *stalls
    }

    /// Looks at the clock for as long as the tree stands.
    pub(super) fn look_for_stalls(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                self.stalls();
                tokio::time::sleep(stall::LOOK).await;
            }
        })
    }

    /// Does something that has a limit of its own, and does it again if it failed while this process did not run: that
    /// the limit has passed is nobody's fault then. For what may be done twice.
    pub(super) async fn unstalled<T, E, F>(&self, mut work: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let began = self.now();
            let result = work().await;
            if result.is_ok() || !self.stalls().any_since(began) {
                return result;
            }
        }
    }

    /// Sends a message when somebody has had so much time, all of it while this process ran.
    pub(super) fn after_running<M: Message>(
        self: &Arc<Self>,
        span: Duration,
        actor: &ActorRef<M>,
        message: impl FnOnce() -> M + Send + 'static,
    ) {
        let (ctx, actor) = (Arc::clone(self), actor.clone());
        task::effect(async move {
            let from = ctx.now();
            let mut left = span;
            while !left.is_zero() {
                tokio::time::sleep(left).await;
                left = ctx.stalls().left(from, span, ctx.now());
            }
            // An actor that has died since has a successor with deadlines of its own.
            let _ = actor.cast(message());
        });
    }

    /// The address of an instance that the coordinator dials, if it has one now.
    #[must_use]
    pub fn ip_of(&self, instance: &Instance) -> Option<IpAddr> {
        self.options.address.of(instance)
    }

    /// Where the studio of a machine is; `shell` is the connection to its SSH server, if there is one now.
    pub(super) fn obs_endpoint(&self, ip: IpAddr, shell: Option<Arc<dyn ssh::Session>>) -> obs::Endpoint {
        let (route, ip) = match self.options.obs.via {
            ObsVia::Direct => (obs::Route::Direct, ip),
            ObsVia::Ssh { tunnel_ip } => {
                let route = shell.map_or(obs::Route::Cut, obs::Route::Shell);
                (route, tunnel_ip.unwrap_or(ip))
            }
        };
        obs::Endpoint {
            address: SocketAddr::new(ip, self.options.obs_port),
            route,
            password: self.options.obs.password.clone(),
            connect_deadline: self.options.obs.connect_deadline,
            call_deadline: self.options.obs.call_deadline,
        }
    }

    /// By which ways a studio may be made on the VM that this connection leads to.
    pub(super) fn obs_means(&self, shell: Option<Arc<dyn ssh::Session>>) -> obs::Means {
        let options = &self.options.obs;
        let folder = shell.map(|shell| obs::Folder::new(shell, &options.config_path));
        match (options.restore, folder) {
            (ObsRestore::Requests, _) | (_, None) => obs::Means::Requests,
            (ObsRestore::File, Some(folder)) => obs::Means::File(folder),
            (ObsRestore::Auto, Some(folder)) => obs::Means::Either(folder),
        }
    }

    pub(super) fn ssh_endpoint(&self, ip: IpAddr, instance: &Instance) -> ssh::Endpoint {
        ssh::Endpoint {
            address: SocketAddr::new(ip, self.options.ssh_port),
            host: instance.instance_id.to_string(),
            connect_deadline: self.options.ssh.connect_deadline,
        }
    }

    /// How long a start takes: the median of those measured, the configured warm-up until there are any.
    #[must_use]
    pub fn expected_start(&self) -> Duration {
        self.ledger
            .state()
            .median_start()
            .unwrap_or_else(|| self.settings().warmup_time)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn alert(
        &self,
        level: Level,
        source: String,
        title: &str,
        message: String,
        show: Option<&ShowId>,
        vm: Option<&VmId>,
    ) {
        match level {
            Level::Critical => tracing::error!(source, title, text = message, "alert"),
            Level::Warning => tracing::warn!(source, title, text = message, "alert"),
            Level::Info => tracing::info!(source, title, text = message, "alert"),
        }
        self.metrics.alerts.count([level.as_str()]);
        let alert = Alert {
            level,
            source,
            title: title.to_owned(),
            message,
            show: show.cloned(),
            vm: vm.cloned(),
            at: self.now(),
        };
        self.news.tell(Item::Alert(alert));
    }
}
