//! In what two studios differ: what is told, what means nothing, and what is not shown.

use proptest::prelude::*;
use understudy::domain::studio::{
    Audio, Difference, Filter, Input, Json, Recording, Scene, SceneItem, StreamService, Studio, Subject,
    Transform, Transition, TransitionOverride, TransitionSource, difference,
};

fn input(name: &str, settings: &str) -> Input {
    Input {
        name: name.to_owned(),
        kind: "ffmpeg_source".to_owned(),
        settings: Json(settings.to_owned()),
        audio: Some(Audio::default()),
        ..Input::default()
    }
}

fn filter(name: &str, kind: &str) -> Filter {
    Filter {
        name: name.to_owned(),
        kind: kind.to_owned(),
        enabled: true,
        ..Filter::default()
    }
}

fn studio() -> Studio {
    let mut mic = input("Mic", r#"{"input":"srt://h:1?passphrase=hush","gain":0.1,"n":7}"#);
    mic.filters = vec![filter("Gate", "noise_gate_filter"), filter("Crop", "crop_filter")];
    let items = ["Mic", "Cam", "Mic"].map(SceneItem::shown).to_vec();
    Studio {
        scene_collection: "Show".to_owned(),
        inputs: vec![mic, input("Cam", "{}")],
        scenes: vec![
            Scene {
                name: "A".to_owned(),
                items,
                ..Scene::default()
            },
            Scene {
                name: "B".to_owned(),
                ..Scene::default()
            },
        ],
        program_scene: "A".to_owned(),
        transition: Some(Transition {
            name: "Fade".to_owned(),
            duration_ms: Some(300),
        }),
        ..Studio::default()
    }
}

fn changed(change: impl FnOnce(&mut Studio)) -> Vec<String> {
    let mut found = studio();
    change(&mut found);
    difference(&studio(), &found)
        .iter()
        .map(ToString::to_string)
        .collect()
}

type Change = fn(&mut Studio);

#[test]
fn what_can_be_seen_or_heard_is_told_in_a_sentence() {
    let table: &[(Change, &str)] = &[
        (
            |s| s.program_scene = "B".into(),
            r#"program scene of the studio: wanted "A", found "B""#,
        ),
        (
            |s| s.preview_scene = Some("B".into()),
            r#"preview scene of the studio: wanted none, found "B""#,
        ),
        (
            |s| s.recording = Recording::Active,
            "recording of the studio: wanted off, found active",
        ),
        (|s| drop(s.inputs.pop()), r#"input "Cam" is missing"#),
        (
            |s| s.inputs.push(input("New", "{}")),
            r#"input "New" is not wanted"#,
        ),
        (
            |s| s.inputs[1].audio = None,
            r#"sound of input "Cam": wanted some, found none"#,
        ),
        (
            |s| audio(s).volume_mul = 0.5,
            r#"volume of input "Cam": wanted 1, found 0.5"#,
        ),
        (
            |s| audio(s).tracks = [false; 6],
            r#"tracks of input "Cam": wanted 1, 2, 3, 4, 5, 6, found none"#,
        ),
        (
            |s| audio(s).sync_offset_ms = -20,
            r#"sync offset of input "Cam": wanted 0 ms, found -20 ms"#,
        ),
        (
            |s| s.inputs[0].filters[0].enabled = false,
            r#"use of filter "Gate" of "Mic": wanted on, found off"#,
        ),
        (
            |s| s.scenes[0].items[2].enabled = false,
            r#"visibility of item "Mic" (no. 2) of "A": wanted shown, found hidden"#,
        ),
        (
            |s| s.scenes[0].items[1].transform.position_x = 3.5,
            r#"x of item "Cam" of "A": wanted 0, found 3.5"#,
        ),
        (
            |s| s.scenes[0].items.swap(0, 1),
            r#"order of the items of scene "A": wanted Mic, Cam, Mic, found Cam, Mic, Mic"#,
        ),
        (
            |s| s.transition.as_mut().unwrap().duration_ms = None,
            r#"duration of transition "Fade": wanted 300 ms, found none"#,
        ),
        (
            |s| {
                s.scenes[1].transition_override = Some(TransitionOverride {
                    name: None,
                    duration_ms: Some(9),
                });
            },
            r#"transition override of scene "B": wanted none, found the current one in 9 ms"#,
        ),
        (
            |s| {
                s.inputs[0].settings =
                    Json(r#"{"input":"srt://h:2?passphrase=other","gain":0.1,"n":7}"#.into());
            },
            r#"setting "input" of input "Mic": wanted "srt://h:1?passphrase=(secret)", found "srt://h:2?passphrase=(secret)""#,
        ),
    ];
    for (change, sentence) in table {
        assert_eq!(changed(change), [*sentence]);
    }
}

fn audio(studio: &mut Studio) -> &mut Audio {
    studio.inputs[1].audio.as_mut().unwrap()
}

#[test]
fn what_means_nothing_is_no_difference() {
    let table: &[Change] = &[
        |_| (),
        |s| s.inputs.reverse(),
        |s| s.scenes.reverse(),
        |s| s.inputs[0].filters.reverse(),
        |s| s.scenes[0].items[0].transform.scale_x = 1.000_000_1,
        |s| s.scenes[0].items[0].transform.bounds_width = 640.0,
        |s| {
            s.inputs[0].settings =
                Json(r#"{"n":7,"gain":0.10000000149,"input":"srt://h:1?passphrase=hush"}"#.into());
        },
        |s| {
            s.transitions = vec![TransitionSource {
                name: "Wipe".into(),
                ..TransitionSource::default()
            }];
        },
    ];
    for (at, change) in table.iter().enumerate() {
        assert_eq!(changed(change), Vec::<String>::new(), "change {at}");
    }
}

/// A studio made from a template: of what it does not say, OBS decides.
#[test]
fn of_what_nothing_is_said_only_what_obs_would_not_make_itself_differs() {
    let mut want = studio();
    want.inputs[1].audio = None;
    let service = |other: &str| {
        Some(StreamService {
            other: Json(other.to_owned()),
            ..StreamService::default()
        })
    };
    want.stream = service("{}");
    let mut found = studio();
    found.stream = service(r#"{"bwtest":false,"use_auth":false,"username":""}"#);
    assert_eq!(difference(&want, &found), []);
    found.inputs[0].audio = None;
    found.stream = service(r#"{"use_auth":true}"#);
    let told: Vec<String> = difference(&want, &found)
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        r#"sound of input "Mic": wanted some, found none"#,
        r#"setting "use_auth" of the stream service: wanted none, found true"#,
    ];
    assert_eq!(told, expected);
}

#[test]
fn filters_in_another_order_within_their_chain_differ() {
    let mut want = studio();
    want.inputs[0].filters.push(filter("Tone", "color_filter_v2"));
    let mut found = want.clone();
    found.inputs[0].filters.swap(1, 2);
    let differences = difference(&want, &found);
    let expected = Difference {
        subject: Subject::Filter {
            source: "Mic".into(),
            filter: "*".into(),
        },
        aspect: "order".into(),
        want: Some("Gate, Crop, Tone".into()),
        found: Some("Gate, Tone, Crop".into()),
    };
    assert_eq!(differences, [expected]);
}

proptest! {
    #[test]
    fn a_studio_does_not_differ_from_itself_and_moves_are_told_both_ways(
        x in -1e4..1e4_f64, y in -1e4..1e4_f64, at in 0_usize..3,
    ) {
        let mut moved = studio();
        moved.scenes[0].items[at].transform = Transform { position_x: x, position_y: y, ..Transform::default() };
        prop_assert_eq!(difference(&moved, &moved), []);
        let (there, back) = (difference(&studio(), &moved), difference(&moved, &studio()));
        prop_assert_eq!(there.len(), back.len());
        for (there, back) in there.iter().zip(&back) {
            prop_assert_eq!((&there.want, &there.found), (&back.found, &back.want));
        }
    }

    #[test]
    fn no_secret_of_a_setting_is_told(secret in "zq[a-z0-9]{4,12}zq", other in "zq[a-z0-9]{4,12}zq") {
        prop_assume!(secret != other);
        let with = |secret: &str| {
            let mut studio = studio();
            studio.inputs[0].settings = Json(format!(
                r#"{{"password":"{secret}","url":"https://h/?token={secret}","deep":{{"stream_key":"{secret}"}}}}"#
            ));
            studio
        };
        let differences = difference(&with(&secret), &with(&other));
        prop_assert_eq!(differences.len(), 3);
        let told = serde_json::to_string(&differences).unwrap();
        prop_assert!(!told.contains(&secret) && !told.contains(&other), "{}", told);
        let redacted = format!("{:?}", with(&secret).redacted());
        prop_assert!(!redacted.contains(&secret), "{}", redacted);
    }
}
