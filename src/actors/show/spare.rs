//! The spare of a move: which it is, whether it can still be used, and what happens when there is none.

use std::time::Duration;

use super::{Message, State, Step, Task};
use crate::actors::coordinator::CommandError;
use crate::actors::mailbox::ActorRef;
use crate::actors::news::Level;
use crate::domain::failover::verdict::{CloudSign, Sign};
use crate::domain::failover::{Cause, Ending, Failover};
use crate::domain::ids::VmId;
use crate::domain::placement::Wish;
use crate::domain::pool::{Allocation, Denied};
use crate::domain::show::{Event as Fact, Show};
use crate::domain::time::Timestamp;
use crate::domain::vm::Power;

/// A spare that was just lost is not the next one, even where there is no other: what felled it is still there, and a few
/// more tries would use up what a show may lose.
const REST: Duration = Duration::from_secs(30);
/// Of so many lost spares it is known that they rest.
const RESTING_MAX: usize = 16;
/// How long a target that was ordered to start may still say stopped.
const START_VISIBLE: Duration = Duration::from_secs(10);

impl State {
    pub(super) async fn reserve_spare(
        &self,
        from: &VmId,
        wanted: Option<VmId>,
    ) -> Result<Allocation, CommandError> {
        let now = self.ctx.now();
        let rests =
            |(vm, lost_at): &&(VmId, Timestamp)| now.since(*lost_at) < REST && wanted.as_ref() != Some(vm);
        let lost = self.lost_spares.iter().filter(rests).map(|(vm, _)| vm.clone());
        let wish = Wish {
            exclude: std::iter::once(from.clone()).chain(lost).collect(),
            preferred: wanted,
            last_resort: true,
            ..Wish::default()
        };
        self.reserve(wish).await
    }

    /// Kept or not to be kept: a promise that outlived the move would hold the VM back.
    pub(super) fn promise_done(&self, vm: Option<&VmId>) {
        if let Some(vm) = vm {
            self.ctx.pool.cancel(&self.id, vm);
        }
    }

    pub(super) fn ready_target(&self, target: Option<&Allocation>) {
        let Some(allocation) = target else { return };
        if let Allocation::Cold(vm) = allocation {
            self.ctx.machines.start_soon(vm);
        }
        self.ctx.machines.duty_changed(allocation.vm());
    }

    pub(super) fn unusable_target(&self, failover: &Failover) -> Option<(VmId, String)> {
        let to = failover.to.as_ref()?;
        let state = self.ctx.state();
        let Some(vm) = state.vm(to) else {
            return Some((to.clone(), "it has left the pool".to_owned()));
        };
        let chosen_at = failover.chosen_at.unwrap_or(failover.began_at);
        // One from before it was chosen was known then, and is forgotten when it starts.
        if let Some(fault) = vm.fault.as_ref().filter(|fault| fault.since >= chosen_at) {
            return Some((to.clone(), fault.reason.clone()));
        }
        let counted_from = self.ctx.stalls().counted_from(chosen_at);
        let overdue = self.ctx.now().since(counted_from) > START_VISIBLE;
        match vm.power {
            Power::Stopped if overdue => Some((to.clone(), "it is off and does not start".to_owned())),
            Power::Stopping { .. } => Some((to.clone(), "it is being stopped".to_owned())),
            Power::Stopped | Power::Starting { .. } | Power::Booting | Power::Ready => None,
        }
    }

    pub(super) async fn seek_spare(&mut self, me: &ActorRef<Message>, show: &Show, failover: &Failover) {
        let cap = self.ctx.options.failover.cap;
        if !failover.lost_at.is_empty() && cap.is_reached(show.moves(), self.ctx.now()) {
            if self.is_fencing() {
                return self.drive_later(me);
            }
            if self.keeps_streaming(failover) {
                return self.stay(me, failover, Ending::Recovered).await;
            }
            return self.await_operator(show, failover).await;
        }
        if show.held && failover.cause != Cause::Forced {
            // Put on hold while it waited: whoever did that looks after it.
            return self.tell_held_off_air(failover);
        }
        match self.choose_spare(me, failover, None).await {
            Ok(()) => return,
            // How that ends says what can be done with the old VM.
            Err(CommandError::Denied(Denied::Exhausted)) if self.is_fencing() => {}
            Err(CommandError::Denied(Denied::Exhausted)) => {
                if self.return_to(me, failover).await {
                    return;
                }
                self.renew(failover);
                self.revive(failover);
                self.tell_no_spare(failover);
            }
            Err(error) => tracing::debug!(show = %self.id, %error, "still no spare"),
        }
        self.drive_later(me);
    }

    fn tell_held_off_air(&mut self, failover: &Failover) {
        if !self.is_on_air(failover) && !std::mem::replace(&mut self.told_waiting, true) {
            let message = format!(
                "show {} is on hold in the middle of a move and off the air; move it by hand or let it go on",
                self.id
            );
            self.alert(
                Level::Critical,
                "On hold, off the air",
                message,
                Some(&failover.from),
            );
        }
    }

    fn tell_no_spare(&mut self, failover: &Failover) {
        if !std::mem::replace(&mut self.told_waiting, true) {
            let message = format!(
                "show {} waits for a VM: none is free and none can be started",
                self.id
            );
            self.alert(Level::Critical, "No spare VM", message, Some(&failover.from));
        }
    }

    /// There is nothing else: the old VM, if it can be used, rather than none. One that is off is started.
    async fn return_to(&mut self, me: &ActorRef<Message>, failover: &Failover) -> bool {
        let state = self.ctx.state();
        let Some(old) = state.vm(&failover.from) else {
            return false;
        };
        if old.power == Power::Stopped {
            self.ctx.machines.start_soon(&old.id);
        }
        let signals = self.ctx.board.latest(&old.id).signals;
        let answered_since = match signals.obs {
            Sign::Good { at } => at > failover.began_at,
            Sign::Unknown | Sign::Bad { .. } => false,
        };
        // A studio answers until its machine has stopped.
        let is_going = matches!(signals.cloud, CloudSign::Down { .. });
        let worth_it = match failover.cause {
            Cause::MachineLost | Cause::StudioLost | Cause::Forced => true,
            // Its studio answered all along: that it answers now is no news. Once its stream is stopped it can be started.
            Cause::OutputSilent => !self.is_untouched(failover),
        };
        let usable = old.power == Power::Ready && answered_since && !is_going && worth_it;
        if usable {
            let ending = if self.keeps_streaming(failover) {
                Ending::Recovered
            } else {
                Ending::Returned
            };
            self.stay(me, failover, ending).await;
        }
        usable
    }

    /// Nothing was done to the old VM, and its stream goes on.
    fn keeps_streaming(&self, failover: &Failover) -> bool {
        self.is_untouched(failover) && self.is_on_air(failover)
    }

    async fn stay(&mut self, me: &ActorRef<Message>, failover: &Failover, ending: Ending) {
        let vm = &failover.from;
        let message = format!("show {} stays on {vm}: there is no spare for it", self.id);
        self.alert(Level::Warning, "Not moved", message, Some(vm));
        self.finish(me, failover, ending).await;
    }

    fn is_fencing(&self) -> bool {
        self.steps.get(&Step::Fence).is_some_and(Task::is_running)
    }

    /// What was chosen is to come up, whatever became of the order to start it.
    pub(super) fn start_target(&self, failover: &Failover) {
        let state = self.ctx.state();
        let target = failover.to.as_ref().and_then(|to| state.vm(to));
        if let Some(vm) = target.filter(|vm| vm.power == Power::Stopped) {
            self.ctx.machines.start_soon(&vm.id);
        }
    }

    /// One spare after the other was lost to this show. It may be the show that fells them: nothing more is
    /// tried until an operator moves it or takes the hold away.
    async fn await_operator(&mut self, show: &Show, failover: &Failover) {
        if std::mem::replace(&mut self.told_waiting, true) {
            return;
        }
        let lost = failover.lost_at.len();
        let message = format!(
            "show {} has lost {lost} spares in one move and is now on hold, off air; move it by hand",
            self.id
        );
        self.alert(
            Level::Critical,
            "Failover cap reached",
            message,
            Some(&failover.from),
        );
        if !show.held {
            self.note(Fact::Held { held: true }).await;
        }
    }

    /// Takes a spare, or the VM that is wanted, for a move that has none.
    pub(super) async fn choose_spare(
        &mut self,
        me: &ActorRef<Message>,
        failover: &Failover,
        wanted: Option<VmId>,
    ) -> Result<(), CommandError> {
        let allocation = self.reserve_spare(&failover.from, wanted).await?;
        let event = Fact::SpareChosen {
            epoch: failover.epoch,
            vm: allocation.vm().clone(),
        };
        let committed = self.commit(vec![event]).await;
        self.promise_done(Some(allocation.vm()));
        committed?;
        self.told_waiting = false;
        self.ready_target(Some(&allocation));
        let _ = me.cast(Message::Drive);
        Ok(())
    }

    /// The target is no good: another one, in a new epoch.
    pub(super) async fn lose_spare(&mut self, me: &ActorRef<Message>, vm: &VmId, reason: String) {
        let show = self.show();
        let Some(failover) = show.failover() else { return };
        // The old VM is still to be fenced, unless what was to become of the spare makes it the one.
        let fence_goes_on = failover.publishing_at.is_none();
        self.steps.retain(|step, _| *step == Step::Fence && fence_goes_on);
        self.failures.clear();
        self.lost_spares.push_back((vm.clone(), self.ctx.now()));
        if self.lost_spares.len() > RESTING_MAX {
            self.lost_spares.pop_front();
        }
        let message = format!(
            "show {}: the spare {vm} cannot be used ({reason}); taking another",
            self.id
        );
        self.alert(Level::Warning, "Spare lost", message, Some(vm));
        let event = Fact::SpareLost {
            epoch: failover.epoch.next(),
            vm: vm.clone(),
            reason,
        };
        if self.note(event).await {
            for vm in [&failover.from, vm] {
                self.ctx.machines.duty_changed(vm);
            }
        }
        self.drive_later(me);
    }
}
