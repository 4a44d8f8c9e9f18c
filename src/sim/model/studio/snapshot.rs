//! The studio as a capture reads it, and a whole scene collection put in place.
//!
//! For the front that has no requests: what [`crate::infra::obs`] reads and writes piece by piece.

use super::collection::{Collection, Selector};
use super::event::{Named, StudioEvent};
use super::source::{Filter, Input, Item, Scene, Transform};
use super::{Studio, collection_file};
use crate::domain::studio as captured;
use crate::domain::time::Timestamp;
use crate::infra::obs::{canonical, decimal};

impl Studio {
    /// Everything that a capture reads, the stream service left out: its key is for a vault to seal.
    #[must_use]
    pub fn snapshot(&self) -> captured::Studio {
        let collection = self.collection();
        let mut inputs: Vec<_> = collection.inputs.iter().map(input).collect();
        inputs.sort_by(|one, other| one.name.cmp(&other.name));
        let mut groups: Vec<_> = collection
            .groups
            .iter()
            .map(|one| scene(collection, one))
            .collect();
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        let (transition, transitions) = transitions(collection);
        let name_of = |uuid| Some(collection.scene(uuid)?.name.clone());
        captured::Studio {
            scene_collection: self.collection_name().to_owned(),
            inputs,
            // OBS lists them from the top down.
            scenes: collection
                .scenes
                .iter()
                .rev()
                .map(|one| scene(collection, one))
                .collect(),
            groups,
            transition,
            transitions,
            stream: None,
            program_scene: name_of(collection.program).unwrap_or_default(),
            preview_scene: self.preview().and_then(name_of),
            recording: self.recording(),
        }
    }

    /// Makes a collection that is given as its file's text the one in use, in the place of the one of that name.
    /// False, and nothing happens, if the text is none.
    pub fn adopt(&mut self, text: &[u8], now: Timestamp) -> bool {
        let Some((name, collection)) = collection_file::read(text, &mut self.identifiers) else {
            return false;
        };
        let program = collection.scene(collection.program).map(|scene| Named {
            name: scene.name.clone(),
            uuid: scene.uuid,
        });
        let program_before = self.program_scene().map(str::to_owned);
        let studio_mode = self.preview.is_some();
        self.preview = studio_mode.then_some(collection.program);
        self.next_preview = None;
        self.collections.insert(name.clone(), collection);
        self.config.collection_changed(&name);
        if self.current == name {
            self.events.push(StudioEvent::CollectionChanged(name));
        } else {
            let left = std::mem::replace(&mut self.current, name);
            self.events.push(StudioEvent::CollectionChanging(left));
            self.config.menu_made();
            self.config.current_changed();
            self.switching_until = Some(now + self.timing.collection_switch);
        }
        if let Some(program) = program.filter(|program| Some(&program.name) != program_before.as_ref()) {
            self.events.push(StudioEvent::ProgramSceneChanged(program));
        }
        true
    }
}

fn transitions(collection: &Collection) -> (Option<captured::Transition>, Vec<captured::TransitionSource>) {
    let used = collection.current_transition();
    let all = collection.transitions.iter().map(|one| {
        let is_used = used.is_some_and(|used| used.uuid == one.uuid);
        captured::TransitionSource {
            name: one.name.clone(),
            kind: one.kind.to_owned(),
            // OBS tells those of the one in use alone.
            settings: (is_used && one.configurable).then(|| canonical(&one.settings.clone().into())),
        }
    });
    let transition = used.map(|used| captured::Transition {
        name: used.name.clone(),
        duration_ms: (!used.fixed).then_some(collection.transition_ms),
    });
    (transition, all.collect())
}

fn input(input: &Input) -> captured::Input {
    captured::Input {
        name: input.name.clone(),
        kind: input.kind.id.to_owned(),
        settings: canonical(&input.settings.clone().into()),
        audio: input.kind.audio.then(|| captured::Audio {
            volume_mul: decimal(input.volume_mul),
            muted: input.muted,
            balance: decimal(input.balance),
            sync_offset_ms: input.sync_offset_ms,
            monitor: input.monitor,
            tracks: input.tracks,
        }),
        filters: filters(&input.filters),
    }
}

fn filters(filters: &[Filter]) -> Vec<captured::Filter> {
    let filter = |filter: &Filter| captured::Filter {
        name: filter.name.clone(),
        kind: filter.kind.to_owned(),
        settings: canonical(&filter.settings.clone().into()),
        enabled: filter.enabled,
    };
    let mut filters: Vec<_> = filters.iter().map(filter).collect();
    filters.sort_by_key(captured::Filter::is_drawn);
    filters
}

/// A scene or a group.
fn scene(collection: &Collection, scene: &Scene) -> captured::Scene {
    let instead = captured::TransitionOverride {
        name: scene.transition_override.name.clone(),
        duration_ms: scene.transition_override.duration_ms,
    };
    captured::Scene {
        name: scene.name.clone(),
        items: scene
            .items
            .iter()
            .filter_map(|shown| item(collection, shown))
            .collect(),
        filters: filters(&scene.filters),
        transition_override: (instead != captured::TransitionOverride::default()).then_some(instead),
    }
}

fn item(collection: &Collection, item: &Item) -> Option<captured::SceneItem> {
    let source = collection.find(Selector::Uuid(item.source))?;
    Some(captured::SceneItem {
        source: source.named().name,
        enabled: item.enabled,
        locked: item.locked,
        transform: transform(&item.transform),
    })
}

fn transform(place: &Transform) -> captured::Transform {
    // A bit set of four.
    let alignment = |bits: u32| u8::try_from(bits).unwrap_or_default();
    captured::Transform {
        position_x: decimal(place.position.0),
        position_y: decimal(place.position.1),
        rotation: decimal(place.rotation),
        scale_x: decimal(place.scale.0),
        scale_y: decimal(place.scale.1),
        alignment: alignment(place.alignment),
        bounds_type: place.bounds_type.as_str().to_owned(),
        bounds_alignment: alignment(place.bounds_alignment),
        bounds_width: decimal(place.bounds.0),
        bounds_height: decimal(place.bounds.1),
        crop_left: place.crop_left,
        crop_right: place.crop_right,
        crop_top: place.crop_top,
        crop_bottom: place.crop_bottom,
    }
}

#[cfg(test)]
mod tests {
    use super::super::StudioTiming;
    use super::*;

    #[test]
    fn a_collection_in_the_place_of_the_one_in_use_is_told_with_its_program_scene() {
        let mut studio = Studio::new(StudioTiming::default(), 1);
        studio.take_events();
        let text = |scene: &str| {
            format!(
                r#"{{"name":"Untitled","current_program_scene":"{scene}","sources":[{{"name":"{scene}","id":"scene"}}]}}"#
            )
        };
        assert!(!studio.adopt(b"no collection", Timestamp(0)));
        assert!(studio.adopt(text("Other").as_bytes(), Timestamp(0)));
        assert_eq!(studio.snapshot().program_scene, "Other");
        let told = studio.take_events();
        assert!(matches!(&told[0], StudioEvent::CollectionChanged(name) if name == "Untitled"));
        assert!(matches!(&told[1], StudioEvent::ProgramSceneChanged(scene) if scene.name == "Other"));
        // The same scene again is no news.
        assert!(studio.adopt(text("Other").as_bytes(), Timestamp(0)));
        assert_eq!(studio.take_events().len(), 1);
        assert_eq!(studio.switching_until(Timestamp(0)), None);
    }
}
