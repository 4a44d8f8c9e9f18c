//! Filters of inputs, scenes and groups: read and restored.
//!
//! Names are unique within a source, so filters are told apart by them. A new one comes last, so what is made in
//! order needs no arranging. What stands in the wrong order is made anew: OBS moves filters of sound and of the
//! picture past each other in steps that its answers do not tell.

use obws::requests::filters::{Create, SetEnabled, SetSettings};

use super::Error;
use super::capture::{Now, gone_is_none};
use super::link::{Lane, Link, several};
use super::restore::Work;
use super::wire::{canonical, object};
use crate::domain::studio::{Filter, Studio};

/// The filters of a source in their order; `None` if it is gone.
pub(super) async fn read(link: &Link, source: &str) -> Result<Option<Vec<Filter>>, Error> {
    let list = link
        .call("GetSourceFilterList", |client| async move {
            client.filters().list(source.into()).await
        })
        .await;
    let Some(mut list) = gone_is_none(list)? else {
        return Ok(None);
    };
    list.sort_by_key(|filter| filter.index);
    let filter = |read: obws::responses::filters::SourceFilter| Filter {
        settings: canonical(&read.settings),
        name: read.name,
        kind: read.kind,
        enabled: read.enabled,
    };
    let mut filters: Vec<Filter> = list.into_iter().map(filter).collect();
    filters.sort_by_key(Filter::is_drawn);
    Ok(Some(filters))
}

/// Of every source that is wanted, once all of them are there. Sources that OBS refused to make are left out: they
/// are differences already.
pub(super) async fn restore(work: &Work<'_>, want: &Studio, now: &Now) -> Result<(), Error> {
    let inputs = want.inputs.iter().map(|input| {
        let there = now.inputs.iter().find(|there| there.name == input.name);
        let there = there.map(|there| there.filters.as_slice());
        (input.name.as_str(), input.filters.as_slice(), there)
    });
    let scenes = want.scenes.iter().chain(&want.groups).map(|scene| {
        let mut there = now.scenes.iter().chain(&now.groups);
        let there = there.find(|there| there.name == scene.name);
        let there = there.map(|there| there.filters.as_slice());
        (scene.name.as_str(), scene.filters.as_slice(), there)
    });
    let changes = inputs.chain(scenes).filter_map(|(source, want, there)| {
        let there = there.unwrap_or_default();
        (want != there).then_some(Filters {
            work,
            source,
            want,
            there,
        })
    });
    several(changes.map(Filters::restore)).await.map(drop)
}

/// The filters of one source.
struct Filters<'a> {
    work: &'a Work<'a>,
    source: &'a str,
    want: &'a [Filter],
    there: &'a [Filter],
}

impl Filters<'_> {
    fn name(&self, filter: &str) -> String {
        format!("filter {filter:?} of {:?}", self.source)
    }

    async fn restore(self) -> Result<(), Error> {
        for drawn in [false, true] {
            self.restore_chain(drawn).await?;
        }
        Ok(())
    }

    /// Either those that are drawn, or the others. What is wanted from the first on stays, the rest is made.
    async fn restore_chain(&self, drawn: bool) -> Result<(), Error> {
        let chain = |filters: &[Filter]| -> Vec<Filter> {
            filters
                .iter()
                .filter(|filter| filter.is_drawn() == drawn)
                .cloned()
                .collect()
        };
        let (want, there) = (chain(self.want), chain(self.there));
        let pairs = want.iter().zip(&there);
        let stay = pairs
            .take_while(|(want, there)| (&want.name, &want.kind) == (&there.name, &there.kind))
            .count();
        for filter in &there[stay..] {
            self.remove(&filter.name).await?;
        }
        for (at, want) in want.iter().enumerate() {
            let enabled = if at < stay {
                self.settle(want, &there[at]).await?;
                there[at].enabled
            } else if self.create(want).await? {
                true
            } else {
                continue;
            };
            if enabled != want.enabled {
                self.enable(want).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, filter: &str) -> Result<(), Error> {
        let source = self.source;
        let what = || format!("{} is not wanted", self.name(filter));
        let request = |client: Lane| async move { client.filters().remove(source.into(), filter).await };
        self.work
            .remove("RemoveSourceFilter", what, request)
            .await
            .map(drop)
    }

    /// Whether it is there.
    async fn create(&self, want: &Filter) -> Result<bool, Error> {
        let Some(settings) = object(&want.settings) else {
            self.work.differs(format!(
                "settings of {} are not a JSON object",
                self.name(&want.name)
            ));
            return Ok(false);
        };
        let (source, settings) = (self.source, &settings);
        let request = |client: Lane| async move {
            let create = Create {
                source: source.into(),
                filter: &want.name,
                kind: &want.kind,
                settings: Some(settings),
            };
            client.filters().create(create).await
        };
        let what = || format!("{} of kind {}", self.name(&want.name), want.kind);
        let created = self.work.change("CreateSourceFilter", what, request).await?;
        Ok(created.is_some())
    }

    async fn settle(&self, want: &Filter, there: &Filter) -> Result<(), Error> {
        if want.settings == there.settings {
            return Ok(());
        }
        let Some(settings) = object(&want.settings) else {
            self.work.differs(format!(
                "settings of {} are not a JSON object",
                self.name(&want.name)
            ));
            return Ok(());
        };
        let (source, settings) = (self.source, &settings);
        let request = |client: Lane| async move {
            let change = SetSettings {
                source: source.into(),
                filter: &want.name,
                settings,
                // Settings that are not wanted go back to their defaults.
                overlay: Some(false),
            };
            client.filters().set_settings(change).await
        };
        let what = || format!("settings of {}", self.name(&want.name));
        self.work
            .change("SetSourceFilterSettings", what, request)
            .await
            .map(drop)
    }

    async fn enable(&self, want: &Filter) -> Result<(), Error> {
        let source = self.source;
        let request = |client: Lane| async move {
            let change = SetEnabled {
                source: source.into(),
                filter: &want.name,
                enabled: want.enabled,
            };
            client.filters().set_enabled(change).await
        };
        let what = || format!("whether {} is used", self.name(&want.name));
        self.work
            .change("SetSourceFilterEnabled", what, request)
            .await
            .map(drop)
    }
}
