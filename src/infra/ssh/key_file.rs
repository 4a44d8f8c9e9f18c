//! The private key, read from its file and read again when the file changes.
//!
//! Keys without a passphrase only: nobody is there to type one. Understood are OpenSSH's own format and PEM
//! (PKCS#8, SEC1) with Ed25519 and ECDSA keys.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use russh::keys::{PrivateKey, decode_secret_key};

use super::Error;

/// Largest key file read, in bytes; the largest real ones (16384-bit RSA) are below 16 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

#[derive(Debug, Clone)]
struct Read {
    stamp: Stamp,
    key: Arc<PrivateKey>,
}

/// Tells one content of a file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: Mutex::new(None),
        }
    }

    /// The key as the file has it now. Blocks on the disk: not for the runtime's own threads.
    pub(super) fn load(&self) -> Result<Arc<PrivateKey>, Error> {
        let stamp = self.stamp()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.key.clone());
        }
        let key = Arc::new(self.decode()?);
        *read = Some(Read {
            stamp,
            key: key.clone(),
        });
        Ok(key)
    }

    fn stamp(&self) -> Result<Stamp, Error> {
        let meta = std::fs::metadata(&self.path).map_err(|e| bad(&self.path, &e.to_string()))?;
        if meta.len() > FILE_BYTES_MAX {
            return Err(bad(&self.path, "the file is too large to be a private key"));
        }
        let modified = meta.modified().map_err(|e| bad(&self.path, &e.to_string()))?;
        Ok(Stamp {
            modified,
            bytes: meta.len(),
        })
    }

    fn decode(&self) -> Result<PrivateKey, Error> {
        let text = std::fs::read_to_string(&self.path).map_err(|e| bad(&self.path, &e.to_string()))?;
        if text.contains("ENCRYPTED") {
            return Err(bad(&self.path, NEEDS_PASSPHRASE));
        }
        match decode_secret_key(&text, None) {
            Ok(key) if key.algorithm().is_rsa() => Err(bad(&self.path, IS_RSA)),
            Ok(key) => Ok(key),
            Err(russh::keys::Error::KeyIsEncrypted) => Err(bad(&self.path, NEEDS_PASSPHRASE)),
            Err(russh::keys::Error::UnsupportedKeyType { .. }) => Err(bad(&self.path, IS_RSA)),
            Err(russh::keys::Error::UnknownAlgorithm(oid)) if oid.to_string() == RSA_ENCRYPTION => {
                Err(bad(&self.path, IS_RSA))
            }
            Err(other) => Err(bad(&self.path, &other.to_string())),
        }
    }
}

const NEEDS_PASSPHRASE: &str = "it is protected by a passphrase; use a key without one";
/// The algorithm of an RSA key in PKCS#8 (RFC 8017, appendix A).
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const IS_RSA: &str = "RSA keys are not supported; use an Ed25519 or ECDSA key";

fn bad(path: &Path, why: &str) -> Error {
    Error::BadKey(format!("{}: {why}", path.display()))
}
