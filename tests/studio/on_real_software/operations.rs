//! What administrators do on a machine over SSH: operations, services, logs, command lines, files.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use understudy::infra::ssh::{Config, Connector, Endpoint, HostKeyPolicy, KeySource, RusshConnector};

use crate::LIMIT;
use crate::machine::Machine;
use crate::program::run;
use crate::rig::Rig;
use crate::support::eventually::eventually;

async fn operate(rig: &Rig, vm: &str, operation: &str) -> Value {
    let path = format!("/api/admin/vm-pool/{vm}/ssh/exec");
    let asked = json!({"operation": operation});
    rig.coordinator.post(&path, asked).await.expect(200)
}

/// Empty while it does not run.
async fn pid_of_obs(machine: &Machine) -> String {
    let found = machine.run(&["sh", "-c", "pgrep -x obs || true"]).await;
    found.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_told_looked_into_and_restarted() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    let vm = rig.vm(instance).await;
    let at = |rest: &str| format!("/api/admin/vm-pool/{vm}/{rest}");

    let checked = operate(&rig, &vm, "CHECK_SERVICES").await;
    assert_eq!(
        (&checked["success"], &checked["code"]),
        (&json!(true), &json!(0)),
        "{checked}"
    );
    let said = checked["stdout"].as_str().unwrap();
    assert!(
        said.contains("obs-headless.service") && said.contains("active (running)"),
        "{said}"
    );

    let services = rig.coordinator.get(&at("ssh/services")).await.expect(200);
    let told: Vec<&Value> = services["services"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 4, "{services}");
    assert!(
        told.iter()
            .all(|one| one["active"] == true && one["status"] == "active/running"),
        "{services}"
    );
    let pid_told = told.iter().find(|one| one["service"] == "obs-headless").unwrap()["pid"].to_string();
    let pid = pid_of_obs(&rig.fleet.machines().await[instance]).await;
    assert_eq!(pid_told, pid);

    let info = rig.coordinator.get(&at("system-info")).await.expect(200);
    assert_eq!(info["hostname"], "vm0", "{info}");
    let total = info["numbers"]["memory"]["total"].as_u64().unwrap();
    let free = rig.fleet.machines().await[instance].run(&["free", "-b"]).await;
    assert!(free.contains(&total.to_string()), "{total}: {free}");
    let said = operate(&rig, &vm, "SYSTEM_INFO").await;
    for part in ["Mem:", "Mounted on", "PID"] {
        assert!(said["stdout"].as_str().unwrap().contains(part), "{part}: {said}");
    }

    let logs = rig
        .coordinator
        .get(&at("ssh/logs?unit=obs-headless&lines=7"))
        .await
        .expect(200);
    let lines = logs["lines"].as_array().unwrap();
    assert!((1..=7).contains(&lines.len()), "{logs}");
    let missing = rig
        .coordinator
        .get(&at("ssh/logs?unit=no-such-unit"))
        .await
        .expect(200);
    assert!(
        missing["stdout"].as_str().unwrap().contains("No entries"),
        "{missing}"
    );

    let before = told.iter().find(|one| one["service"] == "show-server").unwrap()["pid"].clone();
    let asked = json!({"service": "show-server"});
    let restarted = rig
        .coordinator
        .post(&at("ssh/restart-service"), asked)
        .await
        .expect(200);
    assert_eq!(
        (&restarted["success"], &restarted["active"]),
        (&json!(true), &json!(true)),
        "{restarted}"
    );
    assert_ne!(restarted["pid"], before);

    let restarted = operate(&rig, &vm, "RESTART_OBS").await;
    assert_eq!(restarted["success"], true, "{restarted}");
    eventually("another OBS runs", LIMIT, async || {
        let found = pid_of_obs(&rig.fleet.machines().await[instance]).await;
        (!found.is_empty() && found != pid).then_some(())
    })
    .await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_as_it_is_printed_and_what_is_cancelled_is_gone() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    let vm = rig.vm(instance).await;
    let mut shown = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["vm", "exec", &vm, "-c", "echo begun; exec sleep 4711"])
        .env("UNDERSTUDY_URL", rig.coordinator.url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shown.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap();
    // It has come, and the command goes on.
    assert_eq!(first.unwrap().as_deref(), Some("begun"));
    until_sleeps(&rig, true).await;

    // Ctrl-C at the terminal of whoever watches.
    let watcher = shown.id().expect("it runs").to_string();
    run("kill", &["-INT", &watcher]).await;
    let ended = tokio::time::timeout(LIMIT, shown.wait()).await.expect("it ends");
    assert!(!ended.unwrap().success());
    let known = rig
        .coordinator
        .get("/api/admin/executions?limit=1")
        .await
        .expect(200);
    assert_eq!(known["executions"][0]["state"], "cancelled", "{known}");
    until_sleeps(&rig, false).await;
    rig.end().await;
}

/// Waits until the command runs on the first machine, or runs no more.
async fn until_sleeps(rig: &Rig, wanted: bool) {
    eventually(&format!("it runs there: {wanted}"), LIMIT, async || {
        let found = ["sh", "-c", "pgrep -u ubuntu -f '^sleep 4711' || true"];
        let found = rig.fleet.machines().await[&rig.instances[0]].run(&found).await;
        (found.trim().is_empty() != wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_there_and_back_whole() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    let connector = RusshConnector::new(Config {
        user: "ubuntu".to_owned(),
        key: KeySource::File(rig.key_file()),
        key_passphrase: None,
        host_keys: HostKeyPolicy::PinOnFirstUse {
            store: rig.key_file().with_file_name("pins-of-the-test"),
        },
        keep_alive_interval: Duration::from_secs(60),
        keep_alive_max: 3,
    });
    let endpoint = Endpoint {
        address: (rig.address(instance).await, 22).into(),
        host: instance.clone(),
        connect_deadline: LIMIT,
    };
    let session = connector.connect(&endpoint).await.unwrap();
    let files = session.files().await.unwrap();
    let path = "/home/ubuntu/recordings/a show's.mkv";
    let sent: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut upload = Arc::clone(&files).write(path, 0o640).await.unwrap();
    for piece in sent.chunks(100_000) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert_eq!(upload.finish().await, Ok(sent.len() as u64));
    let about = rig.fleet.machines().await[instance]
        .run(&["stat", "-c", "%s %U %a", path])
        .await;
    assert_eq!(about.trim(), "5000000 ubuntu 640");
    let mut download = Arc::clone(&files).read(path, 0).await.unwrap();
    let mut back = Vec::new();
    while let Some(piece) = download.next().await {
        back.extend_from_slice(&piece.unwrap());
    }
    assert!(back == sent, "{} bytes came back", back.len());
    rig.end().await;
}
