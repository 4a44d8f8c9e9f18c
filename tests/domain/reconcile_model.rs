//! What a look at the cloud leads to, as a table, and as a promise: it can happen, and then there is nothing left
//! to reconcile.

use std::time::Duration;

use proptest::prelude::*;
use understudy::domain::ids::{Attempt, Epoch};
use understudy::domain::instance::{Instance, InstanceState};
use understudy::domain::invariants::violations;
use understudy::domain::reconcile::{START_VISIBLE_WITHIN, reconcile};
use understudy::domain::show::{Phase, Show};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{Event, Occupancy, Power, Vm};

use crate::fixtures::{at, instance, machine, show_id, state_of};
use crate::pools::{NOW, pools};

const POWERS: [&str; 5] = ["stopped", "starting", "booting", "ready", "stopping"];

/// What the cloud says of a free VM in each power. A start asked for long ago is meant by `starting`.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 5]); 7] = [
    ("pending",       ["starting", "", "stopped, starting", "stopped, starting", ""]),
    ("running",       ["booting", "booting", "", "", ""]),
    ("stopping",      ["", "stopping", "stopping", "stopping", ""]),
    ("stopped",       ["", "stopped, faulted", "stopped", "stopped", "stopped"]),
    ("shutting-down", ["gone", "gone", "gone", "gone", "gone"]),
    ("terminated",    ["gone", "gone", "gone", "gone", "gone"]),
    ("missing",       ["gone", "gone", "gone", "gone", "gone"]),
];

/// The rows that are different for a VM that a show holds.
#[rustfmt::skip]
const HELD: [(&str, [&str; 5]); 4] = [
    ("stopping",      ["", "", "", "", ""]),
    ("shutting-down", ["", "stopped", "stopped", "stopped", "stopped"]),
    ("terminated",    ["", "stopped", "stopped", "stopped", "stopped"]),
    ("missing",       ["", "stopped", "stopped", "stopped", "stopped"]),
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

fn said(state: &str) -> Option<Instance> {
    let state = match state {
        "pending" => InstanceState::Pending,
        "running" => InstanceState::Running,
        "stopping" => InstanceState::Stopping,
        "stopped" => InstanceState::Stopped,
        "shutting-down" => InstanceState::ShuttingDown,
        "terminated" => InstanceState::Terminated,
        "missing" => return None,
        other => panic!("no state is called {other}"),
    };
    Some(Instance { state, ..instance(1) })
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
                names(&reconcile(&vm, seen.as_ref(), late)),
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
                names(&reconcile(&vm, seen.as_ref(), late)),
                expected,
                "{state}, held and {power}"
            );
        }
    }
}

#[test]
fn a_start_may_stay_invisible_for_a_while() {
    let (vm, stopped) = (in_power("starting"), said("stopped"));
    let early = at(1) + START_VISIBLE_WITHIN - Duration::from_millis(1);
    assert_eq!(names(&reconcile(&vm, stopped.as_ref(), early)), "");
    let late = at(1) + START_VISIBLE_WITHIN;
    assert_eq!(names(&reconcile(&vm, stopped.as_ref(), late)), "stopped, faulted");
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
        assert_eq!(names(&reconcile(&vm, running.as_ref(), at(49))), "");
        assert_eq!(names(&reconcile(&vm, running.as_ref(), at(50))), "booting");
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
    fn what_a_look_leads_to_can_happen_and_leaves_nothing_to_reconcile(pool in pools(), said in states()) {
        let pool = pool.state();
        for vm in pool.vms() {
            let show = vm.occupancy.tenant().map(|(show, _)| Show::clone(pool.show(show).unwrap()));
            let phase = show.as_ref().map_or(Phase::Idle, |show| show.phase.clone());
            let mut state = state_of(vec![Vm::clone(vm)], show.into_iter().collect());
            let before = violations(&state);
            let seen = said.map(|state| Instance { state, ..vm.instance.clone() });
            for event in reconcile(vm, seen.as_ref(), NOW) {
                let next = state.with(&[understudy::domain::event::Event::vm(&vm.id, event.clone())], NOW);
                prop_assert!(next.is_ok(), "{:?} of a VM while {:?}: {:?}", event, phase, next.err());
                state = next.unwrap();
            }
            if let Some(vm) = state.vm(&vm.id) {
                let again = reconcile(vm, seen.as_ref(), Timestamp(NOW.0 + 1));
                prop_assert_eq!(again, Vec::new(), "{:?} was not settled", seen);
            }
            for violation in violations(&state) {
                prop_assert!(before.contains(&violation), "{}", violation);
            }
        }
    }
}
