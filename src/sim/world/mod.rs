//! A whole world: a cloud with its API, its machines, and the venue's ingest.
//!
//! An instance that reaches `running` boots its machine at the instance's address; one that stops or is
//! terminated takes its machine down. The coordinator is given [`World::cloud_url`] and finds the rest by itself.
//! Tests and demonstrations break things ([`World::fault`]), act behind the coordinator's back
//! ([`World::stop_instance`]) and look at what really happened ([`World::machine`], [`World::ingest`]).
//!
//! Everything runs on the caller's runtime and ends when the [`World`] is dropped.

mod config;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

pub use self::config::{Addresses, WorldConfig};
use super::model::cloud::{AddressRange, Cloud, Effect, LaunchRequest, Refusal};
use super::model::fault::{CloudFault, Fault, FaultKind};
use super::wire::cloud::CloudServer;
use super::wire::key::{self, KeyError};
use super::wire::machine::{MachineConfig, MachineHandle, SshAccess};
use super::wire::{Clock, Exchange, Ingest, PublicKey};
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, PowerChange};
use crate::domain::studio::Secret;
use crate::infra::cloud::{MANAGED_BY, TAG_MANAGED_BY, TAG_PROJECT};

/// How long the machine of a terminated instance at least swallows what is sent to it.
const GHOST: Duration = Duration::from_secs(30);

/// Why there is no world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("{address} is not on loopback, and a simulated world stays there")]
    NotLoopback { address: Ipv4Addr },
    #[error("every block of 127.78.0.0/16 is in use by another world")]
    NoFreeBlock,
    #[error("the {what} cannot listen at {address}")]
    Listen {
        what: &'static str,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("there is no key to log in with")]
    Key(#[from] KeyError),
    #[error("the world does not start as asked")]
    Cloud(#[from] Refusal),
    #[error("the runtime is shutting down")]
    ShuttingDown,
    #[error("there is no machine of instance {0}")]
    NoMachine(InstanceId),
}

/// The machines by instance, shared with the cloud that powers them.
struct Machines {
    template: MachineConfig,
    by_instance: Mutex<BTreeMap<InstanceId, MachineHandle>>,
    /// Machines of terminated instances, by when they cease to exist.
    ghosts: Mutex<Vec<(Instant, MachineHandle)>>,
    /// Where machines run, whoever asks for them.
    runtime: Handle,
}

impl Machines {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, MachineHandle>> {
        self.by_instance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance's machine, made when it is first needed.
    fn get_or_make(&self, instance: &InstanceId, address: Ipv4Addr) -> MachineHandle {
        let make = || {
            let _entered = self.runtime.enter();
            let seed = self.template.seed ^ fnv1a(instance.as_str());
            MachineHandle::start(
                address,
                MachineConfig {
                    seed,
                    ..self.template.clone()
                },
            )
        };
        self.lock().entry(instance.clone()).or_insert_with(make).clone()
    }

    fn apply(&self, effect: Effect) {
        match effect {
            Effect::PowerOn { instance, address } => {
                let machine = self.get_or_make(&instance, address);
                machine.set_address(address);
                machine.power_on();
            }
            Effect::ShutDown { instance } => self.with(&instance, MachineHandle::shut_down),
            Effect::PowerOff { instance } => self.with(&instance, MachineHandle::power_off),
            Effect::Reboot { instance } => self.with(&instance, MachineHandle::reboot),
            Effect::Destroy { instance } => self.bury(&instance),
        }
    }

    /// Nobody tells a terminated machine's clients: for a while it is as silent as any machine that is off.
    fn bury(&self, instance: &InstanceId) {
        let now = Instant::now();
        let mut ghosts = self.ghosts.lock().unwrap_or_else(PoisonError::into_inner);
        ghosts.retain(|(until, _)| *until > now);
        ghosts.extend(self.lock().remove(instance).map(|machine| (now + GHOST, machine)));
    }

    fn with(&self, instance: &InstanceId, act: impl FnOnce(&MachineHandle)) {
        let machine = self.lock().get(instance).cloned();
        if let Some(machine) = machine {
            act(&machine);
        }
    }
}

/// FNV-1a, to give every instance a seed of its own.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The key that may log in, and the file with its private half if one was made.
async fn authorized_key(config: &WorldConfig) -> Result<(Option<PublicKey>, Option<PathBuf>), WorldError> {
    let Some(dir) = config.ssh_key_dir.clone() else {
        return Ok((config.ssh_authorized.clone(), None));
    };
    let written = tokio::task::spawn_blocking(move || key::write_new(&dir)).await;
    let (public, path) = written.map_err(|_| WorldError::ShuttingDown)??;
    Ok((Some(public), Some(path)))
}

/// What all machines of a world have in common.
fn template(
    config: &WorldConfig,
    clock: Clock,
    ssh: SshAccess,
    ingest_url: String,
) -> Result<MachineConfig, WorldError> {
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.ports.obs));
    let exchange = if config.shared_ports {
        Some(Exchange::start(config.ports).map_err(listen_error("exchange", anywhere))?)
    } else {
        None
    };
    Ok(MachineConfig {
        clock,
        ports: config.ports,
        timing: config.machine,
        obs_password: config.obs_password.clone(),
        ssh,
        ingest_url,
        seed: config.seed,
        dark_when_off: config.dark_when_off,
        chunk_interval: config.chunk_interval,
        exchange,
    })
}

fn listen_error(what: &'static str, address: SocketAddr) -> impl FnOnce(io::Error) -> WorldError {
    move |source| WorldError::Listen {
        what,
        address,
        source,
    }
}

/// A running world. It ends when dropped.
pub struct World {
    config: WorldConfig,
    clock: Clock,
    cloud: CloudServer,
    machines: Arc<Machines>,
    ingest: Ingest,
    key_file: Option<PathBuf>,
    /// Holds the block of addresses against other worlds.
    _claim: Option<TcpListener>,
}

impl World {
    /// Starts the cloud, the ingest and the machines. Warm instances are `running` with their services up, cold
    /// ones `stopped`; all carry the pool's tags.
    ///
    /// # Errors
    /// [`WorldError`]: usually an address that is in use.
    pub async fn start(config: WorldConfig) -> Result<Self, WorldError> {
        let clock = Clock::start();
        let (plan, claim) = config.addresses.plan()?;
        let (authorized, key_file) = authorized_key(&config).await?;
        let ingest = Ingest::start(plan.ingest, clock).map_err(listen_error("ingest", plan.ingest))?;
        let ssh = SshAccess {
            user: config.ssh_user.clone(),
            authorized,
        };
        let machines = Arc::new(Machines {
            template: template(&config, clock, ssh, ingest.server_url())?,
            by_instance: Mutex::default(),
            ghosts: Mutex::default(),
            runtime: Handle::current(),
        });
        let addresses = AddressRange::new(plan.first, plan.last);
        let model = Cloud::new(config.cloud, addresses, config.zones.clone(), config.seed);
        let apply = {
            let machines = Arc::clone(&machines);
            Box::new(move |effect| machines.apply(effect))
        };
        let cloud =
            CloudServer::start(plan.cloud, clock, model, apply).map_err(listen_error("cloud", plan.cloud))?;
        let world = Self {
            config,
            clock,
            cloud,
            machines,
            ingest,
            key_file,
            _claim: claim,
        };
        for number in 0..world.config.warm {
            world.place(number, true).await?;
        }
        for number in 0..world.config.cold {
            world.place(world.config.warm + number, false).await?;
        }
        Ok(world)
    }

    /// Adds an instance that has been there for long, with the pool's tags.
    async fn place(&self, number: u32, running: bool) -> Result<InstanceId, WorldError> {
        let tags = BTreeMap::from([
            ("Name".to_owned(), format!("sim-{:03}", number + 1)),
            (TAG_PROJECT.to_owned(), self.config.project.clone()),
            (TAG_MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
        ]);
        self.place_with(tags, running).await
    }

    /// Adds an instance that has been there for long, with these tags: a stranger's, for example.
    ///
    /// # Errors
    /// [`WorldError::Cloud`] when there is no address left.
    pub async fn place_with(
        &self,
        tags: BTreeMap<String, String>,
        running: bool,
    ) -> Result<InstanceId, WorldError> {
        let request = LaunchRequest {
            tags,
            ..LaunchRequest::default()
        };
        let placed = self.cloud.act(|cloud, now| {
            let id = cloud.place(request, running, now)?;
            let address = cloud.address(&id);
            Ok::<_, Refusal>((id, address))
        });
        let (id, address) = placed?;
        if let Some(address) = address
            && (running || self.config.dark_when_off)
        {
            let machine = self.machines.get_or_make(&id, address);
            if running {
                machine.power_on_long_ago();
            }
            machine.settled().await;
        }
        Ok(id)
    }

    /// Base address of the cloud's API.
    #[must_use]
    pub fn cloud_url(&self) -> String {
        format!("http://{}", self.cloud.address())
    }

    /// The venue's ingest: the witness of who was on air.
    #[must_use]
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

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

    /// The private key that may log in, if [`WorldConfig::ssh_key_dir`] asked for one.
    #[must_use]
    pub fn ssh_key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// Every instance, in any state, in the order of ids.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        self.cloud
            .inspect(|cloud| cloud.list(&BTreeMap::new(), None, usize::MAX))
    }

    /// One instance as the cloud would describe it now.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<Instance> {
        self.cloud.act(|cloud, _| cloud.describe(id).cloned())
    }

    /// The machine of an instance: none before its first start, or after its end.
    #[must_use]
    pub fn machine(&self, instance: &InstanceId) -> Option<MachineHandle> {
        self.machines.lock().get(instance).cloned()
    }

    /// Makes something go wrong with an instance or its machine, which is made for it if need be.
    ///
    /// # Errors
    /// [`WorldError::NoMachine`] for an instance that does not exist.
    pub fn fault(&self, instance: &InstanceId, fault: Fault) -> Result<(), WorldError> {
        if fault == Fault::AddressChanges {
            self.cloud
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
            self.cloud
                .act(|cloud, _| cloud.set_address_changes(instance, false))?;
        }
        self.existing(instance)?.heal(kind);
        Ok(())
    }

    fn existing(&self, instance: &InstanceId) -> Result<MachineHandle, WorldError> {
        let address = self.cloud.inspect(|cloud| cloud.address(instance));
        let address = address.ok_or_else(|| WorldError::NoMachine(instance.clone()))?;
        Ok(self.machines.get_or_make(instance, address))
    }

    /// Makes something go wrong with the cloud's API.
    pub fn cloud_fault(&self, fault: CloudFault) {
        self.cloud.fault(fault);
    }

    /// Mends everything that is wrong with the cloud's API.
    pub fn heal_cloud(&self) {
        self.cloud.heal();
    }

    /// Changes an instance's power behind the coordinator's back.
    ///
    /// # Errors
    /// [`WorldError::Cloud`] when its state does not allow it.
    pub fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<(), WorldError> {
        self.cloud.act(|cloud, now| cloud.change(instance, change, now))?;
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
        for machine in self.machines.lock().values() {
            machine.close();
        }
        let ghosts = self
            .machines
            .ghosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (_, ghost) in ghosts.iter() {
            ghost.close();
        }
        if let Some(exchange) = &self.machines.template.exchange {
            exchange.close();
        }
    }
}
