//! The protocol's messages: what a client may send, and with which code it is shown the door.

use serde_json::{Map, Value, json};

use super::auth::Challenge;
use super::request::Outcome;
use super::sessions::INTENTS_ALL;
use super::status::SUCCESS;
use super::{RPC_VERSION, STUDIO_VERSION, WEBSOCKET_VERSION};

/// Most requests in one batch.
const BATCH_REQUESTS_MAX: usize = 4_096;

/// Ends the connection: `WebSocketCloseCode` of the protocol document, or a code of RFC 6455.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

const MESSAGE_DECODE_ERROR: u16 = 4002;
const MISSING_DATA_FIELD: u16 = 4003;
const INVALID_DATA_FIELD_TYPE: u16 = 4004;
const INVALID_DATA_FIELD_VALUE: u16 = 4005;
const UNKNOWN_OP_CODE: u16 = 4006;
const NOT_IDENTIFIED: u16 = 4007;
const ALREADY_IDENTIFIED: u16 = 4008;
const AUTHENTICATION_FAILED: u16 = 4009;
const UNSUPPORTED_RPC_VERSION: u16 = 4010;
const UNSUPPORTED_FEATURE: u16 = 4012;
const TOO_LARGE: u16 = 1009;

impl Close {
    fn new(code: u16, reason: &str) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
        }
    }

    pub(super) fn binary() -> Self {
        let reason = "Your session encoding is set to Json, but a binary message was received.";
        Self::new(MESSAGE_DECODE_ERROR, reason)
    }

    pub(super) fn too_large() -> Self {
        Self::new(TOO_LARGE, "The message is too large.")
    }

    pub(super) fn authentication_failed(was_tried: bool) -> Self {
        let reason = if was_tried {
            "Authentication failed."
        } else {
            "Your payload's data is missing an `authentication` string, however authentication is required."
        };
        Self::new(AUTHENTICATION_FAILED, reason)
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    Identify(Identify),
    Reidentify {
        intents: Option<u32>,
    },
    Request {
        kind: String,
        id: Value,
        data: Option<Value>,
    },
    Batch(Batch),
}

#[derive(Debug, PartialEq)]
pub(super) struct Identify {
    pub(super) authentication: Option<String>,
    pub(super) intents: Option<u32>,
    rpc_version: Option<Value>,
}

impl Identify {
    /// Looked at after the authentication, as obs-websocket does.
    pub(super) fn check_version(&self) -> Result<(), Close> {
        match &self.rpc_version {
            None => Err(Close::new(
                MISSING_DATA_FIELD,
                "Your payload's data is missing an `rpcVersion`.",
            )),
            Some(value) => match value.as_u64() {
                None => {
                    let reason = "Your `rpcVersion` is not an unsigned number.";
                    Err(Close::new(INVALID_DATA_FIELD_TYPE, reason))
                }
                Some(RPC_VERSION) => Ok(()),
                Some(_) => {
                    let reason = "Your requested RPC version is not supported by this server.";
                    Err(Close::new(UNSUPPORTED_RPC_VERSION, reason))
                }
            },
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) id: Value,
    pub(super) halt_on_failure: bool,
    /// The execution type allows `Sleep`.
    pub(super) sleeps: bool,
    pub(super) requests: Vec<BatchRequest>,
}

#[derive(Debug, PartialEq)]
pub(super) struct BatchRequest {
    pub(super) kind: Option<String>,
    pub(super) id: Value,
    pub(super) data: Option<Value>,
}

/// Reads one message, or says how the connection ends.
pub(super) fn parse(text: &str, identified: bool) -> Result<Incoming, Close> {
    let message: Value = serde_json::from_str(text).map_err(|error| Close {
        code: MESSAGE_DECODE_ERROR,
        reason: clip(format!("Unable to decode Json: {error}")),
    })?;
    let Value::Object(mut message) = message else {
        return Err(Close::new(MESSAGE_DECODE_ERROR, "You sent a non-object payload."));
    };
    if !identified && message.contains_key("request-type") {
        let reason = "You appear to be attempting to connect with the pre-5.0.0 plugin protocol.";
        return Err(Close::new(UNSUPPORTED_RPC_VERSION, reason));
    }
    let op = match message.get("op") {
        None => return Err(Close::new(UNKNOWN_OP_CODE, "Your request is missing an `op`.")),
        Some(op) => op
            .as_f64()
            .ok_or_else(|| Close::new(UNKNOWN_OP_CODE, "Your `op` is not a number."))?,
    };
    let data = match message.remove("d") {
        Some(Value::Object(data)) => data,
        None | Some(Value::Null) => {
            return Err(Close::new(
                MISSING_DATA_FIELD,
                "Your payload is missing data (`d`).",
            ));
        }
        Some(_) => {
            let reason = "Your payload's data (`d`) is not an object.";
            return Err(Close::new(INVALID_DATA_FIELD_TYPE, reason));
        }
    };
    let is = |code: f64| (op - code).abs() < f64::EPSILON;
    if !identified && !is(1.0) {
        let reason = "You attempted to send a non-Identify message while not identified.";
        return Err(Close::new(NOT_IDENTIFIED, reason));
    }
    if is(1.0) {
        if identified {
            let reason = "You are already Identified with the obs-websocket server.";
            return Err(Close::new(ALREADY_IDENTIFIED, reason));
        }
        identify(data)
    } else if is(3.0) {
        Ok(Incoming::Reidentify {
            intents: intents(&data)?,
        })
    } else if is(6.0) {
        request(data)
    } else if is(8.0) {
        batch(data)
    } else {
        Err(Close {
            code: UNKNOWN_OP_CODE,
            reason: format!("Unknown OpCode: {op}"),
        })
    }
}

fn identify(mut data: Map<String, Value>) -> Result<Incoming, Close> {
    let authentication = data
        .get("authentication")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let intents = intents(&data)?;
    let rpc_version = data.remove("rpcVersion");
    Ok(Incoming::Identify(Identify {
        authentication,
        intents,
        rpc_version,
    }))
}

fn intents(data: &Map<String, Value>) -> Result<Option<u32>, Close> {
    let Some(value) = data.get("eventSubscriptions") else {
        return Ok(None);
    };
    let not_unsigned = || {
        Close::new(
            INVALID_DATA_FIELD_TYPE,
            "Your `eventSubscriptions` is not an unsigned number.",
        )
    };
    let bits = value.as_u64().ok_or_else(not_unsigned)?;
    // Bits beyond those that exist subscribe to nothing.
    Ok(Some(
        u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(INTENTS_ALL),
    ))
}

fn request_id(data: &mut Map<String, Value>) -> Result<Value, Close> {
    data.remove("requestId")
        .ok_or_else(|| Close::new(MISSING_DATA_FIELD, "Your payload data is missing a `requestId`."))
}

fn request(mut data: Map<String, Value>) -> Result<Incoming, Close> {
    let id = request_id(&mut data)?;
    let kind = data
        .get("requestType")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Ok(Incoming::Request {
        kind,
        id,
        data: data.remove("requestData"),
    })
}

fn batch(mut data: Map<String, Value>) -> Result<Incoming, Close> {
    let id = request_id(&mut data)?;
    let requests = match data.remove("requests") {
        None => {
            return Err(Close::new(
                MISSING_DATA_FIELD,
                "Your payload data is missing a `requests`.",
            ));
        }
        Some(Value::Array(requests)) => requests,
        Some(_) => {
            return Err(Close::new(
                INVALID_DATA_FIELD_TYPE,
                "Your `requests` is not an array.",
            ));
        }
    };
    if requests.len() > BATCH_REQUESTS_MAX {
        return Err(Close::new(
            INVALID_DATA_FIELD_VALUE,
            "Your `requests` has too many entries.",
        ));
    }
    let halt_on_failure = match data.get("haltOnFailure") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(halt)) => *halt,
        Some(_) => {
            return Err(Close::new(
                INVALID_DATA_FIELD_TYPE,
                "Your `haltOnFailure` is not a boolean.",
            ));
        }
    };
    let sleeps = match data.get("executionType") {
        None | Some(Value::Null) => true,
        Some(value) => match value.as_i64() {
            None => {
                return Err(Close::new(
                    INVALID_DATA_FIELD_TYPE,
                    "Your `executionType` is not a number.",
                ));
            }
            Some(0 | 1) => true,
            Some(2) => false,
            Some(_) => {
                let reason = "Your `executionType` has an invalid value.";
                return Err(Close::new(INVALID_DATA_FIELD_VALUE, reason));
            }
        },
    };
    if data
        .get("variables")
        .is_some_and(|variables| !variables.is_null())
    {
        return Err(Close::new(
            UNSUPPORTED_FEATURE,
            "Variables are not supported here.",
        ));
    }
    let requests = requests
        .into_iter()
        .map(batch_request)
        .collect::<Result<_, _>>()?;
    Ok(Incoming::Batch(Batch {
        id,
        halt_on_failure,
        sleeps,
        requests,
    }))
}

fn batch_request(value: Value) -> Result<BatchRequest, Close> {
    let Value::Object(mut request) = value else {
        return Err(Close::new(
            INVALID_DATA_FIELD_TYPE,
            "One of your `requests` is not an object.",
        ));
    };
    Ok(BatchRequest {
        kind: request
            .get("requestType")
            .and_then(Value::as_str)
            .map(str::to_owned),
        id: request.remove("requestId").unwrap_or_default(),
        data: request.remove("requestData"),
    })
}

/// A close reason has at most 123 bytes on the wire.
fn clip(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(120));
    reason
}

pub(super) fn hello(challenge: Option<&Challenge>) -> Value {
    let mut data = json!({
        "obsStudioVersion": STUDIO_VERSION,
        "obsWebSocketVersion": WEBSOCKET_VERSION,
        "rpcVersion": RPC_VERSION,
    });
    if let Some(challenge) = challenge {
        data["authentication"] = json!({"challenge": challenge.challenge, "salt": challenge.salt});
    }
    json!({"op": 0, "d": data})
}

pub(super) fn identified() -> Value {
    json!({"op": 2, "d": {"negotiatedRpcVersion": RPC_VERSION}})
}

/// The data of a `RequestResponse`, or one entry of a batch's.
pub(super) fn answer(kind: &str, id: Value, outcome: Outcome) -> Value {
    let mut answer = json!({"requestType": kind});
    if !id.is_null() {
        answer["requestId"] = id;
    }
    match outcome.0 {
        Ok(data) => {
            answer["requestStatus"] = json!({"result": true, "code": SUCCESS});
            if let Some(data) = data {
                answer["responseData"] = data;
            }
        }
        Err(failure) => {
            let mut status = json!({"result": false, "code": failure.code});
            if let Some(comment) = failure.comment {
                status["comment"] = comment.into();
            }
            answer["requestStatus"] = status;
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str, identified: bool) -> u16 {
        parse(text, identified).unwrap_err().code
    }

    #[test]
    fn a_wrong_message_is_shown_the_right_door() {
        assert_eq!(code("{", true), 4002);
        assert_eq!(code("[]", true), 4002);
        assert_eq!(code(r#"{"d":{}}"#, true), 4006);
        assert_eq!(code(r#"{"op":"6","d":{}}"#, true), 4006);
        assert_eq!(code(r#"{"op":42,"d":{}}"#, true), 4006);
        assert_eq!(code(r#"{"op":6}"#, true), 4003);
        assert_eq!(code(r#"{"op":6,"d":[]}"#, true), 4004);
        assert_eq!(code(r#"{"op":6,"d":{"requestType":"GetStats"}}"#, true), 4003);
        assert_eq!(code(r#"{"op":6,"d":{}}"#, false), 4007);
        assert_eq!(code(r#"{"op":1,"d":{"rpcVersion":1}}"#, true), 4008);
        assert_eq!(code(r#"{"op":1,"d":{"eventSubscriptions":-1}}"#, false), 4004);
        assert_eq!(code(r#"{"request-type":"GetVersion"}"#, false), 4010);
        assert_eq!(code(r#"{"op":8,"d":{"requestId":"1"}}"#, true), 4003);
        assert_eq!(
            code(
                r#"{"op":8,"d":{"requestId":"1","requests":[],"executionType":9}}"#,
                true
            ),
            4005
        );
    }

    #[test]
    fn the_version_is_checked_by_type_and_value() {
        let check = |data: &str| match parse(&format!(r#"{{"op":1,"d":{data}}}"#), false).unwrap() {
            Incoming::Identify(identify) => identify.check_version().map_err(|close| close.code),
            other => panic!("{other:?}"),
        };
        assert_eq!(check("{}"), Err(4003));
        assert_eq!(check(r#"{"rpcVersion":"1"}"#), Err(4004));
        assert_eq!(check(r#"{"rpcVersion":2}"#), Err(4010));
        assert_eq!(check(r#"{"rpcVersion":1}"#), Ok(()));
    }
}
