//! Socket.IO: who is connected, what they may ask ([`inbound`]), what they are told ([`events`], [`fanout`]).
//!
//! A client connects with `?compId=` (the competition whose alerts it wants) and, if it likes,
//! `auth = { token, deltas }`. It is told everything about the pool: events as they happen, and either
//! whole-pool snapshots (`vmPoolStatus`), coalesced, or, with `deltas`, what changed (`vmPoolDelta`). Every
//! payload carries `seq`, its position in the ledger.
//!
//! Nothing is queued for a client without bound. One that lets its buffer fill up is disconnected: it connects
//! again and starts from a snapshot.

mod client;
pub mod delta;
mod events;
mod execution;
mod fanout;
mod inbound;
mod news;
mod terminal;

use std::time::Duration;

use axum::Router;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use self::client::Client;
pub use self::client::Transports;
use self::fanout::{Command, Fanout};
use super::front::SOCKET_PATH;
use super::gateway::Gateway;
use super::routes::coordinator::neutral_state;

/// The server's ping, and how long it waits for the pong: what existing clients were built against.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// From opening a session to joining the namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Joins and snapshot requests that wait for the fan-out.
const COMMANDS_MAX: usize = 1_024;
/// Limit on saying goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The connected clients. Dropping it disconnects them without a word.
pub struct Sockets {
    io: SocketIo,
    commands: mpsc::Sender<Command>,
    fanout: AbortHandle,
}

impl Sockets {
    /// Tells everybody `serverShuttingDown`, once, and disconnects them.
    pub async fn close(&self, message: &str) {
        let (done, told) = oneshot::channel();
        let command = Command::Farewell {
            message: message.to_owned(),
            done,
        };
        let goodbye = async {
            if self.commands.send(command).await.is_ok() {
                // An error means that the fan-out has ended: there is nobody left to tell.
                let _ = told.await;
            }
            self.io.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await.is_err() {
            tracing::warn!("some Socket.IO clients did not take their goodbye in time");
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.fanout.abort();
        // Outside a runtime nothing of it runs any more.
        if let Ok(runtime) = Handle::try_current() {
            let io = self.io.clone();
            runtime.spawn(async move { io.close().await });
        }
    }
}

/// Starts the fan-out and adds the transport to the routes.
pub fn attach(routes: Router<Gateway>, gateway: &Gateway) -> (Router<Gateway>, Sockets) {
    let options = gateway.options();
    let payload = options.socket_payload_bytes_max;
    let (service, io) = SocketIo::builder()
        .req_path(SOCKET_PATH)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_payload(payload as u64)
        .ws_max_message_size(payload)
        .ws_max_frame_size(payload)
        .max_buffer_size(options.socket_buffer_packets)
        .build_svc();
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let fanout = tokio::spawn(Fanout::new(gateway.clone(), io.clone()).run(inbox)).abort_handle();
    welcome(&io, gateway, &commands);
    let routes = routes
        .route_service(SOCKET_PATH, service.clone())
        .route_service(&format!("{SOCKET_PATH}/"), service);
    (routes, Sockets { io, commands, fanout })
}

fn welcome(io: &SocketIo, gateway: &Gateway, commands: &mpsc::Sender<Command>) {
    let for_check = gateway.clone();
    let check =
        async move |socket: SocketRef, TryData(auth): TryData<Value>| -> Result<(), client::Refused> {
            Client::admit(&for_check, &socket, auth.ok().as_ref())
        };
    let (gateway, commands) = (gateway.clone(), commands.clone());
    let connected = async move |socket: SocketRef| {
        let Some(client) = Client::of(&socket) else { return };
        inbound::listen(&socket, &gateway, &commands);
        greet(&gateway, &socket);
        // Refused only when the fan-out has ended; then there is nothing to be told.
        let _ = commands.send(Command::Join { socket, client }).await;
    };
    io.ns("/", connected.with(check));
}

fn greet(gateway: &Gateway, socket: &SocketRef) {
    let state = serde_json::to_value(neutral_state(gateway)).map(|mut state| {
        state["showConfig"] = Value::Null;
        state
    });
    let hello = serde_json::json!({
        "clientId": socket.id.as_str(),
        "state": state.unwrap_or_default(),
        "seq": gateway.state().seq.0,
    });
    // A client that is gone already needs no greeting.
    let _ = socket.emit("connected", &hello);
}
