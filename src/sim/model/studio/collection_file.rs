//! A scene collection as the file that OBS 30.2 keeps it in (`basic/scenes/*.json`).
//!
//! Written as OBS writes it, as far as the model has it. Read as OBS reads it: what is left out has its default, what
//! no scene shows is dropped, and a kind that this OBS does not have is left out.

use serde_json::{Map, Value, json};

use super::collection::{Collection, Selector, Source};
use super::kinds::{self, TRANSITION_KINDS};
use super::source::{
    Bounds, Filter, Identifiers, Input, Item, Scene, Transform, Transition, TransitionOverride, Uuid,
};
use crate::domain::studio::Monitor;

/// OBS 30.2.3 as libobs writes versions.
const WRITTEN_BY: u32 = 30 << 24 | 2 << 16 | 3;
/// What OBS plays beside any scene, each in a place of its own.
const DEVICES: [&str; 6] = [
    "DesktopAudioDevice1",
    "DesktopAudioDevice2",
    "AuxAudioDevice1",
    "AuxAudioDevice2",
    "AuxAudioDevice3",
    "AuxAudioDevice4",
];
/// Tracks 7 and 8, which have no name.
const UNNAMED_TRACKS: u32 = 0b1100_0000;
const NS_PER_MS: i64 = 1_000_000;

/// The text of a collection's file.
pub(super) fn write(name: &str, collection: &Collection) -> Vec<u8> {
    let is_shown = |input: &&Input| {
        let mut items = collection.scenes_and_groups().flat_map(|scene| &scene.items);
        items.any(|item| item.source == input.uuid)
    };
    let shown = collection.inputs.iter().filter(is_shown);
    let scenes = collection
        .scenes
        .iter()
        .map(|scene| scene_json(collection, scene, "scene"));
    let groups = collection
        .groups
        .iter()
        .map(|group| scene_json(collection, group, "group"));
    let order = collection.scenes.iter().map(|scene| json!({"name": scene.name}));
    let program = collection
        .scene(collection.program)
        .map(|scene| scene.name.as_str());
    let made = collection.transitions.iter().filter(|one| one.configurable);
    let made = made.map(|one| json!({"name": one.name, "id": one.kind, "settings": one.settings}));
    let mut file = json!({
        "name": name,
        "current_scene": program,
        "current_program_scene": program,
        "scene_order": order.collect::<Vec<_>>(),
        "sources": scenes.chain(shown.map(input_json)).collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
        "transitions": made.collect::<Vec<_>>(),
        "current_transition": collection.current_transition().map(|one| one.name.as_str()),
        "transition_duration": collection.transition_ms,
    });
    let beside = collection.inputs.iter().filter(|input| !is_shown(input));
    let mut places = DEVICES.map(Some);
    for input in beside {
        let kind = if input.kind.id.contains("output_capture") {
            "Desktop"
        } else {
            "Aux"
        };
        let place = places
            .iter_mut()
            .find(|place| place.is_some_and(|place| place.starts_with(kind)));
        // There is no place for more: OBS would not have them either.
        if let Some(place) = place.and_then(Option::take) {
            file[place] = input_json(input);
        }
    }
    file.to_string().into_bytes()
}

fn source_json(name: &str, uuid: Uuid, kind: &str, settings: Value, filters: &[Filter]) -> Value {
    let mut source = json!({
        "prev_ver": WRITTEN_BY,
        "name": name,
        "uuid": uuid.to_string(),
        "id": kinds::unversioned(kind),
        "versioned_id": kind,
        "settings": settings,
        "enabled": true,
    });
    if !filters.is_empty() {
        let filter = |filter: &Filter| {
            json!({
                "prev_ver": WRITTEN_BY,
                "name": filter.name,
                "id": kinds::unversioned(filter.kind),
                "versioned_id": filter.kind,
                "settings": filter.settings,
                "enabled": filter.enabled,
            })
        };
        source["filters"] = filters.iter().map(filter).collect();
    }
    source
}

fn input_json(input: &Input) -> Value {
    let settings = Value::Object(input.settings.clone());
    let mut source = source_json(&input.name, input.uuid, input.kind.id, settings, &input.filters);
    if input.kind.audio {
        let tracks = input.tracks.iter().zip(0..).filter(|(used, _)| **used);
        let mixers: u32 = tracks.map(|(_, track): (_, u32)| 1 << track).sum();
        source["mixers"] = (mixers | UNNAMED_TRACKS).into();
        source["volume"] = f64::from(input.volume_mul).into();
        source["muted"] = input.muted.into();
        source["balance"] = f64::from(input.balance).into();
        source["sync"] = (input.sync_offset_ms * NS_PER_MS).into();
        source["monitoring_type"] = match input.monitor {
            Monitor::Off => 0,
            Monitor::Only => 1,
            Monitor::AndOutput => 2,
        }
        .into();
    }
    source
}

fn scene_json(collection: &Collection, scene: &Scene, kind: &str) -> Value {
    let items: Vec<Value> = scene
        .items
        .iter()
        .filter_map(|item| item_json(collection, item))
        .collect();
    let mut settings = json!({
        "id_counter": scene.next_item_id - 1,
        "items": items,
    });
    // A group has a size of its own, which OBS works out of what is in it.
    if kind == "scene" {
        settings["custom_size"] = false.into();
    }
    let mut source = source_json(&scene.name, scene.uuid, kind, settings, &scene.filters);
    let TransitionOverride { name, duration_ms } = &scene.transition_override;
    let mut private = Map::new();
    private.extend(
        name.as_ref()
            .map(|name| ("transition".to_owned(), name.as_str().into())),
    );
    private.extend(duration_ms.map(|ms| ("transition_duration".to_owned(), ms.into())));
    source["private_settings"] = private.into();
    source
}

fn item_json(collection: &Collection, item: &Item) -> Option<Value> {
    let shown = collection.find(Selector::Uuid(item.source))?;
    let place = &item.transform;
    let pair = |(x, y): (f32, f32)| json!({"x": f64::from(x), "y": f64::from(y)});
    Some(json!({
        "name": shown.named().name,
        "source_uuid": item.source.to_string(),
        "id": item.id,
        "visible": item.enabled,
        "locked": item.locked,
        "pos": pair(place.position),
        "rot": f64::from(place.rotation),
        "scale": pair(place.scale),
        "align": place.alignment,
        "bounds_type": place.bounds_type as u8,
        "bounds_align": place.bounds_alignment,
        "bounds_crop": place.crop_to_bounds,
        "bounds": pair(place.bounds),
        "crop_left": place.crop_left,
        "crop_right": place.crop_right,
        "crop_top": place.crop_top,
        "crop_bottom": place.crop_bottom,
        "group_item_backup": false,
    }))
}

/// A collection and its name; `None` if the text is no collection.
pub(super) fn read(text_of_file: &[u8], identifiers: &mut Identifiers) -> Option<(String, Collection)> {
    let file: Value = serde_json::from_slice(text_of_file).ok()?;
    let name = text(&file, "name")?.to_owned();
    let mut collection = Collection::new(identifiers);
    read_sources(&file, &mut collection, identifiers);
    read_transitions(&file, &mut collection, identifiers);
    read_items(&file, &mut collection);
    drop_unseen(&file, &mut collection);
    let program = text(&file, "current_program_scene").or_else(|| text(&file, "current_scene"));
    let program = collection
        .scenes
        .iter()
        .find(|scene| Some(scene.name.as_str()) == program);
    if let Some(scene) = program.or(collection.scenes.first()) {
        collection.program = scene.uuid;
    }
    Some((name, collection))
}

/// Scenes, groups and inputs, without what is in them.
fn read_sources(file: &Value, collection: &mut Collection, identifiers: &mut Identifiers) {
    let devices = DEVICES.iter().filter_map(|place| file.get(*place));
    let sources = list(file, "sources").iter().chain(list(file, "groups"));
    let mut scenes = Vec::new();
    for source in sources.chain(devices) {
        let Some(name) = text(source, "name") else {
            continue;
        };
        let uuid = text(source, "uuid").and_then(Uuid::parse);
        let uuid = uuid.unwrap_or_else(|| identifiers.next());
        let id = text(source, "id").unwrap_or_default();
        if id == "scene" || id == "group" {
            let mut scene = Scene::new(uuid, name);
            scene.filters = read_filters(source);
            scene.transition_override = read_override(source);
            match id {
                "scene" => scenes.push(scene),
                _ => collection.groups.push(scene),
            }
        } else if let Some(kind) = kinds::find(text(source, "versioned_id").unwrap_or(id)) {
            let mut input = Input::new(uuid, name, kind, object(source, "settings"));
            read_sound(source, &mut input);
            input.filters = read_filters(source);
            collection.inputs.push(input);
        }
    }
    let order: Vec<&str> = list(file, "scene_order")
        .iter()
        .filter_map(|one| text(one, "name"))
        .collect();
    scenes.sort_by_key(|scene| order.iter().position(|name| *name == scene.name));
    // A file without scenes leaves the one that every collection begins with.
    if !scenes.is_empty() {
        collection.scenes = scenes;
    }
}

fn read_filters(source: &Value) -> Vec<Filter> {
    let read = |filter: &Value| {
        let id = text(filter, "versioned_id").or_else(|| text(filter, "id"))?;
        Some(Filter {
            name: text(filter, "name")?.to_owned(),
            kind: kinds::find_filter(id)?,
            settings: object(filter, "settings"),
            enabled: boolean(filter, "enabled", true),
        })
    };
    list(source, "filters").iter().filter_map(read).collect()
}

fn read_override(scene: &Value) -> TransitionOverride {
    let private = scene.get("private_settings").unwrap_or(&Value::Null);
    let duration_ms = private.get("transition_duration").and_then(Value::as_u64);
    TransitionOverride {
        name: text(private, "transition").map(str::to_owned),
        duration_ms: duration_ms.and_then(|ms| u32::try_from(ms).ok()),
    }
}

fn read_sound(source: &Value, input: &mut Input) {
    let mixers = number(source, "mixers", 0xff);
    for (track, used) in input.tracks.iter_mut().enumerate() {
        *used = mixers >> track & 1 == 1;
    }
    input.volume_mul = float(source, "volume", 1.0);
    input.muted = boolean(source, "muted", false);
    input.balance = float(source, "balance", 0.5);
    input.sync_offset_ms = source.get("sync").and_then(Value::as_i64).unwrap_or(0) / NS_PER_MS;
    input.monitor = match source.get("monitoring_type").and_then(Value::as_u64) {
        None => input.monitor,
        Some(1) => Monitor::Only,
        Some(2) => Monitor::AndOutput,
        Some(_) => Monitor::Off,
    };
}

fn read_transitions(file: &Value, collection: &mut Collection, identifiers: &mut Identifiers) {
    for transition in list(file, "transitions") {
        let kind = TRANSITION_KINDS
            .iter()
            .find(|kind| Some(**kind) == text(transition, "id"));
        let (Some(kind), Some(name)) = (kind, text(transition, "name")) else {
            continue;
        };
        collection.transitions.push(Transition {
            uuid: identifiers.next(),
            name: name.to_owned(),
            kind,
            fixed: *kind == "obs_stinger_transition",
            configurable: true,
            settings: object(transition, "settings"),
        });
    }
    let used = text(file, "current_transition");
    let used = collection
        .transitions
        .iter()
        .position(|one| Some(one.name.as_str()) == used);
    collection.transition = used.unwrap_or(collection.transition);
    collection.transition_ms = number(file, "transition_duration", collection.transition_ms);
}

/// What is in the scenes and groups, by identity or, without one, by name.
fn read_items(file: &Value, collection: &mut Collection) {
    for source in list(file, "sources").iter().chain(list(file, "groups")) {
        let Some(Source::Scene(scene) | Source::Group(scene)) = found(collection, source, "name", "uuid")
        else {
            continue;
        };
        let uuid = scene.uuid;
        let settings = source.get("settings").unwrap_or(&Value::Null);
        // Beside a group's items in the group there are copies of them, for programs that know no groups.
        let own = list(settings, "items").iter();
        let own = own.filter(|item| !boolean(item, "group_item_backup", false));
        let items: Vec<Item> = own.filter_map(|item| read_item(collection, item)).collect();
        let last = items.iter().map(|item| item.id).max().unwrap_or(0);
        let mut all = collection.scenes.iter_mut().chain(&mut collection.groups);
        if let Some(scene) = all.find(|scene| scene.uuid == uuid) {
            scene.next_item_id = last.max(u64::from(number(settings, "id_counter", 0))) + 1;
            scene.items = items;
        }
    }
}

fn found<'a>(collection: &'a Collection, value: &Value, name: &str, uuid: &str) -> Option<Source<'a>> {
    let by_uuid = text(value, uuid).and_then(Uuid::parse).map(Selector::Uuid);
    let by_uuid = by_uuid.and_then(|selector| collection.find(selector));
    by_uuid.or_else(|| collection.find(Selector::Name(text(value, name)?)))
}

fn read_item(collection: &Collection, item: &Value) -> Option<Item> {
    let bounds_type = usize::try_from(number(item, "bounds_type", 0)).ok()?;
    Some(Item {
        id: item.get("id").and_then(Value::as_u64)?,
        source: found(collection, item, "name", "source_uuid")?.uuid(),
        enabled: boolean(item, "visible", true),
        locked: boolean(item, "locked", false),
        transform: Transform {
            position: pair(item, "pos", 0.0),
            rotation: float(item, "rot", 0.0),
            scale: pair(item, "scale", 1.0),
            alignment: number(item, "align", 5),
            bounds_type: Bounds::ALL.get(bounds_type).copied().unwrap_or(Bounds::None),
            bounds_alignment: number(item, "bounds_align", 0),
            bounds: pair(item, "bounds", 0.0),
            crop_left: number(item, "crop_left", 0),
            crop_right: number(item, "crop_right", 0),
            crop_top: number(item, "crop_top", 0),
            crop_bottom: number(item, "crop_bottom", 0),
            crop_to_bounds: boolean(item, "bounds_crop", false),
        },
    })
}

/// A source is there as long as something shows it; what OBS plays beside any scene always is.
fn drop_unseen(file: &Value, collection: &mut Collection) {
    let devices: Vec<&str> = DEVICES
        .iter()
        .filter_map(|place| text(file.get(*place)?, "name"))
        .collect();
    let seen: Vec<Uuid> = collection
        .scenes_and_groups()
        .flat_map(|scene| scene.items.iter().map(|item| item.source))
        .collect();
    collection
        .inputs
        .retain(|input| seen.contains(&input.uuid) || devices.contains(&input.name.as_str()));
}

/// The elements of a list; none if it is not there.
fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn object(value: &Value, name: &str) -> Map<String, Value> {
    value
        .get(name)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn number(value: &Value, name: &str, default: u32) -> u32 {
    let found = value.get(name).and_then(Value::as_u64);
    found
        .and_then(|found| u32::try_from(found).ok())
        .unwrap_or(default)
}

fn boolean(value: &Value, name: &str, default: bool) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(default)
}

/// Single precision, as libobs holds it.
fn float(value: &Value, name: &str, default: f32) -> f32 {
    value
        .get(name)
        .and_then(Value::as_f64)
        .map_or(default, |found| found as f32)
}

fn pair(value: &Value, name: &str, default: f32) -> (f32, f32) {
    let pair = value.get(name).unwrap_or(&Value::Null);
    (float(pair, "x", default), float(pair, "y", default))
}

#[cfg(test)]
#[path = "collection_file_tests.rs"]
mod tests;
