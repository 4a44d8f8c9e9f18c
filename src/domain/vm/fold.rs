//! What one event makes of a VM, and which events can happen now.

use std::sync::Arc;

use super::{Event, Fault, Health, Occupancy, Power, Rejected, Status, Vm};
use crate::domain::ids::Attempt;
use crate::domain::instance::Instance;
use crate::domain::time::Timestamp;

impl Vm {
    /// Folds one event.
    ///
    /// # Errors
    /// [`Rejected`] if the event is not one that can happen now; the VM is unchanged then.
    pub fn apply(&mut self, event: &Event, at: Timestamp) -> Result<(), Rejected> {
        let before = self.status();
        self.admit(event)?;
        self.fold(event, before, at)?;
        self.note_status(before, at);
        Ok(())
    }

    /// To be called after any change of occupancy, with the status before it.
    pub(in crate::domain) fn note_status(&mut self, before: Status, at: Timestamp) {
        if self.status() != before {
            self.last_state_change = at;
        }
    }

    fn admit(&self, event: &Event) -> Result<(), Rejected> {
        let allowed = match event {
            // A VM is adopted once, by `Vm::adopted`.
            Event::Adopted { .. } => false,
            Event::Described { instance } => {
                self.require_same_instance(instance)?;
                true
            }
            Event::StopFailed { .. } => matches!(self.power, Power::Stopping { .. }),
            Event::Starting { attempt } => {
                self.require_next_attempt(*attempt)?;
                self.power == Power::Stopped
            }
            Event::Ready => self.power == Power::Booting,
            Event::Stopping { attempt } => {
                self.require_next_attempt(*attempt)?;
                self.power != Power::Stopped
            }
            // Whoever asked for these has seen it free, and a show may have taken it since.
            Event::MaintenanceBegan { .. } | Event::Withheld { .. } | Event::ArchiveResumed { .. } => {
                self.require_free()?;
                true
            }
            Event::MaintenanceEnded => matches!(self.occupancy, Occupancy::Maintenance { .. }),
            Event::Resealed { keys } => {
                let left = self.leftover.as_ref();
                left.is_some_and(|left| left.keys.len() == keys.len())
            }
            Event::Booting
            | Event::Stopped
            | Event::Gone
            | Event::HealthTurned { .. }
            | Event::Faulted { .. }
            | Event::FaultCleared
            | Event::Cleaned { .. }
            // Refused where it is folded, if so.
            | Event::Archive { .. } => true,
        };
        if allowed { Ok(()) } else { Err(self.wrong_status()) }
    }

    fn fold(&mut self, event: &Event, before: Status, at: Timestamp) -> Result<(), Rejected> {
        match event {
            Event::Adopted { instance } | Event::Described { instance } => self.instance = instance.clone(),
            Event::Starting { attempt } => {
                self.power = Power::Starting { attempt: *attempt };
                self.attempts = *attempt;
                self.health = Health::Unknown;
                self.fault = None;
                self.last_started_at = Some(at);
            }
            Event::Booting => {
                // Started by somebody else: without this the next measured start time would begin at the
                // start before.
                if self.power == Power::Stopped {
                    self.last_started_at = Some(at);
                }
                self.power = Power::Booting;
                self.health = Health::Unknown;
                self.look_again();
            }
            Event::Ready => {
                self.power = Power::Ready;
                self.health = Health::Healthy;
                self.fault = None;
                if self.occupancy.tenant().is_some() {
                    // Only older journals have that: they know no cleaning, and what was made ready was used.
                    self.overlay();
                }
            }
            Event::Stopping { attempt } => {
                self.power = Power::Stopping { attempt: *attempt };
                self.attempts = *attempt;
            }
            Event::StopFailed { reason } => {
                self.power = Power::Booting;
                self.set_fault(reason, before, at);
            }
            Event::Stopped => {
                self.power = Power::Stopped;
                self.health = Health::Unknown;
                self.last_stopped_at = Some(at);
                self.look_again();
            }
            Event::Gone => {}
            Event::HealthTurned { health } => self.health = *health,
            Event::Faulted { reason } | Event::Withheld { reason } => self.set_fault(reason, before, at),
            Event::FaultCleared => self.fault = None,
            Event::Cleaned { report, accepted } => self.cleaned(report, *accepted),
            Event::Resealed { keys } => {
                if let Some(left) = &mut self.leftover {
                    Arc::make_mut(left).keys.clone_from(keys);
                }
            }
            Event::MaintenanceBegan { reason } => {
                self.occupancy = Occupancy::Maintenance {
                    reason: reason.clone(),
                };
            }
            Event::MaintenanceEnded => self.occupancy = Occupancy::Free,
            Event::ArchiveResumed { folder } => self.edit_unarchived(folder, |left| left.resume(at))?,
            Event::Archive { folder, event } => {
                self.edit_unarchived(folder, |left| left.apply(event, at))?;
            }
        }
        Ok(())
    }

    /// A further fault is news, and cools off from now, but the status before the first one is the one that
    /// people want to know.
    pub(in crate::domain) fn set_fault(&mut self, reason: &str, before: Status, at: Timestamp) {
        let previous = self.fault.as_ref().map_or(before, |fault| fault.previous);
        self.fault = Some(Fault {
            reason: reason.to_owned(),
            since: at,
            previous,
        });
    }

    fn require_same_instance(&self, described: &Instance) -> Result<(), Rejected> {
        if described.instance_id == self.instance.instance_id {
            return Ok(());
        }
        Err(Rejected::OtherInstance {
            vm: self.id.clone(),
            known: self.instance.instance_id.clone(),
            described: described.instance_id.clone(),
        })
    }

    /// A number used twice would let the completion of an abandoned try pass for that of the present one.
    fn require_next_attempt(&self, asked: Attempt) -> Result<(), Rejected> {
        if asked > self.attempts {
            return Ok(());
        }
        Err(Rejected::StaleAttempt {
            vm: self.id.clone(),
            used: self.attempts,
            asked,
        })
    }

    pub(in crate::domain) fn require_free(&self) -> Result<(), Rejected> {
        match self.occupancy.tenant() {
            Some((show, _)) => Err(Rejected::Occupied {
                vm: self.id.clone(),
                show: show.clone(),
                status: self.status(),
            }),
            None if self.is_free() => Ok(()),
            None => Err(self.wrong_status()),
        }
    }

    pub(in crate::domain) fn require_untenanted(&self) -> Result<(), Rejected> {
        match self.occupancy.tenant() {
            Some(_) => self.require_free(),
            None => Ok(()),
        }
    }

    pub(in crate::domain) fn wrong_status(&self) -> Rejected {
        Rejected::WrongStatus {
            vm: self.id.clone(),
            status: self.status(),
        }
    }
}
