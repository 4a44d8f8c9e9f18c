//! Keeping the studio's state in the ledger, so that it can be restored elsewhere when the studio is gone.
//!
//! A change announced by OBS is read after a short pause, since changes come in bursts; besides, everything is
//! read at a slow interval, since announcements can be lost.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::effects::{self, within};
use super::{Message, State, Task};
use crate::domain::ids::{Epoch, VmId};
use crate::domain::show::{Event as Fact, Phase};
use crate::domain::studio::Studio;
use crate::domain::vm::Power;

impl State {
    /// Reads the studio after this long, or sooner if that is due already: changes that keep coming must not put
    /// it off for ever.
    pub(super) fn capture_soon(&mut self, me: &ActorRef<Message>, after: Duration) {
        let due = self.ctx.now() + after;
        if self.ctx.world.obs.is_none() || self.capture_due_at.is_some_and(|sooner| sooner <= due) {
            return;
        }
        self.capture_due_at = Some(due);
        self.capture_round += 1;
        let round = self.capture_round;
        me.send_after(after, move || Message::CaptureDue { round });
    }

    pub(super) fn studio_changed(&mut self, me: &ActorRef<Message>, vm: &VmId) {
        if self.show().vm.as_ref() == Some(vm) {
            self.capture_soon(me, self.ctx.options.obs.capture_debounce);
        }
    }

    pub(super) fn capture_due(&mut self, me: &ActorRef<Message>, round: u64) {
        if round == self.capture_round {
            self.capture_due_at = None;
        }
        let show = self.show();
        let settled = matches!(show.phase, Phase::OffAir | Phase::OnAir) && !show.unrestored;
        let (true, true, Some(vm)) = (round == self.capture_round, settled, show.vm.clone()) else {
            return;
        };
        if self.capturing.as_ref().is_some_and(Task::is_running) {
            return self.capture_soon(me, self.ctx.options.obs.capture_debounce);
        }
        let ready = self
            .ctx
            .state()
            .vm(&vm)
            .is_some_and(|vm| vm.power == Power::Ready);
        if !ready {
            return self.capture_soon(me, self.ctx.options.obs.capture_interval);
        }
        let (ctx, me, epoch) = (Arc::clone(&self.ctx), me.clone(), show.epoch);
        self.capturing = Some(Task::spawn(async move {
            let limit = ctx.options.failover.restore_deadline;
            let result = within(limit, "reading the studio", effects::capture(&ctx, &vm)).await;
            let _ = me.cast(Message::Captured { epoch, result });
        }));
    }

    pub(super) async fn captured(
        &mut self,
        me: &ActorRef<Message>,
        epoch: Epoch,
        result: Result<Studio, String>,
    ) {
        let show = self.show();
        if show.epoch != epoch || show.unrestored || !matches!(show.phase, Phase::OffAir | Phase::OnAir) {
            return;
        }
        match result {
            Ok(studio) if show.studio.as_deref() != Some(&studio) => {
                self.note(Fact::Captured {
                    studio: Arc::new(studio),
                })
                .await;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(show = %self.id, error, "the studio was not captured"),
        }
        self.capture_soon(me, self.ctx.options.obs.capture_interval);
    }
}
