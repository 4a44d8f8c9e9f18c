//! A studio's state: what OBS must be told so that another machine looks and sounds the same on air.
//!
//! Settings of sources are JSON text as OBS gave it: the domain carries and compares them ([`difference()`]) and
//! hides secrets in them ([`Studio::redacted`]), and gives them no meaning. The stream key is carried sealed ([`Sealed`]).

mod comparison;
mod difference;
mod made_by;
mod redact;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sealed::{self, Sealed};

pub use self::comparison::{Comparison, DIFFERENCES_MAX, sentences};
pub use self::difference::{Difference, Subject, difference, says_something};
pub use self::made_by::MadeBy;
pub use self::redact::{HIDDEN, is_redacted, shown, without_secrets};

/// Everything captured from one studio, in the order in which it is restored.
///
/// What was added after the first release is absent from older journals and reads as OBS has it by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Studio {
    pub scene_collection: String,
    pub inputs: Vec<Input>,
    /// In the order of OBS's list, from the bottom up.
    pub scenes: Vec<Scene>,
    /// Items shown together under one name. A group is shown by an item like an input or a scene, and
    /// obs-websocket has no request to make one: only a scene collection's file can.
    #[serde(default)]
    pub groups: Vec<Scene>,
    /// The one in use, with its duration.
    pub transition: Option<Transition>,
    /// All transitions of the collection. Empty where they were not read.
    #[serde(default)]
    pub transitions: Vec<TransitionSource>,
    pub stream: Option<StreamService>,
    pub program_scene: String,
    /// The scene being prepared, in studio mode; absent while studio mode is off.
    #[serde(default)]
    pub preview_scene: Option<String>,
    /// Known, but never restored: whether to record is decided per machine.
    #[serde(default)]
    pub recording: Recording,
}

/// A source with its own settings and sound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    /// OBS input kind with version suffix, for example `color_source_v3`.
    pub kind: String,
    pub settings: Json,
    /// Absent for inputs without sound.
    pub audio: Option<Audio>,
    /// In the order in which they are applied, those that are drawn ([`Filter::is_drawn`]) last.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

/// How an input sounds. The default is what OBS gives a new input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Audio {
    /// Volume multiplier, 0.0 to 20.0, as obs-websocket's `inputVolumeMul`.
    pub volume_mul: f64,
    pub muted: bool,
    /// 0.0 is left, 1.0 is right.
    pub balance: f64,
    /// How much later than its picture it is heard, in milliseconds; negative for earlier. -950 to 20,000.
    pub sync_offset_ms: i64,
    pub monitor: Monitor,
    /// Whether it is heard on each of OBS's six audio tracks.
    pub tracks: [bool; 6],
}

impl Default for Audio {
    fn default() -> Self {
        Self {
            volume_mul: 1.0,
            muted: false,
            balance: 0.5,
            sync_offset_ms: 0,
            monitor: Monitor::Off,
            tracks: [true; 6],
        }
    }
}

/// Whether an input is heard on the machine itself, as obs-websocket's `monitorType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    #[default]
    Off,
    /// Heard on the machine and not on the stream.
    Only,
    /// Heard on both.
    AndOutput,
}

impl Monitor {
    /// As it is written down.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Only => "only",
            Self::AndOutput => "and_output",
        }
    }
}

/// A filter of an input, a scene or a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub name: String,
    /// OBS filter kind with version suffix, for example `color_filter_v2`.
    pub kind: String,
    pub settings: Json,
    pub enabled: bool,
}

/// The filters of OBS 30.2 that are not drawn: those of sound, and the delay of a whole source.
const UNDRAWN_FILTERS: [&str; 12] = [
    "async_delay_filter",
    "basic_eq_filter",
    "compressor_filter",
    "expander_filter",
    "gain_filter",
    "invert_polarity_filter",
    "limiter_filter",
    "noise_gate_filter",
    "noise_suppress_filter",
    "noise_suppress_filter_v2",
    "upward_compressor_filter",
    "vst_filter",
];

impl Filter {
    /// Whether it changes the picture. A source's other filters are a chain of their own: OBS keeps both in one
    /// list, in which the order of one to the other means nothing and cannot be changed.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        !UNDRAWN_FILTERS.contains(&self.kind.as_str())
    }
}

/// A scene, or a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    pub name: String,
    /// From back to front, as `sceneItemIndex` counts.
    pub items: Vec<SceneItem>,
    /// In the order in which they are applied.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// What is used on the way to this scene instead of the current transition.
    #[serde(default)]
    pub transition_override: Option<TransitionOverride>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SceneItem {
    /// Name of the input, the nested scene or the group shown by this item.
    pub source: String,
    pub enabled: bool,
    pub locked: bool,
    pub transform: Transform,
}

impl SceneItem {
    /// A source shown as OBS shows a new item: in front of the others, in the upper left corner.
    #[must_use]
    pub fn shown(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            enabled: true,
            ..Self::default()
        }
    }
}

/// Where an item is drawn, in canvas pixels and degrees: the writable part of obs-websocket's
/// `sceneItemTransform`. The default is that of a new item.
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

impl Default for Transform {
    fn default() -> Self {
        Self {
            position_x: 0.0,
            position_y: 0.0,
            rotation: 0.0,
            scale_x: 1.0,
            scale_y: 1.0,
            // Left and top.
            alignment: 5,
            bounds_type: "OBS_BOUNDS_NONE".to_owned(),
            bounds_alignment: 0,
            bounds_width: 0.0,
            bounds_height: 0.0,
            crop_left: 0,
            crop_right: 0,
            crop_top: 0,
            crop_bottom: 0,
        }
    }
}

/// The transition in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    pub name: String,
    /// Milliseconds; absent for fixed transitions such as a cut.
    pub duration_ms: Option<u32>,
}

/// A transition of the collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionSource {
    pub name: String,
    /// For example `fade_transition`.
    pub kind: String,
    /// Absent where there are none, and where they are unknown: OBS tells those of the transition in use alone.
    pub settings: Option<Json>,
}

/// A transition on the way to one scene. What is absent is as for other scenes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionOverride {
    pub name: Option<String>,
    /// Milliseconds.
    pub duration_ms: Option<u32>,
}

/// What the record output is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recording {
    #[default]
    Off,
    Active,
    Paused,
}

impl Recording {
    /// As it is written down.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Active => "active",
            Self::Paused => "paused",
        }
    }
}

/// Where the stream goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamService {
    /// `rtmp_custom` or `rtmp_common`.
    pub kind: String,
    /// `rtmp://host:port/app`, absent where a named service decides.
    pub server: Option<String>,
    /// `None` if OBS has none.
    #[serde(default, deserialize_with = "sealed::optional")]
    pub key: Option<Sealed>,
    /// The settings as OBS gave them without `server` and `key`.
    pub other: Json,
}

/// A JSON object as text, keys sorted, so that equal settings are equal texts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(pub String);

/// Without secrets: this is what a log would get.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.redacted())
    }
}

impl Default for Json {
    fn default() -> Self {
        Self("{}".to_owned())
    }
}

/// Text that is kept in memory but never printed, and cannot be written down: the ledger takes [`Sealed`].
#[derive(Clone, Default, PartialEq, Eq)]
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

    /// A stream key as it is published: OBS leaves out blanks before and after it (`dstr_depad` of libobs, in its RTMP
    /// output), so that two keys which differ in those are one stream.
    #[must_use]
    pub fn stream_key(text: &str) -> Self {
        Self::new(text.trim_matches([' ', '\t', '\n', '\r']))
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
    fn a_studio_from_an_older_journal_reads_as_obs_has_it_by_default() {
        let older = r#"{"scene_collection":"Show","inputs":[{"name":"Mic","kind":"pulse_input_capture",
            "settings":"{}","audio":{"volume_mul":0.5,"muted":true}}],
            "scenes":[{"name":"Main","items":[]}],"transition":null,"stream":null,"program_scene":"Main"}"#;
        let audio = Audio {
            volume_mul: 0.5,
            muted: true,
            ..Audio::default()
        };
        let expected = Studio {
            scene_collection: "Show".into(),
            inputs: vec![Input {
                name: "Mic".into(),
                kind: "pulse_input_capture".into(),
                audio: Some(audio),
                ..Input::default()
            }],
            scenes: vec![Scene {
                name: "Main".into(),
                ..Scene::default()
            }],
            program_scene: "Main".into(),
            ..Studio::default()
        };
        assert_eq!(serde_json::from_str::<Studio>(older).unwrap(), expected);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert!(!format!("{:?}", Secret::new("hush")).contains("hush"));
    }

    #[test]
    fn a_stream_service_of_an_older_journal_has_its_key_or_none() {
        let read = |key: &str| -> StreamService {
            let json = format!(r#"{{"kind":"rtmp_custom","server":null,"key":"{key}","other":"{{}}"}}"#);
            serde_json::from_str(&json).unwrap()
        };
        assert_eq!(read("").key, None);
        assert_eq!(read("hush").key, Some(Sealed::Plain(Secret::new("hush"))));
        assert!(!format!("{:?}", read("hush")).contains("hush"));
    }
}
