//! Small operations on hot paths, and pools of any size to do them in: what `instructions` counts and `micro` times.
//!
//! The domain is pure and names nothing else of the product, so it can be compiled without the rest: in seconds, and
//! optimised as in a release. That is how its instructions are counted. With the feature `whole` it is the product's own,
//! and what is beyond the domain can be timed too.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(feature = "whole"))]
#[path = "../../../src/domain/mod.rs"]
pub mod domain;
#[cfg(feature = "whole")]
pub use understudy::domain;

#[cfg(feature = "whole")]
pub mod whole;

use self::domain::event::Event;
use self::domain::failover::verdict::{
    CloudSign, IngestSign, OutputSign, Policy, Sign, Signals, Verdict, judge,
};
use self::domain::ids::{Attempt, Epoch, InstanceId, Seq, ShowId, VmId};
use self::domain::instance::{Instance, InstanceState};
use self::domain::placement::Wish;
use self::domain::pool::{Allocation, Reservations, Settings, allocate, replenish, retire};
use self::domain::show::{self, Phase, Show};
use self::domain::state::{Snapshot, State};
use self::domain::time::Timestamp;
use self::domain::vm::{Health, Occupancy, Power, Status, Vm};

pub const NOW: Timestamp = Timestamp(10_000_000);
const ZONES: [&str; 3] = ["eu-central-1a", "eu-central-1b", "eu-central-1c"];

/// Of ten VMs, three are available, three on air, one is starting, three are off.
pub struct Pool {
    state: State,
    settings: Settings,
    proven: BTreeMap<VmId, Timestamp>,
}

fn vm_id(number: usize) -> VmId {
    VmId::new(format!("vm-{number:05}")).expect("a legal id")
}

fn show_id(number: usize) -> ShowId {
    ShowId::new(format!("show-{number:05}")).expect("a legal id")
}

fn instance(number: usize) -> Instance {
    let address = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::try_from(number).expect("a small number");
    Instance {
        instance_id: InstanceId::new(format!("i-{number:017x}")).expect("a legal id"),
        name: Some(format!("pool-{number}")),
        state: InstanceState::Running,
        public_ip: None,
        private_ip: Some(Ipv4Addr::from(address).into()),
        public_dns: None,
        private_dns: Some(format!("ip-{number}.internal")),
        instance_type: Some("g4dn.xlarge".to_owned()),
        launch_time: Some(Timestamp(1)),
        availability_zone: Some(ZONES[number % ZONES.len()].to_owned()),
        subnet_id: Some("subnet-0".to_owned()),
        vpc_id: Some("vpc-0".to_owned()),
        tags: BTreeMap::from(
            [("Project", "show"), ("Name", "pool")].map(|(key, value)| (key.to_owned(), value.to_owned())),
        ),
    }
}

fn vm(number: usize) -> Vm {
    let since = Timestamp(1_000 + number as u64);
    let (power, occupancy) = match number % 10 {
        0..3 => (Power::Ready, Occupancy::Free),
        3..6 => {
            let (show, epoch) = (show_id(number), Epoch(1));
            (Power::Ready, Occupancy::OnAir { show, epoch })
        }
        6 => (Power::Booting, Occupancy::Free),
        _ => (Power::Stopped, Occupancy::Free),
    };
    Vm {
        power,
        occupancy,
        health: Health::Healthy,
        last_state_change: since,
        last_started_at: Some(since),
        last_stopped_at: Some(since),
        attempts: Attempt(1),
        ..Vm::adopted(vm_id(number), instance(number), Timestamp(1))
    }
}

fn shows(size: usize) -> impl Iterator<Item = Show> {
    (0..size)
        .filter(|number| (3..6).contains(&(number % 10)))
        .map(|number| Show {
            epoch: Epoch(1),
            phase: Phase::OnAir,
            vm: Some(vm_id(number)),
            stream_wanted: true,
            may_publish: true,
            ..Show::new(show_id(number))
        })
}

/// A pool of so many VMs.
pub fn pool(size: usize) -> Pool {
    let state = State::from(Snapshot {
        seq: Seq(0),
        at: Timestamp(1),
        settings: None,
        vms: (0..size).map(|number| Arc::new(vm(number))).collect(),
        shows: shows(size).map(Arc::new).collect(),
        keys: Vec::new(),
        starts: Vec::new(),
        executions: Vec::new(),
    });
    let proven = state
        .vms()
        .map(|vm| (vm.id.clone(), NOW - Duration::from_secs(2)));
    Pool {
        proven: proven.collect(),
        state,
        settings: Settings {
            warm_count: u32::try_from(size).expect("a small number") * 3 / 10,
            cold_count: 0,
            max_instances: 100_000,
            max_concurrent: 100_000,
            health_check_interval: Duration::from_secs(30),
            idle_timeout: Some(Duration::from_secs(1_800)),
            warmup_time: Duration::from_secs(120),
            service_port: 3003,
            region: "eu-central-1".to_owned(),
            ami_id: None,
            default_instance_type: "g4dn.xlarge".to_owned(),
        },
    }
}

/// Chooses a warm VM for a new show.
pub fn place(pool: &Pool) -> Allocation {
    let wish = Wish {
        counts_as_new: true,
        ..Wish::default()
    };
    let proven = |vm: &VmId| pool.proven.get(vm).copied();
    let (none, settings) = (Reservations::default(), &pool.settings);
    allocate(&pool.state, &none, &wish, settings, &proven, NOW).expect("a VM is available")
}

/// What the pool does after every change: nothing is missing, and nothing has been idle for too long.
pub fn look_after(pool: &Pool) -> (Vec<VmId>, Vec<VmId>) {
    let (none, soon) = (Reservations::default(), Timestamp(2_000));
    let starts = replenish(&pool.state, &none, &pool.settings, soon);
    (starts, retire(&pool.state, &none, &pool.settings, soon))
}

fn assigned(number: usize) -> Event {
    let event = show::Event::Assigned {
        vm: vm_id(number),
        epoch: Epoch(1),
        by: Some("producer".to_owned()),
        key: None,
    };
    Event::show(&ShowId::new("finals").expect("a legal id"), event)
}

/// Folds the assignment of a VM into the state.
pub fn fold(pool: &Pool) -> State {
    pool.state.with(&[assigned(0)], NOW).expect("the VM is available")
}

/// How a show's VM does, and how many VMs are available.
pub fn status(pool: &Pool) -> (Option<Status>, usize) {
    let vm = pool.state.vm_of_show(&show_id(3));
    (vm.map(|vm| vm.status()), pool.state.count(Status::Available))
}

/// The assignment of a VM as the journal has it: written as JSON, and read back to be sure.
pub fn record() -> Vec<u8> {
    let event = assigned(0);
    let text = serde_json::to_vec(&event).expect("plain data");
    assert_eq!(serde_json::from_slice::<Event>(&text).ok().as_ref(), Some(&event));
    text
}

/// A VM on air of which every signal is good but the output, which has just gone flat.
pub fn verdict() -> Verdict {
    let good = Sign::good(NOW);
    let signals = Signals {
        probe: good,
        obs: good,
        output: OutputSign::Flat {
            since: NOW - Duration::from_secs(1),
        },
        ssh: good,
        cloud: CloudSign::Running,
        hearsay: good,
        last_output_at: Some(NOW - Duration::from_secs(1)),
    };
    let policy = Policy {
        silence_limit: Duration::from_secs(3),
        studio_grace: Duration::from_millis(500),
    };
    judge(&signals, IngestSign::Unknown, true, &policy, NOW)
}
