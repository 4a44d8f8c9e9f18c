//! What is read at the moment of a scrape instead of being counted.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::catalogue::{Definition, Kind};

/// Where figures are written that were just read.
pub struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// Writes one family: `series` is called with what takes each series, its labels' values and its figure.
    ///
    /// # Errors
    /// Only what `series` returns.
    pub fn family(
        &mut self,
        definition: &'static Definition,
        series: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let (name, kind) = match definition.kind {
            Kind::Counter => {
                let name = definition.name.strip_suffix("_total").unwrap_or(definition.name);
                (name, MetricType::Counter)
            }
            Kind::Gauge | Kind::Histogram(_) => (definition.name, MetricType::Gauge),
        };
        let encoder = self.0.encode_descriptor(name, definition.help, None, kind)?;
        series(&mut Family { definition, encoder })
    }

    /// A family of one series without labels.
    ///
    /// # Errors
    /// As [`Page::family`].
    pub fn figure(&mut self, definition: &'static Definition, figure: f64) -> fmt::Result {
        self.family(definition, |family| family.series(&[], figure))
    }

    /// As [`Page::figure`], for what may not be known: then there is no such family on the page.
    ///
    /// # Errors
    /// As [`Page::family`].
    pub fn figure_if_known(&mut self, definition: &'static Definition, figure: Option<f64>) -> fmt::Result {
        figure.map_or(Ok(()), |figure| self.figure(definition, figure))
    }
}

/// One family on the page.
pub struct Family<'a> {
    definition: &'static Definition,
    encoder: MetricEncoder<'a>,
}

impl Family<'_> {
    /// Writes one series, its labels' values in the catalogue's order.
    ///
    /// # Errors
    /// None that a text in memory has.
    pub fn series(&mut self, values: &[&str], figure: f64) -> fmt::Result {
        let labels = Labels {
            names: self.definition.labels,
            values,
        };
        if values.is_empty() {
            return write(&mut self.encoder, self.definition.kind, figure);
        }
        write(
            &mut self.encoder.encode_family(&labels)?,
            self.definition.kind,
            figure,
        )
    }
}

fn write(encoder: &mut MetricEncoder<'_>, kind: Kind, figure: f64) -> fmt::Result {
    match kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&figure, None),
        Kind::Gauge | Kind::Histogram(_) => encoder.encode_gauge(&figure),
    }
}

struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.names.iter().zip(self.values) {
            (*name, *value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// Lets the library's encoder reach what reads.
pub(super) struct Reading<R>(pub R);

impl<R> fmt::Debug for Reading<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

impl<R> Collector for Reading<R>
where
    R: Fn(&mut Page<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Page(encoder))
    }
}
