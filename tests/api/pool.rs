//! The pool's own routes, in the contract's words.

use reqwest::Method;
use serde_json::{Value, json};
use understudy::domain::vm::Status;
use understudy::sim::model::fault::CloudFault;

use crate::served::{Served, open, send, stage};

const POOL: &str = "/api/admin/vm-pool";

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_is_listed_with_both_names_of_everything() {
    let served = Served::with(2, 1).await;
    let pool = served.get(POOL).await.is(200);
    assert_eq!(pool["initialized"], true);
    assert_eq!(pool["counts"], pool["summary"]);
    assert_eq!(pool["config"], pool["poolConfig"]);
    assert_eq!(pool["counts"]["total"], 3);
    assert_eq!(pool["counts"]["available"], 2);
    assert_eq!(pool["counts"]["stopped"], 1);
    let vms = pool["vms"].as_array().unwrap();
    assert_eq!(vms.len(), 3);
    for vm in vms {
        for field in [
            "vmId",
            "instanceId",
            "name",
            "status",
            "ec2State",
            "lastStateChange",
            "healthStatus",
        ] {
            assert!(vm[field].is_string(), "{field} of {vm:#}");
        }
        let alone = served
            .get(&format!("{POOL}/{}", vm["vmId"].as_str().unwrap()))
            .await
            .is(200);
        assert_eq!(alone["vmId"], vm["vmId"]);
        let is_up = vm["status"] == "available";
        assert_eq!(vm["services"]["node"] == true, is_up, "{vm:#}");
        assert_eq!(vm.get("services").is_some(), is_up, "{vm:#}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_vm_is_not_found() {
    let served = Served::with(0, 1).await;
    for answer in [
        served.get(&format!("{POOL}/vm-nowhere")).await,
        served.post(&format!("{POOL}/vm-nowhere/start")).await,
        served.post(&format!("{POOL}/vm-nowhere/stop")).await,
        served.post(&format!("{POOL}/vm-nowhere/reboot")).await,
        served.post(&format!("{POOL}/vm-nowhere/archive")).await,
        served.delete(&format!("{POOL}/vm-nowhere")).await,
        served
            .post_json(
                &format!("{POOL}/vm-nowhere/maintenance"),
                &json!({"enabled": true}),
            )
            .await,
        served
            .post_json(&format!("{POOL}/health-check"), &json!({"vmId": "vm-nowhere"}))
            .await,
    ] {
        let body = answer.refuses(404, "VM_NOT_FOUND");
        assert_eq!(
            (&body["error"], &body["vmId"]),
            (&json!("VM not found"), &json!("vm-nowhere"))
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_look_at_the_cloud_only_reads_answer() {
    let stage = stage(1, 0).await;
    stage.world.cloud_fault(CloudFault::Down);
    let served = Served::over(stage, open()).await;
    let pool = served.get(POOL).await.is(200);
    assert_eq!(
        (&pool["initialized"], &pool["config"], &pool["vms"]),
        (&json!(false), &Value::Null, &json!([]))
    );
    assert_eq!(pool["counts"]["total"], 0);
    assert!(pool["message"].is_string());
    assert_eq!(
        served.get(&format!("{POOL}/config")).await.is(200)["maxInstances"],
        1_000
    );
    for refused in [
        served.post("/api/competitions/finals/vm/assign").await,
        served.post("/api/competitions/finals/vm/release").await,
        served.get("/api/competitions/finals/vm").await,
        served.get(&format!("{POOL}/vm-a")).await,
        served
            .put_json(&format!("{POOL}/config"), &json!({"warmCount": 1}))
            .await,
        served.post(&format!("{POOL}/launch")).await,
        served.post(&format!("{POOL}/health-check")).await,
    ] {
        assert_eq!(refused.body["error"], "VM pool manager not initialized");
        refused.refuses(503, "NOT_INITIALIZED");
    }
    // What the ledger remembers of shows does not depend on the cloud.
    assert_eq!(served.get("/api/shows").await.is(200)["shows"], json!([]));
    let status = served.get("/api/vm/finals/status").await.is(200);
    assert_eq!(
        status,
        json!({"online": false, "noVm": true, "error": "VM pool not initialized"})
    );
    let ready = served.get("/readyz").await;
    assert_eq!(
        (&ready.body["ready"], &ready.body["initialized"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(ready.status, 503);
    assert_eq!(served.get("/healthz").await.is(200)["status"], "ok");
    assert_eq!(served.get("/api/status").await.is(200)["status"], "ok");

    served.stage.world.heal_cloud();
    served.until_available(1).await;
    assert_eq!(served.get("/readyz").await.is(200)["ready"], true);
    assert_eq!(served.get(POOL).await.is(200)["initialized"], true);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_started_and_stopped() {
    let served = Served::with(0, 1).await;
    let vm = served.a_vm(Status::Stopped);
    let path = format!("{POOL}/{vm}");

    let refused = served
        .post(&format!("{path}/stop"))
        .await
        .refuses(409, "WRONG_STATUS");
    assert_eq!(
        (&refused["vmId"], &refused["status"]),
        (&json!(vm), &json!("stopped"))
    );

    let started = served.post(&format!("{path}/start")).await.is(200);
    assert_eq!(
        (&started["success"], &started["vmId"], &started["status"]),
        (&json!(true), &json!(vm), &json!("starting"))
    );
    assert!(started["instanceId"].is_string() && started["message"].is_string());
    assert!(started["estimatedReadyTime"].as_u64().unwrap() > 1_600_000_000_000);
    served
        .post(&format!("{path}/start"))
        .await
        .refuses(409, "WRONG_STATUS");

    served.until_available(1).await;
    let stopped = served.post(&format!("{path}/stop")).await.is(200);
    assert_eq!(
        (&stopped["success"], &stopped["status"]),
        (&json!(true), &json!("stopping"))
    );
    served
        .until("it is off", |state| {
            (state.count(Status::Stopped) == 1).then_some(())
        })
        .await;
    let record = served.get(&path).await.is(200);
    assert_eq!(record["status"], "stopped");
    assert_eq!(record.get("services"), None);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_assigned_is_neither_stopped_nor_terminated_nor_taken_for_maintenance() {
    let served = Served::with(1, 0).await;
    let vm = served.a_vm(Status::Available);
    served.post("/api/competitions/finals/vm/assign").await.is(200);
    let path = format!("{POOL}/{vm}");

    let stop = served
        .post(&format!("{path}/stop"))
        .await
        .refuses(409, "OCCUPIED");
    assert_eq!(
        (&stop["assignedTo"], &stop["vmId"]),
        (&json!("finals"), &json!(vm))
    );
    let terminate = served.delete(&path).await.refuses(400, "OCCUPIED");
    assert_eq!(terminate["assignedTo"], "finals");
    assert!(terminate["message"].is_string());
    let maintenance = served
        .post_json(&format!("{path}/maintenance"), &json!({"enabled": true}))
        .await;
    maintenance.refuses(409, "OCCUPIED");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_takes_a_vm_out_of_use_and_back() {
    let served = Served::with(1, 0).await;
    let vm = served.a_vm(Status::Available);
    let path = format!("{POOL}/{vm}/maintenance");
    let began = served
        .post_json(&path, &json!({"enabled": true, "reason": "new disk"}))
        .await
        .is(200);
    assert_eq!(
        began,
        json!({"success": true, "vmId": vm, "status": "maintenance"})
    );
    let record = served.get(&format!("{POOL}/{vm}")).await.is(200);
    assert_eq!(
        (&record["status"], &record["errorReason"]),
        (&json!("maintenance"), &json!("new disk"))
    );
    served
        .post("/api/competitions/finals/vm/assign")
        .await
        .refuses(409, "POOL_EXHAUSTED");
    let ended = served.post_json(&path, &json!({"enabled": false})).await.is(200);
    assert_eq!(ended["status"], "available");
    let body = served.post_json(&path, &json!({})).await;
    assert_eq!(body.body["field"], "enabled", "{:#}", body.body);
    body.is(400);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_rebooted_and_must_prove_itself_again() {
    let served = Served::with(1, 0).await;
    let vm = served.a_vm(Status::Available);
    let rebooted = served.post(&format!("{POOL}/{vm}/reboot")).await.is(200);
    assert_eq!(
        (&rebooted["success"], &rebooted["vmId"]),
        (&json!(true), &json!(vm))
    );
    served.until_available(1).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_launched_within_the_pools_size_and_terminated() {
    let served = Served::with(0, 0).await;
    served
        .put_json(
            &format!("{POOL}/config"),
            &json!({"maxInstances": 1, "warmCount": 0}),
        )
        .await
        .is(200);
    let ask = json!({"name": "cam-9", "tags": {"Team": "east"}, "ignored": true});
    let launched = served.post_json(&format!("{POOL}/launch"), &ask).await.is(200);
    assert_eq!(launched["instance"]["instanceId"], launched["instanceId"]);
    assert_eq!(launched["instance"]["name"], "cam-9");
    assert_eq!(launched["instance"]["tags"]["Team"], "east");
    let vm = launched["vmId"].as_str().unwrap();
    let full = served
        .post(&format!("{POOL}/launch"))
        .await
        .refuses(409, "POOL_FULL");
    assert_eq!((&full["total"], &full["maxInstances"]), (&json!(1), &json!(1)));
    served.until_available(1).await;

    let gone = served.delete(&format!("{POOL}/{vm}")).await.is(200);
    let change = &gone["result"]["terminatingInstances"][0];
    assert_eq!(change["instanceId"], launched["instanceId"]);
    assert_eq!(change["previousState"], "running");
    served
        .until("it has left the pool", |state| {
            (state.vm_count() == 0).then_some(())
        })
        .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_without_a_name_gets_one() {
    let served = Served::with(0, 0).await;
    let launched = served.post(&format!("{POOL}/launch")).await.is(200);
    let name = launched["instance"]["name"].as_str().unwrap();
    assert!(name.starts_with("gymnastics-vm-"), "{name}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_refuses_is_a_bad_gateway_with_its_code() {
    let served = Served::with(0, 1).await;
    let vm = served.a_vm(Status::Stopped);
    served.stage.world.cloud_fault(CloudFault::NoCapacity);
    let refused = served
        .post(&format!("{POOL}/launch"))
        .await
        .refuses(502, "CLOUD_FAILED");
    assert!(refused["awsCode"].is_string(), "{refused:#}");
    let refused = served
        .post(&format!("{POOL}/{vm}/start"))
        .await
        .refuses(502, "CLOUD_FAILED");
    assert_eq!(refused["vmId"], json!(vm));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_on_demand_say_what_they_found() {
    let served = Served::with(2, 1).await;
    let checked = served
        .post_json(&format!("{POOL}/health-check"), &json!({"reconcile": true}))
        .await
        .is(200);
    assert_eq!(
        (&checked["success"], &checked["total"], &checked["healthy"]),
        (&json!(true), &json!(3), &json!(2))
    );
    assert_eq!(checked["unhealthy"], 1);
    let vm = served.a_vm(Status::Available);
    let one = served
        .post_json(&format!("{POOL}/health-check"), &json!({"vmId": vm}))
        .await
        .is(200);
    let result = &one["results"][0];
    assert_eq!(
        (&result["vmId"], &result["healthy"], &result["healthStatus"]),
        (&json!(vm), &json!(true), &json!("healthy"))
    );
    assert!(result["responseTime"].is_u64() && result["timestamp"].is_string());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_read_changed_and_refused_by_name() {
    let served = Served::with(0, 0).await;
    let path = format!("{POOL}/config");
    let before = served.get(&path).await.is(200);
    for number in ["warmCount", "maxInstances", "healthCheckIntervalMs"] {
        assert!(before[number].is_number(), "{number}");
    }
    let sent_back = json!({"maxInstances": 9, "minWarmVMs": 0, "autoStopAfterHours": 1});
    let changed = served.put_json(&path, &sent_back).await.is(200);
    assert_eq!(
        (&changed["success"], &changed["config"]["maxTotalVMs"]),
        (&json!(true), &json!(9))
    );
    let after = served.get(&path).await.is(200);
    assert_eq!(after, changed["config"]);
    assert_eq!(served.put_json(&path, &after).await.is(200)["config"], after);

    for (bad, field) in [
        (json!({"warmCount": -1}), "warmCount"),
        (json!({"minWarmVMs": 2, "warmCount": 1}), "warmCount"),
        (json!({"colour": "blue"}), "colour"),
        (json!({"region": "mars-1"}), "region"),
    ] {
        let refused = served.put_json(&path, &bad).await;
        assert_eq!(refused.body["field"], field, "{:#}", refused.body);
        refused.is(400);
    }
    for no_object in [json!([]), json!(null), json!(7)] {
        let refused = served.put_json(&path, &no_object).await.is(400);
        assert_eq!(refused["error"], "config must be an object", "{no_object}");
    }
    assert_eq!(
        served.get(&path).await.is(200),
        after,
        "a refused change changes nothing"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booted_vm_leaves_a_hint_that_is_believed_in_nothing() {
    let served = Served::with(1, 0).await;
    let path = format!("{POOL}/ready");
    let vm = served.a_vm(Status::Available);
    let instance = served.get(&format!("{POOL}/{vm}")).await.is(200)["instanceId"].clone();
    let hint = json!({"instanceId": instance, "publicIp": "203.0.113.9", "status": "ready"});
    assert_eq!(
        served.post_json(&path, &hint).await.is(202),
        json!({"success": true, "vmId": vm})
    );
    let record = served.get(&format!("{POOL}/{vm}")).await.is(200);
    assert_ne!(record["publicIp"], "203.0.113.9");
    let stranger = json!({"instanceId": "i-stranger", "status": "ready"});
    assert_eq!(
        served.post_json(&path, &stranger).await.is(202)["vmId"],
        Value::Null
    );
    for (bad, field) in [
        (json!({"instanceId": "i-1", "status": "broken"}), "status"),
        (json!({"instanceId": "i/1", "status": "ready"}), "instanceId"),
        (
            json!({"instanceId": "i-1", "status": "ready", "publicIp": "nonsense"}),
            "publicIp",
        ),
    ] {
        assert_eq!(served.post_json(&path, &bad).await.is(400)["field"], field);
    }
    let mut limited = None;
    for _ in 0..200 {
        let answer = served.post_json(&path, &stranger).await;
        if answer.status != 202 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("anybody may post here without end");
    assert!(limited.headers.contains_key("retry-after"));
    assert!(limited.refuses(429, "RATE_LIMITED")["retryAfterSeconds"].is_u64());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_words_are_routes_and_never_vms() {
    let served = Served::with(0, 0).await;
    for word in ["config", "launch", "health-check", "ready"] {
        let refused = served.post(&format!("{POOL}/{word}/start")).await;
        assert_eq!(refused.body["field"], "vmId", "{word}");
        refused.is(400);
        let method = Method::DELETE;
        send(served.request(method, &format!("{POOL}/{word}")))
            .await
            .refuses(405, "METHOD_NOT_ALLOWED");
    }
    served.stop().await;
}
