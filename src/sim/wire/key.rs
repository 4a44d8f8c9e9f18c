//! The key with which the coordinator logs in to simulated machines.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};

/// Why there is no key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the SSH key cannot be made")]
    Make(#[from] russh::keys::ssh_key::Error),
    #[error("the SSH key cannot be written to {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes a new Ed25519 key to `dir/id_ed25519`, readable by its owner alone, in place of any that is there.
///
/// # Errors
/// [`KeyError`], usually because the directory is not writable.
pub fn write_new(dir: &Path) -> Result<(PublicKey, PathBuf), KeyError> {
    let path = dir.join("id_ed25519");
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
    let text = key.to_openssh(LineEnding::LF)?;
    let write = || {
        fs::create_dir_all(dir)?;
        // Created anew, so that the mode holds from the first byte.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| KeyError::Write {
        path: path.clone(),
        source,
    })?;
    Ok((key.public_key().clone(), path))
}
