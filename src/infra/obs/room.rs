//! The part of a restore that takes away what is not wanted, so that what is wanted can come.
//!
//! Scenes and inputs share their names in OBS, and removing one does not free its name: it lives on until
//! nothing refers to it, which was seen to take from milliseconds to the end of the process, and meanwhile
//! inputs are still listed. So whatever is not wanted is renamed before it is removed, and items are removed
//! before what they show.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Error;
use super::capture::{Now, SceneNow, input_names};
use super::link::several;
use super::restore::{Work, change_program};
use crate::domain::studio::{Input, Studio};

/// How long OBS is given to let go of what was removed, and how often it is asked.
const PATIENCE: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(10);

/// Afterwards `now` has only inputs that are wanted, though not all of them, and all wanted scenes, with no
/// items that show anything else; except for what OBS refused, which is noted. Returns what was removed.
pub(super) async fn make_room(work: &Work<'_>, want: &Studio, now: &mut Now) -> Result<Removed, Error> {
    let keep = Keep::new(want);
    rename_unwanted(work, &keep, now).await?;
    remove_items(work, &keep, now).await?;
    create_scenes(work, want, now).await?;
    remove_scenes(work, want, &keep, now).await?;
    remove_inputs(work, &keep, now).await
}

/// Names of inputs that were removed.
pub(super) struct Removed(HashSet<String>);

impl Removed {
    /// Waits until OBS has let go of them, for a moment: a capture right now would still find them.
    pub(super) async fn settle(&self, work: &Work<'_>) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            let there = input_names(work.link).await?;
            if !there.iter().any(|name| self.0.contains(name)) {
                break;
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// What stays where it is there.
struct Keep<'a> {
    /// Kinds by name.
    inputs: HashMap<&'a str, &'a str>,
    scenes: HashSet<&'a str>,
}

impl<'a> Keep<'a> {
    fn new(want: &'a Studio) -> Self {
        let kind = |input: &'a Input| (input.name.as_str(), input.kind.as_str());
        Self {
            inputs: want.inputs.iter().map(kind).collect(),
            scenes: want.scenes.iter().map(|scene| scene.name.as_str()).collect(),
        }
    }

    fn input(&self, input: &Input) -> bool {
        self.inputs.get(input.name.as_str()) == Some(&input.kind.as_str())
    }

    fn scene(&self, scene: &SceneNow) -> bool {
        self.scenes.contains(scene.name.as_str())
    }

    /// Inputs and scenes that do not stay.
    fn unwanted(&self, now: &Now) -> (Vec<String>, Vec<String>) {
        let inputs = now.inputs.iter().filter(|input| !self.input(input));
        let scenes = now.scenes.iter().filter(|scene| !self.scene(scene));
        (
            inputs.map(|input| input.name.clone()).collect(),
            scenes.map(|scene| scene.name.clone()).collect(),
        )
    }
}

async fn rename_unwanted(work: &Work<'_>, keep: &Keep<'_>, now: &mut Now) -> Result<(), Error> {
    let (inputs, scenes) = keep.unwanted(now);
    let inputs = inputs.into_iter().map(|name| async move {
        let free = free_name(&name);
        let (from, to) = (name.as_str(), free.as_str());
        let what = || format!("input {name:?} is not wanted");
        let renaming = work.remove("SetInputName", what, |client| async move {
            client.inputs().set_name(from.into(), to).await
        });
        Ok(renaming.await?.then_some((name, free)))
    });
    let scenes = scenes.into_iter().map(|name| async move {
        let free = free_name(&name);
        let (from, to) = (name.as_str(), free.as_str());
        let what = || format!("scene {name:?} is not wanted");
        let renaming = work.remove("SetSceneName", what, |client| async move {
            client.scenes().set_name(from.into(), to).await
        });
        Ok(renaming.await?.then_some((name, free)))
    });
    let (inputs, scenes) = tokio::try_join!(several(inputs), several(scenes))?;
    for (old, new) in inputs.into_iter().chain(scenes).flatten() {
        now.rename(&old, &new);
    }
    Ok(())
}

/// A name that nothing has, not even something that OBS no longer lists.
fn free_name(name: &str) -> String {
    format!("{name} (removed {:08x})", rand::random::<u32>())
}

/// Removes from wanted scenes what shows an input or scene that is not wanted.
async fn remove_items(work: &Work<'_>, keep: &Keep<'_>, now: &mut Now) -> Result<(), Error> {
    let (inputs, scenes) = keep.unwanted(now);
    let unwanted: HashSet<String> = inputs.into_iter().chain(scenes).collect();
    let mut removals = Vec::new();
    for scene in now.scenes.iter().filter(|scene| keep.scene(scene)) {
        for item in &scene.items {
            if unwanted.contains(&item.item.source) {
                removals.push(remove_item(work, &scene.name, item.id));
            }
        }
    }
    let removed: HashSet<(String, i64)> = several(removals).await?.into_iter().flatten().collect();
    for scene in &mut now.scenes {
        let name = scene.name.clone();
        scene
            .items
            .retain(|item| !removed.contains(&(name.clone(), item.id)));
    }
    Ok(())
}

/// Returns the item if it is gone.
pub(super) async fn remove_item(
    work: &Work<'_>,
    scene: &str,
    id: i64,
) -> Result<Option<(String, i64)>, Error> {
    let what = || format!("item {id} of scene {scene:?} is not wanted");
    let removing = work.remove("RemoveSceneItem", what, |client| async move {
        client.scene_items().remove(scene.into(), id).await
    });
    Ok(removing.await?.then(|| (scene.to_owned(), id)))
}

/// One after the other, which in a blank studio makes the order of the list. Elsewhere OBS puts a new scene
/// beside the current one, and has no request to move it; nothing on air depends on that order.
async fn create_scenes(work: &Work<'_>, want: &Studio, now: &mut Now) -> Result<(), Error> {
    for scene in &want.scenes {
        let name = scene.name.as_str();
        if now.scenes.iter().any(|there| there.name == name) {
            continue;
        }
        let what = || format!("scene {name:?}");
        let creating = work.change("CreateScene", what, |client| async move {
            client.scenes().create(name).await
        });
        if creating.await?.is_some() {
            now.scenes.push(SceneNow {
                name: name.to_owned(),
                ..SceneNow::default()
            });
        }
    }
    Ok(())
}

async fn remove_scenes(work: &Work<'_>, want: &Studio, keep: &Keep<'_>, now: &mut Now) -> Result<(), Error> {
    let (wanted, unwanted): (Vec<_>, Vec<_>) = now.scenes.drain(..).partition(|scene| keep.scene(scene));
    now.scenes = wanted;
    if unwanted.iter().any(|scene| scene.name == now.program_scene) {
        // OBS would choose another one itself. The right one is there by now, though not complete.
        change_program(work, want, now).await?;
        now.program_scene.clone_from(&want.program_scene);
    }
    for scene in unwanted {
        let name = scene.name.as_str();
        let what = || format!("scene {name:?} is not wanted");
        let removing = work.remove("RemoveScene", what, |client| async move {
            client.scenes().remove(name.into()).await
        });
        removing.await?;
    }
    Ok(())
}

/// Most inputs are gone by now because nothing shows them any more. Others are shown inside a group, or are
/// the devices that OBS plays beside any scene.
async fn remove_inputs(work: &Work<'_>, keep: &Keep<'_>, now: &mut Now) -> Result<Removed, Error> {
    let (wanted, unwanted): (Vec<_>, Vec<_>) = now.inputs.drain(..).partition(|input| keep.input(input));
    now.inputs = wanted;
    if unwanted.is_empty() {
        return Ok(Removed(HashSet::new()));
    }
    let left: HashSet<String> = input_names(work.link).await?.into_iter().collect();
    let names = unwanted.into_iter().map(|input| input.name);
    let removals = names.filter(|name| left.contains(name)).map(|name| async move {
        let input = name.as_str();
        let what = || format!("input {name:?} is not wanted");
        let removing = work.remove("RemoveInput", what, |client| async move {
            client.inputs().remove(input.into()).await
        });
        Ok(removing.await?.then_some(name))
    });
    Ok(Removed(several(removals).await?.into_iter().flatten().collect()))
}
