//! Running something on a VM for a Socket.IO client: `execSSHCommand`, `sshOutput`, `cancelSSHCommand`.
//!
//! A client cannot be made to take output faster than it does, and what waits for it must not grow. So output is put
//! together and sent in steady, bounded pieces, at most [`PIECE_BYTES_MAX`] every [`PACE`]; what finds the client's
//! buffer full is left out, with a notice. A client that goes away ends nothing: what runs on the VM is read to its end.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError};

use super::inbound::{Ask, text_of, vm_of};
use crate::actors::executions::run::{Running, Update};
use crate::api::error::ApiError;
use crate::api::extract;
use crate::api::gateway::Gateway;
use crate::api::narrator::Narrator;
use crate::api::types::ssh::OutputEvent;
use crate::api::work;
use crate::domain::execution::InvalidExecutionId;

/// Between two pieces of output of one execution.
const PACE: Duration = Duration::from_millis(25);
/// Text of one piece, in bytes.
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// How long a client with a full buffer is given to take the end.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Starts it. The acknowledgement says under which id; the output follows as `sshOutput`.
pub async fn exec(ask: Ask) -> Result<Value, ApiError> {
    let vm = vm_of(&ask.payload)?;
    let body = extract::parse_value(&ask.payload, "the payload")?;
    let started = work::start(&ask.gateway, ask.client.caller, vm, body).await?;
    let narrator = Narrator::new(started.vm.clone(), started.running.id);
    let reply = json!({
        "success": true,
        "vmId": started.vm.as_str(),
        "executionId": started.running.id.to_string(),
    });
    let telling = Telling {
        gateway: ask.gateway,
        socket: ask.socket,
        narrator,
        left_out: 0,
    };
    tokio::spawn(telling.run(started.running));
    Ok(reply)
}

/// Ends something that was started, by anybody.
pub async fn cancel(ask: Ask) -> Result<Value, ApiError> {
    let id = text_of(&ask.payload, "executionId")?;
    let id = id
        .parse()
        .map_err(|error: InvalidExecutionId| ApiError::field("executionId", error.to_string()))?;
    ask.gateway
        .coordinator()
        .cancel(id, ask.client.caller.name().to_owned())
        .await
        .map_err(|error| ask.gateway.refuse(error))?;
    Ok(json!({"success": true, "executionId": id.to_string()}))
}

/// Tells one client of one execution.
struct Telling {
    gateway: Gateway,
    socket: SocketRef,
    narrator: Narrator,
    /// Bytes that found its buffer full since something was last told.
    left_out: u64,
}

impl Telling {
    async fn run(mut self, mut running: Running) {
        loop {
            let Some(first) = running.updates.recv().await else {
                let end = self.narrator.unknown_end();
                return self.finish(end).await;
            };
            let mut events = VecDeque::new();
            self.put_together(&mut events, &first);
            while bytes(&events) < PIECE_BYTES_MAX
                && let Ok(more) = running.updates.try_recv()
            {
                self.put_together(&mut events, &more);
            }
            for event in events {
                if event.done {
                    return self.finish(event).await;
                }
                self.tell(&event);
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Adds an update, to the last event if it goes on with the same stream.
    fn put_together(&mut self, events: &mut VecDeque<OutputEvent>, update: &Update) {
        let Some(event) = self.narrator.tell(update) else {
            return;
        };
        match events.back_mut() {
            Some(last) if last.stream == event.stream && is_plain(last) && is_plain(&event) => {
                last.data.push_str(&event.data);
            }
            Some(_) | None => events.push_back(event),
        }
    }

    fn tell(&mut self, event: &OutputEvent) {
        if self.left_out > 0 {
            let notice = self.narrator.missing(self.left_out);
            if !send(&self.socket, &notice) {
                self.left_out += event.data.len() as u64;
                return;
            }
            self.left_out = 0;
        }
        if !send(&self.socket, event) {
            self.left_out += event.data.len() as u64;
        }
    }

    /// The end is not left out: a client that does not take it in time is cut off.
    async fn finish(mut self, end: OutputEvent) {
        let told = async {
            loop {
                if self.left_out > 0 && send(&self.socket, &self.narrator.missing(self.left_out)) {
                    self.left_out = 0;
                }
                if self.left_out == 0 && send(&self.socket, &end) {
                    return;
                }
                tokio::time::sleep(PACE).await;
            }
        };
        if tokio::time::timeout(END_LIMIT, told).await.is_err() {
            self.gateway.transports().cut(&self.socket);
        }
    }
}

fn bytes(events: &VecDeque<OutputEvent>) -> usize {
    events.iter().map(|event| event.data.len()).sum()
}

/// Output and nothing else.
fn is_plain(event: &OutputEvent) -> bool {
    event.stream.is_some() && event.notice.is_none() && !event.done
}

/// Whether it was taken, or there is nobody left to take it.
fn send(socket: &SocketRef, event: &OutputEvent) -> bool {
    !matches!(
        socket.emit("sshOutput", event),
        Err(SendError::Socket(SocketError::InternalChannelFull))
    )
}
