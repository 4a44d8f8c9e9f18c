//! A studio on the wire, without its secrets, and in what two of them differ.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Iso;
use crate::domain::studio::{
    self, Difference, Filter, Input, Json, Scene, SceneItem, Studio, Transform, TransitionOverride,
};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StudioReply {
    pub competition_id: String,
    /// The VM that the competition has now; the capture outlives it.
    pub vm_id: Option<String>,
    /// When it was last seen to have changed.
    pub captured_at: Option<Iso>,
    pub studio: StudioView,
}

/// What OBS is set up to show. Secrets in settings and addresses read `(secret)`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StudioView {
    pub scene_collection: String,
    pub program_scene: String,
    /// In studio mode.
    pub preview_scene: Option<String>,
    /// `off`, `active` or `paused`.
    pub recording: &'static str,
    pub inputs: Vec<InputView>,
    pub scenes: Vec<SceneView>,
    pub groups: Vec<SceneView>,
    /// The one in use.
    pub transition: Option<TransitionView>,
    pub transitions: Vec<TransitionSourceView>,
    pub stream: Option<StreamView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputView {
    pub name: String,
    pub kind: String,
    /// As OBS has them.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// Absent for inputs without sound.
    pub audio: Option<AudioView>,
    pub filters: Vec<FilterView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AudioView {
    /// Multiplier, 0 to 20.
    pub volume: f64,
    pub muted: bool,
    /// 0 is left, 1 is right.
    pub balance: f64,
    pub sync_offset_ms: i64,
    /// `off`, `only` or `and_output`.
    pub monitor: &'static str,
    pub tracks: [bool; 6],
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilterView {
    pub name: String,
    pub kind: String,
    pub enabled: bool,
    #[schema(value_type = Object)]
    pub settings: Value,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SceneView {
    pub name: String,
    /// From back to front.
    pub items: Vec<ItemView>,
    pub filters: Vec<FilterView>,
    pub transition_override: Option<TransitionView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemView {
    pub source: String,
    pub enabled: bool,
    pub locked: bool,
    /// Canvas pixels.
    pub x: f64,
    pub y: f64,
    /// Degrees.
    pub rotation: f64,
    pub scale_x: f64,
    pub scale_y: f64,
    pub alignment: u8,
    pub bounds: String,
    pub bounds_alignment: u8,
    pub bounds_width: f64,
    pub bounds_height: f64,
    /// Left, top, right, bottom.
    pub crop: [u32; 4],
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionView {
    /// Absent in an override that changes the duration alone.
    pub name: Option<String>,
    pub duration_ms: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionSourceView {
    pub name: String,
    pub kind: String,
    /// Absent where there are none or they are not known.
    #[schema(value_type = Option<Object>)]
    pub settings: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamView {
    pub kind: String,
    pub server: Option<String>,
    /// Whether there is a stream key; the key itself is never told.
    pub key_set: bool,
    #[schema(value_type = Object)]
    pub settings: Value,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffReply {
    pub competition_id: String,
    /// `capture`, or the VM whose studio was read.
    pub left: String,
    pub right: String,
    pub same: bool,
    /// Everything in which the right one is not as the left one.
    pub differences: Vec<DifferenceView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceView {
    /// For example `input "Mic"`.
    pub subject: String,
    /// Which part of it; empty if it is about being there at all.
    pub aspect: String,
    pub left: Option<String>,
    pub right: Option<String>,
    /// All of it in a sentence, where the left one is what is wanted.
    pub sentence: String,
}

impl StudioView {
    #[must_use]
    pub fn new(captured: &Studio) -> Self {
        let studio = captured.redacted();
        let key_set = captured
            .stream
            .as_ref()
            .is_some_and(|stream| stream.key.is_some());
        Self {
            scene_collection: studio.scene_collection,
            program_scene: studio.program_scene,
            preview_scene: studio.preview_scene,
            recording: studio.recording.as_str(),
            inputs: studio.inputs.into_iter().map(input).collect(),
            scenes: studio.scenes.into_iter().map(scene).collect(),
            groups: studio.groups.into_iter().map(scene).collect(),
            transition: studio.transition.map(|used| TransitionView {
                name: Some(used.name),
                duration_ms: used.duration_ms,
            }),
            transitions: studio.transitions.into_iter().map(transition).collect(),
            stream: studio.stream.map(|stream| StreamView {
                kind: stream.kind,
                server: stream.server,
                key_set,
                settings: value(&stream.other),
            }),
        }
    }
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        Self {
            sentence: difference.to_string(),
            subject: difference.subject.to_string(),
            aspect: difference.aspect,
            left: difference.want,
            right: difference.found,
        }
    }
}

/// Redacted settings are always JSON.
fn value(settings: &Json) -> Value {
    serde_json::from_str(&settings.0).unwrap_or_default()
}

fn input(input: Input) -> InputView {
    InputView {
        settings: value(&input.settings),
        name: input.name,
        kind: input.kind,
        audio: input.audio.map(|audio| AudioView {
            volume: audio.volume_mul,
            muted: audio.muted,
            balance: audio.balance,
            sync_offset_ms: audio.sync_offset_ms,
            monitor: audio.monitor.as_str(),
            tracks: audio.tracks,
        }),
        filters: input.filters.into_iter().map(filter).collect(),
    }
}

fn filter(filter: Filter) -> FilterView {
    FilterView {
        settings: value(&filter.settings),
        name: filter.name,
        kind: filter.kind,
        enabled: filter.enabled,
    }
}

fn scene(scene: Scene) -> SceneView {
    let instead = |instead: TransitionOverride| TransitionView {
        name: instead.name,
        duration_ms: instead.duration_ms,
    };
    SceneView {
        name: scene.name,
        items: scene.items.into_iter().map(item).collect(),
        filters: scene.filters.into_iter().map(filter).collect(),
        transition_override: scene.transition_override.map(instead),
    }
}

fn item(item: SceneItem) -> ItemView {
    let Transform {
        position_x,
        position_y,
        rotation,
        scale_x,
        scale_y,
        alignment,
        bounds_type,
        bounds_alignment,
        bounds_width,
        bounds_height,
        crop_left,
        crop_right,
        crop_top,
        crop_bottom,
    } = item.transform;
    ItemView {
        source: item.source,
        enabled: item.enabled,
        locked: item.locked,
        x: position_x,
        y: position_y,
        rotation,
        scale_x,
        scale_y,
        alignment,
        bounds: bounds_type,
        bounds_alignment,
        bounds_width,
        bounds_height,
        crop: [crop_left, crop_top, crop_right, crop_bottom],
    }
}

fn transition(source: studio::TransitionSource) -> TransitionSourceView {
    TransitionSourceView {
        settings: source.settings.as_ref().map(value),
        name: source.name,
        kind: source.kind,
    }
}
