//! A studio's events as obs-websocket sends them.

use serde_json::{Value, json};

use super::request::filters::filters_json;
use super::request::items::transform_json;
use super::request::record::record_path;
use super::request::scenes::scene_list_json;
use super::request::sound::{monitor_name, tracks_json};
use crate::domain::studio::Recording;
use crate::sim::model::studio::event::{FilterChange, InputChange, ItemChange, Named, StudioEvent};
use crate::sim::model::studio::stream::StreamState;

// `EventSubscription` of the protocol document.
const GENERAL: u32 = 1 << 0;
const CONFIG: u32 = 1 << 1;
const SCENES: u32 = 1 << 2;
const INPUTS: u32 = 1 << 3;
const TRANSITIONS: u32 = 1 << 4;
const FILTERS: u32 = 1 << 5;
const OUTPUTS: u32 = 1 << 6;
const SCENE_ITEMS: u32 = 1 << 7;
const UI: u32 = 1 << 10;
const SCENE_ITEM_TRANSFORM: u32 = 1 << 19;

/// The category a client must have subscribed to.
pub(super) fn intent(event: &StudioEvent) -> u32 {
    match event {
        StudioEvent::ExitStarted => GENERAL,
        StudioEvent::CollectionChanging(_)
        | StudioEvent::CollectionChanged(_)
        | StudioEvent::CollectionListChanged(_) => CONFIG,
        StudioEvent::SceneCreated(_)
        | StudioEvent::SceneRemoved(_)
        | StudioEvent::SceneNameChanged { .. }
        | StudioEvent::SceneListChanged(_)
        | StudioEvent::ProgramSceneChanged(_)
        | StudioEvent::PreviewSceneChanged(_) => SCENES,
        StudioEvent::StudioMode(_) => UI,
        StudioEvent::Filter { .. } => FILTERS,
        StudioEvent::Input { .. } => INPUTS,
        StudioEvent::Item {
            change: ItemChange::Transform { .. },
            ..
        } => SCENE_ITEM_TRANSFORM,
        StudioEvent::Item { .. } => SCENE_ITEMS,
        StudioEvent::TransitionChanged(_) | StudioEvent::TransitionDurationChanged { .. } => TRANSITIONS,
        StudioEvent::Stream(_) | StudioEvent::Record { .. } => OUTPUTS,
    }
}

/// The whole message.
pub(super) fn message(event: &StudioEvent) -> Value {
    let (kind, data) = body(event);
    let mut message = json!({"eventType": kind, "eventIntent": intent(event)});
    if !data.is_null() {
        message["eventData"] = data;
    }
    json!({"op": 5, "d": message})
}

fn scene(named: &Named) -> Value {
    json!({"sceneName": named.name, "sceneUuid": named.uuid.to_string()})
}

fn input(named: &Named) -> Value {
    json!({"inputName": named.name, "inputUuid": named.uuid.to_string()})
}

/// One object out of two; later fields win.
fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

fn body(event: &StudioEvent) -> (&'static str, Value) {
    match event {
        StudioEvent::ExitStarted => ("ExitStarted", Value::Null),
        StudioEvent::CollectionChanging(name) => (
            "CurrentSceneCollectionChanging",
            json!({"sceneCollectionName": name}),
        ),
        StudioEvent::CollectionChanged(name) => (
            "CurrentSceneCollectionChanged",
            json!({"sceneCollectionName": name}),
        ),
        StudioEvent::CollectionListChanged(names) => {
            ("SceneCollectionListChanged", json!({"sceneCollections": names}))
        }
        StudioEvent::SceneCreated(named) => ("SceneCreated", with(scene(named), json!({"isGroup": false}))),
        StudioEvent::SceneRemoved(named) => ("SceneRemoved", with(scene(named), json!({"isGroup": false}))),
        StudioEvent::SceneNameChanged { uuid, old, new } => (
            "SceneNameChanged",
            json!({"sceneUuid": uuid.to_string(), "oldSceneName": old, "sceneName": new}),
        ),
        StudioEvent::SceneListChanged(scenes) => {
            ("SceneListChanged", json!({"scenes": scene_list_json(scenes)}))
        }
        StudioEvent::ProgramSceneChanged(named) => ("CurrentProgramSceneChanged", scene(named)),
        StudioEvent::PreviewSceneChanged(named) => ("CurrentPreviewSceneChanged", scene(named)),
        StudioEvent::StudioMode(enabled) => ("StudioModeStateChanged", json!({"studioModeEnabled": enabled})),
        StudioEvent::Filter {
            source,
            filter,
            change,
        } => filter_body(source, filter, change),
        StudioEvent::Input { input, change } => input_body(input, change),
        StudioEvent::Item { scene, change } => item_body(scene, change),
        StudioEvent::TransitionChanged(named) => (
            "CurrentSceneTransitionChanged",
            json!({"transitionName": named.name, "transitionUuid": named.uuid.to_string()}),
        ),
        StudioEvent::TransitionDurationChanged { duration_ms } => (
            "CurrentSceneTransitionDurationChanged",
            json!({"transitionDuration": duration_ms}),
        ),
        StudioEvent::Record { was, is, file } => ("RecordStateChanged", record_state(*was, *is, file)),
        StudioEvent::Stream(state) => ("StreamStateChanged", stream_state(*state)),
    }
}

fn input_body(named: &Named, change: &InputChange) -> (&'static str, Value) {
    let (kind, more) = match change {
        InputChange::Created { kind, settings } => (
            "InputCreated",
            json!({
                "inputKind": kind.id,
                "unversionedInputKind": kind.unversioned,
                "inputKindCaps": kind.caps(),
                "inputSettings": settings,
                "defaultInputSettings": kind.defaults(),
            }),
        ),
        InputChange::Removed => ("InputRemoved", Value::Null),
        InputChange::Renamed { old } => ("InputNameChanged", json!({"oldInputName": old})),
        InputChange::Settings(settings) => ("InputSettingsChanged", json!({"inputSettings": settings})),
        InputChange::Volume { mul, db } => (
            "InputVolumeChanged",
            json!({"inputVolumeMul": f64::from(*mul), "inputVolumeDb": f64::from(*db)}),
        ),
        InputChange::Balance(balance) => (
            "InputAudioBalanceChanged",
            json!({"inputAudioBalance": f64::from(*balance)}),
        ),
        InputChange::SyncOffset { offset_ms } => (
            "InputAudioSyncOffsetChanged",
            json!({"inputAudioSyncOffset": offset_ms}),
        ),
        InputChange::Monitor(monitor) => (
            "InputAudioMonitorTypeChanged",
            json!({"monitorType": monitor_name(*monitor)}),
        ),
        InputChange::Tracks(tracks) => (
            "InputAudioTracksChanged",
            json!({"inputAudioTracks": tracks_json(*tracks)}),
        ),
        InputChange::Muted(muted) => ("InputMuteStateChanged", json!({"inputMuted": muted})),
    };
    (kind, with(input(named), more))
}

fn filter_body(source: &str, filter: &str, change: &FilterChange) -> (&'static str, Value) {
    let (kind, more) = match change {
        FilterChange::Created {
            kind,
            index,
            settings,
        } => (
            "SourceFilterCreated",
            json!({
                "filterKind": kind,
                "filterIndex": index,
                "filterSettings": settings,
                "defaultFilterSettings": {},
            }),
        ),
        FilterChange::Removed => ("SourceFilterRemoved", Value::Null),
        FilterChange::Renamed { old } => ("SourceFilterNameChanged", json!({"oldFilterName": old})),
        FilterChange::Reindexed(filters) => {
            let data = json!({"sourceName": source, "filters": filters_json(filters)});
            return ("SourceFilterListReindexed", data);
        }
        FilterChange::Settings(settings) => {
            ("SourceFilterSettingsChanged", json!({"filterSettings": settings}))
        }
        FilterChange::Enabled(enabled) => (
            "SourceFilterEnableStateChanged",
            json!({"filterEnabled": enabled}),
        ),
    };
    let named = json!({"sourceName": source, "filterName": filter});
    (kind, with(named, more))
}

/// `RecordStateChanged` of a state that was reached; the ones on the way are not announced here.
fn record_state(was: Recording, is: Recording, file: &str) -> Value {
    let (active, name) = match (was, is) {
        (Recording::Paused, Recording::Active) => (true, "OBS_WEBSOCKET_OUTPUT_RESUMED"),
        (_, Recording::Active) => (true, "OBS_WEBSOCKET_OUTPUT_STARTED"),
        (_, Recording::Paused) => (false, "OBS_WEBSOCKET_OUTPUT_PAUSED"),
        (_, Recording::Off) => (false, "OBS_WEBSOCKET_OUTPUT_STOPPED"),
    };
    json!({"outputActive": active, "outputState": name, "outputPath": record_path(file)})
}

fn item_body(named: &Named, change: &ItemChange) -> (&'static str, Value) {
    let source = |source: &Named, id: u64| json!({"sourceName": source.name, "sourceUuid": source.uuid.to_string(), "sceneItemId": id});
    let (kind, more) = match change {
        ItemChange::Created {
            source: shown,
            id,
            index,
        } => (
            "SceneItemCreated",
            with(source(shown, *id), json!({"sceneItemIndex": index})),
        ),
        ItemChange::Removed { source: shown, id } => ("SceneItemRemoved", source(shown, *id)),
        ItemChange::Reindexed(ids) => {
            let item = |(index, id): (usize, &u64)| json!({"sceneItemId": id, "sceneItemIndex": index});
            let items: Vec<Value> = ids.iter().enumerate().map(item).collect();
            ("SceneItemListReindexed", json!({"sceneItems": items}))
        }
        ItemChange::Enabled { id, enabled } => (
            "SceneItemEnableStateChanged",
            json!({"sceneItemId": id, "sceneItemEnabled": enabled}),
        ),
        ItemChange::Locked { id, locked } => (
            "SceneItemLockStateChanged",
            json!({"sceneItemId": id, "sceneItemLocked": locked}),
        ),
        ItemChange::Transform {
            id,
            transform,
            source_size,
        } => (
            "SceneItemTransformChanged",
            json!({"sceneItemId": id, "sceneItemTransform": transform_json(transform, *source_size)}),
        ),
    };
    (kind, with(scene(named), more))
}

/// `outputActive` and `outputState` as obs-websocket derives one from the other.
fn stream_state(state: StreamState) -> Value {
    let (active, name) = match state {
        StreamState::Starting => (false, "OBS_WEBSOCKET_OUTPUT_STARTING"),
        StreamState::Started => (true, "OBS_WEBSOCKET_OUTPUT_STARTED"),
        StreamState::Stopping => (false, "OBS_WEBSOCKET_OUTPUT_STOPPING"),
        StreamState::Stopped => (false, "OBS_WEBSOCKET_OUTPUT_STOPPED"),
        StreamState::Reconnecting => (false, "OBS_WEBSOCKET_OUTPUT_RECONNECTING"),
        StreamState::Reconnected => (true, "OBS_WEBSOCKET_OUTPUT_RECONNECTED"),
    };
    json!({"outputActive": active, "outputState": name})
}
