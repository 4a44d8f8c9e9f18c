//! The studio, driven by obws as the coordinator drives it.

use futures_util::StreamExt;
use obws::events::{Event, OutputState};
use obws::requests::inputs::{Create, SetSettings, Volume};
use obws::requests::scene_items::{
    Bounds, CreateSceneItem, Crop, Id, Position, Scale, SceneItemTransform, SetEnabled, SetIndex, SetLocked,
    SetTransform,
};
use obws::responses::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::{DEADLINE, obws, obws_to, one_machine};

fn code(error: &obws::error::Error) -> StatusCode {
    match error {
        obws::error::Error::Api { code, .. } => *code,
        other => panic!("not an answer: {other:?}"),
    }
}

#[tokio::test]
async fn a_client_logs_in_only_with_the_password() {
    let (_world, _, machine) = one_machine().await;
    let version = obws(&machine).await.general().version().await.unwrap();
    assert_eq!(version.rpc_version, 1);
    assert!(
        version
            .available_requests
            .iter()
            .any(|name| name == "GetStreamStatus")
    );
    for wrong in [Some("guess"), None] {
        let refused = obws_to(machine.address(), wrong).await.err().expect("a refusal");
        let obws::error::Error::Handshake(handshake) = refused else {
            panic!("{refused:?}")
        };
        let text = format!("{handshake:?}");
        assert!(text.contains("4009"), "{text}");
    }
}

#[tokio::test]
async fn scenes_and_items_are_read_as_a_capture_reads_them() {
    let (_world, _, machine) = one_machine().await;
    machine.load_example_studio("k").unwrap();
    let client = obws(&machine).await;
    assert_eq!(
        client.scene_collections().list().await.unwrap().current,
        "Gymnastics"
    );
    let scenes = client.scenes().list().await.unwrap();
    assert_eq!(scenes.scenes.len(), 12);
    assert_eq!(scenes.scenes.last().unwrap().id.name, "Starting Soon");
    assert_eq!(scenes.current_program_scene.unwrap().name, "Camera 2 - Vault");
    let program = client.scenes().current_program_scene().await.unwrap();
    assert_eq!(program.id.name, "Camera 2 - Vault");
    let items = client.scene_items();
    for scene in &scenes.scenes {
        for item in items.list(scene.id.clone().into()).await.unwrap() {
            items.transform(scene.id.clone().into(), item.id).await.unwrap();
            items.enabled(scene.id.clone().into(), item.id).await.unwrap();
            items.locked(scene.id.clone().into(), item.id).await.unwrap();
            let index = items.index(scene.id.clone().into(), item.id).await.unwrap();
            assert_eq!(index, item.index);
        }
    }
}

#[tokio::test]
async fn inputs_are_read_as_a_capture_reads_them() {
    let (_world, _, machine) = one_machine().await;
    machine.load_example_studio("k").unwrap();
    let client = obws(&machine).await;
    let inputs = client.inputs();
    let kinds = inputs.list_kinds(false).await.unwrap();
    for input in inputs.list(None).await.unwrap() {
        assert!(kinds.contains(&input.kind));
        inputs.settings::<Value>(input.id.clone().into()).await.unwrap();
        inputs.default_settings::<Value>(&input.kind).await.unwrap();
        if input.kind == "ffmpeg_source" {
            inputs.volume(input.id.clone().into()).await.unwrap();
            inputs.muted(input.id.into()).await.unwrap();
        }
    }
    inputs.specials().await.unwrap();
    assert_eq!(inputs.list(Some("pulse_input_capture")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn transitions_outputs_and_settings_are_read_as_a_capture_reads_them() {
    let (_world, _, machine) = one_machine().await;
    machine.load_example_studio("secret-key").unwrap();
    let client = obws(&machine).await;
    let transitions = client.transitions().list().await.unwrap();
    assert_eq!(transitions.transitions.len(), 2);
    let current = client.transitions().current().await.unwrap();
    let duration_ms = current.duration.unwrap().whole_milliseconds();
    assert_eq!((current.id.name.as_str(), duration_ms), ("Fade", 450));
    let service = client.config().stream_service_settings::<Value>().await.unwrap();
    assert_eq!(service.r#type, "rtmp_custom");
    assert_eq!(service.settings["key"], "secret-key");
    assert_eq!(client.config().video_settings().await.unwrap().base_width, 1920);
    assert!(!client.recording().status().await.unwrap().active);
    let stats = client.general().stats().await.unwrap();
    assert_eq!(stats.web_socket_session_incoming_messages, 8);
}

#[tokio::test]
async fn a_restored_input_keeps_its_settings_and_sound() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    let inputs = client.inputs();
    let camera = Create {
        scene: "Scene".into(),
        input: "Cam",
        kind: "ffmpeg_source",
        settings: Some(json!({"input": "srt://127.0.0.1:9001"})),
        enabled: Some(true),
    };
    inputs.create(camera).await.unwrap();
    let settings = SetSettings {
        input: "Cam".into(),
        settings: &json!({"looping": true}),
        overlay: Some(true),
    };
    inputs.set_settings(settings).await.unwrap();
    let read = inputs.settings::<Value>("Cam".into()).await.unwrap().settings;
    assert_eq!(read, json!({"input": "srt://127.0.0.1:9001", "looping": true}));
    let settings = SetSettings {
        input: "Cam".into(),
        settings: &json!({"a": 1}),
        overlay: Some(false),
    };
    inputs.set_settings(settings).await.unwrap();
    let read = inputs.settings::<Value>("Cam".into()).await.unwrap().settings;
    assert_eq!(read, json!({"a": 1}));

    inputs.set_volume("Cam".into(), Volume::Mul(0.25)).await.unwrap();
    let volume = inputs.volume("Cam".into()).await.unwrap();
    assert!((volume.db + 12.04).abs() < 0.01, "{volume:?}");
    inputs.set_muted("Cam".into(), true).await.unwrap();
    assert!(inputs.muted("Cam".into()).await.unwrap());
    inputs.remove("Cam".into()).await.unwrap();
    assert_eq!(client.scene_items().list("Scene".into()).await.unwrap().len(), 0);
}

/// A scene `A` that shows the input `Cam`. Returns the item.
async fn scene_with_camera(client: &obws::Client) -> i64 {
    client.scenes().create("A").await.unwrap();
    let camera = Create {
        scene: "A".into(),
        input: "Cam",
        kind: "ffmpeg_source",
        settings: None::<Value>,
        enabled: None,
    };
    client.inputs().create(camera).await.unwrap().scene_item_id
}

#[tokio::test]
async fn a_restored_item_keeps_its_transform() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    let item_id = scene_with_camera(&client).await;
    let transform = SceneItemTransform {
        position: Some(Position {
            x: Some(10.5),
            y: Some(-3.0),
        }),
        rotation: Some(90.0),
        scale: Some(Scale {
            x: Some(0.5),
            y: Some(0.25),
        }),
        alignment: None,
        bounds: Some(Bounds {
            width: Some(640.0),
            height: Some(360.0),
            ..Bounds::default()
        }),
        crop: Some(Crop {
            left: Some(4),
            ..Crop::default()
        }),
    };
    let change = SetTransform {
        scene: "A".into(),
        item_id,
        transform,
    };
    client.scene_items().set_transform(change).await.unwrap();
    let read = client.scene_items().transform("A".into(), item_id).await.unwrap();
    assert_eq!(
        (read.position_x, read.position_y, read.rotation),
        (10.5, -3.0, 90.0)
    );
    assert_eq!((read.scale_x, read.scale_y, read.crop_left), (0.5, 0.25, 4));
    assert_eq!(
        (read.bounds_width, read.source_width, read.width),
        (640.0, 1920.0, 960.0)
    );
}

#[tokio::test]
async fn restored_items_keep_their_order_and_flags() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    let items = client.scene_items();
    let scene = || "A".into();
    let item_id = scene_with_camera(&client).await;
    client.scenes().create("B").await.unwrap();
    let nested = CreateSceneItem {
        scene: scene(),
        source: "B".into(),
        enabled: Some(false),
    };
    let nested = items.create(nested).await.unwrap();
    assert!(!items.enabled(scene(), nested).await.unwrap());
    let to_the_back = SetIndex {
        scene: scene(),
        item_id: nested,
        index: 0,
    };
    items.set_index(to_the_back).await.unwrap();
    let names: Vec<_> = items
        .list(scene())
        .await
        .unwrap()
        .into_iter()
        .map(|i| i.source_name)
        .collect();
    assert_eq!(names, ["B", "Cam"]);
    let lock = SetLocked {
        scene: scene(),
        item_id,
        locked: true,
    };
    items.set_locked(lock).await.unwrap();
    assert!(items.locked(scene(), item_id).await.unwrap());
    let show = SetEnabled {
        scene: scene(),
        item_id: nested,
        enabled: true,
    };
    items.set_enabled(show).await.unwrap();
    assert!(items.enabled(scene(), nested).await.unwrap());
    let id = Id {
        scene: scene(),
        source: "Cam",
        search_offset: None,
    };
    assert_eq!(items.id(id).await.unwrap(), item_id);
    items.remove(scene(), nested).await.unwrap();
    assert_eq!(items.list(scene()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restored_collection_keeps_its_scenes_program_transition_and_service() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    client.scene_collections().create("Show").await.unwrap();
    client.scenes().create("A").await.unwrap();
    client.scenes().create("B").await.unwrap();
    client.scenes().remove("Scene".into()).await.unwrap();
    client.scenes().set_current_program_scene("B").await.unwrap();
    assert_eq!(machine.view().program_scene.as_deref(), Some("B"));
    client.transitions().set_current("Cut").await.unwrap();
    assert_eq!(client.transitions().current().await.unwrap().duration, None);
    let service = json!({"server": "rtmp://127.0.0.1/live", "key": "k2"});
    client
        .config()
        .set_stream_service_settings("rtmp_custom", &service)
        .await
        .unwrap();
    assert_eq!(machine.view().stream_key.unwrap().expose(), "k2");

    client.scene_collections().set_current("Untitled").await.unwrap();
    assert_eq!(client.scenes().list().await.unwrap().scenes.len(), 1);
    client.scene_collections().set_current("Show").await.unwrap();
    let scenes = client.scenes().list().await.unwrap();
    assert_eq!(scenes.scenes.len(), 2);
    assert_eq!(scenes.current_program_scene.unwrap().name, "B");
}

#[tokio::test]
async fn a_request_that_cannot_be_done_says_why() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    let not_found = client
        .scenes()
        .set_current_program_scene("nowhere")
        .await
        .unwrap_err();
    assert_eq!(code(&not_found), StatusCode::ResourceNotFound);
    assert_eq!(
        code(&client.scenes().create("Scene").await.unwrap_err()),
        StatusCode::ResourceAlreadyExists
    );
    assert_eq!(
        code(&client.scenes().remove("Scene".into()).await.unwrap_err()),
        StatusCode::NotEnoughResources
    );
    let create = |kind| Create {
        scene: "Scene".into(),
        input: "X",
        kind,
        settings: None::<Value>,
        enabled: None,
    };
    let unknown_kind = client.inputs().create(create("ndi_source")).await.unwrap_err();
    assert_eq!(code(&unknown_kind), StatusCode::InvalidInputKind);
    client.inputs().create(create("color_source_v3")).await.unwrap();
    assert_eq!(
        code(&client.inputs().muted("X".into()).await.unwrap_err()),
        StatusCode::InvalidResourceState
    );
    let within_itself = CreateSceneItem {
        scene: "Scene".into(),
        source: "Scene".into(),
        enabled: None,
    };
    let refused = client.scene_items().create(within_itself).await.unwrap_err();
    assert_eq!(code(&refused), StatusCode::CannotAct);
    assert_eq!(
        code(&client.streaming().stop().await.unwrap_err()),
        StatusCode::OutputNotRunning
    );
    // What obws does not know is what this OBS does not offer.
    let profiles = client.profiles().list().await.unwrap_err();
    assert_eq!(code(&profiles), StatusCode::UnknownRequestType);
}

#[tokio::test]
async fn changes_are_announced_to_other_clients() {
    let (_world, _, machine) = one_machine().await;
    machine.load_example_studio("k").unwrap();
    let (watcher, editor) = (obws(&machine).await, obws(&machine).await);
    let mut events = watcher.events().unwrap();
    let mut next = async || timeout(DEADLINE, events.next()).await.unwrap().unwrap();

    editor
        .scenes()
        .set_current_program_scene("Quad View")
        .await
        .unwrap();
    assert!(matches!(next().await, Event::CurrentProgramSceneChanged { id } if id.name == "Quad View"));
    editor.inputs().set_muted("Camera 1".into(), false).await.unwrap();
    assert!(matches!(
        next().await,
        Event::InputMuteStateChanged { muted: false, .. }
    ));
    editor.scenes().create("New").await.unwrap();
    assert!(matches!(next().await, Event::SceneCreated { id, .. } if id.name == "New"));
    assert!(matches!(next().await, Event::SceneListChanged { scenes } if scenes.len() == 13));
    editor.transitions().set_current("Cut").await.unwrap();
    assert!(matches!(next().await, Event::CurrentSceneTransitionChanged { id } if id.name == "Cut"));
    editor
        .inputs()
        .set_volume("Camera 1".into(), Volume::Db(-6.0))
        .await
        .unwrap();
    assert!(matches!(next().await, Event::InputVolumeChanged { .. }));
    let settings = SetSettings {
        input: "Camera 1".into(),
        settings: &json!({"a": 1}),
        overlay: None,
    };
    editor.inputs().set_settings(settings).await.unwrap();
    assert!(matches!(next().await, Event::InputSettingsChanged { .. }));
    editor.inputs().remove("Score Overlay".into()).await.unwrap();
    assert!(matches!(next().await, Event::SceneItemRemoved { .. }));
}

#[tokio::test]
async fn a_polite_exit_is_announced_and_closes_the_session() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    let mut events = client.events().unwrap();
    machine.shut_down();
    let mut seen = Vec::new();
    while let Some(event) = timeout(DEADLINE, events.next()).await.expect("an end") {
        seen.push(event);
    }
    assert_eq!(seen[..2], [Event::ExitStarted, Event::ServerStopping]);
}

#[tokio::test]
async fn a_stream_goes_through_its_states_and_its_bytes_rise() {
    let (world, _, machine) = one_machine().await;
    machine.load_example_studio("show-1").unwrap();
    let client = obws(&machine).await;
    let mut events = client.events().unwrap();
    let mut states = async |count: usize| {
        let mut states = Vec::new();
        while states.len() < count {
            if let Event::StreamStateChanged { state, .. } =
                timeout(DEADLINE, events.next()).await.unwrap().unwrap()
            {
                states.push(state);
            }
        }
        states
    };
    client.streaming().start().await.unwrap();
    assert_eq!(states(2).await, [OutputState::Starting, OutputState::Started]);
    machine
        .until(DEADLINE, |view| view.stream_bytes > 0)
        .await
        .expect("bytes");
    let status = client.streaming().status().await.unwrap();
    assert!(status.active && !status.reconnecting && status.bytes > 0);
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| ingest.publishers("show-1")
                == [machine.address()])
            .await
    );
    assert_eq!(
        code(&client.streaming().start().await.unwrap_err()),
        StatusCode::OutputRunning
    );
    let service = json!({"key": "other"});
    let refused = client
        .config()
        .set_stream_service_settings("rtmp_custom", &service)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), StatusCode::OutputRunning);
    client.streaming().stop().await.unwrap();
    assert_eq!(states(2).await, [OutputState::Stopping, OutputState::Stopped]);
    assert!(!client.streaming().status().await.unwrap().active);
    assert!(client.streaming().toggle().await.unwrap());
}
