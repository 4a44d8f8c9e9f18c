//! Socket.IO with the official client: commands, events, errors, deltas, and clients that do not behave.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;
use understudy::api::{AuthMode, Options};
use understudy::domain::studio::Secret;
use understudy::domain::vm::Status;

use crate::script::Script;
use crate::served::{LIMIT, Served, open};
use crate::shows::set_up;

fn finals() -> Value {
    json!({"competitionId": "finals"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_connects_over_every_transport_and_is_told_the_pool() {
    let served = Served::with(1, 1).await;
    for (options, upgrades) in [
        (json!({"transports": ["websocket"]}), false),
        (json!({"transports": ["polling"]}), false),
        (json!({}), true),
    ] {
        let mut client = Script::start(&served, &options);
        let id = client
            .until("a connection", |line| line.get("connected").is_some())
            .await["connected"]
            .clone();
        let hello = client.event("connected").await;
        assert_eq!(hello["clientId"], id);
        assert!(hello["state"].is_object());
        assert_eq!(hello["state"]["showConfig"], Value::Null);
        assert_eq!(hello["state"]["isPlaying"], false);
        let pool = client.event("vmPoolStatus").await;
        let mut listed = served.get("/api/admin/vm-pool").await.is(200);
        for volatile in ["vms"] {
            assert_eq!(
                pool[volatile].as_array().unwrap().len(),
                listed[volatile].as_array().unwrap().len()
            );
            listed.as_object_mut().unwrap().remove(volatile);
        }
        for (field, value) in listed.as_object().unwrap() {
            assert_eq!(&pool[field], value, "{field}");
        }
        if upgrades {
            client
                .until("the upgrade", |line| line["upgraded"] == "websocket")
                .await;
        }
        assert_eq!(client.ask("getVMPoolStatus", &[]).await["success"], true);
        client.close().await;
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_assigns_releases_starts_and_stops_and_hears_every_event() {
    let served = Served::with(1, 1).await;
    let mut client = Script::connected(&served, &json!({"query": {"compId": "finals"}})).await;
    let mut bystander = Script::connected(&served, &json!({})).await;
    let (warm, cold) = (served.a_vm(Status::Available), served.a_vm(Status::Stopped));

    client.emit("startVM", &[json!({"vmId": cold})]).await;
    let result = client.event("vmStartResult").await;
    assert_eq!(
        (&result["success"], &result["vmId"], &result["status"]),
        (&json!(true), &json!(cold), &json!("starting"))
    );
    for listener in [&mut client, &mut bystander] {
        let starting = listener.event("vmStarting").await;
        assert_eq!(starting["vmId"], json!(cold));
        assert!(starting["estimatedReadyTime"].as_str().unwrap().ends_with('Z'));
        for name in ["vmReady", "vmStarted"] {
            let ready = listener.event(name).await;
            assert_eq!(
                (&ready["vmId"], &ready["services"]["node"]),
                (&json!(cold), &json!(true))
            );
            assert!(ready["publicIp"].is_string() && ready["instanceId"].is_string());
        }
        assert_eq!(listener.event("vmHealthChanged").await["newStatus"], "healthy");
    }

    client
        .emit(
            "assignVM",
            &[json!({"competitionId": "finals", "preferredVmId": warm})],
        )
        .await;
    let result = client.event("vmAssignmentResult").await;
    assert_eq!(
        (&result["vmId"], &result["status"]),
        (&json!(warm), &json!("assigned"))
    );
    for listener in [&mut client, &mut bystander] {
        let assigned = listener.event("vmAssigned").await;
        for field in [
            "vmId",
            "instanceId",
            "publicIp",
            "vmAddress",
            "competitionId",
            "success",
        ] {
            assert_eq!(assigned[field], result[field], "{field}");
        }
        let pool = listener
            .event_with("vmPoolStatus", |pool| pool["counts"]["assigned"] == 1)
            .await;
        assert_eq!(
            listener
                .event_with("vmPoolUpdate", |update| update["seq"] == pool["seq"])
                .await,
            pool
        );
    }

    client.emit("releaseVM", &[finals()]).await;
    let result = client.event("vmReleaseResult").await;
    assert_eq!(
        (&result["vmId"], &result["status"]),
        (&json!(warm), &json!("available"))
    );
    for listener in [&mut client, &mut bystander] {
        let released = listener.event("vmReleased").await;
        assert_eq!(
            (&released["vmId"], &released["competitionId"]),
            (&json!(warm), &json!("finals"))
        );
    }

    client.emit("stopVM", &[json!({"vmId": warm})]).await;
    assert_eq!(client.event("vmStopResult").await["status"], "stopping");
    for listener in [&mut client, &mut bystander] {
        assert_eq!(listener.event("vmStopping").await["vmId"], json!(warm));
        assert_eq!(listener.event("vmStopped").await["vmId"], json!(warm));
    }

    served
        .put_json("/api/admin/vm-pool/config", &json!({"warmCount": 2}))
        .await
        .is(200);
    assert_eq!(bystander.event("vmPoolConfigUpdated").await["minWarmVMs"], 2);
    let kept = bystander.event("vmPoolMaintenance").await;
    assert_eq!(
        (&kept["warmVMsTarget"], &kept["startedCount"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(kept["results"], json!([{"vmId": warm, "success": true}]));

    served.post("/api/admin/vm-pool/health-check").await.is(200);
    let checked = bystander.event("vmHealthUpdate").await;
    assert!(checked["services"].is_object() && checked["timestamp"].is_string());

    served.stop().await;
    for listener in [&mut client, &mut bystander] {
        assert!(listener.event("serverShuttingDown").await["message"].is_string());
        listener
            .until("the end", |line| line.get("disconnected").is_some())
            .await;
        assert_eq!(listener.payloads("serverShuttingDown").count(), 1);
        for line in listener.log.iter().filter(|line| line.get("event").is_some()) {
            assert!(line["args"][0]["seq"].is_u64(), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_heard_from_decision_to_air_and_its_alert_only_in_the_room() {
    let served = Served::with(2, 0).await;
    let mut producer = Script::connected(&served, &json!({"query": {"compId": "finals"}})).await;
    let mut other = Script::connected(&served, &json!({"query": {"compId": "heats"}})).await;
    let from = set_up(&served).await;
    served.post("/api/competitions/finals/show/start").await.is(200);
    assert_eq!(producer.event("vmInUse").await["vmId"], json!(from));
    served.post("/api/competitions/finals/vm/failover").await.is(200);
    for client in [&mut producer, &mut other] {
        let started = client
            .event_with("vmFailover", |move_| move_["status"] == "started")
            .await;
        assert_eq!(
            (&started["competitionId"], &started["fromVmId"]),
            (&json!("finals"), &json!(from))
        );
        let completed = client
            .event_with("vmFailover", |move_| move_["status"] == "completed")
            .await;
        assert_eq!(completed["toVmId"], started["toVmId"]);
        assert!(completed["vmAddress"].is_string() && completed["offAirMs"].is_u64());
        let moved = client
            .event_with("vmAssigned", |told| told["vmId"] == started["toVmId"])
            .await;
        assert_eq!(moved["vmAddress"], completed["vmAddress"]);
        assert_eq!(
            client
                .event_with("vmError", |told| told["vmId"] == json!(from))
                .await["competitionId"],
            Value::Null
        );
    }
    let alert = producer
        .event_with("alertCreated", |told| told["competitionId"] == "finals")
        .await;
    assert!(
        alert["alert"]["title"].is_string() && alert["alert"]["id"].as_str().unwrap().starts_with("alert_")
    );
    // Whatever was told to the room is told by now.
    other.ask("getVMPoolStatus", &[]).await;
    assert!(
        other
            .payloads("alertCreated")
            .all(|told| told["competitionId"] != "finals")
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_assignment_is_heard_when_its_vm_is_ready() {
    let served = Served::with(0, 1).await;
    let mut client = Script::connected(&served, &json!({})).await;
    let acked = client.ask("assignVM", &[finals()]).await;
    assert_eq!(
        (&acked["success"], &acked["status"], &acked["vmAddress"]),
        (&json!(true), &json!("starting"), &Value::Null)
    );
    assert_eq!(client.event("vmStarting").await["competitionId"], "finals");
    assert_eq!(client.event("vmReady").await["vmId"], acked["vmId"]);
    let assigned = client.event("vmAssigned").await;
    assert_eq!(
        (&assigned["vmId"], &assigned["competitionId"]),
        (&acked["vmId"], &json!("finals"))
    );
    assert!(assigned["vmAddress"].is_string());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_answered_to_the_one_who_asked() {
    let served = Served::with(1, 0).await;
    let mut client = Script::connected(&served, &json!({})).await;
    let mut other = Script::connected(&served, &json!({})).await;
    for event in ["assignVM", "releaseVM", "startVM", "stopVM"] {
        for args in [
            vec![],
            vec![Value::Null],
            vec![json!([])],
            vec![json!("x")],
            vec![json!({})],
            vec![json!(7), json!(8)],
        ] {
            client.emit(event, &args).await;
            let error = client.event("vmError").await;
            assert!(error["error"].is_string(), "{event} {args:?}: {error}");
            let acked = client.ask(event, &args).await;
            assert_eq!(acked["success"], false, "{event} {args:?}");
            assert!(acked["error"].is_string());
            client.event("vmError").await;
        }
    }
    let unknown = client.ask("startVM", &[json!({"vmId": "vm-nowhere"})]).await;
    assert_eq!(
        (&unknown["success"], &unknown["code"]),
        (&json!(false), &json!("VM_NOT_FOUND"))
    );
    assert_eq!(client.event("vmError").await["vmId"], "vm-nowhere");
    assert_eq!(client.ask("assignVM", &[finals()]).await["success"], true);
    let twice = client.ask("assignVM", &[finals()]).await;
    assert_eq!(twice["code"], "ALREADY_ASSIGNED");
    assert_eq!(client.event("vmError").await["competitionId"], "finals");
    client
        .emit(
            "identify",
            &[json!({"role": "producer", "name": "x".repeat(10_000)})],
        )
        .await;
    client.emit("identify", &[]).await;
    client.emit("noSuchEvent", &[json!({"a": 1})]).await;
    client.emit("execSSHCommand", &[]).await;
    for event in ["getVMPoolStatus", "requestVMPool"] {
        assert_eq!(
            client.ask(event, &[json!("ignored"), json!(1)]).await["initialized"],
            true
        );
        client.event("vmPoolStatus").await;
    }
    other.ask("getVMPoolStatus", &[]).await;
    assert_eq!(
        other.payloads("vmError").count(),
        0,
        "errors are for the requester"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_asked_for_and_checked_when_connecting() {
    let token = "an-operations-token";
    let options = |auth| Options {
        auth,
        admin_token: Some(Secret::new(token)),
        ..Options::default()
    };
    for (mode, auth, gets_in) in [
        (AuthMode::Compat, json!({}), true),
        (AuthMode::Compat, json!({"token": token}), true),
        (AuthMode::Compat, json!({"token": "wrong"}), false),
        (AuthMode::Compat, json!({"token": 7}), false),
        (AuthMode::Required, json!({}), false),
        (AuthMode::Required, json!({"token": token}), true),
    ] {
        let served = Served::with_options(0, 0, options(mode)).await;
        let mut client = Script::start(&served, &json!({"transports": ["websocket"], "auth": auth}));
        let first = client
            .until("an answer", |line| {
                line.get("connected").is_some() || line.get("refused").is_some()
            })
            .await;
        assert_eq!(
            first.get("connected").is_some(),
            gets_in,
            "{mode:?} {auth}: {first}"
        );
        assert!(!first.to_string().contains("wrong"));
        served.stop().await;
    }
}

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
        &served,
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
        &served,
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
        &served,
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
        .filter(|line| line["event"] != "vmHealthUpdate");
    let bytes: usize = told
        .map(|line| json!([line["event"], line["args"][0]]).to_string().len())
        .sum();
    assert!(bytes <= 2_000, "{bytes} bytes: {:#?}", &client.log[heard..]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_coalesced() {
    let served = Served::with(2, 0).await;
    let mut client = Script::connected(&served, &json!({})).await;
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
    client
        .event_with("vmReleased", |told| told["seq"].as_u64() >= Some(settled))
        .await;
    assert_eq!(client.payloads("vmAssigned").count(), 100);
    let seqs: Vec<u64> = client
        .payloads("vmAssigned")
        .map(|told| told["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs.iter().collect::<BTreeSet<_>>().len(), 100);
    assert!(seqs.is_sorted());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_refused() {
    let served = Served::with_options(
        0,
        0,
        Options {
            sockets_max: 1,
            ..open()
        },
    )
    .await;
    let mut first = Script::connected(&served, &json!({})).await;
    let mut second = Script::start(&served, &json!({"transports": ["websocket"]}));
    second
        .until("a refusal", |line| line.get("refused").is_some())
        .await;
    first.close().await;
    let free = async {
        while served.get("/api/coordinator/status").await.body["connectedClients"] != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, free)
        .await
        .expect("its place is free again in time");
    Script::connected(&served, &json!({})).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off_and_nobody_else_notices() {
    let options = Options {
        socket_buffer_packets: 16,
        ..open()
    };
    let served = Served::with_options(1, 30, options).await;
    let mut good = Script::connected(&served, &json!({})).await;

    let stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", served.address);
    let (mut deaf, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    deaf.send(Message::text("40")).await.unwrap();
    while !deaf
        .next()
        .await
        .unwrap()
        .unwrap()
        .to_text()
        .unwrap()
        .contains("vmPoolStatus")
    {}
    // From here on it only asks and never reads. The kernel's buffers take the first few answers.
    let asking = async { while deaf.send(Message::text(r#"42["getVMPoolStatus"]"#)).await.is_ok() {} };
    tokio::time::timeout(LIMIT, asking)
        .await
        .expect("the deaf client is cut off in time");

    let alone = async {
        while served.get("/api/coordinator/status").await.body["connectedClients"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, alone)
        .await
        .expect("its place is free again in time");
    served.post("/api/competitions/finals/vm/assign").await.is(200);
    good.event("vmAssigned").await;
    served.stop().await;
}
