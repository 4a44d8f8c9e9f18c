//! The key with which the coordinator logs in to the world's machines.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};

use super::WorldError;

/// Writes a new Ed25519 key to `dir/id_ed25519`, readable by its owner alone, in place of any that is there.
pub(super) fn write_new(dir: &Path) -> Result<(PublicKey, PathBuf), WorldError> {
    let path = dir.join("id_ed25519");
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(russh::keys::Error::from)?;
    let text = key.to_openssh(LineEnding::LF).map_err(russh::keys::Error::from)?;
    let write = || {
        fs::create_dir_all(dir)?;
        // Created anew, so that the mode holds from the first byte.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| WorldError::KeyFile {
        path: path.clone(),
        source,
    })?;
    Ok((key.public_key().clone(), path))
}
