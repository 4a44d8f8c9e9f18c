//! Start and stop, and noticing that somebody started or stopped the stream elsewhere.

use std::sync::Arc;

use ractor::ActorRef;

use super::effects::{self, within};
use super::{Message, Reply, State, Task};
use crate::actors::coordinator::{CommandError, StreamTurned};
use crate::actors::mailbox::answer;
use crate::domain::failover::Fence;
use crate::domain::failover::verdict::OutputSign;
use crate::domain::ids::{Epoch, VmId};
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::time::Timestamp;
use crate::domain::vm::Power;

/// Looks in a row that must find a stream stopped that nobody asked for here.
const INACTIVE_MAX: u32 = 2;

impl State {
    pub(super) async fn start(&mut self, me: &ActorRef<Message>, reply: Reply<StreamTurned>) {
        match self.begin_start(me).await {
            Ok(Some(turned)) => answer(reply, Ok(turned)),
            Ok(None) => self.waiting_for_air.push(reply),
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
                if !show.stream_wanted {
                    self.commit(vec![Fact::StreamWanted { wanted: true }]).await?;
                }
                return Ok(Some(StreamTurned {
                    show: self.id.clone(),
                    vm,
                    on_air: true,
                }));
            }
            Phase::FailingOver(_) => {
                self.commit(vec![Fact::StreamWanted { wanted: true }]).await?;
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
        let show = self.commit(vec![Fact::StreamWanted { wanted: true }]).await?;
        self.ctx.machines.duty_changed(&vm);
        self.turn_on(me, &show);
        Ok(None)
    }

    /// Starts the stream on the show's VM; [`Message::StreamStarted`] says how that went.
    pub(super) fn turn_on(&mut self, me: &ActorRef<Message>, show: &Show) {
        let Some(vm) = show.vm.clone() else { return };
        if self.turning.as_ref().is_some_and(Task::is_running) {
            return;
        }
        let (ctx, me, epoch) = (Arc::clone(&self.ctx), me.clone(), show.epoch);
        self.turning = Some(Task::spawn(async move {
            let limit = ctx.options.failover.verify_deadline;
            let result = within(limit, "seeing output rise", effects::publish(&ctx, &vm)).await;
            let _ = me.cast(Message::StreamStarted { epoch, result });
        }));
    }

    pub(super) async fn stream_started(
        &mut self,
        me: &ActorRef<Message>,
        epoch: Epoch,
        result: Result<Timestamp, String>,
    ) {
        let show = self.show();
        if show.epoch != epoch {
            return;
        }
        self.turning = None;
        match result {
            Ok(_) if show.phase == Phase::OffAir => {
                if self.note(Fact::WentOnAir { epoch }).await {
                    self.gone_on_air(me);
                }
            }
            Ok(_) => {}
            Err(message) if show.phase == Phase::OffAir => {
                tracing::warn!(show = %self.id, message, "the stream could not be started");
                self.note(Fact::StreamWanted { wanted: false }).await;
                if let Some(vm) = show.vm.clone() {
                    self.ctx.machines.duty_changed(&vm);
                    let error = CommandError::Studio { vm, message };
                    for reply in self.waiting_for_air.drain(..) {
                        answer(reply, Err(error.clone()));
                    }
                }
            }
            // The show is on air or being moved: that goes its own way.
            Err(_) => {}
        }
    }

    /// The show has just come on air, by whatever way.
    pub(super) fn gone_on_air(&mut self, me: &ActorRef<Message>) {
        self.inactive_in_a_row = 0;
        self.on_air_since = self.ctx.now();
        let show = self.show();
        let Some(vm) = show.vm.clone() else { return };
        self.ctx.machines.duty_changed(&vm);
        for reply in self.waiting_for_air.drain(..) {
            answer(
                reply,
                Ok(StreamTurned {
                    show: self.id.clone(),
                    vm: vm.clone(),
                    on_air: true,
                }),
            );
        }
        // What is on air now is what must be there should this VM fail in the next moment.
        self.capture_soon(me, std::time::Duration::ZERO);
    }

    pub(super) async fn stop(&mut self, me: &ActorRef<Message>, reply: Reply<StreamTurned>) {
        match self.begin_stop(me).await {
            Ok(Some(turned)) => answer(reply, Ok(turned)),
            Ok(None) => self.waiting_for_quiet.push(reply),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// `None`: the stream is being stopped, and the answer comes when it has.
    async fn begin_stop(&mut self, me: &ActorRef<Message>) -> Result<Option<StreamTurned>, CommandError> {
        self.abandon_move().await?;
        let show = self.show();
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
        if show.stream_wanted {
            self.commit(vec![Fact::StreamWanted { wanted: false }]).await?;
        }
        self.turning = None;
        for reply in self.waiting_for_air.drain(..) {
            let message = "the stream was stopped before it was on air".to_owned();
            answer(reply, Err(CommandError::Refused(message)));
        }
        let (ctx, me, epoch) = (Arc::clone(&self.ctx), me.clone(), show.epoch);
        self.turning = Some(Task::spawn(async move {
            let limit = ctx.options.failover.verify_deadline;
            let result = within(limit, "stopping its stream", effects::stop_stream(&ctx, &vm)).await;
            let _ = me.cast(Message::StreamStopped { epoch, result });
        }));
        Ok(None)
    }

    pub(super) async fn stream_stopped(
        &mut self,
        _: &ActorRef<Message>,
        epoch: Epoch,
        result: Result<(), String>,
    ) {
        let show = self.show();
        let Some(vm) = show.vm.clone() else { return };
        if show.epoch != epoch {
            return;
        }
        self.turning = None;
        let answered = match result {
            Ok(()) => {
                if show.phase == Phase::OnAir {
                    self.note(Fact::WentOffAir { epoch }).await;
                } else if show.may_publish && !show.stream_wanted {
                    let how = Fence::StreamStopped;
                    self.note(Fact::Silenced { epoch, how }).await;
                }
                self.ctx.machines.duty_changed(&vm);
                Ok(StreamTurned {
                    show: self.id.clone(),
                    vm,
                    on_air: false,
                })
            }
            Err(message) => Err(CommandError::Studio { vm, message }),
        };
        for reply in self.waiting_for_quiet.drain(..) {
            answer(reply, answered.clone());
        }
    }

    /// Somebody may have started or stopped the stream in OBS itself.
    pub(super) async fn notice_stream(&mut self, me: &ActorRef<Message>, show: &Show, vm: &VmId) {
        if self.turning.as_ref().is_some_and(Task::is_running) {
            return;
        }
        let active = self.ctx.board.latest(vm).output.map(|output| output.active);
        match show.phase {
            Phase::OffAir => {
                if self.signals.is_publishing() && self.note(Fact::WentOnAir { epoch: show.epoch }).await {
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
