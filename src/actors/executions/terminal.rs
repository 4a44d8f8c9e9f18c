//! An interactive terminal on a VM: a login shell, what it shows, and what is typed.
//!
//! A reader that is slow makes this terminal slow and nothing else. It is closed when its reader is gone, when nothing
//! was typed for long, after [`OPEN_MAX`], and by whoever cancels it. What is typed and shown is not kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Ticket;
use super::run::{Ended, Update, cancelled, not_started, ssh_failed};
use crate::actors::context::Context;
use crate::actors::coordinator::CommandError;
use crate::actors::task;
use crate::domain::execution::{Ending, ExecutionId};
use crate::domain::ids::VmId;
pub use crate::infra::ssh::Terminal as Kind;
use crate::infra::ssh::{Control, Error, Execution, Exit, Piece, Session, Start};
use crate::infra::watch;

/// Longest time that a terminal is open: a working day.
const OPEN_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Limit on what is typed reaching the VM. A program that does not read may hold it up.
const TYPE_LIMIT: Duration = Duration::from_secs(5);
/// Updates that wait for their reader.
const UPDATES_MAX: usize = 16;
/// How long a closed terminal may take to say so.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// An open terminal. Dropping it closes it.
pub struct Terminal {
    pub id: ExecutionId,
    /// What it shows, all as [`Update::Output`] of one stream; then how it ended.
    pub updates: mpsc::Receiver<Update>,
    pub keyboard: Keyboard,
}

/// Types into a terminal.
#[derive(Clone)]
pub struct Keyboard {
    control: Control,
    typed_at: watch::Sender<Instant>,
    closed: watch::Sender<Option<String>>,
}

/// What was typed did not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    #[error("the terminal is closed")]
    Closed,
    #[error("the terminal takes no input at present; what was typed is lost")]
    Stuck,
}

impl Keyboard {
    /// # Errors
    /// [`TypeError`].
    pub async fn type_in(&self, bytes: Bytes) -> Result<(), TypeError> {
        self.typed_at.send_replace(Instant::now());
        match timeout(TYPE_LIMIT, self.control.input(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(TypeError::Closed),
            Err(_) => Err(TypeError::Stuck),
        }
    }

    /// Gives the terminal another size, in characters.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.control.resize(columns, rows);
    }

    /// Closes it; the reader is told.
    pub fn close(&self, reason: &str) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert_with(|| reason.to_owned());
            first
        });
    }
}

/// Opens a terminal.
pub(in crate::actors) async fn open(
    ctx: &Arc<Context>,
    vm: VmId,
    session: Arc<dyn Session>,
    ticket: Ticket,
    kind: Kind,
) -> Result<Terminal, CommandError> {
    let start = Start {
        argv: None,
        pty: Some(kind),
        deadline: OPEN_MAX,
    };
    let execution = match session.start(&start).await {
        Ok(execution) => execution,
        Err(error) => {
            let stop = not_started(&error, OPEN_MAX);
            ticket.end(stop.ending, 0).await;
            return Err(refused(ctx, vm, &error));
        }
    };
    let Execution { pieces, control } = execution;
    let (updates, receiver) = mpsc::channel(UPDATES_MAX);
    let (typed_at, typed) = watch::channel(Instant::now());
    let (closed, close) = watch::channel(None);
    let terminal = Terminal {
        id: ticket.id(),
        updates: receiver,
        keyboard: Keyboard {
            control: control.clone(),
            typed_at,
            closed,
        },
    };
    let open = Open {
        ctx: Arc::clone(ctx),
        vm,
        ticket,
        pieces,
        control,
        updates,
        typed,
        close,
        bytes: 0,
    };
    task::effect(open.follow());
    Ok(terminal)
}

fn refused(ctx: &Context, vm: VmId, error: &Error) -> CommandError {
    match error {
        Error::Busy => CommandError::Busy,
        Error::BadCommand(why) => CommandError::Refused((*why).to_owned()),
        other => {
            let message = other.to_string();
            ssh_failed(ctx, &vm, &message);
            CommandError::Ssh { vm, message }
        }
    }
}

/// A terminal as it is looked after.
struct Open {
    ctx: Arc<Context>,
    vm: VmId,
    ticket: Ticket,
    pieces: mpsc::Receiver<Piece>,
    control: Control,
    updates: mpsc::Sender<Update>,
    typed: watch::Receiver<Instant>,
    close: watch::Receiver<Option<String>>,
    bytes: u64,
}

impl Open {
    async fn follow(mut self) {
        let began = Instant::now();
        let ending = match self.attend().await {
            Ok(ending) => ending,
            Err(ending) => {
                self.control.cancel();
                self.drain().await;
                ending
            }
        };
        if let Ending::ConnectionLost { reason } = &ending {
            ssh_failed(&self.ctx, &self.vm, reason);
        }
        let ended = Ended {
            ending: ending.clone(),
            took: began.elapsed(),
            bytes: self.bytes,
            busy: false,
        };
        self.ticket.end(ending, self.bytes).await;
        // A reader that has gone does not hear of it.
        let _ = self.updates.send_timeout(Update::Ended(ended), CLOSE_LIMIT).await;
    }

    /// Passes on what it shows until it ends (`Ok`) or is to be closed (`Err`).
    async fn attend(&mut self) -> Result<Ending, Ending> {
        let idle = self.ctx.options.executions.terminal_idle;
        let mut next: Option<Update> = None;
        loop {
            let idle_at = *self.typed.borrow() + idle;
            tokio::select! {
                // However much is shown, it can be closed; and what is shown goes before the end of an idle hour.
                biased;
                () = self.updates.closed() => return Err(closed("whoever opened it has gone")),
                by = self.ticket.cancelled() => return Err(cancelled(by)),
                Ok(reason) = self.close.wait_for(Option::is_some) => {
                    return Err(closed(reason.as_deref().unwrap_or_default()));
                }
                piece = self.pieces.recv(), if next.is_none() => match piece {
                    Some(Piece::Output { stream, bytes }) => {
                        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
                        next = Some(Update::Output { step: 0, stream, bytes });
                    }
                    Some(Piece::Skipped { bytes }) => next = Some(Update::Skipped { bytes }),
                    Some(Piece::Ended(result)) => return Ok(ended(result)),
                    None => return Ok(Ending::Unknown),
                },
                room = self.updates.reserve(), if next.is_some() => match (room, next.take()) {
                    (Ok(room), Some(update)) => room.send(update),
                    (Ok(_), None) => {}
                    (Err(_), _) => return Err(closed("whoever opened it has gone")),
                },
                () = tokio::time::sleep_until(idle_at) => {
                    // Something may have been typed meanwhile.
                    if self.typed.borrow().elapsed() >= idle {
                        let minutes = idle.as_secs_f64() / 60.0;
                        return Err(closed(&format!("nothing was typed for {minutes} min")));
                    }
                }
            }
        }
    }

    /// Waits for the VM to have closed it.
    async fn drain(&mut self) {
        let ended = async {
            while let Some(piece) = self.pieces.recv().await {
                if matches!(piece, Piece::Ended(_)) {
                    return;
                }
            }
        };
        if timeout(CLOSE_LIMIT, ended).await.is_err() {
            tracing::warn!(execution = %self.ticket.id(), vm = %self.vm, "a closed terminal does not end");
        }
    }
}

fn closed(reason: &str) -> Ending {
    Ending::Closed {
        reason: reason.to_owned(),
    }
}

fn ended(result: Result<Exit, Error>) -> Ending {
    match result {
        Ok(Exit::Status(status)) => Ending::Exited { status },
        Ok(Exit::Signal(signal)) => Ending::Signalled { signal },
        Ok(Exit::Unknown) => Ending::Unknown,
        Err(Error::TimedOut(limit)) => Ending::TimedOut {
            limit_ms: crate::domain::time::millis(limit),
        },
        Err(error) => Ending::ConnectionLost {
            reason: error.to_string(),
        },
    }
}
