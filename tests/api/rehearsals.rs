//! Rehearsals through the API, played by the real program.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use understudy::api::{AuthMode, Options};
use understudy::cli::rehearse::player::Player;
use understudy::domain::studio::Secret;

use crate::served::{Served, open};
use crate::support::eventually::eventually;

const REHEARSALS: &str = "/api/admin/rehearsals";
/// For a scenario to be set up, played and judged on a machine with other things to do.
const PLAY: Duration = Duration::from_secs(180);

fn player(folders: PathBuf) -> Player {
    Player::new(PathBuf::from(env!("CARGO_BIN_EXE_understudy")), folders)
}

async fn served() -> Served {
    served_in(std::env::temp_dir()).await
}

async fn served_in(folders: PathBuf) -> Served {
    let options = Options {
        rehearsals: Some(Arc::new(player(folders))),
        ..open()
    };
    Served::with_options(0, 0, options).await
}

/// The rehearsal when it is over.
async fn over(served: &Served, id: u64) -> Value {
    eventually("the rehearsal is over", PLAY, async || {
        let told = served.get(&format!("{REHEARSALS}/{id}")).await.is(200);
        (told["state"] != "running").then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_is_begun_followed_and_has_its_report_when_it_is_over() {
    let served = served().await;
    let before = served.get(REHEARSALS).await.is(200);
    assert_eq!(before["rehearsals"], json!([]));
    let scenarios = before["scenarios"].as_array().unwrap();
    assert!(
        scenarios
            .iter()
            .any(|scenario| scenario["name"] == "studio-crash")
    );
    let ask = json!({"scenario": "studio-crash", "shows": 1, "seed": 3});
    let begun = served.post_json(REHEARSALS, &ask).await.is(202);
    assert_eq!((&begun["id"], &begun["state"]), (&json!(1), &json!("running")));
    let second = served.post_json(REHEARSALS, &ask).await;
    let refused = second.refuses(409, "REHEARSAL_RUNNING");
    assert_eq!(refused["rehearsalId"], 1);
    let told = over(&served, 1).await;
    assert_eq!(told["state"], "passed", "{told:#}");
    let played = &told["report"]["scenarios"][0];
    assert_eq!(
        (&played["name"], &played["shows"]),
        (&json!("studio-crash"), &json!(1))
    );
    let progress = &told["progress"];
    assert_eq!(
        (&progress["stepsDone"], &progress["steps"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&progress["scenariosDone"], &progress["scenarios"]),
        (&json!(1), &json!(1))
    );
    let listed = served.get(REHEARSALS).await.is(200);
    assert_eq!(listed["rehearsals"][0]["state"], "passed");
    assert_eq!(listed["rehearsals"][0]["report"], Value::Null);
    served
        .post(&format!("{REHEARSALS}/1/cancel"))
        .await
        .refuses(409, "REHEARSAL_OVER");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_is_cancelled_is_over_and_the_next_may_begin() {
    let served = served().await;
    served.post_json(REHEARSALS, &json!({})).await.is(202);
    served.post(&format!("{REHEARSALS}/1/cancel")).await.is(202);
    let told = over(&served, 1).await;
    assert_eq!(told["state"], "cancelled", "{told:#}");
    assert!(told["endedAt"].is_string());
    let ask = json!({"scenario": "status-flap"});
    let next = served.post_json(REHEARSALS, &ask).await.is(202);
    assert_eq!(next["id"], 2);
    served.post(&format!("{REHEARSALS}/2/cancel")).await.is(202);
    over(&served, 2).await;
    served.stop().await;
}

/// The process that has this in its environment.
fn process_with(variable: &str) -> Option<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let has_it = |process: &std::fs::DirEntry| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|one| one == variable.as_bytes())
    };
    let found = processes.into_iter().find(has_it)?;
    found.file_name().into_string().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_is_killed_is_broken_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let served = served_in(folder.path().to_owned()).await;
    let ask = json!({"scenario": "studio-crash"});
    served.post_json(REHEARSALS, &ask).await.is(202);
    let entries = || std::fs::read_dir(folder.path()).unwrap().flatten();
    let own = entries().next().unwrap().path();
    eventually("it has put something down", PLAY, async || {
        std::fs::read_dir(&own).ok()?.next().map(drop)
    })
    .await;
    let process = process_with(&format!("TMPDIR={}", own.display())).unwrap();
    let killed = tokio::process::Command::new("kill")
        .args(["-9", &process])
        .status()
        .await;
    assert!(killed.unwrap().success());
    let told = over(&served, 1).await;
    assert_eq!(told["state"], "broken", "{told:#}");
    eventually("nothing is left of it", PLAY, async || {
        entries().next().is_none().then_some(())
    })
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_played_is_refused_with_its_field() {
    let served = served().await;
    for (ask, field) in [
        (json!({"scenario": "studio-crahs"}), "scenario"),
        (json!({"scenario": "/etc/passwd"}), "scenario"),
        (
            json!({"scenario": "config/rehearsals/studio-crash.toml"}),
            "scenario",
        ),
        (json!({"scenario": "zone-lost", "shows": 5}), "shows"),
        (json!({"shows": 0}), "shows"),
        (json!({"shows": 101}), "shows"),
    ] {
        let refused = served.post_json(REHEARSALS, &ask).await.is(400);
        assert_eq!(refused["field"], field, "{ask}: {refused}");
    }
    for id in ["7", "0"] {
        let path = format!("{REHEARSALS}/{id}");
        served.get(&path).await.refuses(404, "REHEARSAL_NOT_FOUND");
        served
            .post(&format!("{path}/cancel"))
            .await
            .refuses(404, "REHEARSAL_NOT_FOUND");
    }
    let refused = served.get(&format!("{REHEARSALS}/x")).await.is(400);
    assert_eq!(refused["field"], "rehearsalId");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rehearsals_are_for_administrators_and_for_coordinators_that_have_a_player() {
    let options = Options {
        auth: AuthMode::Compat,
        admin_token: Some(Secret::new("hush")),
        rehearsals: Some(Arc::new(player(std::env::temp_dir()))),
        ..Options::default()
    };
    let served = Served::with_options(0, 0, options).await;
    served.get(REHEARSALS).await.refuses(401, "UNAUTHORIZED");
    served.post(REHEARSALS).await.refuses(401, "UNAUTHORIZED");
    served.stop().await;
    let without = Served::with(0, 0).await;
    without.get(REHEARSALS).await.refuses(503, "NO_REHEARSALS");
    without.stop().await;
}
