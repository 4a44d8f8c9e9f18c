//! Filters of inputs, scenes and groups, each change announced as OBS announces it.

use serde_json::{Map, Value};

use super::event::{FilterChange, StudioEvent};
use super::kinds;
use super::source::{Filter, Uuid};
use super::{Studio, StudioError};

impl Studio {
    fn filters_mut(&mut self, source: Uuid) -> Result<&mut Vec<Filter>, StudioError> {
        let collection = self.collection_mut();
        let inputs = collection.inputs.iter_mut();
        let mut inputs = inputs.map(|input| (input.uuid, &mut input.filters));
        let scenes = collection.scenes.iter_mut().chain(&mut collection.groups);
        let mut scenes = scenes.map(|scene| (scene.uuid, &mut scene.filters));
        let found = inputs
            .find(|(uuid, _)| *uuid == source)
            .or_else(|| scenes.find(|(uuid, _)| *uuid == source));
        found.map(|(_, filters)| filters).ok_or(StudioError::SourceGone)
    }

    fn filter_at(&mut self, source: Uuid, filter: &str) -> Result<usize, StudioError> {
        let name = self.named(source)?.name;
        let filters = self.filters_mut(source)?;
        let at = filters.iter().position(|there| there.name == filter);
        at.ok_or_else(|| StudioError::NoSuchFilter {
            source_name: name,
            filter: filter.to_owned(),
        })
    }

    fn announce(&mut self, source: Uuid, filter: &str, change: FilterChange) -> Result<(), StudioError> {
        let event = StudioEvent::Filter {
            source: self.named(source)?.name,
            filter: filter.to_owned(),
            change,
        };
        self.events.push(event);
        Ok(())
    }

    /// Adds a filter after the others.
    ///
    /// # Errors
    /// [`StudioError::FilterTaken`], [`StudioError::NoSuchFilterKind`], [`StudioError::SourceGone`].
    pub fn create_filter(
        &mut self,
        source: Uuid,
        name: &str,
        kind: &str,
        settings: Map<String, Value>,
    ) -> Result<(), StudioError> {
        let filters = self.filters_mut(source)?;
        if filters.iter().any(|there| there.name == name) {
            return Err(StudioError::FilterTaken(name.to_owned()));
        }
        let kind = kinds::find_filter(kind).ok_or_else(|| StudioError::NoSuchFilterKind(kind.to_owned()))?;
        filters.push(Filter {
            name: name.to_owned(),
            kind,
            settings: settings.clone(),
            enabled: true,
        });
        let index = filters.len() - 1;
        let created = FilterChange::Created {
            kind,
            index,
            settings,
        };
        self.announce(source, name, created)
    }

    /// # Errors
    /// [`StudioError::NoSuchFilter`], [`StudioError::SourceGone`].
    pub fn remove_filter(&mut self, source: Uuid, name: &str) -> Result<(), StudioError> {
        let at = self.filter_at(source, name)?;
        self.filters_mut(source)?.remove(at);
        self.announce(source, name, FilterChange::Removed)
    }

    /// # Errors
    /// [`StudioError::FilterTaken`], [`StudioError::NoSuchFilter`], [`StudioError::SourceGone`].
    pub fn rename_filter(&mut self, source: Uuid, name: &str, new: &str) -> Result<(), StudioError> {
        let at = self.filter_at(source, name)?;
        let filters = self.filters_mut(source)?;
        if filters.iter().any(|there| there.name == new) {
            return Err(StudioError::FilterTaken(new.to_owned()));
        }
        new.clone_into(&mut filters[at].name);
        let old = name.to_owned();
        self.announce(source, new, FilterChange::Renamed { old })
    }

    /// Moves a filter by as many steps as `index` is away, each past the next one of its own sort: filters that are
    /// drawn and others pass each other by (seen on OBS 30.2.3).
    ///
    /// # Errors
    /// [`StudioError::NoSuchFilter`], [`StudioError::SourceGone`].
    pub fn set_filter_index(&mut self, source: Uuid, name: &str, index: usize) -> Result<(), StudioError> {
        let at = self.filter_at(source, name)?;
        let filters = self.filters_mut(source)?;
        let is_drawn = filters[at].is_drawn();
        let mut at = at;
        for _ in 0..index.abs_diff(at).min(filters.len()) {
            let same = |there: &usize| filters[*there].is_drawn() == is_drawn;
            let next = if index > at {
                (at + 1..filters.len()).find(same)
            } else {
                (0..at).rev().find(same)
            };
            let Some(next) = next else { break };
            let filter = filters.remove(at);
            filters.insert(next, filter);
            at = next;
        }
        let filters = filters.clone();
        self.announce(source, name, FilterChange::Reindexed(filters))
    }

    /// Lays settings over the present ones, or over the kind's defaults.
    ///
    /// # Errors
    /// [`StudioError::NoSuchFilter`], [`StudioError::SourceGone`].
    pub fn set_filter_settings(
        &mut self,
        source: Uuid,
        name: &str,
        settings: Map<String, Value>,
        overlay: bool,
    ) -> Result<(), StudioError> {
        let at = self.filter_at(source, name)?;
        let present = &mut self.filters_mut(source)?[at].settings;
        if !overlay {
            present.clear();
        }
        present.extend(settings);
        let settings = present.clone();
        self.announce(source, name, FilterChange::Settings(settings))
    }

    /// # Errors
    /// [`StudioError::NoSuchFilter`], [`StudioError::SourceGone`].
    pub fn set_filter_enabled(&mut self, source: Uuid, name: &str, enabled: bool) -> Result<(), StudioError> {
        let at = self.filter_at(source, name)?;
        let filter = &mut self.filters_mut(source)?[at];
        if std::mem::replace(&mut filter.enabled, enabled) == enabled {
            return Ok(());
        }
        self.announce(source, name, FilterChange::Enabled(enabled))
    }
}
