//! The handle through which everybody outside speaks to the tree: typed, cloneable, every call bounded.
//!
//! Reads come from the ledger's fold and the board and never wait for an actor. Commands go to the actor that
//! owns their subject; what they answer is on disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tokio::time::Instant;

mod archiving;
mod command;
mod configuring;
mod drill;
mod files;
mod metrics;
mod remote;

pub use self::command::{
    Apply, Assign, Assigned, Checked, CloudStanding, CommandError, Configure, KeyStanding, LaunchVm, Moving,
    PowerTurned, Readiness, Release, Released, StreamTurned,
};
pub use self::drill::{Link, Victim};
pub use self::files::{Entry, EntryKind};
pub use self::metrics::{Metrics, MetricsFormat, Scrape};
pub use self::remote::{Printed, Restarted, Work};
use super::board::Board;
use super::context::{AddressKind, Context};
use super::news::{Alert, Item};
use super::show;
use super::vm::commit_error;
use crate::domain::event::Event;
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::instance::Instance;
use crate::domain::operation::Catalogue;
use crate::domain::pool::Settings;
use crate::domain::service::Units;
use crate::domain::state::State;
use crate::domain::studio::{Secret, Studio};
use crate::domain::time::Timestamp;
use crate::domain::vm::{Power, Status};
pub use crate::infra::ledger::Batch;
use crate::infra::ledger::Health;
pub use crate::infra::template::{Kind, Template, Templates, Variable};

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    ctx: Arc<Context>,
}

/// Limit on commands that end with a commit.
const QUICK: Duration = Duration::from_secs(10);
/// Limit on commands that wait for a studio.
const STUDIO: Duration = Duration::from_secs(30);
/// Shortest that the answer to a release is waited for: it is begun by then.
const RELEASE_WAIT_MIN: Duration = Duration::from_secs(1);
/// Looks of [`Coordinator::check`] that run side by side.
const CHECKS_AT_ONCE: usize = 64;

impl Coordinator {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx }
    }

    /// The ledger's fold, now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.ctx.ledger.state()
    }

    /// The pool's settings as they are now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.ctx.settings()
    }

    /// Which of a VM's addresses is dialled.
    #[must_use]
    pub fn address(&self) -> AddressKind {
        self.ctx.options.address
    }

    #[must_use]
    pub fn board(&self) -> &Board {
        &self.ctx.board
    }

    /// What may be done on a VM over SSH.
    #[must_use]
    pub fn operations(&self) -> &Catalogue {
        &self.ctx.options.operations
    }

    /// What the services are called on the VMs.
    #[must_use]
    pub fn units(&self) -> &Units {
        &self.ctx.options.units
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.ctx.now()
    }

    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.ctx.started_at
    }

    /// Every commit from here on, in order. A reader that lags reads [`Coordinator::state`] again.
    #[must_use]
    pub fn feed(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.ctx.ledger.subscribe()
    }

    #[must_use]
    pub fn news(&self) -> broadcast::Receiver<Item> {
        self.ctx.news.subscribe()
    }

    /// The latest alerts with a number above this one, oldest first; the first since the start has number 1.
    #[must_use]
    pub fn alerts_after(&self, number: u64) -> Vec<(u64, Alert)> {
        self.ctx.news.alerts_after(number)
    }

    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let initialized = self.ctx.initialized.load(Ordering::Acquire);
        let cloud = CloudStanding::clone(&self.ctx.standing.load());
        let reason = (!initialized).then(|| match &cloud {
            CloudStanding::Unknown | CloudStanding::Connected { .. } => "looking at the cloud".to_owned(),
            CloudStanding::NoCredentials { message }
            | CloudStanding::Unreachable { message }
            | CloudStanding::Error { message } => message.clone(),
        });
        let ledger = match &*self.ctx.ledger.health().borrow() {
            Health::Ok => Ok(()),
            Health::Failed(error) => Err(error.to_string()),
        };
        Readiness {
            initialized,
            reason,
            ledger,
            cloud,
            ssh_key: self.ctx.world.ssh.as_ref().and_then(|ssh| ssh.key_standing()),
            stopping: self.ctx.is_stopping(),
        }
    }

    /// What shows can be made from.
    #[must_use]
    pub fn templates(&self) -> &Templates {
        &self.ctx.world.templates
    }

    /// Whether the captured studio of a show streams under this key.
    #[must_use]
    pub fn streams_under(&self, show: &ShowId, key: &Secret) -> bool {
        let state = self.state();
        let studio = state.show(show).and_then(|show| show.studio.as_ref());
        let sealed = studio
            .and_then(|studio| studio.stream.as_ref())
            .and_then(|stream| stream.key.as_ref());
        sealed.is_some_and(|sealed| self.ctx.world.vault.unseal(sealed).as_ref() == Ok(key))
    }

    /// Gives a show a VM. What it answers is on disk.
    ///
    /// # Errors
    /// [`CommandError`] says why there is none.
    pub async fn assign(&self, show: ShowId, ask: Assign) -> Result<Assigned, CommandError> {
        let message = |reply| show::Message::Assign {
            ask: ask.clone(),
            reply,
        };
        let began = Instant::now();
        let answer = self
            .ctx
            .shows
            .command(&self.ctx, &show, "assigning a VM", QUICK, message)
            .await;
        let duration = &self.ctx.metrics.assign_duration;
        duration.took([metrics::outcome(&answer)], began.elapsed());
        answer
    }

    /// Waits until the show's VM is ready, for at most `limit`.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`]; [`CommandError::NotAssigned`] if the show lost its VM meanwhile.
    pub async fn await_ready(&self, show: &ShowId, limit: Duration) -> Result<Assigned, CommandError> {
        let mut feed = self.feed();
        let wait = async {
            loop {
                let state = self.state();
                let vm = state
                    .vm_of_show(show)
                    .ok_or_else(|| CommandError::NotAssigned(show.clone()))?;
                if vm.power == Power::Ready {
                    return Ok(describe_assignment(&self.ctx, &state, show, &vm.id, false));
                }
                // A lagging feed is as good as news.
                if let Err(broadcast::error::RecvError::Closed) = feed.recv().await {
                    return Err(CommandError::Stopping);
                }
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(result) => result,
            Err(_) => Err(CommandError::TimedOut {
                what: "waiting for the VM to be ready",
                limit,
            }),
        }
    }

    /// Takes a show's VM back. Releasing a show that has none succeeds.
    ///
    /// It goes on if whoever asked for it does not wait.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if it is not over after the wait. [`CommandError`].
    pub async fn release(&self, show: ShowId, ask: Release) -> Result<Released, CommandError> {
        let state = self.state();
        let nothing = state.show(&show).is_none_or(|known| known.vm.is_none());
        if nothing && ask.key.as_ref().is_none_or(|key| state.done(key).is_none()) {
            return Ok(Released {
                show,
                vm: None,
                status: None,
                report: None,
                archive: None,
                repeated: false,
            });
        }
        if ask.archive && self.ctx.world.archive.is_none() {
            return Err(CommandError::NoArchive);
        }
        let limit = match ask.wait {
            Some(wait) => wait.max(RELEASE_WAIT_MIN),
            None => self.release_wait(ask.archive),
        };
        let message = |reply| show::Message::Release {
            ask: ask.clone(),
            reply,
        };
        let began = Instant::now();
        let answer = self
            .ctx
            .shows
            .command(&self.ctx, &show, "releasing the VM", limit, message)
            .await;
        let duration = &self.ctx.metrics.release_duration;
        duration.took([metrics::outcome(&answer)], began.elapsed());
        answer
    }

    /// Starts the show's stream and returns when its output rises.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn start_show(&self, show: ShowId, by: Option<String>) -> Result<StreamTurned, CommandError> {
        tracing::info!(%show, ?by, "start the stream");
        let message = |reply| show::Message::Start { reply };
        self.ctx
            .shows
            .command(&self.ctx, &show, "starting the stream", STUDIO, message)
            .await
    }

    /// Stops the show's stream and returns when its output has ended.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn stop_show(&self, show: ShowId, by: Option<String>) -> Result<StreamTurned, CommandError> {
        tracing::info!(%show, ?by, "stop the stream");
        let message = |reply| show::Message::Stop { reply };
        self.ctx
            .shows
            .command(&self.ctx, &show, "stopping the stream", STUDIO, message)
            .await
    }

    /// Moves a show to another VM, to this one if one is named. Also how a show is failed back.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn failover(
        &self,
        show: ShowId,
        to: Option<VmId>,
        by: Option<String>,
    ) -> Result<Moving, CommandError> {
        let message = |reply| {
            let (to, by) = (to.clone(), by.clone());
            show::Message::Failover(show::Order { to, by, reply })
        };
        self.ctx
            .shows
            .command(&self.ctx, &show, "moving the show", QUICK, message)
            .await
    }

    /// Forbids automatic failover of a show, or allows it again.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn hold(&self, show: ShowId, held: bool, by: Option<String>) -> Result<(), CommandError> {
        tracing::info!(%show, held, ?by, "hold");
        let message = |reply| show::Message::Hold { held, reply };
        self.ctx
            .shows
            .command(&self.ctx, &show, "holding the show", QUICK, message)
            .await
    }

    /// Reads what the studio of a VM is set up to show. Changes nothing.
    ///
    /// # Errors
    /// [`CommandError::UnknownVm`]; [`CommandError::Studio`] if it cannot be reached or read.
    pub async fn read_studio(&self, vm: VmId) -> Result<Studio, CommandError> {
        self.known(&vm)?;
        let limit = self.ctx.options.failover.restore_deadline;
        let read = tokio::time::timeout(limit, show::capture(&self.ctx, &vm)).await;
        let read = read.unwrap_or_else(|_| Err(format!("it was not read within {} ms", limit.as_millis())));
        read.map_err(|message| CommandError::Studio { vm, message })
    }

    /// Starts a stopped VM.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn start_vm(&self, vm: VmId) -> Result<PowerTurned, CommandError> {
        self.known(&vm)?;
        self.ctx
            .machines
            .start(&vm)
            .await
            .map_err(|error| error.about(&vm))
    }

    /// Stops a VM that has no show.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn stop_vm(&self, vm: VmId) -> Result<PowerTurned, CommandError> {
        self.known(&vm)?;
        self.ctx
            .machines
            .stop(&vm)
            .await
            .map_err(|error| error.about(&vm))
    }

    /// Reboots a running VM; one that is on air only by force.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn reboot_vm(&self, vm: VmId, force: bool) -> Result<PowerTurned, CommandError> {
        self.known(&vm)?;
        self.ctx
            .machines
            .reboot(&vm, force)
            .await
            .map_err(|error| error.about(&vm))
    }

    /// Terminates a VM that has no show.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn terminate_vm(&self, vm: VmId) -> Result<PowerTurned, CommandError> {
        self.known(&vm)?;
        self.ctx
            .machines
            .terminate(&vm)
            .await
            .map_err(|error| error.about(&vm))
    }

    /// Takes a VM without a show out of use, or back into it.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn maintenance(
        &self,
        vm: VmId,
        enabled: bool,
        reason: Option<String>,
    ) -> Result<Status, CommandError> {
        self.known(&vm)?;
        self.ctx
            .machines
            .maintain(&vm, enabled, reason)
            .await
            .map_err(|error| error.about(&vm))
    }

    /// Launches a new instance into the pool.
    ///
    /// # Errors
    /// [`CommandError::PoolFull`] and others.
    pub async fn launch(&self, ask: LaunchVm) -> Result<(VmId, Instance), CommandError> {
        if self.ctx.is_stopping() {
            return Err(CommandError::Stopping);
        }
        self.ctx.cloud.launch(ask).await
    }

    /// Checks one VM or all now, after a fresh look at the cloud if `reconcile` is set.
    ///
    /// # Errors
    /// [`CommandError::UnknownVm`], or that the cloud could not be looked at.
    pub async fn check(&self, vm: Option<VmId>, reconcile: bool) -> Result<Vec<Checked>, CommandError> {
        if reconcile {
            self.ctx.cloud.look().await?;
        }
        let vms: Vec<VmId> = match vm {
            Some(vm) => {
                self.known(&vm)?;
                vec![vm]
            }
            None => self.state().vms().map(|vm| vm.id.clone()).collect(),
        };
        let limit = self.ctx.options.probe.deadline + Duration::from_secs(2);
        let looks = vms.into_iter().map(|vm| {
            let ctx = Arc::clone(&self.ctx);
            async move {
                ctx.machines
                    .check(&vm, limit)
                    .await
                    .map_err(|error| error.about(&vm))
            }
        });
        let results: Vec<Result<Checked, CommandError>> = futures_util::stream::iter(looks)
            .buffered(CHECKS_AT_ONCE)
            .collect()
            .await;
        Ok(results.into_iter().filter_map(Result::ok).collect())
    }

    /// Replaces the pool's settings.
    ///
    /// # Errors
    /// [`CommandError`] if they could not be written.
    pub async fn configure(&self, settings: Settings) -> Result<Settings, CommandError> {
        let event = Event::PoolConfigured {
            settings: settings.clone(),
        };
        self.ctx.commit(vec![event]).await.map_err(commit_error)?;
        self.ctx.pool.poke();
        Ok(settings)
    }

    /// A machine says that it has booted: worth looking sooner, not worth believing.
    #[must_use]
    pub fn hint_ready(&self, instance: &InstanceId) -> Option<VmId> {
        self.ctx.cloud.look_now();
        self.state().vm_of_instance(instance).map(|vm| vm.id.clone())
    }

    fn known(&self, vm: &VmId) -> Result<(), CommandError> {
        if self.ctx.is_stopping() {
            return Err(CommandError::Stopping);
        }
        match self.state().vm(vm) {
            Some(_) => Ok(()),
            None => Err(CommandError::UnknownVm(vm.clone())),
        }
    }
}

/// The assignment of a show as its client is told.
pub(super) fn describe_assignment(
    ctx: &Context,
    state: &State,
    show: &ShowId,
    vm: &VmId,
    repeated: bool,
) -> Assigned {
    let now = ctx.now();
    let machine = state.vm(vm);
    let ready = machine.is_some_and(|vm| vm.power == Power::Ready);
    let waiting = state.candidates().awaited();
    let started_at = machine
        .and_then(|vm| vm.last_started_at)
        .filter(|_| !ready)
        .unwrap_or(now);
    let expected = if ready {
        now
    } else {
        (started_at + ctx.expected_start()).max(now)
    };
    Assigned {
        show: show.clone(),
        vm: vm.clone(),
        epoch: state.show(show).map(|show| show.epoch).unwrap_or_default(),
        ready,
        position: if ready {
            0
        } else {
            u32::try_from(waiting.max(1)).unwrap_or(u32::MAX)
        },
        estimated_ready_at: expected,
        repeated,
    }
}
