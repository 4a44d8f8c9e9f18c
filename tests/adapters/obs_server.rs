//! The OBS adapter against servers that break the protocol in every way that could hang or mislead it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use understudy::infra::obs::{Connector, Endpoint, Error, Notice, Route, Session};

use crate::support::studios::{connector, next, refusal};
use crate::support::{BRIEF, PLENTY};

type Socket = WebSocketStream<TcpStream>;

/// Serves every connection with `behave`.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    behave: impl Fn(TcpStream) -> F + Send + 'static,
) -> Endpoint {
    let listener = TcpListener::bind("127.44.10.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(behave(stream));
        }
    });
    Endpoint {
        address,
        route: Route::Direct,
        password: None,
        connect_deadline: PLENTY,
        call_deadline: PLENTY,
    }
}

async fn send(socket: &mut Socket, message: &Value) {
    // The client may be gone, which is what some tests are about.
    let _ = socket.send(Message::text(message.to_string())).await;
}

fn hello() -> Value {
    json!({"op": 0, "d": {"obsWebSocketVersion": "5.5.2", "rpcVersion": 1}})
}

fn identified() -> Value {
    json!({"op": 2, "d": {"negotiatedRpcVersion": 1}})
}

fn answer(request: &Value, data: Value) -> Value {
    json!({"op": 7, "d": {
        "requestType": request["requestType"],
        "requestId": request["requestId"],
        "requestStatus": {"result": true, "code": 100},
        "responseData": data,
    }})
}

fn refuse(request: &Value, code: u16, comment: &str) -> Value {
    json!({"op": 7, "d": {
        "requestType": request["requestType"],
        "requestId": request["requestId"],
        "requestStatus": {"result": false, "code": code, "comment": comment},
    }})
}

fn version(obs: &str, websocket: &str) -> Value {
    json!({
        "obsVersion": obs, "obsWebSocketVersion": websocket, "rpcVersion": 1, "availableRequests": [],
        "supportedImageFormats": [], "platform": "linux", "platformDescription": "test",
    })
}

fn stream_status(bytes: u64) -> Value {
    json!({
        "outputActive": true, "outputReconnecting": false, "outputTimecode": "00:00:01.000",
        "outputDuration": 1000, "outputCongestion": 0.0, "outputBytes": bytes,
        "outputSkippedFrames": 0, "outputTotalFrames": 30,
    })
}

/// The next request that a client sends; `None` once it is gone.
async fn request(socket: &mut Socket) -> Option<Value> {
    loop {
        let text = match socket.next().await?.ok()? {
            Message::Text(text) => text,
            Message::Close(_) => return None,
            _ => continue,
        };
        let message: Value = serde_json::from_str(text.as_str()).unwrap();
        if message["op"] == 6 {
            return Some(message["d"].clone());
        }
    }
}

/// Upgrades, greets and answers the version check: what every client needs to get in.
async fn welcome(stream: TcpStream) -> Option<Socket> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
    send(&mut socket, &hello()).await;
    // Identify.
    socket.next().await?.ok()?;
    send(&mut socket, &identified()).await;
    let first = request(&mut socket).await?;
    assert_eq!(first["requestType"], "GetVersion");
    send(&mut socket, &answer(&first, version("30.2.3", "5.5.2"))).await;
    Some(socket)
}

/// Serves clients that have got in with `behave`.
async fn serve_welcomed<F: Future<Output = ()> + Send + 'static>(
    behave: impl Fn(Socket) -> F + Send + Sync + 'static,
) -> Endpoint {
    let behave = Arc::new(behave);
    serve(move |stream| {
        let behave = behave.clone();
        async move {
            if let Some(socket) = welcome(stream).await {
                behave(socket).await;
            }
        }
    })
    .await
}

async fn connect(endpoint: &Endpoint) -> (Arc<dyn Session>, mpsc::Receiver<Notice>) {
    connector().connect(endpoint).await.unwrap()
}

/// Waits until the client is gone.
async fn keep(mut socket: Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}

fn hasty(endpoint: Endpoint) -> Endpoint {
    Endpoint {
        connect_deadline: BRIEF,
        call_deadline: BRIEF,
        ..endpoint
    }
}

#[tokio::test]
async fn silence_at_any_point_of_connecting_times_out() {
    let accepts = serve(|mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    });
    let upgrades = serve(|stream| async move {
        if let Ok(socket) = tokio_tungstenite::accept_async(stream).await {
            keep(socket).await;
        }
    });
    let greets = serve(|stream| async move {
        if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
            send(&mut socket, &hello()).await;
            keep(socket).await;
        }
    });
    let identifies = serve(|stream| async move {
        if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
            send(&mut socket, &hello()).await;
            send(&mut socket, &identified()).await;
            keep(socket).await;
        }
    });
    for (how_far, server) in [
        ("accept", accepts.await),
        ("upgrade", upgrades.await),
        ("Hello", greets.await),
        ("Identified", identifies.await),
    ] {
        let asked = Instant::now();
        let error = refusal(&hasty(server)).await;
        assert_eq!(
            error,
            Error::TimedOut {
                call: "connect",
                limit: BRIEF
            },
            "{how_far}"
        );
        assert!(asked.elapsed() < PLENTY / 2, "{how_far}: {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn what_is_not_obs_websocket_is_a_protocol_error() {
    let not_http = serve(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    });
    let not_websocket = serve(|mut stream| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            .await;
    });
    fn first_message(message: Message) -> impl Future<Output = Endpoint> {
        serve(move |stream| {
            let message = message.clone();
            async move {
                if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
                    let _ = socket.send(message).await;
                    keep(socket).await;
                }
            }
        })
    }
    for (what, server) in [
        ("SSH", not_http.await),
        ("HTTP", not_websocket.await),
        ("no JSON", first_message(Message::text("hello")).await),
        ("bytes", first_message(Message::binary(vec![0, 1, 2])).await),
        ("no op", first_message(Message::text("{}")).await),
        (
            "unknown op",
            first_message(Message::text(r#"{"op":99,"d":{}}"#)).await,
        ),
        (
            "no Hello",
            first_message(Message::text(identified().to_string())).await,
        ),
        (
            "old Hello",
            first_message(Message::text(r#"{"op":0,"d":{"rpcVersion":"one"}}"#)).await,
        ),
    ] {
        let error = refusal(&server).await;
        assert!(matches!(error, Error::Protocol(_)), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn an_obs_that_is_too_old_is_named() {
    for (obs, websocket) in [("29.1.3", "5.2.0"), ("30.2.3", "5.3.0")] {
        let server = serve(move |stream| async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                return;
            };
            send(&mut socket, &hello()).await;
            send(&mut socket, &identified()).await;
            if let Some(first) = request(&mut socket).await {
                send(&mut socket, &answer(&first, version(obs, websocket))).await;
            }
            keep(socket).await;
        })
        .await;
        match refusal(&server).await {
            Error::Protocol(why) => assert!(why.contains(obs) || why.contains(websocket), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_while_connecting_is_closed() {
    let at_once = serve(|stream| async move { drop(stream) });
    let after_upgrade = serve(|stream| async move {
        let _ = tokio_tungstenite::accept_async(stream).await;
    });
    let after_hello = serve(|stream| async move {
        if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
            send(&mut socket, &hello()).await;
            let _ = socket.next().await;
        }
    });
    for (when, server) in [
        ("at once", at_once.await),
        ("after the upgrade", after_upgrade.await),
        ("after Hello", after_hello.await),
    ] {
        assert_eq!(refusal(&server).await, Error::Closed, "{when}");
    }
}

#[tokio::test]
async fn a_disconnect_in_the_middle_of_a_request_closes_the_session_at_once() {
    let server = serve_welcomed(|mut socket| async move {
        let _ = request(&mut socket).await;
    })
    .await;
    let (session, mut notices) = connect(&server).await;
    let asked = Instant::now();
    assert_eq!(session.output().await, Err(Error::Closed));
    assert_eq!(session.output().await, Err(Error::Closed));
    assert!(asked.elapsed() < PLENTY / 2, "took {:?}", asked.elapsed());
    assert_eq!(tokio::time::timeout(PLENTY, notices.recv()).await, Ok(None));
}

#[tokio::test]
async fn many_requests_on_their_way_all_end_with_the_connection() {
    let server = serve_welcomed(|mut socket| async move {
        for _ in 0..8 {
            let _ = request(&mut socket).await;
        }
    })
    .await;
    let (session, _notices) = connect(&server).await;
    let at_once = (0..40).map(|_| session.output());
    for answer in futures_util::future::join_all(at_once).await {
        assert_eq!(answer, Err(Error::Closed));
    }
}

#[tokio::test]
async fn a_close_without_an_end_of_the_connection_closes_the_session() {
    let server = serve_welcomed(|mut socket| async move {
        let _ = request(&mut socket).await;
        let _ = socket.send(Message::Close(None)).await;
        std::future::pending::<()>().await;
    })
    .await;
    let (session, _notices) = connect(&server).await;
    assert_eq!(session.output().await, Err(Error::Closed));
}

#[tokio::test]
async fn a_request_that_is_never_answered_times_out_and_the_next_is_answered() {
    let server = serve_welcomed(|mut socket| async move {
        let _ = request(&mut socket).await;
        while let Some(asked) = request(&mut socket).await {
            send(&mut socket, &answer(&asked, stream_status(7))).await;
        }
    })
    .await;
    let (session, _notices) = connect(&hasty_calls(server)).await;
    assert_eq!(
        session.output().await,
        Err(Error::TimedOut {
            call: "GetStreamStatus",
            limit: BRIEF
        })
    );
    assert_eq!(session.output().await.unwrap().bytes, 7);
}

fn hasty_calls(endpoint: Endpoint) -> Endpoint {
    Endpoint {
        call_deadline: BRIEF,
        ..endpoint
    }
}

#[tokio::test]
async fn a_studio_that_never_answers_anything_is_given_up() {
    let server = serve_welcomed(keep).await;
    let quick = Endpoint {
        call_deadline: std::time::Duration::from_millis(10),
        ..server
    };
    let (session, mut notices) = connect(&quick).await;
    let mut unanswered = 0;
    while session.output().await != Err(Error::Closed) {
        unanswered += 1;
        assert!(unanswered < 1000, "goes on for ever");
    }
    assert_eq!(tokio::time::timeout(PLENTY, notices.recv()).await, Ok(None));
}

#[tokio::test]
async fn garbage_between_answers_harms_nobody() {
    let server = serve_welcomed(|mut socket| async move {
        while let Some(asked) = request(&mut socket).await {
            for garbage in [
                "",
                "{",
                "[]",
                r#"{"op":5,"d":{"eventType":"InputCreated"}}"#,
                r#"{"op":7,"d":{}}"#,
            ] {
                let _ = socket.send(Message::text(garbage)).await;
            }
            let _ = socket.send(Message::binary(vec![0; 100])).await;
            let mut stranger = answer(&asked, stream_status(1));
            stranger["d"]["requestId"] = json!("not a number");
            send(&mut socket, &stranger).await;
            send(&mut socket, &answer(&asked, stream_status(42))).await;
        }
    })
    .await;
    let (session, _notices) = connect(&server).await;
    for _ in 0..3 {
        assert_eq!(session.output().await.unwrap().bytes, 42);
    }
}

#[tokio::test]
async fn an_answer_of_the_wrong_shape_is_a_protocol_error_and_the_session_goes_on() {
    let server = serve_welcomed(|mut socket| async move {
        let shapes = [
            json!({}),
            json!(null),
            json!({"outputActive": "yes"}),
            stream_status(9),
        ];
        for shape in shapes {
            if let Some(asked) = request(&mut socket).await {
                send(&mut socket, &answer(&asked, shape)).await;
            }
        }
        keep(socket).await;
    })
    .await;
    let (session, _notices) = connect(&server).await;
    for _ in 0..3 {
        let shapeless = session.output().await;
        assert!(matches!(shapeless, Err(Error::Protocol(_))), "{shapeless:?}");
    }
    assert_eq!(session.output().await.unwrap().bytes, 9);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code_and_comment() {
    let server = serve_welcomed(|mut socket| async move {
        while let Some(asked) = request(&mut socket).await {
            send(&mut socket, &refuse(&asked, 702, "no encoder")).await;
        }
    })
    .await;
    let (session, _notices) = connect(&server).await;
    assert_eq!(
        session.start_stream().await,
        Err(Error::Denied {
            call: "StartStream",
            code: 702,
            comment: "no encoder".to_owned()
        })
    );
}

#[tokio::test]
async fn a_studio_that_is_not_ready_is_asked_again_while_there_is_time() {
    let server = serve_welcomed(|mut socket| async move {
        for _ in 0..3 {
            if let Some(asked) = request(&mut socket).await {
                send(&mut socket, &refuse(&asked, 207, "OBS is not ready")).await;
            }
        }
        if let Some(asked) = request(&mut socket).await {
            send(&mut socket, &answer(&asked, stream_status(5))).await;
        }
        while let Some(asked) = request(&mut socket).await {
            send(&mut socket, &refuse(&asked, 207, "OBS is not ready")).await;
        }
    })
    .await;
    let (session, _notices) = connect(&hasty_calls(server)).await;
    assert_eq!(session.output().await.unwrap().bytes, 5);
    let never_ready = session.output().await;
    assert!(
        matches!(never_ready, Err(Error::Denied { code: 207, .. })),
        "{never_ready:?}"
    );
}

#[tokio::test]
async fn a_flood_of_events_nobody_reads_stops_neither_calls_nor_the_last_word() {
    let server = serve_welcomed(|mut socket| async move {
        let event = json!({"op": 5, "d": {"eventType": "StreamStateChanged", "eventIntent": 64, "eventData": {
            "outputActive": true, "outputState": "OBS_WEBSOCKET_OUTPUT_STARTED"}}});
        while let Some(asked) = request(&mut socket).await {
            for _ in 0..1000 {
                send(&mut socket, &event).await;
            }
            send(&mut socket, &answer(&asked, stream_status(3))).await;
        }
    })
    .await;
    let (session, mut notices) = connect(&server).await;
    for _ in 0..5 {
        assert_eq!(session.output().await.unwrap().bytes, 3);
    }
    // What did not fit is one change at the end.
    let mut told = 0;
    while next(&mut notices).await != Notice::Changed {
        told += 1;
    }
    assert!(told <= 64, "{told} notices were kept");
}
