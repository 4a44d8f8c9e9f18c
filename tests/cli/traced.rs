//! One command, followed through a real coordinator's log by the id of its request.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use understudy::sim::model::fault::Fault;

use crate::real::Theatre;
use crate::support::eventually::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator that logs everything of its own as JSON lines into a file.
struct Traced {
    theatre: Theatre,
    log: PathBuf,
}

impl Traced {
    async fn open() -> Self {
        let stage = Theatre::stage().await;
        let log = stage.dir().join("log");
        let file = File::create(&log).unwrap();
        let environment = [
            ("UNDERSTUDY__LOG__FORMAT", "json"),
            ("UNDERSTUDY__LOG__FILTER", "understudy=debug,warn"),
        ];
        let theatre = Theatre::on(stage, &environment, &[], file.into());
        theatre
            .until("two VMs are there", &["status"], "● 2 available")
            .await;
        Self { theatre, log }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Every whole line until now.
    fn lines(&self) -> Vec<Line> {
        let text = self.text();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(Line::parse).collect()
    }

    /// The lines under this id, once there is one with this message from this part of the program.
    async fn until(&self, id: &str, target: &str, message: &str) -> Vec<Line> {
        eventually(
            &format!("{message} ({target}) under {id}"),
            PATIENCE,
            async || {
                let lines: Vec<Line> = self
                    .lines()
                    .into_iter()
                    .filter(|line| line.request() == Some(id))
                    .collect();
                let is_there = lines
                    .iter()
                    .any(|line| line.target().starts_with(target) && line.0["message"] == message);
                is_there.then_some(lines)
            },
        )
        .await
    }

    async fn post(&self, path: &str, id: &str) -> reqwest::Response {
        reqwest::Client::new()
            .post(format!("{}{path}", self.theatre.url))
            .header("x-request-id", id)
            .send()
            .await
            .unwrap()
    }
}

#[derive(Debug)]
struct Line(Value);

impl Line {
    fn parse(text: &str) -> Self {
        // Of two fields with one name most readers keep the last.
        assert_eq!(text.matches("\"message\":").count(), 1, "{text}");
        Self(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn target(&self) -> &str {
        self.0["target"].as_str().unwrap()
    }

    fn spans(&self) -> &[Value] {
        self.0["spans"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The request that it belongs to. Never two.
    fn request(&self) -> Option<&str> {
        let ids: BTreeSet<&str> = self
            .spans()
            .iter()
            .filter_map(|span| span["request_id"].as_str())
            .collect();
        assert!(ids.len() <= 1, "{self:?}");
        ids.first().copied()
    }

    /// What its spans say of this field.
    fn says(&self, field: &str) -> BTreeSet<&str> {
        self.spans()
            .iter()
            .filter_map(|span| span[field].as_str())
            .collect()
    }
}

fn targets(lines: &[Line]) -> BTreeSet<&str> {
    lines.iter().map(Line::target).collect()
}

#[tokio::test]
async fn an_assignment_is_in_the_log_of_every_part_under_the_id_of_its_request() {
    let traced = Traced::open().await;
    let answer = traced
        .post("/api/competitions/finals/vm/assign", "assign-1")
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-request-id"], "assign-1");
    let answer: Value = answer.json().await.unwrap();
    let vm = answer["vmId"].as_str().unwrap();

    let lines = traced
        .until("assign-1", "understudy::api::front", "answered")
        .await;
    let targets = targets(&lines);
    for part in [
        "understudy::api::front",
        "understudy::actors::pool",
        "understudy::actors::show::assignment",
        "understudy::actors::vm::duty",
        "understudy::infra::ledger",
    ] {
        assert!(targets.contains(part), "{part}: {targets:?}");
    }
    for line in &lines {
        assert!(
            line.0["timestamp"].is_string() && line.0["level"].is_string(),
            "{line:?}"
        );
        assert!(line.0["message"].is_string(), "{line:?}");
        let (vms, shows) = (line.says("vm"), line.says("show"));
        assert!(vms.is_empty() || vms == BTreeSet::from([vm]), "{line:?}");
        assert!(
            shows.is_empty() || shows == BTreeSet::from(["finals"]),
            "{line:?}"
        );
    }
    let committed = lines
        .iter()
        .find(|line| line.target() == "understudy::infra::ledger");
    assert_eq!(
        committed.unwrap().says("vm"),
        BTreeSet::from([vm]),
        "the VM commits its assignment: {committed:?}"
    );
}

#[tokio::test]
async fn why_a_request_failed_is_in_the_log_under_its_id() {
    let traced = Traced::open().await;
    let assigned = traced
        .post("/api/competitions/finals/vm/assign", "assign-1")
        .await;
    assert_eq!(assigned.status(), 200);
    // Its studio streams to nowhere yet.
    let answer = traced
        .post("/api/competitions/finals/show/start", "start-1")
        .await;
    assert_eq!(answer.status(), 502, "{answer:?}");
    let answer: Value = answer.json().await.unwrap();
    let lines = traced
        .until("start-1", "understudy::api::front", "answered")
        .await;
    let answered = lines.iter().find(|line| line.0["message"] == "answered").unwrap();
    assert_eq!(
        (&answered.0["level"], &answered.0["error"]),
        (&"WARN".into(), &answer["error"])
    );
    assert_eq!(
        (&answered.0["status"], &answered.0["code"]),
        (&502.into(), &answer["code"])
    );
}

#[tokio::test]
async fn two_commands_at_once_do_not_mix() {
    let traced = Traced::open().await;
    let (finals, semis) = tokio::join!(
        traced.post("/api/competitions/finals/vm/assign", "for-finals"),
        traced.post("/api/competitions/semis/vm/assign", "for-semis"),
    );
    let mut vms = BTreeSet::new();
    for (answer, id, show) in [(finals, "for-finals", "finals"), (semis, "for-semis", "semis")] {
        assert_eq!(answer.headers()["x-request-id"], id);
        let lines = traced.until(id, "understudy::api::front", "answered").await;
        let shows: BTreeSet<&str> = lines.iter().flat_map(|line| line.says("show")).collect();
        assert_eq!(shows, BTreeSet::from([show]));
        let given: Vec<&Line> = lines
            .iter()
            .filter(|line| line.0["message"] == "given to the show")
            .collect();
        let [given] = given[..] else { panic!("{lines:#?}") };
        vms.extend(given.says("vm").into_iter().map(str::to_owned));
    }
    assert_eq!(vms.len(), 2, "each has its own");
}

#[tokio::test]
async fn the_command_line_tells_the_id_under_which_the_server_has_its_command() {
    let traced = Traced::open().await;
    let assigned = traced.theatre.ask(&["assign", "finals", "--verbose"]).await;
    assert_eq!(assigned.status, Some(0), "{assigned:?}");
    let told = assigned
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("request "));
    let (id, what) = told.unwrap().split_once(": ").unwrap();
    assert_eq!(what, "POST /api/competitions/finals/vm/assign");
    traced
        .until(id, "understudy::actors::show", "the show has a VM")
        .await;

    let again = traced.theatre.ask(&["assign", "finals", "--json"]).await;
    let id = again.json()["requestId"].as_str().unwrap().to_owned();
    traced.until(&id, "understudy::api::front", "answered").await;
}

#[tokio::test]
async fn a_failover_is_one_flow_whether_ordered_or_begun_by_itself() {
    let traced = Traced::open().await;
    let theatre = &traced.theatre;
    let assigned = theatre.ask(&["assign", "finals", "--wait", "60", "--json"]).await;
    theatre.dress(assigned.json()["instanceId"].as_str().unwrap());
    theatre.ask(&["show", "start", "finals"]).await.answer();

    let ordered = traced
        .post("/api/competitions/finals/vm/failover", "move-finals")
        .await;
    assert!(ordered.status().is_success(), "{ordered:?}");
    let message = "finals was moved";
    theatre.until(message, &["failovers", "finals"], "on air").await;
    let lines = traced
        .until("move-finals", "understudy::actors::show", "the move has ended")
        .await;
    whole(&lines);

    let instance = eventually("an instance on air", PATIENCE, async || {
        let listed = theatre.ask(&["vm", "list", "--json"]).await.json();
        let vms = listed.as_array()?.clone();
        let on_air = vms.into_iter().find(|vm| vm["status"] == "in_use")?;
        Some(on_air["instanceId"].as_str()?.to_owned())
    })
    .await;
    theatre.machine(&instance).fault(Fault::StudioCrash);
    let id = eventually("a failover that begins by itself", PATIENCE, async || {
        let lines = traced.lines();
        let mut ids = lines.iter().filter_map(Line::request);
        ids.find(|id| id.starts_with("failover-finals-"))
            .map(str::to_owned)
    })
    .await;
    let lines = traced
        .until(&id, "understudy::actors::show", "the move has ended")
        .await;
    whole(&lines);

    let text = traced.text();
    for secret in ["key-finals", "Bearer"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

/// It goes from the decision through the machines to the ledger.
#[track_caller]
fn whole(lines: &[Line]) {
    let targets = targets(lines);
    for part in [
        "understudy::actors::context",
        "understudy::actors::show::moving",
        "understudy::infra::obs::session",
        "understudy::infra::ledger",
    ] {
        assert!(targets.contains(part), "{part}: {targets:?}");
    }
    let calls: BTreeSet<&str> = lines.iter().flat_map(|line| line.says("call")).collect();
    assert!(
        calls.is_superset(&BTreeSet::from(["restore", "start-stream"])),
        "{calls:?}"
    );
}
