//! Inputs and their settings.

use serde_json::{Value, json};

use super::super::status::{Code, Failure};
use super::{Call, Reply, Table};
use crate::sim::model::studio::kinds::{self, KINDS};
use crate::sim::model::studio::source::{Input, Uuid};
use crate::sim::model::studio::{Studio, StudioError};

pub(super) const TABLE: Table = &[
    ("GetInputList", list),
    ("GetInputKindList", kind_list),
    ("GetSpecialInputs", special),
    ("CreateInput", create),
    ("RemoveInput", remove),
    ("SetInputName", rename),
    ("GetInputDefaultSettings", default_settings),
    ("GetInputSettings", settings),
    ("SetInputSettings", set_settings),
];

fn list(call: &mut Call<'_>) -> Reply {
    let only = call.fields.string_opt("inputKind")?;
    let inputs = call.studio.collection().inputs.iter();
    let wanted = inputs.filter(|input| only.is_none_or(|kind| kind == input.kind.id));
    let entry = |input: &Input| {
        json!({
            "inputName": input.name,
            "inputUuid": input.uuid.to_string(),
            "inputKind": input.kind.id,
            "unversionedInputKind": input.kind.unversioned,
            "inputKindCaps": input.kind.caps(),
        })
    };
    Ok(Some(json!({"inputs": wanted.map(entry).collect::<Vec<Value>>()})))
}

fn kind_list(call: &mut Call<'_>) -> Reply {
    let unversioned = call.fields.boolean_opt("unversioned")?.unwrap_or(false);
    let name = |kind: &kinds::InputKind| if unversioned { kind.unversioned } else { kind.id };
    Ok(Some(
        json!({"inputKinds": KINDS.iter().map(name).collect::<Vec<_>>()}),
    ))
}

/// A headless machine has no global sound devices.
fn special(_: &mut Call<'_>) -> Reply {
    Ok(Some(json!({
        "desktop1": null, "desktop2": null, "mic1": null, "mic2": null, "mic3": null, "mic4": null,
    })))
}

fn create(call: &mut Call<'_>) -> Reply {
    let scene = call.scene()?;
    let name = call.fields.string("inputName")?;
    let kind = call.fields.string("inputKind")?;
    let settings = call
        .fields
        .object_opt("inputSettings")?
        .cloned()
        .unwrap_or_default();
    let enabled = call.fields.boolean_opt("sceneItemEnabled")?.unwrap_or(true);
    let (input, item) = call.studio.create_input(scene, name, kind, settings, enabled)?;
    Ok(Some(json!({"inputUuid": input.to_string(), "sceneItemId": item})))
}

fn remove(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    call.studio.remove_input(input)?;
    Ok(None)
}

fn rename(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    call.studio
        .rename_input(input, call.fields.string("newInputName")?)?;
    Ok(None)
}

fn default_settings(call: &mut Call<'_>) -> Reply {
    let kind = call.fields.string("inputKind")?;
    let kind = kinds::find(kind).ok_or_else(|| Failure::bare(Code::InvalidInputKind))?;
    Ok(Some(json!({"defaultInputSettings": kind.defaults()})))
}

fn settings(call: &mut Call<'_>) -> Reply {
    let uuid = call.input()?;
    let input = find(call.studio, uuid)?;
    Ok(Some(
        json!({"inputSettings": input.settings, "inputKind": input.kind.id}),
    ))
}

fn set_settings(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    let settings = call.fields.object("inputSettings", true)?;
    let overlay = call.fields.boolean_opt("overlay")?.unwrap_or(true);
    call.studio.set_input_settings(input, settings.clone(), overlay)?;
    Ok(None)
}

pub(super) fn find(studio: &Studio, uuid: Uuid) -> Result<&Input, Failure> {
    studio
        .collection()
        .input(uuid)
        .ok_or_else(|| StudioError::SourceGone.into())
}
