//! Cleaning on the VM's own account: what shows have left on a VM that none of them has any more.
//!
//! | when | and then |
//! |---|---|
//! | it is booting, and what cleaning needs answers | it is ready only once it is clean, and all its services answer |
//! | it was given back, ready and not clean | `releasing` until it is |
//! | it has a fault, and what cleaning needs has answered | the fault is cleared only once it is clean and proven |
//!
//! Most VMs are cleaned by their show's release. This is for the rest: the one that a failover left, the spare that was
//! not needed after all, the one that was off, could not be cleaned, or whose coordinator died. Cleaning needs the show
//! server and SSH, and not OBS, which it starts: one that is cut off has stopped it.

use std::sync::Arc;

use super::{Message, State};
use crate::actors::cleaning;
use crate::actors::mailbox::ActorRef;
use crate::actors::task::Task;
use crate::domain::cleaning::{Leftover, Report};
use crate::domain::vm::{self, Health, Occupancy, Power, Status, Vm};

/// Where it is with that.
#[derive(Debug, Default)]
pub(super) enum Cleaning {
    #[default]
    Idle,
    /// Ends with the report, or with this.
    Running(#[expect(dead_code, reason = "held: dropping it ends it")] Task),
    /// It is not clean, and why; to be tried again with the next check.
    Failed(String),
}

impl State {
    /// It is being cleaned: its OBS goes away and comes back, and that says nothing of its health.
    pub(super) fn is_being_cleaned(&self, vm: &Vm) -> bool {
        matches!(self.cleaning, Cleaning::Running(_)) || matches!(vm.occupancy, Occupancy::Releasing { .. })
    }

    /// A VM that was given back and is not clean is cleaned at once.
    pub(super) async fn clean_if_left(&mut self, me: &ActorRef<Message>) {
        if let Some(vm) = self.vm()
            && vm.is_free()
            && vm.status() == Status::Releasing
        {
            self.clean(me, &vm).await;
        }
    }

    /// What keeps a booting VM that can be cleaned from being clean; `None` if nothing is left on it.
    pub(super) async fn clean_before_ready(
        &mut self,
        me: &ActorRef<Message>,
        vm: &Vm,
        was_probe: bool,
    ) -> Option<String> {
        if !vm.is_to_be_cleaned() {
            return None;
        }
        let missing = match &self.cleaning {
            Cleaning::Failed(why) => {
                let missing = format!("cleaning ({why})");
                if was_probe {
                    self.clean(me, vm).await;
                }
                missing
            }
            Cleaning::Idle | Cleaning::Running(_) => {
                self.clean(me, vm).await;
                "cleaning".to_owned()
            }
        };
        // Where nothing can have been put on it, that was all.
        self.vm()?.is_to_be_cleaned().then_some(missing)
    }

    /// Starts cleaning it, unless that is under way, or it is idle and too many others are cleaned;
    /// [`Message::Cleaned`] has the report.
    pub(super) async fn clean(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        let Some(leftover) = vm.leftover.clone() else {
            return;
        };
        if matches!(self.cleaning, Cleaning::Running(_)) {
            return;
        }
        if !cleaning::is_possible(&self.ctx) {
            if self.commit(vec![cleaning::nothing(&self.ctx, &leftover)]).await {
                self.ctx.pool.poke();
            }
            return;
        }
        let place = if vm.occupancy.tenant().is_some() {
            // Its show waits for it; idle VMs can wait.
            None
        } else if let Ok(place) = Arc::clone(&self.ctx.cleanings).try_acquire_owned() {
            Some(place)
        } else {
            // Many others are cleaned now; it asks again with its next report.
            return;
        };
        let (ctx, me, id) = (Arc::clone(&self.ctx), me.clone(), self.id.clone());
        self.cleaning = Cleaning::Running(Task::spawn(async move {
            let _place = place;
            let report = Box::new(cleaning::clean(&ctx, &id, &leftover).await);
            let _ = me.cast(Message::Cleaned { leftover, report });
        }));
    }

    /// It was cleaned of this. If a show has left it meanwhile, more may be on it: then it is begun again.
    pub(super) async fn cleaned(&mut self, me: &ActorRef<Message>, leftover: &Leftover, report: Report) {
        self.cleaning = Cleaning::Idle;
        let is_of = |vm: &Arc<Vm>| vm.leftover.as_deref() == Some(leftover);
        let Some(vm) = self.vm().filter(is_of) else {
            return self.clean_if_left(me).await;
        };
        let (cleaned, unclean) = cleaning::verdict(&self.ctx, report);
        let mut events = vec![cleaned];
        match (&vm.power, &unclean) {
            (Power::Booting, Some(why)) => self.cleaning = Cleaning::Failed(why.clone()),
            (Power::Ready, None)
                if vm.fault.is_some() && vm.is_free() && self.is_proven(self.observation.reading.level()) =>
            {
                events.extend(proven(&vm));
            }
            (Power::Ready, Some(reason)) if vm.fault.is_none() && vm.is_free() => {
                cleaning::alert(&self.ctx, &self.id, reason);
                let reason = reason.clone();
                events.push(vm::Event::Faulted { reason });
            }
            (
                Power::Stopped
                | Power::Starting { .. }
                | Power::Booting
                | Power::Ready
                | Power::Stopping { .. },
                _,
            ) => {}
        }
        if !self.commit(events).await {
            return;
        }
        if let Some(vm) = self.vm().filter(|vm| vm.power == Power::Ready) {
            // What was counted before says nothing of it now.
            self.hysteresis = crate::domain::health::Hysteresis::new(vm.health);
        }
        self.duty_changed(me).await;
        self.ctx.pool.poke();
        if let Some(vm) = self.vm().filter(|vm| vm.power == Power::Booting) {
            self.settle_boot(me, &vm, false).await;
        }
    }
}

/// What is recorded of a VM with a fault that has proven itself. While recordings on it are to be archived, no show gets it.
pub(super) fn proven(vm: &Vm) -> Vec<vm::Event> {
    let mut events = Vec::new();
    if !vm.pursues_archive() {
        events.push(vm::Event::FaultCleared);
    }
    if vm.health != Health::Healthy {
        events.push(vm::Event::HealthTurned {
            health: Health::Healthy,
        });
    }
    events
}
