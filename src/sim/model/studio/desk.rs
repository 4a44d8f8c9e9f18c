//! What somebody at the desk does beside editing: studio mode with its preview, per-scene transitions, groups.

use serde_json::{Map, Value};

use super::event::{Named, StudioEvent};
use super::source::{Scene, Transition, TransitionOverride, Uuid};
use super::{Studio, StudioError};

impl Studio {
    /// The scene being prepared, while studio mode is on.
    #[must_use]
    pub fn preview(&self) -> Option<Uuid> {
        self.preview
    }

    /// Switches studio mode. It begins with the scene on air in its preview.
    pub fn set_studio_mode(&mut self, enabled: bool) {
        if self.preview.is_some() == enabled {
            return;
        }
        self.preview = enabled.then_some(self.collection().program);
        self.events.push(StudioEvent::StudioMode(enabled));
    }

    /// # Errors
    /// [`StudioError::NoStudioMode`], [`StudioError::SourceGone`].
    pub fn set_preview(&mut self, scene: Uuid) -> Result<(), StudioError> {
        let name = self.scene_name(scene)?;
        let preview = self.preview.as_mut().ok_or(StudioError::NoStudioMode)?;
        if std::mem::replace(preview, scene) != scene {
            self.events
                .push(StudioEvent::PreviewSceneChanged(Named { name, uuid: scene }));
        }
        Ok(())
    }

    /// Uses another transition on the way to `scene`. OBS tells nobody.
    ///
    /// # Errors
    /// [`StudioError::NoSuchTransition`], [`StudioError::SourceGone`].
    pub fn set_transition_override(
        &mut self,
        scene: Uuid,
        instead: TransitionOverride,
    ) -> Result<(), StudioError> {
        if let Some(name) = &instead.name {
            let mut transitions = self.collection().transitions.iter();
            if !transitions.any(|transition| transition.name == *name) {
                return Err(StudioError::NoSuchTransition(name.clone()));
            }
        }
        self.scene_mut(scene)?.transition_override = instead;
        Ok(())
    }

    /// Adds a transition that can be configured. Only OBS's window can do this.
    ///
    /// # Errors
    /// [`StudioError::NameTaken`].
    pub fn add_transition(
        &mut self,
        name: &str,
        kind: &'static str,
        settings: Map<String, Value>,
    ) -> Result<(), StudioError> {
        let transitions = &self.collection().transitions;
        if transitions.iter().any(|transition| transition.name == name) {
            return Err(StudioError::NameTaken(name.to_owned()));
        }
        let transition = Transition {
            uuid: self.identifiers.next(),
            name: name.to_owned(),
            kind,
            // A stinger lasts as long as its film.
            fixed: kind == "obs_stinger_transition",
            configurable: true,
            settings,
        };
        self.collection_mut().transitions.push(transition);
        Ok(())
    }

    /// Puts items of a scene together in a group, in the place of the hindmost. Only OBS's window can do this.
    ///
    /// # Errors
    /// [`StudioError::NameTaken`], [`StudioError::NoSuchItem`], [`StudioError::SourceGone`].
    pub fn group_items(&mut self, scene: Uuid, name: &str, ids: &[u64]) -> Result<Uuid, StudioError> {
        self.check_name(name)?;
        for id in ids {
            self.item_mut(scene, *id)?;
        }
        let uuid = self.identifiers.next();
        let target = self.scene_mut(scene)?;
        let place = target.items.iter().position(|item| ids.contains(&item.id));
        let (items, others) = target.items.drain(..).partition(|item| ids.contains(&item.id));
        target.items = others;
        let group = Scene {
            items,
            next_item_id: target.next_item_id,
            ..Scene::new(uuid, name)
        };
        self.collection_mut().groups.push(group);
        let id = self.create_item(scene, uuid, true)?;
        self.set_item_index(scene, id, place.unwrap_or(0))?;
        Ok(uuid)
    }
}
