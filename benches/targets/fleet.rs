//! Machines that are nothing but memory: a cloud and its show servers behind the adapters' traits.
//!
//! What is measured with them is the coordinator. The simulator's machines would speak the real protocols, but
//! their servers would take more of the two cores than the coordinator does. There is no studio and no shell
//! on them; both would add conversations that no command waits for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use understudy::actors::clock::Clock;
use understudy::actors::context::World;
use understudy::actors::coordinator::Coordinator;
use understudy::actors::root::Node;
use understudy::actors::supervisor::Spec;
use understudy::assembly;
use understudy::config::{Address, Auth, Config};
use understudy::domain::event::Event;
use understudy::domain::ids::{InstanceId, ShowId, VmId};
use understudy::domain::instance::{Instance, InstanceState, Launch, PowerChange};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{self, Status};
use understudy::infra::cloud::{Cloud, Error as CloudError, ErrorKind, StateChange};
use understudy::infra::ledger::{Ledger, Options};
use understudy::infra::probe::{Error as ProbeError, Probe, ServerStatus};
use understudy::infra::template::Templates;
use understudy::infra::vault::Vault;

/// The machines count their addresses from here; nothing ever connects to one.
const FIRST: u32 = u32::from_be_bytes([127, 88, 0, 0]);
/// Groups of events in one commit while a journal is being prepared.
const CHUNK: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// A number of machines that are up and stay so.
pub struct Fleet {
    instances: Vec<Instance>,
    vms: Vec<VmId>,
    /// Microseconds from the beginning to each machine's last probe; 0 if there was none.
    probed_us: Vec<AtomicU64>,
    began: Instant,
    probe_interval: Duration,
    lateness: Mutex<Option<Vec<Duration>>>,
}

impl Fleet {
    pub fn new(size: usize, config: &Config) -> Result<Arc<Self>> {
        let instances: Vec<Instance> = (0..size).map(instance).collect::<Result<_>>()?;
        let vms = instances
            .iter()
            .map(|instance| VmId::for_instance(&instance.instance_id, 8))
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            instances,
            vms,
            probed_us: (0..size).map(|_| AtomicU64::new(0)).collect(),
            began: Instant::now(),
            probe_interval: config.pool.health_check_interval,
            lateness: Mutex::new(None),
        }))
    }

    pub fn vms(&self) -> &[VmId] {
        &self.vms
    }

    fn world(self: &Arc<Self>) -> World {
        World {
            cloud: Arc::clone(self) as Arc<dyn Cloud>,
            probe: Arc::clone(self) as Arc<dyn Probe>,
            obs: None,
            ssh: None,
            archive: None,
            templates: Arc::new(Templates::load(None).expect("the built-in template is sound")),
            vault: Arc::new(Vault::ephemeral().expect("random bytes for a key")),
        }
    }

    /// A tree over these machines.
    pub async fn node(
        self: &Arc<Self>,
        config: &Config,
        ledger: Ledger,
        gateway: impl FnOnce(Coordinator) -> Option<Spec>,
    ) -> Result<Node> {
        let options = assembly::options(config, understudy::config::operations::load(config).unwrap());
        Ok(Node::start(Clock::system(), ledger, options, self.world(), gateway).await?)
    }

    /// Writes into a journal that every machine has been adopted and is ready.
    pub async fn move_in(&self, ledger: &Ledger) -> Result<()> {
        let moved_in = self.instances.iter().zip(&self.vms).map(|(instance, vm)| {
            let instance = instance.clone();
            [
                Event::vm(vm, vm::Event::Adopted { instance }),
                Event::vm(vm, vm::Event::Ready),
            ]
        });
        let events: Vec<Event> = moved_in.flatten().collect();
        for chunk in events.chunks(CHUNK) {
            ledger.commit(Timestamp(1), chunk.to_vec()).await?;
        }
        Ok(())
    }

    /// Begins to note how late each probe comes, or ends that and returns what was noted since.
    pub fn note_lateness(&self, on: bool) -> Vec<Duration> {
        let next = on.then(Vec::new);
        let mut noted = self.lateness.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *noted, next).unwrap_or_default()
    }

    /// How many machines should have been probed again longer ago than this.
    pub fn overdue(&self, by: Duration) -> usize {
        let due = self.elapsed_us().saturating_sub(micros(self.probe_interval + by));
        let probed = self.probed_us.iter().map(|probed| probed.load(Ordering::Relaxed));
        probed.filter(|probed| *probed < due).count()
    }

    fn elapsed_us(&self) -> u64 {
        micros(self.began.elapsed())
    }

    fn probed(&self, number: usize) {
        let Some(probed_us) = self.probed_us.get(number) else {
            return;
        };
        let us = self.elapsed_us().max(1);
        let before = probed_us.swap(us, Ordering::Relaxed);
        if before != 0
            && let Some(noted) = self
                .lateness
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
        {
            // Two probes at the same moment may come here in either order.
            let apart = Duration::from_micros(us.saturating_sub(before));
            noted.push(apart.saturating_sub(self.probe_interval));
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn instance(number: usize) -> Result<Instance> {
    let address = Ipv4Addr::from(FIRST + u32::try_from(number)?);
    Ok(Instance {
        instance_id: InstanceId::new(format!("i-{number:017x}"))?,
        name: Some(format!("pool-{number}")),
        state: InstanceState::Running,
        public_ip: None,
        private_ip: Some(address.into()),
        public_dns: None,
        private_dns: Some(format!("ip-{number}.internal")),
        instance_type: Some("g4dn.xlarge".to_owned()),
        launch_time: Some(Timestamp(1)),
        availability_zone: Some(format!("eu-central-1{}", ["a", "b", "c"][number % 3])),
        subnet_id: Some("subnet-0".to_owned()),
        vpc_id: Some("vpc-0".to_owned()),
        tags: BTreeMap::from(
            [
                ("Project", "show"),
                ("ManagedBy", "vm-pool-manager"),
                ("Name", "pool"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        ),
    })
}

fn refused(call: &'static str) -> CloudError {
    CloudError {
        call,
        kind: ErrorKind::Denied,
        code: None,
        detail: Some("these machines stay as they are".to_owned()),
    }
}

#[async_trait]
impl Cloud for Fleet {
    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        Ok(self.instances.clone())
    }

    async fn describe(&self, id: &InstanceId) -> Result<Option<Instance>, CloudError> {
        let found = self.instances.iter().find(|known| known.instance_id == *id);
        Ok(found.cloned())
    }

    async fn launch(&self, _: &Launch) -> Result<Instance, CloudError> {
        Err(refused("RunInstances"))
    }

    async fn change(&self, _: &InstanceId, _: PowerChange) -> Result<StateChange, CloudError> {
        Err(refused("ModifyInstances"))
    }

    async fn tag(&self, _: &InstanceId, _: &[(String, String)]) -> Result<(), CloudError> {
        Ok(())
    }
}

#[async_trait]
impl Probe for Fleet {
    async fn status(
        &self,
        server: SocketAddr,
        _: Duration,
        _: Option<Duration>,
    ) -> Result<ServerStatus, ProbeError> {
        if let IpAddr::V4(address) = server.ip() {
            self.probed(u32::from(address).wrapping_sub(FIRST) as usize);
        }
        Ok(ServerStatus {
            obs_connected: Some(true),
            obs_streaming: Some(false),
            obs_recording: Some(false),
            obs_scene: Some("Scene".to_owned()),
            uptime_s: Some(3_600.0),
            version: Some("1.0.0".to_owned()),
            response_time: Duration::from_millis(1),
        })
    }

    async fn activate(&self, _: SocketAddr, _: Option<&ShowId>, _: Duration) -> Result<(), ProbeError> {
        Ok(())
    }
}

/// The usual configuration for a pool of this size, all of which may have a show at once, served on loopback.
pub fn config(size: usize) -> Result<Config> {
    let mut config = Config::default();
    config.pool.max_instances = u32::try_from(size)?;
    config.pool.max_concurrent = config.pool.max_instances;
    // Those that were moved in have been idle for an age; to be told to stop, all at once, would be a load of its own.
    config.pool.idle_timeout_minutes = 0.0;
    config.cloud.address = Address::Private;
    config.server.auth = Auth::Open;
    config.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(config)
}

/// Opens or creates the journal in this folder, with the usual limits.
pub async fn ledger(folder: &Path) -> Result<Ledger> {
    let path = folder.join("ledger.db");
    let opened = tokio::task::spawn_blocking(move || Ledger::open(Options::new(path))).await;
    Ok(opened??)
}

/// Waits until so many VMs are available.
pub async fn until_available(coordinator: &Coordinator, count: usize) -> Result<()> {
    let wait = async {
        while coordinator.state().count(Status::Available) < count {
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.with_context(|| format!("{count} VMs were not available within {} s", PATIENCE.as_secs()))
}
