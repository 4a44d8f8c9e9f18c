//! The demonstration: what is in its way, and what it leaves behind. Its machines have well-known addresses, so
//! another one on this computer, or the test beside, is waited for.

use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Child;

use crate::live::send;
use crate::program::{DEADLINE, program, run};
use crate::support::eventually::eventually;

const INGEST: &str = "127.77.255.1:1935";
const CONFLICT: i32 = 6;

/// What a demonstration has made in its directory for temporary files.
fn left_in(tmp: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(tmp).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A demonstration that is under way, with its files in `tmp`.
async fn under_way(tmp: &Path) -> Child {
    eventually("the addresses are free", DEADLINE * 2, async || {
        let environment = [("TMPDIR", tmp.to_str().unwrap())];
        let mut child = program(&environment, &["demo", "--quiet", "--port", "0"])
            .spawn()
            .unwrap();
        eventually("it is up or has ended", DEADLINE, async || {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(Err(status));
            }
            let has_journal = left_in(tmp).iter().any(|dir| dir.join("ledger.db").exists());
            has_journal.then_some(Ok(()))
        })
        .await
        .map_err(|status| assert_eq!(status.code(), Some(CONFLICT)))
        .ok()
        .map(|()| child)
    })
    .await
}

#[tokio::test]
async fn a_second_one_is_told_what_is_in_use_and_what_to_do() {
    let _held = eventually("the address is free", DEADLINE * 2, async || {
        TcpListener::bind(INGEST).await.ok()
    })
    .await;
    let run = run(&[], &["demo", "--port", "0"]).await;
    let told = run.failed(CONFLICT);
    assert!(told.contains("cannot listen at 127.77.255."), "{told}");
    assert!(told.contains("another `understudy demo` runs"), "{told}");
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_way_out() {
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = held.local_addr().unwrap();
    let port = address.port().to_string();
    let run = eventually("the addresses are free", DEADLINE * 2, async || {
        let run = run(&[], &["demo", "--port", &port, "--json"]).await;
        let is_about_the_port = run.stdout.contains(&address.to_string());
        is_about_the_port.then_some(run)
    })
    .await;
    let json = run.json();
    assert_eq!(
        (run.status, &json["exitCode"]),
        (Some(CONFLICT), &json!(CONFLICT))
    );
    assert!(json["advice"].as_str().unwrap().contains("--port"), "{json}");
}

#[tokio::test]
async fn whatever_signal_ends_it_it_leaves_no_files() {
    for signal in ["TERM", "INT", "HUP"] {
        let tmp = tempfile::tempdir().unwrap();
        let mut child = under_way(tmp.path()).await;
        send(&child, signal).await;
        let ended = tokio::time::timeout(DEADLINE, child.wait()).await;
        assert_eq!(ended.expect("it ends").unwrap().code(), Some(0), "{signal}");
        assert_eq!(left_in(tmp.path()), [] as [PathBuf; 0], "{signal}");
    }
}
