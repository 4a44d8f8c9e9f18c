//! A directory for what a rehearsal writes, gone with it however it ends.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

/// A write that had begun when the rehearsal was ended may add a file while its directory is being removed.
const TRIES: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(10);

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

impl Drop for Scratch {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            let removed = std::fs::remove_dir_all(self.path());
            if removed.is_ok() || !self.path().exists() {
                return;
            }
            std::thread::sleep(BETWEEN);
        }
        tracing::warn!(directory = %self.path().display(), "a directory could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
