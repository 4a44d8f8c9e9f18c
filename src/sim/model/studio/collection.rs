//! A scene collection: scenes, the inputs they show, and the transitions between them.
//!
//! Look-ups only; changes go through [`super::Studio`], which announces them.

use super::event::Named;
use super::kinds::TRANSITION_KINDS;
use super::source::{Filter, Identifiers, Input, Item, Scene, Transition, Uuid};

/// How a request names a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector<'a> {
    Name(&'a str),
    Uuid(Uuid),
}

/// What a selector led to.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    Input(&'a Input),
    Scene(&'a Scene),
    Group(&'a Scene),
}

impl Source<'_> {
    #[must_use]
    pub fn named(&self) -> Named {
        match self {
            Self::Input(input) => Named {
                name: input.name.clone(),
                uuid: input.uuid,
            },
            Self::Scene(scene) | Self::Group(scene) => Named {
                name: scene.name.clone(),
                uuid: scene.uuid,
            },
        }
    }

    #[must_use]
    pub fn uuid(&self) -> Uuid {
        match self {
            Self::Input(input) => input.uuid,
            Self::Scene(scene) | Self::Group(scene) => scene.uuid,
        }
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(&self) -> (f32, f32) {
        match self {
            Self::Input(input) => input.kind.size(&input.settings),
            // A scene is as large as the canvas; so is, unlike in OBS, every group.
            Self::Scene(_) | Self::Group(_) => (1920.0, 1080.0),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Collection {
    pub scenes: Vec<Scene>,
    pub groups: Vec<Scene>,
    pub inputs: Vec<Input>,
    pub transitions: Vec<Transition>,
    /// Index into `transitions`.
    pub transition: usize,
    pub transition_ms: u32,
    /// The scene on air.
    pub program: Uuid,
}

impl Collection {
    /// What OBS creates: one scene called `Scene`, a cut and a fade.
    pub(super) fn new(identifiers: &mut Identifiers) -> Self {
        let scene = Scene::new(identifiers.next(), "Scene");
        let mut transition = |name: &str, kind: &'static str, fixed| Transition {
            uuid: identifiers.next(),
            name: name.to_owned(),
            kind,
            fixed,
            configurable: false,
            settings: serde_json::Map::new(),
        };
        let transitions = vec![
            transition("Cut", TRANSITION_KINDS[0], true),
            transition("Fade", TRANSITION_KINDS[1], false),
        ];
        Self {
            program: scene.uuid,
            scenes: vec![scene],
            groups: Vec::new(),
            inputs: Vec::new(),
            transitions,
            transition: 1,
            transition_ms: 300,
        }
    }

    #[must_use]
    pub fn find(&self, selector: Selector<'_>) -> Option<Source<'_>> {
        let meant = |name: &str, uuid: Uuid| match selector {
            Selector::Name(wanted) => wanted == name,
            Selector::Uuid(wanted) => wanted == uuid,
        };
        let input = || self.inputs.iter().find(|input| meant(&input.name, input.uuid));
        let scene = || self.scenes.iter().find(|scene| meant(&scene.name, scene.uuid));
        let group = || self.groups.iter().find(|group| meant(&group.name, group.uuid));
        let input = input().map(Source::Input);
        input
            .or_else(|| scene().map(Source::Scene))
            .or_else(|| group().map(Source::Group))
    }

    /// All filters of a source.
    #[must_use]
    pub fn filters(&self, source: Uuid) -> &[Filter] {
        match self.find(Selector::Uuid(source)) {
            Some(Source::Input(input)) => &input.filters,
            Some(Source::Scene(scene) | Source::Group(scene)) => &scene.filters,
            None => &[],
        }
    }

    /// A scene or a group.
    #[must_use]
    pub fn scene(&self, uuid: Uuid) -> Option<&Scene> {
        self.scenes_and_groups().find(|scene| scene.uuid == uuid)
    }

    pub fn scenes_and_groups(&self) -> impl Iterator<Item = &Scene> {
        self.scenes.iter().chain(&self.groups)
    }

    #[must_use]
    pub fn input(&self, uuid: Uuid) -> Option<&Input> {
        self.inputs.iter().find(|input| input.uuid == uuid)
    }

    #[must_use]
    pub fn item(&self, scene: Uuid, id: u64) -> Option<&Item> {
        self.scene(scene)?.items.iter().find(|item| item.id == id)
    }

    #[must_use]
    pub fn current_transition(&self) -> Option<&Transition> {
        self.transitions.get(self.transition)
    }

    /// The scenes' names in order, for `SceneListChanged`.
    #[must_use]
    pub fn scene_names(&self) -> Vec<Named> {
        self.scenes
            .iter()
            .map(|s| Named {
                name: s.name.clone(),
                uuid: s.uuid,
            })
            .collect()
    }

    /// Whether showing `source` in `scene` would make a scene contain itself.
    #[must_use]
    pub fn would_recurse(&self, scene: Uuid, source: Uuid) -> bool {
        if scene == source {
            return true;
        }
        self.scene(source).is_some_and(|nested| {
            nested
                .items
                .iter()
                .any(|item| self.would_recurse(scene, item.source))
        })
    }
}
