//! How others reach a VM: by its id, with a deadline, in the VM's own words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, RpcReplyPort};

use super::{Arguments, Link, Machine, Message, Shell, Studio};
use crate::actors::context::Context;
use crate::actors::coordinator::{Checked, CommandError, PowerTurned};
use crate::actors::mailbox::{ActorRef, Backlog, Directory, NoAnswer};
use crate::actors::supervisor::{self, Spec, Tally};
use crate::actors::task;
use crate::domain::event::Event;
use crate::domain::ids::{Epoch, RequestKey, ShowId, VmId};
use crate::domain::instance::{Instance, Sighting};
use crate::domain::restart::Restart;
use crate::domain::state::{Rejected, State};
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Status};
use crate::domain::{show, state};
use crate::infra::cloud::Error as CloudError;
use crate::infra::ledger::CommitError;
use crate::infra::watch;

/// Limit on what a VM actor answers from memory or after one commit.
const QUICK: Duration = Duration::from_secs(5);
/// Limit on what waits for the cloud: its own time-outs, with retries, fit in.
const CLOUD: Duration = Duration::from_secs(60);
/// Limit on the actor of a VM that has just joined the pool being there to be asked.
const ARRIVAL: Duration = Duration::from_secs(2);

impl Message {
    /// A command for which nobody waits any more. It is not begun: whoever gave it was told that it may not have been, and
    /// may have given up for how many others wait here.
    pub(super) fn is_abandoned(&self) -> bool {
        let power = |reply: &RpcReplyPort<Result<PowerTurned, VmError>>| reply.is_closed();
        match self {
            Self::Assign { reply, .. } => reply.is_closed(),
            Self::Start { reply } | Self::Stop { reply } => reply.as_ref().is_some_and(power),
            Self::Reboot { reply, .. } | Self::Terminate { reply } => power(reply),
            Self::CutPower { reply } | Self::Archive { reply } => reply.is_closed(),
            Self::Maintain { reply, .. } => reply.is_closed(),
            Self::Check { reply } => reply.is_closed(),
            Self::Studio { reply } => reply.is_closed(),
            Self::Shells { reply } => reply.is_closed(),
            // What has been done is taken in, whoever waits for it; the rest nobody waits for.
            Self::Rebooted { .. }
            | Self::TerminationRefused { .. }
            | Self::DutyChanged
            | Self::Sighted { .. }
            | Self::PowerCalled { .. }
            | Self::PowerOverdue { .. }
            | Self::PowerRetry { .. }
            | Self::ReadyOverdue { .. }
            | Self::Reported(..)
            | Self::Notified { .. }
            | Self::Silenced
            | Self::Cleaned { .. }
            | Self::ArchiveEnded
            | Self::FrameChecked { .. }
            | Self::Settled
            | Self::RestartLink(_)
            | Self::KillLink(_) => false,
        }
    }
}

/// A VM did not do what it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VmError {
    #[error("it is no longer in the pool")]
    Gone,
    #[error("it is {status}: {advice}")]
    WrongStatus { status: Status, advice: &'static str },
    #[error("it belongs to show {show}")]
    Occupied { show: ShowId },
    #[error("no recordings that were to be archived are on it")]
    NothingToArchive,
    #[error(transparent)]
    Cloud(CloudError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("its actor is down and being restarted")]
    Down,
    #[error("its actor did not answer in time")]
    TimedOut,
}

impl From<NoAnswer> for VmError {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::Down => Self::Down,
            NoAnswer::TimedOut => Self::TimedOut,
        }
    }
}

impl VmError {
    /// In the words of the coordinator's handle.
    pub fn about(self, vm: &VmId) -> CommandError {
        match self {
            Self::Gone => CommandError::UnknownVm(vm.clone()),
            Self::WrongStatus { status, advice } => CommandError::WrongStatus {
                vm: vm.clone(),
                status,
                advice,
            },
            Self::Occupied { show } => CommandError::Occupied { vm: vm.clone(), show },
            Self::NothingToArchive => CommandError::NothingToArchive(vm.clone()),
            Self::Cloud(error) => CommandError::Cloud {
                vm: Some(vm.clone()),
                code: error.code.clone(),
                message: error.to_string(),
            },
            Self::Commit(error) => commit_error(error),
            Self::Down => CommandError::Restarting {
                subject: format!("VM {vm}"),
            },
            Self::TimedOut => CommandError::TimedOut {
                what: "the command to the VM",
                limit: CLOUD,
            },
        }
    }
}

/// What a refused or failed commit means for whoever gave the command.
pub fn commit_error(error: CommitError) -> CommandError {
    match error {
        CommitError::Rejected(rejected) => rejected_error(rejected),
        CommitError::QueueFull => CommandError::Busy,
        CommitError::TimedOut(limit) => CommandError::TimedOut {
            what: "writing to the ledger",
            limit,
        },
        CommitError::Closed => CommandError::Stopping,
        CommitError::NotStorable { .. } => CommandError::Refused(error.to_string()),
        CommitError::Failed(error) => CommandError::Ledger(error.to_string()),
    }
}

fn rejected_error(rejected: Rejected) -> CommandError {
    const ADVICE: &str = "look at its status and try again";
    match rejected {
        state::Rejected::Vm(rejected) | state::Rejected::Show(show::Rejected::Vm(rejected)) => match rejected
        {
            vm::Rejected::WrongStatus { vm, status } => CommandError::WrongStatus {
                vm,
                status,
                advice: ADVICE,
            },
            vm::Rejected::Occupied { vm, show, .. } => CommandError::Occupied { vm, show },
            vm::Rejected::NotOccupied { .. }
            | vm::Rejected::StaleEpoch { .. }
            | vm::Rejected::StaleAttempt { .. }
            | vm::Rejected::OtherInstance { .. }
            | vm::Rejected::Archive(_) => CommandError::Refused(rejected.to_string()),
        },
        state::Rejected::Show(show::Rejected::AlreadyAssigned { show, vm }) => {
            CommandError::AlreadyAssigned { show, vm }
        }
        state::Rejected::Show(show::Rejected::NotAssigned { show }) => CommandError::NotAssigned(show),
        state::Rejected::Show(show::Rejected::WrongPhase { show, phase }) => CommandError::WrongPhase {
            show,
            phase,
            advice: ADVICE,
        },
        state::Rejected::UnknownVm(vm) | state::Rejected::Show(show::Rejected::UnknownVm(vm)) => {
            CommandError::UnknownVm(vm)
        }
        state::Rejected::Execution(rejected) => CommandError::Refused(rejected.to_string()),
        state::Rejected::KeyUsed => CommandError::KeyReused,
        state::Rejected::Show(show::Rejected::NotSilent { ref vm, .. }) => CommandError::NotSilent {
            vm: vm.clone(),
            message: rejected.to_string(),
        },
        state::Rejected::Show(
            show::Rejected::StaleEpoch { .. } | show::Rejected::Archiving { .. } | show::Rejected::Archive(_),
        )
        | state::Rejected::DuplicateVm(_)
        | state::Rejected::DuplicateInstance { .. } => CommandError::Refused(rejected.to_string()),
    }
}

/// Every VM actor, and their supervisor.
#[derive(Clone, Default)]
pub struct Machines {
    directory: Directory<VmId, Message>,
    supervisor: Directory<(), supervisor::Message<VmId>>,
}

impl Machines {
    pub(super) fn publish(&self, id: VmId, actor: ActorRef<Message>) {
        self.directory.publish(id, actor);
    }

    pub(super) fn withdraw(&self, id: &VmId, actor: &ActorRef<Message>) {
        self.directory.withdraw(id, actor);
    }

    pub(crate) fn supervised_by(&self, supervisor: ActorRef<supervisor::Message<VmId>>) {
        self.supervisor.publish((), supervisor);
    }

    /// What waits for the VMs' actors.
    pub(crate) fn backlog(&self) -> Backlog {
        self.directory.backlog()
    }

    /// What waits for their supervisor.
    pub(crate) fn supervisor_backlog(&self) -> Backlog {
        self.supervisor.backlog()
    }

    /// Kills a VM's actor, as a bug in it would. For drills.
    pub(crate) fn kill(&self, vm: &VmId) -> bool {
        let actor = self.directory.get(vm);
        actor.inspect(|actor| supervisor::kill(actor)).is_some()
    }

    /// Kills one of a VM's links. For drills. Whether the VM has an actor.
    pub(crate) fn kill_link(&self, vm: &VmId, link: Link) -> bool {
        self.directory.cast(vm, Message::KillLink(link))
    }

    /// Kills the supervisor, and with it every VM's actor. For drills.
    pub(crate) fn kill_all(&self) -> bool {
        let supervisor = self.supervisor.get(&());
        supervisor.inspect(|actor| supervisor::kill(actor)).is_some()
    }

    /// Takes an instance into the pool and starts its actor.
    ///
    /// # Errors
    /// [`CommitError`] if the ledger does not take it.
    pub(crate) async fn adopt(
        &self,
        ctx: &Arc<Context>,
        id: VmId,
        instance: Instance,
    ) -> Result<(), CommitError> {
        ctx.commit(vec![Event::vm(&id, vm::Event::Adopted { instance })])
            .await?;
        self.ensure(ctx, &id);
        Ok(())
    }

    /// A VM of the pool has an actor, whoever waited for the ledger to take it in: that may have been decided later than
    /// anybody waits.
    pub(crate) fn ensure(&self, ctx: &Arc<Context>, id: &VmId) {
        if self.directory.get(id).is_none() {
            let (key, spec) = (id.clone(), spec(ctx, id));
            let start = supervisor::Message::Start {
                key,
                spec,
                reply: None,
            };
            self.supervisor.cast(&(), start);
        }
    }

    /// The VM has left the pool: its actor is stopped for good.
    pub(super) fn dismiss(&self, id: &VmId) {
        self.supervisor
            .cast(&(), supervisor::Message::Stop { key: id.clone() });
    }

    pub(crate) async fn assign(
        &self,
        vm: &VmId,
        show: ShowId,
        epoch: Epoch,
        by: Option<String>,
        key: Option<RequestKey>,
    ) -> Result<Arc<State>, VmError> {
        self.ask(vm, QUICK, |reply| Message::Assign {
            show,
            epoch,
            by,
            key,
            reply,
        })
        .await
    }

    pub(crate) fn start_soon(&self, vm: &VmId) -> bool {
        self.directory.cast(vm, Message::Start { reply: None })
    }

    pub(crate) fn stop_soon(&self, vm: &VmId) -> bool {
        self.directory.cast(vm, Message::Stop { reply: None })
    }

    pub(crate) async fn start(&self, vm: &VmId) -> Result<PowerTurned, VmError> {
        self.ask(vm, CLOUD, |reply| Message::Start { reply: Some(reply) })
            .await
    }

    pub(crate) async fn stop(&self, vm: &VmId) -> Result<PowerTurned, VmError> {
        self.ask(vm, CLOUD, |reply| Message::Stop { reply: Some(reply) })
            .await
    }

    pub(crate) async fn reboot(&self, vm: &VmId, force: bool) -> Result<PowerTurned, VmError> {
        self.ask(vm, CLOUD, |reply| Message::Reboot { force, reply })
            .await
    }

    pub(crate) async fn terminate(&self, vm: &VmId) -> Result<PowerTurned, VmError> {
        self.ask(vm, CLOUD, |reply| Message::Terminate { reply }).await
    }

    /// Returns once the cloud says that the machine is off.
    pub(crate) async fn cut_power(&self, vm: &VmId, limit: Duration) -> Result<(), VmError> {
        self.ask(vm, limit, |reply| Message::CutPower { reply }).await
    }

    pub(crate) async fn maintain(
        &self,
        vm: &VmId,
        enabled: bool,
        reason: Option<String>,
    ) -> Result<Status, VmError> {
        self.ask(vm, QUICK, |reply| Message::Maintain {
            enabled,
            reason,
            reply,
        })
        .await
    }

    pub(crate) async fn archive(&self, vm: &VmId) -> Result<(), VmError> {
        self.ask(vm, QUICK, |reply| Message::Archive { reply }).await
    }

    pub(crate) async fn check(&self, vm: &VmId, limit: Duration) -> Result<Checked, VmError> {
        self.ask(vm, limit, |reply| Message::Check { reply }).await
    }

    /// The session with a VM's studio, if it is up.
    pub(crate) async fn studio(&self, vm: &VmId) -> Option<Arc<dyn Studio>> {
        let asked = self
            .directory
            .ask(vm, QUICK, |reply| Message::Studio { reply })
            .await;
        asked.ok().flatten()
    }

    /// The SSH session of a VM, if it is up.
    pub(crate) async fn shell(&self, vm: &VmId) -> Option<Arc<dyn Shell>> {
        self.shells(vm).await?.borrow().clone()
    }

    /// Where the SSH session of a VM is to be seen: `None` in it means that there is none now. `None` if the VM does
    /// not answer.
    pub(crate) async fn shells(&self, vm: &VmId) -> Option<watch::Receiver<Option<Arc<dyn Shell>>>> {
        let asked = self.directory.ask(vm, QUICK, |reply| Message::Shells { reply });
        asked.await.ok()
    }

    pub(crate) fn duty_changed(&self, vm: &VmId) {
        self.directory.cast(vm, Message::DutyChanged);
    }

    /// What the ledger had not decided in time is decided now.
    pub(crate) fn settled(&self, vm: &VmId) {
        self.directory.cast(vm, Message::Settled);
    }

    pub(crate) fn sighted(&self, vm: &VmId, sighting: Sighting, looked_at: Timestamp) {
        let sighting = Box::new(sighting);
        self.directory.cast(vm, Message::Sighted { sighting, looked_at });
    }

    async fn ask<R: Send + 'static>(
        &self,
        vm: &VmId,
        limit: Duration,
        message: impl FnOnce(RpcReplyPort<Result<R, VmError>>) -> Message,
    ) -> Result<R, VmError> {
        self.directory.arrival(vm, ARRIVAL).await;
        self.directory.ask(vm, limit, message).await?
    }
}

/// How a VM's actor is started, and what is done when it keeps dying.
pub(crate) fn spec(ctx: &Arc<Context>, id: &VmId) -> Spec {
    let arguments = Arguments {
        ctx: Arc::clone(ctx),
        id: id.clone(),
        is_successor: false,
    };
    let started = AtomicBool::new(false);
    let start = move |supervisor: ractor::ActorCell| {
        let arguments = Arguments {
            is_successor: started.swap(true, Ordering::Relaxed),
            ..arguments.clone()
        };
        let spawned = async move {
            let (actor, _) = Actor::spawn_linked(None, Machine::default(), arguments, supervisor).await?;
            Ok(actor.get_cell())
        };
        Box::pin(spawned) as futures_util::future::BoxFuture<'static, _>
    };
    let tally = Tally::new(&ctx.metrics, "vm");
    let (ctx, id) = (Arc::clone(ctx), id.clone());
    let on_give_up = move |reason: &str| {
        let (ctx, id) = (Arc::clone(&ctx), id.clone());
        let reason = format!("its actor keeps failing: {reason}");
        task::effect(async move {
            let source = format!("vm-actor-{id}");
            let title = "VM cannot be supervised";
            ctx.alert(
                crate::actors::news::Level::Critical,
                source,
                title,
                reason.clone(),
                None,
                Some(&id),
            );
            if let Err(error) = ctx
                .commit(vec![Event::vm(&id, vm::Event::Faulted { reason })])
                .await
            {
                tracing::error!(vm = %id, %error, "could not put the VM in error");
            }
        });
    };
    Spec {
        restart: Restart::Transient,
        start: Arc::new(start),
        on_give_up: Some(Arc::new(on_give_up)),
        tally,
    }
}
