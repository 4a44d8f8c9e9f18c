//! What is served is what the catalogue says, and what happened.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::json;
use understudy::domain::execution::{Deed, Ending};
use understudy::domain::ids::VmId;
use understudy::domain::vm::Status;
use understudy::infra::metrics::catalogue::ALL;
use understudy::sim::model::fault::CloudFault;

use crate::played::{played, text};
use crate::served::Served;
use crate::support::PLENTY;
use crate::support::eventually::eventually;
use crate::support::socketio::Script;

/// Every series without its figure, and its figure.
struct Page(BTreeMap<String, f64>);

impl Page {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, figure) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), figure.parse().unwrap())
        });
        Self(series.collect())
    }

    #[track_caller]
    fn figure(&self, series: &str) -> f64 {
        *self
            .0
            .get(series)
            .unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_of_the_catalogue_is_served_as_it_says_and_none_besides() {
    let served = played().await;
    let page = text(&served).await;
    let mut seen = BTreeSet::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix("# HELP ") else {
            continue;
        };
        let (name, help) = head.split_once(' ').unwrap();
        let definition = ALL.iter().find(|definition| definition.name == name);
        let definition = definition.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        assert_eq!(help, definition.help, "{name}");
        assert_eq!(
            lines.next(),
            Some(&*format!("# TYPE {name} {}", definition.kind.as_str()))
        );
        while let Some(series) = lines.next_if(|line| !line.starts_with('#')) {
            let labels = labels(series);
            let expected: BTreeSet<&str> = definition.labels.iter().copied().collect();
            assert_eq!(labels, expected, "{series}");
        }
        assert!(seen.insert(name), "{name} is there twice");
    }
    let missing: Vec<&str> = ALL
        .iter()
        .map(|definition| definition.name)
        .filter(|name| !seen.contains(name))
        .collect();
    assert!(missing.is_empty(), "nobody serves {missing:?}");
    served.stop().await;
}

/// The names of a series' labels, without the one that every histogram has.
fn labels(series: &str) -> BTreeSet<&str> {
    let Some((_, rest)) = series.split_once('{') else {
        return BTreeSet::new();
    };
    let (inner, _) = rest.rsplit_once('}').unwrap();
    let names = inner.split("\",").filter_map(|label| label.split_once("=\""));
    names.map(|(name, _)| name).filter(|name| *name != "le").collect()
}

/// As the ledger's record has it.
fn operations_that_succeeded(served: &Served) -> usize {
    let state = served.coordinator.state();
    let succeeded = state.executions().latest().filter(|execution| {
        let ending = execution.end.as_ref().map(|end| &end.ending);
        matches!(execution.deed, Deed::Operation { .. }) && ending == Some(&Ending::Exited { status: 0 })
    });
    succeeded.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_counted_once() {
    let served = played().await;
    let before = operations_that_succeeded(&served);
    let page = Page::read(&text(&served).await);
    let operations = page.figure("understudy_executions_total{deed=\"operation\",ending=\"succeeded\"}");
    assert!(before > 0 && (before..=operations_that_succeeded(&served)).contains(&(operations as usize)));
    for (series, expected) in [
        ("understudy_ready", 1.0),
        ("understudy_cloud_up", 1.0),
        ("understudy_ledger_up", 1.0),
        ("understudy_assignments_total{start=\"warm\"}", 2.0),
        ("understudy_assignments_total{start=\"cold\"}", 0.0),
        ("understudy_assign_duration_seconds_count{outcome=\"ok\"}", 2.0),
        ("understudy_failovers_begun_total{cause=\"studio-lost\"}", 1.0),
        (
            "understudy_failovers_total{cause=\"studio-lost\",ending=\"on-air\"}",
            1.0,
        ),
        ("understudy_show_off_air_duration_seconds_count", 1.0),
        (
            "understudy_failover_phase_duration_seconds_count{phase=\"restore\"}",
            1.0,
        ),
        ("understudy_show_on_air{show=\"finals\"}", 1.0),
        ("understudy_show_stream_wanted{show=\"finals\"}", 1.0),
        ("understudy_show_failing_over{show=\"finals\"}", 0.0),
        ("understudy_pool_shows{phase=\"on_air\"}", 1.0),
        ("understudy_pool_vms{status=\"in_use\"}", 1.0),
        ("understudy_pool_vms{status=\"stopped\"}", 1.0),
        (
            "understudy_http_request_duration_seconds_count{route=\"none\",method=\"GET\",status=\"4xx\"}",
            1.0,
        ),
        (
            "understudy_http_request_duration_seconds_count{route=\"/api/competitions/{compId}/vm/assign\",method=\"POST\",status=\"2xx\"}",
            2.0,
        ),
        // This scrape.
        ("understudy_http_requests_in_flight", 1.0),
    ] {
        assert_eq!(page.figure(series), expected, "{series}");
    }
    let off_air = page.figure("understudy_show_off_air_duration_seconds_sum");
    let record = served.coordinator.state().shows().next().unwrap().records[0].timeline();
    assert_eq!(off_air, record.off_air_ms.unwrap() as f64 / 1000.0);
    // Whatever the ledger says was committed was counted.
    let events = served.coordinator.state().seq.0 as f64;
    let counted = page.figure("understudy_ledger_events_total");
    assert!(counted > 0.0 && counted <= events, "{counted} of {events}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_absent_and_never_zero() {
    let served = Served::with(1, 1).await;
    let stopped = served.a_vm(Status::Stopped);
    let page = Page::read(&text(&served).await);
    let of_it: Vec<&String> = page.0.keys().filter(|series| series.contains(&stopped)).collect();
    assert_eq!(
        of_it,
        [&format!(
            "understudy_vm_status{{vm=\"{stopped}\",status=\"stopped\"}}"
        )]
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_that_asks_for_openmetrics_gets_it() {
    let served = Served::with(0, 0).await;
    let ask = |accept: &'static str| {
        served
            .request(Method::GET, "/metrics")
            .header(ACCEPT, accept)
            .send()
    };
    let open = ask("application/openmetrics-text;version=1.0.0,*/*;q=0.1")
        .await
        .unwrap();
    assert_eq!(
        open.headers()[CONTENT_TYPE],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let open = open.text().await.unwrap();
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE understudy_alerts counter\n"));
    let plain = ask("*/*").await.unwrap();
    assert_eq!(
        plain.headers()[CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let plain = plain.text().await.unwrap();
    assert!(!plain.contains("# EOF") && plain.contains("# TYPE understudy_alerts_total counter\n"));
    served.stop().await;
}

/// Waits until this series has at least this figure.
async fn until(served: &Served, series: &str, least: f64) {
    let what = format!("{series} is {least} or more");
    eventually(&what, PLENTY, async || {
        let page = Page::read(&text(served).await);
        page.0.get(series).filter(|figure| **figure >= least).copied()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_dies_is_counted_by_its_kind() {
    let served = Served::with(1, 0).await;
    let restarts = "understudy_actor_restarts_total{kind=\"vm\"}";
    assert_eq!(Page::read(&text(&served).await).figure(restarts), 0.0);
    let vm = VmId::new(served.a_vm(Status::Available)).unwrap();
    assert!(served.coordinator.kill_vm_actor(&vm));
    until(&served, restarts, 1.0).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_throttles_is_counted_and_told_from_one_that_is_away() {
    let served = Served::with(1, 0).await;
    let throttles = "understudy_cloud_throttles_total{call=\"list\"}";
    assert_eq!(Page::read(&text(&served).await).figure(throttles), 0.0);
    served.stage.world.cloud_fault(CloudFault::Throttled);
    until(&served, throttles, 1.0).await;
    until(
        &served,
        "understudy_cloud_call_duration_seconds_count{call=\"list\",outcome=\"throttled\"}",
        1.0,
    )
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_counted_by_its_feed_for_as_long_as_it_is_connected() {
    let served = Served::with(1, 0).await;
    let deltas = "understudy_sockets_connected{feed=\"deltas\"}";
    let snapshots = "understudy_sockets_connected{feed=\"snapshots\"}";
    let options = json!({"auth": {"deltas": true}});
    let mut one = Script::connected(&served.url(""), &options).await;
    let mut other = Script::connected(&served.url(""), &json!({})).await;
    let page = Page::read(&text(&served).await);
    assert_eq!((page.figure(deltas), page.figure(snapshots)), (1.0, 1.0));
    // Both hear of this one.
    let told = page.figure("understudy_socket_events_total");
    let vm = served.a_vm(Status::Available);
    served
        .post_json(
            &format!("/api/admin/vm-pool/{vm}/maintenance"),
            &json!({"enabled": true}),
        )
        .await
        .is(200);
    until(&served, "understudy_socket_events_total", told + 1.0).await;
    one.close().await;
    other.close().await;
    eventually("nobody is counted any more", PLENTY, async || {
        let page = Page::read(&text(&served).await);
        (page.figure(deltas) + page.figure(snapshots) == 0.0).then_some(())
    })
    .await;
    served.stop().await;
}
