//! The part of a restore inside the scenes: items, their order, and where they are drawn.
//!
//! The same source may be in a scene several times, so the first wanted item of a source is the first one that
//! is there, the second the second, and so on. An input that does not exist yet is created in the first scene
//! that wants it; the others wait for that.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use obws::requests::inputs::Create;
use obws::requests::scene_items::{CreateSceneItem, SetIndex};
use serde_json::{Map, Value};

use super::Error;
use super::capture::{ItemNow, Now, item_ids};
use super::draw::draw;
use super::inputs::wanted_settings;
use super::link::{Lane, several};
use super::restore::Work;
use super::room::remove_item;
use super::sound;
use crate::domain::studio::{Input, Scene, Studio};

pub(super) async fn restore(work: &Work<'_>, want: &Studio, now: &Now) -> Result<(), Error> {
    let plan = Plan::new(work, want, now);
    // Two rounds: a scene may show an input that another scene has to create first.
    let mut scenes = Vec::new();
    for scene in &want.scenes {
        if let Some(there) = now.scenes.iter().find(|there| there.name == scene.name) {
            scenes.push(SceneWork::new(scene, &there.items, false));
        }
    }
    for group in &want.groups {
        if let Some(there) = now.groups.iter().find(|there| there.name == group.name) {
            scenes.push(SceneWork::new(group, &there.items, true));
        }
    }
    let created = several(scenes.into_iter().map(|scene| scene.create_inputs(work, &plan))).await?;
    several(created.into_iter().map(|scene| scene.finish(work, &plan)))
        .await
        .map(drop)
}

/// Which inputs are missing and where each is to be created.
struct Plan<'a> {
    missing: HashMap<&'a str, Missing<'a>>,
    /// Everything that an item can show.
    sources: HashSet<&'a str>,
    /// Groups that are wanted and not there.
    groups: HashSet<&'a str>,
    /// Missing inputs that OBS would not create. Their items are no further differences.
    failed: Mutex<HashSet<&'a str>>,
}

struct Missing<'a> {
    input: &'a Input,
    settings: Map<String, Value>,
    /// The scene that creates it.
    home: &'a str,
}

impl<'a> Plan<'a> {
    fn new(work: &Work<'_>, want: &'a Studio, now: &Now) -> Self {
        let there: HashSet<&str> = now.inputs.iter().map(|input| input.name.as_str()).collect();
        let mut homes = HashMap::new();
        for scene in &want.scenes {
            for item in &scene.items {
                homes.entry(item.source.as_str()).or_insert(scene.name.as_str());
            }
        }
        let mut missing = HashMap::new();
        let mut failed = HashSet::new();
        for input in want
            .inputs
            .iter()
            .filter(|input| !there.contains(input.name.as_str()))
        {
            let name = input.name.as_str();
            let Some(&home) = homes.get(name) else {
                // OBS keeps an input only as long as something shows it.
                work.differs(format!(
                    "input {name:?} is in no scene and cannot be created alone"
                ));
                continue;
            };
            match wanted_settings(work, input) {
                Some(settings) => {
                    missing.insert(
                        name,
                        Missing {
                            input,
                            settings,
                            home,
                        },
                    );
                }
                None => {
                    failed.insert(name);
                }
            }
        }
        let inputs = want.inputs.iter().map(|input| input.name.as_str());
        let scenes = want.scenes.iter().map(|scene| scene.name.as_str());
        let (groups_there, groups): (Vec<&str>, Vec<&str>) = want
            .groups
            .iter()
            .map(|group| group.name.as_str())
            .partition(|group| now.groups.iter().any(|there| there.name == *group));
        Self {
            missing,
            sources: inputs.chain(scenes).chain(groups_there).collect(),
            groups: groups.into_iter().collect(),
            failed: Mutex::new(failed),
        }
    }

    fn has_failed(&self, source: &str) -> bool {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(source)
    }

    fn fail(&self, source: &'a str) {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(source);
    }
}

/// One scene on its way to what it should be.
struct SceneWork<'a> {
    scene: &'a Scene,
    /// OBS lets nothing into a group or out of it on request; what is in it can be moved and hidden.
    is_group: bool,
    /// For every wanted item, the one that is it.
    items: Vec<Item<'a>>,
    /// Ids of items that are not wanted.
    extra: Vec<i64>,
    /// Ids from back to front as they are now.
    order: Vec<i64>,
}

#[derive(Clone, Copy)]
enum Item<'a> {
    There(&'a ItemNow),
    Created(i64),
    Absent,
}

impl Item<'_> {
    fn id(&self) -> Option<i64> {
        match self {
            Self::There(there) => Some(there.id),
            Self::Created(id) => Some(*id),
            Self::Absent => None,
        }
    }
}

impl<'a> SceneWork<'a> {
    fn new(scene: &'a Scene, there: &'a [ItemNow], is_group: bool) -> Self {
        let mut unclaimed: Vec<Option<&ItemNow>> = there.iter().map(Some).collect();
        let mut claim = |source: &str| {
            let fits = |item: &&mut Option<&ItemNow>| item.is_some_and(|item| item.item.source == source);
            unclaimed.iter_mut().find(fits).and_then(Option::take)
        };
        let items = scene
            .items
            .iter()
            .map(|want| claim(&want.source).map_or(Item::Absent, Item::There));
        Self {
            scene,
            is_group,
            items: items.collect(),
            order: there.iter().map(|item| item.id).collect(),
            extra: unclaimed.into_iter().flatten().map(|item| item.id).collect(),
        }
    }

    /// First round: the inputs that are to be created in this scene, each with its first item.
    async fn create_inputs(mut self, work: &Work<'_>, plan: &Plan<'a>) -> Result<Self, Error> {
        let mut made = HashSet::new();
        for (index, want) in self.scene.items.iter().enumerate() {
            let source = want.source.as_str();
            let Some(missing) = plan.missing.get(source) else {
                continue;
            };
            if missing.home != self.scene.name || !made.insert(source) {
                continue;
            }
            match create_input(work, &self.scene.name, missing, want.enabled).await? {
                Some(id) => {
                    self.items[index] = Item::Created(id);
                    sound::change(work, source, missing.input.audio, None).await?;
                }
                None => plan.fail(source),
            }
        }
        Ok(self)
    }

    /// Second round: all other items, then order, then how each is drawn.
    async fn finish(mut self, work: &Work<'_>, plan: &Plan<'a>) -> Result<(), Error> {
        if self.is_group {
            self.note_members(work);
        }
        for id in std::mem::take(&mut self.extra) {
            if remove_item(work, &self.scene.name, id).await?.is_some() {
                self.order.retain(|there| *there != id);
            }
        }
        for index in 0..self.items.len() {
            if !self.is_group
                && let Item::Absent = self.items[index]
            {
                self.create_item(work, plan, index).await?;
            }
        }
        if self.items.iter().any(|item| matches!(item, Item::Created(_))) {
            let ids = item_ids(work.link, &self.scene.name).await?;
            self.order = ids.into_iter().map(|(id, _)| id).collect();
        }
        self.arrange(work).await?;
        let scene = self.scene.name.as_str();
        let pairs = self.items.iter().zip(&self.scene.items);
        let drawn = pairs.map(|(item, want)| async move {
            match item {
                Item::There(there) => draw(work, scene, there.id, Some(&there.item), want).await,
                Item::Created(id) => draw(work, scene, *id, None, want).await,
                Item::Absent => Ok(()),
            }
        });
        several(drawn).await.map(drop)
    }

    /// The members that are missing or not wanted are differences.
    fn note_members(&mut self, work: &Work<'_>) {
        let group = &self.scene.name;
        for (item, want) in self.items.iter().zip(&self.scene.items) {
            if let Item::Absent = item {
                work.differs(format!("item {:?} of group {group:?} is missing", want.source));
            }
        }
        for id in self.extra.drain(..) {
            work.differs(format!("item {id} of group {group:?} is not wanted"));
        }
    }

    async fn create_item(&mut self, work: &Work<'_>, plan: &Plan<'a>, index: usize) -> Result<(), Error> {
        let (scene, want) = (self.scene.name.as_str(), &self.scene.items[index]);
        let source = want.source.as_str();
        if plan.has_failed(source) {
            return Ok(());
        }
        if !plan.sources.contains(source) {
            let what = if plan.groups.contains(source) {
                "is a group, and OBS makes none on request"
            } else {
                "is neither an input nor a scene"
            };
            work.differs(format!("item {source:?} of scene {scene:?} {what}"));
            return Ok(());
        }
        let what = || format!("item {source:?} of scene {scene:?}");
        let request = |client: Lane| async move {
            let create = CreateSceneItem {
                scene: scene.into(),
                source: source.into(),
                enabled: Some(want.enabled),
            };
            client.scene_items().create(create).await
        };
        if let Some(id) = work.change("CreateSceneItem", what, request).await? {
            self.items[index] = Item::Created(id);
        }
        Ok(())
    }

    /// Puts every item at its place, from the back. OBS moves the others along, and so does `order`.
    async fn arrange(&mut self, work: &Work<'_>) -> Result<(), Error> {
        let scene = self.scene.name.as_str();
        let wanted: Vec<i64> = self.items.iter().filter_map(Item::id).collect();
        for (place, id) in wanted.into_iter().enumerate() {
            let Some(from) = self.order.iter().position(|there| *there == id) else {
                continue;
            };
            if from == place {
                continue;
            }
            let Ok(index) = u32::try_from(place) else { continue };
            let what = || format!("order of the items of scene {scene:?}");
            let request = |client: Lane| async move {
                let to = SetIndex {
                    scene: scene.into(),
                    item_id: id,
                    index,
                };
                client.scene_items().set_index(to).await
            };
            if work.change("SetSceneItemIndex", what, request).await?.is_some() {
                self.order.remove(from);
                self.order.insert(place, id);
            }
        }
        Ok(())
    }
}

/// Creates an input with its first item. `None` if OBS refuses: it does not have the kind, for example.
async fn create_input(
    work: &Work<'_>,
    scene: &str,
    missing: &Missing<'_>,
    enabled: bool,
) -> Result<Option<i64>, Error> {
    let Input { name, kind, .. } = missing.input;
    let what = || format!("input {name:?} of kind {kind}");
    let request = |client: Lane| async move {
        let create = Create {
            scene: scene.into(),
            input: name,
            kind,
            settings: Some(&missing.settings),
            enabled: Some(enabled),
        };
        client.inputs().create(create).await
    };
    let created = work.change("CreateInput", what, request).await?;
    Ok(created.map(|created| created.scene_item_id))
}
