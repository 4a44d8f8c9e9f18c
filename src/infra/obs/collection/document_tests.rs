//! Against a file that OBS 30.2.3 wrote: whatever is written here stands there too.

use crate::domain::studio::{Transform, Transition, TransitionOverride};

use super::*;

/// Scenes made and changed over obs-websocket, as OBS left them on its disk when it changed to another collection.
const WRITTEN_BY_OBS: &str = include_str!("written_by_obs_30_2_3.json");

fn made(name: &str, kind: &str, settings: &str) -> Input {
    Input {
        name: name.to_owned(),
        kind: kind.to_owned(),
        settings: Json(settings.to_owned()),
        ..Input::default()
    }
}

fn filter(name: &str, kind: &str, settings: &str, enabled: bool) -> Filter {
    Filter {
        name: name.to_owned(),
        kind: kind.to_owned(),
        settings: Json(settings.to_owned()),
        enabled,
    }
}

fn scene(name: &str, items: Vec<SceneItem>) -> Scene {
    Scene {
        name: name.to_owned(),
        items,
        ..Scene::default()
    }
}

fn at(source: &str, transform: Transform) -> SceneItem {
    SceneItem {
        transform,
        ..SceneItem::shown(source)
    }
}

fn clip() -> Input {
    Input {
        audio: Some(Audio {
            volume_mul: 0.25,
            muted: true,
            balance: 0.75,
            sync_offset_ms: -40,
            monitor: Monitor::AndOutput,
            tracks: [true, false, true, false, true, true],
        }),
        filters: vec![
            filter("Gain", "gain_filter", r#"{"db":-3.5}"#, false),
            filter("Sharp", "sharpness_filter_v2", r#"{"sharpness":0.5}"#, true),
            filter("Crop", "crop_filter", r#"{"left":8}"#, true),
        ],
        ..made("clip", "ffmpeg_source", r#"{"is_local_file":true}"#)
    }
}

fn in_a_frame() -> Transform {
    Transform {
        alignment: 0,
        bounds_type: "OBS_BOUNDS_SCALE_INNER".to_owned(),
        bounds_alignment: 10,
        bounds_width: 100.0,
        bounds_height: 50.0,
        ..Transform::default()
    }
}

fn turned() -> Transform {
    Transform {
        position_x: 12.5,
        position_y: 3.0,
        rotation: 12.5,
        scale_x: 0.5,
        scale_y: 0.25,
        crop_left: 1,
        crop_right: 2,
        crop_top: 3,
        crop_bottom: 4,
        ..Transform::default()
    }
}

/// What was made there.
fn studio() -> Studio {
    let locked = SceneItem {
        locked: true,
        ..at("red", turned())
    };
    let hidden = SceneItem {
        enabled: false,
        ..at("clip", in_a_frame())
    };
    let aside = Transform {
        position_x: 100.0,
        position_y: 60.0,
        ..Transform::default()
    };
    let mut on_air = scene("B", vec![SceneItem::shown("A")]);
    on_air.filters = vec![filter("Cropped", "crop_filter", r#"{"left":8}"#, true)];
    on_air.transition_override = Some(TransitionOverride {
        name: Some("Cut".to_owned()),
        duration_ms: Some(700),
    });
    let transition = |name: &str, kind: &str, settings: Option<&str>| TransitionSource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        settings: settings.map(|text| Json(text.to_owned())),
    };
    Studio {
        scene_collection: "Rich, two".to_owned(),
        inputs: vec![
            clip(),
            made(
                "red",
                "color_source_v3",
                r#"{"color":4278190335,"width":40,"height":30}"#,
            ),
            made("title", "text_ft2_source_v2", r#"{"text":"Hello"}"#),
        ],
        scenes: vec![
            scene(
                "A",
                vec![
                    locked,
                    hidden,
                    SceneItem::shown("red"),
                    SceneItem::shown("Together"),
                ],
            ),
            on_air,
        ],
        groups: vec![scene(
            "Together",
            vec![SceneItem::shown("title"), at("red", aside)],
        )],
        transition: Some(Transition {
            name: "Swipe".to_owned(),
            duration_ms: Some(450),
        }),
        transitions: vec![
            transition("Cut", "cut_transition", None),
            transition("Fade", "fade_transition", None),
            transition("Swipe", "swipe_transition", Some(r#"{"direction":"up"}"#)),
        ],
        program_scene: "B".to_owned(),
        ..Studio::default()
    }
}

/// Everything in `ours` that OBS has otherwise. What OBS has beside it is what it adds itself.
fn differs(ours: &Value, theirs: &Value, place: &str, notes: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in ours {
                let there = theirs.get(name).unwrap_or(&Value::Null);
                differs(value, there, &format!("{place}.{name}"), notes);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            // Beside a group's items in the group, OBS keeps copies of them for programs that know no groups.
            let own: Vec<&Value> = theirs
                .iter()
                .filter(|one| one["group_item_backup"] != true)
                .collect();
            if ours.len() != own.len() {
                notes.push(format!("{place}: {} instead of {}", ours.len(), own.len()));
            }
            for (at, one) in ours.iter().enumerate() {
                let same = own
                    .iter()
                    .find(|other| other["name"] == one["name"] && other["id"] == one["id"]);
                let other = same.copied().unwrap_or(&Value::Null);
                differs(one, other, &format!("{place}[{at}]"), notes);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        (one, other) if one == other => {}
        // A list that is empty here is left out there.
        (Value::Array(none), Value::Null) if none.is_empty() => {}
        (one, other) => notes.push(format!("{place}: {one} instead of {other}")),
    }
}

#[test]
fn what_is_written_is_what_obs_writes_of_the_same_studio() {
    let theirs: Value = serde_json::from_str(WRITTEN_BY_OBS).unwrap();
    let ours: Value = serde_json::from_str(&text(&studio())).unwrap();
    let mut notes = Vec::new();
    differs(&ours, &theirs, "", &mut notes);
    notes.retain(|note| !note.starts_with(".quick_transitions"));
    assert_eq!(notes, Vec::<String>::new());
}

/// The comparison above can fail.
#[test]
fn what_obs_writes_otherwise_is_noticed() {
    let theirs: Value = serde_json::from_str(WRITTEN_BY_OBS).unwrap();
    let mut changed = studio();
    changed.inputs[0].audio = Some(Audio::default());
    changed.scenes[0].items[0].transform.rotation = 13.0;
    changed.scenes.swap(0, 1);
    let ours: Value = serde_json::from_str(&text(&changed)).unwrap();
    let mut notes = Vec::new();
    differs(&ours, &theirs, "", &mut notes);
    let told = notes.join("\n");
    for part in [
        "volume",
        "balance",
        "sync",
        "muted",
        "mixers",
        "monitoring_type",
        "rot",
    ] {
        assert!(told.contains(&format!(".{part}: ")), "{part}: {told}");
    }
}

#[test]
fn no_stream_key_is_in_the_file() {
    use crate::domain::sealed::Sealed;
    use crate::domain::studio::{Secret, StreamService};
    let mut streaming = studio();
    streaming.stream = Some(StreamService {
        kind: "rtmp_custom".to_owned(),
        server: Some("rtmp://ingest.example/live".to_owned()),
        key: Some(Sealed::Plain(Secret::new("hush"))),
        other: Json::default(),
    });
    assert_eq!(text(&streaming), text(&studio()));
}

#[test]
fn a_device_that_obs_plays_beside_any_scene_has_a_place_of_its_own() {
    let mut studio = studio();
    let mut desktop = made("Desktop Audio", "pulse_output_capture", "{}");
    desktop.audio = Some(Audio::default());
    let mic = made("Mic/Aux", "pulse_input_capture", r#"{"device_id":"default"}"#);
    studio.inputs.extend([desktop, mic]);
    let written: Value = serde_json::from_str(&text(&studio)).unwrap();
    assert_eq!(written["DesktopAudioDevice1"]["name"], "Desktop Audio");
    assert_eq!(written["AuxAudioDevice1"]["settings"]["device_id"], "default");
    let sources = written["sources"].as_array().unwrap();
    assert!(sources.iter().all(|source| source["name"] != "Mic/Aux"));
}
