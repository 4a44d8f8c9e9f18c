//! An obs-websocket v5 server before a simulated studio.
//!
//! Follows the protocol document of obs-websocket 5.5
//! (<https://github.com/obsproject/obs-websocket/blob/master/docs/generated/protocol.md>) in its JSON form: Hello,
//! Identify with SHA-256 challenge, Reidentify, events by subscription, requests and request batches, close
//! codes and request status codes. The requests are those that capture, restore and watch a studio; others are
//! answered 204 as by an OBS that does not know them. MessagePack and batch variables are refused.
//!
//! Bounds: a message is at most [`MESSAGE_BYTES_MAX`]; a client that does not read is dropped when
//! [`sessions::OUTGOING_MAX`] messages wait for it.

mod auth;
mod event;
mod field;
mod message;
mod request;
pub(super) mod sessions;
mod status;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as FrameCloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use self::auth::Challenge;
use self::message::{Batch, Close, Identify, Incoming};
use self::request::{Outcome, Session};
use self::sessions::Outgoing;
use super::gate::{Gate, GatedStream};
use super::machine::Shared;
use crate::sim::model::machine::Machine;

/// Version of obs-websocket that this server claims to be.
const WEBSOCKET_VERSION: &str = "5.5.2";
const STUDIO_VERSION: &str = "30.2.3";
const RPC_VERSION: u64 = 1;
/// Largest message accepted, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Largest answer to a request batch, in bytes.
const BATCH_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Limit on the WebSocket upgrade.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(10);
/// Limit on saying goodbye.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<GatedStream>;

/// Serves one connection to its end.
pub(super) async fn serve(machine: Arc<Shared>, stream: GatedStream, gate: Arc<Gate>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * BATCH_ANSWER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let upgrade = accept_hdr_async_with_config(stream, choose_encoding, Some(config));
    let Ok(Ok(socket)) = timeout(UPGRADE_DEADLINE, upgrade).await else {
        return;
    };
    let (id, outgoing) = machine.state().sessions.open(gate);
    let mut connection = Connection {
        machine: &machine,
        id,
        socket,
        session: Session::default(),
    };
    // An error means that the connection is gone.
    let _ = connection.run(outgoing).await;
    machine.state().sessions.close(id);
}

/// Takes the JSON subprotocol if it is offered; MessagePack is not selected, which leaves the client with JSON.
#[allow(clippy::result_large_err, reason = "the signature is the WebSocket library's")]
fn choose_encoding(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all("Sec-WebSocket-Protocol");
    let takes_json = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|name| name.trim() == "obswebsocket.json");
    if takes_json {
        let json = HeaderValue::from_static("obswebsocket.json");
        response.headers_mut().insert("Sec-WebSocket-Protocol", json);
    }
    Ok(response)
}

struct Connection<'a> {
    machine: &'a Arc<Shared>,
    id: u64,
    socket: Socket,
    session: Session,
}

impl Connection<'_> {
    async fn run(&mut self, mut outgoing: mpsc::Receiver<Outgoing>) -> Result<(), tungstenite::Error> {
        let challenge = self
            .machine
            .config()
            .obs_password
            .as_ref()
            .map(|_| Challenge::new());
        self.send(&message::hello(challenge.as_ref())).await?;
        let mut identified = false;
        loop {
            let received = tokio::select! {
                out = outgoing.recv() => match out {
                    Some(Outgoing::Text(text)) => {
                        self.session.outgoing += 1;
                        self.socket.send(Message::Text(text)).await?;
                        continue;
                    }
                    Some(Outgoing::Close { code, reason }) => {
                        return self.close(&Close { code, reason: reason.to_owned() }).await;
                    }
                    None => return Ok(()),
                },
                received = self.socket.next() => received,
            };
            let text = match received {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Binary(_))) => return self.close(&Close::binary()).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Err(tungstenite::Error::Capacity(_))) => return self.close(&Close::too_large()).await,
                Some(Err(error)) => return Err(error),
            };
            self.session.incoming += 1;
            let step = match message::parse(&text, identified) {
                Ok(Incoming::Identify(identify)) => self.identify(&identify, challenge.as_ref()).await?,
                Ok(Incoming::Reidentify { intents }) => self.subscribe(intents).await?,
                Ok(Incoming::Request { kind, id, data }) => {
                    let answer = self.request(&kind, id, data.as_ref()).await;
                    self.send(&json!({"op": 7, "d": answer})).await?;
                    Ok(())
                }
                Ok(Incoming::Batch(batch)) => self.batch(batch).await?,
                Err(close) => Err(close),
            };
            match step {
                Ok(()) => identified = true,
                Err(close) => return self.close(&close).await,
            }
        }
    }

    async fn identify(
        &mut self,
        identify: &Identify,
        challenge: Option<&Challenge>,
    ) -> Result<Result<(), Close>, tungstenite::Error> {
        if let (Some(challenge), Some(password)) = (challenge, &self.machine.config().obs_password) {
            let proof = identify.authentication.as_deref();
            if !proof.is_some_and(|proof| challenge.is_answered_by(proof, password)) {
                return Ok(Err(Close::authentication_failed(proof.is_some())));
            }
        }
        if let Err(close) = identify.check_version() {
            return Ok(Err(close));
        }
        self.subscribe(identify.intents).await
    }

    async fn subscribe(&mut self, intents: Option<u32>) -> Result<Result<(), Close>, tungstenite::Error> {
        self.machine.state().sessions.subscribe(self.id, intents);
        self.send(&message::identified()).await?;
        Ok(Ok(()))
    }

    /// Runs one request, and waits as long as OBS would keep its caller waiting.
    async fn request(&mut self, kind: &str, id: Value, data: Option<&Value>) -> Value {
        let session = self.session;
        let run = |model: &mut Machine, now| {
            let outcome = request::run(model.studio_mut(), kind, data, session, now);
            let busy_until = model.studio().switching_until(now);
            (outcome, busy_until.filter(|_| request::waits_for_switch(kind)))
        };
        let (outcome, ready_at) = if request::only_reads(kind) {
            self.machine.ask(run)
        } else {
            self.machine.change(run)
        };
        if let Some(ready_at) = ready_at {
            tokio::time::sleep_until(self.machine.clock().instant(ready_at)).await;
        }
        message::answer(kind, id, outcome)
    }

    async fn batch(&mut self, batch: Batch) -> Result<Result<(), Close>, tungstenite::Error> {
        let mut results = Vec::with_capacity(batch.requests.len());
        let mut bytes = 0;
        for request in batch.requests {
            let answer = match request.kind.as_deref() {
                None => message::answer("", request.id, Outcome::missing_type()),
                Some("Sleep") => {
                    let outcome = request::sleep(request.data.as_ref(), batch.sleeps);
                    if let Ok(pause) = outcome {
                        tokio::time::sleep(pause).await;
                    }
                    message::answer("Sleep", request.id, Outcome::from_sleep(outcome))
                }
                Some(kind) => self.request(kind, request.id, request.data.as_ref()).await,
            };
            bytes += answer.to_string().len();
            if bytes > BATCH_ANSWER_BYTES_MAX {
                return Ok(Err(Close::too_large()));
            }
            let failed = answer["requestStatus"]["result"] != Value::Bool(true);
            results.push(answer);
            if failed && batch.halt_on_failure {
                break;
            }
        }
        self.send(&json!({"op": 9, "d": {"requestId": batch.id, "results": results}}))
            .await?;
        Ok(Ok(()))
    }

    async fn send(&mut self, message: &Value) -> Result<(), tungstenite::Error> {
        self.session.outgoing += 1;
        self.socket.send(Message::text(message.to_string())).await
    }

    /// Says goodbye and waits a moment for the client to do so too.
    async fn close(&mut self, close: &Close) -> Result<(), tungstenite::Error> {
        let frame = CloseFrame {
            code: FrameCloseCode::from(close.code),
            reason: close.reason.as_str().into(),
        };
        let farewell = async {
            self.socket.close(Some(frame)).await?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok(())
        };
        timeout(CLOSE_DEADLINE, farewell).await.unwrap_or(Ok(()))
    }
}
