//! What the coordinator runs itself, of the catalogue: followed to its end, and told in words.

use super::Begin;
use super::run::{Running, Stream, Update};
use crate::domain::execution::{Deed, Ending};
use crate::domain::ids::VmId;
use crate::domain::operation::{Operation, Plan};

/// Who runs it, in the record of executions.
const BY: &str = "coordinator";
/// Kept of what a failed operation says.
const COMPLAINT_BYTES_MAX: usize = 1024;

/// How an operation ended.
pub struct Outcome {
    pub ending: Ending,
    /// The beginning of what it wrote to its standard error.
    complaint: Vec<u8>,
}

impl Begin {
    /// An operation that the coordinator runs.
    #[must_use]
    pub fn own(vm: &VmId, operation: &Operation, plan: &Plan) -> Self {
        Self {
            vm: vm.clone(),
            by: BY.to_owned(),
            deed: Deed::Operation {
                id: operation.id.clone(),
                plan: plan.clone(),
            },
            refused_on_air: operation.refused_on_air,
        }
    }
}

impl Running {
    /// Waits for its end, which the plan's own limit bounds.
    pub async fn outcome(mut self) -> Outcome {
        let mut complaint = Vec::new();
        while let Some(update) = self.updates.recv().await {
            match update {
                Update::Output {
                    stream: Stream::Stderr,
                    bytes,
                    ..
                } => {
                    let room = COMPLAINT_BYTES_MAX.saturating_sub(complaint.len());
                    complaint.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Update::Output {
                    stream: Stream::Stdout,
                    ..
                }
                | Update::Truncated { .. }
                | Update::Skipped { .. } => {}
                Update::Ended(ended) => {
                    let ending = ended.ending;
                    return Outcome { ending, complaint };
                }
            }
        }
        let ending = Ending::Unknown;
        Outcome { ending, complaint }
    }
}

impl Outcome {
    /// Why it did not do what it should, to be read after its name: `ended with status 1: no such file`. `None`: it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let how = match &self.ending {
            Ending::Exited { status: 0 } => return None,
            Ending::Exited { status } => format!("ended with status {status}"),
            Ending::Signalled { signal } => format!("was ended by signal {signal}"),
            Ending::Cancelled { by, .. } => format!("was cancelled by {by}"),
            Ending::Closed { reason } => format!("was closed: {reason}"),
            Ending::TimedOut { limit_ms } => format!("was not done within {limit_ms} ms"),
            Ending::ConnectionLost { reason } => format!("was cut off: {reason}"),
            Ending::NotStarted { reason } => format!("was not run: {reason}"),
            Ending::Unknown => "ended unseen".to_owned(),
        };
        let complaint = String::from_utf8_lossy(&self.complaint);
        Some(match complaint.trim() {
            "" => how,
            said => format!("{how}: {said}"),
        })
    }

    /// It may still be at work on the machine.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        match self.ending {
            Ending::Exited { .. } | Ending::NotStarted { .. } => false,
            Ending::Signalled { .. }
            | Ending::Cancelled { .. }
            | Ending::Closed { .. }
            | Ending::TimedOut { .. }
            | Ending::ConnectionLost { .. }
            | Ending::Unknown => true,
        }
    }
}
