//! What was done on VMs, by whom, and how it ended, as clients read it.

use serde::Serialize;
use utoipa::ToSchema;

use super::Iso;
use crate::domain::execution::{Deed, Ending, Execution};
use crate::domain::operation::PlannedStep;

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
    /// `operation`, `command`, `terminal`, `upload`, `download` or `list`.
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The commands that were run, each as its words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of a download that began in the middle of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_byte: Option<u64>,
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
    /// Bytes that it printed, or that were transferred: from `fromByte` on.
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
            from_byte: None,
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
            Deed::Download { path, from } => {
                self.kind = "download";
                self.path = Some(path.to_string());
                self.from_byte = Some(*from).filter(|from| *from > 0);
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
