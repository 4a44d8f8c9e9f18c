//! Scenes, the one on air, the one in preview, and what leads to them.

use serde_json::{Value, json};

use super::super::status::{Code, Failure};
use super::{Call, Reply, Table};
use crate::sim::model::studio::StudioError;
use crate::sim::model::studio::event::Named;

pub(super) const TABLE: Table = &[
    ("GetSceneList", list),
    ("GetGroupList", groups),
    ("GetStudioModeEnabled", |call| {
        Ok(Some(
            json!({"studioModeEnabled": call.studio.preview().is_some()}),
        ))
    }),
    ("SetStudioModeEnabled", set_studio_mode),
    ("GetCurrentPreviewScene", preview),
    ("SetCurrentPreviewScene", set_preview),
    ("GetSceneSceneTransitionOverride", transition_override),
    ("SetSceneSceneTransitionOverride", set_transition_override),
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
    let preview = call.studio.preview().and_then(|uuid| collection.scene(uuid));
    Ok(Some(json!({
        "currentProgramSceneName": call.studio.program_scene(),
        "currentProgramSceneUuid": collection.program.to_string(),
        "currentPreviewSceneName": preview.map(|scene| scene.name.as_str()),
        "currentPreviewSceneUuid": preview.map(|scene| scene.uuid.to_string()),
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

fn groups(call: &mut Call<'_>) -> Reply {
    let groups = call.studio.collection().groups.iter();
    let names: Vec<&str> = groups.map(|group| group.name.as_str()).collect();
    Ok(Some(json!({"groups": names})))
}

fn set_studio_mode(call: &mut Call<'_>) -> Reply {
    let enabled = call.fields.boolean("studioModeEnabled")?;
    call.studio.set_studio_mode(enabled);
    Ok(None)
}

fn preview(call: &mut Call<'_>) -> Reply {
    let off = || Failure::bare(Code::StudioModeNotActive);
    let uuid = call.studio.preview().ok_or_else(off)?;
    let scene = call.studio.collection().scene(uuid);
    let scene = scene.ok_or(StudioError::SourceGone)?;
    let (name, uuid) = (&scene.name, uuid.to_string());
    Ok(Some(json!({
        "sceneName": name, "sceneUuid": uuid,
        "currentPreviewSceneName": name, "currentPreviewSceneUuid": uuid,
    })))
}

fn set_preview(call: &mut Call<'_>) -> Reply {
    if call.studio.preview().is_none() {
        return Err(Failure::bare(Code::StudioModeNotActive));
    }
    let scene = call.scene()?;
    call.studio.set_preview(scene, call.now)?;
    Ok(None)
}

fn transition_override(call: &mut Call<'_>) -> Reply {
    let uuid = call.scene()?;
    let scene = call.studio.collection().scene(uuid);
    let instead = &scene.ok_or(StudioError::SourceGone)?.transition_override;
    Ok(Some(json!({
        "transitionName": instead.name, "transitionDuration": instead.duration_ms,
    })))
}

/// A field that is there and null takes its part of the override away.
fn set_transition_override(call: &mut Call<'_>) -> Reply {
    let uuid = call.scene()?;
    let scene = call.studio.collection().scene(uuid);
    let mut instead = scene.ok_or(StudioError::SourceGone)?.transition_override.clone();
    if call.fields.contains("transitionName") {
        instead.name = call.fields.string_opt("transitionName")?.map(str::to_owned);
    }
    if call.fields.contains("transitionDuration") {
        call.fields.number_opt("transitionDuration", 50.0, 20_000.0)?;
        instead.duration_ms = call.fields.natural_opt("transitionDuration", 20_000)?;
    }
    call.studio.set_transition_override(uuid, instead)?;
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
