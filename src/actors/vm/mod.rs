//! One VM: its power, its three links (probe, OBS, SSH), and what they report.
//!
//! ```text
//! vm/<id>
//! ├─ probe   asks the show server
//! ├─ obs     holds a session with the studio, polls its output
//! └─ ssh     holds a connection
//! ```
//!
//! The links run at a pace that depends on what the VM is for: slow when idle, fast on air. What they report
//! becomes signals (for the show that holds the VM), a reading (for health, with hysteresis) and an
//! observation on the board. The VM decides nothing about shows: it accepts them, tells them what it sees, and
//! carries out power changes.

mod alarm;
mod archiving;
mod clean;
mod cut;
mod duty;
mod handle;
mod link;
mod load;
mod obs;
mod power;
mod probe;
mod ready;
mod reboot;
mod report;
mod sighting;
mod ssh;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, RpcReplyPort, SupervisionEvent};
use tracing::Instrument as _;

pub(crate) use self::handle::spec;
pub use self::handle::{Machines, VmError, commit_error};
pub use self::link::Link;
use self::link::Order;
use super::context::Context;
use super::coordinator::{Checked, PowerTurned};
use super::mailbox::{ActorRef, Letter, Waiting, answer};
use super::span;
use super::supervisor::{Children, Retry};
use crate::domain::cleaning::{Leftover, Report};
use crate::domain::failover::verdict::Signals;
use crate::domain::health::Hysteresis;
use crate::domain::ids::{Attempt, Epoch, InstanceId, RequestKey, ShowId, VmId};
use crate::domain::instance::{PowerChange, Sighting};
use crate::domain::state::State as LedgerState;
use crate::domain::vm::{Status, Vm};
use crate::infra::cloud::{Error as CloudError, StateChange};
use crate::infra::ledger::CommitError;
use crate::infra::obs::Session as Studio;
use crate::infra::ssh::Session as Shell;
use crate::infra::watch;

/// What a VM actor is told.
pub enum Message {
    /// Give this VM to a show.
    Assign {
        show: ShowId,
        epoch: Epoch,
        by: Option<String>,
        key: Option<RequestKey>,
        reply: RpcReplyPort<Result<Arc<LedgerState>, VmError>>,
    },
    /// Start it. Without a port nobody waits, and a VM that is not stopped is left as it is.
    Start {
        reply: Option<RpcReplyPort<Result<PowerTurned, VmError>>>,
    },
    /// Stop it if no show holds it.
    Stop {
        reply: Option<RpcReplyPort<Result<PowerTurned, VmError>>>,
    },
    Reboot {
        force: bool,
        reply: RpcReplyPort<Result<PowerTurned, VmError>>,
    },
    Terminate {
        reply: RpcReplyPort<Result<PowerTurned, VmError>>,
    },
    /// Cut its power because its show is being moved away; answered when the cloud says it is off.
    CutPower {
        reply: RpcReplyPort<Result<(), VmError>>,
    },
    Maintain {
        enabled: bool,
        reason: Option<String>,
        reply: RpcReplyPort<Result<Status, VmError>>,
    },
    Check {
        reply: RpcReplyPort<Result<Checked, VmError>>,
    },
    /// The session with its studio, if there is one now.
    Studio {
        reply: RpcReplyPort<Option<Arc<dyn Studio>>>,
    },
    /// Where its SSH session is to be seen: the one there is now, if any, and those that follow it.
    Shells {
        reply: RpcReplyPort<watch::Receiver<Option<Arc<dyn Shell>>>>,
    },
    /// The ledger has changed what it is for.
    DutyChanged,
    /// The cloud has said something of it.
    Sighted {
        sighting: Box<Sighting>,
        looked_at: crate::domain::time::Timestamp,
    },
    /// A power call ended.
    PowerCalled {
        attempt: Attempt,
        change: PowerChange,
        result: Result<StateChange, CloudError>,
    },
    /// A reboot was accepted or refused.
    Rebooted {
        result: Result<StateChange, CloudError>,
        reply: RpcReplyPort<Result<PowerTurned, VmError>>,
    },
    /// A termination was refused.
    TerminationRefused {
        error: CloudError,
        reply: RpcReplyPort<Result<PowerTurned, VmError>>,
    },
    /// A start or stop has taken too long.
    PowerOverdue {
        attempt: Attempt,
    },
    /// A start failed for a passing reason; try it again.
    PowerRetry {
        attempt: Attempt,
    },
    /// Its services had enough time to come up.
    ReadyOverdue {
        boot: u64,
    },
    /// From its links.
    Reported(report::Report, link::Place),
    /// Telling the show server ended.
    Notified {
        show: Option<ShowId>,
    },
    /// An attempt to stop an abandoned stream ended.
    Silenced,
    /// It was cleaned of what shows had left on it, or that was tried.
    Cleaned {
        leftover: Arc<Leftover>,
        report: Box<Report>,
    },
    /// Archive recordings of shows before that are still on it.
    Archive {
        reply: RpcReplyPort<Result<(), VmError>>,
    },
    /// An attempt at that has ended; the ledger has how.
    ArchiveEnded,
    /// A check frame was drawn by this session's studio, or why not.
    FrameChecked {
        studio: Arc<dyn Studio>,
        result: Result<(), String>,
    },
    /// What the ledger did not decide in time is decided now.
    Settled,
    RestartLink(Retry<Link>),
    /// For drills.
    KillLink(Link),
}

/// The VM actor.
#[derive(Default)]
pub(super) struct Machine {
    waiting: Waiting,
}

/// What a VM actor starts with.
#[derive(Clone)]
pub(super) struct Arguments {
    pub ctx: Arc<Context>,
    pub id: VmId,
    /// It takes over from an actor that died.
    pub is_successor: bool,
}

/// The procedure of one VM; everything durable is in the ledger.
pub(super) struct State {
    ctx: Arc<Context>,
    id: VmId,
    is_successor: bool,
    links: Children<Link>,
    order: watch::Sender<Order>,
    signals: Signals,
    hysteresis: Hysteresis,
    /// Checks in a row that found everything in order while it has a fault.
    good_in_a_row: u32,
    observation: super::board::Observation,
    studio: Option<Arc<dyn Studio>>,
    /// Also for the link to the studio, which may lead through it.
    shell: watch::Sender<Option<Arc<dyn Shell>>>,
    cleaning: clean::Cleaning,
    /// Recordings of shows before, being archived.
    archiving: Option<super::task::Task>,
    /// Whether that studio draws.
    frame: ready::CheckFrame,
    troubles: ready::Troubles,
    /// Output bytes as of the last poll.
    bytes: Option<u64>,
    /// What the show server was last told successfully; outer `None`: nothing yet.
    notified: Option<Option<ShowId>>,
    notifying: bool,
    /// Counts boots, so that an old readiness deadline is recognised.
    boot: u64,
    /// Rises when what was known of the machine is forgotten, so that the links call anew.
    generation: u64,
    /// A reboot that the cloud has not accepted yet.
    reboot_asked: Option<reboot::Reboot>,
    /// A reboot that its services have not proven to be over.
    reboot: Option<reboot::Reboot>,
    /// When the cloud accepted the start under way.
    start_accepted_at: Option<crate::domain::time::Timestamp>,
    /// An abandoned stream is being stopped.
    silencing: bool,
    /// What was said about its SSH, until it answers again.
    shell_alert: Option<crate::actors::news::Level>,
    /// It was said that the VM lost its tags.
    told_untagged: bool,
}

impl State {
    /// This VM as the ledger has it; `None` once it has left the pool.
    fn vm(&self) -> Option<Arc<Vm>> {
        self.ctx.state().vm(&self.id).cloned()
    }
}

impl Actor for Machine {
    type Msg = Letter<Message>;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        Arguments {
            ctx,
            id,
            is_successor,
        }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        let vm = ctx
            .state()
            .vm(&id)
            .cloned()
            .ok_or_else(|| format!("{id} is not in the pool"))?;
        let links = Children::new(ctx.options.restart, ctx.clock);
        let (order, _) = watch::channel(Order::default());
        let observation = (*ctx.board.latest(&id)).clone();
        let state = State {
            hysteresis: Hysteresis::new(vm.health),
            links,
            order,
            // What its predecessor saw last of the output is as true as before; the rest is looked at afresh.
            signals: Signals {
                last_output_at: observation.signals.last_output_at,
                ..Signals::default()
            },
            good_in_a_row: 0,
            observation,
            studio: None,
            shell: watch::Sender::new(None),
            cleaning: clean::Cleaning::default(),
            archiving: None,
            frame: ready::CheckFrame::default(),
            troubles: ready::Troubles::default(),
            bytes: None,
            notified: None,
            notifying: false,
            boot: 0,
            generation: 0,
            reboot_asked: None,
            reboot: None,
            start_accepted_at: None,
            silencing: false,
            shell_alert: None,
            told_untagged: false,
            ctx,
            id: id.clone(),
            is_successor,
        };
        state.ctx.machines.publish(id, me);
        Ok(state)
    }

    /// Here and not before, so that its supervisor never waits for the disk. Messages wait until it is done.
    async fn post_start(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        if state.is_successor {
            state.ctx.settled().await;
        }
        if let Some(vm) = state.vm() {
            state.hysteresis = Hysteresis::new(vm.health);
            state.take_up(&me, &vm).await;
        }
        Ok(())
    }

    async fn handle(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        letter: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (me, message) = (ActorRef::new(me, &self.waiting), letter.open());
        if message.is_abandoned() {
            return Ok(());
        }
        let span = span::of_vm(&state.id);
        state.receive(&me, message).instrument(span).await;
        Ok(())
    }

    async fn post_stop(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        state.ctx.machines.withdraw(&state.id, &me);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        let retry = state.links.observe(me.get_cell(), event).await;
        schedule(&me, retry);
        Ok(())
    }
}

fn schedule(me: &ActorRef<Message>, retry: Option<Retry<Link>>) {
    if let Some(retry) = retry {
        me.send_after(retry.after, move || Message::RestartLink(retry));
    }
}

impl State {
    async fn receive(&mut self, me: &ActorRef<Message>, message: Message) {
        match message {
            Message::Assign {
                show,
                epoch,
                by,
                key,
                reply,
            } => {
                answer(reply, self.assign(show, epoch, by, key).await);
            }
            Message::Start { reply } => self.start(me, reply).await,
            Message::Stop { reply } => self.stop(me, reply).await,
            Message::Reboot { force, reply } => self.reboot(me, force, reply),
            Message::Terminate { reply } => self.terminate(me, reply).await,
            Message::Rebooted { result, reply } => self.rebooted(me, result, reply).await,
            Message::TerminationRefused { error, reply } => self.termination_refused(error, reply).await,
            Message::CutPower { reply } => self.cut_power(me, reply).await,
            Message::Maintain {
                enabled,
                reason,
                reply,
            } => {
                answer(reply, self.maintain(enabled, reason).await);
            }
            Message::Check { reply } => self.check(reply),
            Message::Studio { reply } => answer(reply, self.studio.clone()),
            Message::Shells { reply } => answer(reply, self.shell.subscribe()),
            Message::DutyChanged => self.duty_changed(me).await,
            Message::Sighted { sighting, looked_at } => self.sighted(me, &sighting, looked_at).await,
            Message::PowerCalled {
                attempt,
                change,
                result,
            } => {
                self.power_called(me, attempt, change, result).await;
            }
            Message::PowerOverdue { attempt } => self.power_overdue(me, attempt).await,
            Message::PowerRetry { attempt } => self.power_retry(me, attempt),
            Message::ReadyOverdue { boot } => self.ready_overdue(boot).await,
            Message::Reported(report, _place) => self.reported(me, report).await,
            Message::Notified { show } => self.notified(me, show),
            Message::Silenced => self.silencing = false,
            Message::FrameChecked { studio, result } => self.frame_checked(me, &studio, result).await,
            Message::Cleaned { leftover, report } => self.cleaned(me, &leftover, *report).await,
            Message::Archive { reply } => {
                let result = self.archive_by_hand(me).await;
                answer(reply, result);
            }
            Message::ArchiveEnded => self.archive_ended(),
            Message::Settled => self.settled(me).await,
            Message::RestartLink(retry) => {
                let again = self.links.retry(me.get_cell(), retry.key, retry.generation).await;
                schedule(me, again);
            }
            Message::KillLink(link) => {
                if let Some(link) = self.links.get(&link) {
                    link.kill();
                }
            }
        }
    }

    /// Starts the links and picks up whatever power change was under way.
    async fn take_up(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        self.send_order(vm);
        for link in Link::ALL {
            if link.is_wanted(&self.ctx) {
                let (orders, shell) = (self.order.subscribe(), self.shell.subscribe());
                let spec = link::spec(
                    link,
                    self.id.clone(),
                    Arc::clone(&self.ctx),
                    orders,
                    shell,
                    me.clone(),
                );
                let retry = self.links.start(me.get_cell(), link, spec).await;
                schedule(me, retry);
            }
        }
        self.resume_power(me, vm);
        self.start_if_awaited(me).await;
        self.clean_if_left(me).await;
    }

    fn look_again_if_undecided(&self, error: &CommitError) {
        let id = self.id.clone();
        self.ctx.once_decided(error, move |ctx| ctx.machines.settled(&id));
    }

    async fn settled(&mut self, me: &ActorRef<Message>) {
        if let Some(vm) = self.vm() {
            self.resume_power(me, &vm);
            self.start_if_awaited(me).await;
            self.duty_changed(me).await;
        }
    }

    fn instance_id(vm: &Vm) -> InstanceId {
        vm.instance_id().clone()
    }
}

/// How often a passing failure of a start is retried.
const POWER_RETRY_AFTER: Duration = Duration::from_secs(5);
