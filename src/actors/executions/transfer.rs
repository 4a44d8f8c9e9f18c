//! Moving a file to or from a VM over its SSH session.
//!
//! ```text
//! download:  SFTP ──► task ──► a few pieces ──► whoever reads
//! upload:    whoever sends ──► a few pieces ──► task ──► SFTP, under another name until it is whole
//! ```
//!
//! A task owns the transfer and its [`Ticket`]. Whoever reads or sends slowly makes this one task wait: neither memory
//! fills up nor does the VM's session stop, which carries liveness and OBS beside it. A transfer in which nothing moves
//! for [`ExecutionOptions::transfer_stall`](super::ExecutionOptions::transfer_stall) is given up. How far it is goes out
//! as news; of an upload that does not come to its end nothing stays on the VM.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::Ticket;
use super::run::{cancelled, ssh_failed};
use crate::actors::context::Context;
use crate::actors::news::{Item, Transferred};
use crate::actors::task;
use crate::domain::execution::{Ending, ExecutionId};
use crate::domain::ids::VmId;
use crate::domain::unix::AbsolutePath;
use crate::infra::ssh::files;

/// Pieces between the task and whoever is at the other end; a piece that is read is at most 32 KiB.
const PIECES_MAX: usize = 4;
/// Least time between telling how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// Why a file was not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("{path} is not below a folder that files may be moved in (ssh.file_roots: {roots})")]
    OutsideRoots { path: String, roots: String },
    #[error("{path} leads to {real} on VM {vm}, which is not below a folder that files may be moved in")]
    LeadsOut { vm: VmId, path: String, real: String },
    #[error("{path} does not exist on VM {vm}")]
    NotFound { vm: VmId, path: String },
    #[error("{path} on VM {vm} is not {wanted}")]
    WrongKind {
        vm: VmId,
        path: String,
        wanted: &'static str,
    },
    #[error("{path} is a folder on VM {vm}; say the file's name too")]
    IsFolder { vm: VmId, path: String },
    #[error("nothing is there from byte {from} on: {path} on VM {vm} has {bytes}")]
    PastTheEnd {
        vm: VmId,
        path: String,
        from: u64,
        bytes: u64,
    },
    #[error("it has more than {max} bytes (ssh.upload_bytes_max)")]
    TooLarge { max: u64 },
    #[error("it broke off before its end; nothing of it is kept on VM {vm}")]
    BrokeOff { vm: VmId },
    #[error("nothing moved for {} s; it was given up", .limit.as_secs())]
    Stalled { limit: Duration },
    #[error("{by} has cancelled it")]
    Cancelled { by: String },
    #[error("on VM {vm}: {message}")]
    Machine { vm: VmId, message: String },
    #[error("the connection to VM {vm} was lost: {message}")]
    Lost { vm: VmId, message: String },
    #[error("VM {vm} moves as many files as it can; try again when one has ended")]
    Busy { vm: VmId },
}

impl FileError {
    pub(in crate::actors) fn of(vm: &VmId, error: files::Error) -> Self {
        let (vm, message) = (vm.clone(), error.to_string());
        match error {
            files::Error::NotFound { path } => Self::NotFound { vm, path },
            files::Error::Busy => Self::Busy { vm },
            files::Error::Lost { .. } => Self::Lost { vm, message },
            files::Error::Denied { .. }
            | files::Error::Failed { .. }
            | files::Error::TooMany { .. }
            | files::Error::Shrank { .. }
            | files::Error::TimedOut { .. } => Self::Machine { vm, message },
        }
    }

    /// For the record of the execution.
    pub(in crate::actors) fn ending(&self) -> Ending {
        match self {
            Self::Cancelled { by } => cancelled(by.clone()),
            Self::Lost { message, .. } => Ending::ConnectionLost {
                reason: message.clone(),
            },
            Self::OutsideRoots { .. }
            | Self::LeadsOut { .. }
            | Self::NotFound { .. }
            | Self::WrongKind { .. }
            | Self::IsFolder { .. }
            | Self::PastTheEnd { .. }
            | Self::Busy { .. } => Ending::NotStarted {
                reason: self.to_string(),
            },
            Self::TooLarge { .. } | Self::BrokeOff { .. } | Self::Stalled { .. } | Self::Machine { .. } => {
                Ending::Closed {
                    reason: self.to_string(),
                }
            }
        }
    }
}

/// A file on its way from a VM.
#[derive(Debug)]
pub struct Download {
    pub id: ExecutionId,
    /// Of the whole file.
    pub bytes_total: u64,
    /// Ends after the last byte, or after the first error. Dropping it gives the download up.
    pub pieces: mpsc::Receiver<Result<Bytes, FileError>>,
}

/// A file on its way to a VM. Dropping it gives the upload up.
#[derive(Debug)]
pub struct Upload {
    pub id: ExecutionId,
    parts: mpsc::Sender<Part>,
    done: oneshot::Receiver<Result<u64, FileError>>,
    vm: VmId,
}

#[derive(Debug)]
enum Part {
    Bytes(Bytes),
    End,
}

impl Upload {
    /// Waits for room. `false`: it has ended already, and [`Upload::finish`] says why.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.parts.send(Part::Bytes(bytes)).await.is_ok()
    }

    /// Returns once nothing more is taken.
    pub async fn ended(&self) {
        self.parts.closed().await;
    }

    /// Has the file put in its place. Returns its size in bytes.
    ///
    /// # Errors
    /// Why it is not there; the file that was there before, if any, is unchanged.
    pub async fn finish(self) -> Result<u64, FileError> {
        // If it has ended already, that is what is told.
        let _ = self.parts.send(Part::End).await;
        self.outcome().await
    }

    /// Gives it up, since what was to be sent broke off.
    ///
    /// # Errors
    /// Always, with why it ended.
    pub async fn break_off(self) -> Result<u64, FileError> {
        self.outcome().await
    }

    async fn outcome(self) -> Result<u64, FileError> {
        drop(self.parts);
        let vm = self.vm;
        self.done.await.unwrap_or(Err(FileError::BrokeOff { vm }))
    }
}

/// What both directions have.
struct Transfer {
    ctx: Arc<Context>,
    vm: VmId,
    path: AbsolutePath,
    ticket: Ticket,
    is_upload: bool,
    /// The byte of the file that it begins at.
    from: u64,
    /// That were moved.
    bytes: u64,
    /// Of the whole file.
    bytes_total: Option<u64>,
    told_at: Option<Instant>,
}

impl Transfer {
    fn stall(&self) -> Duration {
        self.ctx.options.executions.transfer_stall
    }

    fn stalled(&self) -> FileError {
        FileError::Stalled { limit: self.stall() }
    }

    fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.tell(false);
        }
    }

    fn tell(&mut self, done: bool) {
        self.told_at = Some(Instant::now());
        self.ctx.news.tell(Item::Transferred(Transferred {
            id: self.ticket.id(),
            vm: self.vm.clone(),
            path: self.path.clone(),
            is_upload: self.is_upload,
            bytes: self.from.saturating_add(self.bytes),
            bytes_total: self.bytes_total,
            done,
        }));
    }

    async fn end(mut self, outcome: &Result<u64, FileError>) {
        self.tell(true);
        let ending = match outcome {
            Ok(_) => Ending::Closed {
                reason: WHOLE.to_owned(),
            },
            Err(error) => error.ending(),
        };
        if let Ending::ConnectionLost { reason } = &ending {
            ssh_failed(&self.ctx, &self.vm, reason);
        }
        self.ticket.end(ending, self.bytes).await;
    }
}

/// How the record says that a transfer came to its end.
const WHOLE: &str = "complete";

/// What is moved, and the right to.
pub(in crate::actors) struct Admitted {
    pub ctx: Arc<Context>,
    pub vm: VmId,
    /// As it was asked for.
    pub path: AbsolutePath,
    pub ticket: Ticket,
}

impl Admitted {
    fn transfer(self, is_upload: bool, from: u64, bytes_total: Option<u64>) -> Transfer {
        Transfer {
            ctx: self.ctx,
            vm: self.vm,
            path: self.path,
            ticket: self.ticket,
            is_upload,
            from,
            bytes: 0,
            bytes_total,
            told_at: None,
        }
    }

    /// Passes on a file that is being read.
    pub(in crate::actors) fn download(self, reading: files::Download, from: u64) -> Download {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let (id, bytes_total) = (self.ticket.id(), reading.bytes);
        let transfer = self.transfer(false, from, Some(bytes_total));
        task::effect(transfer.pass_on(reading, sender));
        Download {
            id,
            bytes_total,
            pieces,
        }
    }

    /// Takes what a file is to be made of, at most so many bytes.
    pub(in crate::actors) fn upload(
        self,
        writing: files::Upload,
        bytes_total: Option<u64>,
        bytes_max: u64,
    ) -> Upload {
        let (parts, received) = mpsc::channel(PIECES_MAX);
        let (tell, done) = oneshot::channel();
        let (id, vm) = (self.ticket.id(), self.vm.clone());
        let transfer = self.transfer(true, 0, bytes_total);
        task::effect(transfer.take_in(writing, received, bytes_max, tell));
        Upload { id, parts, done, vm }
    }
}

impl Transfer {
    async fn pass_on(mut self, mut reading: files::Download, to: mpsc::Sender<Result<Bytes, FileError>>) {
        let outcome = self.pieces(&mut reading, &to).await;
        drop(reading);
        if let Err(error) = &outcome {
            // So that it does not look whole. A reader that has gone or takes nothing misses nothing.
            let _ = timeout(TOLD_EVERY, to.send(Err(error.clone()))).await;
        }
        self.end(&outcome).await;
    }

    async fn pieces(
        &mut self,
        reading: &mut files::Download,
        to: &mpsc::Sender<Result<Bytes, FileError>>,
    ) -> Result<u64, FileError> {
        let stall = self.stall();
        loop {
            let piece = tokio::select! {
                // However fast it moves, it can be cancelled.
                biased;
                by = self.ticket.cancelled() => return Err(FileError::Cancelled { by }),
                piece = timeout(stall, reading.next()) => piece.map_err(|_| self.stalled())?,
            };
            let Some(piece) = piece else { return Ok(self.bytes) };
            let piece = piece.map_err(|error| FileError::of(&self.vm, error))?;
            let length = piece.len();
            let taken = tokio::select! {
                // However fast it moves, it can be cancelled.
                biased;
                by = self.ticket.cancelled() => return Err(FileError::Cancelled { by }),
                taken = timeout(stall, to.send(Ok(piece))) => taken.map_err(|_| self.stalled())?,
            };
            if taken.is_err() {
                let vm = self.vm.clone();
                let message = "whoever was reading it has gone".to_owned();
                return Err(FileError::Machine { vm, message });
            }
            self.moved(length);
        }
    }

    async fn take_in(
        mut self,
        writing: files::Upload,
        mut received: mpsc::Receiver<Part>,
        bytes_max: u64,
        tell: oneshot::Sender<Result<u64, FileError>>,
    ) {
        let outcome = self.parts(writing, &mut received, bytes_max).await;
        // Whoever waits for room hears that there will be none.
        drop(received);
        self.end(&outcome).await;
        // Whoever sent it may have gone.
        let _ = tell.send(outcome);
    }

    /// What is not whole when this returns is removed from the VM.
    async fn parts(
        &mut self,
        mut writing: files::Upload,
        received: &mut mpsc::Receiver<Part>,
        bytes_max: u64,
    ) -> Result<u64, FileError> {
        let stall = self.stall();
        loop {
            let part = tokio::select! {
                // However fast it moves, it can be cancelled.
                biased;
                by = self.ticket.cancelled() => return Err(FileError::Cancelled { by }),
                part = timeout(stall, received.recv()) => part.map_err(|_| self.stalled())?,
            };
            let bytes = match part {
                Some(Part::Bytes(bytes)) => bytes,
                Some(Part::End) => {
                    let finished = writing.finish().await;
                    return finished.map_err(|error| FileError::of(&self.vm, error));
                }
                None => return Err(FileError::BrokeOff { vm: self.vm.clone() }),
            };
            let length = bytes.len();
            if self.bytes.saturating_add(length as u64) > bytes_max {
                return Err(FileError::TooLarge { max: bytes_max });
            }
            let written = tokio::select! {
                // However fast it moves, it can be cancelled.
                biased;
                by = self.ticket.cancelled() => return Err(FileError::Cancelled { by }),
                written = timeout(stall, writing.write(bytes)) => written.map_err(|_| self.stalled())?,
            };
            written.map_err(|error| FileError::of(&self.vm, error))?;
            self.moved(length);
        }
    }
}
