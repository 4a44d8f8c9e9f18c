//! What a machine's own programs have written to its disk.

use super::Machine;
use super::disk::{Content, Disk, RECORDINGS};
use crate::domain::time::Timestamp;
use crate::sim::model::studio::record::RecordedFile;

impl Machine {
    /// The machine's files as they are now.
    pub fn disk(&mut self, now: Timestamp) -> &mut Disk {
        self.store(now);
        &mut self.disk
    }

    /// Writes what the programs of the machine would have written by now.
    pub(super) fn store(&mut self, now: Timestamp) {
        for file in self.studio.recorded() {
            self.store_recording(&file, now);
            self.recording = None;
        }
        if let Some(file) = self.studio.record_file(now) {
            self.store_recording(&file, now);
            self.recording = Some(file.name);
        }
    }

    fn store_recording(&mut self, file: &RecordedFile, now: Timestamp) {
        let path = format!("{RECORDINGS}/{}", file.name);
        // Removed while it is written: it has no name any more.
        let is_removed = self.recording.as_ref() == Some(&file.name) && self.disk.stat(&path).is_err();
        if !is_removed {
            let (seed, bytes) = (file.seed, file.bytes);
            // On a full disk there is no file, and the studio goes on as OBS does.
            let _ = self
                .disk
                .write_whole(&path, Content::Recorded { seed, bytes }, now);
        }
    }
}
