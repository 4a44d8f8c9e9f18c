//! A cloud: instances, their states, and how long it takes to change them.
//!
//! ```text
//!  launch, start ──► pending ──► running ──stop──► stopping ──► stopped ──start──► pending
//!                                   └──────── terminate ────────┴──► shutting-down ──► terminated ──► forgotten
//! ```
//!
//! The states and what may be asked in which are EC2's
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>). What it does to
//! machines comes out as [`Effect`]s: the cloud itself knows nothing of what runs on them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::earliest;
use super::fault::CloudFault;
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, InstanceState, PowerChange};
use crate::domain::time::Timestamp;

/// How long the cloud's own work takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloudTiming {
    /// From `pending` to `running`, which is when the machine gets power.
    pub start: Duration,
    /// From `stopping` to `stopped`, which is when the machine loses power.
    pub stop: Duration,
    /// From a forced stop, which cuts the power at once, to `stopped`.
    pub force_stop: Duration,
    /// From `shutting-down` to `terminated`.
    pub terminate: Duration,
    /// How long a terminated instance is still listed.
    pub forget: Duration,
}

impl Default for CloudTiming {
    /// A quick cloud: real proportions, a fraction of the time.
    fn default() -> Self {
        Self {
            start: Duration::from_millis(300),
            stop: Duration::from_millis(1_500),
            force_stop: Duration::from_millis(300),
            terminate: Duration::from_millis(1_000),
            forget: Duration::from_secs(20),
        }
    }
}

/// The range of IPv4 addresses that machines get.
#[derive(Debug, Clone)]
pub struct AddressRange {
    first: u32,
    last: u32,
    next: u32,
    taken: std::collections::HashSet<u32>,
}

impl AddressRange {
    /// Addresses from `first` to `last`, both included.
    #[must_use]
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Self {
        let first = u32::from(first);
        Self {
            first,
            last: u32::from(last).max(first),
            next: first,
            taken: std::collections::HashSet::new(),
        }
    }

    /// The next free address, going round, so that a freed one is not reused at once. `None` if all are taken.
    fn take(&mut self) -> Option<Ipv4Addr> {
        let size = self.last - self.first + 1;
        for _ in 0..size {
            let candidate = self.next;
            self.next = if candidate == self.last {
                self.first
            } else {
                candidate + 1
            };
            if self.taken.insert(candidate) {
                return Some(Ipv4Addr::from(candidate));
            }
        }
        None
    }

    fn free(&mut self, address: Ipv4Addr) {
        self.taken.remove(&u32::from(address));
    }
}

/// What is asked for with a launch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchRequest {
    /// A repeated token returns the first one's instance.
    pub token: Option<String>,
    pub instance_type: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// Why the cloud refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the instance ID '{0}' does not exist")]
    NotFound(InstanceId),
    #[error("the instance '{id}' is in state '{}'", .state.as_str())]
    WrongState { id: InstanceId, state: InstanceState },
    #[error("insufficient capacity for the instance type")]
    NoCapacity,
    #[error("no free address in the subnet")]
    NoAddress,
}

/// What the cloud does to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Power, at this address.
    PowerOn {
        instance: InstanceId,
        address: Ipv4Addr,
    },
    /// The operating system is asked to shut down.
    ShutDown {
        instance: InstanceId,
    },
    PowerOff {
        instance: InstanceId,
    },
    Reboot {
        instance: InstanceId,
    },
    /// The machine ceases to exist.
    Destroy {
        instance: InstanceId,
    },
}

#[derive(Debug)]
struct Record {
    instance: Instance,
    address: Ipv4Addr,
    due: Option<Timestamp>,
    address_changes: bool,
}

/// All instances of one account.
#[derive(Debug)]
pub struct Cloud {
    timing: CloudTiming,
    addresses: AddressRange,
    zones: Vec<String>,
    instances: BTreeMap<InstanceId, Record>,
    tokens: HashMap<String, InstanceId>,
    faults: Faults,
    rng: StdRng,
    effects: Vec<Effect>,
}

/// What is wrong with the API now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub down: bool,
    pub throttled: bool,
    pub delay: Duration,
    pub no_capacity: bool,
}

impl Cloud {
    /// An empty account. `zones` must not be empty; the seed decides instance ids.
    #[must_use]
    pub fn new(timing: CloudTiming, addresses: AddressRange, zones: Vec<String>, seed: u64) -> Self {
        Self {
            timing,
            addresses,
            zones,
            instances: BTreeMap::new(),
            tokens: HashMap::new(),
            faults: Faults::default(),
            rng: StdRng::seed_from_u64(seed),
            effects: Vec::new(),
        }
    }

    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults
    }

    pub fn fault(&mut self, fault: CloudFault) {
        match fault {
            CloudFault::Down => self.faults.down = true,
            CloudFault::Throttled => self.faults.throttled = true,
            CloudFault::Slow { delay } => self.faults.delay = delay,
            CloudFault::NoCapacity => self.faults.no_capacity = true,
        }
    }

    /// Mends everything that is wrong with the API.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
    }

    /// The instance gets another address whenever it is started.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn set_address_changes(&mut self, id: &InstanceId, changes: bool) -> Result<(), Refusal> {
        self.record_mut(id)?.address_changes = changes;
        Ok(())
    }

    /// Instances that carry all of `tags`, after `after` in the order of ids, at most `limit`.
    #[must_use]
    pub fn list(
        &self,
        tags: &BTreeMap<String, String>,
        after: Option<&InstanceId>,
        limit: usize,
    ) -> Vec<Instance> {
        let wanted = |instance: &Instance| tags.iter().all(|(k, v)| instance.tags.get(k) == Some(v));
        let records = match after {
            Some(after) => self.instances.range((
                std::ops::Bound::Excluded(after.clone()),
                std::ops::Bound::Unbounded,
            )),
            None => self.instances.range::<InstanceId, _>(..),
        };
        records
            .map(|(_, record)| &record.instance)
            .filter(|i| wanted(i))
            .take(limit)
            .cloned()
            .collect()
    }

    #[must_use]
    pub fn describe(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id).map(|record| &record.instance)
    }

    /// A new instance, `pending`.
    ///
    /// # Errors
    /// [`Refusal::NoCapacity`], [`Refusal::NoAddress`].
    pub fn launch(&mut self, request: LaunchRequest, now: Timestamp) -> Result<Instance, Refusal> {
        if let Some(token) = &request.token
            && let Some(id) = self.tokens.get(token)
            && let Some(record) = self.instances.get(id)
        {
            return Ok(record.instance.clone());
        }
        if self.faults.no_capacity {
            return Err(Refusal::NoCapacity);
        }
        let id = self.create(request, InstanceState::Pending, now)?;
        let due = now + self.timing.start;
        let record = self.record_mut(&id)?;
        record.due = Some(due);
        Ok(record.instance.clone())
    }

    /// An instance that has been there for long, `running` or `stopped`.
    ///
    /// # Errors
    /// [`Refusal::NoAddress`].
    pub fn place(
        &mut self,
        request: LaunchRequest,
        running: bool,
        now: Timestamp,
    ) -> Result<InstanceId, Refusal> {
        let state = if running {
            InstanceState::Running
        } else {
            InstanceState::Stopped
        };
        self.create(request, state, now)
    }

    fn create(
        &mut self,
        request: LaunchRequest,
        state: InstanceState,
        now: Timestamp,
    ) -> Result<InstanceId, Refusal> {
        let address = self.addresses.take().ok_or(Refusal::NoAddress)?;
        let id = self.new_id();
        let zone = self
            .zones
            .get(self.instances.len() % self.zones.len().max(1))
            .cloned();
        let instance = Instance {
            instance_id: id.clone(),
            name: request.tags.get("Name").cloned(),
            state,
            public_ip: (state != InstanceState::Stopped).then_some(IpAddr::V4(address)),
            private_ip: Some(IpAddr::V4(address)),
            public_dns: None,
            private_dns: None,
            instance_type: Some(request.instance_type.unwrap_or_else(|| "g4dn.xlarge".to_owned())),
            launch_time: Some(now),
            availability_zone: zone,
            subnet_id: Some("subnet-0simulated".to_owned()),
            vpc_id: Some("vpc-0simulated".to_owned()),
            tags: request.tags,
        };
        if let Some(token) = request.token {
            self.tokens.insert(token, id.clone());
        }
        let record = Record {
            instance,
            address,
            due: None,
            address_changes: false,
        };
        self.instances.insert(id.clone(), record);
        Ok(id)
    }

    fn new_id(&mut self) -> InstanceId {
        loop {
            let number: u64 = self.rng.random_range(0..1 << 60);
            // Seventeen hexadecimal digits after a dash, which is always a legal id.
            if let Ok(id) = InstanceId::new(format!("i-0{number:016x}"))
                && !self.instances.contains_key(&id)
            {
                return id;
            }
        }
    }

    fn record_mut(&mut self, id: &InstanceId) -> Result<&mut Record, Refusal> {
        self.instances
            .get_mut(id)
            .ok_or_else(|| Refusal::NotFound(id.clone()))
    }

    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn tag(&mut self, id: &InstanceId, tags: BTreeMap<String, String>) -> Result<(), Refusal> {
        let instance = &mut self.record_mut(id)?.instance;
        instance.tags.extend(tags);
        instance.name = instance.tags.get("Name").cloned();
        Ok(())
    }

    /// The address at which the instance's machine is or will be.
    #[must_use]
    pub fn address(&self, id: &InstanceId) -> Option<Ipv4Addr> {
        self.instances.get(id).map(|record| record.address)
    }

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
        let due = now + self.timing.start;
        let moved = if self.record_mut(id)?.address_changes {
            self.addresses.take()
        } else {
            None
        };
        let record = self.record_mut(id)?;
        let left = moved.map(|address| std::mem::replace(&mut record.address, address));
        record.due = Some(due);
        record.instance.launch_time = Some(now);
        record.instance.private_ip = Some(IpAddr::V4(record.address));
        record.instance.public_ip = Some(IpAddr::V4(record.address));
        if let Some(left) = left {
            self.addresses.free(left);
        }
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
                let due = now + self.timing.stop;
                self.record_mut(id)?.due = Some(due);
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
                let record = self.record_mut(id)?;
                record.due = Some(record.due.map_or(due, |present| present.min(due)));
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
        let due = now + self.timing.terminate;
        self.record_mut(id)?.due = Some(due);
        self.effects.push(Effect::ShutDown { instance: id.clone() });
        Ok(InstanceState::ShuttingDown)
    }

    /// Lets everything happen that was due by `now`, and returns what it does to machines, in order.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Effect> {
        let due: Vec<InstanceId> = self
            .instances
            .iter()
            .filter(|(_, record)| record.due.is_some_and(|due| due <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.step(&id);
        }
        std::mem::take(&mut self.effects)
    }

    fn step(&mut self, id: &InstanceId) {
        let Some(record) = self.instances.get_mut(id) else {
            return;
        };
        let due = record.due.take();
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
                record.due = due.map(|due| due + self.timing.forget);
                self.effects.push(Effect::PowerOff { instance: id.clone() });
                self.effects.push(Effect::Destroy { instance: id.clone() });
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

    /// When the next thing happens by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.instances
            .values()
            .fold(None, |next, record| earliest(next, record.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);

    fn at(ms: u64) -> Timestamp {
        T0 + Duration::from_millis(ms)
    }

    fn cloud() -> Cloud {
        let range = AddressRange::new(Ipv4Addr::new(127, 77, 0, 1), Ipv4Addr::new(127, 77, 0, 3));
        Cloud::new(CloudTiming::default(), range, vec!["a".into(), "b".into()], 1)
    }

    fn state(cloud: &Cloud, id: &InstanceId) -> Option<InstanceState> {
        cloud.describe(id).map(|instance| instance.state)
    }

    #[test]
    fn a_stopped_instance_starts_and_powers_its_machine_when_it_runs() {
        let mut cloud = cloud();
        let id = cloud.place(LaunchRequest::default(), false, T0).unwrap();
        assert_eq!(cloud.describe(&id).unwrap().public_ip, None);
        assert_eq!(
            cloud.change(&id, PowerChange::Start, T0),
            Ok((InstanceState::Stopped, InstanceState::Pending))
        );
        assert_eq!(cloud.advance(at(299)), []);
        let address = cloud.address(&id).unwrap();
        assert_eq!(
            cloud.advance(at(300)),
            [Effect::PowerOn {
                instance: id.clone(),
                address
            }]
        );
        assert_eq!(state(&cloud, &id), Some(InstanceState::Running));
    }

    #[test]
    fn a_forced_stop_cuts_the_power_at_once_even_while_stopping() {
        let mut cloud = cloud();
        let id = cloud.place(LaunchRequest::default(), true, T0).unwrap();
        cloud.change(&id, PowerChange::Stop, T0).unwrap();
        assert_eq!(cloud.advance(T0), [Effect::ShutDown { instance: id.clone() }]);
        cloud.change(&id, PowerChange::ForceStop, at(100)).unwrap();
        assert_eq!(
            cloud.advance(at(100)),
            [Effect::PowerOff { instance: id.clone() }]
        );
        assert_eq!(state(&cloud, &id), Some(InstanceState::Stopping));
        cloud.advance(at(400));
        assert_eq!(state(&cloud, &id), Some(InstanceState::Stopped));
    }

    #[test]
    fn a_repeated_token_returns_the_same_instance() {
        let mut cloud = cloud();
        let request = LaunchRequest {
            token: Some("t".into()),
            ..LaunchRequest::default()
        };
        let first = cloud.launch(request.clone(), T0).unwrap();
        assert_eq!(
            cloud.launch(request, at(1)).unwrap().instance_id,
            first.instance_id
        );
        assert_eq!(cloud.list(&BTreeMap::new(), None, 9).len(), 1);
    }

    #[test]
    fn a_terminated_instance_is_forgotten_and_its_address_is_free_again() {
        let mut cloud = cloud();
        let ids: Vec<_> = (0..3)
            .map(|_| cloud.place(LaunchRequest::default(), true, T0).unwrap())
            .collect();
        assert_eq!(
            cloud.launch(LaunchRequest::default(), T0),
            Err(Refusal::NoAddress)
        );
        cloud.change(&ids[0], PowerChange::Terminate, T0).unwrap();
        cloud.advance(at(1_000));
        assert_eq!(state(&cloud, &ids[0]), Some(InstanceState::Terminated));
        let wrong = cloud.change(&ids[0], PowerChange::Start, at(1_001));
        assert!(matches!(wrong, Err(Refusal::WrongState { .. })));
        cloud.advance(at(21_000));
        assert_eq!(state(&cloud, &ids[0]), None);
        assert!(cloud.launch(LaunchRequest::default(), at(21_000)).is_ok());
    }

    #[test]
    fn without_capacity_nothing_starts() {
        let mut cloud = cloud();
        let id = cloud.place(LaunchRequest::default(), false, T0).unwrap();
        cloud.fault(CloudFault::NoCapacity);
        assert_eq!(
            cloud.change(&id, PowerChange::Start, T0),
            Err(Refusal::NoCapacity)
        );
        cloud.heal();
        assert!(cloud.change(&id, PowerChange::Start, T0).is_ok());
    }

    #[test]
    fn an_address_changes_on_start_only_when_told_so() {
        let mut cloud = cloud();
        let id = cloud.place(LaunchRequest::default(), false, T0).unwrap();
        let before = cloud.address(&id);
        cloud.set_address_changes(&id, true).unwrap();
        cloud.change(&id, PowerChange::Start, T0).unwrap();
        assert_ne!(cloud.address(&id), before);
        assert_eq!(
            cloud.describe(&id).unwrap().public_ip,
            cloud.address(&id).map(IpAddr::V4)
        );
    }
}
