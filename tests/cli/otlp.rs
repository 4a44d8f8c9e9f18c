//! Traces, as a collector gets them: from a real coordinator, read with the protocol's own types.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::doctor;
use crate::program::run;
use crate::real::Theatre;
use crate::support::eventually::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

/// What came with each request: its head, and its spans.
type Kept = Arc<Mutex<Vec<(HeaderMap, Vec<Span>)>>>;

/// Takes traces over HTTP as a collector does, refuses them, or says nothing.
struct Collector {
    endpoint: String,
    kept: Kept,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start(status: Option<StatusCode>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Kept::default();
        let shared = Arc::clone(&kept);
        let took = move |head: HeaderMap, body: Bytes| take(Arc::clone(&shared), head, body, status);
        let routes = Router::new().route("/v1/traces", post(took));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { endpoint, kept, task }
    }

    fn spans(&self) -> Vec<Span> {
        let kept = self.kept.lock().unwrap();
        kept.iter().flat_map(|(_, spans)| spans.clone()).collect()
    }

    fn heads(&self) -> Vec<HeaderMap> {
        let kept = self.kept.lock().unwrap();
        kept.iter().map(|(head, _)| head.clone()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps what came, and answers it or lets whoever asked wait until they go.
async fn take(kept: Kept, head: HeaderMap, body: Bytes, status: Option<StatusCode>) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).expect("protobuf of the protocol");
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans).collect();
    kept.lock().unwrap().push((head, spans));
    match status {
        Some(status) => status,
        None => std::future::pending().await,
    }
}

fn text<'s>(span: &'s Span, name: &str) -> Option<&'s str> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The names from the root to this span.
fn lineage(span: &Span, by_id: &BTreeMap<Vec<u8>, Span>) -> Vec<String> {
    let mut names = vec![span.name.clone()];
    let mut parent = by_id.get(&span.parent_span_id);
    while let Some(span) = parent {
        names.push(span.name.clone());
        parent = by_id.get(&span.parent_span_id);
    }
    names.reverse();
    names
}

async fn theatre(collector: &str, headers: &str, log: Stdio) -> Theatre {
    let environment = [
        ("UNDERSTUDY__OTLP__ENDPOINT", collector),
        ("UNDERSTUDY__OTLP__HEADERS", headers),
    ];
    let theatre = Theatre::on(Theatre::stage().await, &environment, &["--json"], log);
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    theatre
}

#[tokio::test]
async fn an_assignment_is_one_tree_from_the_request_to_the_ledger() {
    let collector = Collector::start(Some(StatusCode::OK)).await;
    let theatre = theatre(&collector.endpoint, "authorization=Bearer sesame", Stdio::null()).await;
    let answer = reqwest::Client::new()
        .post(format!("{}/api/competitions/finals/vm/assign", theatre.url))
        .header("x-request-id", "assign-1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let wanted = ["request", "show", "vm", "commit"];
    let tree = eventually("the whole tree", PATIENCE, async || {
        let spans = collector.spans();
        let root = spans
            .iter()
            .find(|span| text(span, "request_id") == Some("assign-1"))?;
        let tree: BTreeMap<Vec<u8>, Span> = spans
            .iter()
            .filter(|span| span.trace_id == root.trace_id)
            .map(|span| (span.span_id.clone(), span.clone()))
            .collect();
        let is_whole = tree.values().any(|span| lineage(span, &tree) == wanted);
        is_whole.then_some(tree)
    })
    .await;
    let roots: Vec<&Span> = tree
        .values()
        .filter(|span| span.parent_span_id.is_empty())
        .collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    assert_eq!(roots[0].name, "request");
    let is_there = |names: &[&str]| tree.values().any(|span| lineage(span, &tree) == names);
    assert!(is_there(&["request", "show", "pool"]), "the show asks the pool");
    let vm = tree
        .values()
        .find(|span| lineage(span, &tree) == wanted[..3])
        .unwrap();
    assert!(text(vm, "vm").unwrap().starts_with("vm-"));
    for span in tree.values() {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    // Nothing that nobody asked for.
    let all = collector.spans();
    for span in all.iter().filter(|span| span.parent_span_id.is_empty()) {
        assert!(
            ["request", "event", "failover"].contains(&span.name.as_str()),
            "{span:#?}"
        );
    }
    let heads = collector.heads();
    assert_eq!(heads[0]["authorization"], "Bearer sesame", "{heads:?}");
    assert!(!format!("{all:?}").contains("sesame"));
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_once_and_nothing_else_notices() {
    let collector = Collector::start(Some(StatusCode::FORBIDDEN)).await;
    let stage = Theatre::stage().await;
    let log = stage.dir().join("log");
    let environment = [
        ("UNDERSTUDY__OTLP__ENDPOINT", collector.endpoint.as_str()),
        ("UNDERSTUDY__OTLP__HEADERS", "authorization=Bearer sesame"),
    ];
    let file = std::fs::File::create(&log).unwrap();
    let theatre = Theatre::on(stage, &environment, &["--json"], file.into());
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    let told = "the collector does not take traces";
    eventually("several batches were refused", PATIENCE, async || {
        theatre.ask(&["status"]).await.answer();
        (collector.heads().len() >= 3).then_some(())
    })
    .await;
    theatre.ask(&["assign", "finals"]).await.answer();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert!(
        !text.contains("opentelemetry"),
        "the exporter tells it, too: {text}"
    );
    assert!(!text.contains("sesame"), "{text}");
}

#[tokio::test]
async fn a_collector_that_is_silent_is_not_waited_for_and_what_is_dropped_is_counted() {
    let collector = Collector::start(None).await;
    let stage = Theatre::stage().await;
    let log = stage.dir().join("log");
    let environment = [
        ("UNDERSTUDY__OTLP__ENDPOINT", collector.endpoint.as_str()),
        ("UNDERSTUDY__OTLP__TIMEOUT", "1m"),
        ("UNDERSTUDY__OTLP__QUEUE_MAX", "16"),
    ];
    let file = std::fs::File::create(&log).unwrap();
    let mut theatre = Theatre::on(stage, &environment, &["--json"], file.into());
    let told = || std::fs::read_to_string(&log).unwrap();
    eventually("the queue overflows", PATIENCE, async || {
        theatre.ask(&["status"]).await;
        told().contains("SpanDroppingStarted").then_some(())
    })
    .await;
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    theatre.ask(&["assign", "finals"]).await.answer();
    crate::live::interrupt(&theatre.coordinator).await;
    let ended = tokio::time::timeout(PATIENCE, theatre.coordinator.wait()).await;
    assert!(ended.expect("it does not stop").unwrap().success());
    let text = told();
    assert_eq!(text.matches("SpanDroppingStarted").count(), 1, "{text}");
    assert!(text.contains("dropped_span_count"), "{text}");
}

#[tokio::test]
async fn a_collector_that_is_away_ends_nothing_not_even_the_end() {
    // Bound and let go again: nobody answers there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut theatre = theatre(&format!("http://{nobody}"), "", Stdio::null()).await;
    theatre.ask(&["assign", "finals"]).await.answer();
    crate::live::interrupt(&theatre.coordinator).await;
    let ended = tokio::time::timeout(PATIENCE, theatre.coordinator.wait()).await;
    assert!(ended.expect("it does not stop").unwrap().success());
}

#[tokio::test]
async fn doctor_says_whether_the_collector_takes_traces_and_what_to_mend_if_it_does_not() {
    let stage = Theatre::stage().await;
    let looked = async |endpoint: &str| {
        let traces = [
            ("UNDERSTUDY__OTLP__ENDPOINT", endpoint),
            ("UNDERSTUDY__OTLP__HEADERS", "authorization=open sesame"),
        ];
        let environment = doctor::environment(&stage, "127.0.0.1:1", &traces);
        let checked = doctor::doctor(&environment, &["--json"]).await;
        assert!(!checked.stderr.contains("sesame") && !checked.stdout.contains("sesame"));
        doctor::findings(&checked, "traces").remove(0)
    };
    let collector = Collector::start(Some(StatusCode::OK)).await;
    let found = looked(&collector.endpoint).await;
    doctor::says(&found, "verdict", "pass");
    assert_eq!(collector.heads()[0]["authorization"], "open sesame");
    assert_eq!(collector.spans(), []);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let strict = Collector::start(Some(StatusCode::UNAUTHORIZED)).await;
    let doubled = format!("{}/v1/traces", collector.endpoint);
    for (endpoint, advice) in [
        (&away, "4317 is gRPC's"),
        (&strict.endpoint, "UNDERSTUDY__OTLP__HEADERS"),
        (&doubled, "without the /v1/traces"),
    ] {
        let found = looked(endpoint).await;
        doctor::says(&found, "verdict", "warn");
        doctor::says(&found, "advice", advice);
    }
}

#[tokio::test]
async fn headers_that_are_none_are_refused_without_repeating_them() {
    for none in [
        "hush-hush",
        "a=b,",
        "=hush-hush",
        "host=hush",
        "Content-Length=5",
        "hush hush=b",
        "a=hush\u{7}",
    ] {
        let environment = [("UNDERSTUDY__OTLP__HEADERS", none)];
        for command in ["serve", "check-config"] {
            let refused = run(&environment, &[command]).await;
            assert!(refused.failed(2).contains("otlp.headers"), "{none}: {refused:?}");
            assert!(!refused.stderr.contains("hush"), "{none}: {refused:?}");
        }
    }
}
