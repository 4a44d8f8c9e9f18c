//! How a failover's events change the show, the VM it leaves and the one it moves to.
//!
//! The target holds the show's new epoch from the moment it is chosen; the old VM is given up only when the move
//! ends, and the target may publish only once it is fenced.

use super::failover::{Ending, Failover, Record};
use super::ids::{Epoch, VmId};
use super::show::{Event, Phase, Rejected as ShowRejected, Show};
use super::state::{Rejected, State};
use super::studio::MadeBy;
use super::time::Timestamp;
use super::vm::Occupancy;

impl State {
    pub(super) fn apply_move(
        &mut self,
        show: &mut Show,
        event: &Event,
        at: Timestamp,
    ) -> Result<(), Rejected> {
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
                    lost_at: Vec::new(),
                    fenced: None,
                    restored_at: None,
                    differences: Vec::new(),
                    restored_by: None,
                    publish: show.stream_wanted || (show.phase == Phase::OnAir && !show.stop_asked),
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
                self.take(vm, show, *epoch, at)?;
            }
            Event::SpareLost { epoch, vm, reason } => self.spare_lost(show, *epoch, vm, reason, at)?,
            Event::Fenced { epoch, how } => {
                let failover = show.failover_mut(*epoch)?;
                failover.fenced = failover.fenced.or(Some((*how, at)));
                show.is_silent_now();
            }
            Event::Restored {
                epoch,
                differences,
                by,
            } => restored(show, *epoch, differences, by.as_ref(), at)?,
            Event::Publishing { epoch } => {
                let refused = show.wrong_phase();
                let failover = show.failover_mut(*epoch)?;
                if !failover.may_publish() {
                    return Err(refused.into());
                }
                failover.publishing_at = failover.publishing_at.or(Some(at));
            }
            Event::FailoverEnded { epoch, ending } => self.failover_ended(show, *epoch, *ending, at)?,
            Event::Assigned { .. }
            | Event::Reassigned { .. }
            | Event::StreamWanted { .. }
            | Event::WentOnAir { .. }
            | Event::WentOffAir { .. }
            | Event::Silenced { .. }
            | Event::Captured { .. }
            | Event::Compared { .. }
            | Event::SetUp { .. }
            | Event::Held { .. }
            | Event::ReleaseBegan { .. }
            | Event::ReleaseJoined { .. }
            | Event::Archive { .. }
            | Event::Released { .. } => {}
        }
        Ok(())
    }

    fn failover_began(&mut self, show: &mut Show, failover: Failover, at: Timestamp) -> Result<(), Rejected> {
        show.require_phase(matches!(show.phase, Phase::OnAir | Phase::OffAir))?;
        show.require_next_epoch(failover.epoch)?;
        if let Some(to) = &failover.to {
            self.take(to, show, failover.epoch, at)?;
        }
        let reason = format!("show {} gave it up: {}", show.id, failover.evidence.summary);
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
        failover.lost_at.push(at);
        failover.restored_at = None;
        failover.restored_by = None;
        failover.epoch = epoch;
        let published = failover.publishing_at.take().is_some();
        let old = failover.from.clone();
        if published {
            failover.from = vm.clone();
            failover.fenced = None;
            show.vm = Some(vm.clone());
            show.may_publish = true;
            self.free(&old, show, at)?;
        } else {
            self.free(vm, show, at)?;
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
        let failover = show.failover_mut(epoch)?.clone();
        let fenced = failover.fenced.is_some();
        let published = failover.publishing_at.is_some();
        match (ending, failover.to.clone()) {
            (Ending::OnAir, Some(to)) if published => {
                self.free(&failover.from, show, at)?;
                self.settle(show, to, epoch, true, at)?;
            }
            (Ending::Moved, Some(to)) if fenced && !(published && show.has_destination()) => {
                self.free(&failover.from, show, at)?;
                self.settle(show, to, epoch, false, at)?;
            }
            (Ending::Abandoned, Some(to)) if fenced => {
                self.free(&failover.from, show, at)?;
                self.settle(show, to, epoch, false, at)?;
            }
            (Ending::Returned, None) => {
                self.require_ready(&failover.from)?;
                self.settle(show, failover.from.clone(), epoch, false, at)?;
                self.edit(&failover.from, at, |vm| vm.fault = None)?;
                show.unrestored = show.has_studio();
                show.uncompared = false;
            }
            (Ending::Abandoned, None) => self.settle(show, failover.from.clone(), epoch, false, at)?,
            (Ending::Recovered, target) if !fenced => {
                self.require_running(&failover.from)?;
                self.free_target(target.as_ref(), show, at)?;
                self.recover(show, &failover, epoch, at)?;
            }
            (Ending::Abandoned, target) if !fenced => {
                self.free_target(target.as_ref(), show, at)?;
                self.settle(show, failover.from.clone(), epoch, false, at)?;
            }
            (Ending::OnAir | Ending::Moved | Ending::Recovered | Ending::Returned | Ending::Abandoned, _) => {
                return Err(show.wrong_phase().into());
            }
        }
        if fenced {
            show.may_publish = published;
            show.stop_asked = published && ending == Ending::Abandoned && !show.stream_wanted;
        }
        let elsewhere = failover.to.is_some() && failover.to == show.vm;
        show.remade = !elsewhere && ending != Ending::Returned;
        if elsewhere {
            let restored = failover.restored_at.is_some();
            show.unrestored = !restored && show.has_studio();
            show.uncompared = restored && show.has_studio();
        }
        show.file(Record {
            failover,
            ending,
            ended_at: at,
            comparison: None,
        });
        Ok(())
    }

    fn free_target(&mut self, to: Option<&VmId>, show: &Show, at: Timestamp) -> Result<(), Rejected> {
        to.map_or(Ok(()), |to| self.free(to, show, at))
    }

    /// The show stays where it was, and on air if it was: its stream was never stopped.
    fn recover(
        &mut self,
        show: &mut Show,
        failover: &Failover,
        epoch: Epoch,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        let old = self.vm_clone(&failover.from)?;
        let on_air = matches!(old.occupancy, Occupancy::OnAir { .. });
        self.settle(show, failover.from.clone(), epoch, on_air, at)?;
        self.edit(&failover.from, at, |vm| vm.fault = None)
    }
}

/// The studio of the target has been made.
fn restored(
    show: &mut Show,
    epoch: Epoch,
    differences: &[String],
    by: Option<&MadeBy>,
    at: Timestamp,
) -> Result<(), ShowRejected> {
    let refused = show.wrong_phase();
    let failover = show.failover_mut(epoch)?;
    if failover.to.is_none() {
        return Err(refused);
    }
    failover.restored_at = failover.restored_at.or(Some(at));
    failover.differences = differences.to_vec();
    failover.restored_by = by.cloned();
    show.note_made(epoch, differences, by, at);
    Ok(())
}
