//! Assign and release: warm, cold, repeated, raced.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use understudy::domain::vm::Status;
use understudy::sim::model::fault::CloudFault;

use crate::served::{Answer, Served, send};

const ASSIGN: &str = "/api/competitions/finals/vm/assign";
const RELEASE: &str = "/api/competitions/finals/vm/release";
const VM: &str = "/api/competitions/finals/vm";

async fn keyed(served: &Served, path: &str, key: &str) -> Answer {
    send(served.request(Method::POST, path).header("Idempotency-Key", key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_vm_is_given_seen_and_given_back() {
    let served = Served::with(1, 0).await;
    let none = served.get(VM).await.refuses(404, "NOT_ASSIGNED");
    assert_eq!(
        (&none["competitionId"], &none["vm"], &none["vmId"]),
        (&json!("finals"), &Value::Null, &Value::Null)
    );

    let assigned = served.post(ASSIGN).await.is(200);
    assert_eq!(assigned["success"], true);
    assert_eq!(assigned["status"], "assigned");
    assert_eq!(assigned["competitionId"], "finals");
    assert!(assigned["instanceId"].is_string() && assigned["estimatedReadyTime"].is_u64());
    let ip = assigned["publicIp"].as_str().unwrap();
    let port = served.coordinator.settings().service_port;
    assert_eq!(assigned["vmAddress"], format!("{ip}:{port}"));

    let view = served.get(VM).await.is(200);
    for field in [
        "vmId",
        "instanceId",
        "publicIp",
        "vmAddress",
        "competitionId",
        "epoch",
    ] {
        assert_eq!(view[field], assigned[field], "{field}");
    }
    assert_eq!(
        (&view["status"], &view["phase"]),
        (&json!("assigned"), &json!("off_air"))
    );
    assert_eq!(view["services"]["node"], true);

    let vm = assigned["vmId"].as_str().unwrap();
    let record = served.get(&format!("/api/admin/vm-pool/{vm}")).await.is(200);
    assert_eq!(
        (&record["assignedTo"], &record["assignedBy"]),
        (&json!("finals"), &json!("api"))
    );
    assert_eq!(record["totalAssignments"], 1);

    let released = served.post(RELEASE).await.is(200);
    assert_eq!(
        (&released["success"], &released["vmId"]),
        (&json!(true), &json!(vm))
    );
    assert_eq!(
        (&released["instanceId"], &released["status"]),
        (&assigned["instanceId"], &json!("available"))
    );
    let record = served.get(&format!("/api/admin/vm-pool/{vm}")).await.is(200);
    assert_eq!(record["status"], "available", "on the very next read");
    assert_eq!(record.get("assignedTo"), None);

    let again = served.post(RELEASE).await.is(200);
    assert_eq!(again["success"], true);
    assert!(again["message"].is_string() && again.get("vmId").is_none());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_competition_has_at_most_one_vm() {
    let served = Served::with(2, 0).await;
    let assigned = served.post(ASSIGN).await.is(200);
    let refused = served.post(ASSIGN).await.refuses(400, "ALREADY_ASSIGNED");
    for field in ["vmId", "publicIp", "competitionId"] {
        assert_eq!(refused[field], assigned[field], "{field}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preferred_vm_is_given_or_refused_and_another_only_if_allowed() {
    let served = Served::with(2, 1).await;
    let unknown = served
        .post_json(ASSIGN, &json!({"preferredVmId": "vm-nowhere"}))
        .await;
    assert_eq!(unknown.refuses(404, "VM_NOT_FOUND")["vmId"], "vm-nowhere");
    let wanted = served.a_vm(Status::Available);
    let ask = json!({"preferredVmId": wanted});
    assert_eq!(
        served.post_json(ASSIGN, &ask).await.is(200)["vmId"],
        json!(wanted)
    );
    let busy = served
        .post_json("/api/competitions/heats/vm/assign", &ask)
        .await
        .refuses(409, "PREFERRED_BUSY");
    assert_eq!(
        (&busy["vmId"], &busy["status"]),
        (&json!(wanted), &json!("assigned"))
    );
    let ask = json!({"preferredVmId": wanted, "allowFallback": true});
    let other = served
        .post_json("/api/competitions/heats/vm/assign", &ask)
        .await
        .is(200);
    assert_ne!(other["vmId"], json!(wanted));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_only_cold_vms_the_answer_is_a_reservation_that_completes_by_itself() {
    let served = Served::with(0, 2).await;
    let accepted = served.post(ASSIGN).await.is(202);
    assert_eq!(
        (&accepted["success"], &accepted["status"]),
        (&json!(true), &json!("starting"))
    );
    assert_eq!(
        (&accepted["publicIp"], &accepted["vmAddress"]),
        (&Value::Null, &Value::Null)
    );
    assert!(accepted["vmId"].is_string() && accepted["instanceId"].is_string());
    assert_eq!(accepted["position"], 1);
    assert!(accepted["estimatedReadyTime"].as_u64().unwrap() >= served.coordinator.now().0);
    let second = served.post("/api/competitions/heats/vm/assign").await.is(202);
    assert_eq!(second["position"], 2);
    assert_ne!(second["vmId"], accepted["vmId"]);

    let view = served.get(VM).await.is(200);
    assert_eq!(
        (&view["vmId"], &view["status"]),
        (&accepted["vmId"], &json!("starting"))
    );
    served
        .until("both are ready", |state| {
            (state.count(Status::Assigned) == 2).then_some(())
        })
        .await;
    let view = served.get(VM).await.is(200);
    assert_eq!(
        (&view["vmId"], &view["status"]),
        (&accepted["vmId"], &json!("assigned"))
    );
    assert!(view["vmAddress"].is_string());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_wait_for_a_cold_vm() {
    let served = Served::with(0, 2).await;
    let assigned = served.post(&format!("{ASSIGN}?wait=30")).await.is(200);
    assert_eq!(assigned["status"], "assigned");
    assert!(assigned["vmAddress"].is_string());
    let assigned = served
        .post_json("/api/competitions/heats/vm/assign", &json!({"wait": true}))
        .await
        .is(200);
    assert!(assigned["vmAddress"].is_string());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_too_short_ends_as_a_reservation() {
    let served = Served::with(0, 1).await;
    let accepted = served.post(&format!("{ASSIGN}?wait=0")).await.is(202);
    assert_eq!(accepted["status"], "starting");
    for bad in ["-1", "301", "soon", "1.5"] {
        let refused = served
            .post(&format!("/api/competitions/heats/vm/assign?wait={bad}"))
            .await;
        assert_eq!(refused.body["field"], "wait", "{bad}");
        refused.is(400);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pool_and_a_full_house_say_so() {
    let served = Served::with(1, 0).await;
    served
        .put_json(
            "/api/admin/vm-pool/config",
            &json!({"maxConcurrent": 1, "warmCount": 0}),
        )
        .await
        .is(200);
    served.post(ASSIGN).await.is(200);
    served
        .post("/api/competitions/heats/vm/assign")
        .await
        .refuses(409, "MAX_CONCURRENT");
    served
        .put_json(
            "/api/admin/vm-pool/config",
            &json!({"maxConcurrent": 5, "warmCount": 0}),
        )
        .await
        .is(200);
    served
        .post("/api/competitions/heats/vm/assign")
        .await
        .refuses(409, "POOL_EXHAUSTED");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_a_repetition_answer_what_the_first_did() {
    let served = Served::with(2, 0).await;
    let first = keyed(&served, ASSIGN, "k-1").await.is(200);
    assert_eq!(first.get("repeated"), None);
    let again = keyed(&served, ASSIGN, "k-1").await.is(200);
    assert_eq!(
        (&again["vmId"], &again["repeated"]),
        (&first["vmId"], &json!(true))
    );
    keyed(&served, "/api/competitions/heats/vm/assign", "k-1")
        .await
        .refuses(422, "IDEMPOTENCY_KEY_REUSED");
    keyed(&served, RELEASE, "k-1")
        .await
        .refuses(422, "IDEMPOTENCY_KEY_REUSED");

    let released = keyed(&served, RELEASE, "k-2").await.is(200);
    assert_eq!(released["vmId"], first["vmId"]);
    assert_eq!(released.get("repeated"), None);
    let again = keyed(&served, RELEASE, "k-2").await.is(200);
    assert_eq!(
        (&again["vmId"], &again["repeated"]),
        (&first["vmId"], &json!(true))
    );

    for bad in ["", "a/b", &"x".repeat(129)] {
        let refused = keyed(&served, ASSIGN, bad).await;
        assert_eq!(refused.body["field"], "Idempotency-Key", "{bad:?}");
        refused.is(400);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_can_stop_the_vm() {
    let served = Served::with(1, 0).await;
    served.post(ASSIGN).await.is(200);
    let ask = json!({"stopVM": true});
    let released = served.post_json(RELEASE, &ask).await.is(200);
    assert_eq!(released.get("archived"), None, "it was not asked for");
    served
        .until("it is off", |state| {
            (state.count(Status::Stopped) == 1).then_some(())
        })
        .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_competitions_at_once_get_distinct_vms_and_one_gets_one() {
    let served = Served::with(4, 0).await;
    let assigned = async |path: String| served.post(&path).await;
    let many = (0..50).map(|n| assigned(format!("/api/competitions/show-{n}/vm/assign")));
    let answers = futures_util::future::join_all(many).await;
    let given: Vec<&Value> = answers
        .iter()
        .filter(|a| a.status == 200)
        .map(|a| &a.body["vmId"])
        .collect();
    assert_eq!(given.len(), 4);
    assert_eq!(
        given
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
            .len(),
        4
    );
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (409, &json!("POOL_EXHAUSTED"))
        );
    }

    for n in 0..50 {
        served
            .post(&format!("/api/competitions/show-{n}/vm/release"))
            .await
            .is(200);
    }
    let many = (0..50).map(|_| assigned(ASSIGN.to_owned()));
    let answers = futures_util::future::join_all(many).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (400, &json!("ALREADY_ASSIGNED"))
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_outage_does_not_disturb_what_is_warm() {
    let served = Served::with(1, 1).await;
    served.stage.world.cloud_fault(CloudFault::Down);
    served.post(ASSIGN).await.is(200);
    served.post(RELEASE).await.is(200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_of_a_competition_sees_its_vm_and_a_test_checks_it() {
    let served = Served::with(1, 0).await;
    let none = served.get("/api/vm/finals/status").await.is(200);
    assert_eq!(none, json!({"online": false, "noVm": true}));
    served
        .post(&format!("{VM}/test"))
        .await
        .refuses(404, "NOT_ASSIGNED");
    served.post(ASSIGN).await.is(200);
    let status = served.get("/api/vm/finals/status").await.is(200);
    assert_eq!(
        (&status["online"], &status["obsConnected"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(status.get("noVm"), None);
    let tested = served.post(&format!("{VM}/test")).await.is(200);
    assert_eq!(
        (&tested["success"], &tested["healthy"]),
        (&json!(true), &json!(true))
    );
    for (check, ok) in [
        ("ec2", json!(true)),
        ("nodeServer", json!(true)),
        ("obsWebsocket", json!(true)),
        ("nimble", Value::Null),
    ] {
        assert_eq!(tested["checks"][check]["ok"], ok, "{check}");
    }
    served.stop().await;
}
