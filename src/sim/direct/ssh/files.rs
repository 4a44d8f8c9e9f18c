//! The machine's files, as SFTP gives at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::session::Connection;
use super::upload::DirectUpload;
use crate::domain::time::Timestamp;
use crate::infra::ssh;
use crate::infra::ssh::files::{Download, ENTRIES_MAX, Entry, Error, Files, Kind, Upload};
use crate::sim::model::machine::disk::{Disk, DiskError, Node, Who, absolute};

// As `infra::ssh::files` has them.
const REQUEST: Duration = Duration::from_secs(15);
const TRANSFERS_MAX: usize = 4;
const PIECES_MAX: usize = 8;
/// Read in one request here: what the wire has on its way at a time.
const PIECE_BYTES: usize = 1024 * 1024;

pub(super) struct DirectFiles {
    connection: Arc<Connection>,
    /// What was asked once and not answered may be answered now: nothing here is certain any more.
    broken: AtomicBool,
    transfers: Arc<Semaphore>,
}

impl DirectFiles {
    pub(super) async fn open(connection: &Arc<Connection>) -> Result<Arc<Self>, ssh::Error> {
        match timeout(REQUEST, connection.link.call(|_| ())).await {
            Ok(Ok(())) => Ok(Arc::new(Self {
                connection: Arc::clone(connection),
                broken: AtomicBool::new(false),
                transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            })),
            Ok(Err(_)) => Err(ssh::Error::Closed),
            Err(_) => Err(ssh::Error::TimedOut(REQUEST)),
        }
    }

    fn transfer(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = Arc::clone(&self.transfers).try_acquire_owned();
        place.map_err(|_| Error::Busy)
    }

    /// One request and its answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        act: &'static str,
        path: &str,
        work: impl FnOnce(&mut Disk, &str, Timestamp) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, Error> {
        if path.is_empty() || path.contains('\0') {
            return Err(Error::Failed {
                act,
                path: path.to_owned(),
                why: "it is not a path".to_owned(),
            });
        }
        let named = path.to_owned();
        let asked = self
            .connection
            .link
            .call(move |machine| machine.change(|model, now| work(model.disk(now), &named, now)));
        let answered = tokio::select! {
            biased;
            _ = self.connection.over() => return Err(self.lost(path)),
            answered = timeout(REQUEST, asked) => answered,
        };
        match answered {
            Ok(Ok(done)) => done.map_err(|error| failed(act, path, error)),
            Ok(Err(_)) => Err(self.lost(path)),
            Err(_) => {
                self.broken.store(true, Ordering::Relaxed);
                Err(Error::TimedOut {
                    path: path.to_owned(),
                    limit: REQUEST,
                })
            }
        }
    }

    fn lost(&self, path: &str) -> Error {
        self.broken.store(true, Ordering::Relaxed);
        Error::Lost {
            path: path.to_owned(),
        }
    }

    /// Something that nobody waits for.
    pub(super) fn leave(self: &Arc<Self>, path: String) {
        let files = Arc::clone(self);
        tokio::spawn(async move {
            // What cannot be removed now is left, as it is on the wire.
            let _ = files.remove(&path).await;
        });
    }

    pub(super) fn number(&self) -> u64 {
        self.connection.link.dice().number()
    }
}

fn failed(act: &'static str, path: &str, error: DiskError) -> Error {
    let path = path.to_owned();
    match error {
        DiskError::NotFound | DiskError::NotAFolder => Error::NotFound { path },
        DiskError::Denied => Error::Denied { path },
        DiskError::IsAFolder
        | DiskError::Exists
        | DiskError::NotEmpty
        | DiskError::Full
        | DiskError::TooLong
        | DiskError::Invalid => Error::Failed {
            act,
            path,
            // SFTP 3 has one code for all of these.
            why: "Failure".to_owned(),
        },
    }
}

fn entry(name: &str, node: &Node) -> Entry {
    Entry {
        name: name.to_owned(),
        kind: if node.is_folder() {
            Kind::Folder
        } else {
            Kind::File
        },
        bytes: node.bytes(),
        modified: Some(UNIX_EPOCH + Duration::from_secs(node.modified.0 / 1_000)),
    }
}

#[async_trait]
impl Files for DirectFiles {
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let listed = self.ask("list", folder, |disk, folder, _| {
            let inside = disk.list(folder)?;
            Ok(inside
                .iter()
                .take(ENTRIES_MAX + 1)
                .map(|(name, node)| entry(name, node))
                .collect::<Vec<_>>())
        });
        let entries = listed.await?;
        if entries.len() > ENTRIES_MAX {
            return Err(Error::TooMany {
                path: folder.to_owned(),
            });
        }
        Ok(entries)
    }

    async fn stat(&self, path: &str) -> Result<Entry, Error> {
        self.ask("look at", path, |disk, path, _| {
            disk.stat(path).map(|node| entry(path, node))
        })
        .await
    }

    async fn real_path(&self, path: &str) -> Result<String, Error> {
        self.ask("resolve", path, |_, path, _| absolute(path)).await
    }

    async fn read(self: Arc<Self>, path: &str, from: u64) -> Result<Download, Error> {
        let place = self.transfer()?;
        let opened = self.ask("read", path, |disk, path, _| {
            disk.read(path, 0, 0)?;
            disk.stat(path).map(Node::bytes)
        });
        let bytes = opened.await?;
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let path = path.to_owned();
        tokio::spawn(async move {
            let _place = place;
            pass_on(&self, &path, from, bytes, &sender).await;
        });
        Ok(Download::of(bytes, pieces))
    }

    async fn write(self: Arc<Self>, path: &str, mode: u32) -> Result<Upload, Error> {
        let place = self.transfer()?;
        let upload = DirectUpload::start(self, path, mode, place).await?;
        Ok(Upload::new(upload))
    }

    async fn remove(&self, path: &str) -> Result<(), Error> {
        self.ask("remove", path, |disk, path, _| disk.remove(Who::User, path))
            .await
    }

    async fn remove_folder(&self, path: &str) -> Result<(), Error> {
        self.ask("remove", path, |disk, path, _| {
            disk.remove_folder(Who::User, path)
        })
        .await
    }

    async fn make_folder(&self, path: &str, mode: u32) -> Result<(), Error> {
        self.ask("make", path, move |disk, path, now| {
            match disk.make_folder(Who::User, path, mode & !0o022, now) {
                Err(DiskError::Exists) if disk.stat(path).is_ok_and(Node::is_folder) => Ok(()),
                made => made,
            }
        })
        .await
    }

    fn are_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && !self.connection.is_over()
    }
}

async fn pass_on(
    files: &DirectFiles,
    path: &str,
    from: u64,
    until: u64,
    to: &mpsc::Sender<Result<Bytes, Error>>,
) {
    let mut at = from;
    while at < until {
        let most = usize::try_from(until - at)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let read = files.ask("read", path, move |disk, path, _| disk.read(path, at, most));
        let piece = match read.await {
            Ok(piece) if piece.is_empty() => Err(Error::Shrank {
                path: path.to_owned(),
                read: at,
                expected: until,
            }),
            other => other,
        };
        let failed = piece.is_err();
        at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if to.send(piece.map(Bytes::from)).await.is_err() || failed {
            return;
        }
    }
}
