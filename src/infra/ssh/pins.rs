//! Host keys pinned on first use: one small text file that outlives the process.
//!
//! A line is a public key as OpenSSH writes it, with the machine's name as its comment. Every change writes a
//! new file beside the old one, brings it to the disk and renames it, so a reader or a crash sees the old pins
//! or the new ones, never a part. Writers exclude each other by a lock file, in this process and in others.
//! A file that cannot be understood is an error, not an empty one: nothing is pinned anew over it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use russh::keys::PublicKey;

use super::Error;
use super::host_keys::{changed, describe, same};

const HEADER: &str =
    "# Host keys of machines, kept when first seen. Remove a machine's line to accept another key.\n";

type Pins = BTreeMap<String, PublicKey>;

#[derive(Debug)]
pub(super) struct PinStore {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

/// The file as it was last read.
#[derive(Debug, Clone)]
struct Read {
    stamp: Stamp,
    pins: Arc<Pins>,
}

/// Tells one content of the file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

impl PinStore {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: Mutex::new(None),
        }
    }

    pub(super) fn get(&self, host: &str) -> Result<Option<PublicKey>, Error> {
        Ok(self.pins()?.get(host).cloned())
    }

    /// Pins `key` to `host` for good. Returns once it is on the disk.
    ///
    /// # Errors
    /// [`Error::HostKeyChanged`] if another key is pinned by now; [`Error::HostKeyStore`] if the file cannot
    /// be read or written.
    pub(super) fn pin(&self, host: &str, key: &PublicKey) -> Result<(), Error> {
        if host.trim() != host || host.is_empty() || host.contains(char::is_control) {
            return Err(self.unusable(&format!("{host:?} cannot be the name of a machine in it")));
        }
        let lock = self
            .lock()
            .map_err(|e| self.unusable(&format!("its lock: {e}")))?;
        let mut pins = Pins::clone(&*self.pins()?);
        if let Some(pinned) = pins.get(host) {
            return if same(pinned, key) {
                Ok(())
            } else {
                Err(changed(host, describe(pinned), key))
            };
        }
        pins.insert(host.to_owned(), key.clone());
        self.write(&pins).map_err(|e| self.unusable(&e.to_string()))?;
        drop(lock);
        Ok(())
    }

    /// What is pinned now: from memory, unless the file has changed.
    fn pins(&self) -> Result<Arc<Pins>, Error> {
        let Some(stamp) = self.stamp()? else {
            return Ok(Arc::default());
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.pins.clone());
        }
        let text = std::fs::read_to_string(&self.path).map_err(|e| self.unusable(&e.to_string()))?;
        let pins = Arc::new(parse(&text).map_err(|why| self.unusable(&why))?);
        *read = Some(Read {
            stamp,
            pins: pins.clone(),
        });
        Ok(pins)
    }

    fn stamp(&self) -> Result<Option<Stamp>, Error> {
        let meta = match std::fs::metadata(&self.path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.unusable(&e.to_string())),
        };
        Ok(Some(Stamp {
            modified: meta.modified().map_err(|e| self.unusable(&e.to_string()))?,
            bytes: meta.len(),
            inode: meta.ino(),
        }))
    }

    /// Held while its file is open; the system releases it also when the process dies.
    fn lock(&self) -> io::Result<File> {
        if let Some(folder) = folder(&self.path) {
            std::fs::create_dir_all(folder)?;
        }
        let lock = private().truncate(false).open(beside(&self.path, ".lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn write(&self, pins: &Pins) -> io::Result<()> {
        let mut text = String::from(HEADER);
        for (host, key) in pins {
            let mut key = key.clone();
            key.set_comment("");
            let key = key.to_openssh().map_err(io::Error::other)?;
            text.push_str(&format!("{} {host}\n", key.trim_end()));
        }
        let new = beside(&self.path, ".new");
        let mut file = private().truncate(true).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        // The rename itself is on the disk only once its folder is.
        File::open(folder(&self.path).unwrap_or(Path::new(".")))?.sync_all()
    }

    fn unusable(&self, why: &str) -> Error {
        Error::HostKeyStore(format!("{}: {why}", self.path.display()))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn folder(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
}

fn parse(text: &str) -> Result<Pins, String> {
    let mut pins = Pins::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let mut fields = line.splitn(3, ' ');
        let (Some(algorithm), Some(blob), Some(host)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(format!("line {number} is not a key and a machine"));
        };
        let key = PublicKey::from_openssh(&format!("{algorithm} {blob}"))
            .map_err(|e| format!("line {number}: {e}"))?;
        if pins.insert(host.to_owned(), key).is_some() {
            return Err(format!("line {number}: {host} is there twice"));
        }
    }
    Ok(pins)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILKgMaEqDHtIje/RYMlpYOeu8AUSIzuKhRrUOcUWAVvU";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDc36642lRAgPtOBfG+TJLcV3O5dxEjlsxjvnnvhGi6C";

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    fn store() -> (tempfile::TempDir, PinStore) {
        let folder = tempfile::tempdir().unwrap();
        let pins = PinStore::new(folder.path().join("ssh").join("host-keys"));
        (folder, pins)
    }

    #[test]
    fn a_pin_is_read_back_by_another_store_and_the_file_is_private() {
        let (_folder, pins) = store();
        assert_eq!(pins.get("i-1"), Ok(None));
        pins.pin("i-1", &key(ONE)).unwrap();
        pins.pin("a machine with spaces", &key(OTHER)).unwrap();

        let again = PinStore::new(pins.path.clone());
        assert!(same(&again.get("i-1").unwrap().unwrap(), &key(ONE)));
        assert!(same(
            &again.get("a machine with spaces").unwrap().unwrap(),
            &key(OTHER)
        ));
        assert_eq!(again.get("i-2"), Ok(None));
        let mode = std::fs::metadata(&pins.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_pin_is_not_replaced() {
        let (_folder, pins) = store();
        pins.pin("i-1", &key(ONE)).unwrap();
        assert_eq!(pins.pin("i-1", &key(ONE)), Ok(()));
        assert!(matches!(
            pins.pin("i-1", &key(OTHER)),
            Err(Error::HostKeyChanged { .. })
        ));
        assert!(same(&pins.get("i-1").unwrap().unwrap(), &key(ONE)));
    }

    #[test]
    fn a_line_taken_out_by_hand_is_forgotten() {
        let (_folder, pins) = store();
        pins.pin("i-1", &key(ONE)).unwrap();
        std::fs::write(&pins.path, HEADER).unwrap();
        assert_eq!(pins.get("i-1"), Ok(None));
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_not_written_over() {
        let (_folder, pins) = store();
        pins.pin("i-1", &key(ONE)).unwrap();
        for nonsense in [
            "hello\n",
            "ssh-ed25519 AAAA i-1\n",
            &format!("{ONE} i-1\n{ONE} i-1\n"),
        ] {
            std::fs::write(&pins.path, nonsense).unwrap();
            assert!(
                matches!(pins.get("i-1"), Err(Error::HostKeyStore(_))),
                "{nonsense}"
            );
            assert!(matches!(
                pins.pin("i-2", &key(OTHER)),
                Err(Error::HostKeyStore(_))
            ));
            assert_eq!(std::fs::read_to_string(&pins.path).unwrap(), nonsense);
        }
    }

    #[test]
    fn a_name_that_would_break_the_file_is_refused() {
        let (_folder, pins) = store();
        for name in ["", " i-1", "i-1 ", "i\n1", "i\u{0}1"] {
            assert!(
                matches!(pins.pin(name, &key(ONE)), Err(Error::HostKeyStore(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn pins_made_at_the_same_time_are_all_kept() {
        let (_folder, pins) = store();
        let path = &pins.path;
        std::thread::scope(|threads| {
            for thread in 0..8 {
                threads.spawn(move || {
                    // A store each, as two processes would have.
                    let pins = PinStore::new(path.clone());
                    for n in 0..10 {
                        pins.pin(&format!("i-{thread}-{n}"), &key(ONE)).unwrap();
                    }
                });
            }
        });
        assert_eq!(pins.pins().unwrap().len(), 80);
    }

    #[test]
    fn of_two_first_keys_one_wins_and_the_other_is_refused() {
        let (_folder, pins) = store();
        let answers: Vec<_> = std::thread::scope(|threads| {
            let racing: Vec<_> = [ONE, OTHER]
                .map(|line| threads.spawn(|| pins.pin("i-1", &key(line))))
                .into_iter()
                .collect();
            racing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(
            answers.iter().filter(|answer| answer.is_ok()).count(),
            1,
            "{answers:?}"
        );
    }
}
