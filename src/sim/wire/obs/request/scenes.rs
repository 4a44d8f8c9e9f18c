//! Scenes and the one on air.

use serde_json::{Value, json};

use super::{Call, Reply, Table};
use crate::sim::model::studio::event::Named;

pub(super) const TABLE: Table = &[
    ("GetSceneList", list),
    ("GetGroupList", |_| Ok(Some(json!({"groups": []})))),
    ("GetCurrentProgramScene", program),
    ("SetCurrentProgramScene", set_program),
    ("CreateScene", create),
    ("RemoveScene", remove),
    ("SetSceneName", rename),
];

/// The array of scenes: OBS counts `sceneIndex` from the bottom of its list, and lists the bottom first.
pub(in super::super) fn scene_list_json(scenes: &[Named]) -> Vec<Value> {
    let scene = |(index, named): (usize, &Named)| json!({"sceneName": named.name, "sceneUuid": named.uuid.to_string(), "sceneIndex": index});
    scenes.iter().rev().enumerate().map(scene).collect()
}

fn list(call: &mut Call<'_>) -> Reply {
    let collection = call.studio.collection();
    Ok(Some(json!({
        "currentProgramSceneName": call.studio.program_scene(),
        "currentProgramSceneUuid": collection.program.to_string(),
        "currentPreviewSceneName": null,
        "currentPreviewSceneUuid": null,
        "scenes": scene_list_json(&collection.scene_names()),
    })))
}

fn program(call: &mut Call<'_>) -> Reply {
    let (name, uuid) = (
        call.studio.program_scene(),
        call.studio.collection().program.to_string(),
    );
    Ok(Some(json!({
        "sceneName": name, "sceneUuid": uuid,
        "currentProgramSceneName": name, "currentProgramSceneUuid": uuid,
    })))
}

fn set_program(call: &mut Call<'_>) -> Reply {
    let scene = call.scene()?;
    call.studio.set_program(scene)?;
    Ok(None)
}

fn create(call: &mut Call<'_>) -> Reply {
    let name = call.fields.string("sceneName")?;
    let uuid = call.studio.create_scene(name)?;
    Ok(Some(json!({"sceneUuid": uuid.to_string()})))
}

fn remove(call: &mut Call<'_>) -> Reply {
    let scene = call.scene()?;
    call.studio.remove_scene(scene)?;
    Ok(None)
}

fn rename(call: &mut Call<'_>) -> Reply {
    let scene = call.scene()?;
    call.studio
        .rename_scene(scene, call.fields.string("newSceneName")?)?;
    Ok(None)
}
