//! What a studio must do for a capture to be restored on it: the same for the simulated one and for real OBS.
//!
//! [`holds`] takes an address, changes that studio for good, and can be run on it again.

use understudy::domain::studio::{Audio, Filter, Json, Monitor, Recording, Studio, TransitionOverride};
use understudy::infra::obs::{Connector, Endpoint, Session};

use super::studios::{connector, input, item, small};

/// Runs the whole contract against the studio that listens there.
///
/// # Panics
/// Says which part does not hold.
pub async fn holds(endpoint: &Endpoint) {
    let (session, _notices) = connector().connect(endpoint).await.unwrap();
    let session = &*session;
    for (what, studio) in [
        ("scenes, items, inputs, stream service", small()),
        ("a new input sounds as OBS makes it", with_sound(Audio::default())),
        ("every part of an input's sound", with_sound(loud())),
        (
            "filters of an input and a scene",
            with_filters(&["Gain", "Sharp", "Crop"]),
        ),
        (
            "filters in another order, one gone",
            with_filters(&["Crop", "Sharp"]),
        ),
        ("transitions on the way to a scene", with_override()),
        ("studio mode with another scene in preview", in_preview("A")),
        ("studio mode with the program scene in preview", in_preview("B")),
        ("out of studio mode", small()),
    ] {
        becomes(session, what, &studio).await;
    }
}

/// A restore leaves nothing to be desired, also by a capture, and a second one has nothing to do.
async fn becomes(session: &dyn Session, what: &str, want: &Studio) {
    let restored = session.restore(want).await.unwrap();
    // A transition override can be changed, and taken away only with its collection.
    let mut differences = restored.differences;
    differences.retain(|line| !line.contains("is not wanted and stays"));
    assert_eq!(differences, Vec::<String>::new(), "{what}");
    let captured = session.capture().await.unwrap();
    let (captured, expected) = (comparable(captured), comparable(want.clone()));
    if captured != expected {
        let (captured, expected) = (format!("{captured:#?}"), format!("{expected:#?}"));
        let lines = captured.lines().zip(expected.lines());
        let differ: Vec<_> = lines
            .filter(|(captured, expected)| captured != expected)
            .collect();
        panic!("{what}: captured and wanted differ in {differ:?}");
    }
    let again = session.restore(want).await.unwrap();
    assert_eq!(again.requests, 0, "{what}");
}

/// OBS has no request to bring scenes into an order, and none to take a transition override away.
fn comparable(mut studio: Studio) -> Studio {
    studio.scenes.sort_by(|one, other| one.name.cmp(&other.name));
    if studio.scene_collection == small().scene_collection {
        for scene in &mut studio.scenes {
            scene.transition_override = None;
        }
    }
    // Settings of the current transition are told where it has any.
    for transition in &mut studio.transitions {
        transition.settings = None;
    }
    studio.recording = Recording::Off;
    studio
}

fn with_sound(audio: Audio) -> Studio {
    let mut studio = small();
    let mut clip = input("clip", "ffmpeg_source", r#"{"is_local_file":true}"#);
    clip.audio = Some(audio);
    studio.inputs.insert(0, clip);
    studio.scenes[0].items.push(item("clip", 6.0));
    studio
}

fn loud() -> Audio {
    Audio {
        volume_mul: 0.25,
        muted: true,
        balance: 0.75,
        sync_offset_ms: -40,
        monitor: Monitor::AndOutput,
        tracks: [true, false, true, false, true, false],
    }
}

fn with_filters(names: &[&str]) -> Studio {
    let mut studio = with_sound(Audio::default());
    let filter = |name: &&str| {
        let (kind, settings) = match *name {
            "Sharp" => ("sharpness_filter_v2", r#"{"sharpness":0.5}"#),
            "Crop" => ("crop_filter", r#"{"left":8}"#),
            _ => ("gain_filter", r#"{"db":-3.5}"#),
        };
        Filter {
            name: (*name).to_owned(),
            kind: kind.to_owned(),
            settings: Json(settings.to_owned()),
            enabled: *name != "Gain",
        }
    };
    studio.inputs[0].filters = names.iter().map(filter).collect();
    studio.scenes[1].filters = vec![filter(&"Crop")];
    studio
}

/// In a collection of its own, with which it goes.
fn with_override() -> Studio {
    let mut studio = small();
    "Contract, override".clone_into(&mut studio.scene_collection);
    studio.scenes[1].transition_override = Some(TransitionOverride {
        name: Some("Fade".to_owned()),
        duration_ms: Some(700),
    });
    studio
}

fn in_preview(scene: &str) -> Studio {
    Studio {
        preview_scene: Some(scene.to_owned()),
        ..small()
    }
}
