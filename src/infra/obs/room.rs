//! The part of a restore that takes away what is not wanted, so that what is wanted can come.
//!
//! Scenes and inputs share their names in OBS, and removing one does not free its name at once: it lives on
//! until nothing shows it, and OBS looks after that only in scenes that are on screen. So whatever has a name
//! that is needed is renamed first, and items are removed before what they show.

use std::collections::{HashMap, HashSet};

use super::Error;
use super::capture::{Now, SceneNow, input_names};
use super::link::several;
use super::restore::{Work, change_program};
use crate::domain::studio::{Input, Studio};

/// Afterwards `now` has only inputs that are wanted, though not all of them, and all wanted scenes, with no
/// items that show anything else; except for what OBS refused, which is noted.
pub(super) async fn make_room(work: &Work<'_>, want: &Studio, now: &mut Now) -> Result<(), Error> {
    let keep = Keep::new(want);
    free_names(work, &keep, now).await?;
    remove_items(work, &keep, now).await?;
    create_scenes(work, want, now).await?;
    remove_scenes(work, want, &keep, now).await?;
    remove_inputs(work, &keep, now).await
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

    fn needs_name(&self, name: &str) -> bool {
        self.inputs.contains_key(name) || self.scenes.contains(name)
    }
}

/// Renames what is in the way of something wanted of the same name: an input of another kind, an input where
/// a scene is wanted, a scene where an input is.
async fn free_names(work: &Work<'_>, keep: &Keep<'_>, now: &mut Now) -> Result<(), Error> {
    let inputs = now
        .inputs
        .iter()
        .filter(|input| !keep.input(input))
        .map(|input| &input.name);
    let inputs: Vec<String> = inputs.filter(|name| keep.needs_name(name)).cloned().collect();
    for name in inputs {
        let free = free_name(&name, keep, now);
        let (from, to) = (name.as_str(), free.as_str());
        let what = || format!("input {name:?} is in the way");
        let renaming = work.change("SetInputName", what, |client| async move {
            client.inputs().set_name(from.into(), to).await
        });
        if renaming.await?.is_some() {
            now.rename(&name, &free);
        }
    }
    let scenes = now
        .scenes
        .iter()
        .filter(|scene| !keep.scene(scene))
        .map(|scene| &scene.name);
    let scenes: Vec<String> = scenes.filter(|name| keep.needs_name(name)).cloned().collect();
    for name in scenes {
        let free = free_name(&name, keep, now);
        let (from, to) = (name.as_str(), free.as_str());
        let what = || format!("scene {name:?} is in the way");
        let renaming = work.change("SetSceneName", what, |client| async move {
            client.scenes().set_name(from.into(), to).await
        });
        if renaming.await?.is_some() {
            now.rename(&name, &free);
        }
    }
    Ok(())
}

/// A name that nothing has and nothing needs.
fn free_name(name: &str, keep: &Keep<'_>, now: &Now) -> String {
    let taken = |candidate: &str| {
        keep.needs_name(candidate)
            || now.inputs.iter().any(|input| input.name == candidate)
            || now.scenes.iter().any(|scene| scene.name == candidate)
    };
    let mut number = 1_u32;
    loop {
        let candidate = format!("{name} (old {number})");
        if !taken(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// Removes from wanted scenes what shows an input or scene that is not wanted.
async fn remove_items(work: &Work<'_>, keep: &Keep<'_>, now: &mut Now) -> Result<(), Error> {
    let inputs = now
        .inputs
        .iter()
        .filter(|input| !keep.input(input))
        .map(|input| &input.name);
    let scenes = now
        .scenes
        .iter()
        .filter(|scene| !keep.scene(scene))
        .map(|scene| &scene.name);
    let unwanted: HashSet<String> = inputs.chain(scenes).cloned().collect();
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
                items: Vec::new(),
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
async fn remove_inputs(work: &Work<'_>, keep: &Keep<'_>, now: &mut Now) -> Result<(), Error> {
    let (wanted, unwanted): (Vec<_>, Vec<_>) = now.inputs.drain(..).partition(|input| keep.input(input));
    now.inputs = wanted;
    if unwanted.is_empty() {
        return Ok(());
    }
    let left: HashSet<String> = input_names(work.link).await?.into_iter().collect();
    let removals = unwanted
        .iter()
        .filter(|input| left.contains(&input.name))
        .map(|input| {
            let name = input.name.as_str();
            async move {
                let what = || format!("input {name:?} is not wanted");
                let removing = work.remove("RemoveInput", what, |client| async move {
                    client.inputs().remove(name.into()).await
                });
                removing.await
            }
        });
    several(removals).await.map(drop)
}
