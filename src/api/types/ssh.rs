//! Working on a VM over SSH, as clients ask for it and read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::coordinator::Printed;
use crate::domain::execution::Ending;
use crate::domain::time::millis;

/// What is to be run: either an operation of the catalogue, or a command line of one's own where that is allowed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecBody {
    /// Id of an operation.
    #[schema(example = "CHECK_SERVICES")]
    pub operation: Option<String>,
    /// What the operation's blanks are filled in with.
    pub parameters: BTreeMap<String, ParameterValue>,
    /// A command line for the VM's `sh -c`.
    #[schema(max_length = 4096)]
    pub command: Option<String>,
    /// Folder to run the command line in.
    pub cwd: Option<String>,
    /// Limit in milliseconds. For an operation only a shorter one than its own counts.
    #[schema(minimum = 1, maximum = 600_000)]
    pub timeout: Option<u64>,
    /// Run the command line as root.
    pub sudo: bool,
}

/// A value may be given as text or as a whole number.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ParameterValue {
    Text(String),
    Whole(u64),
}

impl From<ParameterValue> for String {
    fn from(value: ParameterValue) -> Self {
        match value {
            ParameterValue::Text(text) => text,
            ParameterValue::Whole(number) => number.to_string(),
        }
    }
}

/// What a command printed and how it ended. `success` is false for an exit status other than 0.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecReply {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
    /// The exit status; -1 if it did not end with one.
    pub code: i64,
    /// In milliseconds.
    pub duration: u64,
    pub vm_id: String,
    pub execution_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// It was ended by this signal, named without `SIG`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// It printed more than is here.
    pub truncated: bool,
}

impl ExecReply {
    #[must_use]
    pub fn new(vm_id: String, operation: Option<String>, printed: &Printed) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ending = &printed.ended.ending;
        Self {
            success: code(ending) == 0,
            stdout: text(&printed.stdout),
            stderr: text(&printed.stderr),
            code: code(ending),
            duration: millis(printed.ended.took),
            vm_id,
            execution_id: printed.id.to_string(),
            operation,
            signal: signal(ending),
            cancelled_by: cancelled_by(ending),
            truncated: printed.truncated,
        }
    }
}

/// The exit status, or -1.
#[must_use]
pub fn code(ending: &Ending) -> i64 {
    match ending {
        Ending::Exited { status } => i64::from(*status),
        Ending::Signalled { .. }
        | Ending::Cancelled { .. }
        | Ending::Closed { .. }
        | Ending::TimedOut { .. }
        | Ending::ConnectionLost { .. }
        | Ending::NotStarted { .. }
        | Ending::Unknown => -1,
    }
}

#[must_use]
pub fn signal(ending: &Ending) -> Option<String> {
    match ending {
        Ending::Signalled { signal } => Some(signal.clone()),
        Ending::Exited { .. }
        | Ending::Cancelled { .. }
        | Ending::Closed { .. }
        | Ending::TimedOut { .. }
        | Ending::ConnectionLost { .. }
        | Ending::NotStarted { .. }
        | Ending::Unknown => None,
    }
}

#[must_use]
pub fn cancelled_by(ending: &Ending) -> Option<String> {
    match ending {
        Ending::Cancelled { by, .. } => Some(by.clone()),
        Ending::Exited { .. }
        | Ending::Signalled { .. }
        | Ending::Closed { .. }
        | Ending::TimedOut { .. }
        | Ending::ConnectionLost { .. }
        | Ending::NotStarted { .. }
        | Ending::Unknown => None,
    }
}

/// A piece of output, or the end: an event `sshOutput`, or a line of a streamed answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputEvent {
    pub vm_id: String,
    pub execution_id: String,
    /// `stdout` or `stderr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<&'static str>,
    pub data: String,
    /// Output is missing here, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    pub done: bool,
    /// With `done`: the exit status; -1 if it did not end with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// In milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Bytes that it printed, passed on or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// Why it did not come to an end of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The latest lines of a log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogsReply {
    pub vm_id: String,
    pub unit: String,
    pub lines: Vec<String>,
    pub stdout: String,
}
