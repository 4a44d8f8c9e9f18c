//! Corners of VMs and the pool that were once wrong, or might be: each a short story.

use std::sync::Arc;
use std::time::Duration;

use understudy::domain::failover::Ending;
use understudy::domain::health::{Hysteresis, Thresholds};
use understudy::domain::ids::{Attempt, Epoch, RequestKey, Seq, VmId};
use understudy::domain::instance::Instance;
use understudy::domain::placement::{COMPARED_MAX, Wish};
use understudy::domain::pool::{self, Allocation, FAULT_COOLOFF, Reservations};
use understudy::domain::show::{self, Show};
use understudy::domain::state::{IDLE_SHOWS_MAX, KEYS_MAX, Rejected, Request, Snapshot, State};
use understudy::domain::vm::{self as machines, Event, Fault, Health, Power, Status};

use crate::fixtures::{
    after, all_of, assigned, at, being_moved, ended, failover_began, fenced, instance, machine, of_show,
    of_vm, ready_pool, refuses, settings, show_id, state_of, vm, vm_id,
};

fn allocate(state: &State) -> Result<Allocation, pool::Denied> {
    let ms = FAULT_COOLOFF.as_millis() as u64 + 10;
    pool::allocate(
        state,
        &Reservations::default(),
        &Wish::default(),
        &settings(),
        &|_| None,
        at(ms),
    )
}

#[test]
fn a_description_of_another_instance_is_refused() {
    let state = ready_pool(2);
    let other = Event::Described {
        instance: instance(2),
    };
    assert!(matches!(
        refuses(&state, of_vm(1, other)),
        Rejected::Vm(machines::Rejected::OtherInstance { .. })
    ));
    let named = Event::Described {
        instance: Instance {
            name: Some("camera 1".into()),
            ..instance(1)
        },
    };
    let state = after(&state, vec![of_vm(1, named)]);
    assert_eq!(
        state.vm_of_instance(&instance(1).instance_id).unwrap().id,
        vm_id(1)
    );
}

#[test]
fn of_a_large_pool_the_latest_proof_among_those_available_for_longest_is_taken() {
    let count = 3 * (COMPARED_MAX + 10);
    let state = ready_pool(count);
    let proven = |vm: &VmId| vm.as_str()[3..].parse().ok().map(at);
    let wish = Wish::default();
    let chosen = pool::allocate(
        &state,
        &Reservations::default(),
        &wish,
        &settings(),
        &proven,
        at(9),
    );
    // All have been available since the same moment, so those compared are the first by name in each zone.
    let zone = |n: usize| machine(n, Power::Ready).instance.availability_zone;
    let mut names: Vec<(VmId, usize)> = (1..=count).map(|n| (vm_id(n), n)).collect();
    names.sort();
    let compared = (0..3).flat_map(|z| {
        let there = names.iter().filter(move |(_, n)| zone(*n) == zone(z));
        there.take(COMPARED_MAX).map(|(_, n)| *n)
    });
    assert_eq!(chosen, Ok(Allocation::Warm(vm_id(compared.max().unwrap()))));
}

#[test]
fn a_show_counts_in_the_zone_that_its_machine_is_moved_to() {
    let state = after(&ready_pool(1), vec![of_show(1, assigned(1, 1))]);
    assert_eq!(
        (state.shows_in_zone("zone-1"), state.shows_in_zone("elsewhere")),
        (1, 0)
    );
    let moved = Event::Described {
        instance: Instance {
            availability_zone: Some("elsewhere".into()),
            ..instance(1)
        },
    };
    let state = after(&state, vec![of_vm(1, moved)]);
    assert_eq!(
        (state.shows_in_zone("zone-1"), state.shows_in_zone("elsewhere")),
        (0, 1)
    );
    assert_eq!(State::from(Snapshot::from(&state)), state);
}

#[test]
fn an_attempt_number_is_used_once() {
    let start = |attempt| {
        of_vm(
            1,
            Event::Starting {
                attempt: Attempt(attempt),
            },
        )
    };
    let state = state_of(vec![machine(1, Power::Stopped)], Vec::new());
    let state = after(&state, vec![start(2), of_vm(1, Event::Stopped)]);
    for used in [0, 1, 2] {
        let why = refuses(&state, start(used));
        assert!(
            matches!(why, Rejected::Vm(machines::Rejected::StaleAttempt { .. })),
            "{used}: {why}"
        );
    }
    assert_eq!(vm(&after(&state, vec![start(3)]), 1).attempts, Attempt(3));
}

#[test]
fn a_status_that_no_vm_has_any_more_leaves_no_trace() {
    let before = state_of(vec![machine(1, Power::Stopped)], Vec::new());
    let start = of_vm(1, Event::Starting { attempt: Attempt(2) });
    let state = after(&before, vec![start]);
    assert_eq!(State::from(Snapshot::from(&state)), state);
}

#[test]
fn a_machine_that_somebody_else_started_was_started_then() {
    let mut off = machine(1, Power::Stopped);
    off.last_started_at = Some(at(3));
    let state = after(&state_of(vec![off], Vec::new()), vec![of_vm(1, Event::Booting)]);
    assert_eq!(vm(&state, 1).last_started_at, Some(at(10)));
    let mut up = machine(1, Power::Ready);
    up.last_started_at = Some(at(3));
    let state = after(&state_of(vec![up], Vec::new()), vec![of_vm(1, Event::Booting)]);
    assert_eq!(
        vm(&state, 1).last_started_at,
        Some(at(3)),
        "a reboot is not a start"
    );
}

#[test]
fn a_second_fault_keeps_the_status_before_the_first() {
    let faulted = |reason: &str| {
        of_vm(
            1,
            Event::Faulted {
                reason: reason.into(),
            },
        )
    };
    let state = after(
        &ready_pool(1),
        vec![faulted("it crashed"), faulted("it crashed again")],
    );
    let fault = vm(&state, 1).fault.clone().unwrap();
    assert_eq!(
        (fault.previous, fault.reason.as_str()),
        (Status::Available, "it crashed again")
    );
}

#[test]
fn a_vm_on_its_way_up_can_be_reserved_though_its_services_do_not_answer_yet() {
    let unhealthy = of_vm(
        1,
        Event::HealthTurned {
            health: Health::Unhealthy,
        },
    );
    let state = after(
        &state_of(vec![machine(1, Power::Booting)], Vec::new()),
        vec![unhealthy],
    );
    assert_eq!(allocate(&state), Ok(Allocation::Starting(vm_id(1))));
    after(&state, vec![of_show(1, assigned(1, 1))]);
}

#[test]
fn a_faulted_vm_on_its_way_up_is_not_given_to_a_show() {
    for power in [Power::Starting { attempt: Attempt(1) }, Power::Booting] {
        let state = after(
            &state_of(vec![machine(1, power)], Vec::new()),
            vec![of_vm(
                1,
                Event::Faulted {
                    reason: "it crashed".into(),
                },
            )],
        );
        assert_eq!(allocate(&state), Err(pool::Denied::Exhausted));
        refuses(&state, of_show(1, assigned(1, 1)));
    }
}

#[test]
fn a_stopped_vm_with_a_fault_is_left_alone_until_it_has_cooled_off_or_there_is_nothing_else() {
    let mut off = machine(1, Power::Stopped);
    off.fault = Some(Fault {
        reason: "no capacity".into(),
        since: at(10),
        previous: Status::Starting,
    });
    let state = state_of(vec![off], Vec::new());
    let (none, settings) = (Reservations::default(), settings());
    let early = at(10) + FAULT_COOLOFF - Duration::from_millis(1);
    let cooled = at(10) + FAULT_COOLOFF;
    assert!(pool::replenish(&state, &none, &settings, early).is_empty());
    let allocated = |last_resort| {
        let wish = Wish {
            last_resort,
            ..Wish::default()
        };
        pool::allocate(&state, &none, &wish, &settings, &|_| None, early)
    };
    assert_eq!(allocated(false), Err(pool::Denied::Exhausted));
    assert_eq!(allocated(true), Ok(Allocation::Cold(vm_id(1))));
    assert_eq!(pool::replenish(&state, &none, &settings, cooled), [vm_id(1)]);
    assert_eq!(allocate(&state), Ok(Allocation::Cold(vm_id(1))));
    let reserved = state.with(&[of_show(1, assigned(1, 1))], cooled).unwrap();
    let start = of_vm(1, Event::Starting { attempt: Attempt(2) });
    assert_eq!(vm(&after(&reserved, vec![start]), 1).status(), Status::Starting);
}

#[test]
fn a_vm_that_is_gone_stays_in_the_pool_until_its_show_has_left_it() {
    let gone = || of_vm(1, Event::Gone);
    let held = after(&ready_pool(1), all_of(vec![assigned(1, 1)]));
    refuses(&held, gone());
    let moved = vec![
        of_vm(1, Event::Stopped),
        of_show(1, fenced(2)),
        of_show(1, ended(2, Ending::Moved)),
    ];
    let state = after(&after(&being_moved(), moved), vec![gone()]);
    assert!(state.vm(&vm_id(1)).is_none());
    assert!(state.vm_of_instance(&instance(1).instance_id).is_none());
    let again = Event::Adopted {
        instance: instance(1),
    };
    after(&state, vec![of_vm(9, again)]);
}

#[test]
fn a_reservation_of_a_vm_that_is_gone_is_forgotten() {
    let mut reservations = Reservations::default();
    reservations.reserve(&machine(1, Power::Ready), show_id(1), at(1_000));
    let state = after(&ready_pool(2), vec![of_vm(1, Event::Gone)]);
    reservations.settle(&state, at(20));
    assert!(!reservations.holds(&vm_id(1)));
}

#[test]
fn a_reservation_is_settled_once_its_vm_was_given_to_the_show_even_if_it_is_free_again() {
    let pool = ready_pool(1);
    let mut reservations = Reservations::default();
    reservations.reserve(&vm(&pool, 1), show_id(1), at(1_000));
    reservations.settle(&pool, at(20));
    assert!(reservations.holds(&vm_id(1)), "it is not in the ledger yet");
    let given = after(&pool, all_of(vec![assigned(1, 1)]));
    let released = show::Event::Released {
        vm: vm_id(1),
        key: None,
    };
    let back = after(
        &given,
        all_of(vec![
            show::Event::ReleaseBegan {
                stop_vm: false,
                key: None,
            },
            released,
        ]),
    );
    reservations.settle(&back, at(20));
    assert!(!reservations.holds(&vm_id(1)));
    assert_eq!(reservations.pending(&back), 0);
}

#[test]
fn a_show_with_two_reservations_counts_once_against_the_limit() {
    let mut reservations = Reservations::default();
    reservations.reserve(&machine(1, Power::Ready), show_id(1), at(1_000));
    reservations.reserve(&machine(2, Power::Ready), show_id(1), at(1_000));
    assert_eq!(reservations.pending(&ready_pool(3)), 1);
}

#[test]
fn a_vm_in_error_goes_into_maintenance_and_comes_back_in_error() {
    let began = of_vm(1, Event::MaintenanceBegan { reason: None });
    let events = vec![
        of_vm(
            1,
            Event::Faulted {
                reason: "it crashed".into(),
            },
        ),
        began,
    ];
    let state = after(&ready_pool(1), events);
    assert_eq!(vm(&state, 1).status(), Status::Maintenance);
    refuses(&state, of_show(1, assigned(1, 1)));
    let state = after(&state, vec![of_vm(1, Event::MaintenanceEnded)]);
    assert_eq!(vm(&state, 1).status(), Status::Error);
}

#[test]
fn a_check_that_found_nothing_out_does_not_excuse_a_vm() {
    let thresholds = Thresholds { fail: 3, recover: 2 };
    let mut hysteresis = Hysteresis::new(Health::Healthy);
    let turned: Vec<_> = [
        Health::Unhealthy,
        Health::Unknown,
        Health::Unhealthy,
        Health::Unknown,
        Health::Unhealthy,
    ]
    .into_iter()
    .filter_map(|level| hysteresis.observe(level, thresholds))
    .collect();
    assert_eq!(turned, [Health::Unhealthy]);
}

#[test]
fn spares_for_shows_that_fail_together_are_spread_over_zones() {
    // VMs 3 and 6 are in zone 0, 4 and 7 in zone 1; shows 1 and 2 are on 2 and 5, in zone 2.
    let vms = (2..=7).map(|n| machine(n, Power::Ready)).collect();
    let state = after(
        &state_of(vms, Vec::new()),
        vec![of_show(1, assigned(2, 1)), of_show(2, assigned(5, 1))],
    );
    let state = after(&state, vec![of_show(1, failover_began(2, Some(6)))]);
    assert_eq!(allocate(&state), Ok(Allocation::Warm(vm_id(4))));
}

#[test]
fn the_longest_idle_show_is_forgotten_when_there_are_too_many() {
    let idle = |n: usize| {
        let since = at(1_000 + n as u64);
        Show {
            epoch: Epoch(1),
            idle_since: Some(since),
            ..Show::new(show_id(n))
        }
    };
    let snapshot = Snapshot {
        shows: (2..IDLE_SHOWS_MAX + 2).map(|n| Arc::new(idle(n))).collect(),
        ..Snapshot::from(&ready_pool(1))
    };
    let state = State::from(snapshot);
    let events = [
        assigned(1, 1),
        show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
    ]
    .map(|event| of_show(1, event));
    let held = state.with(&events, at(50_000)).unwrap();
    assert!(held.show(&show_id(2)).is_some());
    let released = of_show(
        1,
        show::Event::Released {
            vm: vm_id(1),
            key: None,
        },
    );
    let state = held.with(&[released], at(50_000)).unwrap();
    assert_eq!(state.shows().count(), IDLE_SHOWS_MAX);
    assert!(state.show(&show_id(2)).is_none(), "the one that was idle longest");
    assert_eq!(
        state.next_epoch(&show_id(1)),
        Epoch(2),
        "the one that was released last is remembered"
    );
    assert_eq!(State::from(Snapshot::from(&state)), state);
}

#[test]
fn a_release_is_known_by_its_key_from_its_beginning_and_in_older_journals_from_its_end() {
    let key = |name: &str| RequestKey::new(name).unwrap();
    let began = show::Event::ReleaseBegan {
        stop_vm: false,
        key: Some(key("first")),
    };
    let joined = show::Event::ReleaseJoined { key: key("second") };
    let begun = all_of(vec![began.clone(), joined.clone()]);
    let state = after(&ready_pool(2), [vec![of_show(1, assigned(1, 1))], begun].concat());
    for name in ["first", "second"] {
        let done = state.done(&key(name)).unwrap();
        assert_eq!((done.request, &done.vm), (Request::Release, &vm_id(1)), "{name}");
    }
    assert!(
        state.with(&[of_show(1, joined)], at(9)).is_err(),
        "it is known already"
    );
    let other = [of_show(2, assigned(2, 1)), of_show(2, began)];
    assert!(state.with(&other, at(9)).is_err(), "it is another's");

    let older = r#"[{"release_began":{"stop_vm":true}},{"released":{"vm":"VM","key":"old"}}]"#;
    let older = older.replace("VM", vm_id(1).as_str());
    let events: Vec<show::Event> = serde_json::from_str(&older).unwrap();
    let state = after(
        &ready_pool(1),
        [vec![of_show(1, assigned(1, 1))], all_of(events)].concat(),
    );
    assert_eq!(state.done(&key("old")).unwrap().request, Request::Release);
}

#[test]
fn the_oldest_idempotency_key_is_forgotten_when_there_are_too_many() {
    let key = |n: u64| RequestKey::new(format!("key-{n:05}")).unwrap();
    let mut state = ready_pool(1);
    for n in 0..=(KEYS_MAX as u64) / 2 {
        let round = [
            show::Event::Assigned {
                vm: vm_id(1),
                epoch: Epoch(n + 1),
                by: None,
                key: Some(key(2 * n)),
            },
            show::Event::ReleaseBegan {
                stop_vm: false,
                key: None,
            },
            show::Event::Released {
                vm: vm_id(1),
                key: Some(key(2 * n + 1)),
            },
        ];
        for event in round {
            state.apply(&of_show(1, event), at(n)).unwrap();
        }
    }
    assert!(state.done(&key(0)).is_none() && state.done(&key(1)).is_none());
    assert!(state.done(&key(2)).is_some());
    assert_eq!(Snapshot::from(&state).keys.len(), KEYS_MAX);
    assert_eq!(state.seq, Seq(3 * (KEYS_MAX as u64 / 2 + 1)));
}
