//! A competition's configuration through the API: what is taken, what is told, and what never is.

use serde_json::{Value, json};

use crate::served::Served;
use crate::support::socketio::Script;

const CONFIG: &str = "/api/competitions/finals/show/config";
const KEY: &str = "live-4711-hush";

fn body() -> Value {
    json!({
        "template": "multi-camera",
        "variables": {"title": "Finals", "cameras": [{"name": "Floor", "port": 9001}]},
        "stream": {"server": "rtmp://127.0.0.1/live", "key": KEY},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_competition_is_configured_and_everybody_hears_when_its_studio_is_made() {
    let served = Served::with(1, 0).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    served.get(CONFIG).await.refuses(404, "NOT_CONFIGURED");
    let told = served.put_json(CONFIG, &body()).await.is(200);
    assert_eq!(
        (&told["state"], &told["stream"]["keySet"]),
        (&json!("waiting"), &json!(true))
    );
    let assigned = served
        .post("/api/competitions/finals/vm/assign?wait=30")
        .await
        .is(200);
    let made = client.event("showConfigured").await;
    assert_eq!(
        (&made["competitionId"], &made["vmId"]),
        (&json!("finals"), &assigned["vmId"])
    );
    assert_eq!(made["differences"], json!([]));
    let told = served.get(CONFIG).await.is(200);
    assert_eq!(
        (&told["state"], &told["vmId"]),
        (&json!("made"), &assigned["vmId"])
    );
    assert_eq!(told["configuredAt"], made["configuredAt"]);
    assert_eq!(told["variables"]["title"], "Finals");
    for answer in [&told, &made, &served.get("/api/shows").await.is(200)] {
        assert!(!answer.to_string().contains(KEY), "{answer}");
    }
    client.close().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stays_until_it_is_removed() {
    let served = Served::with(0, 0).await;
    served.put_json(CONFIG, &body()).await.is(200);
    for (stream, is_set) in [
        (json!({}), true),
        (json!({"key": null}), false),
        (json!({"key": KEY}), true),
        (json!({"key": ""}), false),
    ] {
        let mut body = body();
        body["stream"] = stream.clone();
        let told = served.put_json(CONFIG, &body).await.is(200);
        assert_eq!(told["stream"]["keySet"], is_set, "{stream}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_named_without_the_key() {
    let served = Served::with(0, 0).await;
    let table = [
        (json!({"template": "none"}), "template"),
        (json!({"variables": {"title": "x"}}), "variables.cameras"),
        (
            json!({"variables": {"title": "x", "cameras": [{"name": "a", "port": 99999}]}}),
            "variables.cameras[0].port",
        ),
        (
            json!({"stream": {"server": "ftp://x", "key": KEY}}),
            "stream.server",
        ),
        (json!({"stream": {"key": format!("{KEY}\n")}}), "stream.key"),
        (json!({"apply": "soon"}), "apply"),
        (json!({"template": null}), "template"),
    ];
    for (change, field) in table {
        let mut body = body();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let refused = served.put_json(CONFIG, &body).await.is(400);
        assert_eq!(refused["field"], field, "{refused}");
        assert!(!refused.to_string().contains(KEY), "{refused}");
    }
    served.get(CONFIG).await.refuses(404, "NOT_CONFIGURED");
    served.stop().await;
}
