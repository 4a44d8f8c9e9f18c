//! Filters of inputs, scenes and groups.

use serde_json::{Value, json};

use super::super::status::Failure;
use super::{Call, Reply, Table};
use crate::sim::model::studio::StudioError;
use crate::sim::model::studio::kinds::FILTER_KINDS;
use crate::sim::model::studio::source::{Filter, Uuid};

pub(super) const TABLE: Table = &[
    ("GetSourceFilterKindList", |_| {
        Ok(Some(json!({"sourceFilterKinds": FILTER_KINDS})))
    }),
    ("GetSourceFilterList", list),
    ("GetSourceFilter", get),
    ("CreateSourceFilter", create),
    ("RemoveSourceFilter", remove),
    ("SetSourceFilterName", rename),
    ("SetSourceFilterIndex", set_index),
    ("SetSourceFilterSettings", set_settings),
    ("SetSourceFilterEnabled", set_enabled),
];

/// Furthest filter index that obs-websocket takes.
const INDEX_MAX: u32 = 8_192;

/// The array of filters, in the order in which they are applied.
pub(in super::super) fn filters_json(filters: &[Filter]) -> Vec<Value> {
    let filter = |(index, filter): (usize, &Filter)| {
        json!({
            "filterName": filter.name,
            "filterKind": filter.kind,
            "filterIndex": index,
            "filterEnabled": filter.enabled,
            "filterSettings": filter.settings,
        })
    };
    filters.iter().enumerate().map(filter).collect()
}

impl<'a> Call<'a> {
    fn any_source(&self) -> Result<Uuid, Failure> {
        Ok(self.source("sourceName", "sourceUuid")?.uuid())
    }

    fn filter(&self) -> Result<(Uuid, &'a str), Failure> {
        let source = self.any_source()?;
        Ok((source, self.fields.string("filterName")?))
    }
}

fn list(call: &mut Call<'_>) -> Reply {
    let source = call.any_source()?;
    let filters = filters_json(call.studio.collection().filters(source));
    Ok(Some(json!({"filters": filters})))
}

fn get(call: &mut Call<'_>) -> Reply {
    let (source, name) = call.filter()?;
    let filters = filters_json(call.studio.collection().filters(source));
    let found = filters.into_iter().find(|filter| filter["filterName"] == name);
    let not_found = || StudioError::NoSuchFilter {
        source_name: call
            .studio
            .named(source)
            .map(|named| named.name)
            .unwrap_or_default(),
        filter: name.to_owned(),
    };
    let mut filter = found.ok_or_else(not_found)?;
    // What was asked for is not repeated.
    if let Value::Object(fields) = &mut filter {
        fields.remove("filterName");
    }
    Ok(Some(filter))
}

fn create(call: &mut Call<'_>) -> Reply {
    let (source, name) = call.filter()?;
    let kind = call.fields.string("filterKind")?;
    let settings = call.fields.object_opt("filterSettings")?.cloned();
    call.studio
        .create_filter(source, name, kind, settings.unwrap_or_default())?;
    Ok(None)
}

fn remove(call: &mut Call<'_>) -> Reply {
    let (source, name) = call.filter()?;
    call.studio.remove_filter(source, name)?;
    Ok(None)
}

fn rename(call: &mut Call<'_>) -> Reply {
    let (source, name) = call.filter()?;
    let new = call.fields.string("newFilterName")?;
    call.studio.rename_filter(source, name, new)?;
    Ok(None)
}

fn set_index(call: &mut Call<'_>) -> Reply {
    let (source, name) = call.filter()?;
    let index = call.fields.natural("filterIndex", INDEX_MAX)?;
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    call.studio.set_filter_index(source, name, index)?;
    Ok(None)
}

fn set_settings(call: &mut Call<'_>) -> Reply {
    let (source, name) = call.filter()?;
    let settings = call.fields.object("filterSettings", true)?.clone();
    let overlay = call.fields.boolean_opt("overlay")?.unwrap_or(true);
    call.studio.set_filter_settings(source, name, settings, overlay)?;
    Ok(None)
}

fn set_enabled(call: &mut Call<'_>) -> Reply {
    let (source, name) = call.filter()?;
    let enabled = call.fields.boolean("filterEnabled")?;
    call.studio.set_filter_enabled(source, name, enabled)?;
    Ok(None)
}
