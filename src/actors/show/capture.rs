//! Keeping the studio's state in the ledger, so that it can be restored elsewhere when the studio is gone.
//!
//! A change announced by OBS is read after a short pause, since changes come in bursts; besides, everything is
//! read at a slow interval, since announcements can be lost.

use std::sync::Arc;
use std::time::Duration;

use super::effects::{self, within};
use super::{Message, State, Task};
use crate::actors::mailbox::ActorRef;
use crate::actors::news::Level;
use crate::domain::ids::{Epoch, VmId};
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::studio::{Studio, difference, sentences};
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
            Ok(studio) => self.keep(&show, studio).await,
            Err(error) => tracing::debug!(show = %self.id, error, "the studio was not captured"),
        }
        let options = &self.ctx.options.obs;
        let again = if self.show().uncompared {
            options.capture_debounce
        } else {
            options.capture_interval
        };
        self.capture_soon(me, again);
    }

    /// Takes what was read into the ledger. The first time after a studio was made it is compared with what that was
    /// to be, in the same commit: afterwards that is not known any more.
    async fn keep(&mut self, show: &Show, studio: Studio) {
        let mut facts = Vec::with_capacity(2);
        let differences = show.uncompared.then(|| self.compare(show, &studio)).flatten();
        if let Some(differences) = &differences {
            let (epoch, differences) = (show.epoch, differences.clone());
            facts.push(Fact::Compared { epoch, differences });
        }
        if show.uncompared || show.studio.as_deref() != Some(&studio) {
            let studio = Arc::new(studio);
            facts.push(Fact::Captured { studio });
        }
        if facts.is_empty() {
            return;
        }
        if let Err(error) = self.commit(facts).await {
            tracing::warn!(show = %self.id, %error, "the ledger did not take what was read of the studio");
            return;
        }
        if let Some(differences) = differences.filter(|differences| !differences.is_empty()) {
            let message = format!(
                "the studio of show {} is not as it was to be: {}",
                self.id,
                differences.join("; ")
            );
            self.alert(Level::Warning, "Studio differs", message, show.vm.as_ref());
        }
    }

    /// In what the studio that was made is not what it was to be. `None`: that cannot be told any more, since its
    /// template has changed.
    fn compare(&self, show: &Show, found: &Studio) -> Option<Vec<String>> {
        match effects::wanted(&self.ctx, show) {
            Ok(want) => want.map(|want| sentences(&difference(&want, found))),
            Err(why) => {
                tracing::warn!(show = %self.id, why, "the studio is not compared with what it was to be");
                None
            }
        }
    }
}
