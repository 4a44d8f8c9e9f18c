//! obs-websocket as the protocol document has it, spoken by hand: what no well-behaved client sends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use understudy::sim::wire::MachineHandle;

use super::support::{DEADLINE, PASSWORD, obs_at, one_machine};

struct Raw(WebSocketStream<TcpStream>);

impl Raw {
    async fn connect(machine: &MachineHandle) -> Self {
        let address = obs_at(machine);
        let request = format!("ws://{address}").into_client_request().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        Self(tokio_tungstenite::client_async(request, stream).await.unwrap().0)
    }

    async fn identified(machine: &MachineHandle) -> Self {
        let mut raw = Self::connect(machine).await;
        let hello = raw.receive().await;
        raw.send(&json!({"op": 1, "d": {
            "rpcVersion": 1, "eventSubscriptions": 0, "authentication": answer(&hello),
        }}))
        .await;
        assert_eq!(
            raw.receive().await,
            json!({"op": 2, "d": {"negotiatedRpcVersion": 1}})
        );
        raw
    }

    async fn send(&mut self, message: &Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    async fn send_raw(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        timeout(DEADLINE, self.0.next())
            .await
            .expect("an answer in time")
            .expect("an answer")
            .unwrap()
    }

    async fn receive(&mut self) -> Value {
        serde_json::from_str(self.next().await.to_text().unwrap()).unwrap()
    }

    /// The code with which the server closes.
    async fn closed(mut self) -> u16 {
        match self.next().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("not closed but {other:?}"),
        }
    }

    /// Makes a request and returns its status code and data.
    async fn request(&mut self, kind: &str, data: Value) -> (u64, Value) {
        self.send(&json!({"op": 6, "d": {"requestType": kind, "requestId": "r", "requestData": data}}))
            .await;
        let answer = self.receive().await;
        assert_eq!(
            (&answer["op"], &answer["d"]["requestId"]),
            (&json!(7), &json!("r"))
        );
        assert_eq!(answer["d"]["requestType"], kind);
        (
            answer["d"]["requestStatus"]["code"].as_u64().unwrap(),
            answer["d"]["responseData"].clone(),
        )
    }
}

fn answer(hello: &Value) -> String {
    let part = |name: &str| hello["d"]["authentication"][name].as_str().unwrap().to_owned();
    let secret = STANDARD.encode(Sha256::digest(PASSWORD.to_owned() + &part("salt")));
    STANDARD.encode(Sha256::digest(secret + &part("challenge")))
}

#[tokio::test]
async fn the_server_speaks_first_with_a_fresh_challenge() {
    let (_world, _, machine) = one_machine().await;
    let (mut a, mut b) = (Raw::connect(&machine).await, Raw::connect(&machine).await);
    let (a, b) = (a.receive().await, b.receive().await);
    assert_eq!((&a["op"], &a["d"]["rpcVersion"]), (&json!(0), &json!(1)));
    assert_ne!(
        a["d"]["authentication"]["challenge"],
        b["d"]["authentication"]["challenge"]
    );
}

#[tokio::test]
async fn a_client_that_breaks_the_rules_is_closed_with_the_documented_code() {
    let (_world, _, machine) = one_machine().await;
    let cases = [
        (
            4007,
            json!({"op": 6, "d": {"requestType": "GetStats", "requestId": "1"}}),
        ),
        (4009, json!({"op": 1, "d": {"rpcVersion": 1}})),
        (
            4009,
            json!({"op": 1, "d": {"rpcVersion": 1, "authentication": "nonsense"}}),
        ),
        (4003, json!({"op": 1})),
        (4002, json!(["not", "an", "object"])),
        (4006, json!({"d": {}})),
    ];
    for (code, message) in cases {
        let mut raw = Raw::connect(&machine).await;
        raw.receive().await;
        raw.send(&message).await;
        assert_eq!(raw.closed().await, code, "{message}");
    }
    let cases = [
        (
            4008,
            Message::text(json!({"op": 1, "d": {"rpcVersion": 1}}).to_string()),
        ),
        (4006, Message::text(json!({"op": 99, "d": {}}).to_string())),
        (
            4003,
            Message::text(json!({"op": 6, "d": {"requestType": "GetStats"}}).to_string()),
        ),
        (4002, Message::text("{")),
        (4002, Message::binary(vec![1, 2, 3])),
    ];
    for (code, message) in cases {
        let mut raw = Raw::identified(&machine).await;
        raw.send_raw(message.clone()).await;
        assert_eq!(raw.closed().await, code, "{message:?}");
    }
}

#[tokio::test]
async fn an_unsupported_version_is_refused_after_the_password() {
    let (_world, _, machine) = one_machine().await;
    let mut raw = Raw::connect(&machine).await;
    let hello = raw.receive().await;
    raw.send(&json!({"op": 1, "d": {"rpcVersion": 7, "authentication": answer(&hello)}}))
        .await;
    assert_eq!(raw.closed().await, 4010);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_and_the_server_goes_on() {
    let (_world, _, machine) = one_machine().await;
    let mut raw = Raw::identified(&machine).await;
    let huge = "x".repeat(2 * 1024 * 1024);
    let sent = raw.0.send(Message::text(huge)).await;
    let end = timeout(DEADLINE, raw.0.next()).await.expect("an end in time");
    assert!(
        sent.is_err() || !matches!(end, Some(Ok(Message::Text(_)))),
        "{end:?}"
    );
    Raw::identified(&machine).await;
}

#[tokio::test]
async fn a_malformed_request_is_answered_with_the_documented_status() {
    let (_world, _, machine) = one_machine().await;
    let mut raw = Raw::identified(&machine).await;
    let mut code = async |kind: &str, data: Value| raw.request(kind, data).await.0;
    assert_eq!(code("NoSuchRequest", Value::Null).await, 204);
    assert_eq!(code("", Value::Null).await, 203);
    assert_eq!(code("Sleep", json!({"sleepMillis": 1})).await, 206);
    assert_eq!(code("CreateScene", Value::Null).await, 301);
    assert_eq!(code("CreateScene", json!({})).await, 300);
    assert_eq!(code("CreateScene", json!({"sceneName": 7})).await, 401);
    assert_eq!(code("CreateScene", json!({"sceneName": ""})).await, 403);
    assert_eq!(code("CreateScene", json!({"sceneName": "Scene"})).await, 601);
    assert_eq!(code("GetSceneItemList", json!({"sceneName": "?"})).await, 600);
    assert_eq!(code("GetSceneItemList", json!({"sceneUuid": "?"})).await, 600);
    assert_eq!(code("GetSceneItemList", json!({})).await, 300);
    let input = json!({"sceneName": "Scene", "inputName": "I", "inputKind": "ffmpeg_source"});
    assert_eq!(code("CreateInput", input).await, 100);
    assert_eq!(code("GetSceneItemList", json!({"sceneName": "I"})).await, 602);
    assert_eq!(
        code("SetInputVolume", json!({"inputName": "I", "inputVolumeMul": 21})).await,
        402
    );
    assert_eq!(
        code(
            "SetInputVolume",
            json!({"inputName": "I", "inputVolumeMul": 1, "inputVolumeDb": 1})
        )
        .await,
        404
    );
    assert_eq!(code("SetInputVolume", json!({"inputName": "I"})).await, 300);
    assert_eq!(
        code(
            "SetCurrentSceneTransitionDuration",
            json!({"transitionDuration": 20})
        )
        .await,
        402
    );
    let item =
        |transform: Value| json!({"sceneName": "Scene", "sceneItemId": 1, "sceneItemTransform": transform});
    assert_eq!(code("SetSceneItemTransform", item(json!({}))).await, 403);
    assert_eq!(
        code("SetSceneItemTransform", item(json!({"nothing": 1}))).await,
        703
    );
    assert_eq!(
        code("SetSceneItemTransform", item(json!({"boundsWidth": 0}))).await,
        402
    );
    assert_eq!(
        code("SetSceneItemTransform", item(json!({"boundsType": "X"}))).await,
        400
    );
    assert_eq!(
        code("SetSceneItemTransform", item(json!({"scaleX": 1e9}))).await,
        402
    );
    assert_eq!(code("TriggerStudioModeTransition", Value::Null).await, 506);
    let settings = json!({"streamServiceType": "carrier_pigeon", "streamServiceSettings": {"a": 1}});
    assert_eq!(code("SetStreamServiceSettings", settings).await, 700);
}

#[tokio::test]
async fn a_batch_runs_in_order_and_stops_at_the_first_failure_if_told_so() {
    let (_world, _, machine) = one_machine().await;
    let mut raw = Raw::identified(&machine).await;
    let requests = json!([
        {"requestType": "CreateScene", "requestData": {"sceneName": "A"}},
        {"requestType": "Sleep", "requestData": {"sleepMillis": 5}},
        {"requestType": "CreateScene", "requestId": "twice", "requestData": {"sceneName": "A"}},
        {"requestType": "CreateScene", "requestData": {"sceneName": "B"}},
    ]);
    let mut batch = json!({"requestId": "b", "requests": requests, "haltOnFailure": true});
    raw.send(&json!({"op": 8, "d": batch})).await;
    let answer = raw.receive().await;
    assert_eq!(
        (&answer["op"], &answer["d"]["requestId"]),
        (&json!(9), &json!("b"))
    );
    let codes = |answer: &Value| -> Vec<u64> {
        let results = answer["d"]["results"].as_array().unwrap();
        results
            .iter()
            .map(|r| r["requestStatus"]["code"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(codes(&answer), [100, 100, 601]);
    assert_eq!(answer["d"]["results"][2]["requestId"], "twice");
    batch["haltOnFailure"] = json!(false);
    raw.send(&json!({"op": 8, "d": batch})).await;
    assert_eq!(codes(&raw.receive().await), [601, 100, 601, 100]);
}

#[tokio::test]
async fn subscriptions_can_be_changed_and_decide_what_is_heard() {
    let (_world, _, machine) = one_machine().await;
    let mut raw = Raw::identified(&machine).await;
    raw.request("CreateScene", json!({"sceneName": "Unheard"})).await;
    // Only transforms, which are never heard by default.
    raw.send(&json!({"op": 3, "d": {"eventSubscriptions": 1 << 19}}))
        .await;
    assert_eq!(raw.receive().await["op"], 2);
    let input = json!({"sceneName": "Scene", "inputName": "I", "inputKind": "color_source_v3"});
    raw.request("CreateInput", input).await;
    let data = json!({"sceneName": "Scene", "sceneItemId": 1, "sceneItemTransform": {"positionX": 5}});
    raw.send(&json!({"op": 6, "d": {"requestType": "SetSceneItemTransform", "requestId": "r", "requestData": data}}))
        .await;
    let (a, b) = (raw.receive().await, raw.receive().await);
    let event = if a["op"] == 5 { a } else { b };
    assert_eq!(event["d"]["eventType"], "SceneItemTransformChanged");
    assert_eq!(event["d"]["eventIntent"], 1 << 19);
    assert_eq!(event["d"]["eventData"]["sceneItemTransform"]["positionX"], 5.0);
}

#[tokio::test]
async fn other_requests_are_not_ready_while_a_collection_is_loaded() {
    let (_world, _, machine) = one_machine().await;
    let mut other = Raw::identified(&machine).await;
    machine
        .operate(|studio, now| studio.create_collection("Big", now))
        .unwrap();
    assert_eq!(other.request("GetSceneList", Value::Null).await.0, 207);
    let ready = async || other.request("GetSceneList", Value::Null).await.0 == 100;
    let mut ready = ready;
    timeout(DEADLINE, async { while !ready().await {} })
        .await
        .expect("ready again");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let (_world, _, machine) = one_machine().await;
    machine.load_example_studio("k").unwrap();
    let mut lazy = Raw::connect(&machine).await;
    let hello = lazy.receive().await;
    lazy.send(&json!({"op": 1, "d": {"rpcVersion": 1, "authentication": answer(&hello)}}))
        .await;
    machine
        .until(DEADLINE, |view| view.obs_clients == 1)
        .await
        .expect("a client");
    // Large events until the sockets and the queue are full.
    let text = "x".repeat(100_000);
    let dropped = async {
        while machine.view().obs_clients == 1 {
            machine
                .operate(|studio, _| {
                    let input = studio.collection().inputs[0].uuid;
                    let settings = serde_json::Map::from_iter([("text".to_owned(), json!(text))]);
                    studio.set_input_settings(input, settings, true)
                })
                .unwrap();
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, dropped).await.expect("dropped");
}
