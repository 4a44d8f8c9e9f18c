//! Socket.IO packets of one client, as engine.io's polling transport carries them.
//!
//! A line is the body of one `POST`: `42["assignVM",{"competitionId":"finals"}]`. `VM-1` to `VM-5` are the pool's VMs.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::Value;

use super::stage::{OPERATOR, Stage, judge, play};

const TRANSPORT: &str = "/socket.io/?EIO=4&transport=polling";
/// More say nothing new.
const PACKETS_MAX: usize = 12;
/// Polls for what comes of the last packet.
const POLLS_MAX: usize = 16;
/// A ping: for half a minute there was nothing to say.
const SILENCE: &str = "2";

/// Opens a session and joins the default namespace; the path of everything that follows.
async fn connect(stage: &Stage) -> String {
    let open = Request::get(TRANSPORT).body(Body::empty()).expect("a request");
    let (status, opened) = stage.ask(open).await;
    assert_eq!(status, StatusCode::OK, "a first client is let in");
    let opened = String::from_utf8(opened).expect("text");
    let handshake: Value = serde_json::from_str(opened.trim_start_matches('0')).expect("a handshake");
    let session = handshake["sid"].as_str().expect("a session's id");
    let path = format!("{TRANSPORT}&sid={session}");
    post(stage, &path, &format!(r#"40{{"token":"{OPERATOR}"}}"#)).await;
    path
}

async fn post(stage: &Stage, path: &str, packet: &str) {
    let request = Request::post(path)
        .header("content-type", "text/plain;charset=UTF-8")
        .body(Body::from(packet.to_owned()))
        .expect("a request");
    let (status, body) = stage.ask(request).await;
    // engine.io answers in its own words what is not its protocol.
    if status.is_server_error() {
        judge(packet, status, &body);
    }
}

async fn poll(stage: &Stage, path: &str) -> String {
    let poll = Request::get(path).body(Body::empty()).expect("a request");
    String::from_utf8_lossy(&stage.ask(poll).await.1).into_owned()
}

/// What the client is told, poll by poll.
pub fn run(text: &str) -> Vec<String> {
    let packets: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty())
        .take(PACKETS_MAX)
        .collect();
    if packets.is_empty() {
        return Vec::new();
    }
    play(async |stage| {
        let path = connect(stage).await;
        let mut told = vec![poll(stage, &path).await];
        for packet in packets {
            post(stage, &path, &stage.named(packet)).await;
            told.push(poll(stage, &path).await);
        }
        for _ in 0..POLLS_MAX {
            let more = poll(stage, &path).await;
            if more == SILENCE {
                break;
            }
            told.push(more);
        }
        told
    })
}
