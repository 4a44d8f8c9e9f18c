//! Socket.IO with the official client: connecting, commands, events, errors.

use serde_json::{Value, json};
use understudy::api::{AuthMode, Options};
use understudy::domain::studio::Secret;
use understudy::domain::vm::Status;

use crate::served::Served;
use crate::shows::set_up;
use crate::support::socketio::Script;

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
        let mut client = Script::start(&served.url(""), &options);
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
        let vms = listed.as_object_mut().unwrap().remove("vms").unwrap();
        assert_eq!(
            pool["vms"].as_array().unwrap().len(),
            vms.as_array().unwrap().len()
        );
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
async fn starting_and_stopping_is_heard_step_by_step() {
    let served = Served::with(0, 1).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let mut bystander = Script::connected(&served.url(""), &json!({})).await;
    let vm = json!(served.a_vm(Status::Stopped));

    client.emit("startVM", &[json!({"vmId": vm})]).await;
    let result = client.event("vmStartResult").await;
    assert_eq!(
        (&result["success"], &result["vmId"], &result["status"]),
        (&json!(true), &vm, &json!("starting"))
    );
    for listener in [&mut client, &mut bystander] {
        let starting = listener.event("vmStarting").await;
        assert_eq!(starting["vmId"], vm);
        assert!(starting["estimatedReadyTime"].as_str().unwrap().ends_with('Z'));
        for name in ["vmReady", "vmStarted"] {
            let ready = listener.event(name).await;
            assert_eq!((&ready["vmId"], &ready["services"]["node"]), (&vm, &json!(true)));
            assert!(ready["publicIp"].is_string() && ready["instanceId"].is_string());
        }
        assert_eq!(listener.event("vmHealthChanged").await["newStatus"], "healthy");
    }

    client.emit("stopVM", &[json!({"vmId": vm})]).await;
    assert_eq!(client.event("vmStopResult").await["status"], "stopping");
    for listener in [&mut client, &mut bystander] {
        assert_eq!(listener.event("vmStopping").await["vmId"], vm);
        assert_eq!(listener.event("vmStopped").await["vmId"], vm);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_client_assigns_and_releases_everybody_hears() {
    let served = Served::with(2, 0).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let mut bystander = Script::connected(&served.url(""), &json!({})).await;
    let vm = json!(served.a_vm(Status::Available));

    client
        .emit(
            "assignVM",
            &[json!({"competitionId": "finals", "preferredVmId": vm})],
        )
        .await;
    let result = client.event("vmAssignmentResult").await;
    assert_eq!((&result["vmId"], &result["status"]), (&vm, &json!("assigned")));
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
    assert_eq!((&result["vmId"], &result["status"]), (&vm, &json!("available")));
    for listener in [&mut client, &mut bystander] {
        let released = listener.event("vmReleased").await;
        assert_eq!(
            (&released["vmId"], &released["competitionId"]),
            (&vm, &json!("finals"))
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pool_does_by_itself_is_heard() {
    let served = Served::with(0, 1).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let vm = served.a_vm(Status::Stopped);
    served
        .put_json("/api/admin/vm-pool/config", &json!({"warmCount": 1}))
        .await
        .is(200);
    assert_eq!(client.event("vmPoolConfigUpdated").await["minWarmVMs"], 1);
    let kept = client.event("vmPoolMaintenance").await;
    assert_eq!(
        (&kept["warmVMsTarget"], &kept["startedCount"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(kept["results"], json!([{"vmId": vm, "success": true}]));
    client.event("vmReady").await;
    served.post("/api/admin/vm-pool/health-check").await.is(200);
    let checked = client
        .event_with("vmHealthUpdate", |told| told["healthStatus"] == "healthy")
        .await;
    assert!(checked["services"].is_object() && checked["timestamp"].is_string());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_told_once_and_every_payload_had_its_position() {
    let served = Served::with(1, 0).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    assert_eq!(client.ask("assignVM", &[finals()]).await["success"], true);
    client.emit("releaseVM", &[finals()]).await;
    client.event("vmReleased").await;
    client.emit("releaseVM", &[]).await;
    client.event("vmError").await;
    served.stop().await;
    assert!(client.event("serverShuttingDown").await["message"].is_string());
    client
        .until("the end", |line| line.get("disconnected").is_some())
        .await;
    assert_eq!(client.payloads("serverShuttingDown").count(), 1);
    for line in client.log.iter().filter(|line| line.get("event").is_some()) {
        assert!(line["args"][0]["seq"].is_u64(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_heard_from_decision_to_air_and_its_alert_only_in_the_room() {
    let served = Served::with(2, 0).await;
    let mut producer = Script::connected(&served.url(""), &json!({"query": {"compId": "finals"}})).await;
    let mut other = Script::connected(&served.url(""), &json!({"query": {"compId": "heats"}})).await;
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
    let mut client = Script::connected(&served.url(""), &json!({})).await;
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
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let mut other = Script::connected(&served.url(""), &json!({})).await;
    for event in ["assignVM", "releaseVM", "startVM", "stopVM", "acknowledgeAlert"] {
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
            let error = client
                .event_with("vmError", |told| told["requestId"] == acked["requestId"])
                .await;
            assert!(error["requestId"].is_string(), "{event}: {error}");
        }
    }
    let unknown = client.ask("startVM", &[json!({"vmId": "vm-nowhere"})]).await;
    assert_eq!(
        (&unknown["success"], &unknown["code"]),
        (&json!(false), &json!("VM_NOT_FOUND"))
    );
    assert_eq!(client.event("vmError").await["vmId"], "vm-nowhere");
    let alert = json!({"competitionId": "finals", "alertId": "a1"});
    let unknown = client.ask("acknowledgeAlert", &[alert]).await;
    assert_eq!(unknown["code"], "ALERT_NOT_FOUND");
    let told = client.event("vmError").await;
    assert_eq!(
        (&told["competitionId"], &told["alertId"]),
        (&json!("finals"), &json!("a1"))
    );
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
        let mut client = Script::start(
            &served.url(""),
            &json!({"transports": ["websocket"], "auth": auth}),
        );
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
