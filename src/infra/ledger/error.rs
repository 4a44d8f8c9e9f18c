//! What can go wrong with the ledger, in sentences that name the file and say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{ErrorCode, ffi};

use crate::domain::ids::Seq;
use crate::domain::invariants::Violation;
use crate::domain::state::Rejected;

use super::lock::Holder;

/// The cause beneath a [`StorageError`], from the operating system or from SQLite.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What the disk or the file would not do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the disk is full: {} cannot grow; free some space on its file system and start again", path.display())]
    DiskFull {
        path: PathBuf,
        #[source]
        cause: Cause,
    },
    #[error(
        "{} cannot be written: the file, its folder or its file system is read-only for this user; \
         make it writable or configure another path for the journal",
        path.display()
    )]
    ReadOnly {
        path: PathBuf,
        #[source]
        cause: Cause,
    },
    #[error(
        "{} is locked by another program, such as a database shell or a backup; close that and start again",
        path.display()
    )]
    Busy {
        path: PathBuf,
        #[source]
        cause: Cause,
    },
    #[error(
        "{} is damaged; keep a copy of it and of the files beside it, then restore a backup",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        #[source]
        cause: Cause,
    },
    #[error(
        "{} could not be read or written; check that its disk is healthy, mounted and has space, \
         then start again",
        path.display()
    )]
    Io {
        path: PathBuf,
        #[source]
        cause: Cause,
    },
}

impl StorageError {
    pub(super) fn from_io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        let kind = cause.kind();
        let cause = cause.into();
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path, cause }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, cause }
            }
            _ => Self::Io { path, cause },
        }
    }

    pub(super) fn from_sqlite(path: &Path, cause: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let extended = cause.sqlite_error().map(|error| error.extended_code);
        let code = cause.sqlite_error_code();
        let cause = cause.into();
        match code {
            Some(ErrorCode::DiskFull) => Self::DiskFull { path, cause },
            // The index beside the journal could not be made as large as it has to be.
            Some(ErrorCode::SystemIoFailure) if extended == Some(ffi::SQLITE_IOERR_SHMSIZE) => {
                Self::DiskFull { path, cause }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path, cause }
            }
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Busy { path, cause },
            // Without a code SQLite was content, yet the rows were not what they must be.
            None
            | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
                Self::Damaged { path, cause }
            }
            Some(_) => Self::Io { path, cause },
        }
    }
}

/// Why the ledger could not be opened. Nothing in the journal was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the journal {} is in use by {}; only one process may write it: stop that one first, or configure \
         another path",
        path.display(),
        holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string)
    )]
    Locked {
        path: PathBuf,
        /// Who holds it, if it could be read.
        holder: Option<Holder>,
    },
    #[error(
        "the journal {} was written by a newer understudy (schema {found}, this one knows {supported}); start \
         that version, or restore a backup from before the upgrade. The file was not changed",
        path.display()
    )]
    NewerSchema {
        path: PathBuf,
        found: i64,
        supported: i64,
    },
    #[error(
        "{} is not a journal of understudy: it is {found}; configure another path for the journal, or restore a \
         backup. The file was not changed",
        path.display()
    )]
    NotAJournal { path: PathBuf, found: Stranger },
    #[error(
        "{} is a directory, and the journal is a file; configure a path in it, such as {}",
        path.display(),
        path.join("ledger.db").display()
    )]
    IsFolder { path: PathBuf },
    #[error(
        "event {seq} of the journal {} cannot be used; keep a copy of the file, then restore a backup",
        path.display()
    )]
    Corrupt {
        path: PathBuf,
        seq: Seq,
        #[source]
        defect: Defect,
    },
    #[error(
        "the journal {} leads to a state that must not be: {violation}; keep a copy of the file, then restore a \
         backup",
        path.display()
    )]
    Broken { path: PathBuf, violation: Violation },
    #[error("the ledger's thread could not be started; check the limit on threads of this user")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What is found in the journal's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    #[error("no SQLite database, or its first page is damaged")]
    NoDatabase,
    #[error("the SQLite database of another program")]
    AnothersDatabase,
    #[error("an SQLite database with understudy's mark, but without the table `{table}`")]
    Without { table: &'static str },
}

/// What is wrong with one event of the journal.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    #[error("it is missing; the next one is {next}")]
    Missing { next: Seq },
    #[error("the journal ends before it, but a snapshot was made of it")]
    BehindSnapshot,
    #[error("it is not an event that this version knows")]
    Unreadable(#[source] serde_json::Error),
    #[error("it cannot follow from the events before it")]
    Impossible(#[source] Rejected),
}

/// The end of the ledger: it can write no more and stays so until the process is started again.
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "the ledger's thread writing {} died of a defect of understudy; the log says where. Start again: \
         everything acknowledged is on disk",
        path.display()
    )]
    WriterDied { path: PathBuf },
}

/// A group of events that was not committed, or not known to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The state refuses it. Nothing of the group was written.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Too many commits wait. Nothing of the group was written; the same call may succeed later.
    #[error("the ledger is busy: as many commits wait already as may")]
    QueueFull,
    /// Read back from the journal the event would not be the same: a number in it is not finite. Nothing of
    /// the group was written.
    #[error("event {index} of the group cannot be stored: it holds a number that is not finite")]
    NotStorable {
        /// Place in the group, from 0.
        index: usize,
    },
    /// The ledger has failed, for ever. Nothing of the group is visible. It was not acknowledged, yet whether
    /// it is on disk shows only when the journal is opened again.
    #[error(transparent)]
    Failed(Arc<FatalError>),
    /// The ledger was closed, or its journal was opened by another. Nothing of the group was written.
    #[error("the ledger is closed")]
    Closed,
    /// No answer within the commit deadline. **Unknown**: the group may still become durable and visible.
    #[error("the ledger did not answer within {} ms; whether the change was stored is not known", .0.as_millis())]
    TimedOut(Duration),
}

/// A ledger that did not close gracefully. Whatever was acknowledged is durable all the same.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CloseError {
    #[error(transparent)]
    Failed(Arc<FatalError>),
    #[error("the ledger did not close within {} ms", .0.as_millis())]
    TimedOut(Duration),
}
