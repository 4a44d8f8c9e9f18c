//! Recordings that could not be archived when their show gave its VM back: the VM knows, and it is tried again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use understudy::domain::archive::{Ending, Event as Archive};
use understudy::domain::ids::Epoch;
use understudy::domain::state::{Snapshot, State};
use understudy::domain::unarchived::{PURSUED_FOR, UNARCHIVED_MAX, Unarchived};
use understudy::domain::vm::{Event, Power};
use understudy::domain::{show, time::Timestamp};

use crate::fixtures::{after, at, machine, of_show, of_vm, show_id, state_of, vm, vm_id};

const FOLDER: &str = "recordings/finals/1/";

fn ended(ending: Ending) -> Archive {
    Archive::Ended { ending }
}

fn failed() -> Archive {
    ended(Ending::Failed {
        reason: "no bucket".into(),
    })
}

/// What a show goes through that is released in this epoch with its recordings, which end so.
fn released(n: usize, epoch: u64, folder: &str, ending: Archive) -> Vec<understudy::domain::event::Event> {
    let epoch = Epoch(epoch);
    let archive = |event| show::Event::Archive { epoch, event };
    let asked = Archive::Asked {
        bucket: "shows".into(),
        folder: folder.into(),
        since: at(1),
    };
    let events = [
        show::Event::Assigned {
            vm: vm_id(1),
            epoch,
            by: None,
            key: None,
        },
        show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        archive(asked),
        archive(ending),
        show::Event::Released {
            vm: vm_id(1),
            key: None,
        },
    ];
    events.into_iter().map(|event| of_show(n, event)).collect()
}

fn left_by(ending: Archive) -> State {
    let state = state_of(vec![machine(1, Power::Ready)], Vec::new());
    after(&state, released(1, 1, FOLDER, ending))
}

fn only(state: &State) -> Arc<Unarchived> {
    let unarchived = &vm(state, 1).unarchived;
    assert_eq!(unarchived.len(), 1);
    Arc::clone(&unarchived[0])
}

fn resumed(folder: &str) -> Event {
    Event::ArchiveResumed {
        folder: folder.into(),
    }
}

fn archive(event: Archive) -> Event {
    Event::Archive {
        folder: FOLDER.into(),
        event,
    }
}

fn then(state: &State, events: Vec<Event>, now: Timestamp) -> State {
    let events: Vec<_> = events.into_iter().map(|event| of_vm(1, event)).collect();
    state.with(&events, now).unwrap()
}

#[test]
fn a_vm_knows_which_recordings_are_still_on_it_until_they_are_archived() {
    assert!(
        vm(&left_by(ended(Ending::Done { older: 0 })), 1)
            .unarchived
            .is_empty()
    );
    let state = left_by(failed());
    let left = only(&state);
    assert_eq!((&left.show, left.until, left.tries), (&show_id(1), None, 0));
    assert!(left.fault().contains("no bucket"), "{}", left.fault());
    assert_eq!(State::from(Snapshot::from(&state)), state);
    for refused in [archive(failed()), resumed("another/")] {
        assert!(
            state.with(&[of_vm(1, refused.clone())], at(20)).is_err(),
            "{refused:?}"
        );
    }
    let trying = then(&state, vec![resumed(FOLDER)], at(20));
    assert!(only(&trying).is_under_way());
    assert_eq!(only(&trying).archive.asked_at, at(20));
    assert!(
        trying.with(&[of_vm(1, resumed(FOLDER))], at(21)).is_err(),
        "it is under way"
    );
    let done = then(&trying, vec![archive(ended(Ending::Done { older: 1 }))], at(30));
    assert!(vm(&done, 1).unarchived.is_empty());
}

/// Each failing `takes` long after it began.
fn tried_while_pursued(takes: Duration) -> (State, Vec<Duration>) {
    let mut state = left_by(failed());
    let (began, mut now) = (only(&state).failed_at, only(&state).failed_at);
    let mut pauses = Vec::new();
    while let Some(next) = only(&state).next_try_at() {
        assert!(next.since(began) <= PURSUED_FOR, "tried after {pauses:?}");
        assert!(vm(&state, 1).pursues_archive());
        pauses.push(next.since(now));
        state = then(&state, vec![resumed(FOLDER)], next);
        now = next + takes;
        state = then(&state, vec![archive(failed())], now);
    }
    (state, pauses)
}

#[test]
fn it_is_tried_at_once_then_with_longer_and_longer_pauses_and_for_an_hour() {
    let (state, pauses) = tried_while_pursued(Duration::ZERO);
    let minutes = [0, 1, 2, 4, 8, 10, 10, 10, 10].map(|minutes| Duration::from_secs(minutes * 60));
    assert_eq!(pauses, minutes);
    assert!(!vm(&state, 1).pursues_archive());
    // Somebody may ask for it all the same, at any time; that does not begin the hour anew.
    let later = only(&state).failed_at + PURSUED_FOR * 24;
    let asked = then(&state, vec![resumed(FOLDER)], later);
    assert!(vm(&asked, 1).pursues_archive());
    let refused = then(&asked, vec![archive(failed())], later);
    assert!(!vm(&refused, 1).pursues_archive());
}

#[test]
fn tries_that_take_their_time_are_fewer_and_not_longer_in_all() {
    let (_, pauses) = tried_while_pursued(Duration::from_secs(120));
    assert_eq!(pauses.len(), 8, "{pauses:?}");
    let (_, pauses) = tried_while_pursued(PURSUED_FOR);
    assert_eq!(pauses.len(), 1, "{pauses:?}");
}

/// The first try is made whenever the VM is there for it: it may have been off when its show gave it back.
#[test]
fn a_vm_that_comes_up_after_days_is_asked_for_its_recordings_once_more() {
    let state = left_by(failed());
    let days = only(&state).failed_at + PURSUED_FOR * 72;
    assert!(only(&state).next_try_at().is_some_and(|at| at <= days));
    let tried = then(&state, vec![resumed(FOLDER), archive(failed())], days);
    assert!(vm(&tried, 1).pursues_archive(), "its hour has only begun");
}

#[test]
fn what_the_next_show_writes_is_not_the_last_ones() {
    let state = left_by(failed());
    let assigned = of_show(2, crate::fixtures::assigned(1, 1));
    let next = state.with(&[assigned], at(77)).unwrap();
    assert_eq!(only(&next).until, Some(at(77)));
    assert_eq!(vm(&next, 1).fault, None);
    let back = [
        show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        show::Event::Released {
            vm: vm_id(1),
            key: None,
        },
    ];
    let back = after(&next, back.map(|event| of_show(2, event)).to_vec());
    assert_eq!(vm(&back, 1).fault, None, "that is said by a fact of its own");
    let fault = vm(&back, 1).archive_fault().unwrap();
    assert!(fault.contains(show_id(1).as_str()), "{fault}");
}

/// As journals have it that were written before VMs knew what is still on them. Nothing in them says that the VM was out of
/// use for it, and another show got it.
#[test]
fn a_journal_of_before_gives_a_vm_with_recordings_left_to_further_shows() {
    let assigned = |show: &str| json!({"show": {"show": show, "event": {"assigned": {"vm": "vm-1", "epoch": 1, "by": null, "key": null}}}});
    let began = |show: &str| json!({"show": {"show": show, "event": {"release_began": {"stop_vm": false, "key": null}}}});
    let released =
        |show: &str| json!({"show": {"show": show, "event": {"released": {"vm": "vm-1", "key": null}}}});
    let archive = |event: Value| json!({"show": {"show": "show-1", "event": {"archive": {"epoch": 1, "event": event}}}});
    let of_vm = |event: Value| json!({"vm": {"vm": "vm-1", "event": event}});
    let journal = [
        assigned("show-1"),
        began("show-1"),
        archive(json!({"asked": {"bucket": "shows", "folder": FOLDER, "since": 1}})),
        archive(json!({"ended": {"ending": {"failed": {"reason": "no bucket"}}}})),
        released("show-1"),
        of_vm(json!({"faulted": {"reason": "recordings of show-1 are on it and not archived: no bucket"}})),
        of_vm(json!("fault_cleared")),
        assigned("show-2"),
        began("show-2"),
        released("show-2"),
        assigned("show-3"),
    ];
    let mut state = state_of(vec![machine(1, Power::Ready)], Vec::new());
    for (now, event) in (10..).zip(journal) {
        let read = serde_json::from_value(event.clone()).unwrap_or_else(|error| panic!("{error}: {event}"));
        state
            .apply(&read, at(now))
            .unwrap_or_else(|error| panic!("{error}: {event}"));
    }
    assert_eq!(vm(&state, 1).status().as_str(), "assigned");
    assert_eq!((&only(&state).show, only(&state).tries), (&show_id(1), 0));
}

/// Who withholds a VM, or begins to archive from it, has seen it free a moment ago.
#[test]
fn a_vm_that_a_show_has_taken_meanwhile_is_neither_withheld_nor_archived_from() {
    let state = left_by(failed());
    let withheld = || Event::Withheld {
        reason: only(&state).fault(),
    };
    let withheld_and_resumed = [withheld(), resumed(FOLDER)].map(|event| of_vm(1, event));
    let taken = after(&state, vec![of_show(2, crate::fixtures::assigned(1, 1))]);
    for refused in [
        vec![of_vm(1, withheld())],
        vec![of_vm(1, resumed(FOLDER))],
        withheld_and_resumed.to_vec(),
    ] {
        assert!(taken.with(&refused, at(20)).is_err(), "{refused:?}");
        assert!(state.with(&refused, at(20)).is_ok(), "it is free: {refused:?}");
    }
    let withheld = then(&state, vec![withheld()], at(20));
    assert_eq!(vm(&withheld, 1).status().as_str(), "error");
    let assigned = of_show(2, crate::fixtures::assigned(1, 1));
    assert!(withheld.with(&[assigned], at(21)).is_err());
}

#[test]
fn of_too_many_shows_that_left_recordings_the_oldest_are_forgotten() {
    let mut state = state_of(vec![machine(1, Power::Ready)], Vec::new());
    for n in 0..=UNARCHIVED_MAX as u64 {
        state = after(&state, released(1, n + 1, &format!("{n}/"), failed()));
    }
    let unarchived = &vm(&state, 1).unarchived;
    assert_eq!(unarchived.len(), UNARCHIVED_MAX);
    assert_eq!(unarchived[0].archive.folder, "1/");
}
