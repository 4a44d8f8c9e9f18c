//! A file on its way to the machine.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use russh_sftp::client::error::Error as Sftp3;
use russh_sftp::protocol::{OpenFlags, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::sftp::{Sftp, check, permissions};
use super::{Error, IN_FLIGHT_MAX, PIECE_BYTES, Sink};

/// Most bytes that wait in the machine's memory for its disk. A server does one thing after the other: while it waits for
/// its disk, every request on this channel waits for it, each with its own limit. A whole file might take minutes; this
/// much fits into that limit on a disk that takes 2 MB/s.
const UNSYNCED_BYTES_MAX: u64 = 32 << 20;

/// A file that is written over SFTP.
pub(super) struct SftpUpload {
    files: Arc<Sftp>,
    path: String,
    part: String,
    /// Until it is finished.
    handle: Option<String>,
    sent: u64,
    /// Sent, and not known to be on the disk.
    unsynced: u64,
    in_flight: FuturesUnordered<BoxFuture<'static, Result<(), Sftp3>>>,
    _place: OwnedSemaphorePermit,
}

impl SftpUpload {
    pub(super) async fn start(
        files: Arc<Sftp>,
        path: &str,
        mode: u32,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Error> {
        check("write", path)?;
        let part = format!("{path}.{:016x}.part", rand::random::<u64>());
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let opened = files.raw().open(part.as_str(), flags, permissions(mode)).await;
        let handle = opened.map_err(|error| files.failed("write", path, error))?.handle;
        Ok(Self {
            files,
            path: path.to_owned(),
            part,
            handle: Some(handle),
            sent: 0,
            unsynced: 0,
            in_flight: FuturesUnordered::new(),
            _place: place,
        })
    }

    /// Waits until the machine has on its disk what was sent. Returns the file's handle.
    async fn sync(&mut self) -> Result<String, Error> {
        while !self.in_flight.is_empty() {
            self.settle_one().await?;
        }
        let Some(handle) = self.handle.clone() else {
            return Err(self.lost());
        };
        match self.files.raw().fsync(handle.as_str()).await {
            Ok(_) => {}
            // Not every server has it, and then it is up to the machine.
            Err(Sftp3::Status(status)) if status.status_code == StatusCode::OpUnsupported => {}
            Err(error) => return Err(self.files.failed("bring to its disk", &self.path, error)),
        }
        self.unsynced = 0;
        Ok(handle)
    }

    async fn settle_one(&mut self) -> Result<(), Error> {
        match self.in_flight.next().await {
            Some(done) => done.map_err(|error| self.files.failed("write", &self.path, error)),
            None => Ok(()),
        }
    }

    fn lost(&self) -> Error {
        Error::Lost {
            path: self.path.clone(),
        }
    }
}

#[async_trait]
impl Sink for SftpUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES as usize));
            if self.unsynced >= UNSYNCED_BYTES_MAX {
                self.sync().await?;
            }
            while self.in_flight.len() >= IN_FLIGHT_MAX {
                self.settle_one().await?;
            }
            let Some(handle) = self.handle.clone() else {
                return Err(self.lost());
            };
            let (files, offset) = (Arc::clone(&self.files), self.sent);
            self.sent += piece.len() as u64;
            self.unsynced += piece.len() as u64;
            self.in_flight.push(
                async move {
                    let written = files.raw().write(handle, offset, piece.to_vec()).await;
                    written.map(drop)
                }
                .boxed(),
            );
            // A request is sent when it is first looked at.
            while let Some(Some(done)) = self.in_flight.next().now_or_never() {
                done.map_err(|error| self.files.failed("write", &self.path, error))?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<u64, Error> {
        let handle = self.sync().await?;
        let closed = self.files.raw().close(handle).await;
        closed.map_err(|error| self.files.failed("write", &self.path, error))?;
        self.files.replace(&self.part, &self.path).await?;
        self.handle = None;
        Ok(self.sent)
    }
}

impl Drop for SftpUpload {
    fn drop(&mut self) {
        let (Some(handle), Ok(runtime)) = (self.handle.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (files, part) = (Arc::clone(&self.files), std::mem::take(&mut self.part));
        runtime.spawn(async move {
            // It may be closed already, and then that fails.
            let _ = files.raw().close(handle).await;
            if let Err(error) = files.raw().remove(part.as_str()).await {
                tracing::warn!(%error, part, "a file that was not written to its end stays on the machine");
            }
        });
    }
}
