//! What a contract stands on: one of the two fronts, and the near side that belongs to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use understudy::domain::ids::InstanceId;
use understudy::domain::instance::{Instance, InstanceState, PowerChange};
use understudy::domain::studio::Secret;
use understudy::infra::cloud::Cloud;
use understudy::infra::cloud::rest::{Config, RestCloud};
use understudy::infra::obs::{self, Endpoint, Notice, Route, Session};
use understudy::infra::probe::{HttpProbe, Probe};
use understudy::infra::ssh::{self, RusshConnector};
use understudy::sim::direct::{self, KeepAlive};
use understudy::sim::model::fault::{CloudFault, Fault, FaultKind};
use understudy::sim::model::machine::{MachineTiming, MachineView, Ports};
use understudy::sim::model::studio::Studio;
use understudy::sim::world::{self, WorldConfig};

use crate::support::eventually::eventually;
use crate::support::ssh::pinning;
use crate::support::{BRIEF, PLENTY, studios};

/// Patience of the wire's client, short so that its time-outs are awaited; the direct one has the product's, which costs
/// nothing in paused time.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// What a world is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    warm: u32,
    cold: u32,
    machine: MachineTiming,
    keep_alive: Duration,
}

/// So many running machines and so many that are off.
pub fn shape(warm: u32, cold: u32) -> Shape {
    Shape {
        warm,
        cold,
        machine: MachineTiming::default(),
        keep_alive: Duration::from_secs(60),
    }
}

impl Shape {
    /// SSH sessions ask for a sign of life this often, and give up after three questions.
    pub fn asking_every_ms(mut self, ms: u64) -> Self {
        self.keep_alive = Duration::from_millis(ms);
        self
    }

    /// A started stream takes so long until it is on air.
    pub fn rising_after_ms(mut self, ms: u64) -> Self {
        self.machine.output.rise = Duration::from_millis(ms);
        self
    }
}

pub type Connected = (Arc<dyn Session>, mpsc::Receiver<Notice>);

enum Front {
    Wire(Box<world::World>),
    Direct(Box<direct::World>),
}

pub struct Ground {
    front: Front,
    pub cloud: Arc<dyn Cloud>,
    pub probe: Arc<dyn Probe>,
    pub obs: Arc<dyn obs::Connector>,
    ssh: Arc<dyn ssh::Connector>,
    /// Where the wire's keys are.
    _keys: Option<TempDir>,
}

impl Ground {
    pub async fn wire(shape: Shape) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let config = WorldConfig {
            machine: shape.machine,
            ssh_key_dir: Some(keys.path().to_owned()),
            ..WorldConfig::for_test(shape.warm, shape.cold)
        };
        let world = world::World::start(config).await.unwrap();
        let key = world.ssh_key_file().unwrap().to_owned();
        let login = ssh::Config {
            keep_alive_interval: shape.keep_alive,
            ..pinning("ubuntu", key, keys.path())
        };
        let config = Config {
            request_timeout: REQUEST_TIMEOUT,
            retry_delay: Duration::from_millis(10),
            ..Config::new(world.cloud_url(), "understudy-sim")
        };
        Self {
            cloud: Arc::new(RestCloud::new(config).unwrap()),
            probe: Arc::new(HttpProbe::new().unwrap()),
            obs: Arc::new(studios::connector()),
            ssh: Arc::new(RusshConnector::new(login)),
            _keys: Some(keys),
            front: Front::Wire(Box::new(world)),
        }
    }

    pub fn direct(shape: Shape) -> Self {
        let config = direct::WorldConfig {
            warm: shape.warm,
            cold: shape.cold,
            machine: shape.machine,
            keep_alive: KeepAlive {
                interval: shape.keep_alive,
                max: 3,
            },
            ..direct::WorldConfig::default()
        };
        let world = direct::World::start(config).unwrap();
        let parts = world.parts(&studios::VAULT);
        Self {
            cloud: parts.cloud,
            probe: parts.probe,
            obs: parts.obs,
            ssh: parts.ssh,
            _keys: None,
            front: Front::Direct(Box::new(world)),
        }
    }

    pub fn instances(&self) -> Vec<Instance> {
        match &self.front {
            Front::Wire(world) => world.instances(),
            Front::Direct(world) => world.instances(),
        }
    }

    /// The first instance in this state.
    pub fn first(&self, state: InstanceState) -> InstanceId {
        let mut instances = self.instances().into_iter();
        let found = instances.find(|instance| instance.state == state);
        found.unwrap().instance_id
    }

    pub async fn stranger(&self) {
        let tags = BTreeMap::from([("Name".to_owned(), "stranger".to_owned())]);
        match &self.front {
            Front::Wire(world) => drop(world.place_with(tags, true).await.unwrap()),
            Front::Direct(world) => drop(world.place_with(tags, true).unwrap()),
        }
    }

    pub async fn fault(&self, instance: &InstanceId, fault: Fault) {
        match &self.front {
            Front::Wire(world) => {
                world.fault(instance, fault).unwrap();
                world.machine(instance).unwrap().settled().await;
            }
            Front::Direct(world) => world.fault(instance, fault).unwrap(),
        }
    }

    pub async fn heal(&self, instance: &InstanceId, kind: FaultKind) {
        match &self.front {
            Front::Wire(world) => {
                world.heal(instance, kind).unwrap();
                world.machine(instance).unwrap().settled().await;
            }
            Front::Direct(world) => world.heal(instance, kind).unwrap(),
        }
    }

    pub fn cloud_fault(&self, fault: CloudFault) {
        match &self.front {
            Front::Wire(world) => world.cloud_fault(fault),
            Front::Direct(world) => world.cloud_fault(fault),
        }
    }

    pub fn heal_cloud(&self) {
        match &self.front {
            Front::Wire(world) => world.heal_cloud(),
            Front::Direct(world) => world.heal_cloud(),
        }
    }

    /// Behind everybody's back.
    pub fn change(&self, instance: &InstanceId, change: PowerChange) {
        match &self.front {
            Front::Wire(world) => world.change(instance, change).unwrap(),
            Front::Direct(world) => world.change(instance, change).unwrap(),
        }
    }

    pub fn has_machine(&self, instance: &InstanceId) -> bool {
        match &self.front {
            Front::Wire(world) => world.machine(instance).is_some(),
            Front::Direct(world) => world.machine(instance).is_some(),
        }
    }

    pub fn view(&self, instance: &InstanceId) -> MachineView {
        match &self.front {
            Front::Wire(world) => world.machine(instance).unwrap().view(),
            Front::Direct(world) => world.machine(instance).unwrap().view(),
        }
    }

    pub fn load_example_studio(&self, instance: &InstanceId, key: &str) {
        match &self.front {
            Front::Wire(world) => world.machine(instance).unwrap().load_example_studio(key),
            Front::Direct(world) => world.machine(instance).unwrap().load_example_studio(key),
        }
        .unwrap();
    }

    pub fn address(&self, instance: &InstanceId) -> Ipv4Addr {
        self.view(instance).address
    }

    pub fn status_at(&self, instance: &InstanceId) -> SocketAddr {
        (self.address(instance), Ports::default().status).into()
    }

    /// Waits until the cloud says so of the instance.
    pub async fn until(&self, instance: &InstanceId, state: InstanceState) {
        eventually(state.as_str(), PLENTY, async || {
            let seen = self.cloud.describe(instance).await.unwrap();
            (seen?.state == state).then_some(())
        })
        .await;
    }

    pub fn obs_endpoint(&self, instance: &InstanceId) -> Endpoint {
        Endpoint {
            address: (self.address(instance), Ports::default().obs).into(),
            route: Route::Direct,
            password: Some(Secret::new("simulated")),
            connect_deadline: PLENTY,
            call_deadline: PLENTY,
        }
    }

    pub async fn log_in(&self, instance: &InstanceId) -> Result<Arc<dyn ssh::Session>, ssh::Error> {
        self.log_in_within(instance, PLENTY).await
    }

    pub async fn log_in_within(
        &self,
        instance: &InstanceId,
        limit: Duration,
    ) -> Result<Arc<dyn ssh::Session>, ssh::Error> {
        let endpoint = ssh::Endpoint {
            address: (self.address(instance), Ports::default().ssh).into(),
            host: instance.to_string(),
            connect_deadline: limit,
        };
        self.ssh.connect(&endpoint).await
    }

    pub async fn connect(&self, instance: &InstanceId) -> Connected {
        self.obs.connect(&self.obs_endpoint(instance)).await.unwrap()
    }

    /// A session whose calls give up soon.
    pub async fn connect_hasty(&self, instance: &InstanceId) -> Connected {
        let hasty = Endpoint {
            call_deadline: BRIEF,
            ..self.obs_endpoint(instance)
        };
        self.obs.connect(&hasty).await.unwrap()
    }

    pub async fn refusal(&self, endpoint: &Endpoint) -> obs::Error {
        match self.obs.connect(endpoint).await {
            Ok(_) => panic!("connected"),
            Err(error) => error,
        }
    }

    /// Changes a studio as somebody sitting before it could.
    pub fn operate<T>(&self, instance: &InstanceId, change: impl FnOnce(&mut Studio) -> T) -> T {
        match &self.front {
            Front::Wire(world) => {
                let machine = world.machine(instance).unwrap();
                machine.operate(|studio, _| change(studio))
            }
            Front::Direct(world) => {
                let machine = world.machine(instance).unwrap();
                machine.operate(|studio, _| change(studio))
            }
        }
    }

    /// Waits until `holds` is true of the machine; `None` if the deadline comes first.
    pub async fn until_seen(
        &self,
        instance: &InstanceId,
        deadline: Duration,
        holds: impl Fn(&MachineView) -> bool,
    ) -> Option<MachineView> {
        match &self.front {
            Front::Wire(world) => world.machine(instance).unwrap().until(deadline, holds).await,
            Front::Direct(world) => world.machine(instance).unwrap().until(deadline, holds).await,
        }
    }

    pub fn publishers(&self, key: &str) -> Vec<Ipv4Addr> {
        match &self.front {
            Front::Wire(world) => world.ingest().publishers(key),
            Front::Direct(world) => world.ingest().publishers(key),
        }
    }

    pub fn ingest_bytes(&self, key: &str) -> u64 {
        match &self.front {
            Front::Wire(world) => world.ingest().bytes(key),
            Front::Direct(world) => world.ingest().bytes(key),
        }
    }

    pub fn ingest_address(&self) -> SocketAddr {
        match &self.front {
            Front::Wire(world) => world.ingest().address(),
            Front::Direct(world) => world.ingest().address(),
        }
    }

    pub async fn take_ingest_down(&self) {
        match &self.front {
            Front::Wire(world) => world.ingest().take_down().await,
            Front::Direct(world) => world.ingest().take_down(),
        }
    }

    pub async fn bring_ingest_back(&self) {
        match &self.front {
            Front::Wire(world) => world.ingest().bring_back().await.unwrap(),
            Front::Direct(world) => world.ingest().bring_back(),
        }
    }

    /// Waits until somebody publishes the key, or nobody does.
    pub async fn until_published(&self, key: &str, by_somebody: bool) {
        eventually("publishers", PLENTY, async || {
            (self.publishers(key).is_empty() != by_somebody).then_some(())
        })
        .await;
    }
}
