//! Reading a studio: everything that a restore can write, with the ids that OBS knows it by.
//!
//! obs-websocket has no request for a whole studio, so it is read piece by piece, several requests at a time.
//! What is deleted between being listed and being read is left out, as if it had been deleted before.

use serde_json::Value;

use super::Error;
use super::link::{Link, NOT_FOUND, WRONG_STATE, denied_with, several};
use super::wire::{canonical, decimal, stream_service, transform};
use crate::domain::studio::{Audio, Input, Output, Scene, SceneItem, StreamService, Studio, Transition};

/// A studio as it is now.
pub(super) struct Now {
    pub collection: String,
    pub inputs: Vec<Input>,
    /// As OBS numbers them: in a blank studio, in the order of their creation.
    pub scenes: Vec<SceneNow>,
    pub transition: Option<Transition>,
    pub stream: StreamService,
    pub program_scene: String,
}

pub(super) struct SceneNow {
    pub name: String,
    /// From back to front.
    pub items: Vec<ItemNow>,
}

pub(super) struct ItemNow {
    pub id: i64,
    pub item: SceneItem,
}

impl Now {
    /// Something was given another name.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        let inputs = self.inputs.iter_mut().map(|input| &mut input.name);
        let scenes = self.scenes.iter_mut().map(|scene| &mut scene.name);
        for name in inputs.chain(scenes).chain([&mut self.program_scene]) {
            if name == old {
                new.clone_into(name);
            }
        }
        for item in self.scenes.iter_mut().flat_map(|scene| &mut scene.items) {
            if item.item.source == old {
                new.clone_into(&mut item.item.source);
            }
        }
    }
}

pub(super) async fn capture(link: &Link) -> Result<Studio, Error> {
    let now = read(link).await?;
    let scene = |scene: SceneNow| Scene {
        name: scene.name,
        items: scene.items.into_iter().map(|item| item.item).collect(),
        ..Scene::default()
    };
    Ok(Studio {
        scene_collection: now.collection,
        inputs: now.inputs,
        scenes: now.scenes.into_iter().map(scene).collect(),
        transition: now.transition,
        stream: Some(now.stream),
        program_scene: now.program_scene,
        ..Studio::default()
    })
}

pub(super) async fn output(link: &Link) -> Result<Output, Error> {
    let status = link
        .call("GetStreamStatus", |client| async move {
            client.streaming().status().await
        })
        .await?;
    let milliseconds = status.duration.whole_milliseconds();
    Ok(Output {
        active: status.active,
        reconnecting: status.reconnecting,
        bytes: status.bytes,
        duration_ms: u64::try_from(milliseconds).unwrap_or(0),
        skipped_frames: status.skipped_frames.into(),
        total_frames: status.total_frames.into(),
    })
}

/// The current scene collection, and all there are.
pub(super) async fn collections(link: &Link) -> Result<(String, Vec<String>), Error> {
    let list = link
        .call("GetSceneCollectionList", |client| async move {
            client.scene_collections().list().await
        })
        .await?;
    Ok((list.current, list.collections))
}

pub(super) async fn read(link: &Link) -> Result<Now, Error> {
    let ((collection, _), inputs, (program_scene, scenes), transition, stream) = tokio::try_join!(
        collections(link),
        inputs(link),
        scenes(link),
        transition(link),
        stream_now(link),
    )?;
    Ok(Now {
        collection,
        inputs,
        scenes,
        transition,
        stream,
        program_scene,
    })
}

async fn inputs(link: &Link) -> Result<Vec<Input>, Error> {
    let list = link
        .call("GetInputList", |client| async move {
            client.inputs().list(None).await
        })
        .await?;
    let read = several(
        list.into_iter()
            .map(|input| input_now(link, input.id.name, input.kind)),
    )
    .await?;
    let mut inputs: Vec<Input> = read.into_iter().flatten().collect();
    // OBS lists them in the order of their creation, which means nothing.
    inputs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(inputs)
}

pub(super) async fn input_names(link: &Link) -> Result<Vec<String>, Error> {
    let list = link
        .call("GetInputList", |client| async move {
            client.inputs().list(None).await
        })
        .await?;
    Ok(list.into_iter().map(|input| input.id.name).collect())
}

async fn input_now(link: &Link, name: String, kind: String) -> Result<Option<Input>, Error> {
    let id = name.as_str();
    let settings = link.call("GetInputSettings", |client| async move {
        client.inputs().settings::<Value>(id.into()).await
    });
    let (settings, audio) = tokio::join!(settings, audio_now(link, id));
    match (gone_is_none(settings)?, gone_is_none(audio)?) {
        (Some(read), Some(audio)) => Ok(Some(Input {
            settings: canonical(&read.settings),
            name,
            kind,
            audio,
            filters: Vec::new(),
        })),
        _ => Ok(None),
    }
}

/// `None` for an input without sound: OBS says so by refusing.
async fn audio_now(link: &Link, input: &str) -> Result<Option<Audio>, Error> {
    let volume = link
        .call("GetInputVolume", |client| async move {
            client.inputs().volume(input.into()).await
        })
        .await;
    if denied_with(&volume, WRONG_STATE) {
        return Ok(None);
    }
    let muted = link
        .call("GetInputMute", |client| async move {
            client.inputs().muted(input.into()).await
        })
        .await?;
    Ok(Some(Audio {
        volume_mul: decimal(volume?.mul),
        muted,
        ..Audio::default()
    }))
}

async fn scenes(link: &Link) -> Result<(String, Vec<SceneNow>), Error> {
    let list = link
        .call(
            "GetSceneList",
            |client| async move { client.scenes().list().await },
        )
        .await?;
    let program = list
        .current_program_scene
        .map(|scene| scene.name)
        .unwrap_or_default();
    let mut found = list.scenes;
    found.sort_by_key(|scene| scene.index);
    let read = several(found.into_iter().map(|scene| scene_now(link, scene.id.name))).await?;
    Ok((program, read.into_iter().flatten().collect()))
}

async fn scene_now(link: &Link, name: String) -> Result<Option<SceneNow>, Error> {
    let Some(list) = gone_is_none(item_ids(link, &name).await)? else {
        return Ok(None);
    };
    let read = several(
        list.into_iter()
            .map(|(id, source)| item_now(link, &name, id, source)),
    )
    .await?;
    Ok(Some(SceneNow {
        items: read.into_iter().flatten().collect(),
        name,
    }))
}

/// Ids and sources of a scene's items, from back to front.
pub(super) async fn item_ids(link: &Link, scene: &str) -> Result<Vec<(i64, String)>, Error> {
    let mut list = link
        .call("GetSceneItemList", |client| async move {
            client.scene_items().list(scene.into()).await
        })
        .await?;
    list.sort_by_key(|item| item.index);
    Ok(list.into_iter().map(|item| (item.id, item.source_name)).collect())
}

async fn item_now(link: &Link, scene: &str, id: i64, source: String) -> Result<Option<ItemNow>, Error> {
    let (placed, enabled, locked) = tokio::join!(
        link.call("GetSceneItemTransform", |client| async move {
            client.scene_items().transform(scene.into(), id).await
        }),
        link.call("GetSceneItemEnabled", |client| async move {
            client.scene_items().enabled(scene.into(), id).await
        }),
        link.call("GetSceneItemLocked", |client| async move {
            client.scene_items().locked(scene.into(), id).await
        }),
    );
    match (
        gone_is_none(placed)?,
        gone_is_none(enabled)?,
        gone_is_none(locked)?,
    ) {
        (Some(placed), Some(enabled), Some(locked)) => Ok(Some(ItemNow {
            id,
            item: SceneItem {
                source,
                enabled,
                locked,
                transform: transform(&placed),
            },
        })),
        _ => Ok(None),
    }
}

/// `None` if OBS has no transition to speak of, which it says by refusing.
async fn transition(link: &Link) -> Result<Option<Transition>, Error> {
    let current = link
        .call("GetCurrentSceneTransition", |client| async move {
            client.transitions().current().await
        })
        .await;
    if denied_with(&current, WRONG_STATE) || denied_with(&current, NOT_FOUND) {
        return Ok(None);
    }
    let current = current?;
    let duration = current
        .duration
        .and_then(|duration| u32::try_from(duration.whole_milliseconds()).ok());
    Ok(Some(Transition {
        name: current.id.name,
        duration_ms: duration.filter(|_| !current.fixed),
    }))
}

pub(super) async fn stream_now(link: &Link) -> Result<StreamService, Error> {
    let read: Result<_, Error> = link
        .call("GetStreamServiceSettings", |client| async move {
            client.config().stream_service_settings::<Value>().await
        })
        .await;
    let read = read?;
    stream_service(read.r#type, read.settings, link.vault())
}

/// What was listed and is gone when it is asked for was deleted in between.
fn gone_is_none<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    if denied_with(&answer, NOT_FOUND) {
        return Ok(None);
    }
    answer.map(Some)
}
