//! Socket.IO clients that are too many, or do not take what they are told.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use understudy::api::Options;

use crate::served::{LIMIT, Served, open};
use crate::support::socketio::Script;

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
    let mut first = Script::connected(&served.url(""), &json!({})).await;
    let mut second = Script::start(&served.url(""), &json!({"transports": ["websocket"]}));
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
    Script::connected(&served.url(""), &json!({})).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off_and_nobody_else_notices() {
    let options = Options {
        socket_buffer_packets: 16,
        ..open()
    };
    let served = Served::with_options(1, 30, options).await;
    let mut good = Script::connected(&served.url(""), &json!({})).await;

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
