//! What a look at the cloud leads to, as a table, and as a promise: it can happen, and then there is nothing left
//! to reconcile.

use std::time::Duration;

use proptest::prelude::*;
use understudy::domain::failover::verdict::CloudSign;
use understudy::domain::ids::{Attempt, Epoch};
use understudy::domain::instance::{Instance, InstanceState, Sighting};
use understudy::domain::invariants::violations;
use understudy::domain::reconcile::{Look, START_VISIBLE_WITHIN, cloud_sign, reconcile};
use understudy::domain::show::{Phase, Show};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{Event, Occupancy, Power, Vm};

use crate::fixtures::{at, instance, machine, show_id, state_of};
use crate::pools::{NOW, pools};

const POWERS: [&str; 5] = ["stopped", "starting", "booting", "ready", "stopping"];

/// What the cloud says of a free VM in each power. A start accepted long ago is meant by `starting`.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 5]); 9] = [
    ("pending",       ["starting", "", "stopped, starting", "stopped, starting", ""]),
    ("running",       ["booting", "booting", "", "", ""]),
    ("stopping",      ["", "stopping", "stopping", "stopping", ""]),
    ("stopped",       ["", "stopped, faulted", "stopped", "stopped", "stopped"]),
    ("shutting-down", ["gone", "gone", "gone", "gone", "gone"]),
    ("terminated",    ["gone", "gone", "gone", "gone", "gone"]),
    ("not found",     ["gone", "gone", "gone", "gone", "gone"]),
    ("untagged, running", ["gone", "gone", "gone", "gone", "gone"]),
    ("untagged, stopped", ["gone", "gone", "gone", "gone", "gone"]),
];

/// The rows that are different for a VM that a show holds.
#[rustfmt::skip]
const HELD: [(&str, [&str; 5]); 6] = [
    ("stopping",      ["", "", "", "", ""]),
    ("shutting-down", ["", "", "", "", ""]),
    ("terminated",    ["", "stopped", "stopped", "stopped", "stopped"]),
    ("not found",     ["", "stopped", "stopped", "stopped", "stopped"]),
    ("untagged, running", ["booting", "booting", "", "", ""]),
    ("untagged, stopped", ["", "stopped, faulted", "stopped", "stopped", "stopped"]),
];

fn in_power(name: &str) -> Vm {
    let attempt = Attempt(1);
    let power = match name {
        "stopped" => Power::Stopped,
        "starting" => Power::Starting { attempt },
        "booting" => Power::Booting,
        "ready" => Power::Ready,
        "stopping" => Power::Stopping { attempt },
        other => panic!("no power is called {other}"),
    };
    let mut vm = machine(1, power);
    vm.last_started_at = matches!(vm.power, Power::Starting { .. }).then(|| at(1));
    vm
}

fn said(text: &str) -> Sighting {
    let (untagged, state) = match text.split_once(", ") {
        Some(("untagged", state)) => (true, state),
        _ => (false, text),
    };
    let state = match state {
        "pending" => InstanceState::Pending,
        "running" => InstanceState::Running,
        "stopping" => InstanceState::Stopping,
        "stopped" => InstanceState::Stopped,
        "shutting-down" => InstanceState::ShuttingDown,
        "terminated" => InstanceState::Terminated,
        "not found" => return Sighting::NotFound,
        other => panic!("no state is called {other}"),
    };
    let mut seen = Instance { state, ..instance(1) };
    if untagged {
        seen.tags.clear();
        return Sighting::Untagged(seen);
    }
    Sighting::Listed(seen)
}

/// A look at a machine whose studio is not heard; a start under way was accepted at once.
fn look(sighting: &Sighting, began: Timestamp) -> Look<'_> {
    Look {
        sighting,
        began,
        start_accepted_at: Some(at(1)),
        answered_at: None,
        publishes: false,
    }
}

fn names(events: &[Event]) -> String {
    let name = |event: &Event| match event {
        Event::Starting { .. } => "starting",
        Event::Booting => "booting",
        Event::Stopping { .. } => "stopping",
        Event::Stopped => "stopped",
        Event::Faulted { .. } => "faulted",
        Event::Gone => "gone",
        other => panic!("{other:?} is not for the cloud to say"),
    };
    let powers = events
        .iter()
        .filter(|event| !matches!(event, Event::Described { .. }));
    powers.map(name).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_look_at_the_cloud_means_what_the_tables_say() {
    let late = at(2) + START_VISIBLE_WITHIN;
    for (state, row) in TABLE {
        for (power, expected) in POWERS.into_iter().zip(row) {
            let mut vm = in_power(power);
            let seen = said(state);
            assert_eq!(
                names(&reconcile(&vm, &look(&seen, late))),
                expected,
                "{state}, free and {power}"
            );
            let held = HELD
                .iter()
                .find(|(said, _)| *said == state)
                .map_or(row, |(_, row)| *row);
            let expected = held[POWERS.iter().position(|name| *name == power).unwrap()];
            let (show, epoch) = (show_id(1), Epoch(1));
            vm.occupancy = Occupancy::OnAir { show, epoch };
            assert_eq!(
                names(&reconcile(&vm, &look(&seen, late))),
                expected,
                "{state}, held and {power}"
            );
        }
    }
}

#[test]
fn a_start_that_was_accepted_may_stay_invisible_for_a_while() {
    let (vm, stopped) = (in_power("starting"), said("stopped"));
    let early = at(1) + START_VISIBLE_WITHIN - Duration::from_millis(1);
    assert_eq!(names(&reconcile(&vm, &look(&stopped, early))), "");
    let late = at(1) + START_VISIBLE_WITHIN;
    assert_eq!(names(&reconcile(&vm, &look(&stopped, late))), "stopped, faulted");
}

#[test]
fn a_start_that_the_cloud_has_not_accepted_yet_fails_when_it_is_overdue_and_not_before() {
    let (mut vm, stopped) = (in_power("starting"), said("stopped"));
    let look = Look {
        start_accepted_at: None,
        ..look(&stopped, at(1) + START_VISIBLE_WITHIN * 10)
    };
    assert_eq!(names(&reconcile(&vm, &look)), "");
    let reason = "overdue".to_owned();
    vm.apply(&Event::Faulted { reason }, at(2)).unwrap();
    assert_eq!(names(&reconcile(&vm, &look)), "stopped");
}

#[test]
fn a_free_machine_that_publishes_is_kept_until_it_does_not_though_it_is_the_pools_no_more() {
    let vm = in_power("ready");
    for state in ["untagged, running", "shutting-down"] {
        let seen = said(state);
        let silent = look(&seen, at(9));
        let publishing = Look {
            publishes: true,
            ..silent
        };
        assert_eq!(names(&reconcile(&vm, &publishing)), "", "{state}");
        assert_eq!(names(&reconcile(&vm, &silent)), "gone", "{state}");
    }
}

#[test]
fn a_machine_whose_studio_answers_after_the_cloud_was_asked_is_there_whatever_the_cloud_finds() {
    let vm = in_power("ready");
    let seen = said("not found");
    let answered = |ms| Look {
        answered_at: Some(at(ms)),
        ..look(&seen, at(9))
    };
    assert_eq!(names(&reconcile(&vm, &answered(9))), "");
    assert_eq!(names(&reconcile(&vm, &answered(8))), "gone");
}

#[test]
fn a_machine_without_the_pools_tags_keeps_those_by_which_that_is_known() {
    let mut vm = in_power("ready");
    vm.instance.tags.insert("Project".into(), "ours".into());
    vm.instance.state = InstanceState::Running;
    let (show, epoch) = (show_id(1), Epoch(1));
    vm.occupancy = Occupancy::OnAir { show, epoch };
    let mut seen = vm.instance.clone();
    seen.tags.insert("Project".into(), "theirs".into());
    let unchanged = Sighting::Untagged(seen.clone());
    assert_eq!(reconcile(&vm, &look(&unchanged, at(9))), Vec::new());
    seen.name = Some("moved".into());
    let renamed = Sighting::Untagged(seen);
    let events = reconcile(&vm, &look(&renamed, at(9)));
    let [Event::Described { instance }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(instance.tags, vm.instance.tags);
    assert_eq!(instance.name.as_deref(), Some("moved"));
}

#[test]
fn the_cloud_says_that_a_shows_machine_is_down_but_not_while_its_start_is_under_way() {
    let down = |state| CloudSign::Down { since: at(9), state };
    let sign = |vm: &Vm, state: &str| cloud_sign(vm, CloudSign::Unknown, &look(&said(state), at(5)), at(9));
    let held = |power| {
        let mut vm = in_power(power);
        let (show, epoch) = (show_id(1), Epoch(1));
        vm.occupancy = Occupancy::Assigned { show, epoch };
        vm.assigned_at = Some(at(1));
        vm
    };
    let table = [
        ("ready", "running", CloudSign::Running),
        ("ready", "stopped", down(Some(InstanceState::Stopped))),
        ("ready", "stopping", down(Some(InstanceState::Stopping))),
        ("ready", "shutting-down", down(Some(InstanceState::ShuttingDown))),
        ("ready", "untagged, running", CloudSign::Running),
        ("ready", "not found", down(None)),
        ("starting", "stopped", CloudSign::Unknown),
        ("starting", "terminated", down(Some(InstanceState::Terminated))),
        ("stopped", "stopped", CloudSign::Unknown),
    ];
    for (power, state, expected) in table {
        assert_eq!(sign(&held(power), state), expected, "{power}, {state}");
        let free = if expected == CloudSign::Running {
            expected
        } else {
            CloudSign::Unknown
        };
        assert_eq!(sign(&in_power(power), state), free, "free, {power}, {state}");
    }
    let mut lost = held("stopped");
    lost.last_stopped_at = Some(at(2));
    assert_eq!(sign(&lost, "stopped"), down(Some(InstanceState::Stopped)));
    let began = at(8);
    let before = cloud_sign(
        &lost,
        CloudSign::Down {
            since: at(3),
            state: None,
        },
        &look(&said("stopped"), began),
        at(9),
    );
    let since = at(3);
    assert_eq!(
        before,
        CloudSign::Down {
            since,
            state: Some(InstanceState::Stopped)
        }
    );
}

#[test]
fn a_vm_awaits_its_start_only_if_it_was_off_when_it_was_given_away_and_nothing_happened_since() {
    let mut vm = in_power("stopped");
    assert!(!vm.awaits_start(), "nobody needs it");
    let (show, epoch) = (show_id(1), Epoch(1));
    vm.occupancy = Occupancy::Assigned { show, epoch };
    vm.assigned_at = Some(at(5));
    vm.last_stopped_at = Some(at(5));
    assert!(vm.awaits_start());
    let stopped_later = Vm {
        last_stopped_at: Some(at(6)),
        ..vm.clone()
    };
    assert!(!stopped_later.awaits_start(), "its show has lost it");
    let reason = "no capacity".to_owned();
    vm.apply(&Event::Faulted { reason }, at(7)).unwrap();
    assert!(!vm.awaits_start(), "its start has failed");
}

#[test]
fn a_look_that_began_before_a_stop_does_not_start_the_vm_again_whatever_its_status() {
    for occupancy in [Occupancy::Free, Occupancy::Maintenance { reason: None }] {
        let mut vm = in_power("ready");
        vm.occupancy = occupancy;
        for event in [
            Event::Faulted {
                reason: "it crashed".into(),
            },
            Event::Stopped,
        ] {
            vm.apply(&event, at(if event == Event::Stopped { 50 } else { 10 }))
                .unwrap();
        }
        assert!(vm.last_state_change < at(50), "its status is as before the stop");
        let running = said("running");
        assert_eq!(names(&reconcile(&vm, &look(&running, at(49)))), "");
        assert_eq!(names(&reconcile(&vm, &look(&running, at(50)))), "booting");
    }
}

fn states() -> impl Strategy<Value = Option<InstanceState>> {
    prop_oneof![
        Just(Some(InstanceState::Pending)),
        Just(Some(InstanceState::Running)),
        Just(Some(InstanceState::Stopping)),
        Just(Some(InstanceState::Stopped)),
        Just(Some(InstanceState::ShuttingDown)),
        Just(Some(InstanceState::Terminated)),
        Just(None),
    ]
}

proptest! {
    #[test]
    fn what_a_look_leads_to_can_happen_and_leaves_nothing_to_reconcile(pool in pools(), said in states(), tagged: bool) {
        let pool = pool.state();
        for vm in pool.vms() {
            let show = vm.occupancy.tenant().map(|(show, _)| Show::clone(pool.show(show).unwrap()));
            let phase = show.as_ref().map_or(Phase::Idle, |show| show.phase.clone());
            let mut state = state_of(vec![Vm::clone(vm)], show.into_iter().collect());
            let before = violations(&state);
            let seen = said.map_or(Sighting::NotFound, |state| {
                let instance = Instance { state, ..vm.instance.clone() };
                if tagged { Sighting::Listed(instance) } else { Sighting::Untagged(instance) }
            });
            for event in reconcile(vm, &look(&seen, NOW)) {
                let next = state.with(&[understudy::domain::event::Event::vm(&vm.id, event.clone())], NOW);
                prop_assert!(next.is_ok(), "{:?} of a VM while {:?}: {:?}", event, phase, next.err());
                state = next.unwrap();
            }
            if let Some(vm) = state.vm(&vm.id) {
                let again = reconcile(vm, &look(&seen, Timestamp(NOW.0 + 1)));
                prop_assert_eq!(again, Vec::new(), "{:?} was not settled", seen);
            }
            for violation in violations(&state) {
                prop_assert!(before.contains(&violation), "{}", violation);
            }
        }
    }
}
