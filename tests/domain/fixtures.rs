//! Names, machines and states that the tests start from.

use std::collections::BTreeMap;
use std::sync::Arc;

use understudy::domain::archive;
use understudy::domain::cleaning::{Finding, Leftover, Report, Subject};
use understudy::domain::configuration::Configuration;
use understudy::domain::event::Event;
use understudy::domain::failover::{Cause, Ending, Evidence, Fence};
use understudy::domain::ids::{Attempt, Epoch, InstanceId, Seq, ShowId, VmId};
use understudy::domain::instance::{Instance, InstanceState};
use understudy::domain::invariants::violations;
use understudy::domain::pool::Settings;
use understudy::domain::show::{self, Show};
use understudy::domain::state::{Rejected, Snapshot, State};
use understudy::domain::studio::{Json, Studio};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{self, Health, Power, Vm};

pub fn vm_id(n: usize) -> VmId {
    VmId::new(format!("vm-{n}")).unwrap()
}

pub fn show_id(n: usize) -> ShowId {
    ShowId::new(format!("show-{n}")).unwrap()
}

pub fn at(ms: u64) -> Timestamp {
    Timestamp(ms)
}

pub fn instance(n: usize) -> Instance {
    Instance {
        instance_id: InstanceId::new(format!("i-{n}")).unwrap(),
        name: None,
        state: InstanceState::Stopped,
        public_ip: None,
        private_ip: None,
        public_dns: None,
        private_dns: None,
        instance_type: None,
        launch_time: None,
        availability_zone: Some(format!("zone-{}", n % 3)),
        subnet_id: None,
        vpc_id: None,
        tags: BTreeMap::new(),
    }
}

pub fn machine(n: usize, power: Power) -> Vm {
    let health = match power {
        Power::Ready => Health::Healthy,
        Power::Stopped | Power::Starting { .. } | Power::Booting | Power::Stopping { .. } => Health::Unknown,
    };
    Vm {
        power,
        health,
        attempts: Attempt(1),
        ..Vm::adopted(vm_id(n), instance(n), at(0))
    }
}

/// A state as if read from a snapshot: any VM and show, whether or not events lead there.
pub fn state_of(vms: Vec<Vm>, shows: Vec<Show>) -> State {
    State::from(Snapshot {
        seq: Seq(0),
        at: at(0),
        settings: None,
        vms: vms.into_iter().map(Arc::new).collect(),
        shows: shows.into_iter().map(Arc::new).collect(),
        keys: Vec::new(),
        starts: Vec::new(),
        executions: Vec::new(),
    })
}

/// `count` VMs that are ready, numbered from 1.
pub fn ready_pool(count: usize) -> State {
    state_of(
        (1..=count).map(|n| machine(n, Power::Ready)).collect(),
        Vec::new(),
    )
}

pub fn of_vm(n: usize, event: vm::Event) -> Event {
    Event::vm(&vm_id(n), event)
}

pub fn of_show(n: usize, event: show::Event) -> Event {
    Event::show(&show_id(n), event)
}

/// What a show leaves on a VM.
pub fn leftover(show: usize) -> Leftover {
    Leftover {
        show: show_id(show),
        keys: Vec::new(),
        forgiven: false,
    }
}

/// It was cleaned of what show 1 had left, or was not.
pub fn cleaned(clean: bool) -> vm::Event {
    looked_at(clean, clean)
}

/// It was not clean of what show 1 had left, and may be used all the same.
pub fn forgiven() -> vm::Event {
    looked_at(false, true)
}

fn looked_at(clean: bool, accepted: bool) -> vm::Event {
    let mut report = Report::nothing(show_id(1), at(5));
    report
        .findings
        .push(Finding::new(Subject::Stream, clean, "it was looked at"));
    vm::Event::Cleaned {
        report: Arc::new(report),
        accepted,
    }
}

pub fn evidence() -> Evidence {
    Evidence {
        suspected_at: at(1),
        decided_at: at(2),
        last_output_at: None,
        summary: "the studio refuses connections".into(),
    }
}

pub fn assigned(vm: usize, epoch: u64) -> show::Event {
    show::Event::Assigned {
        vm: vm_id(vm),
        epoch: Epoch(epoch),
        by: None,
        key: None,
    }
}

pub fn went_on_air(epoch: u64) -> show::Event {
    show::Event::WentOnAir { epoch: Epoch(epoch) }
}

pub fn failover_began(epoch: u64, to: Option<usize>) -> show::Event {
    show::Event::FailoverBegan {
        epoch: Epoch(epoch),
        cause: Cause::StudioLost,
        to: to.map(vm_id),
        evidence: evidence(),
    }
}

pub fn fenced(epoch: u64) -> show::Event {
    show::Event::Fenced {
        epoch: Epoch(epoch),
        how: Fence::StreamStopped,
    }
}

pub fn silenced(epoch: u64) -> show::Event {
    show::Event::Silenced {
        epoch: Epoch(epoch),
        how: Fence::StreamStopped,
    }
}

pub fn set_up(make: bool) -> show::Event {
    let configuration = Configuration {
        template: "multi-camera".into(),
        variables: Json::default(),
        stream_server: Some("rtmp://127.0.0.1/live".into()),
        stream_key: None,
    };
    show::Event::SetUp {
        configuration: Arc::new(configuration),
        make,
    }
}

pub fn restored(epoch: u64) -> show::Event {
    show::Event::Restored {
        epoch: Epoch(epoch),
        differences: Vec::new(),
        by: None,
    }
}

pub fn compared(epoch: u64, differences: &[&str]) -> show::Event {
    show::Event::Compared {
        epoch: Epoch(epoch),
        differences: differences.iter().map(|&line| line.to_owned()).collect(),
    }
}

pub fn publishing(epoch: u64) -> show::Event {
    show::Event::Publishing { epoch: Epoch(epoch) }
}

pub fn ended(epoch: u64, ending: Ending) -> show::Event {
    show::Event::FailoverEnded {
        epoch: Epoch(epoch),
        ending,
    }
}

pub fn spare_lost(epoch: u64, vm: usize) -> show::Event {
    show::Event::SpareLost {
        epoch: Epoch(epoch),
        vm: vm_id(vm),
        reason: "it does not answer".into(),
    }
}

pub fn settings() -> Settings {
    Settings {
        warm_count: 2,
        cold_count: 3,
        max_instances: 50,
        max_concurrent: 50,
        health_check_interval: std::time::Duration::from_secs(30),
        idle_timeout: Some(std::time::Duration::from_secs(60)),
        warmup_time: std::time::Duration::from_secs(180),
        service_port: 3003,
        region: "us-east-1".into(),
        ami_id: None,
        default_instance_type: "t3.large".into(),
    }
}

/// `state` after these, each of which must be possible and leave it sound.
pub fn after(state: &State, events: Vec<Event>) -> State {
    events.into_iter().fold(state.clone(), |state, event| {
        let next = state
            .with(std::slice::from_ref(&event), at(10))
            .unwrap_or_else(|why| panic!("{event:?}: {why}"));
        assert_eq!(violations(&next), Vec::<String>::new(), "{event:?}");
        next
    })
}

pub fn refuses(state: &State, event: Event) -> Rejected {
    state.with(&[event], at(10)).expect_err("it was accepted")
}

pub fn all_of(events: Vec<show::Event>) -> Vec<Event> {
    events.into_iter().map(|event| of_show(1, event)).collect()
}

pub fn vm(state: &State, n: usize) -> Arc<Vm> {
    Arc::clone(state.vm(&vm_id(n)).unwrap())
}

/// Show 1 is on air on VM 1 and being moved to VM 2.
pub fn being_moved() -> State {
    let events = vec![assigned(1, 1), went_on_air(1), failover_began(2, Some(2))];
    after(&ready_pool(4), all_of(events))
}

pub fn studio() -> Studio {
    Studio {
        scene_collection: "Show".into(),
        program_scene: "Main".into(),
        ..Studio::default()
    }
}

/// Something became of the recordings of a show in this epoch.
pub fn archive(epoch: u64, event: archive::Event) -> show::Event {
    let epoch = Epoch(epoch);
    show::Event::Archive { epoch, event }
}

pub fn archive_asked() -> archive::Event {
    archive::Event::Asked {
        bucket: "shows".into(),
        folder: "recordings/show-1/vm-1/5/".into(),
        since: at(1),
    }
}
