//! What the cloud says of this VM, and what follows from it.

use std::sync::Arc;

use super::{Message, State};
use crate::actors::mailbox::ActorRef;
use crate::actors::news::Level;
use crate::actors::show;
use crate::domain::failover::verdict::Sign;
use crate::domain::instance::{InstanceState, Sighting};
use crate::domain::reconcile::{self, Look, reconcile};
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Power, Vm};

impl State {
    /// The cloud was asked.
    pub(super) async fn sighted(
        &mut self,
        me: &ActorRef<Message>,
        sighting: &Sighting,
        looked_at: Timestamp,
    ) {
        let Some(vm) = self.vm() else { return };
        if matches!(vm.power, Power::Starting { .. }) && sighting.state() == Some(InstanceState::Pending) {
            self.start_accepted_at.get_or_insert(looked_at);
        }
        let look = Look {
            sighting,
            began: looked_at,
            start_accepted_at: self.start_accepted_at,
            answered_at: match self.signals.obs {
                Sign::Good { at } => Some(at),
                Sign::Unknown | Sign::Bad { .. } => None,
            },
            publishes: self.publishes(),
        };
        self.note_cloud(&vm, &look);
        self.note_tags(&vm, sighting);
        let events = reconcile(&vm, &look);
        if !events.is_empty() && self.commit(events.clone()).await {
            self.reconciled(me, &vm, &events, looked_at).await;
        }
        self.start_if_awaited(me).await;
    }

    async fn reconciled(
        &mut self,
        me: &ActorRef<Message>,
        before: &Arc<Vm>,
        events: &[vm::Event],
        looked_at: Timestamp,
    ) {
        if events.contains(&vm::Event::Gone) {
            tracing::info!(vm = %self.id, instance = %before.instance_id(), "it leaves the pool");
            self.ctx.board.remove(&self.id);
            self.ctx.machines.dismiss(&self.id);
        } else if events.contains(&vm::Event::Booting) {
            self.await_ready(me);
        }
        for event in events {
            if let vm::Event::Starting { .. } = event {
                self.start_accepted_at = Some(looked_at);
            }
            if let vm::Event::Stopping { attempt } = event {
                self.await_stopped(me, *attempt);
            }
            if let vm::Event::Faulted { reason } = event {
                let reason = reason.clone();
                self.tell_show(before, |vm| show::Message::VmFailed { vm, reason });
            }
        }
        self.after_power(me, before).await;
    }

    fn note_cloud(&mut self, vm: &Vm, look: &Look<'_>) {
        let before = self.signals.cloud;
        self.signals.cloud = reconcile::cloud_sign(vm, before, look, self.ctx.now());
        if self.signals.cloud != before {
            self.observation.signals = self.signals;
            self.ctx.board.post(&self.id, self.observation.clone());
            self.tell_signals(vm);
        }
    }

    /// Says once that the VM of a show is not the pool's any more by its tags.
    fn note_tags(&mut self, vm: &Vm, sighting: &Sighting) {
        let untagged = matches!(sighting, Sighting::Untagged(_));
        let told = std::mem::replace(
            &mut self.told_untagged,
            untagged && vm.occupancy.tenant().is_some(),
        );
        if let (true, false, Some((show, _))) = (untagged, told, vm.occupancy.tenant()) {
            let message = format!(
                "{} ({}) lost the tags that make it the pool's; it is kept until show {show} has left it",
                self.id,
                vm.instance_id()
            );
            self.ctx.alert(
                Level::Critical,
                format!("vm-untagged-{}", self.id),
                "VM lost its tags",
                message,
                Some(show),
                Some(&self.id),
            );
        }
    }

    /// Orders the start of a machine that was given to a show while it was off, should the order have been lost.
    pub(super) async fn start_if_awaited(&mut self, me: &ActorRef<Message>) {
        let Some(vm) = self.vm().filter(|vm| vm.awaits_start()) else {
            return;
        };
        let state = self.ctx.state();
        let show = vm.occupancy.tenant().and_then(|(show, _)| state.show(show));
        let left = show
            .and_then(|show| show.failover())
            .is_some_and(|failover| failover.from == self.id);
        if show.is_some() && !left {
            self.start(me, None).await;
        }
    }
}
