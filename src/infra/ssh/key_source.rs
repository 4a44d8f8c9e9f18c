//! Where the private key comes from, and when it is read again.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::key::{self, ClientKey, Unusable};
use super::{Error, connector};
use crate::domain::studio::Secret;

/// Largest key file read, in bytes; the largest real ones (16384-bit RSA) are below 16 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Whoever may read a passphrase beside its owner.
const OTHERS: u32 = 0o077;

/// Where the private key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A file, read again when it changes.
    File(PathBuf),
    /// The key itself, or base64 of it, as the environment handed it over.
    Given(Secret),
}

/// The key as its source has it now.
#[derive(Debug)]
pub(super) struct Keys {
    source: KeySource,
    /// File of the passphrase that protects the key, read again when it changes.
    passphrase: Option<PathBuf>,
    decoded: Mutex<Option<Decoded>>,
}

#[derive(Debug, Clone)]
struct Decoded {
    from: Versions,
    key: Arc<ClientKey>,
}

/// Tells what a key was decoded from without reading it again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Versions {
    key: Option<Stamp>,
    passphrase: Option<Stamp>,
}

/// Tells one content of a file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

impl Keys {
    pub(super) fn new(source: KeySource, passphrase: Option<PathBuf>) -> Self {
        Self {
            source,
            passphrase,
            decoded: Mutex::new(None),
        }
    }

    /// The key as it is now.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<ClientKey>, Error> {
        let keys = Arc::clone(self);
        connector::blocking(move || keys.decode()).await
    }

    fn decode(&self) -> Result<Arc<ClientKey>, Error> {
        let stamp_of = |path: &PathBuf| stamp(path).map_err(|why| bad(&path.display(), &why));
        let from = Versions {
            key: match &self.source {
                KeySource::File(path) => Some(stamp_of(path)?),
                KeySource::Given(_) => None,
            },
            passphrase: self.passphrase.as_ref().map(stamp_of).transpose()?,
        };
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = decoded.as_ref().filter(|known| known.from == from) {
            return Ok(known.key.clone());
        }
        let passphrase = self.passphrase.as_deref().map(read_passphrase).transpose()?;
        let key = Arc::new(self.read(passphrase.as_ref())?);
        *decoded = Some(Decoded {
            from,
            key: key.clone(),
        });
        Ok(key)
    }

    fn read(&self, passphrase: Option<&Secret>) -> Result<ClientKey, Error> {
        match &self.source {
            KeySource::File(path) => {
                let unusable = |why: &dyn std::fmt::Display| bad(&path.display(), why);
                let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
                ClientKey::decode(&text, passphrase).map_err(|why| unusable(&why))
            }
            KeySource::Given(given) => key::text(given.expose())
                .and_then(|text| ClientKey::decode(text.expose(), passphrase))
                .map_err(|why: Unusable| bad(&"ssh.key_base64", &why)),
        }
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if meta.len() > FILE_BYTES_MAX {
        return Err("the file is too large to be a private key or its passphrase".to_owned());
    }
    Ok(Stamp {
        modified: meta.modified().map_err(|error| error.to_string())?,
        bytes: meta.len(),
        inode: meta.ino(),
    })
}

/// The first line: what an editor leaves behind it does not count.
fn read_passphrase(path: &Path) -> Result<Secret, Error> {
    let unusable = |why: &dyn std::fmt::Display| bad(&path.display(), why);
    let meta = std::fs::metadata(path).map_err(|error| unusable(&error))?;
    let mode = meta.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(unusable(&format!(
            "others than its owner may read this passphrase (mode {:04o}): chmod 600",
            mode & 0o7777
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        Some(_) | None => Err(unusable(&"there is no passphrase in its first line")),
    }
}

fn bad(place: &dyn std::fmt::Display, why: &dyn std::fmt::Display) -> Error {
    Error::BadKey(format!("{place}: {why}"))
}
