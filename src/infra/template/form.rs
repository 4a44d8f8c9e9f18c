//! What a rendered template has to look like, and the studio that it says.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Stream;
use crate::domain::studio::{
    Audio, Filter, Input, Monitor, Scene, SceneItem, StreamService, Studio, Transform, Transition,
};
use crate::infra::obs::canonical;

/// Inputs and scenes of one studio.
const SOURCES_MAX: usize = 1000;
/// OBS's alignment flags for the middle: none.
const CENTER: u8 = 0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    scene_collection: String,
    program_scene: String,
    #[serde(default)]
    transition: Option<TransitionForm>,
    #[serde(default)]
    stream: Option<StreamForm>,
    #[serde(default)]
    inputs: Vec<InputForm>,
    scenes: Vec<SceneForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransitionForm {
    name: String,
    #[serde(default)]
    duration_ms: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamForm {
    kind: String,
    #[serde(default)]
    server: Option<String>,
    #[serde(default)]
    settings: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputForm {
    name: String,
    kind: String,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    audio: Option<AudioForm>,
    #[serde(default)]
    filters: Vec<FilterForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AudioForm {
    volume: f64,
    muted: bool,
    balance: f64,
    sync_offset_ms: i64,
    monitor: Monitor,
}

impl Default for AudioForm {
    fn default() -> Self {
        let audio = Audio::default();
        Self {
            volume: audio.volume_mul,
            muted: audio.muted,
            balance: audio.balance,
            sync_offset_ms: audio.sync_offset_ms,
            monitor: audio.monitor,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterForm {
    name: String,
    kind: String,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default = "yes")]
    enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneForm {
    name: String,
    #[serde(default)]
    items: Vec<ItemForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemForm {
    source: String,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    locked: bool,
    /// Fitted into this, centred, without distortion.
    #[serde(default)]
    frame: Option<Frame>,
    /// Upper left corner, where there is no frame.
    #[serde(default)]
    position: Option<(f64, f64)>,
    #[serde(default)]
    scale: Option<(f64, f64)>,
}

/// In canvas pixels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

fn yes() -> bool {
    true
}

/// The studio, or where in the rendered template something is wrong, and what.
pub(super) fn studio(rendered: Value, stream: Stream) -> Result<Studio, (String, String)> {
    let form: Form = serde_path_to_error::deserialize(rendered).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        (path, error.inner().to_string())
    })?;
    check(&form)?;
    Ok(Studio {
        scene_collection: form.scene_collection,
        inputs: form.inputs.into_iter().map(input).collect(),
        scenes: form.scenes.into_iter().map(scene).collect(),
        transition: form.transition.map(|form| Transition {
            name: form.name,
            duration_ms: form.duration_ms,
        }),
        stream: service(form.stream, stream),
        program_scene: form.program_scene,
        ..Studio::default()
    })
}

/// Names are OBS's identifiers: shared by inputs and scenes, each there once.
fn check(form: &Form) -> Result<(), (String, String)> {
    let inputs = form.inputs.iter().enumerate();
    let inputs = inputs.map(|(index, input)| (format!("inputs[{index}]"), &input.name));
    let scenes = form.scenes.iter().enumerate();
    let scenes = scenes.map(|(index, scene)| (format!("scenes[{index}]"), &scene.name));
    let mut names = BTreeSet::new();
    for (path, name) in inputs.chain(scenes) {
        if name.is_empty() || !names.insert(name.as_str()) {
            let problem = format!("{name:?} is empty, or the name of an input or scene before it");
            return Err((path, problem));
        }
    }
    if names.len() > SOURCES_MAX {
        return Err((
            String::new(),
            format!("it has more than {SOURCES_MAX} inputs and scenes"),
        ));
    }
    for (place, scene) in form.scenes.iter().enumerate() {
        for (index, item) in scene.items.iter().enumerate() {
            let wrong = |problem: String| Err((format!("scenes[{place}].items[{index}]"), problem));
            if !names.contains(item.source.as_str()) || item.source == scene.name {
                return wrong(format!("there is no source {:?} to show", item.source));
            }
            if item
                .frame
                .as_ref()
                .is_some_and(|frame| frame.width < 1.0 || frame.height < 1.0)
            {
                return wrong("a frame is at least one pixel wide and high".to_owned());
            }
        }
    }
    if !form.scenes.iter().any(|scene| scene.name == form.program_scene) {
        let problem = format!("there is no scene {:?}", form.program_scene);
        return Err(("program_scene".to_owned(), problem));
    }
    Ok(())
}

fn input(form: InputForm) -> Input {
    Input {
        name: form.name,
        kind: form.kind,
        settings: canonical(&Value::Object(form.settings)),
        audio: form.audio.map(|audio| Audio {
            volume_mul: audio.volume,
            muted: audio.muted,
            balance: audio.balance,
            sync_offset_ms: audio.sync_offset_ms,
            monitor: audio.monitor,
            ..Audio::default()
        }),
        filters: form
            .filters
            .into_iter()
            .map(|filter| Filter {
                name: filter.name,
                kind: filter.kind,
                settings: canonical(&Value::Object(filter.settings)),
                enabled: filter.enabled,
            })
            .collect(),
    }
}

fn scene(form: SceneForm) -> Scene {
    Scene {
        name: form.name,
        items: form.items.into_iter().map(item).collect(),
        ..Scene::default()
    }
}

fn item(form: ItemForm) -> SceneItem {
    let mut transform = Transform::default();
    if let Some(frame) = form.frame {
        transform.position_x = frame.x;
        transform.position_y = frame.y;
        "OBS_BOUNDS_SCALE_INNER".clone_into(&mut transform.bounds_type);
        transform.bounds_alignment = CENTER;
        transform.bounds_width = frame.width;
        transform.bounds_height = frame.height;
    }
    if let Some((x, y)) = form.position {
        (transform.position_x, transform.position_y) = (x, y);
    }
    if let Some((x, y)) = form.scale {
        (transform.scale_x, transform.scale_y) = (x, y);
    }
    SceneItem {
        source: form.source,
        enabled: form.enabled,
        locked: form.locked,
        transform,
    }
}

/// Where neither the template nor the show says where to stream to, the studio keeps what it has.
fn service(form: Option<StreamForm>, stream: Stream) -> Option<StreamService> {
    let (kind, server, settings) = match form {
        Some(form) => (form.kind, form.server, form.settings),
        None => ("rtmp_custom".to_owned(), None, Map::new()),
    };
    let server = stream.server.or(server);
    (server.is_some() || stream.key.is_some()).then(|| StreamService {
        kind,
        server,
        key: stream.key,
        other: canonical(&Value::Object(settings)),
    })
}
