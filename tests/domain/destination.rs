//! Shows that would be one stream to whoever takes it.

use std::sync::Arc;

use understudy::domain::configuration::Configuration;
use understudy::domain::event::Event as AnyEvent;
use understudy::domain::sealed::Sealed;
use understudy::domain::show::Event;
use understudy::domain::state::State;
use understudy::domain::studio::{Json, Secret, StreamService, Studio};

use crate::fixtures::{after, all_of, assigned, of_show, ready_pool, show_id, went_on_air};

const HALL: &str = "rtmp://ingest/hall";
const STAGE: &str = "rtmp://ingest/stage";

fn key(text: &str) -> Option<Sealed> {
    Some(Sealed::Plain(Secret::new(text)))
}

/// Show `n` has VM `n` and is configured to stream there.
fn configured(n: usize, server: &str, key: Option<Sealed>) -> Vec<AnyEvent> {
    let configuration = Arc::new(Configuration {
        template: "multi-camera".into(),
        variables: Json::default(),
        stream_server: Some(server.into()),
        stream_key: key,
    });
    let make = false;
    vec![
        of_show(n, assigned(n, 1)),
        of_show(n, Event::SetUp { configuration, make }),
    ]
}

/// Show 1 streams to the hall under `a`; show 2 as given.
fn two(server: &str, of_second: Option<Sealed>) -> State {
    let mut events = configured(1, HALL, key("a"));
    events.extend(configured(2, server, of_second));
    after(&ready_pool(3), events)
}

fn in_the_way(state: &State) -> bool {
    let other = state.same_stream(state.show(&show_id(2)).unwrap());
    assert!(other.is_none_or(|other| *other == show_id(1)));
    other.is_some()
}

#[test]
fn a_show_on_air_is_in_the_way_of_one_with_its_server_and_key_and_of_no_other() {
    let same = two(HALL, key("a"));
    assert!(!in_the_way(&same), "off the air it streams nowhere");
    let on_air = after(&same, all_of(vec![went_on_air(1)]));
    assert!(in_the_way(&on_air));
    for (server, key) in [(STAGE, key("a")), (HALL, key("b")), (HALL, None)] {
        let other = after(&two(server, key), all_of(vec![went_on_air(1)]));
        assert!(!in_the_way(&other), "{server}");
    }
}

#[test]
fn one_that_is_meant_to_be_on_air_is_in_the_way_too() {
    let same = two(HALL, key("a"));
    let wanted = after(&same, all_of(vec![Event::StreamWanted { wanted: true }]));
    assert!(in_the_way(&wanted));
}

/// Somebody changed the stream in OBS itself.
#[test]
fn what_was_captured_counts_for_more_than_what_was_configured() {
    let on_air = after(&two(HALL, key("a")), all_of(vec![went_on_air(1)]));
    let studio = Studio {
        stream: Some(StreamService {
            kind: "rtmp_custom".into(),
            server: Some(STAGE.into()),
            key: key("a"),
            other: Json::default(),
        }),
        ..Studio::default()
    };
    let captured = Event::Captured {
        studio: Arc::new(studio),
    };
    let moved = after(&on_air, vec![of_show(2, captured)]);
    assert!(!in_the_way(&moved));
}
