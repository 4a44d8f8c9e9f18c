//! A show ends, and its machine is the pool's again, with nothing of the show on it.

use serde_json::{Value, json};

use crate::LIMIT;
use crate::rig::{Rig, key};
use crate::support::eventually::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_released_machine_sends_nothing_and_is_available_to_the_next_show() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    rig.go_on_air("finals", instance).await;
    let released = rig
        .coordinator
        .post("/api/competitions/finals/vm/release", json!({}))
        .await
        .expect(200);
    assert_eq!(released["status"], "available", "{released}");
    // It has been told to stop, and says itself that it has, before the answer.
    let status = rig.fleet.machines().await[instance]
        .run(&["python3", "-c", ASK_THE_SHOW_SERVER])
        .await;
    assert_eq!(status.trim(), "False");
    eventually("the ingest has lost its publisher", LIMIT, async || {
        rig.ingest.publishers().is_empty().then_some(())
    })
    .await;
    let next = rig.coordinator.assign("heats").await.expect(200);
    assert_eq!(next["instanceId"], **instance);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_show_is_left_on_its_machine() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    let before = rig.studio(instance).await;
    rig.go_on_air("finals", instance).await;
    let on_machine = async |words: &[&str]| rig.fleet.machines().await[instance].run(words).await;
    on_machine(&["mkdir", "--parents", "/tmp/competition-finals/overlay"]).await;
    assert_ne!(
        files_with_the_key(&rig, instance).await,
        "",
        "OBS keeps the key in a file"
    );

    let released = rig
        .coordinator
        .post("/api/competitions/finals/vm/release", json!({}))
        .await
        .expect(200);
    assert_eq!(released["status"], "available", "{released}");
    let cleaning = &released["cleaning"];
    println!("cleaned: {cleaning}");
    assert_eq!(cleaning["clean"], true, "{cleaning}");
    assert_eq!(cleaning["way"], "template");

    assert_eq!(files_with_the_key(&rig, instance).await, "");
    assert_eq!(on_machine(&["find", "/tmp", "-name", "competition-*"]).await, "");
    assert_eq!(bare(&rig.studio(instance).await), bare(&before));
    rig.end().await;
}

/// Everything but what OBS numbers anew.
fn bare(studio: &Value) -> Value {
    json!({
        "scenes": studio["scenes"], "inputs": studio["inputs"], "program": studio["program"],
        "key": studio["stream"]["settings"]["key"],
    })
}

/// Whole file systems but the kernel's; find as root sees them all. The journal and the log say what was run, and never
/// with a key.
async fn files_with_the_key(rig: &Rig, instance: &str) -> String {
    let key = key("finals");
    let words = [
        "find",
        "/home",
        "/tmp",
        "/var",
        "/etc",
        "/root",
        "/run",
        "-xdev",
        "-type",
        "f",
        "-size",
        "-4M",
        "-exec",
        "grep",
        "--files-with-matches",
        "--fixed-strings",
        "--no-messages",
        &key,
        "{}",
        "+",
    ];
    let sh = ["sh", "-c", "\"$@\" || true", "sh"];
    let found = rig.fleet.machines().await[instance]
        .run(&[&sh[..], &words].concat())
        .await;
    found.trim().to_owned()
}

const ASK_THE_SHOW_SERVER: &str = "import json, urllib.request; \
     print(json.load(urllib.request.urlopen('http://127.0.0.1:3003/api/status'))['obsIsStreaming'])";
