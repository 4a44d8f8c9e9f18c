//! One show: it gets a VM, goes on air, is kept there, and gives the VM back.
//!
//! Multi-step work lives here, so that the pool and the VMs never wait. Every step is journaled before its
//! effect starts and derived again from the journal after a restart: the actor holds only what is in flight.
//!
//! * [`assignment`](self) — assign;
//! * `release` — silence the VM, have it cleaned, and give it back;
//! * `archiving` — keeping its recordings before it is cleaned;
//! * `stream` — start and stop, and noticing that somebody else did;
//! * `watch` — signals in, verdict out;
//! * `moving` — the failover, driven by [`crate::domain::failover::Failover::next`];
//! * `spare` — the VM it moves to;
//! * `capture` — keeping the studio's state in the ledger;
//! * `configuring` — what its studio is made from;
//! * `effects` — what these do to machines, as tasks that cast their result back.

mod archiving;
mod assignment;
mod capture;
mod configuring;
mod effects;
mod handle;
mod message;
mod moving;
mod release;
mod renewing;
mod reviving;
mod spare;
mod stream;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr};
use tracing::{Instrument as _, Span};

pub(in crate::actors) use self::configuring::SetUp;
pub(super) use self::effects::{capture, silence_limit};
pub use self::handle::{Shows, spec};
use self::message::Reply;
pub use self::message::{Ended, Message, Order};
use super::context::Context;
use super::coordinator::{CommandError, Released, StreamTurned};
use super::mailbox::{ActorRef, Letter, Waiting, answer};
use super::span;
use super::task::Task;
use crate::domain::event::Event;
use crate::domain::failover::Action;
use crate::domain::failover::verdict::{IngestSign, Signals};
use crate::domain::ids::{Epoch, ShowId, VmId};
use crate::domain::show::{self, Phase, Show};
use crate::domain::time::Timestamp;
use crate::infra::ledger::CommitError;

/// A show without a VM keeps its actor for so long, in case it is wanted again.
const LINGER: Duration = Duration::from_secs(30);

/// Orders and timers can be lost with whatever actor had them; the ledger is looked at this often for what it asks
/// for and nobody is doing.
const TICK: Duration = Duration::from_secs(5);

/// Callers that may wait for one and the same thing.
const WAITING_MAX: usize = 256;

#[derive(Default)]
pub(super) struct ShowActor {
    waiting: Waiting,
}

/// What a show actor starts with.
#[derive(Clone)]
pub(super) struct Arguments {
    pub ctx: Arc<Context>,
    pub id: ShowId,
    /// It takes over from an actor that died.
    pub is_successor: bool,
}

/// What is in flight for one show; everything durable is in the ledger.
pub(super) struct State {
    ctx: Arc<Context>,
    id: ShowId,
    is_successor: bool,
    signals: Signals,
    ingest: IngestSign,
    asking_ingest: bool,
    ingest_asked_at: Option<Timestamp>,
    /// When it was last found that the ingest cannot be reached from elsewhere either.
    ingest_away_at: Option<Timestamp>,
    told_ingest_away: bool,
    told_held: bool,
    /// Since when output is to be expected, as far as this actor knows.
    on_air_since: Timestamp,
    /// When its stream was last seen to begin, bytes and all.
    output_seen_at: Option<Timestamp>,
    /// When its stream was last seen to end.
    off_air_since: Timestamp,
    judge_due: Option<Timestamp>,
    /// Checks in a row that found the stream stopped though nobody asked for that here.
    inactive_in_a_row: u32,
    /// Of the move that was decided at this time.
    move_span: Option<(Timestamp, Span)>,
    steps: BTreeMap<Step, Task>,
    failures: BTreeMap<Step, u32>,
    /// In this move somebody may have been told to stop the stream of the old VM, whatever is known of how that went.
    fence_begun: bool,
    /// The one in which the fence under way was begun.
    fence_epoch: Epoch,
    lost_spares: VecDeque<(VmId, Timestamp)>,
    /// The stream being started or stopped, and how many times that has been begun: what an earlier one has to
    /// say is out of date.
    turning: Option<Task>,
    turn: u64,
    /// The studio being made equal to the capture outside of a move.
    mending: Option<Task>,
    /// A silent stream being started anew, and when that was last begun.
    renewing: Option<Task>,
    renewed_at: Option<Timestamp>,
    /// The studio that the show left is being started, for want of a spare.
    reviving: Option<Task>,
    revived_at: Option<Timestamp>,
    drive_pending: bool,
    waiting_for_air: Vec<Reply<StreamTurned>>,
    waiting_for_quiet: Vec<Reply<StreamTurned>>,
    waiting_for_release: Vec<Reply<Released>>,
    capture_round: u64,
    /// When the next look at the studio is due.
    capture_due_at: Option<Timestamp>,
    capturing: Option<Task>,
    told_waiting: bool,
    told_unmakeable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Fence,
    Restore,
    Publish,
}

impl Actor for ShowActor {
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
        ctx.shows.publish(id.clone(), me.clone());
        Ok(State::new(ctx, id, is_successor))
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
        state.take_up(&me).await;
        me.send_interval(TICK, || Message::Tick);
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
        let span = span::of_show(&state.id);
        state.receive(&me, message).instrument(span).await;
        Ok(())
    }

    async fn post_stop(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        state.ctx.shows.withdraw(&state.id, &me);
        Ok(())
    }
}

impl State {
    fn new(ctx: Arc<Context>, id: ShowId, is_successor: bool) -> Self {
        let ledger = ctx.state();
        let failover = ledger.show(&id).and_then(|show| show.failover());
        // Whoever had it before may have come as far as that.
        let fence_begun =
            failover.is_some_and(|failover| failover.to.is_some() || !failover.lost_at.is_empty());
        Self {
            ctx,
            id,
            is_successor,
            signals: Signals::default(),
            ingest: IngestSign::default(),
            asking_ingest: false,
            ingest_asked_at: None,
            ingest_away_at: None,
            told_ingest_away: false,
            told_held: false,
            on_air_since: Timestamp(0),
            output_seen_at: None,
            off_air_since: Timestamp(0),
            judge_due: None,
            inactive_in_a_row: 0,
            move_span: None,
            steps: BTreeMap::new(),
            failures: BTreeMap::new(),
            fence_begun,
            fence_epoch: Epoch::default(),
            lost_spares: VecDeque::new(),
            turning: None,
            turn: 0,
            mending: None,
            renewing: None,
            renewed_at: None,
            reviving: None,
            revived_at: None,
            drive_pending: false,
            waiting_for_air: Vec::new(),
            waiting_for_quiet: Vec::new(),
            waiting_for_release: Vec::new(),
            capture_round: 0,
            capture_due_at: None,
            capturing: None,
            told_waiting: false,
            told_unmakeable: false,
        }
    }

    async fn receive(&mut self, me: &ActorRef<Message>, message: Message) {
        match message {
            Message::Assign { ask, reply } => {
                let result = self.assign(me, ask).await;
                answer(reply, result);
            }
            Message::Release { ask, reply } => self.release(me, ask, reply).await,
            Message::Start { reply } => self.start(me, reply).await,
            Message::Stop { reply } => self.stop(me, reply).await,
            Message::Failover(order) => self.force(me, order).await,
            Message::Hold { held, reply } => {
                let result = self.hold(me, held).await;
                answer(reply, result);
            }
            Message::SetUp { ask, reply } => {
                let result = self.set_up(me, *ask).await;
                answer(reply, result);
            }
            Message::Signals { vm, signals } => self.signals(me, &vm, *signals).await,
            Message::StudioUp { vm } => self.studio_up(me, &vm).await,
            Message::StudioChanged { vm } => self.studio_changed(me, &vm),
            Message::StreamNoticed { vm, active } => {
                tracing::debug!(show = %self.id, %vm, active, "the studio says its stream turned");
            }
            Message::VmReady { vm } => self.vm_ready(me, &vm).await,
            Message::VmFailed { vm, reason } => self.vm_failed(me, &vm, reason).await,
            Message::Judge => self.judge_if_due(me).await,
            Message::IngestAnswered { reachable } => self.ingest_answered(me, reachable).await,
            Message::LastLook { epoch, studio, order } => {
                self.looked_last(me, epoch, studio, order).await;
            }
            Message::Drive => self.drive(me).await,
            Message::DriveDue => {
                self.drive_pending = false;
                self.drive(me).await;
            }
            Message::StepEnded { epoch, ended } => self.step_ended(me, epoch, ended).await,
            Message::StreamStarted { turn, result } => self.stream_started(me, turn, result).await,
            Message::StreamStopped { turn, result } => self.stream_stopped(me, turn, result).await,
            Message::StartAgain { turn } => self.start_again(me, turn),
            Message::StopAgain { turn } => self.stop_again(me, turn),
            Message::StudioMended { epoch, result } => self.studio_mended(me, epoch, result).await,
            Message::MendAgain { epoch } => self.mend_again(me, epoch),
            Message::Settled => self.take_up(me).await,
            Message::Silenced { release, result } => self.silenced(me, *release, result).await,
            Message::Archived { release, result } => self.archived(me, *release, result).await,
            Message::Cleaned { release, report } => self.cleaned(me, *release, *report).await,
            Message::ReleaseAgain(release) => self.release_again(me, *release),
            Message::CaptureDue { round } => self.capture_due(me, round),
            Message::Captured { epoch, result } => self.captured(me, epoch, result).await,
            Message::IdleCheck => self.idle_check(me),
            Message::Tick => self.tick(me).await,
        }
    }

    /// This show as the ledger has it; a new one if it has none yet.
    fn show(&self) -> Arc<Show> {
        let known = self.ctx.state().show(&self.id).cloned();
        known.unwrap_or_else(|| Arc::new(Show::new(self.id.clone())))
    }

    /// Goes on with whatever the ledger says is under way.
    async fn take_up(&mut self, me: &ActorRef<Message>) {
        let show = self.show();
        self.on_air_since = self.ctx.now();
        match &show.phase {
            Phase::Idle => self.linger(me),
            Phase::OffAir | Phase::OnAir => {
                if let Some(vm) = &show.vm {
                    self.signals = self.ctx.board.latest(vm).signals;
                }
                if show.phase == Phase::OnAir {
                    self.tell_on_air(&show);
                }
                self.go_on(me, &show);
                self.judge(me).await;
            }
            Phase::FailingOver(failover) => {
                for vm in std::iter::once(&failover.from).chain(&failover.to) {
                    self.ctx.machines.duty_changed(vm);
                }
                let _ = me.cast(Message::Drive);
            }
            Phase::Releasing { .. } => self.silence(me, &show),
        }
    }

    /// What is still to be done for a show that has its VM and is not being moved.
    fn go_on(&mut self, me: &ActorRef<Message>, show: &Show) {
        self.resume(me, show);
        self.capture_soon(me, self.ctx.options.obs.capture_debounce);
    }

    /// The wishes that were recorded and are not fulfilled.
    fn resume(&mut self, me: &ActorRef<Message>, show: &Show) {
        self.start_reserved(show);
        if show.stream_wanted && show.phase == Phase::OffAir {
            self.turn_on(me, show);
        } else if show.stop_asked {
            self.turn_off(me, show);
        }
        self.mend_studio(me, show);
    }

    async fn tick(&mut self, me: &ActorRef<Message>) {
        let show = self.show();
        match &show.phase {
            Phase::Idle => {}
            Phase::OffAir | Phase::OnAir if self.is_turning() => {}
            Phase::OffAir | Phase::OnAir => {
                self.resume(me, &show);
                self.capture_soon(me, self.ctx.options.obs.capture_interval);
                self.judge(me).await;
            }
            Phase::FailingOver(_) => self.drive(me).await,
            Phase::Releasing { .. } if self.is_turning() => {}
            Phase::Releasing { .. } => self.silence(me, &show),
        }
    }

    fn linger(&self, me: &ActorRef<Message>) {
        me.send_after(LINGER, || Message::IdleCheck);
    }

    fn idle_check(&self, me: &ActorRef<Message>) {
        if self.show().phase == Phase::Idle {
            me.stop(None);
        }
    }

    async fn commit(&self, events: Vec<show::Event>) -> Result<Arc<Show>, CommandError> {
        let events = events
            .into_iter()
            .map(|event| Event::show(&self.id, event))
            .collect();
        match self.ctx.commit(events).await {
            Ok(committed) => {
                let show = committed.state.show(&self.id).cloned();
                Ok(show.unwrap_or_else(|| Arc::new(Show::new(self.id.clone()))))
            }
            Err(error) => {
                self.look_again_if_undecided(&error);
                Err(super::vm::commit_error(error))
            }
        }
    }

    fn look_again_if_undecided(&self, error: &CommitError) {
        let id = self.id.clone();
        self.ctx
            .once_decided(error, move |ctx| ctx.shows.tell(&id, Message::Settled));
    }

    /// Commits what the show itself has found out; a refusal means that the world has moved on.
    async fn note(&self, event: show::Event) -> bool {
        match self.commit(vec![event]).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(show = %self.id, %error, "the ledger did not take an event");
                false
            }
        }
    }

    fn step(action: Action) -> Option<Step> {
        match action {
            Action::Fence => Some(Step::Fence),
            Action::Restore => Some(Step::Restore),
            Action::Publish => Some(Step::Publish),
            Action::ChooseSpare | Action::AwaitTarget | Action::Finish => None,
        }
    }
}

/// Lets a caller wait for what is under way, if not too many do.
fn queue<T: Send + Sync + 'static>(waiting: &mut Vec<Reply<T>>, reply: Reply<T>) {
    waiting.retain(|other| !other.is_closed());
    if waiting.len() < WAITING_MAX {
        waiting.push(reply);
    } else {
        answer(reply, Err(CommandError::Busy));
    }
}
