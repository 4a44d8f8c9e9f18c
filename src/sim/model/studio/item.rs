//! Changes to scene items, each announced as OBS announces it.

use super::collection::{Selector, Source};
use super::event::{ItemChange, Named, StudioEvent};
use super::source::{Bounds, Item, Scene, Transform, Uuid};
use super::{Studio, StudioError};

/// Furthest that an item may be from the origin, in pixels (obs-websocket's limit).
const POSITION_MAX: f32 = 90_001.0;

/// The fields of a transform to change. What is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TransformChange {
    pub position_x: Option<f32>,
    pub position_y: Option<f32>,
    pub rotation: Option<f32>,
    pub scale_x: Option<f32>,
    pub scale_y: Option<f32>,
    pub alignment: Option<u32>,
    pub bounds_type: Option<Bounds>,
    pub bounds_alignment: Option<u32>,
    pub bounds_width: Option<f32>,
    pub bounds_height: Option<f32>,
    pub crop_left: Option<u32>,
    pub crop_right: Option<u32>,
    pub crop_top: Option<u32>,
    pub crop_bottom: Option<u32>,
    pub crop_to_bounds: Option<bool>,
}

impl TransformChange {
    fn apply(&self, transform: &mut Transform) {
        fn set<T: Copy>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut transform.position.0, self.position_x);
        set(&mut transform.position.1, self.position_y);
        set(&mut transform.rotation, self.rotation);
        set(&mut transform.scale.0, self.scale_x);
        set(&mut transform.scale.1, self.scale_y);
        set(&mut transform.alignment, self.alignment);
        set(&mut transform.bounds_type, self.bounds_type);
        set(&mut transform.bounds_alignment, self.bounds_alignment);
        set(&mut transform.bounds.0, self.bounds_width);
        set(&mut transform.bounds.1, self.bounds_height);
        set(&mut transform.crop_left, self.crop_left);
        set(&mut transform.crop_right, self.crop_right);
        set(&mut transform.crop_top, self.crop_top);
        set(&mut transform.crop_bottom, self.crop_bottom);
        set(&mut transform.crop_to_bounds, self.crop_to_bounds);
    }
}

impl Studio {
    /// Shows a source in a scene, in front of everything else.
    ///
    /// # Errors
    /// [`StudioError::Recursion`], [`StudioError::SourceGone`].
    pub fn create_item(&mut self, scene: Uuid, source: Uuid, enabled: bool) -> Result<u64, StudioError> {
        let source_named = self.named(source)?;
        let scene_named = Named {
            name: self.scene_name(scene)?,
            uuid: scene,
        };
        if self.collection().would_recurse(scene, source) {
            return Err(StudioError::Recursion);
        }
        let target = self.scene_mut(scene)?;
        let (id, index) = (target.next_item_id, target.items.len());
        target.next_item_id += 1;
        target.items.push(Item {
            id,
            source,
            enabled,
            locked: false,
            transform: Transform::default(),
        });
        let change = ItemChange::Created {
            source: source_named,
            id,
            index,
        };
        self.events.push(StudioEvent::Item {
            scene: scene_named,
            change,
        });
        Ok(id)
    }

    /// Removes an item; an input that no scene shows any more goes with its last item, as in OBS.
    ///
    /// # Errors
    /// [`StudioError::NoSuchItem`], [`StudioError::SourceGone`].
    pub fn remove_item(&mut self, scene: Uuid, id: u64) -> Result<(), StudioError> {
        let source = self.item_mut(scene, id)?.source;
        let scene_named = Named {
            name: self.scene_name(scene)?,
            uuid: scene,
        };
        self.scene_mut(scene)?.items.retain(|item| item.id != id);
        let source_named = self.named(source)?;
        let change = ItemChange::Removed {
            source: source_named,
            id,
        };
        self.events.push(StudioEvent::Item {
            scene: scene_named,
            change,
        });
        self.let_go_if_unseen(source)
    }

    /// Ends what nothing shows any more, unless it is a scene.
    pub(super) fn let_go_if_unseen(&mut self, source: Uuid) -> Result<(), StudioError> {
        let is_shown = |s: &Scene| s.items.iter().any(|item| item.source == source);
        if self.collection().scenes_and_groups().any(is_shown) {
            return Ok(());
        }
        if self.collection().input(source).is_some() {
            return self.remove_input(source);
        }
        let Some(at) = self
            .collection()
            .groups
            .iter()
            .position(|group| group.uuid == source)
        else {
            return Ok(());
        };
        let ids: Vec<u64> = self.collection().groups[at]
            .items
            .iter()
            .map(|item| item.id)
            .collect();
        for id in ids {
            self.remove_item(source, id)?;
        }
        self.collection_mut().groups.remove(at);
        Ok(())
    }

    pub(super) fn remove_items_of(&mut self, source: &Named) {
        let mut removed = Vec::new();
        let collection = self.collection_mut();
        for scene in collection.scenes.iter_mut().chain(&mut collection.groups) {
            let named = Named {
                name: scene.name.clone(),
                uuid: scene.uuid,
            };
            scene.items.retain(|item| {
                let keep = item.source != source.uuid;
                if !keep {
                    removed.push((named.clone(), item.id));
                }
                keep
            });
        }
        for (scene, id) in removed {
            let change = ItemChange::Removed {
                source: source.clone(),
                id,
            };
            self.events.push(StudioEvent::Item { scene, change });
        }
    }

    /// # Errors
    /// [`StudioError::NoSuchItem`], [`StudioError::SourceGone`].
    pub fn set_item_enabled(&mut self, scene: Uuid, id: u64, enabled: bool) -> Result<(), StudioError> {
        let item = self.item_mut(scene, id)?;
        if std::mem::replace(&mut item.enabled, enabled) != enabled {
            let scene = self.named(scene)?;
            self.events.push(StudioEvent::Item {
                scene,
                change: ItemChange::Enabled { id, enabled },
            });
        }
        Ok(())
    }

    /// # Errors
    /// [`StudioError::NoSuchItem`], [`StudioError::SourceGone`].
    pub fn set_item_locked(&mut self, scene: Uuid, id: u64, locked: bool) -> Result<(), StudioError> {
        let item = self.item_mut(scene, id)?;
        if std::mem::replace(&mut item.locked, locked) != locked {
            let scene = self.named(scene)?;
            self.events.push(StudioEvent::Item {
                scene,
                change: ItemChange::Locked { id, locked },
            });
        }
        Ok(())
    }

    /// Moves an item; an index beyond the front means the front.
    ///
    /// # Errors
    /// [`StudioError::NoSuchItem`], [`StudioError::SourceGone`].
    pub fn set_item_index(&mut self, scene: Uuid, id: u64, index: usize) -> Result<(), StudioError> {
        self.item_mut(scene, id)?;
        let items = &mut self.scene_mut(scene)?.items;
        if let Some(from) = items.iter().position(|item| item.id == id) {
            let item = items.remove(from);
            items.insert(index.min(items.len()), item);
        }
        let ids = items.iter().map(|item| item.id).collect();
        let scene = self.named(scene)?;
        self.events.push(StudioEvent::Item {
            scene,
            change: ItemChange::Reindexed(ids),
        });
        Ok(())
    }

    /// # Errors
    /// [`StudioError::OutOfRange`] if the item would be drawn absurdly large, [`StudioError::NoSuchItem`],
    /// [`StudioError::SourceGone`].
    pub fn set_item_transform(
        &mut self,
        scene: Uuid,
        id: u64,
        change: &TransformChange,
    ) -> Result<(), StudioError> {
        let source = self.item_mut(scene, id)?.source;
        let found = self.collection().find(Selector::Uuid(source));
        let source_size = found.as_ref().map_or((0.0, 0.0), Source::size);
        let too_large =
            |scale: Option<f32>, side: f32| scale.is_some_and(|s| (s * side).abs() >= POSITION_MAX);
        if too_large(change.scale_x, source_size.0) {
            return Err(StudioError::OutOfRange("scaleX"));
        }
        if too_large(change.scale_y, source_size.1) {
            return Err(StudioError::OutOfRange("scaleY"));
        }
        let item = self.item_mut(scene, id)?;
        change.apply(&mut item.transform);
        let transform = item.transform.clone();
        let scene = self.named(scene)?;
        let change = ItemChange::Transform {
            id,
            transform,
            source_size,
        };
        self.events.push(StudioEvent::Item { scene, change });
        Ok(())
    }
}
