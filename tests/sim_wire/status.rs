//! The show server, over HTTP.

use serde_json::Value;

use understudy::sim::model::studio::Studio;
use understudy::sim::wire::MachineView;

use super::support::{DEADLINE, one_machine, status_at};

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(DEADLINE)
        .no_proxy()
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_status_tells_about_the_studio() {
    let (_world, _, machine) = one_machine().await;
    machine.load_example_studio("k").unwrap();
    let url = format!("http://{}/api/status", status_at(&machine));
    let status: Value = client().get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(status["obsConnected"], true);
    assert_eq!(status["obsIsStreaming"], false);
    assert_eq!(status["obsIsRecording"], false);
    assert_eq!(status["obsCurrentScene"], "Camera 2 - Vault");
    assert!(status["uptime"].as_f64().unwrap() > 3_000.0);
    assert!(status["version"].is_string());

    machine.operate(Studio::start_stream).unwrap();
    machine
        .until(DEADLINE, MachineView::is_streaming)
        .await
        .expect("a stream");
    let status: Value = client().get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(status["obsIsStreaming"], true);
}

#[tokio::test]
async fn a_show_is_activated_and_deactivated() {
    let (_world, _, machine) = one_machine().await;
    let base = format!("http://{}/api/competitions", status_at(&machine));
    let post = |path: &str| {
        client()
            .post(format!("{base}/{path}"))
            .json(&serde_json::json!({}))
            .send()
    };
    assert_eq!(post("State%20Finals/activate").await.unwrap().status(), 200);
    assert_eq!(machine.view().active_show.as_deref(), Some("State Finals"));
    assert_eq!(post("deactivate").await.unwrap().status(), 200);
    assert_eq!(machine.view().active_show, None);
    assert_eq!(post("a%2Fb/activate").await.unwrap().status(), 400);
    assert_eq!(post("nonsense").await.unwrap().status(), 404);
}
