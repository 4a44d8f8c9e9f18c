//! A real Prometheus scrapes a real coordinator, and everything that the dashboards ask has an answer.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::played::played;
use crate::shipped::{DASHBOARDS, queries, shipped};
use crate::support::PLENTY;
use crate::support::eventually::eventually;

/// Until everything has been scraped twice, on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Ends with its owner.
struct Prometheus {
    address: SocketAddr,
    http: reqwest::Client,
    _process: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// With the alerts that are shipped; everything happens every second.
    fn scraping(target: SocketAddr) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = String::from("global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n");
        let rules = shipped("config/prometheus/alerts.yml");
        writeln!(config, "rule_files: [\"{}\"]", rules.display()).unwrap();
        writeln!(
            config,
            "scrape_configs:\n  - job_name: understudy\n    static_configs:\n      - targets: [\"{target}\"]"
        )
        .unwrap();
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let address = {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            free.local_addr().unwrap()
        };
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is missing: scripts/setup-test installs it (Debian's package prometheus)");
        Self {
            address,
            http: reqwest::Client::builder().timeout(PLENTY).build().unwrap(),
            _process: process,
            _folder: folder,
        }
    }

    /// What its API answers; `None` while it does not.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let url = Url::parse_with_params(&url, parameters).unwrap();
        self.http.get(url).send().await.ok()?.json().await.ok()
    }

    /// How many series a query gives.
    async fn count(&self, promql: &str) -> Option<usize> {
        let answer = self.ask("query", &[("query", promql)]).await?;
        assert_eq!(answer["status"], "success", "{promql}: {answer}");
        answer["data"]["result"].as_array().map(Vec::len)
    }
}

/// As Grafana fills it in for one VM and every coordinator.
fn filled_in(promql: &str, vm: &str) -> String {
    promql
        .replace("$__rate_interval", "1m")
        .replace("$__range", "1h")
        .replace("$instance", ".+")
        .replace("$vm", vm)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_every_dashboard_has_data() {
    let served = played().await;
    let vm = served
        .until("the show has its VM", |state| {
            state.placed_shows().next()?.vm.clone()
        })
        .await;
    let prometheus = Prometheus::scraping(served.address);
    for query in DASHBOARDS.into_iter().flat_map(queries) {
        let promql = filled_in(&query.promql, vm.as_str());
        assert!(!promql.contains('$'), "{promql}");
        let what = format!("{} has data: {promql}", query.panel);
        eventually(&what, LIMIT, async || {
            prometheus.count(&promql).await.filter(|count| *count > 0)
        })
        .await;
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_can_be_evaluated_over_what_is_served() {
    let served = played().await;
    let prometheus = Prometheus::scraping(served.address);
    let scraped = async || {
        prometheus
            .count("understudy_build_info")
            .await
            .filter(|count| *count == 1)
    };
    eventually("it is scraped", LIMIT, scraped).await;
    let since = now();
    let rules = eventually("every rule was evaluated after that", LIMIT, async || {
        let rules = prometheus.ask("rules", &[]).await?;
        let rules = rules["data"]["groups"][0]["rules"].as_array()?.clone();
        let evaluated = |rule: &Value| {
            let at = rule["lastEvaluation"]
                .as_str()
                .and_then(|at| at.parse::<jiff::Timestamp>().ok());
            at.is_some_and(|at| at > since)
        };
        rules.iter().all(evaluated).then_some(rules)
    })
    .await;
    assert!(rules.len() >= 20);
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
    served.stop().await;
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
