//! What a studio announces: obs-websocket's events in the model's words.

use serde_json::{Map, Value};

use super::kinds::InputKind;
use super::source::{Filter, Transform, Uuid};
use super::stream::StreamState;
use crate::domain::studio::{Monitor, Recording};

/// A name and the identity behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub uuid: Uuid,
}

#[derive(Debug, Clone)]
pub enum StudioEvent {
    ExitStarted,
    CollectionChanging(String),
    CollectionChanged(String),
    CollectionListChanged(Vec<String>),
    SceneCreated(Named),
    SceneRemoved(Named),
    SceneNameChanged {
        uuid: Uuid,
        old: String,
        new: String,
    },
    /// Names in `sceneIndex` order.
    SceneListChanged(Vec<Named>),
    ProgramSceneChanged(Named),
    PreviewSceneChanged(Named),
    StudioMode(bool),
    Filter {
        /// The name of the source: these events carry no UUID.
        source: String,
        filter: String,
        change: FilterChange,
    },
    Input {
        input: Named,
        change: InputChange,
    },
    Item {
        scene: Named,
        change: ItemChange,
    },
    TransitionChanged(Named),
    TransitionDurationChanged {
        duration_ms: u32,
    },
    Stream(StreamState),
    Record {
        was: Recording,
        is: Recording,
        /// Name of the recorded file, without its folder.
        file: String,
    },
}

/// What happened to a filter.
#[derive(Debug, Clone)]
pub enum FilterChange {
    Created {
        kind: &'static str,
        index: usize,
        settings: Map<String, Value>,
    },
    Removed,
    Renamed {
        old: String,
    },
    /// All filters of the source.
    Reindexed(Vec<Filter>),
    Settings(Map<String, Value>),
    Enabled(bool),
}

/// What happened to an input.
#[derive(Debug, Clone)]
pub enum InputChange {
    Created {
        kind: &'static InputKind,
        settings: Map<String, Value>,
    },
    Removed,
    Renamed {
        old: String,
    },
    Settings(Map<String, Value>),
    Volume {
        mul: f32,
        db: f32,
    },
    Muted(bool),
    Balance(f32),
    SyncOffset {
        offset_ms: i64,
    },
    Monitor(Monitor),
    Tracks([bool; 6]),
}

/// What happened to the items of a scene.
#[derive(Debug, Clone)]
pub enum ItemChange {
    Created {
        source: Named,
        id: u64,
        index: usize,
    },
    Removed {
        source: Named,
        id: u64,
    },
    /// Item ids from back to front.
    Reindexed(Vec<u64>),
    Enabled {
        id: u64,
        enabled: bool,
    },
    Locked {
        id: u64,
        locked: bool,
    },
    Transform {
        id: u64,
        transform: Transform,
        source_size: (f32, f32),
    },
}
