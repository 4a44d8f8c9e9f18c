//! The pool against a model of it: so many VMs of each kind, and which shows have one.
//!
//! The model knows no machines, no time and no cloud. The tree it is compared with has all of them, simulated, and is given
//! the time to come to rest after each command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;
use understudy::actors::clock::Clock;
use understudy::actors::context;
use understudy::actors::coordinator::{Assign, CommandError, Coordinator, Release};
use understudy::actors::root::Node;
use understudy::assembly;
use understudy::config::{self, Address, Config};
use understudy::domain::ids::{InstanceId, ShowId, VmId};
use understudy::domain::pool::{Denied, Settings};
use understudy::domain::vm::Status;
use understudy::infra::ledger::Ledger;
use understudy::infra::template::Templates;
use understudy::infra::vault::Vault;
use understudy::sim::direct::{World, WorldConfig};
use understudy::sim::model::fault::{Fault, FaultKind};

/// Shows there are in all.
const SHOWS: u8 = 5;
/// Shows that may have a VM at the same time.
const LIMIT: usize = 4;
/// Virtual time in which everything comes to rest.
const REST: Duration = Duration::from_secs(15 * 60);

/// How many VMs there are of each kind, and who has one.
#[derive(Debug, Clone, Default)]
struct Pool {
    available: usize,
    stopped: usize,
    maintained: usize,
    failed: usize,
    shows: BTreeSet<u8>,
}

#[derive(Debug, Clone)]
enum Command {
    Assign(u8),
    Release(u8),
    Start,
    Stop,
    /// The VM of a show.
    StopTaken(u8),
    Maintain,
    EndMaintenance,
    /// A VM that is available drops off the network.
    Fail,
    Heal,
}

/// What a command is answered.
#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    /// With a VM that is ready, or one that is to be.
    Given {
        ready: bool,
    },
    HasOne,
    TooManyShows,
    Exhausted,
    Taken,
    Other(String),
}

impl Pool {
    /// What the command is answered, and does.
    fn take(&mut self, command: &Command) -> Answer {
        match command {
            Command::Assign(show) if self.shows.contains(show) => return Answer::HasOne,
            Command::Assign(_) if self.shows.len() >= LIMIT => return Answer::TooManyShows,
            Command::Assign(show) if self.available > 0 => {
                self.available -= 1;
                self.shows.insert(*show);
                return Answer::Given { ready: true };
            }
            Command::Assign(show) if self.stopped > 0 => {
                self.stopped -= 1;
                self.shows.insert(*show);
                return Answer::Given { ready: false };
            }
            Command::Assign(_) => return Answer::Exhausted,
            Command::Release(show) => self.available += usize::from(self.shows.remove(show)),
            Command::StopTaken(_) => return Answer::Taken,
            Command::Start => (self.stopped, self.available) = (self.stopped - 1, self.available + 1),
            Command::Stop => (self.available, self.stopped) = (self.available - 1, self.stopped + 1),
            Command::Maintain => {
                (self.available, self.maintained) = (self.available - 1, self.maintained + 1);
            }
            Command::EndMaintenance => {
                (self.maintained, self.available) = (self.maintained - 1, self.available + 1);
            }
            Command::Fail => (self.available, self.failed) = (self.available - 1, self.failed + 1),
            Command::Heal => (self.failed, self.available) = (self.failed - 1, self.available + 1),
        }
        Answer::Done
    }

    fn counts(&self) -> BTreeMap<Status, usize> {
        let counts = [
            (Status::Available, self.available),
            (Status::Stopped, self.stopped),
            (Status::Maintenance, self.maintained),
            (Status::Error, self.failed),
            (Status::Assigned, self.shows.len()),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

impl ReferenceStateMachine for Pool {
    type State = Self;
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Self> {
        let pool = (1..4_usize, 0..3_usize).prop_map(|(available, stopped)| Self {
            available,
            stopped,
            ..Self::default()
        });
        pool.boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Command> {
        let show = || 0..SHOWS;
        prop_oneof![
            6 => show().prop_map(Command::Assign),
            3 => show().prop_map(Command::Release),
            1 => Just(Command::Start),
            1 => Just(Command::Stop),
            1 => show().prop_map(Command::StopTaken),
            1 => Just(Command::Maintain),
            1 => Just(Command::EndMaintenance),
            1 => Just(Command::Fail),
            1 => Just(Command::Heal),
        ]
        .boxed()
    }

    fn preconditions(pool: &Self, command: &Command) -> bool {
        match command {
            Command::Assign(_) | Command::Release(_) => true,
            Command::StopTaken(show) => pool.shows.contains(show),
            Command::Start => pool.stopped > 0,
            Command::Stop | Command::Maintain | Command::Fail => pool.available > 0,
            Command::EndMaintenance => pool.maintained > 0,
            Command::Heal => pool.failed > 0,
        }
    }

    fn apply(mut pool: Self, command: &Command) -> Self {
        pool.take(command);
        pool
    }
}

/// The tree over a simulated world, in paused time.
struct Tree {
    coordinator: Coordinator,
    world: World,
    failed: Vec<InstanceId>,
    _node: Node,
    /// What the model says now, to know what it answers next.
    model: Pool,
    /// Dropped last: everything above runs on it.
    runtime: Runtime,
}

fn show_id(show: u8) -> ShowId {
    ShowId::new(format!("show-{show}")).unwrap()
}

fn answer<T>(answered: Result<T, CommandError>, done: impl FnOnce(T) -> Answer) -> Answer {
    match answered {
        Ok(value) => done(value),
        Err(CommandError::AlreadyAssigned { .. }) => Answer::HasOne,
        Err(CommandError::Denied(Denied::MaxConcurrent { .. })) => Answer::TooManyShows,
        Err(CommandError::Denied(Denied::Exhausted)) => Answer::Exhausted,
        Err(CommandError::Occupied { .. }) => Answer::Taken,
        Err(error) => Answer::Other(error.to_string()),
    }
}

async fn begin(pool: &Pool) -> (World, Node) {
    let world = World::start(WorldConfig {
        warm: u32::try_from(pool.available).unwrap(),
        cold: u32::try_from(pool.stopped).unwrap(),
        ..WorldConfig::default()
    })
    .unwrap();
    let mut config = Config::default();
    config.pool.project.clone_from(&world.config().project);
    config.cloud.address = Address::Private;
    config.vm.service_port = world.config().ports.status;
    config.vm.obs_port = world.config().ports.obs;
    config.vm.ssh_port = world.config().ports.ssh;
    config.obs.password.clone_from(&world.config().obs_password);
    let catalogue = config::operations::load(&config).unwrap();
    let mut options = assembly::options(&config, catalogue);
    options.settings = Settings {
        warm_count: 0,
        max_concurrent: u32::try_from(LIMIT).unwrap(),
        idle_timeout: None,
        ..options.settings
    };
    let vault = Arc::new(Vault::ephemeral().unwrap());
    let parts = world.parts(&vault);
    let outside = context::World {
        cloud: parts.cloud,
        probe: parts.probe,
        obs: Some(parts.obs),
        ssh: Some(parts.ssh),
        archive: None,
        vault,
        templates: Arc::new(Templates::load(None).unwrap()),
    };
    let clock = Clock::starting_at(world.clock().now());
    let node = Node::start(clock, Ledger::in_memory(), options, outside, |_| None)
        .await
        .unwrap();
    (world, node)
}

impl Tree {
    fn some(&self, status: Status) -> VmId {
        let state = self.coordinator.state();
        let vm = state.with_status(status).next();
        vm.unwrap_or_else(|| panic!("no VM is {status}")).id.clone()
    }

    async fn carry_out(&mut self, command: &Command) -> Answer {
        let coordinator = self.coordinator.clone();
        let done = |_| Answer::Done;
        match command {
            Command::Assign(show) => {
                let assigned = coordinator.assign(show_id(*show), Assign::default()).await;
                answer(assigned, |assigned| Answer::Given {
                    ready: assigned.ready,
                })
            }
            Command::Release(show) => {
                let released = coordinator.release(show_id(*show), Release::default()).await;
                answer(released, |_| Answer::Done)
            }
            Command::Start => answer(coordinator.start_vm(self.some(Status::Stopped)).await, |_| {
                Answer::Done
            }),
            Command::Stop => answer(coordinator.stop_vm(self.some(Status::Available)).await, |_| {
                Answer::Done
            }),
            Command::StopTaken(show) => {
                let vm = coordinator
                    .state()
                    .vm_of_show(&show_id(*show))
                    .unwrap()
                    .id
                    .clone();
                answer(coordinator.stop_vm(vm).await, |_| Answer::Done)
            }
            Command::Maintain => answer(
                coordinator
                    .maintenance(self.some(Status::Available), true, None)
                    .await,
                done,
            ),
            Command::EndMaintenance => answer(
                coordinator
                    .maintenance(self.some(Status::Maintenance), false, None)
                    .await,
                done,
            ),
            Command::Fail => {
                let state = coordinator.state();
                let instance = state
                    .vm(&self.some(Status::Available))
                    .unwrap()
                    .instance_id()
                    .clone();
                self.world.fault(&instance, Fault::Blackhole).unwrap();
                self.failed.push(instance);
                Answer::Done
            }
            Command::Heal => {
                let instance = self.failed.remove(0);
                self.world.heal(&instance, FaultKind::Blackhole).unwrap();
                Answer::Done
            }
        }
    }

    fn counts(&self) -> BTreeMap<Status, usize> {
        let state = self.coordinator.state();
        let counts = Status::ALL
            .into_iter()
            .map(|status| (status, state.count(status)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Waits until there are as many of each kind as the model says.
    async fn come_to_rest(&self, command: &str) {
        let expected = self.model.counts();
        let rest = async {
            while self.counts() != expected {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let rested = tokio::time::timeout(REST, rest).await;
        assert!(
            rested.is_ok(),
            "after {command}: {:?}, and the model says {expected:?}",
            self.counts()
        );
    }
}

impl StateMachineTest for Tree {
    type SystemUnderTest = Self;
    type Reference = Pool;

    fn init_test(pool: &Pool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (world, node) = runtime.block_on(begin(pool));
        let tree = Self {
            coordinator: node.coordinator(),
            world,
            failed: Vec::new(),
            _node: node,
            model: pool.clone(),
            runtime,
        };
        tree.runtime.block_on(tree.come_to_rest("the start"));
        tree
    }

    fn apply(mut tree: Self, _: &Pool, command: Command) -> Self {
        let expected = tree.model.take(&command);
        let handle = tree.runtime.handle().clone();
        let _on_it = handle.enter();
        let told = format!("{command:?}");
        let runtime = std::mem::replace(&mut tree.runtime, idle());
        let answered = runtime.block_on(tree.carry_out(&command));
        assert_eq!(answered, expected, "{told}");
        runtime.block_on(tree.come_to_rest(&told));
        tree.runtime = runtime;
        tree
    }
}

/// Stands in while a runtime works on what holds it.
fn idle() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_pool_answers_as_its_model_says(sequential 1..16 => Tree);
}
