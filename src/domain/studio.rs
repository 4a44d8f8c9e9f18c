//! A studio's state: what OBS must be told so that another machine looks and sounds the same on air.
//!
//! Settings of sources are opaque here (JSON text as OBS gave it): the domain compares and carries them, it
//! does not read them. The stream key is a secret and never appears in `Debug` output.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything captured from one studio, in the order in which it is restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Studio {
    pub scene_collection: String,
    pub inputs: Vec<Input>,
    pub scenes: Vec<Scene>,
    pub transition: Option<Transition>,
    pub stream: Option<StreamService>,
    pub program_scene: String,
}

/// A source with its own settings and sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    /// OBS input kind with version suffix, for example `color_source_v3`.
    pub kind: String,
    pub settings: Json,
    /// Absent for inputs without sound.
    pub audio: Option<Audio>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Audio {
    /// Volume multiplier, 0.0 to 20.0, as obs-websocket's `inputVolumeMul`.
    pub volume_mul: f64,
    pub muted: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    pub name: String,
    /// From back to front, as `sceneItemIndex` counts.
    pub items: Vec<SceneItem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneItem {
    /// Name of the input, or of the nested scene, shown by this item.
    pub source: String,
    pub enabled: bool,
    pub locked: bool,
    pub transform: Transform,
}

/// Where an item is drawn, in canvas pixels and degrees: the writable part of obs-websocket's
/// `sceneItemTransform`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    pub position_x: f64,
    pub position_y: f64,
    pub rotation: f64,
    pub scale_x: f64,
    pub scale_y: f64,
    /// Bit set of OBS alignment flags.
    pub alignment: u8,
    /// `OBS_BOUNDS_…` as on the wire.
    pub bounds_type: String,
    pub bounds_alignment: u8,
    pub bounds_width: f64,
    pub bounds_height: f64,
    pub crop_left: u32,
    pub crop_right: u32,
    pub crop_top: u32,
    pub crop_bottom: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    pub name: String,
    /// Milliseconds; absent for fixed transitions such as a cut.
    pub duration_ms: Option<u32>,
}

/// Where the stream goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamService {
    /// `rtmp_custom` or `rtmp_common`.
    pub kind: String,
    /// `rtmp://host:port/app`, absent where a named service decides.
    pub server: Option<String>,
    pub key: Secret,
    /// The settings as OBS gave them without `server` and `key`.
    pub other: Json,
}

/// A JSON object as text, keys sorted, so that equal settings are equal texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(pub String);

impl Default for Json {
    fn default() -> Self {
        Self("{}".to_owned())
    }
}

/// Text that is kept but never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the wire it is meant for, not for logs or answers.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(secret)" })
    }
}

/// What the studio's stream output is doing, from obs-websocket's `GetStreamStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub active: bool,
    pub reconnecting: bool,
    /// Bytes sent. OBS keeps the previous stream's figure until the next one is connected, so only a rise
    /// counts.
    pub bytes: u64,
    /// Milliseconds since this stream started.
    pub duration_ms: u64,
    pub skipped_frames: u64,
    pub total_frames: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let service = StreamService {
            kind: "rtmp_custom".into(),
            server: Some("rtmp://127.0.0.1/live".into()),
            key: Secret::new("hush"),
            other: Json::default(),
        };
        assert!(!format!("{service:?}").contains("hush"));
    }
}
