//! The machine's files, over SFTP (version 3, draft-ietf-secsh-filexfer-02, as OpenSSH speaks it).
//!
//! Reading and writing are streamed with several requests in flight, so that a transfer is not one round trip per
//! 32 KiB. Every request has a deadline. A file that is written appears under its name only when it is whole.
//!
//! Paths are the machine's; relative ones start at the user's home. They are sent as they are and no shell reads them,
//! but whether a path is one that may be touched is for the caller to know.

mod download;
mod sftp;
mod upload;

pub use download::Download;
pub(super) use sftp::Sftp;
use upload::SftpUpload;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

/// Bytes per request: what every server takes (draft-ietf-secsh-filexfer-02, section 3).
const PIECE_BYTES: u32 = 32 * 1024;
/// Requests of one transfer on their way at the same time; they bound its memory to 1 MiB.
const IN_FLIGHT_MAX: usize = 32;
/// Most entries of a folder that are listed.
pub const ENTRIES_MAX: usize = 10_000;

#[async_trait]
pub trait Files: Send + Sync + 'static {
    /// What is in a folder, without `.` and `..`, in the server's order.
    ///
    /// # Errors
    /// [`Error::TooMany`] for more than [`ENTRIES_MAX`].
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, Error>;

    /// What a path is; of a symbolic link, what it points to.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    async fn stat(&self, path: &str) -> Result<Entry, Error>;

    /// Where a path leads on the machine, without links and dots. What it leads to need not be there, but the folder must.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    async fn real_path(&self, path: &str) -> Result<String, Error>;

    /// Reads a file from this byte on, up to the size that it has now. Few transfers fit beside each other.
    ///
    /// # Errors
    /// [`Error::Busy`] if as many run as fit.
    async fn read(self: Arc<Self>, path: &str, from: u64) -> Result<Download, Error>;

    /// Writes a file with these permission bits. It takes the place of one that is there when it is whole, at once.
    ///
    /// # Errors
    /// [`Error::Busy`] if as many transfers run as fit.
    async fn write(self: Arc<Self>, path: &str, mode: u32) -> Result<Upload, Error>;

    /// Removes a file. One that is not there is an error: [`Error::NotFound`].
    async fn remove(&self, path: &str) -> Result<(), Error>;

    /// Removes an empty folder.
    async fn remove_folder(&self, path: &str) -> Result<(), Error>;

    /// Makes a folder with these permission bits; its parent must be there. One that is there already is fine.
    async fn make_folder(&self, path: &str, mode: u32) -> Result<(), Error>;

    /// Whether another request can be answered. Once it cannot, [`super::Passages::files`] opens another channel.
    fn are_usable(&self) -> bool;
}

/// Where the bytes of an [`Upload`] go. What is dropped unfinished leaves nothing behind.
#[async_trait]
pub(crate) trait Sink: Send {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Called once, after the last bytes. Returns the size of the file.
    async fn finish(&mut self) -> Result<u64, Error>;
}

/// A file that is written, under another name until it is whole. Dropping it before [`Upload::finish`] removes what
/// is there of it.
pub struct Upload {
    sink: Box<dyn Sink>,
}

impl Upload {
    pub(crate) fn new(sink: impl Sink + 'static) -> Self {
        Self { sink: Box::new(sink) }
    }

    /// Sends the next bytes; waits while as much is on its way as may be, or as much has not reached the disk.
    ///
    /// # Errors
    /// Also of something sent before. The upload is of no use then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.sink.write(bytes).await
    }

    /// Waits until the machine has everything on its disk, and puts the file in its place. Returns its size in bytes.
    ///
    /// # Errors
    /// Then there is no such file, or the old one is still there.
    pub async fn finish(mut self) -> Result<u64, Error> {
        self.sink.finish().await
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without its folder in a list; the path asked for otherwise.
    pub name: String,
    pub kind: Kind,
    pub bytes: u64,
    pub modified: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    /// Only in lists: elsewhere links are followed.
    Link,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{path} does not exist on the machine")]
    NotFound { path: String },
    #[error("the machine does not let its user get at {path}")]
    Denied { path: String },
    /// SFTP 3 has one code for everything else, and what the server says is often no more than that.
    #[error("the machine cannot {act} {path}: {why}")]
    Failed {
        act: &'static str,
        path: String,
        why: String,
    },
    #[error("{path} has more than {ENTRIES_MAX} entries")]
    TooMany { path: String },
    #[error("{path} became shorter while it was read: {read} of {expected} bytes")]
    Shrank { path: String, read: u64, expected: u64 },
    #[error("as many transfers are running as have places; try again when one has ended")]
    Busy,
    #[error("no answer about {path} within {} s", .limit.as_secs())]
    TimedOut { path: String, limit: Duration },
    #[error("the connection was lost while {path} was in use")]
    Lost { path: String },
}

impl Error {
    /// Whether the same call may succeed later without anything being mended by hand.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy | Self::TimedOut { .. } | Self::Lost { .. } | Self::Shrank { .. } => true,
            Self::NotFound { .. } | Self::Denied { .. } | Self::Failed { .. } | Self::TooMany { .. } => false,
        }
    }
}
