//! One SFTP channel: requests, their deadlines, and what their failures mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use russh_sftp::client::error::Error as Sftp3;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::extensions::HardlinkExtension;
use russh_sftp::protocol::{FileAttributes, FileType, OpenFlags, Packet, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Download, ENTRIES_MAX, Entry, Error, Files, Kind, SftpUpload, Upload};
use crate::infra::ssh::Error as Ssh;
use crate::infra::ssh::connection::{self, Connection};

/// Limit on each request. A disk that is busy may take seconds.
const REQUEST: Duration = Duration::from_secs(15);
/// Reads and writes at the same time.
const TRANSFERS_MAX: usize = 4;
/// Other requests at the same time; more wait, each at most for as long as those before it take.
const REQUESTS_MAX: usize = 16;
/// Largest packet taken from a server, in bytes; OpenSSH's own limit.
const PACKET_BYTES_MAX: u32 = 256 * 1024;
/// Replaces a file by another, as rename(2) does; SFTP 3's own rename refuses to (OpenSSH's PROTOCOL, section 4.3).
const POSIX_RENAME: &str = "posix-rename@openssh.com";

pub(in crate::infra::ssh) struct Sftp {
    raw: RawSftpSession,
    /// What was asked once and not answered may be answered now: nothing on this channel is certain any more.
    broken: AtomicBool,
    requests: Semaphore,
    transfers: Arc<Semaphore>,
    connection: Arc<Connection>,
    /// This channel's place on the connection.
    _place: OwnedSemaphorePermit,
}

impl Sftp {
    pub(in crate::infra::ssh) async fn open(connection: &Arc<Connection>) -> Result<Self, Ssh> {
        if connection.end.reached() {
            return Err(Ssh::Closed);
        }
        let Ok(place) = connection.files.clone().try_acquire_owned() else {
            return Err(Ssh::Busy);
        };
        match timeout(REQUEST, Self::begin(connection, place)).await {
            Ok(opened) => opened,
            Err(_) => Err(Ssh::TimedOut(REQUEST)),
        }
    }

    async fn begin(connection: &Arc<Connection>, place: OwnedSemaphorePermit) -> Result<Self, Ssh> {
        let channel = connection::open(connection).await?;
        channel
            .request_subsystem(true, "sftp")
            .await
            .map_err(|_| Ssh::Closed)?;
        let config = Config {
            request_timeout_secs: REQUEST.as_secs(),
            max_packet_len: PACKET_BYTES_MAX,
            ..Config::default()
        };
        // It reads its stream all the time and closes the channel when it is dropped.
        let raw = RawSftpSession::new_with_config(channel.into_stream(), config);
        if raw.init().await.is_err() {
            return Err(if connection.end.reached() {
                Ssh::Closed
            } else {
                Ssh::Protocol("the server has no SFTP".to_owned())
            });
        }
        Ok(Self {
            raw,
            broken: AtomicBool::new(false),
            requests: Semaphore::new(REQUESTS_MAX),
            transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            connection: Arc::clone(connection),
            _place: place,
        })
    }

    pub(super) fn raw(&self) -> &RawSftpSession {
        &self.raw
    }

    pub(super) fn transfer(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = self.transfers.clone().try_acquire_owned();
        place.map_err(|_| Error::Busy)
    }

    /// What a failure means for the caller.
    pub(super) fn failed(&self, act: &'static str, path: &str, error: Sftp3) -> Error {
        let path = path.to_owned();
        match error {
            Sftp3::Status(status) => match status.status_code {
                StatusCode::NoSuchFile => Error::NotFound { path },
                StatusCode::PermissionDenied => Error::Denied { path },
                StatusCode::NoConnection | StatusCode::ConnectionLost => Error::Lost { path },
                StatusCode::Ok
                | StatusCode::Eof
                | StatusCode::Failure
                | StatusCode::BadMessage
                | StatusCode::OpUnsupported => Error::Failed {
                    act,
                    path,
                    why: status.error_message,
                },
            },
            Sftp3::Timeout => {
                self.broken.store(true, Ordering::Relaxed);
                Error::TimedOut { path, limit: REQUEST }
            }
            Sftp3::Limited(why) => Error::Failed { act, path, why },
            Sftp3::IO(_) | Sftp3::UnexpectedPacket | Sftp3::UnexpectedBehavior(_) => {
                self.broken.store(true, Ordering::Relaxed);
                Error::Lost { path }
            }
        }
    }

    /// Runs one request that is not part of a transfer.
    async fn ask<T>(
        &self,
        act: &'static str,
        path: &str,
        request: impl Future<Output = Result<T, Sftp3>>,
    ) -> Result<T, Error> {
        check(act, path)?;
        // It fails only if the semaphore is closed, which nobody does.
        let _turn = self.requests.acquire().await;
        request.await.map_err(|error| self.failed(act, path, error))
    }

    /// Puts one file in another's place.
    pub(super) async fn replace(&self, old: &str, new: &str) -> Result<(), Error> {
        const ACT: &str = "put a new file in place of";
        let names = HardlinkExtension {
            oldpath: old.to_owned(),
            newpath: new.to_owned(),
        };
        // The same two strings as for a link.
        let names = TryInto::<Vec<u8>>::try_into(names).map_err(|error| Error::Failed {
            act: ACT,
            path: new.to_owned(),
            why: error.to_string(),
        })?;
        match self.ask(ACT, new, self.raw.extended(POSIX_RENAME, names)).await? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(self.failed(ACT, new, Sftp3::Status(status))),
            _ => Err(self.failed(ACT, new, Sftp3::UnexpectedPacket)),
        }
    }

    async fn entries(&self, folder: &str, handle: &str) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        loop {
            let names = match self.raw.readdir(handle).await {
                Ok(names) => names.files,
                Err(Sftp3::Status(status)) if status.status_code == StatusCode::Eof => return Ok(entries),
                Err(error) => return Err(self.failed("list", folder, error)),
            };
            let wanted = names
                .into_iter()
                .filter(|file| file.filename != "." && file.filename != "..");
            entries.extend(wanted.map(|file| entry(file.filename, &file.attrs)));
            if entries.len() > ENTRIES_MAX {
                return Err(Error::TooMany {
                    path: folder.to_owned(),
                });
            }
        }
    }
}

/// A NUL ends a path on the machine, and what follows would be lost in silence.
pub(super) fn check(act: &'static str, path: &str) -> Result<(), Error> {
    if path.is_empty() || path.contains('\0') {
        return Err(Error::Failed {
            act,
            path: path.to_owned(),
            why: "it is not a path".to_owned(),
        });
    }
    Ok(())
}

pub(super) fn permissions(mode: u32) -> FileAttributes {
    FileAttributes {
        permissions: Some(mode),
        ..FileAttributes::empty()
    }
}

fn entry(name: String, attributes: &FileAttributes) -> Entry {
    Entry {
        name,
        kind: match attributes.file_type() {
            FileType::Dir => Kind::Folder,
            FileType::File => Kind::File,
            FileType::Symlink => Kind::Link,
            FileType::Other => Kind::Other,
        },
        bytes: attributes.size.unwrap_or(0),
        modified: attributes
            .mtime
            .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.into())),
    }
}

#[async_trait]
impl Files for Sftp {
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let handle = self.ask("list", folder, self.raw.opendir(folder)).await?.handle;
        let _turn = self.requests.acquire().await;
        let entries = self.entries(folder, &handle).await;
        let closed = self.raw.close(handle).await;
        let entries = entries?;
        closed.map_err(|error| self.failed("list", folder, error))?;
        Ok(entries)
    }

    async fn stat(&self, path: &str) -> Result<Entry, Error> {
        let found = self.ask("look at", path, self.raw.stat(path)).await?;
        Ok(entry(path.to_owned(), &found.attrs))
    }

    async fn real_path(&self, path: &str) -> Result<String, Error> {
        let found = self.ask("resolve", path, self.raw.realpath(path)).await?;
        let real = found.files.into_iter().next().map(|file| file.filename);
        real.ok_or_else(|| Error::Failed {
            act: "resolve",
            path: path.to_owned(),
            why: "it named no path".to_owned(),
        })
    }

    async fn read(self: Arc<Self>, path: &str, from: u64) -> Result<Download, Error> {
        let place = self.transfer()?;
        let open = self.raw.open(path, OpenFlags::READ, FileAttributes::empty());
        let handle = self.ask("read", path, open).await?.handle;
        Download::start(self, path, handle, from, place).await
    }

    async fn write(self: Arc<Self>, path: &str, mode: u32) -> Result<Upload, Error> {
        let place = self.transfer()?;
        SftpUpload::start(self, path, mode, place).await.map(Upload::new)
    }

    async fn remove(&self, path: &str) -> Result<(), Error> {
        self.ask("remove", path, self.raw.remove(path)).await.map(drop)
    }

    async fn remove_folder(&self, path: &str) -> Result<(), Error> {
        self.ask("remove", path, self.raw.rmdir(path)).await.map(drop)
    }

    async fn make_folder(&self, path: &str, mode: u32) -> Result<(), Error> {
        match self
            .ask("make", path, self.raw.mkdir(path, permissions(mode)))
            .await
        {
            // The code for a folder that is there already is the one for everything else.
            Err(failed @ Error::Failed { .. }) => match self.stat(path).await {
                Ok(Entry {
                    kind: Kind::Folder, ..
                }) => Ok(()),
                Ok(_) | Err(_) => Err(failed),
            },
            other => other.map(drop),
        }
    }

    fn are_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && !self.connection.end.reached()
    }
}
