//! Start and stop, and noticing that somebody started or stopped the stream elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::effects::{self, Restoring, within};
use super::{Message, Reply, State, Task, queue};
use crate::actors::coordinator::{CommandError, StreamTurned};
use crate::actors::mailbox::{ActorRef, answer};
use crate::actors::task;
use crate::domain::failover::Fence;
use crate::domain::failover::verdict::OutputSign;
use crate::domain::ids::{Epoch, VmId};
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::time::Timestamp;
use crate::domain::vm::Power;

/// Looks in a row that must find a stream stopped that nobody asked for here.
const INACTIVE_MAX: u32 = 2;
/// Pause before what a studio did not do is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

impl State {
    pub(super) async fn start(&mut self, me: &ActorRef<Message>, reply: Reply<StreamTurned>) {
        match self.begin_start(me).await {
            Ok(Some(turned)) => answer(reply, Ok(turned)),
            Ok(None) => queue(&mut self.waiting_for_air, reply),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// `None`: the stream is being started, and the answer comes when its bytes rise.
    async fn begin_start(&mut self, me: &ActorRef<Message>) -> Result<Option<StreamTurned>, CommandError> {
        let show = self.show();
        let vm = show
            .vm
            .clone()
            .ok_or_else(|| CommandError::NotAssigned(self.id.clone()))?;
        match show.phase {
            Phase::OnAir => {
                let stopping = show.stop_asked;
                if !show.stream_wanted {
                    self.commit(vec![Fact::StreamWanted { wanted: true }]).await?;
                }
                if stopping {
                    // Once the stop that is under way has ended.
                    self.turn_on(me, &self.show());
                    return Ok(None);
                }
                return Ok(Some(StreamTurned {
                    show: self.id.clone(),
                    vm,
                    on_air: true,
                }));
            }
            Phase::FailingOver(_) => {
                self.want_stream().await?;
                return Ok(None);
            }
            Phase::OffAir => {}
            Phase::Idle | Phase::Releasing { .. } => {
                let (show, phase) = (self.id.clone(), show.phase.as_str());
                return Err(CommandError::WrongPhase {
                    show,
                    phase,
                    advice: "assign a VM first",
                });
            }
        }
        let status = self.ctx.state().vm(&vm).map(|vm| (vm.power, vm.status()));
        if let Some((power, status)) = status
            && power != Power::Ready
        {
            return Err(CommandError::WrongStatus {
                vm,
                status,
                advice: "wait until it is ready",
            });
        }
        if self.ctx.world.obs.is_none() {
            let message = "no connection to studios is configured ([obs] enabled = false)".to_owned();
            return Err(CommandError::Studio { vm, message });
        }
        let show = self.want_stream().await?;
        self.ctx.machines.duty_changed(&vm);
        self.turn_on(me, &show);
        Ok(None)
    }

    /// Refused if another show has that stream, by the order of the ledger.
    async fn want_stream(&self) -> Result<Arc<Show>, CommandError> {
        let show = self.commit(vec![Fact::StreamWanted { wanted: true }]).await?;
        if show.stream_wanted {
            return Ok(show);
        }
        let state = self.ctx.state();
        let other = state.same_stream(&show);
        let other = other.map_or("another show".to_owned(), |other| format!("show {other}"));
        let message = format!(
            "{other} streams to the same server with the same stream key, and there must not be two publishers: stop it, \
             or give show {} a stream key of its own",
            self.id
        );
        Err(CommandError::Refused(message))
    }

    /// Starts the stream on the show's VM; [`Message::StreamStarted`] says how that went. While it is still being
    /// stopped, or its studio restored, the end of that comes back here.
    pub(super) fn turn_on(&mut self, me: &ActorRef<Message>, show: &Show) {
        let Some(vm) = show.vm.clone() else { return };
        if self.is_turning() {
            return;
        }
        if show.unrestored {
            return self.mend_studio(me, show);
        }
        self.turn += 1;
        let (ctx, me, turn) = (Arc::clone(&self.ctx), me.clone(), self.turn);
        let show = show.clone();
        self.turning = Some(Task::spawn(async move {
            let result = effects::publish(&ctx, &vm, &show).await;
            let _ = me.cast(Message::StreamStarted { turn, result });
        }));
    }

    pub(super) fn is_turning(&self) -> bool {
        self.turning.as_ref().is_some_and(Task::is_running)
    }

    pub(super) async fn stream_started(
        &mut self,
        me: &ActorRef<Message>,
        turn: u64,
        result: Result<Timestamp, String>,
    ) {
        if turn != self.turn {
            return;
        }
        self.turning = None;
        let show = self.show();
        match (result, &show.phase) {
            // That it is not to stream was written down while it was being started.
            (Ok(_), Phase::OffAir) if !show.stream_wanted => self.turn_off(me, &show),
            (Ok(_), Phase::OffAir) => {
                if self.note(Fact::WentOnAir { epoch: show.epoch }).await {
                    self.gone_on_air(me);
                }
            }
            (Ok(_), Phase::OnAir) => self.gone_on_air(me),
            (Err(message), Phase::OffAir | Phase::OnAir) => self.not_started(me, &show, message).await,
            // It is being moved or released: that goes its own way.
            (Ok(_) | Err(_), Phase::Idle | Phase::FailingOver(_) | Phase::Releasing { .. }) => {}
        }
    }

    async fn not_started(&mut self, me: &ActorRef<Message>, show: &Show, message: String) {
        tracing::warn!(show = %self.id, error = message, "the stream could not be started");
        if self.waiting_for_air.is_empty() {
            // Nobody asked just now: it was on air, and is to be again.
            let turn = self.turn;
            task::send_later(me, TRY_AGAIN, move || Message::StartAgain { turn });
            return;
        }
        if show.phase == Phase::OffAir {
            self.note(Fact::StreamWanted { wanted: false }).await;
            // It must not come on air later, when nobody expects it any more.
            self.turn_off(me, &self.show());
        }
        if let Some(vm) = show.vm.clone() {
            self.ctx.machines.duty_changed(&vm);
            let error = CommandError::Studio { vm, message };
            for reply in self.waiting_for_air.drain(..) {
                answer(reply, Err(error.clone()));
            }
        }
    }

    pub(super) fn start_again(&mut self, me: &ActorRef<Message>, turn: u64) {
        let show = self.show();
        if turn == self.turn && show.phase == Phase::OffAir && show.stream_wanted {
            self.turn_on(me, &show);
        }
    }

    /// Restores the studio that a move left as it was; [`Message::StudioMended`] says how that went.
    pub(super) fn mend_studio(&mut self, me: &ActorRef<Message>, show: &Show) {
        let state = self.ctx.state();
        let ready = show.vm.clone().filter(|vm| {
            let vm = state.vm(vm);
            vm.is_some_and(|vm| vm.power == Power::Ready)
        });
        let under_way = self.mending.as_ref().is_some_and(Task::is_running);
        // Without a way to studios nobody can make one, and trying again and again would not help.
        let reachable = self.ctx.world.obs.is_some();
        let (true, false, true, Some(vm)) = (show.unrestored, under_way, reachable, ready) else {
            return;
        };
        let (ctx, me, epoch) = (Arc::clone(&self.ctx), me.clone(), show.epoch);
        let show = show.clone();
        self.mending = Some(Task::spawn(async move {
            let limit = ctx.options.failover.restore_deadline;
            let work = effects::restore(&ctx, &vm, &show);
            let result = within(limit, "restoring the studio", work).await;
            let _ = me.cast(Message::StudioMended { epoch, result });
        }));
    }

    pub(super) async fn studio_mended(
        &mut self,
        me: &ActorRef<Message>,
        epoch: Epoch,
        result: Result<Restoring, String>,
    ) {
        self.mending = None;
        match result {
            Ok(Restoring { by, differences }) => {
                let restored = Fact::Restored {
                    epoch,
                    differences,
                    by,
                };
                if self.note(restored).await {
                    self.go_on(me, &self.show());
                }
            }
            Err(error) => {
                tracing::warn!(show = %self.id, error, "the studio is not restored yet; trying again");
                task::send_later(me, TRY_AGAIN, move || Message::MendAgain { epoch });
            }
        }
    }

    pub(super) fn mend_again(&mut self, me: &ActorRef<Message>, epoch: Epoch) {
        let show = self.show();
        if show.epoch == epoch && matches!(show.phase, Phase::OffAir | Phase::OnAir) {
            self.mend_studio(me, &show);
        }
    }

    /// The show has just come on air, by whatever way.
    pub(super) fn gone_on_air(&mut self, me: &ActorRef<Message>) {
        self.inactive_in_a_row = 0;
        self.on_air_since = self.ctx.now();
        self.output_seen_at = Some(self.on_air_since);
        let show = self.show();
        if let Some(vm) = &show.vm {
            self.ctx.machines.duty_changed(vm);
        }
        self.tell_on_air(&show);
        // What is on air now is what must be there should this VM fail in the next moment.
        self.capture_soon(me, Duration::ZERO);
    }

    /// Answers whoever waits for the show to be on air.
    pub(super) fn tell_on_air(&mut self, show: &Show) {
        let Some(vm) = &show.vm else { return };
        let on_air = StreamTurned {
            show: self.id.clone(),
            vm: vm.clone(),
            on_air: true,
        };
        for reply in self.waiting_for_air.drain(..) {
            answer(reply, Ok(on_air.clone()));
        }
    }

    /// Answers whoever waits for the show to be off the air.
    pub(super) fn tell_off_air(&mut self, show: &Show) {
        let Some(vm) = &show.vm else { return };
        let off_air = StreamTurned {
            show: self.id.clone(),
            vm: vm.clone(),
            on_air: false,
        };
        for reply in self.waiting_for_quiet.drain(..) {
            answer(reply, Ok(off_air.clone()));
        }
    }

    pub(super) async fn stop(&mut self, me: &ActorRef<Message>, reply: Reply<StreamTurned>) {
        match self.begin_stop(me).await {
            Ok(Some(turned)) => answer(reply, Ok(turned)),
            Ok(None) => queue(&mut self.waiting_for_quiet, reply),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// `None`: the stream is being stopped, and the answer comes when it has.
    async fn begin_stop(&mut self, me: &ActorRef<Message>) -> Result<Option<StreamTurned>, CommandError> {
        let show = self.abandon_move(Vec::new()).await?;
        let vm = show
            .vm
            .clone()
            .ok_or_else(|| CommandError::NotAssigned(self.id.clone()))?;
        if let Phase::Releasing { .. } = show.phase {
            let (show, phase) = (self.id.clone(), show.phase.as_str());
            return Err(CommandError::WrongPhase {
                show,
                phase,
                advice: "it is being stopped already",
            });
        }
        if show.stream_wanted || (show.may_publish && !show.stop_asked) {
            self.commit(vec![Fact::StreamWanted { wanted: false }]).await?;
        }
        for reply in self.waiting_for_air.drain(..) {
            let message = "the stream was stopped before it was on air".to_owned();
            answer(reply, Err(CommandError::Refused(message)));
        }
        let show = self.show();
        if self.is_quiet(&show, &vm) {
            self.mend_studio(me, &show);
            return Ok(Some(StreamTurned {
                show: self.id.clone(),
                vm,
                on_air: false,
            }));
        }
        self.turn_off(me, &show);
        Ok(None)
    }

    /// Stops the stream on the show's VM; [`Message::StreamStopped`] says how that went.
    pub(super) fn turn_off(&mut self, me: &ActorRef<Message>, show: &Show) {
        let Some(vm) = show.vm.clone() else { return };
        // Or else it would be started after that.
        self.renewing = None;
        self.turn += 1;
        let (ctx, me, turn) = (Arc::clone(&self.ctx), me.clone(), self.turn);
        self.turning = Some(Task::spawn(async move {
            let limit = ctx.options.failover.verify_deadline;
            let result = within(limit, "stopping its stream", effects::stop_stream(&ctx, &vm)).await;
            let _ = me.cast(Message::StreamStopped { turn, result });
        }));
    }

    pub(super) async fn stream_stopped(
        &mut self,
        me: &ActorRef<Message>,
        turn: u64,
        result: Result<(), String>,
    ) {
        if turn != self.turn {
            return;
        }
        self.turning = None;
        let show = self.show();
        match result {
            Ok(()) => {
                self.off_air_since = self.ctx.now();
                let epoch = show.epoch;
                if show.phase == Phase::OnAir {
                    self.note(Fact::WentOffAir { epoch }).await;
                } else if show.may_publish && !show.stream_wanted {
                    let how = Fence::StreamStopped;
                    self.note(Fact::Silenced { epoch, how }).await;
                }
                if let Some(vm) = &show.vm {
                    self.ctx.machines.duty_changed(vm);
                }
                self.tell_off_air(&show);
            }
            Err(message) => self.not_stopped(me, &show, turn, message),
        }
        let show = self.show();
        if show.stream_wanted && matches!(show.phase, Phase::OnAir | Phase::OffAir) {
            // Somebody wants it again since.
            self.turn_on(me, &show);
        }
    }

    fn not_stopped(&mut self, me: &ActorRef<Message>, show: &Show, turn: u64, message: String) {
        tracing::warn!(show = %self.id, error = message, "the stream could not be stopped; trying again");
        if let Some(vm) = show.vm.clone() {
            let error = CommandError::Studio { vm, message };
            for reply in self.waiting_for_quiet.drain(..) {
                answer(reply, Err(error.clone()));
            }
        }
        task::send_later(me, TRY_AGAIN, move || Message::StopAgain { turn });
    }

    pub(super) fn stop_again(&mut self, me: &ActorRef<Message>, turn: u64) {
        let show = self.show();
        let here = matches!(show.phase, Phase::OnAir | Phase::OffAir);
        if turn == self.turn && here && show.stop_asked {
            self.turn_off(me, &show);
        }
    }

    /// Somebody may have started or stopped the stream in OBS itself.
    pub(super) async fn notice_stream(&mut self, me: &ActorRef<Message>, show: &Show, vm: &VmId) {
        if self.is_turning() {
            return;
        }
        let active = self.ctx.board.latest(vm).output.map(|output| output.active);
        match show.phase {
            // It was to stop: that it goes on is no reason to have it on air.
            Phase::OffAir if show.stop_asked => {
                if self.signals.is_publishing() {
                    self.turn_off(me, show);
                }
            }
            Phase::OffAir => {
                // Bytes that rose just before the stream ended may be reported after.
                let goes_on = match self.signals.output {
                    OutputSign::Rising { at } => at > self.off_air_since && active == Some(true),
                    OutputSign::Unknown | OutputSign::Flat { .. } => false,
                };
                if goes_on
                    && self.signals.is_publishing()
                    && self.note(Fact::WentOnAir { epoch: show.epoch }).await
                {
                    self.gone_on_air(me);
                }
            }
            Phase::OnAir if !show.stream_wanted && active == Some(false) => {
                if matches!(self.signals.output, OutputSign::Flat { .. }) {
                    self.inactive_in_a_row += 1;
                }
                if self.inactive_in_a_row >= INACTIVE_MAX
                    && self.note(Fact::WentOffAir { epoch: show.epoch }).await
                {
                    self.inactive_in_a_row = 0;
                    self.ctx.machines.duty_changed(vm);
                }
            }
            Phase::OnAir => self.inactive_in_a_row = 0,
            Phase::Idle | Phase::FailingOver(_) | Phase::Releasing { .. } => {}
        }
    }
}
