//! Power changes: what may be asked in which state, and what becomes of it.

use std::net::IpAddr;

use super::{Cloud, Effect, Refusal};
use crate::domain::ids::InstanceId;
use crate::domain::instance::{InstanceState, PowerChange};
use crate::domain::time::Timestamp;

impl Cloud {
    /// Asks for a power change. Returns the states before and after.
    ///
    /// # Errors
    /// [`Refusal`]: asking for what is already so is not one.
    pub fn change(
        &mut self,
        id: &InstanceId,
        change: PowerChange,
        now: Timestamp,
    ) -> Result<(InstanceState, InstanceState), Refusal> {
        let previous = self.record_mut(id)?.instance.state;
        if self.faults.stops_forgotten && change == PowerChange::Stop && previous == InstanceState::Running {
            return Ok((previous, InstanceState::Stopping));
        }
        let current = match change {
            PowerChange::Start => self.start(id, previous, now)?,
            PowerChange::Stop => self.stop(id, previous, now)?,
            PowerChange::ForceStop => self.force_stop(id, previous, now)?,
            PowerChange::Reboot => self.reboot(id, previous)?,
            PowerChange::Terminate => self.terminate(id, previous, now)?,
        };
        self.record_mut(id)?.instance.state = current;
        Ok((previous, current))
    }

    fn start(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        now: Timestamp,
    ) -> Result<InstanceState, Refusal> {
        match state {
            InstanceState::Pending | InstanceState::Running => return Ok(state),
            InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Terminated => {
                return Err(Refusal::WrongState {
                    id: id.clone(),
                    state,
                });
            }
            InstanceState::Stopped => {}
        }
        if self.faults.no_capacity {
            return Err(Refusal::NoCapacity);
        }
        let moved = if self.record_mut(id)?.address_changes {
            self.addresses.take()
        } else {
            None
        };
        let record = self.record_mut(id)?;
        let left = moved.map(|address| std::mem::replace(&mut record.address, address));
        record.instance.launch_time = Some(now);
        record.instance.private_ip = Some(IpAddr::V4(record.address));
        record.instance.public_ip = Some(IpAddr::V4(record.address));
        if let Some(left) = left {
            self.addresses.free(left);
        }
        self.schedule(id, now + self.timing.start);
        Ok(InstanceState::Pending)
    }

    fn stop(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        now: Timestamp,
    ) -> Result<InstanceState, Refusal> {
        match state {
            InstanceState::Stopping | InstanceState::Stopped => Ok(state),
            InstanceState::Running => {
                self.schedule(id, now + self.timing.stop);
                self.effects.push(Effect::ShutDown { instance: id.clone() });
                Ok(InstanceState::Stopping)
            }
            InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
                Err(Refusal::WrongState {
                    id: id.clone(),
                    state,
                })
            }
        }
    }

    fn force_stop(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        now: Timestamp,
    ) -> Result<InstanceState, Refusal> {
        match state {
            InstanceState::Stopped => Ok(state),
            InstanceState::Running | InstanceState::Stopping => {
                let due = now + self.timing.force_stop;
                let present = self.unschedule(id);
                self.schedule(id, present.map_or(due, |present| present.min(due)));
                self.effects.push(Effect::PowerOff { instance: id.clone() });
                Ok(InstanceState::Stopping)
            }
            InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
                Err(Refusal::WrongState {
                    id: id.clone(),
                    state,
                })
            }
        }
    }

    fn reboot(&mut self, id: &InstanceId, state: InstanceState) -> Result<InstanceState, Refusal> {
        if state != InstanceState::Running {
            return Err(Refusal::WrongState {
                id: id.clone(),
                state,
            });
        }
        self.effects.push(Effect::Reboot { instance: id.clone() });
        Ok(state)
    }

    fn terminate(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        now: Timestamp,
    ) -> Result<InstanceState, Refusal> {
        if matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated) {
            return Ok(state);
        }
        self.schedule(id, now + self.timing.terminate);
        self.effects.push(Effect::ShutDown { instance: id.clone() });
        Ok(InstanceState::ShuttingDown)
    }

    /// Lets everything happen that was due by `now`, and returns what it does to machines, in order.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Effect> {
        while let Some((due, id)) = self.agenda.first().filter(|(due, _)| *due <= now).cloned() {
            self.unschedule(&id);
            self.step(&id, due);
        }
        std::mem::take(&mut self.effects)
    }

    fn step(&mut self, id: &InstanceId, due: Timestamp) {
        let Some(record) = self.instances.get_mut(id) else {
            return;
        };
        match record.instance.state {
            InstanceState::Pending => {
                record.instance.state = InstanceState::Running;
                let address = record.address;
                self.effects.push(Effect::PowerOn {
                    instance: id.clone(),
                    address,
                });
            }
            InstanceState::Stopping => {
                record.instance.state = InstanceState::Stopped;
                record.instance.public_ip = None;
                self.effects.push(Effect::PowerOff { instance: id.clone() });
            }
            InstanceState::ShuttingDown => {
                record.instance.state = InstanceState::Terminated;
                record.instance.public_ip = None;
                record.instance.private_ip = None;
                self.effects.push(Effect::PowerOff { instance: id.clone() });
                self.effects.push(Effect::Destroy { instance: id.clone() });
                self.schedule(id, due + self.timing.forget);
            }
            InstanceState::Terminated => {
                let address = record.address;
                self.instances.remove(id);
                self.tokens.retain(|_, launched| launched != id);
                self.addresses.free(address);
            }
            InstanceState::Running | InstanceState::Stopped => {}
        }
    }
}
