//! The archive of a show's recordings: what belongs to it, how it is sent, and that nothing is given back before.

use understudy::domain::archive::{
    CLOCK_ALLOWANCE, Ending, Event, Found, PARTS_MAX, Recording, Stage, StoredPart, Upload, key, select,
};
use understudy::domain::ids::Epoch;
use understudy::domain::show;
use understudy::domain::state::State;
use understudy::domain::vm::Power;

use proptest::prelude::*;

use crate::fixtures::{archive, archive_asked, assigned, at, machine, of_show, show_id, state_of, vm_id};

const MIB: u64 = 1 << 20;

fn recording(bytes: u64) -> Recording {
    Recording {
        name: "a.mkv".into(),
        bytes,
        modified: at(3),
    }
}

fn upload(bytes: u64) -> Upload {
    Upload::new(recording(bytes), "k/a.mkv".into(), "u1".into(), 8 * MIB)
}

fn part(number: u64) -> Event {
    Event::PartStored {
        upload_id: "u1".into(),
        number,
        part: StoredPart {
            tag: format!("tag {number}"),
            checksum: format!("sum {number}"),
        },
    }
}

fn began() -> Event {
    Event::UploadBegan {
        upload: upload(20 * MIB),
    }
}

fn kept() -> Event {
    let upload_id = "u1".into();
    Event::Kept { upload_id }
}

fn removed() -> Event {
    let name = "a.mkv".into();
    Event::Removed { name }
}

fn done() -> Event {
    let ending = Ending::Done { older: 2 };
    Event::Ended { ending }
}

fn failed() -> Event {
    let reason = "no bucket".into();
    let ending = Ending::Failed { reason };
    Event::Ended { ending }
}

fn dropped(upload_id: &str) -> Event {
    Event::UploadDropped {
        upload_id: upload_id.into(),
        reason: "it changed".into(),
    }
}

/// A show that gives its VM back, whose recordings are to be kept.
fn asked() -> State {
    let release = show::Event::ReleaseBegan {
        stop_vm: false,
        key: None,
    };
    let state = state_of(vec![machine(1, Power::Ready)], Vec::new());
    let events = [assigned(1, 1), release, archive(1, archive_asked())];
    let facts: Vec<_> = events.into_iter().map(|event| of_show(1, event)).collect();
    state.with(&facts, at(5)).unwrap()
}

/// After these events, or nothing if one of them is refused.
fn after(state: &State, events: &[Event]) -> Option<State> {
    let facts: Vec<_> = events
        .iter()
        .map(|event| of_show(1, archive(1, event.clone())))
        .collect();
    state.with(&facts, at(9)).ok()
}

fn stage(state: &State) -> Stage {
    let show = state.show(&show_id(1)).unwrap();
    show.archive.as_ref().unwrap().stage.clone()
}

#[test]
fn a_recording_is_uploaded_kept_and_then_removed_and_in_no_other_order() {
    let begun = after(&asked(), &[began()]).unwrap();
    for refused in [
        kept(),
        removed(),
        done(),
        part(2),
        part(0),
        began(),
        dropped("u2"),
    ] {
        assert!(
            after(&begun, std::slice::from_ref(&refused)).is_none(),
            "{refused:?}"
        );
    }
    let two = after(&begun, &[part(1), part(2)]).unwrap();
    assert!(after(&two, &[kept()]).is_none(), "a part is missing");
    assert!(after(&two, &[part(2)]).is_none(), "it has arrived already");
    let sent = after(&two, &[part(3)]).unwrap();
    assert!(after(&sent, &[part(4)]).is_none());
    let verified = after(&sent, &[kept()]).unwrap();
    for refused in [began(), kept(), done(), dropped("u1")] {
        assert!(
            after(&verified, std::slice::from_ref(&refused)).is_none(),
            "{refused:?}"
        );
    }
    let looking = after(&verified, &[removed()]).unwrap();
    assert_eq!(stage(&looking), Stage::Looking);
    let show = looking.show(&show_id(1)).unwrap();
    let archive = show.archive.as_ref().unwrap();
    assert_eq!((archive.files, archive.bytes), (1, 20 * MIB));
    assert!(after(&looking, &[removed()]).is_none());
    let ended = after(&looking, &[done()]).unwrap();
    for refused in [began(), failed(), done(), archive_asked()] {
        assert!(
            after(&ended, std::slice::from_ref(&refused)).is_none(),
            "{refused:?}"
        );
    }
}

#[test]
fn it_may_fail_at_any_stage_and_begin_an_upload_again() {
    let stages: [&[Event]; 4] = [
        &[],
        &[began(), part(1)],
        &[began(), part(1), part(2), part(3), kept()],
        &[began(), dropped("u1"), began()],
    ];
    for events in stages {
        let state = after(&asked(), events).unwrap();
        assert!(after(&state, &[failed()]).is_some(), "{:?}", stage(&state));
    }
}

#[test]
fn a_vm_is_not_given_back_before_its_archive_has_ended() {
    let released = show::Event::Released {
        vm: vm_id(1),
        key: None,
    };
    let released = [of_show(1, released)];
    let state = asked();
    assert!(state.with(&released, at(10)).is_err());
    for ending in [done(), failed()] {
        let ended = after(&state, std::slice::from_ref(&ending)).unwrap();
        let idle = ended.with(&released, at(10)).unwrap();
        // What became of it can still be asked for, until the show has its next VM.
        let show = idle.show(&show_id(1)).unwrap();
        assert!(
            show.archive
                .as_ref()
                .is_some_and(|archive| archive.ending().is_some())
        );
        let next = idle.with(&[of_show(1, assigned(1, 2))], at(11)).unwrap();
        assert_eq!(next.show(&show_id(1)).unwrap().archive, None);
    }
}

#[test]
fn what_is_said_of_another_epoch_is_refused() {
    let stale = show::Event::Archive {
        epoch: Epoch(2),
        event: began(),
    };
    assert!(asked().with(&[of_show(1, stale)], at(9)).is_err());
}

#[test]
fn a_recording_belongs_to_the_assignment_in_which_it_was_written_and_others_are_counted() {
    let since = at(1_000_000);
    let file = |name: &str, modified: Option<u64>| Found {
        name: name.into(),
        bytes: 7,
        modified: modified.map(at),
    };
    let allowed = 1_000_000 - u64::try_from(CLOCK_ALLOWANCE.as_millis()).unwrap();
    let found = [
        file("late.mkv", Some(2_000_000)),
        file("EARLY.MP4", Some(allowed)),
        file("before.mkv", Some(allowed - 1)),
        file("unknown.flv", None),
        file("notes.txt", Some(2_000_000)),
        file(".hidden.mkv", Some(2_000_000)),
        file("mkv", Some(2_000_000)),
        file(".mkv", Some(2_000_000)),
    ];
    let selection = select(&found, since, None);
    let names: Vec<&str> = selection.recordings.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["EARLY.MP4", "late.mkv"]);
    assert_eq!(selection.older, 2);
    // Once another show has had the VM, what that one wrote is not this one's, by the same clock.
    let selection = select(&found, since, Some(at(2_000_000)));
    let names: Vec<&str> = selection.recordings.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((names.as_slice(), selection.older), (&["EARLY.MP4"][..], 3));
}

#[test]
fn a_key_is_the_name_under_the_folder_without_what_xml_cannot_say() {
    assert_eq!(
        key("a/b/", "2026-11-21 20-00-00 ü.mkv"),
        "a/b/2026-11-21 20-00-00 ü.mkv"
    );
    assert_eq!(key("a/", "50%\n.mkv"), "a/50%25%0A.mkv");
}

#[test]
fn parts_that_are_missing_or_other_than_sent_are_noticed() {
    let mut upload = upload(20 * MIB);
    assert!(upload.is_confirmed_by(|_| None));
    for number in 1..=3 {
        upload.stored.push(StoredPart {
            tag: String::new(),
            checksum: format!("sum {number}"),
        });
    }
    let there = |number| (upload.bytes_of(number), Some(format!("sum {number}")));
    assert!(upload.is_confirmed_by(|number| Some(there(number))));
    assert!(upload.is_confirmed_by(|number| Some((there(number).0, None))));
    assert!(!upload.is_confirmed_by(|number| (number != 2).then(|| there(number))));
    assert!(!upload.is_confirmed_by(|number| Some((there(number).0 - 1, None))));
    assert!(!upload.is_confirmed_by(|number| Some((there(number).0, Some("sum 1".into())))));
}

proptest! {
    #[test]
    fn the_parts_of_a_file_are_all_of_it_and_not_too_many(bytes in 0_u64..(5 << 40), size in 5_u64..65) {
        let upload = Upload::new(recording(bytes), String::new(), String::new(), size * MIB);
        let parts = upload.parts();
        prop_assert!((1..=PARTS_MAX).contains(&parts));
        prop_assert!(upload.part_bytes >= size * MIB);
        prop_assert_eq!(upload.offset_of(parts) + upload.bytes_of(parts), bytes);
        prop_assert_eq!(upload.bytes_of(parts + 1), 0);
        if parts > 1 {
            prop_assert_eq!(upload.bytes_of(parts - 1), upload.part_bytes);
            prop_assert!(upload.bytes_of(parts) > 0);
        }
    }
}
