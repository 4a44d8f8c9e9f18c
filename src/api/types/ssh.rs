//! Working on a VM over SSH, as clients ask for it and read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Iso;
use crate::actors::coordinator::{CommandError, Printed};
use crate::domain::execution::{Deed, Ending, Execution};
use crate::domain::operation::PlannedStep;
use crate::domain::service::Standing;
use crate::domain::system_info::{SystemInfo, Usage, human_bytes, human_uptime};
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

/// The service to restart.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartBody {
    /// `xvfb`, `obs-headless`, `show-server` or `nimble`.
    pub service: String,
}

/// How a service is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    pub service: &'static str,
    /// Its systemd unit on the VMs.
    pub unit: String,
    pub active: bool,
    /// `ActiveState/SubState` of systemd, `pm2/online`, or `not-found`.
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// How the restart of a service went, and how the service is since.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartReply {
    #[serde(flatten)]
    pub result: ExecReply,
    pub service: &'static str,
    /// `null` if that could not be found out.
    pub active: Option<bool>,
    /// `unknown` if that could not be found out.
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Why `status` is `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_error: Option<String>,
}

impl RestartReply {
    #[must_use]
    pub fn new(result: ExecReply, service: &'static str, standing: Result<Standing, CommandError>) -> Self {
        let (active, status, pid, status_error) = match standing {
            Ok(standing) => (Some(standing.active), standing.status, standing.pid, None),
            Err(error) => (None, "unknown".to_owned(), None, Some(error.to_string())),
        };
        Self {
            result,
            service,
            active,
            status,
            pid,
            status_error,
        }
    }
}

/// The services of a VM.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicesReply {
    pub vm_id: String,
    pub services: Vec<ServiceView>,
}

/// How a machine is: in words, and in numbers. What it did not say is absent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfoReply {
    pub vm_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "up 4 days, 1 hour")]
    pub uptime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<UsageText>,
    /// Of the root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<UsageText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "12.5%")]
    pub cpu: Option<String>,
    pub numbers: SystemNumbers,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageText {
    #[schema(example = "7.6Gi")]
    pub total: String,
    pub used: String,
    pub free: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemNumbers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<UsageBytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<UsageBytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Mean number of runnable processes over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageBytes {
    pub total: u64,
    pub used: u64,
    /// What may still be taken.
    pub free: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_percent: Option<f64>,
}

impl From<Usage> for UsageText {
    fn from(usage: Usage) -> Self {
        Self {
            total: human_bytes(usage.total),
            used: human_bytes(usage.used),
            free: human_bytes(usage.free),
        }
    }
}

impl From<Usage> for UsageBytes {
    fn from(usage: Usage) -> Self {
        Self {
            total: usage.total,
            used: usage.used,
            free: usage.free,
            used_percent: usage.used_percent().map(tenth),
        }
    }
}

fn tenth(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

impl SystemInfoReply {
    #[must_use]
    pub fn new(vm_id: String, info: SystemInfo) -> Self {
        Self {
            vm_id,
            uptime: info.uptime.map(human_uptime),
            memory: info.memory.map(Into::into),
            disk: info.disk.map(Into::into),
            cpu: info.cpu_percent.map(|percent| format!("{:.1}%", percent)),
            numbers: SystemNumbers {
                uptime_seconds: info.uptime.map(|uptime| uptime.as_secs_f64()),
                memory: info.memory.map(Into::into),
                disk: info.disk.map(Into::into),
                cpu_percent: info.cpu_percent.map(tenth),
                cpus: info.cpus,
                load: info.load,
            },
            hostname: info.hostname,
        }
    }
}

/// What was done on VMs, the latest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionPage {
    pub executions: Vec<ExecutionView>,
    /// `before` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Something that was done on a VM.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionView {
    pub execution_id: String,
    pub vm_id: String,
    /// Who asked for it.
    pub by: String,
    /// `operation`, `command`, `terminal`, `upload` or `download`.
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The commands that were run, each as its words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[schema(value_type = String)]
    pub began_at: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Iso>,
    /// `running`, `exited`, `signalled`, `cancelled`, `closed`, `timedOut`, `connectionLost`, `notStarted` or `unknown`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes that it printed, or that were transferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl From<&Execution> for ExecutionView {
    fn from(execution: &Execution) -> Self {
        let mut view = Self {
            execution_id: execution.id.to_string(),
            vm_id: execution.vm.to_string(),
            by: execution.by.clone(),
            kind: "terminal",
            operation: None,
            commands: Vec::new(),
            path: None,
            began_at: Iso(execution.began_at),
            ended_at: execution.end.as_ref().map(|end| Iso(end.at)),
            state: "running",
            code: None,
            signal: None,
            cancelled_by: None,
            reason: None,
            bytes: execution.end.as_ref().map(|end| end.bytes),
        };
        view.of(&execution.deed);
        if let Some(end) = &execution.end {
            view.ended(&end.ending);
        }
        view
    }
}

impl ExecutionView {
    fn of(&mut self, deed: &Deed) {
        let commands = |steps: &[PlannedStep]| steps.iter().flat_map(commands_of).collect();
        match deed {
            Deed::Operation { id, plan } => {
                self.kind = "operation";
                self.operation = Some(id.to_string());
                self.commands = commands(&plan.steps);
            }
            Deed::Command { plan } => {
                self.kind = "command";
                self.commands = commands(&plan.steps);
            }
            Deed::Terminal => self.kind = "terminal",
            Deed::Upload { path } => {
                self.kind = "upload";
                self.path = Some(path.to_string());
            }
            Deed::Download { path } => {
                self.kind = "download";
                self.path = Some(path.to_string());
            }
            Deed::List { path } => {
                self.kind = "list";
                self.path = Some(path.to_string());
            }
        }
    }

    fn ended(&mut self, ending: &Ending) {
        match ending {
            Ending::Exited { status } => {
                self.state = "exited";
                self.code = Some(*status);
            }
            Ending::Signalled { signal } => {
                self.state = "signalled";
                self.signal = Some(signal.clone());
            }
            Ending::Cancelled { by, may_go_on } => {
                self.state = "cancelled";
                self.cancelled_by = Some(by.clone());
                let reason = "it did not end when it was told to, and may go on";
                self.reason = may_go_on.then(|| reason.to_owned());
            }
            Ending::Closed { reason } => {
                self.state = "closed";
                self.reason = Some(reason.clone());
            }
            Ending::TimedOut { limit_ms } => {
                self.state = "timedOut";
                self.reason = Some(format!("it did not end within {limit_ms} ms"));
            }
            Ending::ConnectionLost { reason } => {
                self.state = "connectionLost";
                self.reason = Some(reason.clone());
            }
            Ending::NotStarted { reason } => {
                self.state = "notStarted";
                self.reason = Some(reason.clone());
            }
            Ending::Unknown => self.state = "unknown",
        }
    }
}

fn commands_of(step: &PlannedStep) -> Vec<Vec<String>> {
    match step {
        PlannedStep::Pause(_) => Vec::new(),
        PlannedStep::Run {
            condition,
            argv,
            otherwise,
            ..
        } => condition.iter().chain([argv]).chain(otherwise).cloned().collect(),
    }
}

/// An execution is being ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelReply {
    pub success: bool,
    pub execution_id: String,
}
