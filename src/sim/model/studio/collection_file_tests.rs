//! Collections written and read by the sim, and one that a real OBS wrote.

use super::super::{Studio, StudioTiming};
use super::*;

/// Scenes made and changed over obs-websocket, as OBS 30.2.3 left them on its disk.
const WRITTEN_BY_OBS: &str = include_str!("../../../infra/obs/collection/written_by_obs_30_2_3.json");

fn again(name: &str, collection: &Collection) -> Collection {
    let (read_name, read) = read(&write(name, collection), &mut Identifiers(99)).unwrap();
    assert_eq!(read_name, name);
    read
}

#[test]
fn a_collection_is_the_same_after_it_was_written_and_read() {
    let mut studio = Studio::new(StudioTiming::default(), 1);
    studio.load_example("rtmp://127.0.0.1/live", "key").unwrap();
    studio
        .add_transition("Stinger", "obs_stinger_transition", Map::new())
        .unwrap();
    let scene = studio.collection().program;
    let items: Vec<u64> = studio
        .collection()
        .scene(scene)
        .unwrap()
        .items
        .iter()
        .map(|i| i.id)
        .collect();
    studio.group_items(scene, "Together", &items).unwrap();
    let before = studio.collection();
    assert!(before.inputs.len() > 5 && before.scenes.len() > 5 && !before.groups.is_empty());
    let after = again("Example", before);
    // Those of the transitions are not in the file.
    assert_eq!(after.transitions.len(), before.transitions.len());
    assert_eq!(format!("{:?}", after.scenes), format!("{:?}", before.scenes));
    assert_eq!(format!("{:?}", after.groups), format!("{:?}", before.groups));
    assert_eq!(format!("{:?}", after.inputs), format!("{:?}", before.inputs));
    assert_eq!(
        (after.program, after.transition, after.transition_ms),
        (before.program, before.transition, before.transition_ms)
    );
}

#[test]
fn what_is_left_out_has_its_default_and_what_nothing_shows_is_dropped() {
    let file = json!({
        "name": "Short",
        "scene_order": [{"name": "B"}, {"name": "A"}],
        "sources": [
            {"name": "A", "id": "scene", "settings": {"items": [{"name": "red", "id": 3}, {"name": "gone", "id": 4}]}},
            {"name": "B", "id": "scene"},
            {"name": "red", "id": "color_source", "versioned_id": "color_source_v3"},
            {"name": "blue", "id": "color_source", "versioned_id": "color_source_v3"},
            {"name": "odd", "id": "no_such_kind"},
        ],
        "AuxAudioDevice1": {"name": "Mic", "id": "pulse_input_capture"},
    });
    let (_, read) = read(file.to_string().as_bytes(), &mut Identifiers(1)).unwrap();
    let names: Vec<&str> = read.scenes.iter().map(|scene| scene.name.as_str()).collect();
    assert_eq!(names, ["B", "A"]);
    let inputs: Vec<&str> = read.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs, ["red", "Mic"]);
    let item = &read.scenes[1].items[0];
    assert_eq!(item.transform, Transform::default());
    assert!(item.enabled && !item.locked);
    assert_eq!(read.scenes[1].next_item_id, 4);
    assert_eq!(read.program, read.scenes[0].uuid);
    let written: Value = serde_json::from_slice(&write("Short", &read)).unwrap();
    assert_eq!(written["AuxAudioDevice1"]["name"], "Mic");
}

#[test]
fn what_is_no_collection_is_told() {
    for text in ["", "{", "[]", "{}", r#"{"name":7}"#] {
        assert!(read(text.as_bytes(), &mut Identifiers(1)).is_none(), "{text}");
    }
    let (_, empty) = read(br#"{"name":"Empty","sources":7}"#, &mut Identifiers(1)).unwrap();
    assert_eq!(empty.scenes.len(), 1);
}

/// Every value of `part` is in `whole`, at the same place; lists are as long.
fn stands_in(part: &Value, whole: &Value, at: &str) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (name, value) in part {
                let at = format!("{at}.{name}");
                let there = whole.get(name).unwrap_or_else(|| panic!("{at} is not in it"));
                stands_in(value, there, &at);
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            assert_eq!(part.len(), whole.len(), "{at}");
            for (index, (part, whole)) in part.iter().zip(whole).enumerate() {
                stands_in(part, whole, &format!("{at}[{index}]"));
            }
        }
        // Which of the tracks without a name are used, no request says.
        (Value::Number(part), Value::Number(whole)) if at.ends_with(".mixers") => {
            let named = |mixers: &serde_json::Number| mixers.as_u64().unwrap() & !u64::from(UNNAMED_TRACKS);
            assert_eq!(named(part), named(whole), "{at}");
        }
        // 1 and 1.0 are the same number.
        (Value::Number(part), Value::Number(whole)) => assert_eq!(part.as_f64(), whole.as_f64(), "{at}"),
        (part, whole) => assert_eq!(part, whole, "{at}"),
    }
}

#[test]
fn what_a_real_obs_wrote_is_read_and_written_as_it_was() {
    let mut theirs: Value = serde_json::from_str(WRITTEN_BY_OBS).unwrap();
    let (name, read) = read(WRITTEN_BY_OBS.as_bytes(), &mut Identifiers(1)).unwrap();
    // The copies of a group's items beside it are for programs that know no groups.
    for source in theirs["sources"].as_array_mut().unwrap() {
        if let Some(items) = source["settings"]["items"].as_array_mut() {
            items.retain(|item| item["group_item_backup"] == false);
        }
    }
    let mut ours: Value = serde_json::from_slice(&write(&name, &read)).unwrap();
    // `scene_order` says which scene comes first; how the sources stand says nothing.
    for file in [&mut ours, &mut theirs] {
        let sources = file["sources"].as_array_mut().unwrap();
        sources.sort_by_key(|source| source["name"].to_string());
    }
    stands_in(&ours, &theirs, "");
}
