//! A wall clock that jumps by hours, while the program runs and while it is down (libfaketime). Nothing moves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use understudy::sim::world::WorldConfig;

use crate::process::{Launch, Process};
use crate::report::Report;
use crate::scene::{self, is_on_air, moves, never_two_publishers, on_air, until_on_air};

/// Longer than every deadline by which a failure is told: for so long nothing is to happen.
const A_WHILE: Duration = Duration::from_secs(4);

/// The library that makes a program believe another wall clock; scripts/setup-test installs it.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut found = folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .filter(|path| path.exists());
    found
        .next()
        .expect("libfaketime is not installed: run scripts/setup-test")
}

fn launch(offset: &Path) -> Launch {
    let text = |path: &Path| path.display().to_string();
    let variables = [
        ("LD_PRELOAD", text(&library())),
        ("FAKETIME_TIMESTAMP_FILE", text(offset)),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // Only the wall clock jumps: nothing else can.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    Launch {
        environment: variables.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        ..Launch::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_moves_nothing() {
    let stage = scene::set(WorldConfig::for_test(3, 0), |_| {}).await;
    let offset = stage.dir().join("clock");
    let jump = |hours: i32| std::fs::write(&offset, format!("{hours:+}h\n")).unwrap();
    jump(0);
    let mut process = Process::start(&stage, launch(&offset)).await;
    process.until_count("available", 3).await;
    let show = on_air(&stage, &process, "gala").await;
    let assigned = assign(&process).await;
    let mut shown = scene::view(&process, "other").await.unwrap()["assignedAt"]
        .as_u64()
        .unwrap();
    let mut report = Report::new("clock", "A wall clock that jumps (libfaketime)");
    for hours in [5, -7, 0] {
        jump(hours);
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(is_on_air(&stage, &process, &show).await, Ok(()), "{hours:+} h");
        report.line(&format!(
            "{hours:+} h while it ran, for {A_WHILE:?}: nothing moved"
        ));
    }
    for hours in [-7, 5] {
        jump(hours);
        process.kill().await;
        process.start_again().await;
        until_on_air(&stage, &process, &show).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(is_on_air(&stage, &process, &show).await, Ok(()), "{hours:+} h");
        // The same command again, hours later or earlier by the wall, is the same command.
        assert_eq!(assign(&process).await, assigned);
        let again = scene::view(&process, "other").await.unwrap()["assignedAt"]
            .as_u64()
            .unwrap();
        assert_eq!(std::mem::replace(&mut shown, again), again);
        report.line(&format!(
            "{hours:+} h over a restart: on air, nothing moved, a repeated command is recognised"
        ));
    }
    assert!(
        process.log().contains("the wall clock is behind the ledger"),
        "the jump was not seen at all"
    );
    let (finished, current) = moves(&process, "gala").await.unwrap();
    assert!(
        finished.is_empty() && current.is_null(),
        "{finished:#?} {current}"
    );
    never_two_publishers(&stage);
    report.passed();
}

/// Gives a VM to another show, always by the same command: which VM, and for the how many-th time.
async fn assign(process: &Process) -> (String, u64) {
    let path = "/api/competitions/other/vm/assign";
    let answer = process
        .client
        .call(Method::POST, path, Some(json!({})), Some("the-same"))
        .await
        .expect();
    (scene::text(&answer["vmId"]), answer["epoch"].as_u64().unwrap())
}
