//! What is remembered of a studio that was made for a show: by which way, and in what it differs.

use std::sync::Arc;

use understudy::domain::configuration::Configuration;
use understudy::domain::failover::Ending;
use understudy::domain::ids::Epoch;
use understudy::domain::sealed::Sealed;
use understudy::domain::show::{Event, Show};
use understudy::domain::state::{Snapshot, State};
use understudy::domain::studio::{Json, MadeBy};
use understudy::domain::vm::Power;

use crate::fixtures::{
    assigned, at, compared, ended, failover_began, fenced, of_show, publishing, restored, set_up, show_id,
    spare_lost, studio, went_on_air,
};
use crate::show_table::{after, in_step, pool};

/// A show on air that has been moved there, with its studio.
fn moved() -> State {
    let capture = Event::Captured {
        studio: Arc::new(studio()),
    };
    let before = vec![
        assigned(1, 1),
        capture,
        went_on_air(1),
        failover_began(2, Some(2)),
    ];
    let moving = vec![fenced(2), restored(2), publishing(2), ended(2, Ending::OnAir)];
    after(&after(&pool(Power::Ready), before), moving)
}

fn of(state: &State) -> &Show {
    state.show(&show_id(1)).unwrap()
}

#[test]
fn a_studio_that_was_made_is_compared_once_and_what_differs_stands_where_its_making_does() {
    let state = moved();
    assert!(of(&state).uncompared);
    assert_eq!(of(&state).records[0].comparison, None);
    let state = after(&state, vec![compared(2, &["no group"])]);
    let show = of(&state);
    let found = show.records[0].comparison.clone().unwrap();
    assert_eq!(
        (found.at, found.differences),
        (at(5), vec!["no group".to_owned()])
    );
    assert!(!show.uncompared);
    assert!(state.with(&[of_show(1, compared(2, &[]))], at(10)).is_err());

    let state = after(
        &pool(Power::Ready),
        vec![set_up(false), assigned(1, 1), restored(1)],
    );
    let state = after(&state, vec![compared(1, &[])]);
    let made = of(&state).made.clone().unwrap();
    assert_eq!(made.comparison.unwrap().differences, Vec::<String>::new());
}

#[test]
fn how_a_studio_was_made_is_on_the_timeline_until_its_target_is_lost() {
    let by_file = || Event::Restored {
        epoch: Epoch(2),
        differences: Vec::new(),
        by: Some(MadeBy::File),
    };
    let restored = after(&in_step("moving, fenced"), vec![by_file()]);
    assert_eq!(of(&restored).failover().unwrap().restored_by, Some(MadeBy::File));
    let lost = after(&restored, vec![spare_lost(3, 2)]);
    assert_eq!(of(&lost).failover().unwrap().restored_by, None);
}

#[test]
fn a_studio_is_not_compared_with_what_it_was_not_made_from() {
    let capture = || Event::Captured {
        studio: Arc::new(studio()),
    };
    let replaced = after(&moved(), vec![capture()]);
    let remade = after(&moved(), vec![set_up(true)]);
    let left = after(&moved(), vec![failover_began(3, Some(3))]);
    let nothing_to_make = after(&in_step("publishing"), vec![ended(2, Ending::OnAir)]);
    for (why, state) in [
        ("what it was made from is replaced", replaced),
        ("it is to be made anew", remade),
        ("the show is moved again", left),
        ("there was nothing to make it from", nothing_to_make),
    ] {
        let epoch = of(&state).epoch.0;
        assert!(
            state.with(&[of_show(1, compared(epoch, &[]))], at(10)).is_err(),
            "{why}"
        );
    }
}

#[test]
fn what_is_found_in_a_studio_that_was_made_anew_says_nothing_of_the_move_before() {
    let clean = after(&moved(), vec![compared(2, &[])]);
    for before in [clean, moved()] {
        let known = of(&before).records[0].comparison.clone();
        let remade = after(&before, vec![set_up(true), restored(2)]);
        let state = after(&remade, vec![compared(2, &["no group"])]);
        assert_eq!(of(&state).records[0].comparison, known);
        let made = of(&state).made.clone().unwrap();
        assert_eq!(made.comparison.unwrap().differences, ["no group"]);
    }
}

#[test]
fn what_is_found_on_the_vm_that_a_move_did_not_leave_says_nothing_of_that_move() {
    let made = after(
        &pool(Power::Ready),
        vec![set_up(false), assigned(1, 1), restored(1)],
    );
    let stayed = after(&made, vec![failover_began(2, None), ended(2, Ending::Recovered)]);
    assert!(of(&stayed).uncompared);
    let state = after(&stayed, vec![compared(2, &["no group"])]);
    assert_eq!(of(&state).records[0].comparison, None);
}

/// As a snapshot has it that was written before it was told what was made anew.
#[test]
fn what_is_known_of_a_move_stays_whatever_an_older_snapshot_leaves_out() {
    let found = after(&moved(), vec![compared(2, &[])]);
    let remade = after(&found, vec![set_up(true), restored(2)]);
    let mut written = serde_json::to_value(Snapshot::from(&remade)).unwrap();
    let show = written["shows"][0].as_object_mut().unwrap();
    assert_eq!(show.remove("remade"), Some(true.into()));
    let read = State::from(serde_json::from_value::<Snapshot>(written).unwrap());
    let state = after(&read, vec![compared(2, &["no group"])]);
    assert_eq!(of(&state).records[0].comparison, of(&found).records[0].comparison);
}

fn configured(title: &str, key_id: &str, make: bool) -> Event {
    Event::SetUp {
        configuration: Arc::new(Configuration {
            template: "multi-camera".into(),
            variables: Json(format!(r#"{{"title":"{title}"}}"#)),
            stream_server: None,
            stream_key: Some(Sealed::Closed {
                key_id: key_id.into(),
                nonce: String::new(),
                text: title.into(),
            }),
        }),
        make,
    }
}

#[test]
fn a_studio_counts_as_made_until_the_configuration_says_something_else() {
    let state = after(
        &pool(Power::Ready),
        vec![configured("One", "a", false), assigned(1, 1), restored(1)],
    );
    assert!(of(&state).made.is_some());
    for (why, event, is_made) in [
        ("the same again", configured("One", "a", false), true),
        ("its key is sealed anew", configured("One", "b", false), true),
        ("another title, for later", configured("Two", "a", false), false),
    ] {
        let now = after(&state, vec![event]);
        assert_eq!(of(&now).made.is_some(), is_made, "{why}");
        assert!(!of(&now).unrestored, "{why}: nothing is to be done on the VM");
    }
}
