//! Scene collections, stream service, video.

use serde_json::json;

use super::{Call, Reply, Table};

pub(super) const TABLE: Table = &[
    ("GetSceneCollectionList", collections),
    ("SetCurrentSceneCollection", set_collection),
    ("CreateSceneCollection", create_collection),
    ("GetStreamServiceSettings", service),
    ("SetStreamServiceSettings", set_service),
    ("GetVideoSettings", video),
];

fn collections(call: &mut Call<'_>) -> Reply {
    Ok(Some(json!({
        "currentSceneCollectionName": call.studio.collection_name(),
        "sceneCollections": call.studio.collection_names(),
    })))
}

fn set_collection(call: &mut Call<'_>) -> Reply {
    let name = call.fields.string("sceneCollectionName")?;
    call.studio.switch_collection(name, call.now)?;
    Ok(None)
}

fn create_collection(call: &mut Call<'_>) -> Reply {
    let name = call.fields.string("sceneCollectionName")?;
    call.studio.create_collection(name, call.now)?;
    Ok(None)
}

fn service(call: &mut Call<'_>) -> Reply {
    let service = call.studio.service();
    Ok(Some(
        json!({"streamServiceType": service.kind, "streamServiceSettings": service.settings}),
    ))
}

fn set_service(call: &mut Call<'_>) -> Reply {
    if call.studio.output().is_active() {
        return Err(crate::sim::model::studio::StudioError::StreamRunning.into());
    }
    let kind = call.fields.string("streamServiceType")?;
    let settings = call.fields.object("streamServiceSettings", false)?;
    call.studio.set_service(kind, settings.clone())?;
    Ok(None)
}

fn video(_: &mut Call<'_>) -> Reply {
    Ok(Some(json!({
        "fpsNumerator": 30, "fpsDenominator": 1,
        "baseWidth": 1920, "baseHeight": 1080,
        "outputWidth": 1920, "outputHeight": 1080,
    })))
}
