//! The coordinator's own routes: truthful, and never an activity when they only look.

use serde_json::{Value, json};

use understudy::domain::ids::ShowId;
use understudy::domain::show::Phase;

use crate::served::Served;
use crate::shows::set_up;

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinators_status_has_what_its_readers_read() {
    let served = Served::with(1, 0).await;
    let status = served.get("/api/coordinator/status").await.is(200);
    for (field, value) in [
        ("success", json!(true)),
        ("state", json!("running")),
        ("appReady", json!(true)),
        ("status", json!("online")),
        ("mode", json!("standalone")),
        ("connectedClients", json!(0)),
        ("autoShutdown", Value::Null),
        ("cached", json!(false)),
        ("firebase", status["connections"]["firebase"].clone()),
    ] {
        assert_eq!(status[field], value, "{field}");
    }
    assert_eq!(status["connections"]["aws"], "connected");
    assert!(status["uptime"].is_u64() && status["uptimeFormatted"].as_str().unwrap().ends_with('s'));
    for time in ["lastActivity", "launchTime", "timestamp"] {
        let text = status[time].as_str().unwrap();
        assert!(text.len() == 24 && text.ends_with('Z'), "{time}: {text}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_show_state_is_neutral_and_complete() {
    let served = Served::with(0, 0).await;
    let state = served.get("/api/status").await.is(200);
    for field in [
        "currentSegmentIndex",
        "currentSegment",
        "nextSegment",
        "isPlaying",
        "isPaused",
        "talentLocked",
        "obsConnected",
        "obsCurrentScene",
        "obsIsStreaming",
        "obsIsRecording",
        "connectedClients",
        "showProgress",
        "segmentStartTime",
        "segmentElapsed",
        "uptime",
        "version",
    ] {
        assert!(state.get(field).is_some(), "{field}");
    }
    assert_eq!(state["showProgress"], json!({"completed": 0, "total": 0}));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_is_not_activity_and_doing_is() {
    let served = Served::with(0, 0).await;
    let last = async || served.get("/api/coordinator/activity").await.is(200)["lastActivity"].clone();
    let before = last().await;
    for look in [
        "/api/status",
        "/api/coordinator/status",
        "/api/coordinator/idle",
        "/api/vm/finals/status",
        "/healthz",
    ] {
        served.get(look).await.is(200);
        assert_eq!(last().await, before, "{look}");
    }
    let mut previous = before;
    for act in [
        "/api/coordinator/activity",
        "/api/coordinator/keep-alive",
        "/api/coordinator/wake",
    ] {
        // Times have milliseconds: two things in the same one cannot be told apart.
        let began = served.coordinator.now();
        while served.coordinator.now() == began {
            tokio::task::yield_now().await;
        }
        let answer = served.post(act).await.is(200);
        assert_eq!(answer["success"], true, "{act}");
        let now = last().await;
        assert_ne!(now, previous, "{act}");
        previous = now;
    }
    let idle = served.get("/api/coordinator/idle").await.is(200);
    assert_eq!(
        (&idle["idleMinutes"], &idle["autoShutdown"]),
        (&json!(0), &Value::Null)
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waking_what_is_awake_succeeds() {
    let served = Served::with(0, 0).await;
    let woken = served.post("/api/coordinator/wake").await.is(200);
    assert_eq!(
        (&woken["state"], &woken["estimatedReadySeconds"]),
        (&json!("running"), &json!(0))
    );
    served.stop().await;
}

const STOP: &str = "/api/coordinator/stop";

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_may_not_stop_its_machine_says_how_it_is_stopped() {
    let served = Served::with(1, 0).await;
    // A show that has a VM but no stream is no reason of its own.
    served.post("/api/competitions/finals/vm/assign").await.is(200);
    for body in [json!({}), json!({"force": true}), json!({"force": false})] {
        let refused = served.post_json(STOP, &body).await.refuses(409, "STANDALONE");
        assert_eq!(
            (&refused["success"], &refused["state"]),
            (&json!(false), &json!("running"))
        );
        assert_eq!(refused["message"], refused["error"]);
        for way in ["SIGTERM", "systemctl stop"] {
            assert!(refused["message"].as_str().unwrap().contains(way), "{refused:#}");
        }
        assert_eq!(refused.get("inUse"), None);
    }
    served.post(STOP).await.refuses(409, "STANDALONE");
    let misfit = served.post_json(STOP, &json!({"force": "yes"})).await.is(400);
    assert_eq!(misfit["field"], "force");
    assert_eq!(
        served.get("/api/coordinator/status").await.is(200)["state"],
        "running"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_asked_to_stop_names_the_shows_that_are_streaming() {
    let served = Served::with(2, 0).await;
    set_up(&served).await;
    served.post("/api/competitions/heats/vm/assign").await.is(200);
    served.post("/api/competitions/finals/show/start").await.is(200);
    let refused = served.post(STOP).await.refuses(409, "IN_USE");
    assert_eq!(
        (&refused["success"], &refused["state"]),
        (&json!(false), &json!("running"))
    );
    assert_eq!(refused["inUse"], json!(["finals"]));
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("finals is streaming")
    );
    assert_eq!(refused["message"], refused["error"]);
    let forced = served.post_json(STOP, &json!({"force": true})).await;
    forced.refuses(409, "STANDALONE");
    let finals = ShowId::new("finals").unwrap();
    let state = served.coordinator.state();
    assert_eq!(
        state.show(&finals).unwrap().phase,
        Phase::OnAir,
        "it is on air all the same"
    );
    served.stop().await;
}
