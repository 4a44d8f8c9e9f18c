//! Where the private key comes from, and when it is read again.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::key::{self, ClientKey};
use super::stored_key::{KeyStanding, StoredKey};
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
    /// The key itself, or base64 of it, as a store has it.
    Stored(Arc<StoredKey>),
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
    file: Option<Stamp>,
    text: Option<Secret>,
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
    /// [`Error::BadKey`]; [`Error::KeyUnavailable`] while a store has not given it.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<ClientKey>, Error> {
        let text = match &self.source {
            KeySource::File(_) => None,
            KeySource::Given(text) => Some(text.clone()),
            KeySource::Stored(stored) => Some(stored.current().await?),
        };
        let keys = Arc::clone(self);
        connector::blocking(move || keys.decode(text)).await
    }

    /// Another key than this one, which a machine has refused, if it was changed in its store.
    pub(super) async fn instead_of(self: &Arc<Self>, refused: &ClientKey) -> Option<Arc<ClientKey>> {
        // A file is looked at for each connection.
        let KeySource::Stored(stored) = &self.source else {
            return None;
        };
        stored.read_again().await;
        let key = self.current().await.ok()?;
        (key.public().key_data() != refused.public().key_data()).then_some(key)
    }

    pub(super) fn standing(&self) -> Option<KeyStanding> {
        match &self.source {
            KeySource::File(_) | KeySource::Given(_) => None,
            KeySource::Stored(stored) => stored.standing(),
        }
    }

    /// `text` is that of a key which is in no file.
    fn decode(&self, text: Option<Secret>) -> Result<Arc<ClientKey>, Error> {
        let stamp_of = |path: &PathBuf| stamp(path).map_err(|why| bad(&path.display(), &why));
        let from = Versions {
            file: match &self.source {
                KeySource::File(path) => Some(stamp_of(path)?),
                KeySource::Given(_) | KeySource::Stored(_) => None,
            },
            text,
            passphrase: self.passphrase.as_ref().map(stamp_of).transpose()?,
        };
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = decoded.as_ref().filter(|known| known.from == from) {
            return Ok(known.key.clone());
        }
        let passphrase = self.passphrase.as_deref().map(read_passphrase).transpose()?;
        let key = Arc::new(self.read(from.text.as_ref(), passphrase.as_ref())?);
        *decoded = Some(Decoded {
            from,
            key: key.clone(),
        });
        Ok(key)
    }

    fn read(&self, text: Option<&Secret>, passphrase: Option<&Secret>) -> Result<ClientKey, Error> {
        let place = match &self.source {
            KeySource::File(path) => {
                let unusable = |why: &dyn fmt::Display| bad(&path.display(), why);
                let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
                return ClientKey::decode(&text, passphrase).map_err(|why| unusable(&why));
            }
            KeySource::Given(_) => "ssh.key_base64",
            KeySource::Stored(_) => "the secret that ssh.key_secret_arn names",
        };
        let text = text.map_or("", Secret::expose);
        key::text(text)
            .and_then(|text| ClientKey::decode(text.expose(), passphrase))
            .map_err(|why| bad(&place, &why))
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
    let unusable = |why: &dyn fmt::Display| bad(&path.display(), why);
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

fn bad(place: &dyn fmt::Display, why: &dyn fmt::Display) -> Error {
    Error::BadKey(format!("{place}: {why}"))
}
