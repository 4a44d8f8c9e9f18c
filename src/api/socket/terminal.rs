//! Interactive terminals for administrators over Socket.IO.
//!
//! ```text
//! openTerminal {vmId, columns, rows, term?}       acknowledged {success, terminalId}
//! terminalInput {terminalId, data}                what is typed, in the order in which it is sent
//! resizeTerminal {terminalId, columns, rows}
//! closeTerminal {terminalId}
//!                                    ◄── terminalOutput {terminalId, vmId, data, done, code?, error?}
//! ```
//!
//! The client acknowledges every `terminalOutput` once it has shown it, and gets no more before that: a slow client
//! slows its terminal, and nothing waits in memory. One that acknowledges nothing for [`SHOW_LIMIT`] loses the
//! terminal. A terminal is also closed when its client disconnects, when nothing is typed for long, or when what its
//! client sends is no longer allowed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::{AckError, SendError, SocketError};
use tokio::sync::mpsc;

use super::client::Client;
use super::inbound::{Ask, vm_of};
use crate::actors::executions::run::Update;
use crate::actors::executions::terminal::{Keyboard, Kind, Terminal, TypeError};
use crate::api::auth::{self, Access};
use crate::api::error::ApiError;
use crate::api::extract;
use crate::api::gateway::Gateway;
use crate::api::narrator::Narrator;
use crate::api::types::ssh::OutputEvent;

/// How long a client may take to show a piece of output.
const SHOW_LIMIT: Duration = Duration::from_secs(30);
/// Before a client whose buffer is full is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// Text of one piece of output, in bytes.
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Pieces of input that wait to be typed; more are refused.
const INPUT_MAX: usize = 64;
/// Longest piece of input, in bytes: a large paste comes in several.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// Largest terminal, in characters each way.
const SIZE_MAX: u16 = 1_000;

/// The terminals that one client has open.
#[derive(Default)]
pub struct Terminals(Mutex<BTreeMap<String, Open>>);

#[derive(Clone)]
struct Open {
    keyboard: Keyboard,
    typed: mpsc::Sender<Bytes>,
}

impl Terminals {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        // Nothing in here can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Option<Open> {
        self.lock().get(id).cloned()
    }

    fn close_all(&self, reason: &str) {
        for open in std::mem::take(&mut *self.lock()).into_values() {
            open.keyboard.close(reason);
        }
    }
}

#[derive(Deserialize)]
struct OpenBody {
    columns: u16,
    rows: u16,
    #[serde(default = "term")]
    term: String,
}

fn term() -> String {
    "xterm-256color".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InputBody {
    terminal_id: String,
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResizeBody {
    terminal_id: String,
    columns: u16,
    rows: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CloseBody {
    terminal_id: String,
}

/// Registers what is said to a terminal. These are not carried out side by side like other events: what is typed has
/// an order.
pub fn listen(socket: &SocketRef, gateway: &Gateway) {
    on(socket, gateway, "terminalInput", |client, body: InputBody| {
        let open = find(client, &body.terminal_id)?;
        if body.data.len() > INPUT_BYTES_MAX {
            let error = format!("data has at most {INPUT_BYTES_MAX} bytes");
            return Err(ApiError::field("data", error));
        }
        let typed = open.typed.try_send(Bytes::from(body.data));
        typed.map_err(|_| ApiError::busy("the terminal does not take input that fast; this was left out"))
    });
    on(socket, gateway, "resizeTerminal", |client, body: ResizeBody| {
        let open = find(client, &body.terminal_id)?;
        check_size(body.columns, body.rows)?;
        open.keyboard.resize(body.columns, body.rows);
        Ok(())
    });
    on(socket, gateway, "closeTerminal", |client, body: CloseBody| {
        let open = find(client, &body.terminal_id)?;
        open.keyboard.close("its client closed it");
        Ok(())
    });
    socket.on_disconnect(async |socket: SocketRef| {
        if let Some(client) = Client::of(&socket) {
            client.terminals.close_all("its client disconnected");
        }
    });
}

fn on<B, F>(socket: &SocketRef, gateway: &Gateway, event: &'static str, act: F)
where
    B: DeserializeOwned,
    F: Fn(&Client, B) -> Result<(), ApiError> + Copy + Send + Sync + 'static,
{
    let gateway = gateway.clone();
    // What such a function does by itself it does at once; only the future that it gives back is run in a task, and two
    // tasks have no order.
    socket.on(
        event,
        move |socket: SocketRef, TryData(payload): TryData<Value>| {
            said(&gateway, &socket, &payload.unwrap_or_default(), act);
            std::future::ready(())
        },
    );
}

fn said<B, F>(gateway: &Gateway, socket: &SocketRef, payload: &Value, act: F)
where
    B: DeserializeOwned,
    F: Fn(&Client, B) -> Result<(), ApiError>,
{
    let Some(client) = Client::of(socket) else { return };
    gateway.touch();
    if let Err(error) = auth::authorize(gateway.options(), client.caller, Access::Admin) {
        client.terminals.close_all("its client may not use it any more");
        return refuse(socket, &error);
    }
    let done = extract::parse_value(payload, "the payload").and_then(|body| act(&client, body));
    if let Err(error) = done {
        refuse(socket, &error);
    }
}

fn refuse(socket: &SocketRef, error: &ApiError) {
    // One that is gone, or has a full buffer, has other worries.
    let _ = socket.emit("vmError", &error.body);
}

fn find(client: &Client, id: &str) -> Result<Open, ApiError> {
    client.terminals.get(id).ok_or_else(|| {
        ApiError::field("terminalId", "you have no such terminal open").code("NO_SUCH_TERMINAL")
    })
}

fn check_size(columns: u16, rows: u16) -> Result<(), ApiError> {
    for (field, size) in [("columns", columns), ("rows", rows)] {
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(ApiError::field(
                field,
                format!("{field} must be from 1 to {SIZE_MAX}"),
            ));
        }
    }
    Ok(())
}

/// Opens a terminal.
///
/// # Errors
/// What is wrong with the request, or why there is none.
pub async fn open(ask: Ask) -> Result<Value, ApiError> {
    let vm = vm_of(&ask.payload)?;
    let OpenBody { columns, rows, term } = extract::parse_value(&ask.payload, "the payload")?;
    check_size(columns, rows)?;
    ask.gateway.require_initialized()?;
    let kind = Kind { term, columns, rows };
    let Terminal {
        id,
        updates,
        keyboard,
    } = ask
        .gateway
        .coordinator()
        .open_terminal(vm.clone(), kind, ask.client.caller.name().to_owned())
        .await
        .map_err(|error| ask.gateway.refuse(error))?;
    let (typed, input) = mpsc::channel(INPUT_MAX);
    let open = Open {
        keyboard: keyboard.clone(),
        typed,
    };
    ask.client.terminals.lock().insert(id.to_string(), open);
    if !ask.socket.connected() {
        // It went while the terminal was being opened.
        ask.client.terminals.close_all("its client disconnected");
    }
    tokio::spawn(type_in(keyboard.clone(), input));
    let showing = Showing {
        terminal_id: id.to_string(),
        narrator: Narrator::new(vm.clone(), id),
        client: Arc::clone(&ask.client),
        socket: ask.socket,
        keyboard,
    };
    tokio::spawn(showing.run(updates));
    Ok(json!({"success": true, "vmId": vm.as_str(), "terminalId": id.to_string()}))
}

/// Types what comes, in its order, until the terminal is closed.
async fn type_in(keyboard: Keyboard, mut input: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = input.recv().await {
        match keyboard.type_in(bytes).await {
            Ok(()) => {}
            Err(TypeError::Stuck) => tracing::debug!("a terminal takes no input; what was typed is lost"),
            Err(TypeError::Closed) => return,
        }
    }
}

/// Shows a client what its terminal shows.
struct Showing {
    terminal_id: String,
    narrator: Narrator,
    client: Arc<Client>,
    socket: SocketRef,
    keyboard: Keyboard,
}

impl Showing {
    async fn run(mut self, mut updates: mpsc::Receiver<Update>) {
        loop {
            let Some(update) = updates.recv().await else {
                let end = self.narrator.unknown_end();
                self.show(end).await;
                break;
            };
            let Some(mut event) = self.narrator.tell(&update) else {
                continue;
            };
            let mut end = None;
            while !event.done && event.data.len() < PIECE_BYTES_MAX {
                let Ok(update) = updates.try_recv() else { break };
                match self.narrator.tell(&update) {
                    Some(more) if more.done => end = Some(more),
                    Some(more) => event.data.push_str(&more.data),
                    None => {}
                }
            }
            let is_over = event.done;
            let shown = self.show(event).await;
            if !shown {
                self.keyboard.close("its client does not show what it prints");
            }
            if let Some(end) = end {
                self.show(end).await;
                break;
            }
            if is_over || !shown {
                break;
            }
        }
        self.client.terminals.lock().remove(&self.terminal_id);
    }

    /// Whether the client has shown it.
    async fn show(&self, event: OutputEvent) -> bool {
        // Whoever has been told that it is over is not to type into it any more.
        if event.done {
            self.client.terminals.lock().remove(&self.terminal_id);
        }
        let payload = json!({
            "terminalId": self.terminal_id,
            "vmId": event.vm_id,
            "data": event.data,
            "done": event.done,
            "code": event.code,
            "error": event.error,
        });
        let shown = async {
            loop {
                match self
                    .socket
                    .timeout(SHOW_LIMIT)
                    .emit_with_ack::<_, Value>("terminalOutput", &payload)
                {
                    Ok(acknowledged) => {
                        return match acknowledged.await {
                            // It was acknowledged, whatever with.
                            Ok(_) | Err(AckError::Decode(_)) => true,
                            Err(_) => false,
                        };
                    }
                    Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                        tokio::time::sleep(FULL_PAUSE).await;
                    }
                    Err(_) => return false,
                }
            }
        };
        tokio::time::timeout(SHOW_LIMIT, shown).await.unwrap_or(false)
    }
}
