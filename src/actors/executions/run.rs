//! Running a plan over a VM's SSH session, and telling whoever asked what it prints.
//!
//! What a command prints is always read to its end, whether or not anybody wants it. Of each stream only so much is
//! passed on; then a notice, and the rest is counted. A reader that does not take what is passed on makes this
//! execution wait, and what then comes too fast is left out by the session; nothing else waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Ticket;
use crate::actors::context::Context;
use crate::actors::news::Level;
use crate::actors::task;
use crate::domain::execution::{Ending, ExecutionId};
use crate::domain::ids::VmId;
use crate::domain::operation::{Plan, PlannedStep};
use crate::domain::time::{Timestamp, millis};
pub use crate::infra::ssh::Stream;
use crate::infra::ssh::{Error, Execution, Exit, Piece, Session, Start};

/// Updates that wait for their reader.
const UPDATES_MAX: usize = 64;
/// What must be run in any case has this long once the time of the others is up.
const ALWAYS_GRACE: Duration = Duration::from_secs(15);

/// Something that runs on a VM.
pub struct Running {
    pub id: ExecutionId,
    /// Ends with exactly one [`Update::Ended`], or without it if whoever watched it died. Dropping it ends nothing.
    pub updates: mpsc::Receiver<Update>,
}

/// What there is to tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// It printed this, in its step of this number.
    Output {
        step: usize,
        stream: Stream,
        bytes: Bytes,
    },
    /// This stream has printed so much that nothing more of it is passed on.
    Truncated {
        stream: Stream,
    },
    /// So many bytes are missing here: they came faster than they were taken.
    Skipped {
        bytes: u64,
    },
    Ended(Ended),
}

/// How it ended. By then that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub ending: Ending,
    pub took: Duration,
    /// Bytes that it printed, passed on or not.
    pub bytes: u64,
    /// The VM's session had no room for one more command.
    pub busy: bool,
}

/// Why no further step is run but those that always are.
pub(super) struct Stop {
    pub(super) ending: Ending,
    busy: bool,
}

impl Stop {
    /// Something of the plan has been run before: what could not be started then was cut off, unless there was just no
    /// room for it.
    fn in_the_middle(self) -> Self {
        match self.ending {
            Ending::NotStarted { reason } if !self.busy => Ending::ConnectionLost { reason }.into(),
            _ => self,
        }
    }

    fn is_cut_off(&self) -> bool {
        matches!(self.ending, Ending::ConnectionLost { .. })
    }
}

impl From<Ending> for Stop {
    fn from(ending: Ending) -> Self {
        let busy = false;
        Self { ending, busy }
    }
}

/// Starts running a plan in a task of its own.
pub(in crate::actors) fn start(
    ctx: &Arc<Context>,
    vm: VmId,
    session: Arc<dyn Session>,
    ticket: Ticket,
    plan: Plan,
) -> Running {
    let (updates, receiver) = mpsc::channel(UPDATES_MAX);
    let id = ticket.id();
    let run = Run {
        ctx: Arc::clone(ctx),
        vm,
        session,
        ticket,
        updates,
        left: [Some(ctx.options.executions.output_bytes_max); 2],
        bytes: 0,
    };
    task::effect(run.follow(plan));
    Running {
        id,
        updates: receiver,
    }
}

struct Run {
    ctx: Arc<Context>,
    vm: VmId,
    session: Arc<dyn Session>,
    ticket: Ticket,
    updates: mpsc::Sender<Update>,
    /// Bytes of each stream that are still passed on; `None` once it was told that there is more.
    left: [Option<usize>; 2],
    bytes: u64,
}

impl Run {
    async fn follow(mut self, plan: Plan) {
        let began = Instant::now();
        let began_at = self.ctx.now();
        let Stop { ending, busy } = self.steps(&plan, began_at).await;
        match &ending {
            Ending::ConnectionLost { reason } | Ending::NotStarted { reason } if !busy => {
                ssh_failed(&self.ctx, &self.vm, reason);
            }
            Ending::ConnectionLost { .. }
            | Ending::NotStarted { .. }
            | Ending::Exited { .. }
            | Ending::Signalled { .. }
            | Ending::Cancelled { .. }
            | Ending::Closed { .. }
            | Ending::TimedOut { .. }
            | Ending::Unknown => {}
        }
        let ended = Ended {
            ending: ending.clone(),
            took: began.elapsed(),
            bytes: self.bytes,
            busy,
        };
        self.ticket.end(ending, self.bytes).await;
        // A reader that has gone, or takes nothing for so long, does not hear of it.
        let _ = self
            .updates
            .send_timeout(Update::Ended(ended), ALWAYS_GRACE)
            .await;
    }

    /// How the plan ends: as its last step, or as the first that failed.
    async fn steps(&mut self, plan: &Plan, began_at: Timestamp) -> Stop {
        let limit = plan.timeout;
        let mut last = Ending::Exited { status: 0 };
        let mut stop: Option<Stop> = None;
        let mut is_begun = false;
        for (index, step) in plan.steps.iter().enumerate() {
            let is_due = match (&stop, step) {
                (None, _) => true,
                // There is nothing to run it over, or nothing to make good.
                (Some(stop), PlannedStep::Run { always, .. }) => *always && is_begun && !stop.is_cut_off(),
                (Some(_), PlannedStep::Pause(_)) => false,
            };
            if !is_due {
                continue;
            }
            // While this process did not run, nobody could go on to the next step.
            let left = self.ctx.stalls().left(began_at, limit, self.ctx.now());
            let left = match stop {
                None => left,
                Some(_) => left.max(ALWAYS_GRACE),
            };
            let deadline = Instant::now() + left;
            let outcome = self.step(index, step, limit, deadline, stop.is_some()).await;
            match (outcome, &stop) {
                (Ok(ending @ Ending::Exited { status: 0 }), None) => (last, is_begun) = (ending, true),
                (Ok(ending), None) => (stop, is_begun) = (Some(ending.into()), true),
                (Err(why), None) => {
                    let why = if is_begun { why.in_the_middle() } else { why };
                    is_begun |= !matches!(why.ending, Ending::NotStarted { .. });
                    stop = Some(why);
                }
                // The first failure is what is told.
                (Ok(_) | Err(_), Some(_)) => {}
            }
        }
        stop.unwrap_or_else(|| last.into())
    }

    async fn step(
        &mut self,
        index: usize,
        step: &PlannedStep,
        limit: Duration,
        deadline: Instant,
        is_cancelled: bool,
    ) -> Result<Ending, Stop> {
        let (condition, argv, otherwise) = match step {
            PlannedStep::Pause(span) => {
                return tokio::select! {
                    // Who is told to stop does; and a pause that ends right at the deadline was in time.
                    biased;
                    by = self.ticket.cancelled() => Err(cancelled(by).into()),
                    () = tokio::time::sleep(*span) => Ok(Ending::Exited { status: 0 }),
                    () = tokio::time::sleep_until(deadline) => Err(timed_out(limit).into()),
                };
            }
            PlannedStep::Run {
                condition,
                argv,
                otherwise,
                ..
            } => (condition, argv, otherwise),
        };
        let mut command = Command {
            step: index,
            limit,
            deadline,
            is_cancelled,
            is_heard: false,
        };
        let argv = match condition {
            None => Some(argv),
            Some(condition) => match self.command(&command, condition).await? {
                Ending::Exited { status: 0 } => Some(argv),
                Ending::Exited { .. } => otherwise.as_ref(),
                other => return Err(other.into()),
            },
        };
        command.is_heard = true;
        match argv {
            Some(argv) => self.command(&command, argv).await,
            None => Ok(Ending::Exited { status: 0 }),
        }
    }

    /// Runs one command to its end.
    async fn command(&mut self, command: &Command, argv: &[String]) -> Result<Ending, Stop> {
        let now = Instant::now();
        let Some(left) = command
            .deadline
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
        else {
            return Err(timed_out(command.limit).into());
        };
        let start = Start {
            argv: Some(argv.to_vec()),
            pty: None,
            deadline: left,
        };
        let Execution { mut pieces, control } = match self.session.start(&start).await {
            Ok(execution) => execution,
            Err(error) => return Err(not_started(&error, command.limit)),
        };
        // It has ended already if that fails.
        let _ = control.end_of_input().await;
        let mut cancelled_by = None;
        loop {
            let piece = tokio::select! {
                // However much it prints, it can be cancelled.
                biased;
                by = self.ticket.cancelled(), if cancelled_by.is_none() && !command.is_cancelled => {
                    control.cancel();
                    cancelled_by = Some(by);
                    continue;
                }
                piece = pieces.recv() => piece,
            };
            match piece {
                Some(Piece::Output { stream, bytes }) => self.heard(command, stream, bytes).await,
                Some(Piece::Skipped { bytes }) => {
                    self.bytes = self.bytes.saturating_add(bytes);
                    if command.is_heard {
                        self.tell(command, Update::Skipped { bytes }).await;
                    }
                }
                Some(Piece::Ended(result)) => return ended(result, cancelled_by, command.limit),
                None => return Err(Ending::Unknown.into()),
            }
        }
    }

    async fn heard(&mut self, command: &Command, stream: Stream, mut bytes: Bytes) {
        if !command.is_heard {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let slot = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        };
        let Some(left) = self.left[slot] else { return };
        let is_too_much = bytes.len() > left;
        bytes.truncate(left);
        self.left[slot] = (!is_too_much).then(|| left - bytes.len());
        let step = command.step;
        if !bytes.is_empty() {
            self.tell(command, Update::Output { step, stream, bytes }).await;
        }
        if is_too_much {
            self.tell(command, Update::Truncated { stream }).await;
        }
    }

    /// Waits for the reader, but not longer than the command may take.
    async fn tell(&self, command: &Command, update: Update) {
        // A reader that has gone is told nothing; the command runs on and is read to its end.
        let _ = timeout_at(command.deadline, self.updates.send(update)).await;
    }
}

/// What a command of a step is run with.
struct Command {
    step: usize,
    /// Of the whole plan, for who is told that it is up.
    limit: Duration,
    deadline: Instant,
    /// The plan was cancelled; this is run in any case.
    is_cancelled: bool,
    /// What it prints is passed on.
    is_heard: bool,
}

pub(super) fn cancelled(by: String) -> Ending {
    let may_go_on = false;
    Ending::Cancelled { by, may_go_on }
}

fn timed_out(limit: Duration) -> Ending {
    Ending::TimedOut {
        limit_ms: millis(limit),
    }
}

pub(super) fn not_started(error: &Error, limit: Duration) -> Stop {
    if matches!(error, Error::TimedOut(_)) {
        return timed_out(limit).into();
    }
    Stop {
        busy: matches!(error, Error::Busy),
        ending: Ending::NotStarted {
            reason: error.to_string(),
        },
    }
}

fn ended(result: Result<Exit, Error>, cancelled_by: Option<String>, limit: Duration) -> Result<Ending, Stop> {
    match (result, cancelled_by) {
        (Err(error @ Error::Closed), _) => Err(Ending::ConnectionLost {
            reason: error.to_string(),
        }
        .into()),
        (Err(Error::Stubborn), Some(by)) => Err(Ending::Cancelled { by, may_go_on: true }.into()),
        (_, Some(by)) => Err(cancelled(by).into()),
        (Ok(Exit::Status(status)), None) => Ok(Ending::Exited { status }),
        (Ok(Exit::Signal(signal)), None) => Ok(Ending::Signalled { signal }),
        (Ok(Exit::Unknown), None) => Ok(Ending::Unknown),
        (Err(Error::TimedOut(_)), None) => Err(timed_out(limit).into()),
        (Err(error), None) => Err(Ending::ConnectionLost {
            reason: error.to_string(),
        }
        .into()),
    }
}

/// Tells people that a VM could not be worked on.
pub(in crate::actors) fn ssh_failed(ctx: &Context, vm: &VmId, reason: &str) {
    let state = ctx.state();
    let show = state
        .vm(vm)
        .and_then(|vm| vm.occupancy.tenant().map(|(show, _)| show.clone()));
    let level = match show {
        Some(_) => Level::Critical,
        None => Level::Warning,
    };
    let source = format!("ssh-failed-{vm}");
    let message = format!("a command could not be run on VM {vm} over SSH: {reason}");
    ctx.alert(level, source, "SSH failed", message, show.as_ref(), Some(vm));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cancelled_and_did_not_end_is_written_down_as_that() {
        let by = || Some("somebody".to_owned());
        let limit = Duration::from_secs(1);
        for (result, may_go_on) in [
            (Ok(Exit::Signal("TERM".to_owned())), false),
            (Ok(Exit::Status(0)), false),
            (Err(Error::TimedOut(limit)), false),
            (Err(Error::Stubborn), true),
        ] {
            let told = format!("{result:?}");
            let stop = ended(result, by(), limit).expect_err("it was stopped");
            let by = "somebody".to_owned();
            assert_eq!(stop.ending, Ending::Cancelled { by, may_go_on }, "{told}");
        }
        let lost = ended(Err(Error::Closed), by(), limit).expect_err("it was stopped");
        assert!(matches!(lost.ending, Ending::ConnectionLost { .. }));
    }
}
