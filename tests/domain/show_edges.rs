//! Corners of shows and their moves that were once wrong, or might be: each a short story.

use std::sync::Arc;

use understudy::domain::failover::Ending;
use understudy::domain::ids::{Attempt, Epoch, RequestKey};
use understudy::domain::show::{self, Phase, Show};
use understudy::domain::state::State;
use understudy::domain::vm::{Event, Occupancy, Power, Status};

use crate::fixtures::{
    after, all_of, assigned, at, being_moved, ended, failover_began, fenced, machine, of_show, of_vm,
    publishing, ready_pool, refuses, restored, set_up, show_id, spare_lost, state_of, studio, vm, vm_id,
    went_on_air,
};

fn show(state: &State) -> Arc<Show> {
    Arc::clone(state.show(&show_id(1)).unwrap())
}

fn wanted(wanted: bool) -> show::Event {
    show::Event::StreamWanted { wanted }
}

fn reassigned(epoch: u64) -> show::Event {
    show::Event::Reassigned {
        from: vm_id(1),
        vm: vm_id(3),
        epoch: Epoch(epoch),
    }
}

#[test]
fn a_refused_event_leaves_even_the_state_it_was_applied_to_as_it_was() {
    let key = RequestKey::new("once").unwrap();
    let with_key = |vm, key| show::Event::Assigned {
        vm: vm_id(vm),
        epoch: Epoch(1),
        by: None,
        key,
    };
    let busy = after(&ready_pool(2), vec![of_show(2, assigned(2, 1))]);
    let mut state = busy.clone();
    let event = of_show(1, with_key(2, Some(key.clone())));
    assert!(state.apply(&event, at(11)).is_err());
    assert_eq!(state, busy);
    assert!(
        state.done(&key).is_none(),
        "the key of a refused request is free to be used"
    );

    let mut coming_up = machine(1, Power::Booting);
    coming_up.fault = None;
    let pool = state_of(
        vec![coming_up, machine(3, Power::Stopping { attempt: Attempt(1) })],
        Vec::new(),
    );
    let held = after(&pool, vec![of_show(1, assigned(1, 1))]);
    let mut state = held.clone();
    assert!(state.apply(&of_show(1, reassigned(2)), at(11)).is_err());
    assert_eq!(
        state, held,
        "the VM is not taken away when the one to replace it cannot be taken"
    );
}

#[test]
fn a_vm_that_came_up_is_left_by_a_failover_only() {
    let booting = state_of(
        vec![machine(1, Power::Booting), machine(3, Power::Ready)],
        Vec::new(),
    );
    let held = after(&booting, all_of(vec![assigned(1, 1), wanted(true)]));
    after(&held, vec![of_show(1, reassigned(2))]);
    let ready = after(&held, vec![of_vm(1, Event::Ready)]);
    refuses(&ready, of_show(1, reassigned(2)));
    let stopped = after(&ready, vec![of_vm(1, Event::Stopped)]);
    after(&stopped, vec![of_show(1, reassigned(2))]);
}

#[test]
fn a_vm_that_a_failover_gave_back_unfenced_is_left_by_a_failover_only() {
    let stop = of_vm(1, Event::Stopping { attempt: Attempt(2) });
    let failed = of_vm(
        1,
        Event::StopFailed {
            reason: "throttled".into(),
        },
    );
    let state = after(
        &being_moved(),
        vec![stop, failed, of_show(1, ended(2, Ending::Abandoned))],
    );
    assert_eq!(vm(&state, 1).power, Power::Booting);
    refuses(&state, of_show(1, reassigned(3)));
    let off = after(&state, vec![of_vm(1, Event::Stopped)]);
    after(&off, vec![of_show(1, reassigned(3))]);
}

#[test]
fn a_spare_that_was_about_to_publish_when_the_move_was_given_up_is_left_by_a_failover_only() {
    let booting = of_vm(2, Event::Booting);
    let mut events = vec![booting];
    events.extend(all_of(vec![
        fenced(2),
        restored(2),
        publishing(2),
        ended(2, Ending::Abandoned),
    ]));
    let state = after(&being_moved(), events);
    let elsewhere = show::Event::Reassigned {
        from: vm_id(2),
        vm: vm_id(3),
        epoch: Epoch(3),
    };
    refuses(&state, of_show(1, elsewhere));
    after(&state, vec![of_show(1, failover_began(3, Some(3)))]);
}

#[test]
fn a_vm_that_is_being_stopped_neither_recovers_nor_goes_on_air() {
    let stop = of_vm(1, Event::Stopping { attempt: Attempt(2) });
    let state = after(&being_moved(), vec![stop]);
    refuses(&state, of_show(1, ended(2, Ending::Recovered)));
    let state = after(&state, vec![of_show(1, ended(2, Ending::Abandoned))]);
    refuses(&state, of_show(1, went_on_air(2)));
}

#[test]
fn a_stream_that_is_called_off_while_failing_over_is_not_started_on_the_spare() {
    let state = after(
        &being_moved(),
        all_of(vec![fenced(2), restored(2), wanted(false)]),
    );
    assert!(!show(&state).failover().unwrap().publish);
    let state = after(&state, all_of(vec![ended(2, Ending::Moved)]));
    assert_eq!(show(&state).phase, Phase::OffAir);
    let late = after(
        &being_moved(),
        all_of(vec![fenced(2), restored(2), publishing(2), wanted(false)]),
    );
    assert!(
        show(&late).failover().unwrap().publish,
        "its start is under way and has to be seen through"
    );
}

#[test]
fn a_stream_is_not_wanted_from_a_show_that_is_being_released() {
    let release = show::Event::ReleaseBegan {
        stop_vm: false,
        key: None,
    };
    let state = after(&ready_pool(1), all_of(vec![assigned(1, 1), release]));
    refuses(&state, of_show(1, wanted(true)));
    after(&state, vec![of_show(1, wanted(false))]);
}

#[test]
fn nothing_is_restored_where_there_is_no_spare() {
    let begun = vec![assigned(1, 1), went_on_air(1), failover_began(2, None), fenced(2)];
    refuses(&after(&ready_pool(1), all_of(begun)), of_show(1, restored(2)));
}

#[test]
fn a_failover_ends_on_air_only_if_the_stream_was_about_to_start() {
    let state = after(&being_moved(), all_of(vec![fenced(2), restored(2)]));
    refuses(&state, of_show(1, ended(2, Ending::OnAir)));
    let state = after(&state, all_of(vec![publishing(2)]));
    let state = after(&state, all_of(vec![ended(2, Ending::OnAir)]));
    assert_eq!(show(&state).phase, Phase::OnAir);
}

#[test]
fn a_failover_whose_stream_was_about_to_start_ends_off_the_air_only_if_it_has_nowhere_to_stream_to() {
    let about_to_publish = vec![fenced(2), restored(2), publishing(2)];
    let moved = || of_show(1, ended(2, Ending::Moved));
    let bare = after(&being_moved(), all_of(about_to_publish.clone()));
    let settled = after(&bare, vec![moved()]);
    assert_eq!(show(&settled).phase, Phase::OffAir);
    assert!(show(&settled).may_publish, "its stream may start yet");

    let begun = vec![
        assigned(1, 1),
        set_up(false),
        went_on_air(1),
        failover_began(2, Some(2)),
    ];
    let configured = after(&ready_pool(4), all_of(begun));
    refuses(&after(&configured, all_of(about_to_publish)), moved());
}

#[test]
fn a_spare_that_was_about_to_publish_must_itself_be_fenced_when_it_is_lost() {
    let published = vec![fenced(2), restored(2), publishing(2), spare_lost(3, 2)];
    let state = after(&being_moved(), all_of(published));
    let failover = show(&state).failover().unwrap().clone();
    assert_eq!(
        (failover.from, failover.to, failover.fenced),
        (vm_id(2), None, None)
    );
    assert!(
        vm(&state, 1).is_free(),
        "the first VM was fenced and is no longer needed"
    );
    let chosen = show::Event::SpareChosen {
        epoch: Epoch(3),
        vm: vm_id(3),
    };
    let state = after(&state, all_of(vec![chosen, restored(3)]));
    refuses(&state, of_show(1, publishing(3)));
    after(
        &state,
        all_of(vec![fenced(3), publishing(3), ended(3, Ending::OnAir)]),
    );
}

#[test]
fn a_show_is_released_in_the_middle_of_a_failover_by_giving_the_move_up() {
    let release = || show::Event::ReleaseBegan {
        stop_vm: false,
        key: None,
    };
    refuses(&being_moved(), of_show(1, release()));
    let unfenced = after(
        &being_moved(),
        all_of(vec![ended(2, Ending::Abandoned), release()]),
    );
    assert_eq!(show(&unfenced).vm, Some(vm_id(1)));
    // It may have been restored already.
    assert_eq!(vm(&unfenced, 2).status(), Status::Releasing);
    let fenced = after(
        &being_moved(),
        all_of(vec![fenced(2), ended(2, Ending::Abandoned), release()]),
    );
    assert_eq!(show(&fenced).vm, Some(vm_id(2)));
    assert_eq!(
        vm(&fenced, 1).status(),
        Status::Error,
        "it failed, and has yet to prove itself"
    );
}

#[test]
fn a_show_whose_move_is_given_up_while_it_waits_for_a_spare_keeps_its_fenced_vm() {
    let waiting = vec![assigned(1, 1), went_on_air(1), failover_began(2, None), fenced(2)];
    let state = after(&ready_pool(1), all_of(waiting));
    let state = after(&state, all_of(vec![ended(2, Ending::Abandoned)]));
    assert_eq!(
        (&show(&state).phase, show(&state).may_publish),
        (&Phase::OffAir, false)
    );
    assert_eq!(show(&state).vm, Some(vm_id(1)));
    let released = show::Event::Released {
        vm: vm_id(1),
        key: None,
    };
    let release = show::Event::ReleaseBegan {
        stop_vm: false,
        key: None,
    };
    after(&state, all_of(vec![release, released]));
}

#[test]
fn a_show_for_which_there_is_no_spare_stays_with_its_old_vm_if_that_is_ready_again() {
    let waiting = vec![assigned(1, 1), went_on_air(1), failover_began(2, None)];
    let state = after(&ready_pool(2), all_of(waiting));
    let again = after(&state, all_of(vec![ended(2, Ending::Returned)]));
    assert_eq!(
        (&show(&again).phase, &show(&again).vm),
        (&Phase::OffAir, &Some(vm_id(1)))
    );
    assert!(show(&again).may_publish, "nobody has fenced it");
    assert_eq!(vm(&again, 1).fault, None);
    let off = after(&state, vec![of_vm(1, Event::Stopped)]);
    refuses(&off, of_show(1, ended(2, Ending::Returned)));
    let chosen = show::Event::SpareChosen {
        epoch: Epoch(2),
        vm: vm_id(2),
    };
    let moving = after(&state, all_of(vec![chosen]));
    refuses(&moving, of_show(1, ended(2, Ending::Returned)));
}

/// Else it would go on air with whatever the spare's last show left there.
#[test]
fn a_spare_that_was_not_restored_when_the_move_was_given_up_is_restored_before_it_streams() {
    let captured = show::Event::Captured {
        studio: Arc::new(studio()),
    };
    let begun = vec![
        assigned(1, 1),
        captured,
        went_on_air(1),
        failover_began(2, Some(2)),
        fenced(2),
    ];
    let fenced_only = after(&ready_pool(2), all_of(begun));
    let given_up = after(&fenced_only, all_of(vec![ended(2, Ending::Abandoned)]));
    assert!(show(&given_up).unrestored);
    let done = after(&given_up, all_of(vec![restored(2)]));
    assert!(!show(&done).unrestored);
    refuses(&done, of_show(1, restored(2)));
    let complete = all_of(vec![restored(2), ended(2, Ending::Abandoned)]);
    assert!(!show(&after(&fenced_only, complete)).unrestored);
}

/// Told to stop, it is not to come back on air because its studio failed before it did.
#[test]
fn a_show_that_was_asked_to_stop_is_moved_without_its_stream() {
    let on_air = after(&ready_pool(2), all_of(vec![assigned(1, 1), went_on_air(1)]));
    let by_hand = after(&on_air, all_of(vec![failover_began(2, Some(2))]));
    assert!(show(&by_hand).failover().unwrap().publish);
    let asked = after(&on_air, all_of(vec![wanted(false)]));
    assert!(show(&asked).stop_asked);
    let moved = after(&asked, all_of(vec![failover_began(2, Some(2))]));
    assert!(!show(&moved).failover().unwrap().publish);
    let again = after(&asked, all_of(vec![wanted(true)]));
    assert!(!show(&again).stop_asked);
}

#[test]
fn two_shows_never_fail_over_to_one_vm_nor_to_each_others() {
    let both = [assigned(1, 1), went_on_air(1)]
        .into_iter()
        .map(|event| of_show(1, event));
    let other = [assigned(2, 1), went_on_air(1)]
        .into_iter()
        .map(|event| of_show(2, event));
    let state = after(&ready_pool(3), both.chain(other).collect());
    refuses(&state, of_show(1, failover_began(2, Some(2))));
    let state = after(&state, vec![of_show(1, failover_began(2, Some(3)))]);
    refuses(&state, of_show(2, failover_began(2, Some(3))));
    refuses(&state, of_show(2, failover_began(2, Some(1))));
    let state = after(&state, vec![of_show(2, failover_began(2, None))]);
    let moved = vec![fenced(2), restored(2), publishing(2), ended(2, Ending::OnAir)];
    let state = after(&state, all_of(moved));
    refuses(
        &state,
        of_show(
            2,
            show::Event::SpareChosen {
                epoch: Epoch(2),
                vm: vm_id(1),
            },
        ),
    );
    let proven = [of_vm(1, Event::Booting), of_vm(1, Event::Ready)];
    let state = after(&state, proven.into());
    after(
        &state,
        vec![of_show(
            2,
            show::Event::SpareChosen {
                epoch: Epoch(2),
                vm: vm_id(1),
            },
        )],
    );
}

#[test]
fn who_assigned_a_show_is_known_of_every_vm_it_is_moved_to() {
    let by = Some("ada".to_owned());
    let first = show::Event::Assigned {
        vm: vm_id(1),
        epoch: Epoch(1),
        by: by.clone(),
        key: None,
    };
    let state = after(&ready_pool(2), all_of(vec![first, failover_began(2, Some(2))]));
    assert_eq!(vm(&state, 2).assigned_by, by);
}

#[test]
fn a_vm_that_is_not_wanted_on_air_recovers_off_air() {
    let events = vec![
        assigned(1, 1),
        failover_began(2, Some(2)),
        wanted(true),
        ended(2, Ending::Recovered),
    ];
    let state = after(&ready_pool(2), all_of(events));
    assert_eq!(
        show(&state).phase,
        Phase::OffAir,
        "nothing was streaming, and nobody has started it yet"
    );
    assert!(matches!(vm(&state, 1).occupancy, Occupancy::Assigned { .. }));
    assert_eq!(vm(&state, 1).fault, None);
}
