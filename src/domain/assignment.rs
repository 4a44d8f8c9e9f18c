//! How a show's events change the show and the VMs it takes or leaves, in one fold.
//!
//! This is where invariant 1 lives: a VM serves at most one show, a show has one VM per epoch, and nothing
//! publishes in an epoch before the VM of the epoch before is known not to.

use std::sync::Arc;

use super::cleaning::Leftover;
use super::ids::{Epoch, RequestKey, ShowId, VmId};
use super::show::{Event, Phase, Rejected as ShowRejected, Show};
use super::state::{Done, Rejected, Request, State};
use super::time::Timestamp;
use super::unarchived::Unarchived;
use super::vm::{Occupancy, Power, Rejected as VmRejected, Status, Vm};

impl State {
    pub(super) fn apply_show(&mut self, id: &ShowId, event: &Event, at: Timestamp) -> Result<(), Rejected> {
        let mut show = match self.shows.get(id) {
            Some(show) => Show::clone(show),
            None => Show::new(id.clone()),
        };
        match event {
            Event::Assigned { vm, epoch, by, key } => {
                self.require_unused(key.as_ref())?;
                self.assigned(&mut show, vm, *epoch, by.as_ref(), at)?;
                self.remember_done(key.as_ref(), Request::Assign, id, vm, at);
            }
            Event::Reassigned { from, vm, epoch } => self.reassigned(&mut show, from, vm, *epoch, at)?,
            Event::StreamWanted { wanted: true } if self.would_double(&show) => {}
            Event::StreamWanted { wanted } => show.want_stream(*wanted)?,
            Event::WentOnAir { epoch } => self.stream_turned(&mut show, *epoch, true, at)?,
            Event::WentOffAir { epoch } => self.stream_turned(&mut show, *epoch, false, at)?,
            Event::Silenced { epoch, .. } => silenced(&mut show, *epoch)?,
            Event::Captured { studio } => {
                show.require_vm()?;
                show.studio = Some(Arc::clone(studio));
                show.captured_at = Some(at);
                // What it could have been compared with is gone.
                show.uncompared = false;
            }
            Event::Held { held } => {
                show.require_vm()?;
                show.held = *held;
            }
            Event::FailoverBegan { .. }
            | Event::SpareChosen { .. }
            | Event::SpareLost { .. }
            | Event::Fenced { .. }
            | Event::Publishing { .. }
            | Event::FailoverEnded { .. } => self.apply_move(&mut show, event, at)?,
            Event::SetUp { configuration, make } => show.set_up(configuration, *make, at)?,
            Event::Restored {
                epoch,
                differences,
                by,
            } if matches!(show.phase, Phase::OffAir | Phase::OnAir) => {
                restored(&mut show, *epoch)?;
                show.note_made(*epoch, differences, by.as_ref(), at);
            }
            Event::Restored { .. } => self.apply_move(&mut show, event, at)?,
            Event::Compared { epoch, differences } => show.compared(*epoch, differences, at)?,
            Event::ReleaseBegan { stop_vm, key } => {
                self.require_unused(key.as_ref())?;
                let vm = self.release_began(&mut show, *stop_vm, at)?;
                self.remember_done(key.as_ref(), Request::Release, id, &vm, at);
            }
            Event::ReleaseJoined { key } => {
                self.require_unused(Some(key))?;
                show.require_phase(matches!(show.phase, Phase::Releasing { .. }))?;
                let vm = show.require_vm()?;
                self.remember_done(Some(key), Request::Release, id, &vm, at);
            }
            Event::Archive { epoch, event } => show.archive(*epoch, event, at)?,
            Event::Released { vm, key } => {
                self.require_unused(key.as_ref())?;
                self.released(&mut show, vm, at)?;
                self.remember_done(key.as_ref(), Request::Release, id, vm, at);
            }
        }
        // From here on the order to stream may have reached the VM.
        show.may_publish |= self.may_be_told_to_stream(&show);
        self.put_show(show);
        Ok(())
    }

    /// The order to stream may reach its VM from here on.
    fn may_be_told_to_stream(&self, show: &Show) -> bool {
        let is_ready = |vm: &VmId| self.vms.get(vm).is_some_and(|vm| vm.power == Power::Ready);
        match show.phase {
            Phase::OnAir => true,
            Phase::OffAir => show.stream_wanted && show.vm.as_ref().is_some_and(is_ready),
            Phase::Idle | Phase::FailingOver(_) | Phase::Releasing { .. } => false,
        }
    }

    /// The VM of a show has come up: what the show wants can reach it now.
    pub(super) fn note_ready(&mut self, show: &ShowId) {
        let show = self.shows.get(show);
        if let Some(show) = show.filter(|show| !show.may_publish && self.may_be_told_to_stream(show)) {
            let mut show = Show::clone(show);
            show.may_publish = true;
            self.put_show(show);
        }
    }

    fn remember_done(
        &mut self,
        key: Option<&RequestKey>,
        request: Request,
        show: &ShowId,
        vm: &VmId,
        at: Timestamp,
    ) {
        if let Some(key) = key {
            let (show, vm) = (show.clone(), vm.clone());
            let done = Done {
                request,
                show,
                vm,
                at,
            };
            self.remember(key, done);
        }
    }

    fn assigned(
        &mut self,
        show: &mut Show,
        vm: &VmId,
        epoch: Epoch,
        by: Option<&String>,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        if let Some(vm) = &show.vm {
            return Err(ShowRejected::AlreadyAssigned {
                show: show.id.clone(),
                vm: vm.clone(),
            }
            .into());
        }
        show.require_phase(show.phase == Phase::Idle)?;
        show.require_next_epoch(epoch)?;
        show.assigned_by = by.cloned();
        self.take(vm, show, epoch, at)?;
        show.comes_to(vm, epoch);
        show.phase = Phase::OffAir;
        show.assigned_at = Some(at);
        show.idle_since = None;
        Ok(())
    }

    fn reassigned(
        &mut self,
        show: &mut Show,
        from: &VmId,
        vm: &VmId,
        epoch: Epoch,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        show.require_phase(show.phase == Phase::OffAir)?;
        show.require_next_epoch(epoch)?;
        if show.vm.as_ref() != Some(from) {
            return Err(ShowRejected::NotAssigned {
                show: show.id.clone(),
            }
            .into());
        }
        // What has come up may have been told to stream, and is left only by a failover, which fences it.
        let old = self.vm_clone(from)?;
        let may_stream = match old.power {
            Power::Stopped => false,
            Power::Ready => true,
            Power::Starting { .. } | Power::Booting | Power::Stopping { .. } => show.may_publish,
        };
        if may_stream {
            return Err(old.wrong_status().into());
        }
        self.require_usable(vm)?;
        self.free(from, show, at)?;
        self.take(vm, show, epoch, at)?;
        show.comes_to(vm, epoch);
        Ok(())
    }

    fn stream_turned(
        &mut self,
        show: &mut Show,
        epoch: Epoch,
        on: bool,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        show.require_epoch(epoch)?;
        show.require_phase(show.phase == if on { Phase::OffAir } else { Phase::OnAir })?;
        let vm = show.require_vm()?;
        if on {
            self.require_running(&vm)?;
        }
        let id = show.id.clone();
        self.edit(&vm, at, |vm| {
            vm.occupancy = if on {
                Occupancy::OnAir { show: id, epoch }
            } else {
                Occupancy::Assigned { show: id, epoch }
            };
        })?;
        show.phase = if on { Phase::OnAir } else { Phase::OffAir };
        show.is_silent_now();
        if on {
            // Whoever put it on air there has seen to the studio.
            show.unrestored = false;
        }
        Ok(())
    }

    /// The show has this VM from here on, in its present epoch.
    pub(super) fn settle(
        &mut self,
        show: &mut Show,
        vm: VmId,
        epoch: Epoch,
        on_air: bool,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        let id = show.id.clone();
        self.edit(&vm, at, |vm| {
            vm.occupancy = if on_air {
                Occupancy::OnAir { show: id, epoch }
            } else {
                Occupancy::Assigned { show: id, epoch }
            };
        })?;
        show.vm = Some(vm);
        show.phase = if on_air { Phase::OnAir } else { Phase::OffAir };
        Ok(())
    }

    /// Says which VM it begins to give back.
    fn release_began(&mut self, show: &mut Show, stop_vm: bool, at: Timestamp) -> Result<VmId, Rejected> {
        show.require_phase(matches!(show.phase, Phase::OnAir | Phase::OffAir))?;
        let vm = show.require_vm()?;
        let (id, epoch) = (show.id.clone(), show.epoch);
        self.edit(&vm, at, |vm| {
            vm.occupancy = Occupancy::Releasing { show: id, epoch }
        })?;
        show.phase = Phase::Releasing { stop_vm };
        show.stream_wanted = false;
        Ok(vm)
    }

    fn released(&mut self, show: &mut Show, vm: &VmId, at: Timestamp) -> Result<(), Rejected> {
        show.require_phase(matches!(show.phase, Phase::Releasing { .. }))?;
        if show.vm.as_ref() != Some(vm) {
            return Err(ShowRejected::NotAssigned {
                show: show.id.clone(),
            }
            .into());
        }
        if show.may_publish {
            let (show, vm) = (show.id.clone(), vm.clone());
            return Err(ShowRejected::NotSilent { show, vm }.into());
        }
        if show.is_archiving() {
            let (show, vm) = (show.id.clone(), vm.clone());
            return Err(ShowRejected::Archiving { show, vm }.into());
        }
        self.free(vm, show, at)?;
        if let Some(left) = Unarchived::of(&show.id, show.archive.as_deref(), at) {
            self.edit(vm, at, |vm| vm.keep_unarchived(left))?;
        }
        become_idle(show, at);
        Ok(())
    }

    /// Gives a free, usable VM to a show.
    pub(super) fn take(
        &mut self,
        vm: &VmId,
        show: &Show,
        epoch: Epoch,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        self.require_usable(vm)?;
        self.edit(vm, at, |vm| {
            vm.occupancy = Occupancy::Assigned {
                show: show.id.clone(),
                epoch,
            };
            vm.assigned_at = Some(at);
            vm.assigned_by.clone_from(&show.assigned_by);
            vm.total_assignments += 1;
            vm.close_unarchived(at);
            if vm.power == Power::Ready {
                // Only older journals have such: what was ready counted as clean.
                vm.overlay();
            }
        })
    }

    /// What the pool may allocate may be taken, and nothing else: a VM on its way up may still look unhealthy, and
    /// one that is off may have a fault, which its next start will show to have passed or not.
    fn require_usable(&self, vm: &VmId) -> Result<(), Rejected> {
        let vm = self.vm_clone(vm)?;
        vm.require_free()?;
        let usable = match vm.power {
            Power::Stopped => true,
            Power::Starting { .. } | Power::Booting | Power::Ready => vm.status() != Status::Error,
            Power::Stopping { .. } => false,
        };
        if usable {
            Ok(())
        } else {
            Err(vm.wrong_status().into())
        }
    }

    /// Nothing leaves a machine that is off or on its way there.
    pub(super) fn require_running(&self, vm: &VmId) -> Result<(), Rejected> {
        let vm = self.vm_clone(vm)?;
        match vm.power {
            Power::Stopped | Power::Stopping { .. } => Err(vm.wrong_status().into()),
            Power::Starting { .. } | Power::Booting | Power::Ready => Ok(()),
        }
    }

    pub(super) fn require_ready(&self, vm: &VmId) -> Result<(), Rejected> {
        let vm = self.vm_clone(vm)?;
        if vm.power == Power::Ready {
            Ok(())
        } else {
            Err(vm.wrong_status().into())
        }
    }

    /// Takes a VM from the show that holds it, with what that leaves on it.
    pub(super) fn free(&mut self, vm: &VmId, show: &Show, at: Timestamp) -> Result<(), Rejected> {
        let current = self.vm_clone(vm)?;
        match current.occupancy.tenant() {
            Some((tenant, _)) if *tenant == show.id => {}
            Some((tenant, _)) => {
                let (vm, show, status) = (vm.clone(), tenant.clone(), current.status());
                return Err(VmRejected::Occupied { vm, show, status }.into());
            }
            None => return Err(VmRejected::NotOccupied { vm: vm.clone() }.into()),
        }
        self.edit(vm, at, |vm| vm.vacate(Leftover::of(show)))
    }

    pub(super) fn fault(&mut self, vm: &VmId, reason: &str, at: Timestamp) -> Result<(), Rejected> {
        self.edit(vm, at, |vm| {
            let before = vm.status();
            vm.set_fault(reason, before, at);
        })
    }

    pub(super) fn edit(
        &mut self,
        id: &VmId,
        at: Timestamp,
        edit: impl FnOnce(&mut Vm),
    ) -> Result<(), Rejected> {
        let mut vm = self.vm_clone(id)?;
        let before = vm.status();
        edit(&mut vm);
        vm.note_status(before, at);
        self.put_vm(vm);
        Ok(())
    }
}

/// What a move left undone is done.
fn restored(show: &mut Show, epoch: Epoch) -> Result<(), Rejected> {
    show.require_epoch(epoch)?;
    show.require_phase(show.unrestored)?;
    show.unrestored = false;
    show.uncompared = true;
    Ok(())
}

/// What is still meant to stream is not silent, whatever was seen of it.
fn silenced(show: &mut Show, epoch: Epoch) -> Result<(), Rejected> {
    show.require_epoch(epoch)?;
    let meant_to_be = matches!(show.phase, Phase::OffAir | Phase::Releasing { .. }) && !show.stream_wanted;
    show.require_phase(meant_to_be)?;
    show.is_silent_now();
    Ok(())
}

pub(super) fn become_idle(show: &mut Show, at: Timestamp) {
    show.vm = None;
    show.phase = Phase::Idle;
    show.stream_wanted = false;
    show.is_silent_now();
    show.unrestored = false;
    show.uncompared = false;
    show.held = false;
    show.studio = None;
    show.made = None;
    show.assigned_at = None;
    show.assigned_by = None;
    show.idle_since = Some(at);
}
