//! The dashboards and alerts that are shipped name metrics that there are, and each alert is proven both ways.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use understudy::infra::metrics::catalogue::{ALL, Kind};

use crate::promtool::promtool;

pub const DASHBOARDS: [&str; 4] = ["overview", "failovers", "vm", "coordinator"];

pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One query of a panel.
#[derive(Debug)]
pub struct Query {
    pub panel: String,
    pub promql: String,
}

/// Every query of the panels of a dashboard.
pub fn queries(dashboard: &str) -> Vec<Query> {
    let document: Value = serde_json::from_str(&read(&format!("config/grafana/{dashboard}.json"))).unwrap();
    let panels = document["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        targets.iter().map(move |target| Query {
            panel: format!("{dashboard}: {title}"),
            promql: target["expr"].as_str().unwrap().to_owned(),
        })
    });
    queries.collect()
}

/// The names in a text that look like ours.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("understudy_") || word.starts_with("process_"))
        .collect()
}

/// A series of a family: its own name, or a histogram's parts.
fn is_served(name: &str) -> bool {
    ALL.iter().any(|definition| match definition.kind {
        Kind::Counter | Kind::Gauge => name == definition.name,
        Kind::Histogram(_) => name
            .strip_prefix(definition.name)
            .is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part)),
    })
}

#[test]
fn whatever_dashboards_and_alerts_ask_for_is_served() {
    let files = DASHBOARDS.map(|dashboard| format!("config/grafana/{dashboard}.json"));
    let others = [
        "config/prometheus/alerts.yml",
        "config/prometheus/alerts_test.yml",
    ];
    for file in files.iter().map(String::as_str).chain(others) {
        let text = read(file);
        let names = names(&text);
        assert!(names.len() > 5, "{file} asks for nothing");
        let unknown: Vec<&&str> = names.iter().filter(|name| !is_served(name)).collect();
        assert!(
            unknown.is_empty(),
            "{file} asks for {unknown:?}, which nobody serves"
        );
    }
}

#[test]
fn every_panel_asks_for_something_and_has_a_name_of_its_own() {
    for dashboard in DASHBOARDS {
        let queries = queries(dashboard);
        assert!(queries.len() > 8, "{dashboard}");
        assert!(
            queries.iter().all(|query| !names(&query.promql).is_empty()),
            "{dashboard}"
        );
    }
}

/// What stands behind this at the beginning of lines.
fn listed<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim_start);
    lines
        .filter_map(|line| line.strip_prefix(mark))
        .map(str::trim)
        .collect()
}

#[test]
fn every_alert_is_proven_both_ways_and_says_what_to_do() {
    let (rules, tests, page) = (
        read("config/prometheus/alerts.yml"),
        read("config/prometheus/alerts_test.yml"),
        read("docs/metrics.md"),
    );
    let alerts = listed(&rules, "- alert: ");
    let (proven, headings) = (listed(&tests, "- name: "), listed(&page, "### "));
    assert!(alerts.len() >= 20);
    for alert in &alerts {
        for what in ["rings", "is silent in peace"] {
            assert!(
                proven.contains(&&*format!("{alert} {what}")),
                "no test that {alert} {what}"
            );
        }
        assert!(
            headings.contains(alert),
            "docs/metrics.md does not say what to do about {alert}"
        );
        let runbook = format!("runbook: docs/metrics.md#{}", alert.to_lowercase());
        assert!(rules.contains(&runbook), "{alert} does not point there");
    }
    assert_eq!(
        proven.len(),
        2 * alerts.len(),
        "tests of alerts that are not there"
    );
}

#[tokio::test]
async fn promtool_accepts_the_rules_and_the_example_and_proves_the_alerts() {
    let said = promtool(&["check", "rules", "config/prometheus/alerts.yml"], "").await;
    assert!(said.contains("SUCCESS"), "{said}");
    let said = promtool(&["check", "config", "config/prometheus/prometheus.yml"], "").await;
    assert!(said.contains("is valid"), "{said}");
    let said = promtool(&["test", "rules", "config/prometheus/alerts_test.yml"], "").await;
    assert!(said.contains("SUCCESS"), "{said}");
}
