//! A competition's configuration through the API: what is taken, what is told, and what never is.

use serde_json::{Value, json};

use understudy::domain::ids::ShowId;

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
    assert_eq!(told["restoredBy"], Value::Null);
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
    for told in [&told, &made] {
        assert_eq!(told["configuredAt"], made["configuredAt"]);
        // There is no SSH here to put a file on the VM with.
        assert_eq!(told["restoredBy"], "requests", "{told}");
    }
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
        (json!({"stream": {"key": format!("{KEY}\n{KEY}")}}), "stream.key"),
        (json!({"apply": "soon"}), "apply"),
        (json!({"template": null}), "template"),
        (json!({"strem": {"key": KEY}}), "strem"),
        (json!({"stream": {"kee": KEY}}), "stream.kee"),
        (json!({"aply": "later"}), "aply"),
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

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_variables_and_addresses_are_not_told_and_what_is_told_is_not_taken_for_them() {
    let served = Served::with(0, 0).await;
    let mut body = body();
    body["variables"]["graphics_url"] = json!("https://graphics.example.org/overlay?show=1&token=hush-1");
    body["variables"]["srt_host"] = json!("127.0.0.1?passphrase=hush-2");
    body["stream"]["server"] = json!("rtmp://producer:hush-3@127.0.0.1/live");
    let told = served.put_json(CONFIG, &body).await.is(200);
    let again = served.get(CONFIG).await.is(200);
    for answer in [&told, &again] {
        assert!(!answer.to_string().contains("hush"), "{answer}");
        assert_eq!(
            answer["variables"]["graphics_url"],
            "https://graphics.example.org/overlay?show=1&token=(secret)"
        );
        assert_eq!(answer["stream"]["server"], "rtmp://(secret)@127.0.0.1/live");
    }
    for (name, value, field) in [
        ("variables", again["variables"].clone(), "variables.graphics_url"),
        (
            "stream",
            json!({"server": again["stream"]["server"]}),
            "stream.server",
        ),
    ] {
        let mut back = body.clone();
        back[name] = value;
        let refused = served.put_json(CONFIG, &back).await.is(400);
        assert_eq!(refused["field"], field, "{refused}");
        let why = refused.to_string();
        assert!(why.contains("give the secret itself"), "{why}");
    }
    // The ledger has what the studio needs.
    let state = served.coordinator.state();
    let show = state.show(&ShowId::new("finals").unwrap()).unwrap();
    let kept = show.configuration.as_ref().unwrap();
    assert!(kept.variables.0.contains("hush-1") && !format!("{kept:?}").contains("hush-1"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_which_keys_there_are_and_nothing_of_lines_and_columns() {
    let served = Served::with(0, 0).await;
    let mut unknown = body();
    unknown["stream"]["kee"] = json!(KEY);
    let mut missing = body();
    missing.as_object_mut().unwrap().remove("template");
    for (body, said) in [
        (unknown, "unknown field `kee`, expected `server` or `key`"),
        (missing, "missing field `template`"),
    ] {
        let refused = served.put_json(CONFIG, &body).await.is(400);
        assert_eq!(refused["error"], said);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_for_later_is_not_told_as_made_and_is_made_when_that_is_asked_for() {
    let served = Served::with(1, 0).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    served.put_json(CONFIG, &body()).await.is(200);
    served
        .post("/api/competitions/finals/vm/assign?wait=30")
        .await
        .is(200);
    client.event("showConfigured").await;
    let mut other = body();
    other["variables"]["title"] = json!("Other Finals");
    other["apply"] = json!("later");
    // Said twice, it is for later both times.
    for _ in 0..2 {
        let kept = served.put_json(CONFIG, &other).await.is(200);
        assert_eq!(
            (&kept["state"], &kept["configuredAt"]),
            (&json!("kept"), &Value::Null)
        );
        assert_eq!(kept["variables"]["title"], "Other Finals");
    }
    other.as_object_mut().unwrap().remove("apply");
    served.put_json(CONFIG, &other).await.is(200);
    client.event("showConfigured").await;
    assert_eq!(served.get(CONFIG).await.is(200)["state"], "made");
    client.close().await;
    served.stop().await;
}
