//! How a show's events change the show and the VMs it takes or leaves, in one fold.
//!
//! This is where invariant 1 lives: a VM serves at most one show, a show has one VM per epoch, and nothing
//! publishes in an epoch before the VM of the epoch before is known not to.

use std::sync::Arc;

use super::failover::{Ending, Failover, Record};
use super::ids::{Epoch, ShowId, VmId};
use super::show::{Event, Phase, Rejected as ShowRejected, Show};
use super::state::{Done, Rejected, Request, State};
use super::time::Timestamp;
use super::vm::{Fault, Health, Occupancy, Power, Rejected as VmRejected, Vm};

impl State {
    pub(super) fn apply_show(&mut self, id: &ShowId, event: &Event, at: Timestamp) -> Result<(), Rejected> {
        let mut show = match self.shows.get(id) {
            Some(show) => Show::clone(show),
            None => Show::new(id.clone()),
        };
        match event {
            Event::Assigned { vm, epoch, by, key } => {
                if let Some(key) = key {
                    let done = Done {
                        request: Request::Assign,
                        show: id.clone(),
                        vm: vm.clone(),
                        at,
                    };
                    self.remember(key, done)?;
                }
                self.assigned(&mut show, vm, *epoch, by.as_ref(), at)?;
            }
            Event::Reassigned { from, vm, epoch } => self.reassigned(&mut show, from, vm, *epoch, at)?,
            Event::StreamWanted { wanted } => {
                show.require_vm()?;
                show.stream_wanted = *wanted;
            }
            Event::WentOnAir { epoch } => self.stream_turned(&mut show, *epoch, true, at)?,
            Event::WentOffAir { epoch } => self.stream_turned(&mut show, *epoch, false, at)?,
            Event::Captured { studio } => {
                show.require_vm()?;
                show.studio = Some(Arc::clone(studio));
            }
            Event::Held { held } => {
                show.require_vm()?;
                show.held = *held;
            }
            Event::FailoverBegan { .. }
            | Event::SpareChosen { .. }
            | Event::SpareLost { .. }
            | Event::Fenced { .. }
            | Event::Restored { .. }
            | Event::Publishing { .. }
            | Event::FailoverEnded { .. } => self.apply_move(&mut show, event, at)?,
            Event::ReleaseBegan { stop_vm } => self.release_began(&mut show, *stop_vm, at)?,
            Event::Released { vm, key } => {
                if let Some(key) = key {
                    let done = Done {
                        request: Request::Release,
                        show: id.clone(),
                        vm: vm.clone(),
                        at,
                    };
                    self.remember(key, done)?;
                }
                self.released(&mut show, vm, at)?;
            }
        }
        self.put_show(show);
        Ok(())
    }

    fn apply_move(&mut self, show: &mut Show, event: &Event, at: Timestamp) -> Result<(), Rejected> {
        match event {
            Event::FailoverBegan {
                epoch,
                cause,
                to,
                evidence,
            } => {
                let failover = Failover {
                    epoch: *epoch,
                    cause: *cause,
                    from: show.require_vm()?,
                    to: to.clone(),
                    evidence: evidence.clone(),
                    began_at: at,
                    chosen_at: to.as_ref().map(|_| at),
                    fenced: None,
                    restored_at: None,
                    differences: Vec::new(),
                    publish: show.stream_wanted || show.phase == Phase::OnAir,
                    publishing_at: None,
                };
                self.failover_began(show, failover, at)?;
            }
            Event::SpareChosen { epoch, vm } => {
                let id = show.id.clone();
                let failover = show.failover_mut(*epoch)?;
                if let Some(target) = &failover.to {
                    return Err(ShowRejected::AlreadyAssigned {
                        show: id,
                        vm: target.clone(),
                    }
                    .into());
                }
                failover.to = Some(vm.clone());
                failover.chosen_at = Some(at);
                self.take(vm, &show.id, *epoch, at, |_| ())?;
            }
            Event::SpareLost { epoch, vm, reason } => self.spare_lost(show, *epoch, vm, reason, at)?,
            Event::Fenced { epoch, how } => {
                let failover = show.failover_mut(*epoch)?;
                failover.fenced = failover.fenced.or(Some((*how, at)));
            }
            Event::Restored { epoch, differences } => {
                let failover = show.failover_mut(*epoch)?;
                failover.restored_at = failover.restored_at.or(Some(at));
                failover.differences.clone_from(differences);
            }
            Event::Publishing { epoch } => {
                let phase = show.phase.as_str();
                let id = show.id.clone();
                let failover = show.failover_mut(*epoch)?;
                if failover.fenced.is_none() || failover.to.is_none() {
                    return Err(ShowRejected::WrongPhase { show: id, phase }.into());
                }
                failover.publishing_at = failover.publishing_at.or(Some(at));
            }
            Event::FailoverEnded { epoch, ending } => self.failover_ended(show, *epoch, *ending, at)?,
            Event::Assigned { .. }
            | Event::Reassigned { .. }
            | Event::StreamWanted { .. }
            | Event::WentOnAir { .. }
            | Event::WentOffAir { .. }
            | Event::Captured { .. }
            | Event::Held { .. }
            | Event::ReleaseBegan { .. }
            | Event::Released { .. } => {}
        }
        Ok(())
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
        self.take(vm, &show.id, epoch, at, |vm| vm.assigned_by = by.cloned())?;
        show.epoch = epoch;
        show.vm = Some(vm.clone());
        show.phase = Phase::OffAir;
        show.assigned_at = Some(at);
        show.assigned_by = by.cloned();
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
        self.free(from, &show.id, at)?;
        self.take(vm, &show.id, epoch, at, |_| ())?;
        show.epoch = epoch;
        show.vm = Some(vm.clone());
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
        let id = show.id.clone();
        self.edit(&vm, at, |vm| {
            vm.occupancy = if on {
                Occupancy::OnAir { show: id, epoch }
            } else {
                Occupancy::Assigned { show: id, epoch }
            };
        })?;
        show.phase = if on { Phase::OnAir } else { Phase::OffAir };
        Ok(())
    }

    fn failover_began(&mut self, show: &mut Show, failover: Failover, at: Timestamp) -> Result<(), Rejected> {
        show.require_phase(matches!(show.phase, Phase::OnAir | Phase::OffAir))?;
        show.require_next_epoch(failover.epoch)?;
        if let Some(to) = &failover.to {
            self.take(to, &show.id, failover.epoch, at, |_| ())?;
        }
        let reason = format!(
            "show {} is being moved away: {}",
            show.id, failover.evidence.summary
        );
        self.fault(&failover.from, &reason, at)?;
        show.epoch = failover.epoch;
        show.phase = Phase::FailingOver(Box::new(failover));
        Ok(())
    }

    fn spare_lost(
        &mut self,
        show: &mut Show,
        epoch: Epoch,
        vm: &VmId,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        show.require_next_epoch(epoch)?;
        let id = show.id.clone();
        let current = show.epoch;
        let failover = show.failover_mut(current)?;
        if failover.to.as_ref() != Some(vm) {
            return Err(ShowRejected::NotAssigned { show: id }.into());
        }
        failover.to = None;
        failover.chosen_at = None;
        failover.restored_at = None;
        failover.epoch = epoch;
        let published = failover.publishing_at.take().is_some();
        let old = failover.from.clone();
        if published {
            failover.from = vm.clone();
            failover.fenced = None;
            show.vm = Some(vm.clone());
            self.free(&old, &id, at)?;
        } else {
            self.free(vm, &id, at)?;
        }
        self.fault(vm, reason, at)?;
        show.epoch = epoch;
        Ok(())
    }

    fn failover_ended(
        &mut self,
        show: &mut Show,
        epoch: Epoch,
        ending: Ending,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        let phase = show.phase.as_str();
        let failover = show.failover_mut(epoch)?.clone();
        let fenced = failover.fenced.is_some();
        let target = failover.to.clone();
        let refused = ShowRejected::WrongPhase {
            show: show.id.clone(),
            phase,
        };
        match (ending, target) {
            (Ending::OnAir | Ending::Moved, Some(to)) if fenced => {
                self.free(&failover.from, &show.id, at)?;
                self.settle(show, to, epoch, ending == Ending::OnAir, at)?;
            }
            (Ending::Abandoned, Some(to)) if fenced => {
                self.free(&failover.from, &show.id, at)?;
                self.settle(show, to, epoch, false, at)?;
            }
            (Ending::Abandoned, None) if fenced => {
                self.free(&failover.from, &show.id, at)?;
                become_idle(show, at);
            }
            (Ending::Recovered | Ending::Abandoned, target) if !fenced => {
                if let Some(to) = target {
                    self.free(&to, &show.id, at)?;
                }
                let from = failover.from.clone();
                self.settle(
                    show,
                    from.clone(),
                    epoch,
                    ending == Ending::Recovered && failover.publish,
                    at,
                )?;
                if ending == Ending::Recovered {
                    self.edit(&from, at, |vm| vm.fault = None)?;
                }
            }
            (Ending::OnAir | Ending::Moved | Ending::Recovered | Ending::Abandoned, _) => {
                return Err(refused.into());
            }
        }
        show.file(Record {
            failover,
            ending,
            ended_at: at,
        });
        Ok(())
    }

    /// The show has this VM from here on, in its present epoch.
    fn settle(
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

    fn release_began(&mut self, show: &mut Show, stop_vm: bool, at: Timestamp) -> Result<(), Rejected> {
        show.require_phase(matches!(show.phase, Phase::OnAir | Phase::OffAir))?;
        let vm = show.require_vm()?;
        let (id, epoch) = (show.id.clone(), show.epoch);
        self.edit(&vm, at, |vm| {
            vm.occupancy = Occupancy::Releasing { show: id, epoch }
        })?;
        show.phase = Phase::Releasing { stop_vm };
        show.stream_wanted = false;
        Ok(())
    }

    fn released(&mut self, show: &mut Show, vm: &VmId, at: Timestamp) -> Result<(), Rejected> {
        show.require_phase(matches!(show.phase, Phase::Releasing { .. }))?;
        if show.vm.as_ref() != Some(vm) {
            return Err(ShowRejected::NotAssigned {
                show: show.id.clone(),
            }
            .into());
        }
        self.free(vm, &show.id, at)?;
        become_idle(show, at);
        Ok(())
    }

    /// Gives a free, usable VM to a show.
    fn take(
        &mut self,
        vm: &VmId,
        show: &ShowId,
        epoch: Epoch,
        at: Timestamp,
        edit: impl FnOnce(&mut Vm),
    ) -> Result<(), Rejected> {
        let current = self.vm_clone(vm)?;
        current.require_free()?;
        let unusable = current.fault.is_some()
            || current.health == Health::Unhealthy
            || matches!(current.power, Power::Stopping { .. });
        if unusable {
            return Err(current.wrong_status().into());
        }
        self.edit(vm, at, |vm| {
            vm.occupancy = Occupancy::Assigned {
                show: show.clone(),
                epoch,
            };
            vm.assigned_at = Some(at);
            vm.total_assignments += 1;
            edit(vm);
        })
    }

    /// Takes a VM from the show that holds it.
    fn free(&mut self, vm: &VmId, show: &ShowId, at: Timestamp) -> Result<(), Rejected> {
        let current = self.vm_clone(vm)?;
        match current.occupancy.tenant() {
            Some((tenant, _)) if tenant == show => {}
            Some((tenant, _)) => {
                let (vm, show, status) = (vm.clone(), tenant.clone(), current.status());
                return Err(VmRejected::Occupied { vm, show, status }.into());
            }
            None => return Err(VmRejected::NotOccupied { vm: vm.clone() }.into()),
        }
        self.edit(vm, at, |vm| {
            vm.occupancy = Occupancy::Free;
            vm.assigned_at = None;
            vm.assigned_by = None;
        })
    }

    fn fault(&mut self, vm: &VmId, reason: &str, at: Timestamp) -> Result<(), Rejected> {
        self.edit(vm, at, |vm| {
            let previous = vm.status();
            vm.fault = Some(Fault {
                reason: reason.to_owned(),
                since: at,
                previous,
            });
        })
    }

    fn edit(&mut self, id: &VmId, at: Timestamp, edit: impl FnOnce(&mut Vm)) -> Result<(), Rejected> {
        let mut vm = self.vm_clone(id)?;
        let before = vm.status();
        edit(&mut vm);
        vm.note_status(before, at);
        self.put_vm(vm);
        Ok(())
    }
}

fn become_idle(show: &mut Show, at: Timestamp) {
    show.vm = None;
    show.phase = Phase::Idle;
    show.stream_wanted = false;
    show.held = false;
    show.studio = None;
    show.assigned_at = None;
    show.assigned_by = None;
    show.idle_since = Some(at);
}
