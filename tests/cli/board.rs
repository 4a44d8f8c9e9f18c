//! `status`: what people look at.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::pool::{POOL, assignment, moving, pool, server};
use crate::program::{DEADLINE, ask, program, run};
use crate::server::{Say, Server};

/// The whole board without colours and limits.
const BOARD: &str = "\
understudy 0.1.0  URL  up 2 h 13 min  2 clients  cloud connected

Pool  1 of 2 warm   5 of at most 8 VMs   ● 1 available   ● 0 assigned   ▶ 1 in use   ◐ 1 starting   ○ 1 stopped   ✗ 1 error

VM           STATUS       SHOW    ADDRESS           HEALTH    SRV  OBS          UP  CHECKED  TYPE      ZONE
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────
vm-e5f60718  ▶ in use     finals  203.0.113.7:3003  healthy   ●    ●    2 h 13 min  3 s ago  t3.large  us-east-1a
vm-0a1b2c3d  ✗ error              203.0.113.8:3003  degraded  ●    ✗    2 h 13 min  3 s ago  t3.large  us-east-1a
vm-33334444  ● available          10.0.0.9:3003     healthy   ●    ●    2 h 13 min  3 s ago  t3.large  us-east-1a
vm-55556666  ◐ starting                                                                      t3.large  us-east-1a
vm-77778888  ○ stopped                                                                       t3.large  us-east-1a
✗ vm-0a1b2c3d: OBS crashed while finals was on air

SHOW    PHASE     VM           ADDRESS           EPOCH  FAILOVER   LAST MOVE
──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
finals  ▶ on air  vm-e5f60718  203.0.113.7:3003      3  automatic  3 min ago from vm-0a1b2c3d: studio-lost, off air 0.82 s
";

async fn plain(server: &Server, arguments: &[&str]) -> String {
    ask(server, arguments)
        .await
        .answer()
        .replace(&server.url(), "URL")
}

#[tokio::test]
async fn the_board_shows_the_pool_its_vms_and_the_shows() {
    let server = server().await;
    assert_eq!(plain(&server, &["status"]).await, BOARD);
}

#[tokio::test]
async fn a_show_under_way_says_how_far_it_is_and_a_held_one_that_it_is_held() {
    let server = server().await;
    let mut view = assignment();
    view["phase"] = json!("failing_over");
    view["held"] = json!(true);
    server.say("GET /api/competitions/finals/vm", vec![Say::Json(200, view)]);
    let failovers = json!({"current": moving(), "failovers": []});
    server.say(
        "GET /api/competitions/finals/failovers",
        vec![Say::Json(200, failovers)],
    );
    let board = plain(&server, &["status"]).await;
    let row = board.lines().last().unwrap();
    assert_eq!(
        row,
        "finals  ⇄ failing over  vm-e5f60718  203.0.113.7:3003      3  held      to vm-33334444: fenced, restoring \
         (studio-lost)"
    );
}

#[tokio::test]
async fn a_show_that_should_be_on_air_and_is_not_stands_out() {
    let server = server().await;
    let mut view = assignment();
    view["phase"] = json!("off_air");
    server.say(
        "GET /api/competitions/finals/vm",
        vec![Say::Json(200, view.clone())],
    );
    assert!(
        plain(&server, &["status"])
            .await
            .contains("✗ off air, but wanted")
    );
    view["streamWanted"] = json!(false);
    server.say(
        "GET /api/competitions/finals/vm",
        vec![Say::Json(200, view.clone())],
    );
    assert!(plain(&server, &["status"]).await.contains("○ off air "));
    view["status"] = json!("starting");
    server.say("GET /api/competitions/finals/vm", vec![Say::Json(200, view)]);
    assert!(plain(&server, &["status"]).await.contains("◐ waits for its VM"));
}

#[tokio::test]
async fn a_show_whose_studio_could_not_be_restored_elsewhere_stands_out() {
    let server = server().await;
    for (captured, shown) in [(false, "not captured"), (true, "automatic")] {
        let mut view = assignment();
        view["studioCaptured"] = json!(captured);
        server.say("GET /api/competitions/finals/vm", vec![Say::Json(200, view)]);
        let board = plain(&server, &["status"]).await;
        assert!(board.contains(&format!("      3  {shown}  ")), "{board}");
    }
}

#[tokio::test]
async fn what_keeps_the_pool_from_working_is_said_first() {
    let server = server().await;
    let mut empty = pool();
    empty["initialized"] = json!(false);
    empty["message"] = json!("no credentials for the cloud");
    empty["vms"] = json!([]);
    empty["config"] = json!(null);
    server.say(POOL, vec![Say::Json(200, empty)]);
    server.say(
        "GET /readyz",
        vec![Say::Json(
            503,
            json!({"ready": false, "initialized": false, "ledger": "the disk is full",
            "cloud": "no_credentials", "stopping": false, "message": "no credentials for the cloud"}),
        )],
    );
    let board = plain(&server, &["status"]).await;
    let lines: Vec<&str> = board.lines().collect();
    assert!(lines[0].ends_with("cloud no credentials"), "{board}");
    assert_eq!(
        lines[1],
        "✗ the pool is not there yet: no credentials for the cloud"
    );
    assert_eq!(lines[2], "✗ the ledger does not take commands: the disk is full");
    // It is not said to be empty.
    assert_eq!(
        lines[4..],
        ["Pool  not known until the cloud has been seen"],
        "{board}"
    );
}

#[tokio::test]
async fn a_server_that_tells_less_is_shown_all_the_same() {
    let server = server().await;
    for line in ["GET /api/coordinator/status", "GET /readyz"] {
        server.say(line, vec![Say::Json(404, json!({"error": "nothing here"}))]);
    }
    let released = json!({"error": "none", "code": "NOT_ASSIGNED", "competitionId": "finals"});
    server.say("GET /api/competitions/finals/vm", vec![Say::Json(404, released)]);
    let board = plain(&server, &["status"]).await;
    assert_eq!(board.lines().next(), Some("understudy  URL"));
    assert!(
        board.ends_with("no show has a VM; `understudy assign SHOW` gives it one\n"),
        "{board}"
    );
}

#[tokio::test]
async fn a_name_narrows_it_to_a_vm_or_a_show() {
    let server = server().await;
    for name in ["finals", "vm-e5f60718", "i-0000vm-e5f60718"] {
        let board = plain(&server, &["status", name]).await;
        assert!(
            board.contains("vm-e5f60718  ▶ in use") && board.contains("finals  ▶ on air"),
            "{board}"
        );
        assert!(!board.contains("vm-33334444"), "{board}");
    }
    let board = plain(&server, &["status", "vm-33334444"]).await;
    assert!(!board.contains("▶ on air"), "{board}");
    let json = ask(&server, &["status", "vm-33334444", "--json"]).await.json();
    assert_eq!(json["pool"]["vms"].as_array().unwrap().len(), 1);
    assert_eq!(json["shows"], json!([]));
    let unknown = ask(&server, &["status", "fnals"]).await;
    assert!(unknown.failed(5).contains("did you mean finals?"), "{unknown:?}");
}

#[tokio::test]
async fn for_programs_it_is_the_servers_own_answers() {
    let server = server().await;
    let json = ask(&server, &["status", "--json"]).await.json();
    assert_eq!(json["pool"], pool());
    assert_eq!(json["readiness"]["cloud"], "connected");
    assert_eq!(json["at"], "2020-01-01T12:00:00Z");
    assert_eq!(json["shows"][0]["competitionId"], "finals");
    assert_eq!(json["shows"][0]["failover"], json!(null));
    assert_eq!(json["shows"][0]["lastFailover"]["timeline"]["offAirMs"], 829);
}

#[tokio::test]
async fn it_is_never_wider_than_the_window() {
    let server = server().await;
    for columns in ["40", "60", "80", "100", "120"] {
        let environment = [("UNDERSTUDY_URL", server.url()), ("COLUMNS", columns.to_owned())];
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let board = run(&environment, &["status"]).await;
        let width: usize = columns.parse().unwrap();
        for line in board.answer().lines() {
            assert!(line.chars().count() <= width, "{columns}: {line}");
        }
        for needed in ["vm-0a1b2c3d", "✗ error", "▶ on air", "✗ 1 error"] {
            assert!(
                board.answer().contains(needed),
                "{columns}: {needed}\n{}",
                board.stdout
            );
        }
    }
}

#[tokio::test]
async fn colours_are_for_those_who_want_them() {
    let server = server().await;
    let url = server.url();
    let colored = async |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut all = vec![("UNDERSTUDY_URL", url.as_str())];
        all.extend(environment);
        let arguments: Vec<&str> = ["status"].iter().chain(arguments).copied().collect();
        run(&all, &arguments).await.answer().contains('\u{1b}')
    };
    assert!(!colored(&[], &[]).await, "this is not a terminal");
    assert!(colored(&[("CLICOLOR_FORCE", "1")], &[]).await);
    assert!(!colored(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[]).await);
    assert!(colored(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], &[]).await);
    assert!(colored(&[("NO_COLOR", "1")], &["--color", "always"]).await);
    assert!(!colored(&[("CLICOLOR_FORCE", "1")], &["--color", "never"]).await);
    assert!(!colored(&[("CLICOLOR_FORCE", "1")], &["--json"]).await);
}

/// `status --watch` into a pipe.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let arguments: Vec<&str> = ["status", "--watch", "--interval", "100ms"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let mut child = program(&[("UNDERSTUDY_URL", &server.url())], &arguments)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(DEADLINE, self.lines.next_line()).await;
        line.expect("no line in time").unwrap().expect("it has ended")
    }

    async fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line().await).unwrap()
    }
}

#[tokio::test]
async fn watched_by_a_program_it_says_one_line_per_change_and_survives_a_restart() {
    let server = server().await;
    let mut watch = Watch::start(&server, &["--json"]);
    assert_eq!(watch.json().await["shows"][0]["phase"], "on_air");

    // Only what is seen changing counts: a later check alone is no change.
    let mut later = pool();
    later["vms"][0]["lastHealthCheck"] = json!("2020-01-01T11:59:59.000Z");
    server.say(POOL, vec![Say::Json(200, later.clone())]);
    let asked = server.seen(POOL).len();
    crate::support::eventually::eventually("three more looks", DEADLINE, async || {
        (server.seen(POOL).len() >= asked + 3).then_some(())
    })
    .await;
    later["vms"][2]["status"] = json!("error");
    server.say(POOL, vec![Say::Json(200, later.clone())]);
    assert_eq!(
        watch.json().await["pool"]["vms"][2]["status"],
        "error",
        "the first change that is told"
    );

    server.say(POOL, vec![Say::HangUp]);
    let away = watch.json().await;
    assert!(
        away["reconnecting"]
            .as_str()
            .is_some_and(|why| why.contains("lost")),
        "{away}"
    );
    server.say(POOL, vec![Say::Json(200, later)]);
    assert_eq!(watch.json().await["pool"]["vms"][2]["status"], "error");

    crate::live::interrupt(&watch.child).await;
    let status = tokio::time::timeout(DEADLINE, watch.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        status.code(),
        Some(0),
        "an interrupted watch has done what it was asked"
    );
}

#[tokio::test]
async fn watched_through_a_pipe_it_says_a_block_per_change_and_ends_with_its_reader() {
    let server = server().await;
    let mut watch = Watch::start(&server, &[]);
    let first = watch.line().await;
    assert!(
        first.starts_with("2020-01-01 12:00:00  understudy 0.1.0"),
        "{first}"
    );
    drop(watch.lines);
    server.say(
        POOL,
        vec![Say::Json(
            200,
            json!({"initialized": true, "vms": [], "counts": {}}),
        )],
    );
    let status = tokio::time::timeout(DEADLINE, watch.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0), "nobody reads any more");
}

#[tokio::test]
async fn a_watch_that_is_not_allowed_ends() {
    let body = json!({"error": "this needs a token", "code": "UNAUTHORIZED"});
    let server = Server::start([(POOL, vec![Say::Json(401, body)])]).await;
    let run = ask(&server, &["status", "--watch"]).await;
    assert!(run.failed(4).contains("set UNDERSTUDY_TOKEN"), "{run:?}");
}
