//! What Socket.IO clients may ask, each on the code path that HTTP takes.
//!
//! | event | answer | access |
//! |---|---|---|
//! | `assignVM` `{competitionId, preferredVmId?, allowFallback?, …}` | `vmAssignmentResult` | show |
//! | `releaseVM` `{competitionId, stopVM?, …}` | `vmReleaseResult` | show |
//! | `startVM`, `stopVM` `{vmId}` | `vmStartResult`, `vmStopResult` | pool |
//! | `acknowledgeAlert` `{competitionId, alertId}` | `vmError`: there are no alerts yet | show |
//! | `execSSHCommand` `{vmId, operation? \| command?, …}` | `sshOutput`, the last with `done` | admin |
//! | `cancelSSHCommand` `{executionId}` | the last `sshOutput` to whoever started it | admin |
//! | `openTerminal` and what is said to terminals | see [`terminal`] | admin |
//! | `getVMPoolStatus`, `requestVMPool` | `vmPoolStatus` | as for connecting |
//! | `identify` `{role, name}` | none | none |
//!
//! What is wrong is answered with `vmError` to the one who asked. With an acknowledgement, it also gets
//! `{success: true, …}` or `{success: false, error, code?}`. Events that are not known are ignored.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::{SendError, SocketError};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::client::Client;
use super::fanout::Command;
use super::{execution, terminal};
use crate::api::auth::{self, Access};
use crate::api::commands;
use crate::api::error::ApiError;
use crate::api::extract;
use crate::api::front::panic_text;
use crate::api::gateway::Gateway;
use crate::api::request_id::{self, RequestId};
use crate::domain::ids::{ShowId, VmId};

/// Characters kept of what a client calls itself.
const NAME_CHARS_MAX: usize = 64;

/// Longest id of an alert.
const ALERT_ID_CHARS_MAX: usize = 128;

/// Registers everything that a client may ask.
#[expect(clippy::too_many_lines, reason = "a list: one entry per event")]
pub fn listen(socket: &SocketRef, gateway: &Gateway, fanout: &mpsc::Sender<Command>) {
    on(
        socket,
        gateway,
        "assignVM",
        Some("vmAssignmentResult"),
        Access::Show,
        assign,
    );
    on(
        socket,
        gateway,
        "releaseVM",
        Some("vmReleaseResult"),
        Access::Show,
        release,
    );
    on(
        socket,
        gateway,
        "startVM",
        Some("vmStartResult"),
        Access::Pool,
        start,
    );
    on(
        socket,
        gateway,
        "stopVM",
        Some("vmStopResult"),
        Access::Pool,
        stop,
    );
    on(
        socket,
        gateway,
        "acknowledgeAlert",
        Some("alertAcknowledged"),
        Access::Show,
        acknowledge,
    );
    on(
        socket,
        gateway,
        "execSSHCommand",
        None,
        Access::Admin,
        execution::exec,
    );
    on(
        socket,
        gateway,
        "cancelSSHCommand",
        None,
        Access::Admin,
        execution::cancel,
    );
    on(
        socket,
        gateway,
        "openTerminal",
        None,
        Access::Admin,
        terminal::open,
    );
    terminal::listen(socket, gateway);
    for event in ["getVMPoolStatus", "requestVMPool"] {
        let (gateway, fanout) = (gateway.clone(), fanout.clone());
        socket.on(event, async move |socket: SocketRef, ack: AckSender| {
            gateway.touch();
            // Refused only when the fan-out has ended.
            let _ = fanout.send(Command::Snapshot { socket, ack }).await;
        });
    }
    let activity = gateway.clone();
    socket.on("identify", async move |socket: SocketRef, TryData(who): TryData<Value>| {
        activity.touch();
        let who = who.unwrap_or_default();
        let word = |name: &str| {
            who[name].as_str().unwrap_or_default().chars().take(NAME_CHARS_MAX).collect::<String>()
        };
        tracing::debug!(client = %socket.id, role = word("role"), name = word("name"), "a client said who it is");
    });
    let activity = gateway.clone();
    socket.on_fallback(async move || activity.touch());
}

/// One event of a client that may send it.
pub struct Ask {
    pub gateway: Gateway,
    pub client: Arc<Client>,
    pub socket: SocketRef,
    pub payload: Value,
}

async fn assign(ask: Ask) -> Result<Value, ApiError> {
    let show = show_of(&ask.payload)?;
    let body = extract::parse_value(&ask.payload, "the payload")?;
    value(&commands::assign(&ask.gateway, ask.client.caller, show, body, None, None).await?)
}

async fn release(ask: Ask) -> Result<Value, ApiError> {
    let show = show_of(&ask.payload)?;
    let body = extract::parse_value(&ask.payload, "the payload")?;
    value(&commands::release(&ask.gateway, ask.client.caller, show, body, None, None).await?)
}

async fn start(ask: Ask) -> Result<Value, ApiError> {
    value(&commands::start_vm(&ask.gateway, vm_of(&ask.payload)?).await?)
}

async fn stop(ask: Ask) -> Result<Value, ApiError> {
    value(&commands::stop_vm(&ask.gateway, vm_of(&ask.payload)?).await?)
}

/// Every alert is an unknown one as long as none are raised.
async fn acknowledge(ask: Ask) -> Result<Value, ApiError> {
    show_of(&ask.payload)?;
    let alert = text_of(&ask.payload, "alertId")?;
    if alert.is_empty() || alert.chars().count() > ALERT_ID_CHARS_MAX {
        let error = format!("alertId must be a text of 1 to {ALERT_ID_CHARS_MAX} characters");
        return Err(ApiError::field("alertId", error));
    }
    Err(ApiError::new(StatusCode::NOT_FOUND, "there is no such alert")
        .code("ALERT_NOT_FOUND")
        .with("alertId", alert))
}

fn show_of(payload: &Value) -> Result<ShowId, ApiError> {
    extract::show_id(&text_of(payload, "competitionId")?, "competitionId")
}

pub fn vm_of(payload: &Value) -> Result<VmId, ApiError> {
    extract::vm_id(&text_of(payload, "vmId")?, "vmId")
}

pub fn text_of(payload: &Value, field: &'static str) -> Result<String, ApiError> {
    let object: Map<String, Value> = extract::parse_value(payload, "the payload")?;
    match object.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(ApiError::field(field, format!("{field} must be a string"))),
        None => Err(ApiError::field(field, format!("{field} is missing"))),
    }
}

fn value<T: Serialize>(reply: &T) -> Result<Value, ApiError> {
    serde_json::to_value(reply).map_err(|_| ApiError::internal())
}

/// Registers one command: bounded per client, authorised, isolated from panics, answered in every case.
fn on<F, Fut>(
    socket: &SocketRef,
    gateway: &Gateway,
    event: &'static str,
    result: Option<&'static str>,
    access: Access,
    run: F,
) where
    F: Fn(Ask) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, ApiError>> + Send + 'static,
{
    let gateway = gateway.clone();
    socket.on(
        event,
        async move |socket: SocketRef, ack: AckSender, TryData(payload): TryData<Value>| {
            let Some(client) = Client::of(&socket) else { return };
            gateway.touch();
            // A missing payload, or several, is a malformed one.
            let payload = payload.unwrap_or_default();
            let id = RequestId::new();
            let span = tracing::error_span!("event", request_id = %id, event);
            let outcome = match admit(&gateway, &client, access) {
                Ok(_place) => {
                    let ask = Ask {
                        gateway: gateway.clone(),
                        client: Arc::clone(&client),
                        socket: socket.clone(),
                        payload: payload.clone(),
                    };
                    let run = AssertUnwindSafe(run(ask));
                    let carried_out = run.catch_unwind().instrument(span.clone()).await;
                    carried_out.unwrap_or_else(|panic| {
                        span.in_scope(|| {
                            tracing::error!(panic = panic_text(panic.as_ref()), "a socket event panicked");
                        });
                        Err(ApiError::internal())
                    })
                }
                Err(error) => Err(error),
            };
            span.in_scope(|| tracing::debug!(refused = outcome.is_err(), "answered"));
            let outcome = outcome.map_err(|error| error.of(&id));
            answer(&gateway, &socket, ack, result, (outcome, &id), &payload);
        },
    );
}

fn admit<'a>(
    gateway: &Gateway,
    client: &'a Arc<Client>,
    access: Access,
) -> Result<tokio::sync::SemaphorePermit<'a>, ApiError> {
    auth::authorize(gateway.options(), client.caller, access)?;
    let place = client.in_flight.try_acquire();
    place.map_err(|_| ApiError::busy("too many of your commands are being carried out"))
}

fn answer(
    gateway: &Gateway,
    socket: &SocketRef,
    ack: AckSender,
    result: Option<&'static str>,
    (outcome, id): (Result<Value, ApiError>, &RequestId),
    payload: &Value,
) {
    let seq = gateway.state().seq.0;
    let (event, mut told, mut acked) = match outcome {
        Ok(reply) => (result, reply.clone(), reply),
        Err(error) => {
            let mut told = value(&error.body).unwrap_or_default();
            for about in ["competitionId", "vmId"] {
                if let (None, Some(id)) = (told.get(about), payload.get(about).and_then(Value::as_str)) {
                    told[about] = id.into();
                }
            }
            let mut acked = serde_json::json!({"success": false, "error": error.body.error});
            if let Some(code) = error.body.code {
                acked["code"] = code.into();
            }
            (Some("vmError"), told, acked)
        }
    };
    told["seq"] = seq.into();
    acked[request_id::FIELD] = id.as_str().into();
    let emitted = event.map_or(Ok(()), |event| socket.emit(event, &told));
    for outcome in [emitted, ack.send(&acked)] {
        if let Err(SendError::Socket(SocketError::InternalChannelFull)) = outcome {
            gateway.transports().cut(socket);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_that_does_not_fit_says_what_is_wrong() {
        for (payload, field) in [
            (json!({}), Some("competitionId")),
            (json!({"competitionId": 7}), Some("competitionId")),
            (json!({"competitionId": "a/b"}), Some("competitionId")),
            (Value::Null, None),
            (json!([]), None),
            (json!("finals"), None),
        ] {
            let error = show_of(&payload).unwrap_err();
            assert_eq!(error.status.as_u16(), 400, "{payload}");
            assert_eq!(
                error.body.fields.get("field").and_then(Value::as_str),
                field,
                "{payload}"
            );
        }
        assert_eq!(
            show_of(&json!({"competitionId": "finals"})).unwrap().as_str(),
            "finals"
        );
        assert!(vm_of(&json!({"vmId": "config"})).is_err());
    }
}
