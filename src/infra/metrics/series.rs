//! What is counted where it happens, made from the catalogue. Clones share their figures.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::catalogue::{Definition, Kind};

/// The values of a series' labels, in the catalogue's order. Whoever writes them down sees to it that there are few.
type Labels<V, const N: usize> = [(&'static str, V); N];

fn labels<V, const N: usize>(definition: &'static Definition, values: [V; N]) -> Labels<V, N> {
    let mut names = definition.labels.iter();
    values.map(|value| (names.next().copied().unwrap_or_default(), value))
}

/// Puts it into the registry under its name in the catalogue.
pub(super) fn register(registry: &mut Registry, definition: &Definition, metric: impl Metric) {
    // The library appends both.
    let name = definition.name.strip_suffix("_total").unwrap_or(definition.name);
    let help = definition.help.strip_suffix('.').unwrap_or(definition.help);
    registry.register(name, help, metric);
}

/// Counters with `N` labels, each series from its first count on.
#[derive(Debug, Clone)]
pub struct Counters<const N: usize> {
    definition: &'static Definition,
    family: Family<Labels<&'static str, N>, Counter>,
}

impl<const N: usize> Counters<N> {
    pub(super) fn new(definition: &'static Definition) -> Self {
        Self {
            definition,
            family: Family::default(),
        }
    }

    /// With series that are there from the start, so that the first count is seen as a rise.
    pub(super) fn starting(definition: &'static Definition, all: &[[&'static str; N]]) -> Self {
        let counters = Self::new(definition);
        for values in all {
            counters.add(*values, 0);
        }
        counters
    }

    pub fn count(&self, values: [&'static str; N]) {
        self.add(values, 1);
    }

    pub fn add(&self, values: [&'static str; N], by: u64) {
        self.family
            .get_or_create(&labels(self.definition, values))
            .inc_by(by);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        if N == 0 {
            let one = labels(self.definition, [""; N]);
            register(registry, self.definition, self.family.get_or_create_owned(&one));
        } else {
            register(registry, self.definition, self.family.clone());
        }
    }
}

/// Durations, or other sizes, with `N` labels.
#[derive(Debug, Clone)]
pub struct Histograms<const N: usize, V = &'static str>
where
    V: Clone + Eq + std::hash::Hash,
{
    definition: &'static Definition,
    family: Family<Labels<V, N>, Histogram, Buckets>,
}

/// Makes the histograms of a family.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(&'static [f64]);

impl prometheus_client::metrics::family::MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Buckets {
    pub(super) fn of(definition: &Definition) -> Self {
        match definition.kind {
            Kind::Histogram(bounds) => Self(bounds),
            Kind::Counter | Kind::Gauge => Self(&[]),
        }
    }
}

impl<const N: usize, V> Histograms<N, V>
where
    V: Clone + Eq + std::hash::Hash + Send + Sync + std::fmt::Debug + 'static,
    Labels<V, N>: EncodeLabelSet,
{
    pub(super) fn new(definition: &'static Definition) -> Self {
        Self {
            definition,
            family: Family::new_with_constructor(Buckets::of(definition)),
        }
    }

    pub fn took(&self, values: [V; N], took: Duration) {
        self.family
            .get_or_create(&labels(self.definition, values))
            .observe(took.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        register(registry, self.definition, self.family.clone());
    }
}

/// One histogram without labels, which is there from the start.
#[derive(Debug, Clone)]
pub struct Distribution {
    definition: &'static Definition,
    histogram: Histogram,
}

impl Distribution {
    pub(super) fn new(definition: &'static Definition) -> Self {
        let Buckets(bounds) = Buckets::of(definition);
        Self {
            definition,
            histogram: Histogram::new(bounds.iter().copied()),
        }
    }

    pub fn took(&self, took: Duration) {
        self.histogram.observe(took.as_secs_f64());
    }

    pub fn was(&self, size: usize) {
        self.histogram.observe(size as f64);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        register(registry, self.definition, self.histogram.clone());
    }
}

/// What goes up and down where it happens, with `N` labels.
#[derive(Debug, Clone)]
pub struct Levels<const N: usize> {
    definition: &'static Definition,
    family: Family<Labels<&'static str, N>, Gauge>,
}

impl<const N: usize> Levels<N> {
    pub(super) fn new(definition: &'static Definition, all: &[[&'static str; N]]) -> Self {
        let levels = Self {
            definition,
            family: Family::default(),
        };
        for values in all {
            levels.add(*values, 0);
        }
        levels
    }

    pub fn rise(&self, values: [&'static str; N]) {
        self.add(values, 1);
    }

    pub fn fall(&self, values: [&'static str; N]) {
        self.add(values, -1);
    }

    fn add(&self, values: [&'static str; N], by: i64) {
        self.family
            .get_or_create(&labels(self.definition, values))
            .inc_by(by);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        if N == 0 {
            let one = labels(self.definition, [""; N]);
            register(registry, self.definition, self.family.get_or_create_owned(&one));
        } else {
            register(registry, self.definition, self.family.clone());
        }
    }
}
