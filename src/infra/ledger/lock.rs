//! One process at a time: an advisory lock on a file beside the journal, which says who holds it.
//!
//! The lock is the kernel's, not the file's existence: it is gone with the process that held it, however that
//! died. The file stays behind and means nothing by itself. It does not guard against hosts that share the
//! file over a network file system without locks.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{OpenError, StorageError};

/// More than a holder ever writes; a longer file is not ours.
const HOLDER_BYTES_MAX: u64 = 4096;

/// The process that has the journal open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    /// When it opened the journal, RFC 3339.
    pub since: String,
}

impl Holder {
    fn this_process() -> Self {
        Self {
            pid: std::process::id(),
            host: host_name(),
            since: jiff::Timestamp::now()
                .round(jiff::Unit::Second)
                .unwrap_or_else(|_| jiff::Timestamp::now())
                .to_string(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} since {}", self.pid, self.host, self.since)
    }
}

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of this journal or says who has it. Never waits.
    pub fn acquire(journal: &Path) -> Result<Self, OpenError> {
        let path = path_of(journal);
        let storage = |error| StorageError::from_io(&path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(storage)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    path: journal.to_owned(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(storage(error).into()),
        }
        write_holder(&mut file).map_err(storage)?;
        Ok(Self { _file: file })
    }
}

/// `<journal>.lock`.
fn path_of(journal: &Path) -> PathBuf {
    let mut name = OsString::from(journal);
    name.push(".lock");
    name.into()
}

/// Who opened this journal last, if that was written down. Takes no lock, so whoever it was may be gone.
#[must_use]
pub fn last_holder(journal: &Path) -> Option<Holder> {
    read_holder(&mut File::open(path_of(journal)).ok()?)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_holder(file: &mut File) -> io::Result<()> {
    let mut text = serde_json::to_string(&Holder::this_process())?;
    text.push('\n');
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// For people only. The standard library has no call for it; on systems without `/proc` the environment may
/// know.
fn host_name() -> String {
    let known = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").map_err(|_| io::Error::from(io::ErrorKind::NotFound)));
    match known {
        Ok(name) => name.trim().to_owned(),
        Err(_) => "this host".to_owned(),
    }
}
