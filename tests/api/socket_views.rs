//! What Socket.IO clients are told of the pool as a whole: snapshots for some, deltas for others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::served::{Served, open, stage};
use crate::support::socketio::Script;

/// What a client with deltas keeps.
struct Mirror {
    seq: u64,
    vms: BTreeMap<String, Map<String, Value>>,
}

impl Mirror {
    fn of(snapshot: &Value) -> Self {
        let vms = snapshot["vms"].as_array().unwrap().iter();
        let vms = vms.map(|vm| {
            (
                vm["vmId"].as_str().unwrap().to_owned(),
                vm.as_object().unwrap().clone(),
            )
        });
        Self {
            seq: snapshot["seq"].as_u64().unwrap(),
            vms: vms.collect(),
        }
    }

    fn apply(&mut self, delta: &Value) {
        if delta["seq"].as_u64().unwrap() <= self.seq {
            return;
        }
        assert_eq!(delta["since"].as_u64().unwrap(), self.seq, "a delta is missing");
        self.seq = delta["seq"].as_u64().unwrap();
        for change in delta["changed"].as_array().unwrap() {
            let vm = self
                .vms
                .entry(change["vmId"].as_str().unwrap().to_owned())
                .or_default();
            for (name, value) in change.as_object().unwrap() {
                if value.is_null() {
                    vm.remove(name)
                } else {
                    vm.insert(name.clone(), value.clone())
                };
            }
        }
        for gone in delta["removed"].as_array().unwrap() {
            self.vms.remove(gone.as_str().unwrap());
        }
    }

    fn assignments(&self) -> BTreeMap<String, Value> {
        self.vms
            .iter()
            .map(|(id, vm)| (id.clone(), json!([vm["status"], vm.get("assignedTo")])))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_deltas_follows_the_pool_without_snapshots() {
    let served = Served::with(3, 0).await;
    let mut client = Script::start(
        &served.url(""),
        &json!({"transports": ["websocket"], "auth": {"deltas": true}}),
    );
    let mut mirror = Mirror::of(&client.event("vmPoolStatus").await);
    for round in 0..3 {
        for n in 0..3 {
            served
                .post(&format!("/api/competitions/show-{n}/vm/assign"))
                .await
                .is(200);
        }
        for n in 0..(3 - round) {
            served
                .post(&format!("/api/competitions/show-{n}/vm/release"))
                .await
                .is(200);
        }
        let settled = served.coordinator.state().seq.0;
        while mirror.seq < settled {
            mirror.apply(&client.event("vmPoolDelta").await);
        }
        let state = served.coordinator.state();
        let expected: BTreeMap<String, Value> = state
            .vms()
            .map(|vm| {
                let tenant = vm.occupancy.tenant().map(|(show, _)| show.to_string());
                (vm.id.to_string(), json!([vm.status().as_str(), tenant]))
            })
            .collect();
        assert_eq!(mirror.assignments(), expected);
        for n in 0..3 {
            served
                .post(&format!("/api/competitions/show-{n}/vm/release"))
                .await
                .is(200);
        }
    }
    assert_eq!(
        client.payloads("vmPoolStatus").count(),
        1,
        "one to begin with and none after"
    );
    assert_eq!(client.payloads("vmPoolUpdate").count(), 0);
    let asked = client.ask("getVMPoolStatus", &[]).await;
    assert_eq!(asked["vms"].as_array().unwrap().len(), 3);

    // A second one joins in the middle, and both see the same from there.
    let mut late = Script::start(
        &served.url(""),
        &json!({"transports": ["websocket"], "auth": {"deltas": true}}),
    );
    let mut late_mirror = Mirror::of(&late.event("vmPoolStatus").await);
    served.post("/api/competitions/finals/vm/assign").await.is(200);
    let settled = served.coordinator.state().seq.0;
    while late_mirror.seq < settled {
        late_mirror.apply(&late.event("vmPoolDelta").await);
    }
    while mirror.seq < settled {
        mirror.apply(&client.event("vmPoolDelta").await);
    }
    assert_eq!(
        mirror.vms.keys().collect::<Vec<_>>(),
        late_mirror.vms.keys().collect::<Vec<_>>()
    );
    assert_eq!(mirror.assignments(), late_mirror.assignments());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assign_and_release_cost_a_client_with_deltas_less_than_two_kilobytes() {
    let served = Served::with(5, 0).await;
    let mut client = Script::start(
        &served.url(""),
        &json!({"transports": ["websocket"], "auth": {"deltas": true}}),
    );
    client.event("vmPoolStatus").await;
    let heard = client.log.len();
    served.post("/api/competitions/finals/vm/assign").await.is(200);
    client.event("vmPoolDelta").await;
    served.post("/api/competitions/finals/vm/release").await.is(200);
    client.event("vmReleased").await;
    let settled = served.coordinator.state().seq.0;
    client
        .event_with("vmPoolDelta", |delta| delta["seq"].as_u64() >= Some(settled))
        .await;
    let told = client.log[heard..]
        .iter()
        .filter(|line| line.get("event").is_some());
    let bytes: usize = told
        .map(|line| json!([line["event"], line["args"][0]]).to_string().len())
        .sum();
    assert!(bytes <= 2_000, "{bytes} bytes: {:#?}", &client.log[heard..]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_coalesced() {
    // With a way to studios every release would take the time to clean one: no burst to coalesce.
    let mut stage = stage(2, 0).await;
    stage.config.obs.enabled = false;
    stage.config.ssh.enabled = false;
    let served = Served::over(stage, open()).await;
    served.until_available(2).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let began = tokio::time::Instant::now();
    for _ in 0..100 {
        served.post("/api/competitions/finals/vm/assign").await.is(200);
        served.post("/api/competitions/finals/vm/release").await.is(200);
    }
    let settled = served.coordinator.state().seq.0;
    client
        .event_with("vmPoolStatus", |pool| pool["seq"].as_u64() >= Some(settled))
        .await;
    let windows = began.elapsed().as_millis() / 250 + 3;
    let snapshots = client.payloads("vmPoolStatus").count();
    assert!(
        snapshots as u128 <= windows,
        "{snapshots} snapshots in {windows} windows"
    );
    for _ in 0..100 {
        client.event("vmReleased").await;
    }
    assert_eq!(client.payloads("vmAssigned").count(), 100);
    let seqs: Vec<u64> = client
        .payloads("vmAssigned")
        .map(|told| told["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs.iter().collect::<BTreeSet<_>>().len(), 100);
    assert!(seqs.is_sorted());
    served.stop().await;
}
