//! A file on its way from the machine.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use russh_sftp::client::error::Error as Sftp3;
use russh_sftp::protocol::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::sftp::Sftp;
use super::{Error, IN_FLIGHT_MAX, PIECE_BYTES};

/// Pieces read and not taken yet, beside those in flight.
const PIECES_MAX: usize = 8;

/// A file that is read. Dropping it ends the reading.
#[derive(Debug)]
pub struct Download {
    /// Of the whole file when it was opened, in bytes.
    pub bytes: u64,
    pieces: mpsc::Receiver<Result<Bytes, Error>>,
}

impl Download {
    pub(super) async fn start(
        files: Arc<Sftp>,
        path: &str,
        handle: String,
        from: u64,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Error> {
        let bytes = match files.raw().fstat(handle.as_str()).await {
            Ok(found) => found.attrs.size.unwrap_or(0),
            Err(error) => {
                // The failure that counts is the first.
                let _ = files.raw().close(handle).await;
                return Err(files.failed("read", path, error));
            }
        };
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let reading = Reading {
            files,
            path: path.to_owned(),
            handle,
            until: bytes,
        };
        tokio::spawn(async move {
            reading.run(from, &sender).await;
            // Nothing was written, so closing cannot lose anything.
            let _ = reading.files.raw().close(reading.handle.as_str()).await;
            drop(place);
        });
        Ok(Self { bytes, pieces })
    }

    /// One of a file of so many bytes, whose pieces come from elsewhere.
    pub(crate) fn of(bytes: u64, pieces: mpsc::Receiver<Result<Bytes, Error>>) -> Self {
        Self { bytes, pieces }
    }

    /// The next bytes, in their order; `None` at the end of the file. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.pieces.recv().await
    }
}

struct Reading {
    files: Arc<Sftp>,
    path: String,
    handle: String,
    until: u64,
}

impl Reading {
    async fn run(&self, from: u64, sender: &mpsc::Sender<Result<Bytes, Error>>) {
        let step = PIECE_BYTES as usize;
        let mut pieces = stream::iter((from..self.until).step_by(step))
            .map(|offset| self.piece(offset))
            .buffered(IN_FLIGHT_MAX);
        while let Some(piece) = pieces.next().await {
            let failed = piece.is_err();
            if sender.send(piece).await.is_err() || failed {
                return;
            }
        }
    }

    /// One piece, whole: a server may answer with less than was asked for.
    async fn piece(&self, offset: u64) -> Result<Bytes, Error> {
        let wanted = (self.until - offset).min(u64::from(PIECE_BYTES));
        let mut piece = Vec::new();
        loop {
            let (have, rest) = (piece.len() as u64, wanted - piece.len() as u64);
            let rest = u32::try_from(rest).unwrap_or(PIECE_BYTES);
            let at = offset + have;
            let more = match self.files.raw().read(self.handle.as_str(), at, rest).await {
                Ok(more) => more.data,
                Err(Sftp3::Status(status)) if status.status_code == StatusCode::Eof => Vec::new(),
                Err(error) => return Err(self.files.failed("read", &self.path, error)),
            };
            if more.is_empty() || more.len() > rest as usize {
                return Err(Error::Shrank {
                    path: self.path.clone(),
                    read: at,
                    expected: self.until,
                });
            }
            if piece.is_empty() {
                piece = more;
            } else {
                piece.extend_from_slice(&more);
            }
            if piece.len() as u64 == wanted {
                return Ok(piece.into());
            }
        }
    }
}
