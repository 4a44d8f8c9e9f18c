//! Where the private key comes from, and when it is read again.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::key::{self, ClientKey};
use super::stored_key::{KeyStanding, StoredKey, Superseded};
use super::{Error, connector};
use crate::domain::studio::Secret;
use crate::infra::secrets::SecretStore;

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
    Stored {
        store: Arc<dyn SecretStore>,
        /// How often it is read again.
        refresh: Duration,
    },
}

/// The key as its source has it now.
#[derive(Debug)]
pub(super) enum Keys {
    Local(Arc<LocalKey>),
    Stored(StoredKey),
}

/// A key to log in with.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) key: Arc<ClientKey>,
    /// It is not the source's any more: whoever gets in with it shows so by holding this.
    pub(super) superseded: Option<Weak<Superseded>>,
}

impl Keys {
    /// A key in a store begins to be read: must be called on the runtime then. `passphrase` is the file of what protects
    /// the key, read again when it changes.
    pub(super) fn new(source: KeySource, passphrase: Option<PathBuf>) -> Self {
        let place = match source {
            KeySource::File(path) => Place::File(path),
            KeySource::Given(text) => Place::Given(text),
            KeySource::Stored { store, refresh } => {
                return Self::Stored(StoredKey::start(store, passphrase, refresh));
            }
        };
        Self::Local(Arc::new(LocalKey {
            place,
            passphrase,
            decoded: Mutex::new(None),
        }))
    }

    /// The key as it is now.
    ///
    /// # Errors
    /// [`Error::BadKey`]; [`Error::KeyUnavailable`] while a store has not given it.
    pub(super) async fn current(&self) -> Result<Offer, Error> {
        let key = match self {
            Self::Local(local) => {
                let local = Arc::clone(local);
                connector::blocking(move || local.current()).await?
            }
            Self::Stored(stored) => stored.current().await?,
        };
        Ok(Offer {
            key,
            superseded: None,
        })
    }

    /// Other keys than this one, which a machine has refused, in the order to try them: the one that the store has by
    /// now, and the one that it had before.
    pub(super) async fn instead_of(&self, refused: &ClientKey) -> Vec<Offer> {
        match self {
            // A file is looked at for each connection.
            Self::Local(_) => Vec::new(),
            Self::Stored(stored) => stored.instead_of(refused).await,
        }
    }

    pub(super) fn standing(&self) -> Option<KeyStanding> {
        match self {
            Self::Local(_) => None,
            Self::Stored(stored) => stored.standing(),
        }
    }
}

/// A key that is here: in a file, or in the configuration.
#[derive(Debug)]
pub(super) struct LocalKey {
    place: Place,
    passphrase: Option<PathBuf>,
    decoded: Mutex<Option<Decoded>>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Given(Secret),
}

#[derive(Debug)]
struct Decoded {
    from: Versions,
    key: Arc<ClientKey>,
}

/// Tells what a key was decoded from without reading it again.
#[derive(Debug, PartialEq, Eq)]
struct Versions {
    file: Option<Stamp>,
    passphrase: Option<Stamp>,
}

/// Tells one content of a file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

impl LocalKey {
    /// Blocks on the disk.
    fn current(&self) -> Result<Arc<ClientKey>, Error> {
        let stamp_of = |path: &PathBuf| stamp(path).map_err(|why| bad(&path.display(), &why));
        let from = Versions {
            file: match &self.place {
                Place::File(path) => Some(stamp_of(path)?),
                Place::Given(_) => None,
            },
            passphrase: self.passphrase.as_ref().map(stamp_of).transpose()?,
        };
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = decoded.as_ref().filter(|known| known.from == from) {
            return Ok(known.key.clone());
        }
        let key = Arc::new(self.read()?);
        *decoded = Some(Decoded {
            from,
            key: key.clone(),
        });
        Ok(key)
    }

    fn read(&self) -> Result<ClientKey, Error> {
        let passphrase = self.passphrase.as_deref();
        match &self.place {
            Place::File(path) => {
                let unusable = |why: &dyn fmt::Display| bad(&path.display(), why);
                let passphrase = passphrase.map(read_passphrase).transpose()?;
                let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
                ClientKey::decode(&text, passphrase.as_ref()).map_err(|why| unusable(&why))
            }
            Place::Given(text) => decode(&"ssh.key_base64", text, passphrase),
        }
    }
}

/// A key that was handed over as it is or in base64. Blocks on the file of its passphrase, and on a key that is
/// protected.
///
/// # Errors
/// [`Error::BadKey`], which names the place that the text is from.
pub(super) fn decode(
    place: &dyn fmt::Display,
    text: &Secret,
    passphrase: Option<&Path>,
) -> Result<ClientKey, Error> {
    let passphrase = passphrase.map(read_passphrase).transpose()?;
    key::text(text.expose())
        .and_then(|text| ClientKey::decode(text.expose(), passphrase.as_ref()))
        .map_err(|why| bad(place, &why))
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
