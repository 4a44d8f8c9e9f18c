//! The failover: decide, then do whatever the facts still ask for, until the show is on air elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument as _, Span};

use super::effects::{self, Restoring, within};
use super::{Ended, Message, Order, State, Step, Task};
use crate::actors::coordinator::{CommandError, Moving};
use crate::actors::mailbox::{ActorRef, answer};
use crate::actors::news::Level;
use crate::actors::{span, task};
use crate::domain::event::Event;
use crate::domain::failover::verdict::{CloudSign, IngestSign, OutputSign, Sign};
use crate::domain::failover::{Action, Cause, Ending, Evidence, Failover};
use crate::domain::ids::{Epoch, VmId};
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::studio::Studio;
use crate::domain::time::Timestamp;
use crate::domain::vm::Power;

/// While something is missing (a spare, a ready target), the facts are looked at this often.
const DRIVE_EVERY: Duration = Duration::from_millis(500);
/// How long reading the studio may put a forced move off.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Failures of one step on one target before another target is tried.
const STEP_TRIES: u32 = 3;

impl State {
    /// An operator wants the show elsewhere, wherever it is in its life. A studio that answers is read once more
    /// first, since nothing is lost by it: the show is still on air.
    pub(super) async fn force(&mut self, me: &ActorRef<Message>, order: Order) {
        let show = self.show();
        let epoch = show.epoch;
        let readable = show.vm.clone().filter(|vm| self.studio_answers(vm));
        match readable {
            Some(vm) if matches!(show.phase, Phase::OnAir | Phase::OffAir) => {
                let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
                task::effect(async move {
                    let reading = effects::capture(&ctx, &vm);
                    let studio = within(LAST_LOOK, "reading the studio", reading).await;
                    let _ = me.cast(Message::LastLook { epoch, studio, order });
                });
            }
            Some(_) | None => self.move_now(me, order).await,
        }
    }

    fn studio_answers(&self, vm: &VmId) -> bool {
        self.is_sound(vm) && !self.signals.obs.is_silent() && self.ctx.world.obs.is_some()
    }

    fn is_sound(&self, vm: &VmId) -> bool {
        let state = self.ctx.state();
        let vm = state.vm(vm);
        vm.is_some_and(|vm| vm.power == Power::Ready && vm.fault.is_none())
    }

    /// Nothing is known against the VM that the show has, nor against its studio and what leaves that.
    fn may_stay(&self, vm: &VmId) -> bool {
        let studio_is_bad = matches!(self.signals.obs, Sign::Bad { .. });
        let silence_limit = self.ctx.options.failover.verdict.silence_limit;
        let is_silent = match self.signals.output {
            OutputSign::Flat { since } => {
                self.show().stream_wanted && self.ctx.now().since(since) >= silence_limit
            }
            OutputSign::Unknown | OutputSign::Rising { .. } => false,
        };
        self.is_sound(vm) && !studio_is_bad && !is_silent
    }

    pub(super) async fn looked_last(
        &mut self,
        me: &ActorRef<Message>,
        epoch: Epoch,
        studio: Result<Studio, String>,
        order: Order,
    ) {
        self.captured(me, epoch, studio).await;
        self.move_now(me, order).await;
    }

    async fn move_now(&mut self, me: &ActorRef<Message>, order: Order) {
        let Order { to, by, reply } = order;
        tracing::info!(show = %self.id, ?to, ?by, "an operator moves the show");
        let result = self.begin_forced(me, to).await;
        answer(reply, result);
    }

    async fn begin_forced(
        &mut self,
        me: &ActorRef<Message>,
        to: Option<VmId>,
    ) -> Result<Moving, CommandError> {
        let show = self.show();
        if let Some(failover) = show.failover() {
            match (&failover.to, to) {
                (None, to) => self.choose_spare(me, failover, to).await?,
                (Some(target), Some(other)) if *target != other => {
                    let message = format!("show {} is being moved to {target} already", self.id);
                    return Err(CommandError::Refused(message));
                }
                (Some(_), _) => {}
            }
            let show = self.show();
            return Ok(moving(&show, show.failover().unwrap_or(failover)));
        }
        if !matches!(show.phase, Phase::OnAir | Phase::OffAir) {
            return Err(CommandError::NotAssigned(self.id.clone()));
        }
        self.begin_move(me, &show, Cause::Forced, self.ctx.now(), to)
            .await?;
        let show = self.show();
        match show.failover() {
            Some(failover) => Ok(moving(&show, failover)),
            None => Err(CommandError::Refused("the move has ended already".to_owned())),
        }
    }

    /// Decides: the new epoch and the target are durable before anything moves.
    pub(super) async fn begin_move(
        &mut self,
        me: &ActorRef<Message>,
        show: &Show,
        cause: Cause,
        since: Timestamp,
        wanted: Option<VmId>,
    ) -> Result<(), CommandError> {
        let decided_at = self.ctx.now();
        let from = show
            .vm
            .clone()
            .ok_or_else(|| CommandError::NotAssigned(self.id.clone()))?;
        // An operator who asks for the impossible is told so. With its VM in trouble the show is better off waiting.
        let strict = wanted.is_some() || (cause == Cause::Forced && self.may_stay(&from));
        let target = match self.reserve_spare(&from, wanted).await {
            Ok(allocation) => Some(allocation),
            Err(error) if strict => return Err(error),
            Err(error) => {
                tracing::warn!(show = %self.id, %error, "no spare now; the show waits for one");
                None
            }
        };
        let evidence = Evidence {
            suspected_at: since,
            decided_at,
            last_output_at: self.signals.last_output_at.max(self.output_seen_at),
            summary: format!("{} on {from}", cause.as_str()),
        };
        let to = target.as_ref().map(|allocation| allocation.vm().clone());
        let span = span::of_failover(&self.id, cause, &evidence);
        self.move_span = Some((decided_at, span.clone()));
        let epoch = show.epoch.next();
        let began = Fact::FailoverBegan {
            epoch,
            cause,
            to: to.clone(),
            evidence,
        };
        let committed = self.commit(vec![began]).instrument(span.clone()).await;
        self.promise_done(to.as_ref());
        committed?;
        let _entered = span.entered();
        self.turning = None;
        self.turn += 1;
        self.mending = None;
        self.capturing = None;
        self.failures.clear();
        self.told_waiting = false;
        self.told_unmakeable = false;
        self.fence_begun = false;
        let level = if cause == Cause::Forced {
            Level::Info
        } else {
            Level::Critical
        };
        let whereto = to
            .as_ref()
            .map_or("the next spare".to_owned(), ToString::to_string);
        let message = format!(
            "show {} is being moved from {from} to {whereto}: {}",
            self.id,
            cause.as_str()
        );
        self.alert(level, "Failover started", message, Some(&from));
        self.ready_target(target.as_ref());
        self.ctx.machines.duty_changed(&from);
        let _ = me.cast(Message::Drive);
        Ok(())
    }

    /// Does what the facts ask for. Safe to call at any time.
    pub(super) async fn drive(&mut self, me: &ActorRef<Message>) {
        let show = self.show();
        let Some(failover) = show.failover() else { return };
        let span = self.span_of(failover);
        self.drive_on(me, &show, failover).instrument(span).await;
    }

    /// Whoever drives it, a move belongs to whoever decided it. After a restart nobody knows that any more.
    fn span_of(&mut self, failover: &Failover) -> Span {
        let decided_at = failover.evidence.decided_at;
        match &self.move_span {
            Some((of, span)) if *of == decided_at => span.clone(),
            Some(_) | None => {
                let span = span::of_failover(&self.id, failover.cause, &failover.evidence);
                self.move_span = Some((decided_at, span.clone()));
                span
            }
        }
    }

    async fn drive_on(&mut self, me: &ActorRef<Message>, show: &Show, failover: &Failover) {
        let ready = self.target_is_ready(failover);
        if !ready && self.has_recovered(failover) {
            return self.recovered(me, failover).await;
        }
        if let Some((vm, reason)) = self.unusable_target(failover) {
            return self.lose_spare(me, &vm, reason).await;
        }
        for action in failover.next(ready) {
            match action {
                Action::ChooseSpare => self.seek_spare(me, show, failover).await,
                Action::AwaitTarget => {
                    self.start_target(failover);
                    self.drive_later(me);
                }
                Action::Fence | Action::Restore => self.begin_step(me, show, failover, action),
                Action::Publish => {
                    let known = failover.publishing_at.is_some();
                    if known
                        || self
                            .note(Fact::Publishing {
                                epoch: failover.epoch,
                            })
                            .await
                    {
                        self.begin_step(me, show, failover, action);
                    } else {
                        self.drive_later(me);
                    }
                }
                Action::Finish => self.finish(me, failover, Ending::Moved).await,
            }
        }
    }

    /// One time at once: whatever asks for it, and however often.
    pub(super) fn drive_later(&mut self, me: &ActorRef<Message>) {
        if !std::mem::replace(&mut self.drive_pending, true) {
            me.send_after(DRIVE_EVERY, || Message::DriveDue);
        }
    }

    fn target_is_ready(&self, failover: &Failover) -> bool {
        let state = self.ctx.state();
        let target = failover.to.as_ref().and_then(|to| state.vm(to));
        target.is_some_and(|vm| vm.power == Power::Ready && vm.fault.is_none())
    }

    /// The old VM is on air again and nothing has been moved yet.
    fn has_recovered(&self, failover: &Failover) -> bool {
        let wanted_back = failover.cause != Cause::Forced && failover.publish;
        let is_going = matches!(self.signals.cloud, CloudSign::Down { .. });
        wanted_back && !is_going && self.is_untouched(failover) && self.is_on_air(failover)
    }

    /// Nobody was told to stop its stream.
    pub(super) fn is_untouched(&self, failover: &Failover) -> bool {
        failover.fenced.is_none() && !self.fence_begun
    }

    /// The old VM has been seen to publish since it was decided to leave it.
    pub(super) fn is_on_air(&self, failover: &Failover) -> bool {
        let last_output_at = self.signals.last_output_at;
        self.signals.is_publishing() && last_output_at.is_some_and(|at| at > failover.began_at)
    }

    fn begin_step(&mut self, me: &ActorRef<Message>, show: &Show, failover: &Failover, action: Action) {
        let (Some(step), Some(to)) = (Self::step(action), failover.to.clone()) else {
            return;
        };
        if self.steps.get(&step).is_some_and(Task::is_running) {
            return;
        }
        if step == Step::Fence {
            if self.is_renewing() {
                return self.drive_later(me);
            }
            self.fence_begun = true;
            self.fence_epoch = failover.epoch;
        }
        let (ctx, me, epoch, from) = (
            Arc::clone(&self.ctx),
            me.clone(),
            failover.epoch,
            failover.from.clone(),
        );
        let show = show.clone();
        let task = Task::spawn(async move {
            let options = &ctx.options.failover;
            let ended = match step {
                // Bounded inside, way by way.
                Step::Fence => Ended::Fence(effects::fence(&ctx, &from).await),
                Step::Restore => {
                    let limit = options.restore_deadline;
                    let work = || within(limit, "restoring the studio", effects::restore(&ctx, &to, &show));
                    Ended::Restore(ctx.unstalled(work).await)
                }
                Step::Publish => Ended::Publish(effects::publish(&ctx, &to, &show).await),
            };
            let _ = me.cast(Message::StepEnded { epoch, ended });
        });
        self.steps.insert(step, task);
    }

    pub(super) async fn step_ended(&mut self, me: &ActorRef<Message>, epoch: Epoch, ended: Ended) {
        let show = self.show();
        let Some(failover) = show.failover() else { return };
        // A fence outlives the spare that it was begun for.
        let is_fence = matches!(ended, Ended::Fence(_))
            && self.steps.contains_key(&Step::Fence)
            && self.fence_epoch == epoch;
        if failover.epoch != epoch && !is_fence {
            return;
        }
        let span = self.span_of(failover);
        self.take_step(me, failover, ended).instrument(span).await;
    }

    async fn take_step(&mut self, me: &ActorRef<Message>, failover: &Failover, ended: Ended) {
        let epoch = failover.epoch;
        match ended {
            Ended::Fence(Ok(how)) => {
                self.steps.remove(&Step::Fence);
                self.note(Fact::Fenced { epoch, how }).await;
            }
            Ended::Restore(Ok(Restoring { by, differences })) => {
                self.steps.remove(&Step::Restore);
                let restored = Fact::Restored {
                    epoch,
                    differences,
                    by,
                };
                self.note(restored).await;
            }
            Ended::Publish(Ok(_)) => {
                self.steps.remove(&Step::Publish);
                return self.finish(me, failover, Ending::OnAir).await;
            }
            Ended::Fence(Err(error)) => {
                self.steps.remove(&Step::Fence);
                let count = self.count_failure(Step::Fence);
                tracing::error!(show = %self.id, error, count, "the old VM is not fenced yet; trying again");
                if count == 1 {
                    let message = format!(
                        "show {} stays off air until {} is fenced: {error}",
                        self.id, failover.from
                    );
                    self.alert(
                        Level::Critical,
                        "Old VM not fenced",
                        message,
                        Some(&failover.from),
                    );
                }
                return self.drive_later(me);
            }
            Ended::Restore(Err(error)) => return self.step_failed(me, Step::Restore, failover, error).await,
            Ended::Publish(Err(error)) => return self.step_failed(me, Step::Publish, failover, error).await,
        }
        self.drive(me).await;
    }

    fn count_failure(&mut self, step: Step) -> u32 {
        let count = self.failures.entry(step).or_default();
        *count += 1;
        *count
    }

    async fn step_failed(&mut self, me: &ActorRef<Message>, step: Step, failover: &Failover, error: String) {
        self.steps.remove(&step);
        let show = self.show();
        if let Err(why) = effects::wanted(&self.ctx, &show) {
            // No other spare could do better.
            self.tell_unmakeable(failover, &why);
            return self.drive_later(me);
        }
        let count = self.count_failure(step);
        tracing::warn!(show = %self.id, ?step, error, count, "a step of the failover failed");
        match (&failover.to, count >= STEP_TRIES) {
            // Nor could another spare here. On this one somebody can set up the studio.
            (Some(to), true) if step == Step::Publish && !show.has_destination() => {
                self.tell_aimless(to, &error);
                self.finish(me, failover, Ending::Moved).await;
            }
            (Some(to), true) => self.lose_spare(me, &to.clone(), error).await,
            (Some(_) | None, _) => self.drive_later(me),
        }
    }

    fn tell_unmakeable(&mut self, failover: &Failover, why: &str) {
        if !std::mem::replace(&mut self.told_unmakeable, true) {
            let message = format!("show {} stays off air: {why}", self.id);
            let title = "The studio cannot be made anywhere";
            self.alert(Level::Critical, title, message, failover.to.as_ref());
        }
    }

    fn tell_aimless(&self, vm: &VmId, error: &str) {
        let message = format!(
            "show {} is on {vm} and off the air: no stream server of it is known, and the stream could not be started \
             there ({error}). Set up the studio and start its stream.",
            self.id
        );
        self.alert(Level::Critical, "Nowhere to stream to", message, Some(vm));
    }

    async fn recovered(&mut self, me: &ActorRef<Message>, failover: &Failover) {
        self.finish(me, failover, Ending::Recovered).await;
    }

    pub(super) async fn finish(&mut self, me: &ActorRef<Message>, failover: &Failover, ending: Ending) {
        let mut events = vec![Fact::FailoverEnded {
            epoch: failover.epoch,
            ending,
        }];
        if failover.publish
            && matches!(ending, Ending::OnAir | Ending::Returned)
            && !self.show().stream_wanted
        {
            // It was streaming by hand; from here on it is ours to keep on air.
            events.push(Fact::StreamWanted { wanted: true });
        }
        let events = events
            .into_iter()
            .map(|event| Event::show(&self.id, event))
            .collect();
        if let Err(error) = self.ctx.commit(events).await {
            tracing::error!(show = %self.id, %error, "the end of the failover was not recorded; trying again");
            self.look_again_if_undecided(&error);
            return self.drive_later(me);
        }
        tracing::info!(ending = ending.as_str(), "the move has ended");
        self.move_span = None;
        self.steps.clear();
        self.renewing = None;
        self.reviving = None;
        self.failures.clear();
        self.ingest = IngestSign::Unknown;
        let show = self.show();
        let now_on = show.vm.clone();
        for vm in std::iter::once(&failover.from).chain(&failover.to) {
            self.ctx.machines.duty_changed(vm);
        }
        self.signals = now_on
            .as_ref()
            .map(|vm| self.ctx.board.latest(vm).signals)
            .unwrap_or_default();
        // What was last seen of its output was seen before its stream was started.
        self.signals.output = OutputSign::Unknown;
        let whereto = now_on.as_ref().map_or("nowhere".to_owned(), ToString::to_string);
        let message = format!("show {} is on {whereto} ({})", self.id, ending.as_str());
        self.alert(Level::Info, "Failover done", message, now_on.as_ref());
        self.ctx.pool.poke();
        if show.phase == Phase::OnAir {
            self.gone_on_air(me);
        } else {
            if !show.stream_wanted {
                self.tell_off_air(&show);
            }
            self.go_on(me, &show);
        }
        self.judge_at(me, self.ctx.now());
    }
}

fn moving(show: &Show, failover: &Failover) -> Moving {
    Moving {
        show: show.id.clone(),
        epoch: failover.epoch,
        from: failover.from.clone(),
        to: failover.to.clone(),
    }
}
