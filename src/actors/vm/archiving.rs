//! Archiving what shows before have left on the VM because it could not be archived when they gave it back.
//!
//! It is tried while no show has the VM, in `error`, so that none gets it meanwhile: by itself once the VM has proven
//! itself and is clean ([`crate::domain::unarchived`] says how often), or when somebody asks for it. Its fault is cleared
//! as any other once all is archived, or is not tried any more by itself.

use std::sync::Arc;

use super::{Message, State, VmError};
use crate::actors::archive::{self, Owner};
use crate::actors::mailbox::ActorRef;
use crate::actors::task::Task;
use crate::domain::vm::{self, Power, Vm};

impl State {
    /// While recordings on it are to be archived, no show gets it: however the last one left it, and whenever. One that has
    /// taken it meanwhile keeps it, and they wait until it is free again.
    pub(super) async fn withhold_for_archive(&self) {
        let free = self.vm().filter(|vm| vm.is_free() && vm.fault.is_none());
        if let Some(reason) = free.and_then(|vm| vm.archive_fault())
            && self.commit(vec![vm::Event::Withheld { reason }]).await
        {
            self.ctx.pool.poke();
        }
    }

    /// Goes on with what is under way, or begins what is due. One at a time.
    pub(super) async fn archive_what_is_due(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        if self.archiving.as_ref().is_some_and(Task::is_running) {
            return;
        }
        if let Some(left) = vm.unarchived.iter().find(|left| left.is_under_way()) {
            return self.archive(me, left.archive.folder.clone());
        }
        let now = self.ctx.now();
        let is_due = |at: Option<_>| at.is_some_and(|at| at <= now);
        let due = vm.unarchived.iter().find(|left| is_due(left.next_try_at()));
        if let Some(folder) = due.map(|left| left.archive.folder.clone())
            && self.commit(vec![resumed(folder.clone())]).await
        {
            self.archive(me, folder);
        }
    }

    /// Somebody asks for all of it now.
    pub(super) async fn archive_by_hand(&mut self, me: &ActorRef<Message>) -> Result<(), VmError> {
        let vm = self.vm().ok_or(VmError::Gone)?;
        if let Some((show, _)) = vm.occupancy.tenant() {
            return Err(VmError::Occupied { show: show.clone() });
        }
        if vm.unarchived.is_empty() {
            return Err(VmError::NothingToArchive);
        }
        if !vm.is_free() || vm.power != Power::Ready {
            return Err(VmError::WrongStatus {
                status: vm.status(),
                advice: "its recordings are read while it is up and not under maintenance",
            });
        }
        let again = vm.unarchived.iter().filter(|left| !left.is_under_way());
        let mut events: Vec<vm::Event> = again.map(|left| resumed(left.archive.folder.clone())).collect();
        if vm.fault.is_none() {
            let reason = vm.unarchived[0].fault();
            events.push(vm::Event::Withheld { reason });
        }
        if !events.is_empty() {
            let events = events
                .into_iter()
                .map(|event| crate::domain::event::Event::vm(&self.id, event));
            let committed = self.ctx.commit(events.collect()).await;
            committed.inspect_err(|error| self.look_again_if_undecided(error))?;
        }
        if let Some(vm) = self.vm() {
            self.send_order(&vm);
            self.archive_what_is_due(me, &vm).await;
        }
        Ok(())
    }

    fn archive(&mut self, me: &ActorRef<Message>, folder: String) {
        let (ctx, me, vm) = (Arc::clone(&self.ctx), me.clone(), self.id.clone());
        self.archiving = Some(Task::spawn(async move {
            let owner = Owner::Vm { vm, folder };
            if let Err(error) = archive::run(&ctx, &owner).await {
                tracing::warn!(
                    ?owner,
                    error,
                    "what became of recordings was not recorded; going on at the next check"
                );
            }
            let _ = me.cast(Message::ArchiveEnded);
        }));
    }

    /// The next is begun with the next check, which also proves the VM if that was all.
    pub(super) fn archive_ended(&mut self) {
        self.archiving = None;
        self.ctx.pool.poke();
        self.nudge();
    }
}

fn resumed(folder: String) -> vm::Event {
    vm::Event::ArchiveResumed { folder }
}
