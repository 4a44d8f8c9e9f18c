//! Scene items: which sources a scene shows, where and how.

use serde_json::{Value, json};

use super::super::field::Fields;
use super::super::status::{Code, Failure};
use super::{Call, Reply, Table};
use crate::sim::model::studio::collection::{Selector, Source};
use crate::sim::model::studio::source::{Bounds, Item, Transform, Uuid};
use crate::sim::model::studio::{StudioError, TransformChange};

pub(super) const TABLE: Table = &[
    ("GetSceneItemList", list),
    ("GetGroupSceneItemList", list_group),
    ("GetSceneItemId", id),
    ("GetSceneItemSource", source),
    ("CreateSceneItem", create),
    ("RemoveSceneItem", remove),
    ("GetSceneItemTransform", transform),
    ("SetSceneItemTransform", set_transform),
    ("GetSceneItemEnabled", enabled),
    ("SetSceneItemEnabled", set_enabled),
    ("GetSceneItemLocked", locked),
    ("SetSceneItemLocked", set_locked),
    ("GetSceneItemIndex", index),
    ("SetSceneItemIndex", set_index),
    ("GetSceneItemBlendMode", blend_mode),
];

/// Furthest item index that obs-websocket takes.
const INDEX_MAX: u32 = 8_192;

impl Call<'_> {
    /// The scene or group, and the id of an item that exists in it.
    fn item(&self) -> Result<(Uuid, u64), Failure> {
        let scene = self.scene_or_group()?;
        let id = u64::from(self.fields.natural("sceneItemId", u32::MAX)?);
        self.find_item(scene, id)?;
        Ok((scene, id))
    }

    fn find_item(&self, scene: Uuid, id: u64) -> Result<&Item, Failure> {
        let collection = self.studio.collection();
        collection.item(scene, id).ok_or_else(|| {
            let scene = collection
                .scene(scene)
                .map(|scene| scene.name.clone())
                .unwrap_or_default();
            StudioError::NoSuchItem { scene, id }.into()
        })
    }

    fn source_of(&self, item: &Item) -> Result<Source<'_>, Failure> {
        let found = self.studio.collection().find(Selector::Uuid(item.source));
        found.ok_or_else(|| StudioError::SourceGone.into())
    }
}

/// `sceneItemTransform`. libobs computes in single precision and obs-websocket prints what it gets.
pub(in super::super) fn transform_json(transform: &Transform, source_size: (f32, f32)) -> Value {
    let (width, height) = source_size;
    json!({
        "sourceWidth": f64::from(width),
        "sourceHeight": f64::from(height),
        "positionX": f64::from(transform.position.0),
        "positionY": f64::from(transform.position.1),
        "rotation": f64::from(transform.rotation),
        "scaleX": f64::from(transform.scale.0),
        "scaleY": f64::from(transform.scale.1),
        "width": f64::from(transform.scale.0 * width),
        "height": f64::from(transform.scale.1 * height),
        "alignment": transform.alignment,
        "boundsType": transform.bounds_type.as_str(),
        "boundsAlignment": transform.bounds_alignment,
        "boundsWidth": f64::from(transform.bounds.0),
        "boundsHeight": f64::from(transform.bounds.1),
        "cropLeft": transform.crop_left,
        "cropRight": transform.crop_right,
        "cropTop": transform.crop_top,
        "cropBottom": transform.crop_bottom,
        "cropToBounds": transform.crop_to_bounds,
    })
}

fn list(call: &mut Call<'_>) -> Reply {
    let scene = call.scene()?;
    items_of(call, scene)
}

fn list_group(call: &mut Call<'_>) -> Reply {
    let group = call.group()?;
    items_of(call, group)
}

fn items_of(call: &mut Call<'_>, scene: Uuid) -> Reply {
    let items = call
        .studio
        .collection()
        .scene(scene)
        .map(|scene| scene.items.as_slice())
        .unwrap_or_default();
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let source = call.source_of(item)?;
        let (kind, input_kind, is_group) = match source {
            Source::Input(input) => ("OBS_SOURCE_TYPE_INPUT", Value::from(input.kind.id), Value::Null),
            Source::Scene(_) => ("OBS_SOURCE_TYPE_SCENE", Value::Null, Value::Bool(false)),
            Source::Group(_) => ("OBS_SOURCE_TYPE_SCENE", Value::Null, Value::Bool(true)),
        };
        let named = source.named();
        list.push(json!({
            "sceneItemId": item.id,
            "sceneItemIndex": index,
            "sceneItemEnabled": item.enabled,
            "sceneItemLocked": item.locked,
            "sceneItemTransform": transform_json(&item.transform, source.size()),
            "sceneItemBlendMode": "OBS_BLEND_NORMAL",
            "sourceName": named.name,
            "sourceUuid": named.uuid.to_string(),
            "sourceType": kind,
            "inputKind": input_kind,
            "isGroup": is_group,
        }));
    }
    Ok(Some(json!({"sceneItems": list})))
}

fn id(call: &mut Call<'_>) -> Reply {
    let scene = call.scene_or_group()?;
    let name = call.fields.string("sourceName")?;
    let offset = call
        .fields
        .number_opt("searchOffset", -1.0, f64::MAX)?
        .unwrap_or(0.0);
    let collection = call.studio.collection();
    let items = collection
        .scene(scene)
        .map(|scene| scene.items.as_slice())
        .unwrap_or_default();
    let shown = collection.find(Selector::Name(name)).map(|source| source.uuid());
    let mut matches = items.iter().filter(|item| Some(item.source) == shown);
    // The range was checked; a fraction is cut off as in C++.
    let found = if offset < 0.0 {
        matches.next_back()
    } else {
        matches.nth(offset as usize)
    };
    let not_found = || {
        let comment = "No scene items were found in the specified scene by that name or offset.";
        Failure::new(Code::NotFound, comment)
    };
    Ok(Some(json!({"sceneItemId": found.ok_or_else(not_found)?.id})))
}

fn source(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    let named = call.source_of(call.find_item(scene, id)?)?.named();
    Ok(Some(
        json!({"sourceName": named.name, "sourceUuid": named.uuid.to_string()}),
    ))
}

fn create(call: &mut Call<'_>) -> Reply {
    let scene = call.scene()?;
    let source = call.source("sourceName", "sourceUuid")?.uuid();
    let enabled = call.fields.boolean_opt("sceneItemEnabled")?.unwrap_or(true);
    let id = call.studio.create_item(scene, source, enabled)?;
    Ok(Some(json!({"sceneItemId": id})))
}

fn remove(call: &mut Call<'_>) -> Reply {
    call.scene()?;
    let (scene, id) = call.item()?;
    call.studio.remove_item(scene, id)?;
    Ok(None)
}

fn transform(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    let item = call.find_item(scene, id)?;
    let size = call.source_of(item)?.size();
    Ok(Some(
        json!({"sceneItemTransform": transform_json(&item.transform, size)}),
    ))
}

fn set_transform(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    let fields = Fields::from(call.fields.object("sceneItemTransform", false)?);
    let bounds_type = match fields.string_opt("boundsType")? {
        None => None,
        Some(text) => Some(Bounds::parse(text).ok_or_else(|| {
            Failure::new(Code::InvalidField, "The field `boundsType` has an invalid value.")
        })?),
    };
    let position = |key| fields.float_opt(key, -90_001.0, 90_001.0);
    let scale = |key| fields.float_opt(key, f64::MIN, f64::MAX);
    // Zero, which OBS reports for an item without bounds, is refused when it is sent back.
    let bounds = |key| fields.float_opt(key, 1.0, 90_001.0);
    let crop = |key| fields.natural_opt(key, 100_000);
    let change = TransformChange {
        position_x: position("positionX")?,
        position_y: position("positionY")?,
        rotation: fields.float_opt("rotation", -360.0, 360.0)?,
        scale_x: scale("scaleX")?,
        scale_y: scale("scaleY")?,
        alignment: fields.natural_opt("alignment", u32::MAX)?,
        bounds_type,
        bounds_alignment: fields.natural_opt("boundsAlignment", u32::MAX)?,
        bounds_width: bounds("boundsWidth")?,
        bounds_height: bounds("boundsHeight")?,
        crop_left: crop("cropLeft")?,
        crop_right: crop("cropRight")?,
        crop_top: crop("cropTop")?,
        crop_bottom: crop("cropBottom")?,
        crop_to_bounds: fields.boolean_opt("cropToBounds")?,
    };
    if change == TransformChange::default() {
        return Err(Failure::new(
            Code::CannotAct,
            "You have not provided any valid transform changes.",
        ));
    }
    call.studio.set_item_transform(scene, id, &change)?;
    Ok(None)
}

fn enabled(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    Ok(Some(
        json!({"sceneItemEnabled": call.find_item(scene, id)?.enabled}),
    ))
}

fn set_enabled(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    call.studio
        .set_item_enabled(scene, id, call.fields.boolean("sceneItemEnabled")?)?;
    Ok(None)
}

fn locked(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    Ok(Some(
        json!({"sceneItemLocked": call.find_item(scene, id)?.locked}),
    ))
}

fn set_locked(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    call.studio
        .set_item_locked(scene, id, call.fields.boolean("sceneItemLocked")?)?;
    Ok(None)
}

fn index(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    let scene = call.studio.collection().scene(scene);
    let index = scene.and_then(|scene| scene.items.iter().position(|item| item.id == id));
    Ok(Some(json!({"sceneItemIndex": index})))
}

fn set_index(call: &mut Call<'_>) -> Reply {
    let (scene, id) = call.item()?;
    let index = call.fields.natural("sceneItemIndex", INDEX_MAX)?;
    call.studio
        .set_item_index(scene, id, usize::try_from(index).unwrap_or(usize::MAX))?;
    Ok(None)
}

fn blend_mode(call: &mut Call<'_>) -> Reply {
    call.item()?;
    Ok(Some(json!({"sceneItemBlendMode": "OBS_BLEND_NORMAL"})))
}
