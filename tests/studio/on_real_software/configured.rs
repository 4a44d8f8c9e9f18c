//! A show's studio is made from its template, in an OBS that knows nothing of templates.

use serde_json::{Value, json};

use crate::LIMIT;
use crate::ingest::Ingest;
use crate::rig::{Rig, key};
use crate::support::eventually::eventually;

const CONFIG: &str = "/api/competitions/finals/show/config";

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_made_from_its_template_and_goes_on_air() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    let config = json!({
        "template": "multi-camera",
        "variables": {
            "title": "Finals",
            "width": 320,
            "height": 180,
            "cameras": [{"name": "Floor", "port": 9001}, {"name": "Vault", "port": 9002}],
        },
        "stream": {"server": Ingest::server_url(), "key": key("finals")},
    });
    rig.coordinator.put(CONFIG, config.clone()).await.expect(200);
    rig.coordinator.assign("finals").await.expect(200);
    let made = until_made(&rig).await;
    assert_eq!(made["differences"], json!([]), "{made}");

    let studio = rig.studio(instance).await;
    assert_eq!(studio["program"], "Starting Soon");
    for scene in [
        "Camera 1 Floor",
        "Camera 2 Vault",
        "Dual Floor Vault",
        "Starting Soon",
    ] {
        let items = studio["scenes"][scene].as_array().map_or(0, Vec::len);
        assert!(items > 0, "{scene} is empty or missing: {}", studio["scenes"]);
    }
    let input = studio["inputs"]["Camera 2"]["settings"]["input"].as_str();
    assert!(
        input.is_some_and(|url| url.starts_with("srt://127.0.0.1:9002?")),
        "{input:?}"
    );
    let stream = &studio["stream"];
    assert_eq!(stream["kind"], "rtmp_custom");
    assert_eq!(stream["settings"]["server"], Ingest::server_url());
    assert_eq!(stream["settings"]["key"], key("finals"));

    // Once more, and nothing is another one than before.
    rig.coordinator.put(CONFIG, config).await.expect(200);
    until_made(&rig).await;
    assert_eq!(rig.studio(instance).await, studio);

    let start = "/api/competitions/finals/show/start";
    rig.coordinator.post(start, json!({})).await.expect(200);
    let address = rig.address(instance).await;
    rig.ingest.until_published_by(address).await;
    rig.end().await;
}

async fn until_made(rig: &Rig) -> Value {
    eventually("the studio is made", LIMIT, async || {
        let told = rig.coordinator.get(CONFIG).await.expect(200);
        (told["state"] == "made").then_some(told)
    })
    .await
}
