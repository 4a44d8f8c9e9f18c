//! Changes to the scene collection in use, each announced as OBS announces it.

use serde_json::{Map, Value};

use super::collection::Selector;
use super::event::{InputChange, Named, StudioEvent};
use super::source::{Input, Item, Scene, Uuid};
use super::{Studio, StudioError, kinds};

impl Studio {
    pub(super) fn check_name(&self, name: &str) -> Result<(), StudioError> {
        match self.collection().find(Selector::Name(name)) {
            Some(_) => Err(StudioError::NameTaken(name.to_owned())),
            None => Ok(()),
        }
    }

    /// # Errors
    /// [`StudioError::SourceGone`].
    pub fn named(&self, uuid: Uuid) -> Result<Named, StudioError> {
        let source = self
            .collection()
            .find(Selector::Uuid(uuid))
            .ok_or(StudioError::SourceGone)?;
        Ok(source.named())
    }

    /// A scene or a group.
    pub(super) fn scene_mut(&mut self, uuid: Uuid) -> Result<&mut Scene, StudioError> {
        let collection = self.collection_mut();
        let mut all = collection.scenes.iter_mut().chain(&mut collection.groups);
        all.find(|scene| scene.uuid == uuid)
            .ok_or(StudioError::SourceGone)
    }

    pub(super) fn input_mut(&mut self, uuid: Uuid) -> Result<&mut Input, StudioError> {
        let inputs = &mut self.collection_mut().inputs;
        inputs
            .iter_mut()
            .find(|input| input.uuid == uuid)
            .ok_or(StudioError::SourceGone)
    }

    pub(super) fn item_mut(&mut self, scene: Uuid, id: u64) -> Result<&mut Item, StudioError> {
        let name = self.scene_name(scene)?;
        let items = &mut self.scene_mut(scene)?.items;
        items
            .iter_mut()
            .find(|item| item.id == id)
            .ok_or(StudioError::NoSuchItem { scene: name, id })
    }

    // ----- scenes -----

    /// Creates a scene below the one on air in the list, where OBS 30.2.3 puts it.
    ///
    /// # Errors
    /// [`StudioError::NameTaken`].
    pub fn create_scene(&mut self, name: &str) -> Result<Uuid, StudioError> {
        let program = self.collection().program;
        let row = self
            .collection()
            .scenes
            .iter()
            .position(|scene| scene.uuid == program);
        self.insert_scene(name, row.map_or(self.collection().scenes.len(), |row| row + 1))
    }

    /// Creates a scene at the end of the list.
    pub(super) fn append_scene(&mut self, name: &str) -> Result<Uuid, StudioError> {
        self.insert_scene(name, self.collection().scenes.len())
    }

    fn insert_scene(&mut self, name: &str, row: usize) -> Result<Uuid, StudioError> {
        self.check_name(name)?;
        let uuid = self.identifiers.next();
        let scene = Scene::new(uuid, name);
        self.collection_mut().scenes.insert(row, scene);
        self.events.push(StudioEvent::SceneCreated(Named {
            name: name.to_owned(),
            uuid,
        }));
        self.announce_scenes();
        Ok(uuid)
    }

    /// Removes a scene, every item that shows it, and what nothing else shows. If it was on air, the first one left goes on air.
    ///
    /// # Errors
    /// [`StudioError::LastScene`], [`StudioError::SourceGone`].
    pub fn remove_scene(&mut self, uuid: Uuid) -> Result<(), StudioError> {
        let named = self.named(uuid)?;
        if self.collection().scenes.len() < 2 {
            return Err(StudioError::LastScene);
        }
        let shown: Vec<Uuid> = self
            .collection()
            .scene(uuid)
            .into_iter()
            .flat_map(|scene| scene.items.iter().map(|item| item.source))
            .collect();
        self.collection_mut().scenes.retain(|scene| scene.uuid != uuid);
        self.remove_items_of(&named);
        self.events.push(StudioEvent::SceneRemoved(named));
        self.announce_scenes();
        for source in shown {
            self.let_go_if_unseen(source)?;
        }
        if self.collection().program == uuid
            && let Some(first) = self.collection().scenes.first().map(|scene| scene.uuid)
        {
            self.set_program(first)?;
        }
        if self.preview == Some(uuid) {
            self.show_in_preview(self.collection().program)?;
        }
        Ok(())
    }

    /// # Errors
    /// [`StudioError::NameTaken`], [`StudioError::SourceGone`].
    pub fn rename_scene(&mut self, uuid: Uuid, new: &str) -> Result<(), StudioError> {
        self.check_name(new)?;
        let old = std::mem::replace(&mut self.scene_mut(uuid)?.name, new.to_owned());
        self.events.push(StudioEvent::SceneNameChanged {
            uuid,
            old,
            new: new.to_owned(),
        });
        self.announce_scenes();
        Ok(())
    }

    /// Puts a scene on air.
    ///
    /// # Errors
    /// [`StudioError::SourceGone`].
    pub fn set_program(&mut self, uuid: Uuid) -> Result<(), StudioError> {
        let name = self.scene_name(uuid)?;
        if self.collection().program != uuid {
            self.collection_mut().program = uuid;
            self.events
                .push(StudioEvent::ProgramSceneChanged(Named { name, uuid }));
        }
        Ok(())
    }

    fn announce_scenes(&mut self) {
        let names = self.collection().scene_names();
        self.events.push(StudioEvent::SceneListChanged(names));
    }

    // ----- inputs -----

    /// Creates an input and shows it in `scene`. Returns the input and its item.
    ///
    /// # Errors
    /// [`StudioError::NameTaken`], [`StudioError::NoSuchKind`], [`StudioError::SourceGone`].
    pub fn create_input(
        &mut self,
        scene: Uuid,
        name: &str,
        kind: &str,
        settings: Map<String, Value>,
        enabled: bool,
    ) -> Result<(Uuid, u64), StudioError> {
        self.check_name(name)?;
        let kind = kinds::find(kind).ok_or_else(|| StudioError::NoSuchKind(kind.to_owned()))?;
        self.scene_name(scene)?;
        let uuid = self.identifiers.next();
        let input = Named {
            name: name.to_owned(),
            uuid,
        };
        self.collection_mut()
            .inputs
            .push(Input::new(uuid, name, kind, settings.clone()));
        self.events.push(StudioEvent::Input {
            input,
            change: InputChange::Created { kind, settings },
        });
        let item = self.create_item(scene, uuid, enabled)?;
        Ok((uuid, item))
    }

    /// Removes an input and every item that shows it.
    ///
    /// # Errors
    /// [`StudioError::SourceGone`].
    pub fn remove_input(&mut self, uuid: Uuid) -> Result<(), StudioError> {
        let input = self.named(uuid)?;
        self.collection_mut().inputs.retain(|input| input.uuid != uuid);
        self.remove_items_of(&input);
        self.events.push(StudioEvent::Input {
            input,
            change: InputChange::Removed,
        });
        Ok(())
    }

    /// # Errors
    /// [`StudioError::NameTaken`], [`StudioError::SourceGone`].
    pub fn rename_input(&mut self, uuid: Uuid, new: &str) -> Result<(), StudioError> {
        self.check_name(new)?;
        let old = std::mem::replace(&mut self.input_mut(uuid)?.name, new.to_owned());
        let input = Named {
            name: new.to_owned(),
            uuid,
        };
        self.events.push(StudioEvent::Input {
            input,
            change: InputChange::Renamed { old },
        });
        Ok(())
    }

    /// Lays settings over the present ones, or over the kind's defaults.
    ///
    /// # Errors
    /// [`StudioError::SourceGone`].
    pub fn set_input_settings(
        &mut self,
        uuid: Uuid,
        settings: Map<String, Value>,
        overlay: bool,
    ) -> Result<(), StudioError> {
        let input = self.named(uuid)?;
        let present = &mut self.input_mut(uuid)?.settings;
        if !overlay {
            present.clear();
        }
        present.extend(settings);
        let settings = present.clone();
        self.events.push(StudioEvent::Input {
            input,
            change: InputChange::Settings(settings),
        });
        Ok(())
    }

    // ----- transitions -----

    /// # Errors
    /// [`StudioError::NoSuchTransition`].
    pub fn set_transition(&mut self, name: &str) -> Result<(), StudioError> {
        let transitions = &self.collection().transitions;
        let index = transitions
            .iter()
            .position(|transition| transition.name == name)
            .ok_or_else(|| StudioError::NoSuchTransition(name.to_owned()))?;
        let uuid = transitions[index].uuid;
        let collection = self.collection_mut();
        if collection.transition != index {
            collection.transition = index;
            let named = Named {
                name: name.to_owned(),
                uuid,
            };
            self.events.push(StudioEvent::TransitionChanged(named));
        }
        Ok(())
    }

    pub fn set_transition_duration(&mut self, duration_ms: u32) {
        let collection = self.collection_mut();
        if collection.transition_ms != duration_ms {
            collection.transition_ms = duration_ms;
            self.events
                .push(StudioEvent::TransitionDurationChanged { duration_ms });
        }
    }

    /// # Errors
    /// [`StudioError::TransitionNotConfigurable`].
    pub fn set_transition_settings(
        &mut self,
        settings: Map<String, Value>,
        overlay: bool,
    ) -> Result<(), StudioError> {
        let collection = self.collection_mut();
        let index = collection.transition;
        let current = collection.transitions.get_mut(index).filter(|t| t.configurable);
        let transition = current.ok_or(StudioError::TransitionNotConfigurable)?;
        if !overlay {
            transition.settings.clear();
        }
        transition.settings.extend(settings);
        Ok(())
    }
}
