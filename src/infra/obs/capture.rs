//! Reading a studio: everything that a restore can write, with the ids that OBS knows it by.
//!
//! obs-websocket has no request for a whole studio, so it is read piece by piece, several requests at a time.
//! What is deleted between being listed and being read is left out, as if it had been deleted before.

use serde_json::Value;

use super::Error;
use super::link::{Link, NOT_FOUND, denied_with, several};
use super::wire::{canonical, stream_service, transform};
use super::{filters, sound, transitions};
use crate::domain::studio::{
    Filter, Input, Output, Recording, Scene, SceneItem, StreamService, Studio, Transition,
    TransitionOverride, TransitionSource,
};

/// A studio as it is now.
pub(super) struct Now {
    pub collection: String,
    pub inputs: Vec<Input>,
    /// As OBS numbers them: in a blank studio, in the order of their creation.
    pub scenes: Vec<SceneNow>,
    pub groups: Vec<SceneNow>,
    pub transition: Option<Transition>,
    pub transitions: Vec<TransitionSource>,
    pub stream: StreamService,
    pub program_scene: String,
    pub preview_scene: Option<String>,
}

/// A scene or a group.
#[derive(Default)]
pub(super) struct SceneNow {
    pub name: String,
    /// From back to front.
    pub items: Vec<ItemNow>,
    pub filters: Vec<Filter>,
    pub transition_override: Option<TransitionOverride>,
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
        let on_show = [&mut self.program_scene]
            .into_iter()
            .chain(&mut self.preview_scene);
        for name in inputs.chain(scenes).chain(on_show) {
            if name == old {
                new.clone_into(name);
            }
        }
        let scenes = self.scenes.iter_mut().chain(&mut self.groups);
        for item in scenes.flat_map(|scene| &mut scene.items) {
            if item.item.source == old {
                new.clone_into(&mut item.item.source);
            }
        }
    }
}

pub(super) async fn capture(link: &Link) -> Result<Studio, Error> {
    let (now, recording) = tokio::try_join!(read(link), recording(link))?;
    let scene = |scene: SceneNow| Scene {
        name: scene.name,
        items: scene.items.into_iter().map(|item| item.item).collect(),
        filters: scene.filters,
        transition_override: scene.transition_override,
    };
    Ok(Studio {
        scene_collection: now.collection,
        inputs: now.inputs,
        scenes: now.scenes.into_iter().map(scene).collect(),
        groups: now.groups.into_iter().map(scene).collect(),
        transition: now.transition,
        transitions: now.transitions,
        stream: Some(now.stream),
        program_scene: now.program_scene,
        preview_scene: now.preview_scene,
        recording,
    })
}

pub(super) async fn recording(link: &Link) -> Result<Recording, Error> {
    let status = link
        .call("GetRecordStatus", |client| async move {
            client.recording().status().await
        })
        .await?;
    Ok(match (status.active, status.paused) {
        (false, _) => Recording::Off,
        (true, false) => Recording::Active,
        (true, true) => Recording::Paused,
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
    let ((collection, _), inputs, (program_scene, scenes), groups, transitions, preview_scene, stream) = tokio::try_join!(
        collections(link),
        inputs(link),
        scenes(link),
        groups(link),
        transitions::read(link),
        transitions::read_preview(link),
        stream_now(link),
    )?;
    let (transition, transitions) = transitions;
    Ok(Now {
        collection,
        inputs,
        scenes,
        groups,
        transition,
        transitions,
        stream,
        program_scene,
        preview_scene,
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
    let (settings, audio, filters) = tokio::join!(settings, sound::read(link, id), filters::read(link, id));
    match (gone_is_none(settings)?, gone_is_none(audio)?, filters?) {
        (Some(read), Some(audio), Some(filters)) => Ok(Some(Input {
            settings: canonical(&read.settings),
            name,
            kind,
            audio,
            filters,
        })),
        _ => Ok(None),
    }
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
    let (list, filters, instead) = tokio::join!(
        item_ids(link, &name),
        filters::read(link, &name),
        transitions::read_override(link, &name),
    );
    let (Some(list), Some(filters)) = (gone_is_none(list)?, filters?) else {
        return Ok(None);
    };
    Ok(Some(SceneNow {
        items: items_now(link, &name, list).await?,
        filters,
        transition_override: instead?,
        name,
    }))
}

async fn groups(link: &Link) -> Result<Vec<SceneNow>, Error> {
    let mut names = link
        .call("GetGroupList", |client| async move {
            client.scenes().list_groups().await
        })
        .await?;
    // OBS lists them in the order of their creation, which means nothing.
    names.sort();
    let read = several(names.into_iter().map(|name| group_now(link, name))).await?;
    Ok(read.into_iter().flatten().collect())
}

async fn group_now(link: &Link, name: String) -> Result<Option<SceneNow>, Error> {
    let group = name.as_str();
    let list = link.call("GetGroupSceneItemList", |client| async move {
        client.scene_items().list_group(group.into()).await
    });
    let (list, filters) = tokio::join!(list, filters::read(link, group));
    let (Some(list), Some(filters)) = (gone_is_none(list)?, filters?) else {
        return Ok(None);
    };
    Ok(Some(SceneNow {
        items: items_now(link, group, in_order(list)).await?,
        filters,
        transition_override: None,
        name,
    }))
}

async fn items_now(link: &Link, scene: &str, list: Vec<(i64, String)>) -> Result<Vec<ItemNow>, Error> {
    let items = list.into_iter();
    let read = several(items.map(|(id, source)| item_now(link, scene, id, source))).await?;
    Ok(read.into_iter().flatten().collect())
}

/// Ids and sources of a scene's items, from back to front.
pub(super) async fn item_ids(link: &Link, scene: &str) -> Result<Vec<(i64, String)>, Error> {
    let list = link
        .call("GetSceneItemList", |client| async move {
            client.scene_items().list(scene.into()).await
        })
        .await?;
    Ok(in_order(list))
}

fn in_order(mut list: Vec<obws::responses::scene_items::SceneItem>) -> Vec<(i64, String)> {
    list.sort_by_key(|item| item.index);
    list.into_iter().map(|item| (item.id, item.source_name)).collect()
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
pub(super) fn gone_is_none<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    if denied_with(&answer, NOT_FOUND) {
        return Ok(None);
    }
    answer.map(Some)
}
