//! A whole world: a cloud with its API, its machines, and the venue's ingest.
//!
//! The same as [`crate::sim::world::World`], without the wire: an instance that reaches `running` boots its machine, one
//! that stops or is terminated takes its machine down. The tree is given the world's [`Parts`]; tests break things
//! ([`World::fault`]), act behind its back ([`World::stop_instance`]) and look at what really happened
//! ([`World::machine`], [`World::ingest`]).
//!
//! Everything runs on the caller's runtime and ends when the [`World`] is dropped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::archive::Archive;
use super::cloud::{Account, Api};
use super::dice::{Dice, Timing};
use super::ingest::Ingest;
use super::machine::{MachineHandle, Surroundings};
use super::machines::Machines;
use super::network::Network;
use super::obs::DirectConnector as StudioConnector;
use super::probe::DirectProbe;
use super::process::Process;
use super::ssh::{DirectConnector as ShellConnector, KeepAlive};
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, InstanceState, PowerChange};
use crate::domain::studio::Secret;
use crate::domain::time::Timestamp;
use crate::infra::archive::Store;
use crate::infra::cloud::{Cloud, MANAGED_BY, TAG_MANAGED_BY, TAG_PROJECT};
use crate::infra::probe::Probe;
use crate::infra::vault::Vault;
use crate::infra::{obs, ssh};
use crate::sim::clock::Clock;
use crate::sim::model::cloud::{self, AddressRange, CloudTiming, LaunchRequest, Refusal};
use crate::sim::model::fault::{CloudFault, Fault, FaultKind};
use crate::sim::model::machine::{MachineTiming, Ports};

/// When a world begins unless it is told otherwise: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp(1_767_225_600_000);

/// The addresses of machines. Nobody connects to them; they only have to look like somebody's.
const ADDRESSES: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 254, 254));

/// The archive's bucket.
pub const BUCKET: &str = "recordings";

/// Why there is no such world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("the world does not start, or change, as asked")]
    Cloud(#[from] Refusal),
    #[error("there is no machine of instance {0}")]
    NoMachine(InstanceId),
}

/// What a world is like.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// When it begins.
    pub start: Timestamp,
    /// Instances that run at the start.
    pub warm: u32,
    /// Instances that are stopped at the start.
    pub cold: u32,
    /// Value of the tag `Project` on them.
    pub project: String,
    pub ports: Ports,
    pub cloud: CloudTiming,
    pub machine: MachineTiming,
    pub timing: Timing,
    /// Availability zones, given to instances in turn.
    pub zones: Vec<String>,
    pub obs_password: Option<Secret>,
    /// When SSH sessions with a silent machine are given up.
    pub keep_alive: KeepAlive,
}

impl Default for WorldConfig {
    /// Two warm and three cold instances: the demonstration's world.
    fn default() -> Self {
        Self {
            seed: 1,
            start: BEGINNING,
            warm: 2,
            cold: 3,
            project: "understudy-sim".to_owned(),
            ports: Ports::default(),
            cloud: CloudTiming::default(),
            machine: MachineTiming::default(),
            timing: Timing::default(),
            zones: ["sim-1a", "sim-1b", "sim-1c"].map(str::to_owned).to_vec(),
            obs_password: Some(Secret::new("simulated")),
            keep_alive: KeepAlive::default(),
        }
    }
}

/// The world as the tree meets it: infra's traits.
#[derive(Clone)]
pub struct Parts {
    pub cloud: Arc<dyn Cloud>,
    pub probe: Arc<dyn Probe>,
    pub obs: Arc<dyn obs::Connector>,
    pub ssh: Arc<dyn ssh::Connector>,
    pub archive: Arc<dyn Store>,
    process: Process,
}

impl Parts {
    /// The process that was given these parts dies, as by `kill -9`: nothing that it was doing goes on, and nothing that it
    /// does has an effect.
    pub fn cut(&self) {
        self.process.die();
    }
}

/// A running world. It ends when dropped.
pub struct World {
    config: WorldConfig,
    clock: Clock,
    account: Arc<Account>,
    machines: Arc<Machines>,
    ingest: Ingest,
    archive: Archive,
}

impl World {
    /// Starts the cloud, the ingest and the machines. Warm instances are `running` with their services up, cold
    /// ones `stopped`; all carry the pool's tags. Must be called within a runtime.
    ///
    /// # Errors
    /// [`WorldError::Cloud`] for more instances than there are addresses.
    pub fn start(config: WorldConfig) -> Result<Self, WorldError> {
        let clock = Clock::starting_at(config.start);
        let ingest = Ingest::new(clock, config.machine.output.bitrate_bps);
        let surroundings = Surroundings {
            clock,
            ports: config.ports,
            timing: config.machine,
            ingest: ingest.clone(),
            dice: Arc::new(Dice::new(config.seed, config.timing)),
        };
        let machines = Arc::new(Machines::new(surroundings, config.seed));
        let addresses = AddressRange::new(ADDRESSES.0, ADDRESSES.1);
        let model = cloud::Cloud::new(config.cloud, addresses, config.zones.clone(), config.seed);
        let account = Account::start(model, Arc::clone(&machines));
        let world = Self {
            config,
            clock,
            account,
            archive: Archive::new(BUCKET, Arc::clone(&machines.surroundings().dice)),
            machines,
            ingest,
        };
        for number in 0..world.config.warm {
            world.place(number, true)?;
        }
        for number in 0..world.config.cold {
            world.place(world.config.warm + number, false)?;
        }
        Ok(world)
    }

    /// Adds an instance that has been there for long, with the pool's tags.
    fn place(&self, number: u32, running: bool) -> Result<InstanceId, WorldError> {
        let tags = BTreeMap::from([
            ("Name".to_owned(), format!("sim-{:03}", number + 1)),
            (TAG_PROJECT.to_owned(), self.config.project.clone()),
            (TAG_MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
        ]);
        self.place_with(tags, running)
    }

    /// Adds an instance that has been there for long, with these tags: a stranger's, for example.
    ///
    /// # Errors
    /// [`WorldError::Cloud`] when there is no address left.
    pub fn place_with(
        &self,
        tags: BTreeMap<String, String>,
        running: bool,
    ) -> Result<InstanceId, WorldError> {
        let request = LaunchRequest {
            tags,
            ..LaunchRequest::default()
        };
        let placed = self.account.act(|cloud, now| {
            let id = cloud.place(request, running, now)?;
            let address = cloud.address(&id);
            Ok::<_, Refusal>((id, address))
        });
        let (id, address) = placed?;
        if let Some(address) = address {
            let machine = self.machines.get_or_make(&id, address);
            if running {
                machine.power_on_long_ago();
            }
        }
        Ok(id)
    }

    /// The world as a tree meets it, whose `vault` seals the stream keys that are captured. Any number of trees may: a
    /// restarted coordinator gets parts of its own.
    #[must_use]
    pub fn parts(&self, vault: &Arc<Vault>) -> Parts {
        let process = Process::default();
        let network = Network::new(Arc::clone(&self.machines), process.clone());
        let password = self.config.obs_password.clone();
        let account = Arc::clone(&self.account);
        Parts {
            cloud: Arc::new(Api::new(account, process.clone(), &self.config.project)),
            probe: Arc::new(DirectProbe::new(network.clone())),
            obs: Arc::new(StudioConnector::new(network.clone(), password, Arc::clone(vault))),
            ssh: Arc::new(ShellConnector::new(network, self.config.keep_alive)),
            archive: Arc::new(self.archive.clone()),
            process,
        }
    }

    /// The venue's ingest: the witness of who was on air.
    #[must_use]
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// The archive, whose only bucket is [`BUCKET`].
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The world's time. A tree's clock that starts at its present goes with it from then on.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    #[must_use]
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// Password of every studio.
    #[must_use]
    pub fn obs_password(&self) -> Option<&Secret> {
        self.config.obs_password.as_ref()
    }

    /// Every instance, in any state, in the order of ids.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        self.account
            .inspect(|cloud| cloud.list(&BTreeMap::new(), None, usize::MAX))
    }

    /// One instance as the cloud would describe it now.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<Instance> {
        self.account.act(|cloud, _| cloud.describe(id).cloned())
    }

    /// The machine of an instance: none after its end.
    #[must_use]
    pub fn machine(&self, instance: &InstanceId) -> Option<MachineHandle> {
        self.machines.get(instance)
    }

    /// Makes something go wrong with an instance or its machine.
    ///
    /// # Errors
    /// [`WorldError::NoMachine`] for an instance that does not exist.
    pub fn fault(&self, instance: &InstanceId, fault: Fault) -> Result<(), WorldError> {
        if fault == Fault::AddressChanges {
            self.account
                .act(|cloud, _| cloud.set_address_changes(instance, true))?;
        }
        self.existing(instance)?.fault(fault);
        Ok(())
    }

    /// Mends it again.
    ///
    /// # Errors
    /// [`WorldError::NoMachine`] for an instance that does not exist.
    pub fn heal(&self, instance: &InstanceId, kind: FaultKind) -> Result<(), WorldError> {
        if kind == FaultKind::AddressChanges {
            self.account
                .act(|cloud, _| cloud.set_address_changes(instance, false))?;
        }
        self.existing(instance)?.heal(kind);
        Ok(())
    }

    /// Instances in a zone, in the order of ids.
    #[must_use]
    pub fn instances_in(&self, zone: &str) -> Vec<InstanceId> {
        let instances = self.instances().into_iter();
        let there = instances.filter(|instance| instance.availability_zone.as_deref() == Some(zone));
        there.map(|instance| instance.instance_id).collect()
    }

    /// Makes the same go wrong with every machine of a zone at once. Those that come later are spared.
    ///
    /// # Errors
    /// [`WorldError::NoMachine`] if one of them ceases to exist.
    pub fn fault_zone(&self, zone: &str, fault: Fault) -> Result<(), WorldError> {
        self.instances_in(zone)
            .iter()
            .filter(|instance| self.machine(instance).is_some())
            .try_for_each(|instance| self.fault(instance, fault))
    }

    /// Mends it again.
    ///
    /// # Errors
    /// As [`World::fault_zone`].
    pub fn heal_zone(&self, zone: &str, kind: FaultKind) -> Result<(), WorldError> {
        self.instances_in(zone)
            .iter()
            .filter(|instance| self.machine(instance).is_some())
            .try_for_each(|instance| self.heal(instance, kind))
    }

    fn existing(&self, instance: &InstanceId) -> Result<MachineHandle, WorldError> {
        let address = self.account.inspect(|cloud| {
            let described = cloud.describe(instance)?;
            (described.state != InstanceState::Terminated).then(|| cloud.address(instance))?
        });
        let address = address.ok_or_else(|| WorldError::NoMachine(instance.clone()))?;
        Ok(self.machines.get_or_make(instance, address))
    }

    /// Makes something go wrong with the cloud's API.
    pub fn cloud_fault(&self, fault: CloudFault) {
        self.account.fault(fault);
    }

    /// Mends everything that is wrong with the cloud's API.
    pub fn heal_cloud(&self) {
        self.account.heal();
    }

    /// Changes an instance's power behind the coordinator's back.
    ///
    /// # Errors
    /// [`WorldError::Cloud`] when its state does not allow it.
    pub fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<(), WorldError> {
        self.account
            .act(|cloud, now| cloud.change(instance, change, now))?;
        Ok(())
    }

    /// Stops an instance behind the coordinator's back, politely.
    ///
    /// # Errors
    /// As [`World::change`].
    pub fn stop_instance(&self, instance: &InstanceId) -> Result<(), WorldError> {
        self.change(instance, PowerChange::Stop)
    }

    /// Terminates an instance behind the coordinator's back.
    ///
    /// # Errors
    /// As [`World::change`].
    pub fn terminate_instance(&self, instance: &InstanceId) -> Result<(), WorldError> {
        self.change(instance, PowerChange::Terminate)
    }
}

impl Drop for World {
    /// Ends machines to which others still hold handles, too.
    fn drop(&mut self) {
        self.account.close();
        self.machines.close();
    }
}
