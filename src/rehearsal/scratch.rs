//! A directory for what a rehearsal writes, gone with it however it ends.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use tempfile::TempDir;

/// A write that had begun when the rehearsal was ended may add a file while its directory is being removed.
const TRIES: u32 = 1_000;

/// A directory of its own in the system's directory for such things.
pub(super) struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// Makes one.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(super) fn new() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("understudy-")
            .tempdir()
            .context("making a directory")?;
        Ok(Self { dir })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Those that are gone. A write that had not begun yet may make one again.
static GONE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes what was written into directories that were gone already. To be called when nobody writes any more.
pub fn sweep() {
    let gone = std::mem::take(&mut *GONE.lock().unwrap_or_else(PoisonError::into_inner));
    for path in gone.iter().filter(|path| path.exists()) {
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!(directory = %path.display(), %error, "a directory could not be removed");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut gone = GONE.lock().unwrap_or_else(PoisonError::into_inner);
        gone.push(self.path().to_owned());
        drop(gone);
        for _ in 0..TRIES {
            let removed = std::fs::remove_dir_all(self.path());
            if removed.is_ok() || !self.path().exists() {
                return;
            }
            std::thread::yield_now();
        }
        tracing::warn!(directory = %self.path().display(), "a directory could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_it_again_is_swept_away() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("late"), "late").unwrap();
        sweep();
        assert!(!path.exists());
    }

    #[test]
    fn it_goes_even_while_somebody_still_writes_there() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        let (begun, begins) = std::sync::mpsc::channel();
        let dir = path.clone();
        let writer = std::thread::spawn(move || {
            for number in 0..20_000 {
                let _ = std::fs::write(dir.join(number.to_string()), "late");
                let _ = begun.send(());
            }
        });
        begins.recv().unwrap();
        drop(scratch);
        writer.join().unwrap();
        assert!(!path.exists());
    }
}
