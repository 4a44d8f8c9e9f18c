//! What somebody at the desk does beside editing: studio mode with its preview, per-scene transitions, groups.

use serde_json::{Map, Value};

use super::event::{Named, StudioEvent};
use super::source::{Scene, Transition, TransitionOverride, Uuid};
use super::{Studio, StudioError};
use crate::domain::time::Timestamp;

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
        self.next_preview = None;
        self.events.push(StudioEvent::StudioMode(enabled));
    }

    /// Puts a scene in preview, where it is a moment later.
    ///
    /// # Errors
    /// [`StudioError::NoStudioMode`], [`StudioError::SourceGone`].
    pub fn set_preview(&mut self, scene: Uuid, now: Timestamp) -> Result<(), StudioError> {
        self.scene_name(scene)?;
        if self.preview.is_none() {
            return Err(StudioError::NoStudioMode);
        }
        self.next_preview = Some((scene, now + self.timing.preview));
        Ok(())
    }

    pub(super) fn advance_preview(&mut self, now: Timestamp) {
        if let Some((scene, _)) = self.next_preview.take_if(|(_, at)| *at <= now) {
            // It may be gone by now, and then nothing changes.
            let _ = self.show_in_preview(scene);
        }
    }

    pub(super) fn show_in_preview(&mut self, scene: Uuid) -> Result<(), StudioError> {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::StudioTiming;
    use super::*;

    #[test]
    fn a_scene_is_in_preview_a_moment_after_obs_says_so() {
        let mut studio = Studio::new(StudioTiming::default(), 1);
        let program = studio.collection().program;
        let next = studio.create_scene("Next").unwrap();
        assert_eq!(
            studio.set_preview(next, Timestamp(0)),
            Err(StudioError::NoStudioMode)
        );
        studio.set_studio_mode(true);
        studio.set_preview(next, Timestamp(0)).unwrap();
        assert_eq!(studio.preview(), Some(program));
        studio.take_events();
        let at = studio.next_deadline().unwrap();
        assert_eq!(at, Timestamp(40));
        studio.advance(at - Duration::from_millis(1));
        assert_eq!((studio.preview(), studio.take_events().len()), (Some(program), 0));
        studio.advance(at);
        assert_eq!((studio.preview(), studio.take_events().len()), (Some(next), 1));
        assert_eq!(studio.next_deadline(), None);

        // Gone before it was shown.
        let gone = studio.create_scene("Gone").unwrap();
        studio.set_preview(gone, at).unwrap();
        studio.remove_scene(gone).unwrap();
        studio.advance(at + Duration::from_secs(1));
        assert_eq!(studio.preview(), Some(next));
    }
}
