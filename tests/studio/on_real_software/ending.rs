//! A show ends, and its machine is the pool's again.

use serde_json::json;

use crate::LIMIT;
use crate::rig::Rig;
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

const ASK_THE_SHOW_SERVER: &str = "import json, urllib.request; \
     print(json.load(urllib.request.urlopen('http://127.0.0.1:3003/api/status'))['obsIsStreaming'])";
