use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::actors::board::Observation;
use crate::actors::context::AddressKind;
use crate::domain::configuration::Configuration;
use crate::domain::failover::{Cause, Evidence, Fence};
use crate::domain::ids::{Attempt, Epoch, InstanceId};
use crate::domain::instance::{Instance, InstanceState};
use crate::domain::studio::Json;
use crate::domain::time::Timestamp;
use crate::domain::vm::Health;

fn vm(name: &str) -> VmId {
    VmId::new(name).unwrap()
}

fn finals() -> ShowId {
    ShowId::new("finals").unwrap()
}

fn instance(name: &str, state: InstanceState) -> Instance {
    Instance {
        instance_id: InstanceId::new(format!("i-{name}")).unwrap(),
        name: None,
        state,
        public_ip: Some("203.0.113.7".parse().unwrap()),
        private_ip: Some("10.0.0.7".parse().unwrap()),
        public_dns: None,
        private_dns: None,
        instance_type: None,
        launch_time: None,
        availability_zone: None,
        subnet_id: None,
        vpc_id: None,
        tags: BTreeMap::new(),
    }
}

fn settings() -> Settings {
    Settings {
        warm_count: 2,
        cold_count: 3,
        max_instances: 5,
        max_concurrent: 4,
        health_check_interval: Duration::from_secs(30),
        idle_timeout: None,
        warmup_time: Duration::from_secs(180),
        service_port: 3003,
        region: "us-east-1".into(),
        ami_id: None,
        default_instance_type: "t3.large".into(),
    }
}

/// A ledger that is written to and told about, batch by batch.
struct Story {
    state: State,
    board: Board,
    now: u64,
}

impl Story {
    /// vm-a is ready, vm-b is ready, vm-c is off.
    fn new() -> Self {
        let mut story = Self {
            state: State::default(),
            board: Board::default(),
            now: 1_000,
        };
        for (name, state) in [
            ("vm-a", InstanceState::Running),
            ("vm-b", InstanceState::Running),
            ("vm-c", InstanceState::Stopped),
        ] {
            let adopted = vm::Event::Adopted {
                instance: instance(name, state),
            };
            story.tell(&[Event::vm(&vm(name), adopted)]);
            if state == InstanceState::Running {
                story.tell(&[Event::vm(&vm(name), vm::Event::Ready)]);
            }
        }
        story
    }

    /// What one batch is to clients.
    fn tell(&mut self, events: &[Event]) -> Vec<Told> {
        self.now += 10;
        let at = Timestamp(self.now);
        let after = self.state.with(events, at).unwrap();
        let seqs = (self.state.seq.0 + 1..).map(Seq);
        let entries: Vec<Entry> = seqs
            .zip(events)
            .map(|(seq, event)| Entry {
                seq,
                at,
                event: event.clone(),
            })
            .collect();
        let (settings, launch) = (settings(), LaunchFacts::default());
        let told = {
            let scene = Scene {
                before: &self.state,
                after: &after,
                board: &self.board,
                settings: &settings,
                launch: &launch,
                reach: Reach {
                    address: AddressKind::Private,
                    server: 3003,
                    obs: 4455,
                    no_machine: 4000,
                },
            };
            of_entries(&scene, &entries)
        };
        self.state = after;
        told
    }

    fn tell_show(&mut self, events: &[show::Event]) -> Vec<Told> {
        let events: Vec<Event> = events
            .iter()
            .map(|event| Event::show(&finals(), event.clone()))
            .collect();
        self.tell(&events)
    }

    fn assign(&mut self, to: &str) -> Vec<Told> {
        let epoch = self.state.next_epoch(&finals());
        self.tell_show(&[show::Event::Assigned {
            vm: vm(to),
            epoch,
            by: None,
            key: None,
        }])
    }
}

fn names(told: &[Told]) -> Vec<&'static str> {
    told.iter().map(|told| told.name).collect()
}

fn one<'a>(told: &'a [Told], name: &str) -> &'a Value {
    let mut found = told.iter().filter(|told| told.name == name);
    let first = found.next().unwrap_or_else(|| panic!("no {name} in {told:?}"));
    assert!(found.next().is_none(), "{name} more than once in {told:?}");
    &first.payload
}

#[test]
fn a_warm_assignment_is_told_at_once_with_its_address() {
    let mut story = Story::new();
    let told = story.assign("vm-a");
    let expected = json!({
        "success": true, "vmId": "vm-a", "instanceId": "i-vm-a", "publicIp": "203.0.113.7",
        "vmAddress": "10.0.0.7:3003", "competitionId": "finals", "seq": story.state.seq.0,
    });
    assert_eq!(
        (names(&told), one(&told, "vmAssigned")),
        (vec!["vmAssigned"], &expected)
    );
}

#[test]
fn a_cold_assignment_is_told_when_its_vm_is_ready() {
    let mut story = Story::new();
    assert_eq!(story.assign("vm-c"), vec![]);
    let told = story.tell(&[Event::vm(
        &vm("vm-c"),
        vm::Event::Starting { attempt: Attempt(1) },
    )]);
    assert_eq!(names(&told), ["vmStarting"]);
    let starting = one(&told, "vmStarting");
    assert_eq!(starting["competitionId"], "finals");
    assert_eq!(
        starting["estimatedReadyTime"],
        Iso(Timestamp(story.now + 180_000)).to_string()
    );
    assert_eq!(story.tell(&[Event::vm(&vm("vm-c"), vm::Event::Booting)]), vec![]);
    let told = story.tell(&[Event::vm(&vm("vm-c"), vm::Event::Ready)]);
    assert_eq!(
        names(&told),
        ["vmReady", "vmStarted", "vmAssigned", "vmHealthChanged"]
    );
    assert_eq!(one(&told, "vmReady"), one(&told, "vmStarted"));
    assert_eq!(one(&told, "vmAssigned")["competitionId"], "finals");
}

#[test]
fn a_vm_that_starts_and_is_given_away_in_one_batch_starts_once() {
    let mut story = Story::new();
    let starting = Event::vm(&vm("vm-c"), vm::Event::Starting { attempt: Attempt(1) });
    let event = show::Event::Assigned {
        vm: vm("vm-c"),
        epoch: Epoch(1),
        by: None,
        key: None,
    };
    let told = story.tell(&[starting, Event::show(&finals(), event)]);
    assert_eq!(names(&told), ["vmStarting"]);
    assert_eq!(one(&told, "vmStarting")["competitionId"], "finals");
}

#[test]
fn a_vm_that_is_starting_for_the_warm_target_is_told_to_whom_it_is_given() {
    let mut story = Story::new();
    let told = story.tell(&[Event::vm(
        &vm("vm-c"),
        vm::Event::Starting { attempt: Attempt(1) },
    )]);
    assert_eq!(one(&told, "vmStarting").get("competitionId"), None);
    let told = story.assign("vm-c");
    assert_eq!(one(&told, "vmStarting")["competitionId"], "finals");
}

#[test]
fn a_release_is_told_with_the_vm_it_gave_back() {
    let mut story = Story::new();
    story.assign("vm-a");
    let told = story.tell_show(&[
        show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        show::Event::Released {
            vm: vm("vm-a"),
            key: None,
        },
    ]);
    let expected = json!({
        "success": true, "vmId": "vm-a", "instanceId": "i-vm-a", "competitionId": "finals",
        "seq": story.state.seq.0,
    });
    assert_eq!(
        (names(&told), one(&told, "vmReleased")),
        (vec!["vmReleased"], &expected)
    );
}

#[test]
fn a_failover_is_told_from_decision_to_air() {
    let mut story = Story::new();
    story.assign("vm-a");
    let told = story.tell_show(&[show::Event::WentOnAir { epoch: Epoch(1) }]);
    assert_eq!(
        one(&told, "vmInUse"),
        &json!({"vmId": "vm-a", "competitionId": "finals", "seq": story.state.seq.0})
    );

    let at = Timestamp(story.now);
    let evidence = Evidence {
        suspected_at: at,
        decided_at: at,
        last_output_at: Some(at),
        summary: "studio gone".into(),
    };
    let epoch = Epoch(2);
    let told = story.tell_show(&[show::Event::FailoverBegan {
        epoch,
        cause: Cause::StudioLost,
        to: Some(vm("vm-b")),
        evidence,
    }]);
    let started = one(&told, "vmFailover");
    assert_eq!(
        (&started["status"], &started["fromVmId"], &started["toVmId"]),
        (&json!("started"), &json!("vm-a"), &json!("vm-b"))
    );
    let failed = one(&told, "vmError");
    assert_eq!(
        (&failed["vmId"], &failed["error"]),
        (&json!("vm-a"), &failed["reason"])
    );

    let told = story.tell_show(&[
        show::Event::Fenced {
            epoch,
            how: Fence::MachineOff,
        },
        show::Event::Restored {
            epoch,
            differences: Vec::new(),
            by: None,
        },
        show::Event::Publishing { epoch },
        show::Event::FailoverEnded {
            epoch,
            ending: Ending::OnAir,
        },
    ]);
    assert_eq!(names(&told), ["vmFailover", "vmAssigned", "vmInUse"]);
    let completed = one(&told, "vmFailover");
    assert_eq!(
        (&completed["status"], &completed["toVmId"]),
        (&json!("completed"), &json!("vm-b"))
    );
    assert_eq!(completed["vmAddress"], "10.0.0.7:3003");
    assert_eq!(one(&told, "vmInUse")["vmId"], "vm-b");
}

#[test]
fn a_studio_made_from_a_configuration_is_told_with_the_way_it_was_made() {
    let mut story = Story::new();
    story.assign("vm-a");
    let configuration = Arc::new(Configuration {
        template: "multi-camera".to_owned(),
        variables: Json("{}".to_owned()),
        stream_server: None,
        stream_key: None,
    });
    let make = true;
    story.tell_show(&[show::Event::SetUp { configuration, make }]);
    let told = story.tell_show(&[show::Event::Restored {
        epoch: Epoch(1),
        differences: vec!["no camera".to_owned()],
        by: Some(MadeBy::RequestsInstead {
            why: "the server has no SFTP".to_owned(),
        }),
    }]);
    let made = one(&told, "showConfigured");
    assert_eq!(
        (&made["vmId"], &made["differences"]),
        (&json!("vm-a"), &json!(["no camera"]))
    );
    assert_eq!(
        (&made["restoredBy"], &made["notByFile"]),
        (&json!("requests"), &json!("the server has no SFTP"))
    );
}

#[test]
fn a_move_that_proves_needless_or_is_given_up_says_so() {
    for (ending, status, to) in [
        (Ending::Recovered, "completed", json!("vm-a")),
        (Ending::Abandoned, "failed", Value::Null),
    ] {
        let mut story = Story::new();
        story.assign("vm-a");
        let at = Timestamp(story.now);
        let evidence = Evidence {
            suspected_at: at,
            decided_at: at,
            last_output_at: None,
            summary: "x".into(),
        };
        let began = show::Event::FailoverBegan {
            epoch: Epoch(2),
            cause: Cause::OutputSilent,
            to: None,
            evidence,
        };
        let told = story.tell_show(&[began]);
        assert_eq!(one(&told, "vmFailover")["toVmId"], Value::Null);
        let told = story.tell_show(&[show::Event::FailoverEnded {
            epoch: Epoch(2),
            ending,
        }]);
        let ended = one(&told, "vmFailover");
        assert_eq!(
            (&ended["status"], &ended["toVmId"]),
            (&json!(status), &to),
            "{ending:?}"
        );
        assert!(!names(&told).contains(&"vmAssigned"), "{ending:?}");
    }
}

#[test]
fn a_vm_that_becomes_a_spare_is_not_yet_told_as_assigned() {
    let mut story = Story::new();
    story.assign("vm-a");
    let at = Timestamp(story.now);
    let evidence = Evidence {
        suspected_at: at,
        decided_at: at,
        last_output_at: None,
        summary: "x".into(),
    };
    let began = show::Event::FailoverBegan {
        epoch: Epoch(2),
        cause: Cause::Forced,
        to: Some(vm("vm-c")),
        evidence,
    };
    story.tell_show(&[began]);
    story.tell(&[Event::vm(
        &vm("vm-c"),
        vm::Event::Starting { attempt: Attempt(1) },
    )]);
    story.tell(&[Event::vm(&vm("vm-c"), vm::Event::Booting)]);
    let told = story.tell(&[Event::vm(&vm("vm-c"), vm::Event::Ready)]);
    assert!(!names(&told).contains(&"vmAssigned"), "{told:?}");
}

#[test]
fn stopping_and_being_off_are_told() {
    let mut story = Story::new();
    let told = story.tell(&[Event::vm(
        &vm("vm-a"),
        vm::Event::Stopping { attempt: Attempt(1) },
    )]);
    assert_eq!(
        one(&told, "vmStopping"),
        &json!({"vmId": "vm-a", "instanceId": "i-vm-a", "seq": story.state.seq.0})
    );
    let told = story.tell(&[Event::vm(&vm("vm-a"), vm::Event::Stopped)]);
    assert_eq!(one(&told, "vmStopped")["vmId"], "vm-a");
}

#[test]
fn a_turn_to_error_and_back_is_told_once_each_way() {
    let mut story = Story::new();
    story.assign("vm-a");
    let turned = |health| Event::vm(&vm("vm-a"), vm::Event::HealthTurned { health });
    story.board.post(
        &vm("vm-a"),
        Observation {
            error: Some("HTTP 500".into()),
            ..Observation::default()
        },
    );
    let told = story.tell(&[turned(Health::Unhealthy)]);
    assert_eq!(names(&told), ["vmError", "vmHealthChanged"]);
    assert_eq!(one(&told, "vmError")["error"], "HTTP 500");
    let changed = json!({
        "vmId": "vm-a", "previousStatus": "healthy", "newStatus": "unhealthy", "reason": "HTTP 500",
        "assignedTo": "finals", "seq": story.state.seq.0,
    });
    assert_eq!(one(&told, "vmHealthChanged"), &changed);
    let told = story.tell(&[Event::vm(
        &vm("vm-a"),
        vm::Event::Faulted {
            reason: "worse".into(),
        },
    )]);
    assert_eq!(names(&told), Vec::<&str>::new(), "it was in error before");
    let told = story.tell(&[
        Event::vm(&vm("vm-a"), vm::Event::FaultCleared),
        turned(Health::Healthy),
    ]);
    assert_eq!(names(&told), ["vmHealthChanged"]);
}

#[test]
fn a_changed_configuration_is_told_flat() {
    let mut story = Story::new();
    let told = story.tell(&[Event::PoolConfigured {
        settings: Settings {
            warm_count: 3,
            ..settings()
        },
    }]);
    let config = one(&told, "vmPoolConfigUpdated");
    assert_eq!(
        (&config["warmCount"], &config["minWarmVMs"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(config["seq"], story.state.seq.0);
}

#[test]
fn what_changes_nothing_for_clients_is_not_told() {
    let mut story = Story::new();
    story.assign("vm-a");
    let quiet = [
        show::Event::StreamWanted { wanted: true },
        show::Event::Held { held: true },
    ];
    assert_eq!(story.tell_show(&quiet), vec![]);
    assert_eq!(
        story.tell(&[Event::vm(
            &vm("vm-b"),
            vm::Event::MaintenanceBegan { reason: None }
        )]),
        vec![]
    );
}

#[test]
fn every_vm_that_a_batch_may_have_changed_is_touched() {
    let mut story = Story::new();
    story.assign("vm-a");
    let before = story.state.clone();
    let at = Timestamp(story.now);
    let evidence = Evidence {
        suspected_at: at,
        decided_at: at,
        last_output_at: None,
        summary: "x".into(),
    };
    let events = [show::Event::FailoverBegan {
        epoch: Epoch(2),
        cause: Cause::Forced,
        to: Some(vm("vm-b")),
        evidence,
    }];
    story.tell_show(&events);
    let entry = Entry {
        seq: story.state.seq,
        at,
        event: Event::show(&finals(), events[0].clone()),
    };
    let touched = touched(&before, &story.state, &[entry]);
    let changed: BTreeSet<VmId> = story
        .state
        .vms()
        .filter(|vm| before.vm(&vm.id) != Some(vm))
        .map(|vm| vm.id.clone())
        .collect();
    assert!(touched.is_superset(&changed), "{touched:?} {changed:?}");
    assert_eq!(changed.len(), 2);
}
