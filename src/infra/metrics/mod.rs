//! What Prometheus reads: figures that are counted where things happen, and figures that are read when it asks.
//!
//! [`catalogue`] says what there is. A registry belongs to one node, there may be several in a process; whoever counts
//! holds a clone of its part. Counting is an atomic addition, or a short lock for a duration; nothing here waits.
//!
//! It deliberately does not know where figures come from that are read at a scrape: whoever serves one brings what
//! reads them ([`Metrics::text`]).

pub mod catalogue;
mod cloud;
mod ledger;
mod page;
mod process;
mod series;
mod text;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use self::catalogue as c;
pub use self::cloud::CountedCloud;
pub use self::ledger::LedgerMetrics;
use self::page::Reading;
pub use self::page::{Family, Page};
pub use self::series::{Counters, Distribution, Histograms, Levels};
pub use self::text::Format;

/// Everything that is counted in one node. Cheap to clone; clones share the figures.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Figures>);

#[derive(Debug)]
pub struct Figures {
    pub assign_duration: Histograms<1>,
    pub release_duration: Histograms<1>,
    pub probe_duration: Histograms<1>,
    pub probe_lateness: Distribution,
    pub actor_restarts: Counters<1>,
    pub actor_give_ups: Counters<1>,
    pub alerts: Counters<1>,
    pub cloud_call_duration: Histograms<2>,
    pub cloud_throttles: Counters<1>,
    pub sockets: Levels<1>,
    pub socket_events: Counters<0>,
    pub socket_events_dropped: Counters<0>,
    pub sockets_cut: Counters<1>,
    /// The template of a route is not known before there are routes.
    pub http_duration: Histograms<3, String>,
    pub http_in_flight: Levels<0>,
    registry: Registry,
}

impl std::ops::Deref for Metrics {
    type Target = Figures;

    fn deref(&self) -> &Figures {
        &self.0
    }
}

impl Metrics {
    /// The figures of a node over a ledger, which has been counting since it was opened.
    #[must_use]
    pub fn new(ledger: &LedgerMetrics) -> Self {
        let mut figures = Figures {
            assign_duration: Histograms::new(&c::ASSIGN_DURATION),
            release_duration: Histograms::new(&c::RELEASE_DURATION),
            probe_duration: Histograms::new(&c::PROBE_DURATION),
            probe_lateness: Distribution::new(&c::PROBE_LATENESS),
            actor_restarts: Counters::starting(&c::ACTOR_RESTARTS, KINDS),
            actor_give_ups: Counters::starting(&c::ACTOR_GIVE_UPS, KINDS),
            alerts: Counters::starting(&c::ALERTS, &[["critical"], ["warning"], ["info"]]),
            cloud_call_duration: Histograms::new(&c::CLOUD_CALL_DURATION),
            cloud_throttles: Counters::starting(&c::CLOUD_THROTTLES, cloud::CALLS),
            sockets: Levels::new(&c::SOCKETS, &[["deltas"], ["snapshots"]]),
            socket_events: Counters::starting(&c::SOCKET_EVENTS, &[[]]),
            socket_events_dropped: Counters::starting(&c::SOCKET_EVENTS_DROPPED, &[[]]),
            sockets_cut: Counters::starting(&c::SOCKETS_CUT, &[["slow"], ["full"]]),
            http_duration: Histograms::new(&c::HTTP_DURATION),
            http_in_flight: Levels::new(&c::HTTP_IN_FLIGHT, &[[]]),
            registry: Registry::default(),
        };
        let mut registry = Registry::default();
        figures.register(&mut registry);
        ledger.register(&mut registry);
        figures.registry = registry;
        Self(Arc::new(figures))
    }

    /// Everything as text: what was counted, what `read` writes, and what the kernel says of this process. Reads files
    /// of `/proc`, and takes its time with a large pool: not for the runtime's own threads.
    ///
    /// # Errors
    /// Only what `read` returns.
    pub fn text(
        &self,
        format: Format,
        read: impl Fn(&mut Page<'_>) -> fmt::Result + Send + Sync + 'static,
    ) -> Result<String, fmt::Error> {
        let mut now = Registry::default();
        now.register_collector(Box::new(Reading(read)));
        now.register_collector(Box::new(Reading(process::write)));
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &now)?;
        encode_eof(&mut text)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Prometheus => text::as_prometheus(&text),
        })
    }
}

/// Kinds of actors that are restarted.
const KINDS: &[[&str; 1]] = &[
    ["vm"],
    ["show"],
    ["probe"],
    ["obs"],
    ["ssh"],
    ["stalls"],
    ["machines"],
    ["shows"],
    ["executions"],
    ["pool"],
    ["cloud"],
    ["gateway"],
];

impl Figures {
    fn register(&self, registry: &mut Registry) {
        self.assign_duration.register(registry);
        self.release_duration.register(registry);
        self.probe_duration.register(registry);
        self.probe_lateness.register(registry);
        self.actor_restarts.register(registry);
        self.actor_give_ups.register(registry);
        self.alerts.register(registry);
        self.cloud_call_duration.register(registry);
        self.cloud_throttles.register(registry);
        self.sockets.register(registry);
        self.socket_events.register(registry);
        self.socket_events_dropped.register(registry);
        self.sockets_cut.register(registry);
        self.http_duration.register(registry);
        self.http_in_flight.register(registry);
    }
}
