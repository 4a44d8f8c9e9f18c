//! The OBS adapter against simulated studios: capture and restore.

use serde_json::json;
use understudy::domain::studio::{
    Audio, Filter, Json, Monitor, Recording, SceneItem, Studio, Transition, TransitionOverride,
};
use understudy::infra::obs::{Error, Means, Session};
use understudy::sim::model::fault::Fault;
use understudy::sim::wire::MachineView;

use crate::support::PLENTY;
use crate::support::studios::{connect, input, item, scene, scene_named, sealed, small, world};

/// Restores, finds the studio as wanted, and has nothing to do when it is asked again.
async fn assert_restores(session: &dyn Session, studio: &Studio) {
    let restored = session.restore(studio, &Means::Requests).await.unwrap();
    assert_eq!(restored.differences, Vec::<String>::new());
    let captured = session.capture().await.unwrap();
    assert_eq!(in_order_of_names(captured), in_order_of_names(studio.clone()));
    let again = session.restore(studio, &Means::Requests).await.unwrap();
    assert_eq!((again.requests, again.differences), (0, Vec::new()));
}

/// Where scenes were before, OBS has no request to bring new ones into an order.
fn in_order_of_names(mut studio: Studio) -> Studio {
    studio.scenes.sort_by(|one, other| one.name.cmp(&other.name));
    studio
}

#[tokio::test]
async fn a_studio_is_captured_and_restored_on_a_blank_one() {
    let (_world, machines) = world(2).await;
    machines[0].load_example_studio("secret-key").unwrap();
    let (source, _) = connect(&machines[0]).await;
    let studio = source.capture().await.unwrap();

    assert_eq!(studio.scene_collection, "Gymnastics");
    assert_eq!(studio.program_scene, "Camera 2 - Vault");
    assert_eq!(studio.scenes.len(), 12);
    assert_eq!(studio.stream.as_ref().unwrap().key, sealed("secret-key"));
    assert!(!format!("{studio:?}").contains("secret-key"));
    let slate = studio
        .inputs
        .iter()
        .find(|input| input.name == "Starting Soon Slate")
        .unwrap();
    assert_eq!((slate.audio, slate.kind.as_str()), (None, "color_source_v3"));
    let sound = studio
        .inputs
        .iter()
        .find(|input| input.name == "Arena Sound")
        .unwrap();
    assert_eq!(
        sound.audio,
        Some(Audio {
            volume_mul: 0.8,
            sync_offset_ms: 120,
            monitor: Monitor::AndOutput,
            tracks: [true, true, false, false, false, false],
            ..Audio::default()
        })
    );
    let names: Vec<&str> = sound.filters.iter().map(|filter| filter.name.as_str()).collect();
    assert_eq!(names, ["Gate", "Limit"]);
    assert_eq!(
        studio.transition,
        Some(Transition {
            name: "Fade".to_owned(),
            duration_ms: Some(450)
        })
    );

    let (spare, _) = connect(&machines[1]).await;
    assert_ne!(spare.capture().await.unwrap(), studio);
    assert_restores(&*spare, &studio).await;
    // On a blank studio also the scenes are in order.
    assert_eq!(spare.capture().await.unwrap(), studio);
    // And onto itself there is nothing to do.
    assert_eq!(
        source.restore(&studio, &Means::Requests).await.unwrap().requests,
        0
    );
}

fn filter(name: &str, kind: &str, settings: &str) -> Filter {
    Filter {
        name: name.to_owned(),
        kind: kind.to_owned(),
        settings: Json(settings.to_owned()),
        enabled: true,
    }
}

#[tokio::test]
async fn filters_of_inputs_and_scenes_are_made_changed_ordered_and_removed() {
    let (_world, machines) = world(1).await;
    let (session, _) = connect(&machines[0]).await;
    let mut studio = small();
    let sharp = filter("Sharp", "sharpness_filter_v2", r#"{"sharpness":0.5}"#);
    let crop = filter("Crop", "crop_filter", r#"{"left":8}"#);
    let tone = filter("Tone", "color_filter_v2", "{}");
    studio.inputs[0].filters = vec![sharp.clone(), crop.clone(), tone.clone()];
    studio.scenes[1].filters = vec![Filter {
        enabled: false,
        ..crop.clone()
    }];
    assert_restores(&*session, &studio).await;

    // Another order, one gone, one of another kind, one changed.
    let other_kind = filter("Crop", "scale_filter", "{}");
    let sharper = filter("Sharp", "sharpness_filter_v2", r#"{"sharpness":0.9}"#);
    studio.inputs[0].filters = vec![other_kind, sharper];
    studio.scenes[1].filters[0].enabled = true;
    assert_restores(&*session, &studio).await;

    let alien = filter("Alien", "alien_filter_v9", "{}");
    let unreadable = filter("Unreadable", "crop_filter", "{");
    studio.inputs[0].filters = vec![alien, tone.clone(), unreadable];
    let restored = session.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!(restored.differences.len(), 2, "{:#?}", restored.differences);
    assert!(
        restored.differences[0].contains("\"Alien\" of \"red\""),
        "{restored:?}"
    );
    assert_eq!(session.capture().await.unwrap().inputs[0].filters, [tone]);
}

#[tokio::test]
async fn an_input_that_is_monitored_from_its_making_is_not_heard_where_it_must_not_be() {
    let (_world, machines) = world(1).await;
    let (session, _) = connect(&machines[0]).await;
    let mut studio = small();
    let mut page = input("page", "browser_source", "{}");
    page.audio = Some(Audio::default());
    studio.inputs.insert(0, page);
    studio.scenes[0].items.push(item("page", 6.0));
    assert_restores(&*session, &studio).await;

    studio.inputs[0].audio = Some(Audio {
        volume_mul: 0.3,
        muted: true,
        balance: 0.25,
        sync_offset_ms: -200,
        monitor: Monitor::AndOutput,
        tracks: [true, false, true, false, true, false],
    });
    let restored = session.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!((restored.requests, restored.differences), (6, Vec::new()));
    assert_eq!(session.capture().await.unwrap(), studio);
}

#[tokio::test]
async fn studio_mode_is_restored_and_a_recording_is_not() {
    let (_world, machines) = world(2).await;
    let (source, _) = connect(&machines[0]).await;
    source.restore(&small(), &Means::Requests).await.unwrap();
    machines[0].operate(|studio, now| {
        studio.set_studio_mode(true);
        let preview = studio.collection().scenes[0].uuid;
        studio.set_preview(preview, now).unwrap();
        studio.start_record(now).unwrap();
        studio.pause_record(now).unwrap();
    });
    let studio = source.capture().await.unwrap();
    assert!(studio.preview_scene.is_some());
    assert_eq!(studio.recording, Recording::Paused);

    let (spare, _) = connect(&machines[1]).await;
    let restored = spare.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!(restored.differences, Vec::<String>::new());
    let mut captured = spare.capture().await.unwrap();
    assert_eq!(captured.preview_scene, studio.preview_scene);
    assert_eq!(captured.recording, Recording::Off);
    captured.recording = Recording::Paused;
    assert_eq!(captured, studio);
    // And out of studio mode again.
    spare.restore(&small(), &Means::Requests).await.unwrap();
    assert_eq!(spare.capture().await.unwrap().preview_scene, None);
}

#[tokio::test]
async fn transitions_are_configured_and_missing_ones_are_named() {
    let (_world, machines) = world(2).await;
    let (source, _) = connect(&machines[0]).await;
    let mut studio = small();
    studio.scenes[1].transition_override = Some(TransitionOverride {
        name: Some("Fade".to_owned()),
        duration_ms: Some(700),
    });
    source.restore(&studio, &Means::Requests).await.unwrap();
    let wipe = |luma: &str| json!({"luma_image": luma}).as_object().unwrap().clone();
    for (machine, luma) in machines.iter().zip(["linear-h.png", "iris.png"]) {
        machine.operate(|studio, _| {
            studio
                .add_transition("Wipe", "wipe_transition", wipe(luma))
                .unwrap();
        });
    }
    machines[0].operate(|studio, _| {
        studio
            .add_transition("Film", "obs_stinger_transition", wipe("x"))
            .unwrap();
        studio.set_transition("Wipe").unwrap();
    });
    let studio = source.capture().await.unwrap();
    let wipe = studio
        .transitions
        .iter()
        .find(|transition| transition.name == "Wipe");
    let settings = wipe.unwrap().settings.as_ref().unwrap();
    assert_eq!(settings.0, r#"{"luma_image":"linear-h.png"}"#);

    let (spare, _) = connect(&machines[1]).await;
    // A new collection has a cut and a fade, no more.
    let restored = spare.restore(&studio, &Means::Requests).await.unwrap();
    let film = "transition \"Film\" of kind obs_stinger_transition is missing, and OBS makes none on request";
    assert_eq!(restored.differences.len(), 2, "{:#?}", restored.differences);
    assert!(restored.differences.contains(&film.to_owned()), "{restored:?}");
    machines[1].operate(|studio, _| {
        let luma = json!({"luma_image": "iris.png"}).as_object().unwrap().clone();
        studio.add_transition("Wipe", "wipe_transition", luma).unwrap();
    });
    let restored = spare.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!(restored.differences, [film]);
    let captured = spare.capture().await.unwrap();
    assert_eq!(captured.transition, studio.transition);
    assert_eq!(
        captured.transitions[2],
        *studio.transitions.iter().find(|t| t.name == "Wipe").unwrap()
    );
    assert_eq!(
        captured.scenes[1].transition_override,
        studio.scenes[1].transition_override
    );

    let mut plain = studio.clone();
    plain.scenes[1].transition_override = None;
    let restored = spare.restore(&plain, &Means::Requests).await.unwrap();
    assert!(
        restored
            .differences
            .iter()
            .any(|line| line.contains("transition override of scene")),
        "{restored:?}"
    );
}

#[tokio::test]
async fn a_group_is_captured_restored_where_it_is_and_named_where_it_is_missing() {
    let (_world, machines) = world(2).await;
    let (source, _) = connect(&machines[0]).await;
    source.restore(&small(), &Means::Requests).await.unwrap();
    machines[0].operate(|studio, _| {
        let scene = studio
            .collection()
            .scenes
            .iter()
            .find(|scene| scene.name == "A")
            .unwrap();
        let (uuid, ids) = (
            scene.uuid,
            scene.items.iter().map(|item| item.id).collect::<Vec<_>>(),
        );
        studio.group_items(uuid, "Lower Third", &ids[1..]).unwrap();
    });
    let studio = source.capture().await.unwrap();
    assert_eq!(studio.groups.len(), 1);
    let sources = |items: &[SceneItem]| items.iter().map(|item| item.source.clone()).collect::<Vec<_>>();
    assert_eq!(sources(&studio.groups[0].items), ["title", "red"]);
    assert!(
        studio
            .scenes
            .iter()
            .any(|scene| sources(&scene.items) == ["red", "Lower Third"])
    );
    assert_eq!(
        source.restore(&studio, &Means::Requests).await.unwrap().requests,
        0
    );

    // Moved and hidden by hand, and put back.
    let group = machines[0].operate(|studio, _| {
        let group = &studio.collection().groups[0];
        let (uuid, first) = (group.uuid, group.items[0].id);
        studio.set_item_enabled(uuid, first, false).unwrap();
        studio.set_item_index(uuid, first, 1).unwrap();
        uuid
    });
    let restored = source.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!((restored.requests, restored.differences), (2, Vec::new()));
    assert_eq!(source.capture().await.unwrap(), studio);
    machines[0].operate(|studio, _| {
        let first = studio.collection().scene(group).unwrap().items[0].id;
        studio.remove_item(group, first).unwrap();
    });
    let restored = source.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!(
        restored.differences,
        ["item \"title\" of group \"Lower Third\" is missing"]
    );

    let (spare, _) = connect(&machines[1]).await;
    let restored = spare.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!(
        restored.differences,
        ["item \"Lower Third\" of scene \"A\" is a group, and OBS makes none on request"]
    );
}

#[tokio::test]
async fn only_what_differs_is_sent() {
    let (_world, machines) = world(1).await;
    machines[0].load_example_studio("key").unwrap();
    let (session, _) = connect(&machines[0]).await;
    let mut studio = session.capture().await.unwrap();
    studio
        .inputs
        .iter_mut()
        .find(|i| i.name == "Arena Sound")
        .unwrap()
        .audio
        .as_mut()
        .unwrap()
        .volume_mul = 0.25;
    scene_named(&mut studio, "Camera 3 - Bars").items[1]
        .transform
        .position_x = 17.5;
    studio.program_scene = "Replay".to_owned();
    studio.transition.as_mut().unwrap().duration_ms = Some(300);
    let restored = session.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!((restored.requests, restored.differences), (4, Vec::new()));
    assert_eq!(session.capture().await.unwrap(), studio);
}

#[tokio::test]
async fn a_studio_made_by_hand_is_restored_with_order_nesting_and_repeated_sources() {
    let (_world, machines) = world(1).await;
    let (session, _) = connect(&machines[0]).await;
    assert_restores(&*session, &small()).await;
    assert_eq!(session.capture().await.unwrap(), small());
}

#[tokio::test]
async fn a_cluttered_studio_is_cleared_rearranged_and_repaired() {
    let (_world, machines) = world(1).await;
    let (session, _) = connect(&machines[0]).await;
    session.restore(&small(), &Means::Requests).await.unwrap();

    // The same collection, in which everything is a little different.
    let mut cluttered = small();
    cluttered.inputs[0].settings = Json(r#"{"color":1,"width":99}"#.to_owned());
    cluttered.inputs.push(input("zebra", "color_source_v3", "{}"));
    cluttered.scenes[0].items = vec![
        item("zebra", 0.0),
        item("red", 3.0),
        item("title", 9.0),
        item("red", 1.0),
        item("red", 8.0),
    ];
    cluttered.scenes[0].items[2].enabled = false;
    cluttered.scenes[1].items = vec![SceneItem {
        locked: true,
        ..item("title", 4.0)
    }];
    cluttered
        .scenes
        .push(scene("Extra", &[item("zebra", 0.0), item("A", 0.0)]));
    cluttered.program_scene = "Extra".to_owned();
    cluttered.stream.as_mut().unwrap().other =
        Json(r#"{"bwtest":false,"password":"p","use_auth":true}"#.to_owned());
    assert_restores(&*session, &cluttered).await;

    assert_restores(&*session, &small()).await;
}

#[tokio::test]
async fn names_that_changed_sides_and_kinds_are_freed_first() {
    let (_world, machines) = world(1).await;
    let (session, _) = connect(&machines[0]).await;
    session.restore(&small(), &Means::Requests).await.unwrap();

    let mut swapped = small();
    // "red" becomes a text, "title" a scene, and the scene "A" an input.
    swapped.inputs = vec![
        input("A", "color_source_v3", r#"{"color":3}"#),
        input("red", "text_ft2_source_v2", r#"{"text":"red"}"#),
    ];
    swapped.scenes = vec![
        scene("B", &[item("A", 1.0), item("title", 2.0)]),
        scene("title", &[item("red", 3.0)]),
    ];
    assert_restores(&*session, &swapped).await;
}

#[tokio::test]
async fn what_cannot_be_made_equal_is_reported_and_the_rest_is_done() {
    let (_world, machines) = world(1).await;
    let (session, _) = connect(&machines[0]).await;
    let mut studio = small();
    studio.inputs.push(input("alien", "alien_source_v9", "{}"));
    studio.inputs.push(input("orphan", "color_source_v3", "{}"));
    studio.inputs.push(input("unreadable", "color_source_v3", "{"));
    studio.scenes[0]
        .items
        .extend([item("alien", 0.0), item("unreadable", 0.0)]);
    studio.scenes[1]
        .items
        .extend([item("Group", 0.0), item("alien", 0.0)]);
    studio.scenes[1].items[0].transform.bounds_type = "OBS_BOUNDS_ROUND".to_owned();
    studio.transition = Some(Transition {
        name: "Teleport".to_owned(),
        duration_ms: Some(100),
    });
    let restored = session.restore(&studio, &Means::Requests).await.unwrap();
    for (what, about) in [
        ("the unsupported kind", "alien_source_v9"),
        ("the input in no scene", "\"orphan\" is in no scene"),
        (
            "the settings that are no JSON",
            "\"unreadable\" are not a JSON object",
        ),
        (
            "the group",
            "\"Group\" of scene \"B\" is neither an input nor a scene",
        ),
        ("the unknown bounds", "OBS_BOUNDS_ROUND"),
        ("the missing transition", "\"Teleport\""),
    ] {
        let found = restored
            .differences
            .iter()
            .filter(|line| line.contains(about))
            .count();
        assert_eq!(found, 1, "{what}: {:#?}", restored.differences);
    }
    assert_eq!(restored.differences.len(), 6, "{:#?}", restored.differences);

    let captured = session.capture().await.unwrap();
    assert_eq!(captured.program_scene, "B");
    assert_eq!(captured.scenes[0].items, small().scenes[0].items);
    assert_eq!(captured.stream, small().stream);
}

#[tokio::test]
async fn a_running_stream_keeps_its_service() {
    let (world, machines) = world(1).await;
    machines[0].load_example_studio("on-air").unwrap();
    let (session, _) = connect(&machines[0]).await;
    session.start_stream().await.unwrap();
    assert!(
        machines[0]
            .until(PLENTY, MachineView::is_streaming)
            .await
            .is_some()
    );
    let mut studio = session.capture().await.unwrap();
    studio.stream.as_mut().unwrap().key = sealed("another");
    studio.program_scene = "Replay".to_owned();
    let restored = session.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!(restored.requests, 1);
    assert_eq!(restored.differences.len(), 1, "{:?}", restored.differences);
    assert!(
        !restored.differences[0].contains("another"),
        "{:?}",
        restored.differences
    );
    assert_eq!(machines[0].view().stream_key.unwrap().expose(), "on-air");
    assert_eq!(machines[0].view().program_scene.as_deref(), Some("Replay"));
    drop(world);
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_restore_ends_it() {
    let (_world, machines) = world(1).await;
    let (session, mut notices) = connect(&machines[0]).await;
    let machine = machines[0].clone();
    let studio = small();
    let (restored, ()) = tokio::join!(
        tokio::time::timeout(PLENTY, session.restore(&studio, &Means::Requests)),
        async move {
            // The first sign of the restore's work.
            notices.recv().await;
            machine.fault(Fault::StudioCrash);
        }
    );
    assert_eq!(restored, Ok(Err(Error::Closed)));
}

#[tokio::test]
async fn a_restore_leaves_no_connection_behind() {
    let (_world, machines) = world(1).await;
    let (session, _notices) = connect(&machines[0]).await;
    session.restore(&small(), &Means::Requests).await.unwrap();
    assert!(
        machines[0]
            .until(PLENTY, |view| view.obs_clients == 1)
            .await
            .is_some()
    );
    assert!(session.output().await.is_ok());
}
