//! The file with the vault's keys: one line each, `v1` and 32 bytes in base64; the first seals, all open.
//!
//! To change the key, write a new line above the old one. `#` begins a comment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{KEY_BYTES, new_key};

/// Largest key file read: hundreds of keys.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const VERSION: &str = "v1";
const HEADER: &str = "# The key under which understudy seals stream keys in its journal. Keep it with the journal's \
                      backups, but not in the same place: whoever has both reads the stream keys.\n";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the secrets key {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the secrets key {} can be read by others (mode {mode:03o}): `chmod 600` it, and if others may have read it, \
         put a new key above the old one", .path.display()
    )]
    OpenToOthers { path: PathBuf, mode: u32 },
    #[error(
        "{}, line {line}: not a key; a line is \"{VERSION}\" and {KEY_BYTES} bytes in base64. Put the right file back: \
         what is sealed under its key cannot be read without it", .path.display()
    )]
    NotAKey { path: PathBuf, line: usize },
    #[error("{} holds no key. Put the right file back, or remove it to have a new key made", .path.display())]
    Empty { path: PathBuf },
    #[error("{} has more than {FILE_BYTES_MAX} bytes: it is not a file of keys", .path.display())]
    TooLarge { path: PathBuf },
    #[error("the system gives no random bytes for a key")]
    NoRandomness,
}

pub(super) fn read_or_create(path: &Path) -> Result<Vec<[u8; KEY_BYTES]>, OpenError> {
    match read_if_there(path)? {
        Some(keys) => Ok(keys),
        None => create(path).map(|key| vec![key]),
    }
}

/// The keys, if the file is there.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<[u8; KEY_BYTES]>>, OpenError> {
    match File::open(path) {
        Ok(file) => read(path, &file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

fn read(path: &Path, file: &File) -> Result<Vec<[u8; KEY_BYTES]>, OpenError> {
    let meta = file.metadata().map_err(|error| failed(path, error))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(OpenError::OpenToOthers { path, mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(path, error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(OpenError::TooLarge {
            path: path.to_owned(),
        });
    }
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    let keys = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, text)| {
            parse(text).ok_or_else(|| OpenError::NotAKey {
                path: path.to_owned(),
                line,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(OpenError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(keys)
}

fn parse(line: &str) -> Option<[u8; KEY_BYTES]> {
    let key = line.strip_prefix(VERSION)?.strip_prefix(' ')?;
    STANDARD.decode(key.trim()).ok()?.try_into().ok()
}

/// Makes the file whole or not at all, and durable before anything is sealed under its key.
fn create(path: &Path) -> Result<[u8; KEY_BYTES], OpenError> {
    let key = new_key()?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // One left by a start that was killed may have another's mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(file, "{HEADER}{VERSION} {}", STANDARD.encode(key))?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| failed(path, error))?;
    tracing::info!(path = %path.display(), "a key for secrets was made; keep a copy of it apart from the journal");
    Ok(key)
}

fn failed(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Vault;
    use super::*;
    use crate::domain::studio::Secret;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_made_once_for_this_user_alone_and_found_again() {
        let folder = folder();
        let path = folder.path().join("var").join("understudy.key");
        let secret = Secret::new("hush");
        let sealed = Vault::open(&path).unwrap().seal(&secret).unwrap().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(Vault::open(&path).unwrap().unseal(&sealed), Ok(secret));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = folder();
        let path = folder.path().join("key");
        Vault::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Vault::open(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::OpenToOthers { mode: 0o640, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_new_key_above_the_old_one_seals_and_the_old_one_still_opens() {
        let folder = folder();
        let path = folder.path().join("key");
        let secret = Secret::new("hush");
        let old = Vault::open(&path).unwrap().seal(&secret).unwrap().unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        write(
            &path,
            &format!("{VERSION} {}\n\n{lines}", STANDARD.encode([7; 32])),
            0o600,
        );
        let vault = Vault::open(&path).unwrap();
        assert_eq!(vault.unseal(&old), Ok(secret.clone()));
        let new = vault.renewed(&old).unwrap().unwrap();
        assert_ne!(new.key_id(), old.key_id());
        assert_eq!(vault.unseal(&new), Ok(secret));
    }

    #[test]
    fn a_file_that_holds_no_key_is_left_alone_and_told() {
        let folder = folder();
        let path = folder.path().join("key");
        let short = format!("# ours\n{VERSION} {}", STANDARD.encode([7; 31]));
        let large = "#".repeat(70_000);
        for text in ["", "ssh-ed25519 AAAA", &short, &large] {
            write(&path, text, 0o600);
            let error = Vault::open(&path).unwrap_err();
            let is_told = match error {
                OpenError::Empty { .. } => text.is_empty(),
                OpenError::NotAKey { line, .. } => text.lines().count() == line,
                OpenError::TooLarge { .. } => text == large,
                OpenError::Io { .. } | OpenError::OpenToOthers { .. } | OpenError::NoRandomness => false,
            };
            assert!(is_told, "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let error = Vault::open(folder.path()).unwrap_err();
        assert!(
            matches!(error, OpenError::OpenToOthers { .. } | OpenError::Io { .. }),
            "{error}"
        );
    }
}
