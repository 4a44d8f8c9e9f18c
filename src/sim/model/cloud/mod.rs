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

mod address;
mod power;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use self::address::AddressRange;
use super::fault::CloudFault;
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, InstanceState};
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
    /// What happens when, by itself.
    agenda: BTreeSet<(Timestamp, InstanceId)>,
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
    pub stops_forgotten: bool,
    pub mislaid: bool,
    pub denied: bool,
    pub answers_lost: bool,
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
            agenda: BTreeSet::new(),
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
            CloudFault::StopsForgotten => self.faults.stops_forgotten = true,
            CloudFault::Mislaid => self.faults.mislaid = true,
            CloudFault::Denied => self.faults.denied = true,
            CloudFault::AnswersLost => self.faults.answers_lost = true,
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
        self.schedule(&id, now + self.timing.start);
        Ok(self.record_mut(&id)?.instance.clone())
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

    /// The instance's state goes on at `due`, and at no other time set before.
    fn schedule(&mut self, id: &InstanceId, due: Timestamp) {
        self.unschedule(id);
        if let Some(record) = self.instances.get_mut(id) {
            record.due = Some(due);
            self.agenda.insert((due, id.clone()));
        }
    }

    fn unschedule(&mut self, id: &InstanceId) -> Option<Timestamp> {
        let due = self.instances.get_mut(id)?.due.take()?;
        self.agenda.remove(&(due, id.clone()));
        Some(due)
    }

    /// When the next thing happens by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(due, _)| *due)
    }
}
