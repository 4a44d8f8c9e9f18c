//! Traces, sent to an OpenTelemetry collector: OTLP over HTTP, in protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! A trace is a command or a failover with everything that is done for it. What belongs to neither, such as the probes,
//! is not sent. The exporter has a thread and a queue of its own and nobody waits for either: what the queue cannot hold
//! is dropped, and so is what the collector does not take in time. Both are counted, and told once and not each time.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracer,
    SdkTracerProvider, ShouldSample, SpanData, SpanExporter,
};

use crate::config::Otlp;
use crate::domain::studio::Secret;
use crate::infra::causes::with_causes;

/// Spans that begin a trace; all others belong to one or to none.
const ROOTS: [&str; 3] = ["request", "event", "failover"];
/// Longest that a span waits for company.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Limit on sending what is left at the end.
const FAREWELL: Duration = Duration::from_secs(3);
/// Where traces go at a collector (OTLP/HTTP, "Request").
const PATH: &str = "/v1/traces";
const USER_AGENT: &str = concat!("understudy/", env!("CARGO_PKG_VERSION"));

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("otlp.headers is not NAME=VALUE, several of them separated by commas")]
    Headers,
    #[error("the exporter of traces cannot be set up: {0}")]
    Exporter(String),
}

/// Why a collector did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum Unsent {
    #[error("the collector answers {0}")]
    Status(u16),
    #[error("the collector cannot be reached: {0}")]
    Unreachable(String),
    #[error("{0}")]
    SetUp(String),
}

/// Sends a request without a span: OTLP asks a server to answer an empty request with success. Nothing becomes of it.
///
/// # Errors
/// [`Unsent`].
pub async fn send_nothing(endpoint: &str, config: &Otlp) -> Result<(), Unsent> {
    let set_up = |error: &dyn fmt::Display| Unsent::SetUp(error.to_string());
    let headers = headers(config.headers.as_ref()).map_err(|error| set_up(&error))?;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(config.timeout)
        .user_agent(USER_AGENT)
        .build()
        .map_err(|error| set_up(&error))?;
    let request = headers.iter().fold(
        client
            .post(url(endpoint))
            .header("content-type", "application/x-protobuf")
            .body(Vec::new()),
        |request, (name, value)| request.header(name, value),
    );
    let answer = request.send().await;
    let status = answer
        .map_err(|error| Unsent::Unreachable(with_causes(&error)))?
        .status();
    if status.is_success() {
        Ok(())
    } else {
        Err(Unsent::Status(status.as_u16()))
    }
}

fn url(endpoint: &str) -> String {
    format!("{}{PATH}", endpoint.trim_end_matches('/'))
}

/// Sends what is left when it is dropped, for a few seconds at most.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sets the exporter up; the collector need not be there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn to(endpoint: &str, config: &Otlp) -> Result<Self, Error> {
        let exporter = Counting {
            // Its HTTP client blocks, and must not be made on a thread of the runtime.
            to_collector: thread::scope(|threads| {
                let made = threads.spawn(|| exporter(endpoint, config)).join();
                made.unwrap_or_else(|_| Err(Error::Exporter("its thread died".to_owned())))
            })?,
            lost: AtomicU64::new(0),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(config.queue_max)
            .with_max_export_batch_size(config.queue_max.min(512))
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let resource = Resource::builder()
            .with_service_name("understudy")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Flows {
                share: Sampler::TraceIdRatioBased(config.sample_ratio),
            })
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    #[must_use]
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer("understudy")
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FAREWELL) {
            tracing::info!(%error, "the last traces were not sent");
        }
    }
}

fn exporter(endpoint: &str, config: &Otlp) -> Result<opentelemetry_otlp::SpanExporter, Error> {
    let failed = |error: &dyn fmt::Display| Error::Exporter(error.to_string());
    // Another host than the one that is configured must not get the headers.
    let client = reqwest::blocking::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(config.timeout)
        .user_agent(USER_AGENT)
        .build()
        .map_err(|error| failed(&error))?;
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url(endpoint))
        .with_timeout(config.timeout)
        .with_headers(headers(config.headers.as_ref())?)
        .build()
        .map_err(|error| failed(&error))
}

/// `NAME=VALUE,NAME=VALUE`, as other exporters of OTLP read them.
fn headers(text: Option<&Secret>) -> Result<HashMap<String, String>, Error> {
    let pairs = text.map_or("", Secret::expose).split(',').map(str::trim);
    pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or(Error::Headers)?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Sends, and counts what was not taken.
#[derive(Debug)]
struct Counting {
    to_collector: opentelemetry_otlp::SpanExporter,
    /// Spans since it last worked.
    lost: AtomicU64,
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.to_collector.export(batch).await;
        match &result {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::info!(lost, "traces are taken again; these spans were lost meanwhile");
                }
            }
            Err(error) => {
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        %error, spans,
                        "the collector does not take traces; they are lost until it does, and nothing else is affected"
                    );
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.to_collector.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.to_collector.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.to_collector.set_resource(resource);
    }
}

/// A share of the commands and failovers, each whole or not at all.
#[derive(Debug, Clone)]
struct Flows {
    share: Sampler,
}

impl ShouldSample for Flows {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let decided = |decision| SamplingResult {
            decision,
            attributes: Vec::new(),
            trace_state: TraceState::default(),
        };
        match parent.filter(|parent| parent.has_active_span()) {
            Some(parent) if parent.span().span_context().is_sampled() => {
                decided(SamplingDecision::RecordAndSample)
            }
            Some(_) => decided(SamplingDecision::Drop),
            None if ROOTS.contains(&name) => self
                .share
                .should_sample(None, trace, name, kind, attributes, links),
            None => decided(SamplingDecision::Drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_other_exporters_read_them() {
        let read = |text: &str| headers(Some(&Secret::new(text)));
        let two = read("authorization=Bearer a=b, x-team = shows").unwrap();
        assert_eq!(
            (two["authorization"].as_str(), two["x-team"].as_str()),
            ("Bearer a=b", "shows")
        );
        assert!(headers(None).unwrap().is_empty());
        let error = read("hush-hush").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"));
    }

    #[test]
    fn only_commands_and_failovers_begin_a_trace() {
        let flows = Flows {
            share: Sampler::TraceIdRatioBased(1.0),
        };
        let trace = TraceId::from(7_u128);
        let decision = |name| {
            flows
                .should_sample(None, trace, name, &SpanKind::Internal, &[], &[])
                .decision
        };
        for root in ROOTS {
            assert_eq!(decision(root), SamplingDecision::RecordAndSample, "{root}");
        }
        for other in ["link", "vm", "show", "commit"] {
            assert_eq!(decision(other), SamplingDecision::Drop, "{other}");
        }
    }
}
