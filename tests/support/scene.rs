//! The tree as a whole on a simulated stage: set, watched and broken in a line each.

use std::time::Duration;

use tokio::sync::broadcast::{Receiver, error::RecvError};
use understudy::actors::coordinator::Coordinator;
use understudy::actors::news::{Alert, Item};
use understudy::actors::root::Node;
use understudy::config::Config;
use understudy::domain::ids::{InstanceId, ShowId, VmId};
use understudy::domain::show::Phase;
use understudy::domain::state::State;
use understudy::rehearsal::stage::{Producer, Setting, Stage};
use understudy::sim::model::fault::Fault;
use understudy::sim::wire::machine::MachineHandle;
use understudy::sim::world::WorldConfig;

/// Longest time for anything that must happen, on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The real tree, over a simulated world.
pub struct Scene {
    pub stage: Stage,
    pub node: Node,
}

impl Scene {
    /// A pool with VMs that are ready and VMs that are off, and a configuration changed for the test.
    pub async fn set(warm: u32, cold: u32, change: impl FnOnce(&mut Config)) -> Self {
        Self::world(WorldConfig::for_test(warm, cold), warm, change).await
    }

    /// As [`Scene::set`], in a world of one's own.
    pub async fn world(world: WorldConfig, warm: u32, change: impl FnOnce(&mut Config)) -> Self {
        let mut base = Config::default();
        base.pool.warm_count = 0;
        base.pool.max_instances = 20;
        base.pool.max_concurrent = 20;
        base.pool.health_check_interval = Duration::from_millis(500);
        base.cloud.sweep_interval = Duration::from_millis(300);
        base.supervision.backoff_initial = Duration::from_millis(10);
        change(&mut base);
        // Both hold the whole configuration.
        let stage = Box::pin(Stage::set(Setting { world, base })).await.unwrap();
        let node = Box::pin(stage.coordinator(|_| None)).await.unwrap();
        let scene = Self { stage, node };
        scene
            .producer()
            .until_available(warm as usize, SOON)
            .await
            .unwrap();
        scene
    }

    /// With another coordinator, which has seen nothing of what its predecessor's ledger tells.
    pub async fn restarted(self) -> Self {
        let Self { stage, node } = self;
        node.stop().await.unwrap();
        let node = Box::pin(stage.coordinator(|_| None)).await.unwrap();
        Self { stage, node }
    }

    pub fn coordinator(&self) -> Coordinator {
        self.node.coordinator()
    }

    pub fn producer(&self) -> Producer {
        Producer {
            coordinator: self.coordinator(),
        }
    }

    pub async fn until<T>(&self, what: &str, look: impl FnMut(&State) -> Option<T>) -> T {
        self.producer().until(what, SOON, look).await.unwrap()
    }

    pub async fn on_air(&self, name: &str) -> (ShowId, VmId) {
        let show = ShowId::new(name).unwrap();
        let vm = self.producer().go_on_air(&self.stage, &show, SOON).await.unwrap();
        (show, vm)
    }

    pub fn instance(&self, vm: &VmId) -> InstanceId {
        self.producer().instance_of(vm).unwrap()
    }

    /// Another VM of the pool.
    pub fn other_than(&self, vm: &VmId) -> VmId {
        let state = self.coordinator().state();
        let other = state.vms().find(|other| other.id != *vm).unwrap();
        other.id.clone()
    }

    /// The simulated machine behind a VM.
    pub fn machine(&self, vm: &VmId) -> MachineHandle {
        self.stage.machine(&self.instance(vm)).unwrap()
    }

    pub fn crash_studio_of(&self, vm: &VmId) {
        let instance = self.instance(vm);
        self.stage.world.fault(&instance, Fault::StudioCrash).unwrap();
    }

    /// Waits until the show is on air after so many moves, and says on which VM.
    pub async fn moved(&self, show: &ShowId, moves: usize) -> VmId {
        self.until("the show on air after its move", |state| {
            let show = state.show(show)?;
            (show.phase == Phase::OnAir && show.records.len() == moves).then(|| show.vm.clone())?
        })
        .await
    }
}

/// The next alert of these.
pub async fn alert(news: &mut Receiver<Item>, what: &str, is_it: impl Fn(&Alert) -> bool) -> Alert {
    let told = async {
        loop {
            match news.recv().await {
                Ok(Item::Alert(alert)) if is_it(&alert) => return alert,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("there is nobody to tell of {what}"),
            }
        }
    };
    let told = tokio::time::timeout(SOON, told).await;
    told.unwrap_or_else(|_| panic!("nobody was told of {what}"))
}
