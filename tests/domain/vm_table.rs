//! What happens to a VM: every power by every event, every occupancy by every event, and the status people see.

use std::collections::BTreeSet;
use std::sync::Arc;

use understudy::domain::event::Event as Fact;
use understudy::domain::failover::{Cause, Failover};
use understudy::domain::ids::{Attempt, Epoch};
use understudy::domain::show::{Phase, Show};
use understudy::domain::state::State;
use understudy::domain::vm::{Event, Fault, Health, Occupancy, Power, Status, Vm};

use crate::fixtures::{
    archive_asked, at, cleaned, evidence, forgiven, instance, leftover, machine, of_vm, show_id, state_of,
    vm_id,
};

/// Refused: the state is as before.
const NO: &str = "–";

pub const POWERS: [&str; 5] = ["stopped", "starting", "booting", "ready", "stopping"];

/// A free VM without a fault, healthy if it is ready: `power: status` afterwards.
#[rustfmt::skip]
pub const BY_POWER: [(&str, [&str; 5]); 20] = [
    ("Adopted",                 [NO, NO, NO, NO, NO]),
    ("Described",               ["stopped: stopped", "starting: starting", "booting: starting", "ready: available", "stopping: stopping"]),
    ("Starting",                ["starting: starting", NO, NO, NO, NO]),
    ("Booting",                 ["booting: starting", "booting: starting", "booting: starting", "booting: starting", "booting: starting"]),
    ("Ready",                   [NO, NO, "ready: available", NO, NO]),
    ("Stopping",                [NO, "stopping: stopping", "stopping: stopping", "stopping: stopping", "stopping: stopping"]),
    ("StopFailed",              [NO, NO, NO, NO, "booting: error"]),
    ("Stopped",                 ["stopped: stopped", "stopped: stopped", "stopped: stopped", "stopped: stopped", "stopped: stopped"]),
    ("Gone",                    ["removed", "removed", "removed", "removed", "removed"]),
    ("HealthTurned unhealthy",  ["stopped: stopped", "starting: starting", "booting: starting", "ready: error", "stopping: stopping"]),
    ("HealthTurned degraded",   ["stopped: stopped", "starting: starting", "booting: starting", "ready: available", "stopping: stopping"]),
    ("Faulted",                 ["stopped: error", "starting: error", "booting: error", "ready: error", "stopping: stopping"]),
    ("FaultCleared",            ["stopped: stopped", "starting: starting", "booting: starting", "ready: available", "stopping: stopping"]),
    ("Withheld",                ["stopped: error", "starting: error", "booting: error", "ready: error", "stopping: stopping"]),
    ("Cleaned",                 ["stopped: stopped", "starting: starting", "booting: starting", "ready: available", "stopping: stopping"]),
    ("Resealed",                [NO, NO, NO, NO, NO]),
    ("MaintenanceBegan",        ["stopped: maintenance", "starting: maintenance", "booting: maintenance", "ready: maintenance", "stopping: maintenance"]),
    ("MaintenanceEnded",        [NO, NO, NO, NO, NO]),
    ("ArchiveResumed",          [NO, NO, NO, NO, NO]),
    ("Archive",                 [NO, NO, NO, NO, NO]),
];

/// `leaving` is the VM that a failover moves away from (with its fault), `arriving` the one it moves to.
pub const OCCUPANCIES: [&str; 7] = [
    "free",
    "assigned",
    "on_air",
    "releasing",
    "leaving",
    "arriving",
    "maintenance",
];

/// A VM that is ready, or in the power named; its status afterwards.
#[rustfmt::skip]
pub const BY_OCCUPANCY: [(&str, &str, [&str; 7]); 20] = [
    ("Adopted",                "ready",    [NO, NO, NO, NO, NO, NO, NO]),
    ("Described",              "ready",    ["available", "assigned", "in_use", "releasing", "error", "assigned", "maintenance"]),
    ("Starting",               "stopped",  ["starting", "starting", "starting", "releasing", "starting", "starting", "maintenance"]),
    ("Booting",                "ready",    ["starting", "starting", "starting", "releasing", "error", "starting", "maintenance"]),
    ("Ready",                  "booting",  ["available", "assigned", "in_use", "releasing", "in_use", "assigned", "maintenance"]),
    ("Stopping",               "ready",    ["stopping", NO, NO, "stopping", "stopping", NO, "maintenance"]),
    ("StopFailed",             "stopping", ["error", "error", "error", "releasing", "error", "error", "maintenance"]),
    ("Stopped",                "ready",    ["stopped", "stopped", "stopped", "releasing", "error", "stopped", "maintenance"]),
    ("Gone",                   "ready",    ["removed", NO, NO, NO, NO, NO, "removed"]),
    ("HealthTurned unhealthy", "ready",    ["error", "error", "error", "releasing", "error", "error", "maintenance"]),
    ("HealthTurned degraded",  "ready",    ["available", "assigned", "in_use", "releasing", "error", "assigned", "maintenance"]),
    ("Faulted",                "ready",    ["error", "error", "error", "releasing", "error", "error", "maintenance"]),
    ("FaultCleared",           "ready",    ["available", "assigned", "in_use", "releasing", "in_use", "assigned", "maintenance"]),
    ("Withheld",               "ready",    ["error", NO, NO, NO, NO, NO, NO]),
    ("Cleaned",                "ready",    ["available", "assigned", "in_use", "releasing", "error", "assigned", "maintenance"]),
    ("Resealed",               "ready",    [NO, NO, NO, NO, NO, NO, NO]),
    ("MaintenanceBegan",       "ready",    ["maintenance", NO, NO, NO, NO, NO, NO]),
    ("MaintenanceEnded",       "ready",    [NO, NO, NO, NO, NO, NO, "available"]),
    ("ArchiveResumed",         "ready",    [NO, NO, NO, NO, NO, NO, NO]),
    ("Archive",                "ready",    [NO, NO, NO, NO, NO, NO, NO]),
];

/// A free VM that a show has left something on, healthy if it is ready: `power: status` afterwards, and whether it is
/// still there.
#[rustfmt::skip]
pub const NOT_CLEAN: [(&str, [&str; 5]); 11] = [
    ("(as it is)",              ["stopped: stopped, left", "starting: starting, left", "booting: starting, left", "ready: releasing, left", "stopping: stopping, left"]),
    ("Starting",                ["starting: starting, left", NO, NO, NO, NO]),
    ("Booting",                 ["booting: starting, left", "booting: starting, left", "booting: starting, left", "booting: starting, left", "booting: starting, left"]),
    ("Ready",                   [NO, NO, "ready: releasing, left", NO, NO]),
    ("Stopped",                 ["stopped: stopped, left", "stopped: stopped, left", "stopped: stopped, left", "stopped: stopped, left", "stopped: stopped, left"]),
    ("Faulted",                 ["stopped: error, left", "starting: error, left", "booting: error, left", "ready: error, left", "stopping: stopping, left"]),
    ("FaultCleared",            ["stopped: stopped, left", "starting: starting, left", "booting: starting, left", "ready: releasing, left", "stopping: stopping, left"]),
    ("Cleaned",                 ["stopped: stopped", "starting: starting", "booting: starting", "ready: available", "stopping: stopping"]),
    ("Cleaned, forgiven",       ["stopped: stopped, forgiven", "starting: starting, forgiven", "booting: starting, forgiven", "ready: available, forgiven", "stopping: stopping, forgiven"]),
    ("Resealed",                ["stopped: stopped, left", "starting: starting, left", "booting: starting, left", "ready: releasing, left", "stopping: stopping, left"]),
    ("Cleaned, not accepted",   ["stopped: stopped, left", "starting: starting, left", "booting: starting, left", "ready: releasing, left", "stopping: stopping, left"]),
];

/// Power, occupancy; status when healthy, degraded or unknown · unhealthy · with a fault.
#[rustfmt::skip]
pub const STATUS: [(&str, &str, [&str; 3]); 25] = [
    ("stopped",  "free",        ["stopped", "stopped", "error"]),
    ("stopped",  "assigned",    ["stopped", "stopped", "error"]),
    ("stopped",  "on_air",      ["stopped", "stopped", "error"]),
    ("stopped",  "releasing",   ["releasing", "releasing", "releasing"]),
    ("stopped",  "maintenance", ["maintenance", "maintenance", "maintenance"]),
    ("starting", "free",        ["starting", "starting", "error"]),
    ("starting", "assigned",    ["starting", "starting", "error"]),
    ("starting", "on_air",      ["starting", "starting", "error"]),
    ("starting", "releasing",   ["releasing", "releasing", "releasing"]),
    ("starting", "maintenance", ["maintenance", "maintenance", "maintenance"]),
    ("booting",  "free",        ["starting", "starting", "error"]),
    ("booting",  "assigned",    ["starting", "starting", "error"]),
    ("booting",  "on_air",      ["starting", "starting", "error"]),
    ("booting",  "releasing",   ["releasing", "releasing", "releasing"]),
    ("booting",  "maintenance", ["maintenance", "maintenance", "maintenance"]),
    ("ready",    "free",        ["available", "error", "error"]),
    ("ready",    "assigned",    ["assigned", "error", "error"]),
    ("ready",    "on_air",      ["in_use", "error", "error"]),
    ("ready",    "releasing",   ["releasing", "releasing", "releasing"]),
    ("ready",    "maintenance", ["maintenance", "maintenance", "maintenance"]),
    ("stopping", "free",        ["stopping", "stopping", "stopping"]),
    ("stopping", "assigned",    ["stopping", "stopping", "stopping"]),
    ("stopping", "on_air",      ["stopping", "stopping", "stopping"]),
    ("stopping", "releasing",   ["stopping", "stopping", "stopping"]),
    ("stopping", "maintenance", ["maintenance", "maintenance", "maintenance"]),
];

fn power_named(name: &str) -> Power {
    match name {
        "stopped" => Power::Stopped,
        "starting" => Power::Starting { attempt: Attempt(1) },
        "booting" => Power::Booting,
        "ready" => Power::Ready,
        "stopping" => Power::Stopping { attempt: Attempt(1) },
        other => panic!("no power is called {other}"),
    }
}

fn power_name(power: Power) -> &'static str {
    match power {
        Power::Stopped => "stopped",
        Power::Starting { .. } => "starting",
        Power::Booting => "booting",
        Power::Ready => "ready",
        Power::Stopping { .. } => "stopping",
    }
}

/// Only to have the compiler ask for a row when an event is added.
fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Adopted { .. } => "Adopted",
        Event::Described { .. } => "Described",
        Event::Starting { .. } => "Starting",
        Event::Booting => "Booting",
        Event::Ready => "Ready",
        Event::Stopping { .. } => "Stopping",
        Event::StopFailed { .. } => "StopFailed",
        Event::Stopped => "Stopped",
        Event::Gone => "Gone",
        Event::HealthTurned { .. } => "HealthTurned",
        Event::Faulted { .. } => "Faulted",
        Event::FaultCleared => "FaultCleared",
        Event::Withheld { .. } => "Withheld",
        Event::Cleaned { .. } => "Cleaned",
        Event::Resealed { .. } => "Resealed",
        Event::MaintenanceBegan { .. } => "MaintenanceBegan",
        Event::MaintenanceEnded => "MaintenanceEnded",
        Event::ArchiveResumed { .. } => "ArchiveResumed",
        Event::Archive { .. } => "Archive",
    }
}

fn event_named(name: &str) -> Event {
    let event = match name {
        "Adopted" => Event::Adopted {
            instance: instance(1),
        },
        "Described" => Event::Described {
            instance: instance(1),
        },
        "Starting" => Event::Starting { attempt: Attempt(2) },
        "Booting" => Event::Booting,
        "Ready" => Event::Ready,
        "Stopping" => Event::Stopping { attempt: Attempt(2) },
        "StopFailed" => Event::StopFailed {
            reason: "throttled".into(),
        },
        "Stopped" => Event::Stopped,
        "Gone" => Event::Gone,
        "HealthTurned unhealthy" => Event::HealthTurned {
            health: Health::Unhealthy,
        },
        "HealthTurned degraded" => Event::HealthTurned {
            health: Health::Degraded,
        },
        "Faulted" => Event::Faulted {
            reason: "it crashed".into(),
        },
        "FaultCleared" => Event::FaultCleared,
        "Withheld" => Event::Withheld {
            reason: "recordings are on it".into(),
        },
        "Cleaned" => cleaned(true),
        "Resealed" => Event::Resealed {
            keys: leftover(1).keys,
        },
        "MaintenanceBegan" => Event::MaintenanceBegan { reason: None },
        "MaintenanceEnded" => Event::MaintenanceEnded,
        "ArchiveResumed" => Event::ArchiveResumed {
            folder: "none/".into(),
        },
        "Archive" => Event::Archive {
            folder: "none/".into(),
            event: archive_asked(),
        },
        other => panic!("no event is called {other}"),
    };
    assert!(name.starts_with(event_name(&event)), "{name}");
    event
}

fn fault() -> Fault {
    Fault {
        reason: "it crashed".into(),
        since: at(0),
        previous: Status::Available,
    }
}

/// A state in which VM 1 has this power and is for this, and its show agrees.
fn state_in(power: &str, occupancy: &str) -> State {
    let mut vm = machine(1, power_named(power));
    let (show, now, before) = (show_id(1), Epoch(2), Epoch(1));
    let phase = match occupancy {
        "free" => Phase::Idle,
        "assigned" => {
            vm.occupancy = Occupancy::Assigned { show, epoch: now };
            Phase::OffAir
        }
        "on_air" => {
            vm.occupancy = Occupancy::OnAir { show, epoch: now };
            Phase::OnAir
        }
        "releasing" => {
            vm.occupancy = Occupancy::Releasing { show, epoch: now };
            Phase::Releasing { stop_vm: false }
        }
        "leaving" => {
            vm.occupancy = Occupancy::OnAir { show, epoch: before };
            vm.fault = Some(fault());
            failing_over(1, None)
        }
        "arriving" => {
            vm.occupancy = Occupancy::Assigned { show, epoch: now };
            failing_over(2, Some(1))
        }
        "maintenance" => {
            vm.occupancy = Occupancy::Maintenance { reason: None };
            Phase::Idle
        }
        other => panic!("no occupancy is called {other}"),
    };
    let mut vms = vec![vm];
    if occupancy == "arriving" {
        let mut left = machine(2, Power::Ready);
        left.occupancy = Occupancy::OnAir {
            show: show_id(1),
            epoch: before,
        };
        vms.push(left);
    }
    let has = match &phase {
        Phase::Idle => None,
        Phase::OffAir | Phase::OnAir | Phase::Releasing { .. } => Some(vm_id(1)),
        Phase::FailingOver(failover) => Some(failover.from.clone()),
    };
    let idle_since = (phase == Phase::Idle).then(|| at(0));
    let show = Show {
        phase,
        vm: has,
        epoch: now,
        idle_since,
        ..Show::new(show_id(1))
    };
    let state = state_of(vms, vec![show]);
    assert_eq!(
        understudy::domain::invariants::violations(&state),
        Vec::<String>::new()
    );
    state
}

fn failing_over(from: usize, to: Option<usize>) -> Phase {
    Phase::FailingOver(Box::new(Failover {
        epoch: Epoch(2),
        cause: Cause::StudioLost,
        from: vm_id(from),
        to: to.map(vm_id),
        evidence: evidence(),
        began_at: at(1),
        chosen_at: None,
        fenced: None,
        restored_at: None,
        differences: Vec::new(),
        restored_by: None,
        publish: true,
        publishing_at: None,
        lost_at: Vec::new(),
    }))
}

fn outcome(state: &State, event: &Fact, show: impl Fn(&Vm) -> String) -> String {
    match state.with(std::slice::from_ref(event), at(10)) {
        Ok(after) => after.vm(&vm_id(1)).map_or("removed".into(), |vm| show(vm)),
        Err(_) => NO.into(),
    }
}

#[test]
fn every_event_in_every_power_does_what_the_table_says() {
    for (name, row) in BY_POWER {
        for (power, expected) in POWERS.into_iter().zip(row) {
            let state = state_of(vec![machine(1, power_named(power))], Vec::new());
            let actual = outcome(&state, &of_vm(1, event_named(name)), |vm| {
                format!("{}: {}", power_name(vm.power), vm.status())
            });
            assert_eq!(actual, expected, "{name} while {power}");
        }
    }
}

#[test]
fn what_a_show_left_on_a_vm_keeps_it_from_being_available_until_it_is_cleaned() {
    for (name, row) in NOT_CLEAN {
        for (power, expected) in POWERS.into_iter().zip(row) {
            let mut vm = machine(1, power_named(power));
            vm.leftover = Some(Arc::new(leftover(1)));
            let state = state_of(vec![vm], Vec::new());
            let tell = |vm: &Vm| {
                let left = match &vm.leftover {
                    None => "",
                    Some(left) if left.forgiven => ", forgiven",
                    Some(_) => ", left",
                };
                format!("{}: {}{left}", power_name(vm.power), vm.status())
            };
            let actual = match name {
                "(as it is)" => tell(state.vm(&vm_id(1)).unwrap()),
                "Cleaned, forgiven" => outcome(&state, &of_vm(1, forgiven()), tell),
                "Cleaned, not accepted" => outcome(&state, &of_vm(1, cleaned(false)), tell),
                event => outcome(&state, &of_vm(1, event_named(event)), tell),
            };
            assert_eq!(actual, expected, "{name} while {power}");
        }
    }
}

#[test]
fn every_event_in_every_occupancy_does_what_the_table_says() {
    for (name, power, row) in BY_OCCUPANCY {
        for (occupancy, expected) in OCCUPANCIES.into_iter().zip(row) {
            // A stop is begun only where it may be, so that a failed one elsewhere is not a state to test.
            let state = if (name, occupancy) == ("StopFailed", "on_air") {
                let mut vm = machine(1, Power::Stopping { attempt: Attempt(1) });
                vm.occupancy = Occupancy::OnAir {
                    show: show_id(1),
                    epoch: Epoch(1),
                };
                state_of(vec![vm], Vec::new())
            } else {
                state_in(power, occupancy)
            };
            let actual = outcome(&state, &of_vm(1, event_named(name)), |vm| vm.status().to_string());
            assert_eq!(actual, expected, "{name} while {occupancy} and {power}");
        }
    }
}

#[test]
fn the_status_is_what_the_table_says_for_every_power_occupancy_health_and_fault() {
    let (show, epoch) = (show_id(1), Epoch(1));
    for (power, occupancy, [well, unhealthy, faulted]) in STATUS {
        let mut vm = machine(1, power_named(power));
        vm.occupancy = match occupancy {
            "free" => Occupancy::Free,
            "assigned" => Occupancy::Assigned {
                show: show.clone(),
                epoch,
            },
            "on_air" => Occupancy::OnAir {
                show: show.clone(),
                epoch,
            },
            "releasing" => Occupancy::Releasing {
                show: show.clone(),
                epoch,
            },
            "maintenance" => Occupancy::Maintenance { reason: None },
            other => panic!("no occupancy is called {other}"),
        };
        for health in [
            Health::Unknown,
            Health::Healthy,
            Health::Degraded,
            Health::Unhealthy,
        ] {
            vm.health = health;
            vm.fault = None;
            let expected = if health == Health::Unhealthy {
                unhealthy
            } else {
                well
            };
            assert_eq!(vm.status().as_str(), expected, "{power} {occupancy} {health:?}");
            vm.fault = Some(fault());
            assert_eq!(
                vm.status().as_str(),
                faulted,
                "{power} {occupancy} {health:?} with a fault"
            );
        }
    }
}

#[test]
fn the_tables_name_every_power_and_occupancy_once() {
    let mut pairs: Vec<_> = STATUS
        .iter()
        .map(|(power, occupancy, _)| (power, occupancy))
        .collect();
    pairs.sort();
    pairs.dedup();
    assert_eq!(pairs.len(), 25);
    let by_power: BTreeSet<_> = BY_POWER.iter().map(|row| row.0).collect();
    let by_occupancy: BTreeSet<_> = BY_OCCUPANCY.iter().map(|row| row.0).collect();
    assert_eq!(by_power, by_occupancy);
    assert_eq!(by_power.len(), BY_POWER.len());
}
