//! What a studio must do for a capture to be restored on it: the same for the simulated one and for real OBS.
//!
//! [`holds`] takes an address, changes that studio for good, and can be run on it again. With the folder in which that
//! studio keeps its scene collections it does the same from files, and what only files can.

use understudy::domain::studio::{
    Audio, Filter, Json, MadeBy, Monitor, Recording, SceneItem, Studio, Transition, TransitionOverride,
    TransitionSource,
};
use understudy::infra::obs::{Connector, Endpoint, Folder, Means, Session};

use super::studios::{input, item, scene, small};

/// Runs the whole contract against the studio that listens there.
///
/// # Panics
/// Says which part does not hold.
pub async fn holds(connector: &dyn Connector, endpoint: &Endpoint, folder: Option<&Folder>) {
    let (session, _notices) = connector.connect(endpoint).await.unwrap();
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
        becomes(session, what, &studio, &Means::Requests).await;
    }
    if let Some(folder) = folder {
        from_files(session, folder).await;
    }
}

/// What can be made by requests comes out of a file the same, and groups and transitions come out of nothing else.
async fn from_files(session: &dyn Session, folder: &Folder) {
    let (by_need, always) = (Means::Either(folder.clone()), Means::File(folder.clone()));
    let (file, requests) = (MadeBy::File, MadeBy::Requests);
    for (what, studio, means, by) in [
        ("a group, in the collection in use", with_group(), &by_need, &file),
        ("a transition with its settings", with_swipe(), &by_need, &file),
        ("neither any more", small(), &by_need, &file),
        (
            "little of what requests make",
            with_sound(loud()),
            &by_need,
            &requests,
        ),
        (
            "filters of an input and a scene, from a file",
            with_filters(&["Gain", "Sharp", "Crop"]),
            &always,
            &file,
        ),
        (
            "an override, in another collection",
            with_override(),
            &always,
            &file,
        ),
        (
            "every part of an input's sound, in a collection not in use",
            with_sound(loud()),
            &always,
            &file,
        ),
        ("studio mode, after a file", in_preview("A"), &always, &file),
        ("nothing but studio mode", small(), &always, &requests),
    ] {
        let made_by = becomes(session, what, &studio, means).await;
        assert_eq!(&made_by, by, "{what}");
    }
}

/// A restore leaves nothing to be desired, also by a capture, and a second one has nothing to do.
async fn becomes(session: &dyn Session, what: &str, want: &Studio, means: &Means) -> MadeBy {
    let restored = session.restore(want, means).await.unwrap();
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
    let again = session.restore(want, means).await.unwrap();
    assert_eq!((again.requests, again.by), (0, MadeBy::Requests), "{what}");
    restored.by
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

/// Two items of a group, which another scene shows too.
fn with_group() -> Studio {
    let mut studio = small();
    // OBS moves items of a group so that the uppermost and the leftmost are at zero; these are.
    let items = [SceneItem::shown("title"), item("red", 100.0)];
    studio.groups = vec![scene("Together", &items)];
    studio.scenes[0].items.insert(1, SceneItem::shown("Together"));
    studio.scenes[1].items.push(item("Together", 7.0));
    studio
}

fn with_swipe() -> Studio {
    let mut studio = small();
    studio.transitions.push(TransitionSource {
        name: "Swipe".to_owned(),
        kind: "swipe_transition".to_owned(),
        settings: Some(Json(r#"{"direction":"up"}"#.to_owned())),
    });
    studio.transition = Some(Transition {
        name: "Swipe".to_owned(),
        duration_ms: Some(450),
    });
    studio
}
