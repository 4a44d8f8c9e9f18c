//! The tree on the simulated world, with a way to each of its actors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{ActorCell, ActorId};
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use understudy::actors::clock::Clock;
use understudy::actors::context;
use understudy::actors::coordinator::{Assign, Coordinator};
use understudy::actors::news::{Item, Level};
use understudy::actors::root::Node;
use understudy::actors::supervisor::Spec;
use understudy::actors::task;
use understudy::assembly;
use understudy::config::{self, Config};
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::restart::Restart;
use understudy::domain::show::Phase;
use understudy::domain::state::State;
use understudy::domain::studio::Secret;
use understudy::domain::vm::Status;
use understudy::infra::cloud::guarded::Guarded;
use understudy::infra::cloud::{MANAGED_BY, TAG_MANAGED_BY, TAG_PROJECT};
use understudy::infra::ledger::{Ledger, MemoryJournal};
use understudy::infra::template::Templates;
use understudy::infra::vault::Vault;
use understudy::sim::direct::{World, WorldConfig};

use crate::doubles::{Buggy, Switch};

const KEY: &str = "key-gala";
/// Limit of the guard around the cloud, as in production.
const CLOUD_LIMIT: Duration = Duration::from_secs(105);
/// In virtual time.
const SOON: Duration = Duration::from_secs(600);
/// Captures and cleanings with which a show begins are over by then.
const SETTLED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// Defects that can be switched on.
#[derive(Clone, Default)]
pub struct Switches {
    pub cloud: Switch,
    pub probe: Switch,
    pub obs: Switch,
    pub ssh: Switch,
}

pub struct Tree {
    pub world: World,
    pub node: Node,
    pub coordinator: Coordinator,
    pub journal: MemoryJournal,
    pub switches: Switches,
    pub gateway: Server,
    pub show: ShowId,
    pub vm: VmId,
    news: Receiver<Item>,
    root: ActorCell,
    _dir: tempfile::TempDir,
}

impl Tree {
    /// Three VMs, and a show on air on one of them.
    pub async fn with_a_show() -> Self {
        let world = World::start(WorldConfig {
            warm: 3,
            cold: 0,
            ..WorldConfig::default()
        })
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let switches = Switches::default();
        let options = options(&world);
        let surroundings = surroundings(&world, &switches, &dir);
        let root = Arc::new(Mutex::new(None));
        let clock = Clock::starting_at(world.clock().now());
        let gateway = Server::default();
        let spec = gateway.spec(Arc::clone(&root));
        let journal = MemoryJournal::default();
        let ledger = Ledger::open_in_memory(&journal).unwrap();
        let node = Node::start(clock, ledger, options, surroundings, |_| Some(spec))
            .await
            .unwrap();
        let coordinator = node.coordinator();
        let root = root
            .lock()
            .unwrap()
            .clone()
            .expect("the gateway was started by the root");
        let mut tree = Self {
            news: coordinator.news(),
            show: ShowId::new("gala").unwrap(),
            vm: VmId::new("none").unwrap(),
            world,
            node,
            coordinator,
            journal,
            switches,
            gateway,
            root,
            _dir: dir,
        };
        tree.go_on_air().await;
        // What belongs to the beginning is over: captures, cleanings.
        tokio::time::sleep(SETTLED).await;
        tree.news = tree.coordinator.news();
        tree
    }

    async fn go_on_air(&mut self) {
        self.until("three VMs available", |state| {
            (state.count(Status::Available) == 3).then_some(())
        })
        .await;
        let assigned = self
            .coordinator
            .assign(self.show.clone(), Assign::default())
            .await
            .unwrap();
        self.vm = assigned.vm;
        let state = self.coordinator.state();
        let instance = state.vm(&self.vm).unwrap().instance_id().clone();
        self.world
            .machine(&instance)
            .unwrap()
            .load_example_studio(KEY)
            .unwrap();
        let key = Secret::new(KEY);
        self.until("the studio captured", |_| {
            self.coordinator.streams_under(&self.show, &key).then_some(())
        })
        .await;
        self.coordinator
            .start_show(self.show.clone(), None)
            .await
            .unwrap();
        self.until("on air", |state| {
            (state.show(&self.show)?.phase == Phase::OnAir).then_some(())
        })
        .await;
    }

    /// Waits in virtual time.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look(&self.coordinator.state()) {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(SOON, found)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// Another instance comes to the pool, running.
    pub fn place_another(&self) {
        let tags = [
            ("Name", "another"),
            (TAG_PROJECT, &self.world.config().project),
            (TAG_MANAGED_BY, MANAGED_BY),
        ];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.world.place_with(tags.into(), true).unwrap();
    }

    pub fn root(&self) -> ActorCell {
        self.root.clone()
    }

    /// A VM that no show has.
    pub fn spare(&self) -> VmId {
        let state = self.coordinator.state();
        let mut free = state.vms().filter(|vm| vm.is_free());
        free.next().expect("one of three is free").id.clone()
    }

    /// The parts of the tree in the order in which they started: stalls, machines, shows, executions, pool, cloud, gateway.
    pub fn parts(&self) -> Vec<ActorCell> {
        children(&self.root)
    }

    /// Everybody below the root.
    pub fn everybody(&self) -> BTreeSet<ActorId> {
        let mut found = BTreeSet::new();
        collect(&self.root, &mut found);
        found
    }

    /// The show is on air where it was, and its bytes never paused.
    pub fn is_untouched(&self) -> bool {
        let state = self.coordinator.state();
        let show = state.show(&self.show).expect("it is remembered");
        let mut stretches = self.world.ingest().stretches();
        stretches.retain(|stretch| stretch.key == KEY);
        show.phase == Phase::OnAir
            && show.vm.as_ref() == Some(&self.vm)
            && show.epoch.0 == 1
            && stretches.len() == 1
            && self.world.ingest().publishers(KEY).len() == 1
    }

    /// Titles of the alerts above information since the last look.
    pub fn alerts(&mut self) -> Vec<String> {
        let mut titles = Vec::new();
        while let Ok(item) = self.news.try_recv() {
            match item {
                Item::Alert(alert) if alert.level != Level::Info => titles.push(alert.title),
                _ => {}
            }
        }
        titles.dedup();
        titles
    }
}

/// In the order in which they started.
pub fn children(of: &ActorCell) -> Vec<ActorCell> {
    let mut children = of.get_children();
    children.sort_by_key(|cell| cell.get_id().pid());
    children
}

pub fn collect(below: &ActorCell, found: &mut BTreeSet<ActorId>) {
    for child in below.get_children() {
        found.insert(child.get_id());
        collect(&child, found);
    }
}

/// Stands where the gateway does: a task that goes on until it is told to end, and serves nobody.
#[derive(Clone, Default)]
pub struct Server {
    told: Arc<Notify>,
    panics: Arc<AtomicBool>,
}

impl Server {
    /// It panics now.
    pub fn panic(&self) {
        self.panics.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }

    /// It ends now, which is an error.
    pub fn end(&self) {
        self.told.notify_one();
    }

    async fn serve(self) {
        self.told.notified().await;
        assert!(
            !self.panics.swap(false, Ordering::Relaxed),
            "a server with a defect"
        );
    }

    /// How it is started; says who did.
    fn spec(&self, root: Arc<Mutex<Option<ActorCell>>>) -> Spec {
        let server = self.clone();
        let task = task::spec(Restart::Permanent, move || Box::pin(server.clone().serve()));
        let start = Arc::clone(&task.start);
        Spec {
            start: Arc::new(move |supervisor| {
                *root.lock().unwrap() = Some(supervisor.clone());
                start(supervisor)
            }),
            ..task
        }
    }
}

fn options(world: &World) -> context::Options {
    let sim = world.config();
    let mut config = Config::default();
    config.pool.project.clone_from(&sim.project);
    config.pool.warm_count = 0;
    config.cloud.address = config::Address::Private;
    config.vm.service_port = sim.ports.status;
    config.vm.obs_port = sim.ports.obs;
    config.vm.ssh_port = sim.ports.ssh;
    config.obs.password.clone_from(&sim.obs_password);
    let operations = config::operations::load(&config).unwrap();
    assembly::options(&config, operations)
}

fn surroundings(world: &World, switches: &Switches, dir: &tempfile::TempDir) -> context::World {
    let vault = Arc::new(Vault::open(&dir.path().join("secrets.key")).unwrap());
    let parts = world.parts(&vault);
    let cloud = Arc::new(Buggy {
        inner: parts.cloud,
        switch: switches.cloud.clone(),
    });
    context::World {
        cloud: Arc::new(Guarded::new(cloud, CLOUD_LIMIT)),
        probe: Arc::new(Buggy {
            inner: parts.probe,
            switch: switches.probe.clone(),
        }),
        obs: Some(Arc::new(Buggy {
            inner: parts.obs,
            switch: switches.obs.clone(),
        })),
        ssh: Some(Arc::new(Buggy {
            inner: parts.ssh,
            switch: switches.ssh.clone(),
        })),
        archive: None,
        vault,
        templates: Arc::new(Templates::load(None).unwrap()),
    }
}
