//! Shows that would be one stream to whoever takes it.

use std::sync::Arc;

use understudy::domain::configuration::Configuration;
use understudy::domain::event::Event as AnyEvent;
use understudy::domain::sealed::Sealed;
use understudy::domain::show::Event;
use understudy::domain::state::State;
use understudy::domain::studio::{Json, Secret, StreamService, Studio};

use crate::fixtures::{
    after, all_of, assigned, failover_began, fenced, of_show, ready_pool, show_id, silenced, went_on_air,
};

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
fn it_does_not_matter_how_a_server_is_written() {
    let hall = "rtmp://ingest:1935/live/hall";
    for (one, other, is_same) in [
        ("rtmp://ingest/live", "rtmp://ingest:1935/live", true),
        ("rtmp://ingest/live", "RTMP://Ingest/live/", true),
        ("rtmp://ingest/live", " rtmp://ingest:01935//live ", true),
        ("rtmps://ingest/live", "rtmps://ingest:443/live", true),
        ("rtmp://[::1]/live", "rtmp://[::1]:1935/live", true),
        ("rtmp://ingest", "rtmp://ingest:/", true),
        ("rtmp://ingest/live", "rtmp://me:Hush@ingest/live", true),
        ("rtmp://ingest?vhost=b", "rtmp://ingest/?vhost=b", true),
        ("rtmp://ingest/live", "rtmps://ingest/live", false),
        ("rtmp://ingest/live", "rtmp://ingest:1936/live", false),
        ("rtmp://ingest/live", "rtmp://ingest/Live", false),
        ("rtmp://ingest/live", "rtmp://ingest/live?vhost=b", false),
        ("srt://ingest:9000", "srt://ingest:9001", false),
        (hall, "rtmp://ingest:1935/live", false),
        ("auto", "auto", true),
    ] {
        let mut events = configured(1, one, key("a"));
        events.extend(configured(2, other, key("a")));
        events.push(of_show(1, went_on_air(1)));
        let state = after(&ready_pool(3), events);
        assert_eq!(in_the_way(&state), is_same, "{one} and {other}");
    }
}

#[test]
fn one_that_is_meant_to_be_on_air_is_in_the_way_too() {
    let same = two(HALL, key("a"));
    let wanted = after(&same, all_of(vec![Event::StreamWanted { wanted: true }]));
    assert!(in_the_way(&wanted));
}

#[test]
fn of_two_that_are_started_at_once_the_first_is_and_the_other_once_that_is_stopped() {
    let wanted = |n: usize, wanted| of_show(n, Event::StreamWanted { wanted });
    let both = after(&two(HALL, key("a")), vec![wanted(1, true), wanted(2, true)]);
    let wants = |state: &State, n| state.show(&show_id(n)).unwrap().stream_wanted;
    assert_eq!((wants(&both, 1), wants(&both, 2)), (true, false));
    // It may have been told to stream by then.
    let stopping = vec![wanted(1, false), wanted(2, true)];
    assert!(!wants(&after(&both, stopping), 2));
    let stopped = vec![wanted(1, false), of_show(1, silenced(1)), wanted(2, true)];
    assert!(wants(&after(&both, stopped), 2));
    // Who has begun goes on, whatever came between them since.
    let on_air = after(&both, all_of(vec![went_on_air(1)]));
    let again = after(&on_air, vec![wanted(1, true)]);
    assert!(wants(&again, 1));
}

#[test]
fn one_that_is_released_is_in_the_way_until_it_is_silent_and_one_that_is_moved_all_the_time() {
    let on_air = after(&two(HALL, key("a")), all_of(vec![went_on_air(1)]));
    let released = Event::ReleaseBegan {
        stop_vm: false,
        key: None,
    };
    let releasing = after(&on_air, all_of(vec![released]));
    assert!(in_the_way(&releasing));
    assert!(!in_the_way(&after(&releasing, all_of(vec![silenced(1)]))));
    // It was started by hand: nobody asked for it here.
    let moving = after(&on_air, all_of(vec![failover_began(2, Some(3)), fenced(2)]));
    assert!(in_the_way(&moving));
    let asked = after(&moving, vec![of_show(2, Event::StreamWanted { wanted: true })]);
    assert!(!asked.show(&show_id(2)).unwrap().stream_wanted);
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
