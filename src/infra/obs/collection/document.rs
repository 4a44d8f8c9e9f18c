//! The text of a scene collection's file.
//!
//! The form is that of OBS 30.2 (`UI/window-basic-main.cpp`, `libobs/obs.c` and `libobs/obs-scene.c`; a file that OBS
//! wrote is beside the tests). OBS gives everything that is left out its default, and identifiers of its own. The
//! stream service is not part of a collection, so no stream key is in it.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::domain::studio::{
    Audio, Filter, Input, Json, Monitor, Scene, SceneItem, Studio, TransitionSource,
};
use crate::infra::obs::wire::object;

/// OBS 30.2.3 as libobs writes versions. OBS takes what an older version wrote for something to be converted.
const WRITTEN_BY: u32 = 30 << 24 | 2 << 16 | 3;

/// The transitions that OBS makes in every collection, in this form, and does not write down.
const BUILT_IN: [&str; 2] = ["cut_transition", "fade_transition"];

/// As `obs_bounds_type` counts them.
const BOUNDS: [&str; 7] = [
    "OBS_BOUNDS_NONE",
    "OBS_BOUNDS_STRETCH",
    "OBS_BOUNDS_SCALE_INNER",
    "OBS_BOUNDS_SCALE_OUTER",
    "OBS_BOUNDS_SCALE_TO_WIDTH",
    "OBS_BOUNDS_SCALE_TO_HEIGHT",
    "OBS_BOUNDS_MAX_ONLY",
];

/// The collection of a studio. What is no part of a collection (stream service, studio mode) is not in it.
pub(crate) fn text(studio: &Studio) -> String {
    collection(studio).to_string()
}

fn collection(studio: &Studio) -> Value {
    let devices = devices(studio);
    let is_device = |input: &&Input| devices.iter().any(|(_, device)| device.name == input.name);
    let scenes = studio.scenes.iter().map(|scene| shown_scene(scene, "scene"));
    let inputs = studio.inputs.iter().filter(|input| !is_device(input)).map(input);
    let groups = studio.groups.iter().map(|group| shown_scene(group, "group"));
    let made = studio.transitions.iter().filter(|source| !is_built_in(source));
    // OBS lists them from the top down.
    let order = studio
        .scenes
        .iter()
        .rev()
        .map(|scene| json!({"name": scene.name}));
    let mut collection = json!({
        "name": studio.scene_collection,
        "current_scene": studio.program_scene,
        "current_program_scene": studio.program_scene,
        "scene_order": order.collect::<Vec<_>>(),
        "sources": scenes.chain(inputs).collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
        "transitions": made.map(transition).collect::<Vec<_>>(),
        "quick_transitions": quick_transitions(),
    });
    if let Some(used) = &studio.transition {
        collection["current_transition"] = used.name.as_str().into();
        if let Some(duration_ms) = used.duration_ms {
            collection["transition_duration"] = duration_ms.into();
        }
    }
    for (place, device) in devices {
        collection[place] = input(device);
    }
    collection
}

/// What OBS plays beside any scene, each in a place of its own: two devices heard and four spoken into. Everything
/// else that no scene shows is gone as soon as the collection is loaded.
fn devices(studio: &Studio) -> Vec<(String, &Input)> {
    let scenes = studio.scenes.iter().chain(&studio.groups);
    let shown: HashSet<&str> = scenes
        .flat_map(|scene| &scene.items)
        .map(|item| item.source.as_str())
        .collect();
    let beside = || {
        studio
            .inputs
            .iter()
            .filter(|input| !shown.contains(input.name.as_str()))
    };
    let of = |ending: &'static str, place: &'static str, most: usize| {
        let found = beside()
            .filter(move |input| input.kind.ends_with(ending))
            .take(most);
        found
            .zip(1..)
            .map(move |(input, number): (_, u32)| (format!("{place}{number}"), input))
    };
    let heard = of("_output_capture", "DesktopAudioDevice", 2);
    heard.chain(of("_input_capture", "AuxAudioDevice", 4)).collect()
}

fn is_built_in(source: &TransitionSource) -> bool {
    BUILT_IN.contains(&source.kind.as_str())
}

fn transition(source: &TransitionSource) -> Value {
    let settings = source.settings.as_ref().map(settings).unwrap_or_default();
    json!({"name": source.name, "id": source.kind, "settings": settings})
}

/// The buttons of studio mode, as in a new collection: obs-websocket says nothing of them.
fn quick_transitions() -> Value {
    let button = |id: u32, name: &str, fade_to_black: bool| json!({"name": name, "duration": 300, "hotkeys": [], "id": id, "fade_to_black": fade_to_black});
    json!([
        button(1, "Cut", false),
        button(2, "Fade", false),
        button(3, "Fade", true)
    ])
}

/// What scenes, groups, inputs and filters have in common.
fn source(name: &str, kind: &str, settings: Map<String, Value>) -> Value {
    json!({
        "prev_ver": WRITTEN_BY,
        "name": name,
        "id": without_version(kind),
        "versioned_id": kind,
        "settings": settings,
    })
}

fn input(input: &Input) -> Value {
    let mut value = source(&input.name, &input.kind, settings(&input.settings));
    if let Some(audio) = &input.audio {
        sound(&mut value, audio);
    }
    value["filters"] = filters(&input.filters);
    value
}

fn sound(source: &mut Value, audio: &Audio) {
    let tracks = audio.tracks.iter().zip(0..).filter(|(used, _)| **used);
    let mixers: u32 = tracks.map(|(_, track): (_, u32)| 1 << track).sum();
    source["mixers"] = mixers.into();
    source["volume"] = audio.volume_mul.into();
    source["muted"] = audio.muted.into();
    source["balance"] = audio.balance.into();
    // Nanoseconds.
    source["sync"] = (audio.sync_offset_ms * 1_000_000).into();
    source["monitoring_type"] = match audio.monitor {
        Monitor::Off => 0,
        Monitor::Only => 1,
        Monitor::AndOutput => 2,
    }
    .into();
}

fn filters(filters: &[Filter]) -> Value {
    let filter = |filter: &Filter| {
        let mut value = source(&filter.name, &filter.kind, settings(&filter.settings));
        value["enabled"] = filter.enabled.into();
        value
    };
    filters.iter().map(filter).collect()
}

fn shown_scene(scene: &Scene, kind: &str) -> Value {
    let items: Vec<Value> = scene
        .items
        .iter()
        .zip(1..)
        .map(|(shown, id)| item(shown, id))
        .collect();
    let content = json!({"id_counter": items.len(), "items": items});
    let mut value = source(&scene.name, kind, Map::new());
    value["settings"] = content;
    value["filters"] = filters(&scene.filters);
    if let Some(instead) = &scene.transition_override {
        let mut private = Map::new();
        if let Some(name) = &instead.name {
            private.insert("transition".to_owned(), name.as_str().into());
        }
        if let Some(duration_ms) = instead.duration_ms {
            private.insert("transition_duration".to_owned(), duration_ms.into());
        }
        value["private_settings"] = private.into();
    }
    value
}

fn item(item: &SceneItem, id: u32) -> Value {
    let place = &item.transform;
    let bounds = BOUNDS.iter().position(|name| *name == place.bounds_type);
    json!({
        "name": item.source,
        "id": id,
        "visible": item.enabled,
        "locked": item.locked,
        "pos": {"x": place.position_x, "y": place.position_y},
        "rot": place.rotation,
        "scale": {"x": place.scale_x, "y": place.scale_y},
        "align": place.alignment,
        "bounds_type": bounds.unwrap_or(0),
        "bounds_align": place.bounds_alignment,
        "bounds": {"x": place.bounds_width, "y": place.bounds_height},
        "crop_left": place.crop_left,
        "crop_right": place.crop_right,
        "crop_top": place.crop_top,
        "crop_bottom": place.crop_bottom,
    })
}

/// Those of a source whose settings are not an object are left to their defaults.
fn settings(json: &Json) -> Map<String, Value> {
    object(json).unwrap_or_default()
}

/// `color_source` of `color_source_v3`.
fn without_version(kind: &str) -> &str {
    match kind.rsplit_once("_v") {
        Some((plain, version))
            if !version.is_empty() && version.bytes().all(|digit| digit.is_ascii_digit()) =>
        {
            plain
        }
        Some(_) | None => kind,
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
