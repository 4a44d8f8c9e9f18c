//! What a contract stands on: one of the two fronts, and the near side that belongs to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use understudy::domain::ids::InstanceId;
use understudy::domain::instance::{Instance, InstanceState, PowerChange};
use understudy::infra::cloud::Cloud;
use understudy::infra::cloud::rest::{Config, RestCloud};
use understudy::infra::probe::{HttpProbe, Probe};
use understudy::sim::direct;
use understudy::sim::model::fault::{CloudFault, Fault, FaultKind};
use understudy::sim::model::machine::{MachineView, Ports};
use understudy::sim::world::{self, WorldConfig};

use crate::support::PLENTY;
use crate::support::eventually::eventually;

/// Patience of the wire's client, short so that its time-outs are awaited; the direct one has the product's, which costs
/// nothing in paused time.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

enum Front {
    Wire(Box<world::World>),
    Direct(Box<direct::World>),
}

pub struct Ground {
    front: Front,
    pub cloud: Arc<dyn Cloud>,
    pub probe: Arc<dyn Probe>,
}

impl Ground {
    pub async fn wire(warm: u32, cold: u32) -> Self {
        let world = world::World::start(WorldConfig::for_test(warm, cold))
            .await
            .unwrap();
        let config = Config {
            request_timeout: REQUEST_TIMEOUT,
            retry_delay: Duration::from_millis(10),
            ..Config::new(world.cloud_url(), "understudy-sim")
        };
        Self {
            cloud: Arc::new(RestCloud::new(config).unwrap()),
            probe: Arc::new(HttpProbe::new().unwrap()),
            front: Front::Wire(Box::new(world)),
        }
    }

    pub fn direct(warm: u32, cold: u32) -> Self {
        let config = direct::WorldConfig {
            warm,
            cold,
            ..direct::WorldConfig::default()
        };
        let world = direct::World::start(config).unwrap();
        let parts = world.parts();
        Self {
            cloud: parts.cloud,
            probe: parts.probe,
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
}
