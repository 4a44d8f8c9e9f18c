//! What a machine's own programs write to its disk, and read from it.
//!
//! OBS writes a change at once. Here it is written before anybody looks at the files, which nobody can tell apart.

use super::disk::{Content, Disk, OBS_CONFIG, OBS_TEMPLATE, Pattern, RECORDINGS};
use super::process::Service;
use super::{Machine, Studio};
use crate::domain::time::Timestamp;
use crate::sim::model::studio::record::RecordedFile;

/// A scene collection that is larger is none of a show's.
const CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Machine {
    /// The machine's files as they were when somebody last looked at them as they are.
    #[must_use]
    pub fn stored(&self) -> &Disk {
        &self.disk
    }

    /// The machine's files as they are now.
    pub fn disk(&mut self, now: Timestamp) -> &mut Disk {
        self.store_recordings(now);
        self.store_config(now);
        &mut self.disk
    }

    /// The studio, to change it as somebody sitting before it could.
    pub fn studio_mut(&mut self) -> &mut Studio {
        self.show_files();
        &mut self.studio
    }

    /// The files of a studio that nobody has touched, and a template that is equal to them.
    pub(super) fn install(&mut self, now: Timestamp) {
        for (path, text) in self.studio.unsaved() {
            for folder in [OBS_CONFIG, OBS_TEMPLATE] {
                self.write(&format!("{folder}/{path}"), Content::Held(text.clone()), now);
            }
        }
        self.seen_changes = self.disk.changes();
    }

    fn store_config(&mut self, now: Timestamp) {
        // What others have written comes first.
        self.show_files();
        for (path, text) in self.studio.unsaved() {
            self.write(&format!("{OBS_CONFIG}/{path}"), Content::Held(text), now);
        }
        self.seen_changes = self.disk.changes();
    }

    /// The studio starts, and reads its files.
    pub(super) fn load_studio(&mut self, now: Timestamp) {
        self.store_config(now);
        let collections = self.collections();
        let file = |path: &str| {
            let whole = self
                .disk
                .read(&format!("{OBS_CONFIG}/{path}"), 0, CONFIG_BYTES_MAX);
            whole.ok()
        };
        self.studio.load(file, &collections);
        self.seen_changes = self.disk.changes();
    }

    /// Lets the studio see what somebody else has done to its files while it runs.
    fn show_files(&mut self) {
        let changes = self.disk.changes();
        if self.seen_changes != changes && self.process(Service::Studio).is_alive() {
            let collections = self.collections();
            self.studio.notice(&collections);
            self.seen_changes = changes;
        }
    }

    /// The files of scene collections, with their paths within OBS's configuration.
    fn collections(&self) -> Vec<(String, Vec<u8>)> {
        let pattern = Pattern {
            depth_max: Some(1),
            folders: Some(false),
            name: Some("*.json".to_owned()),
            ..Pattern::default()
        };
        let found = self.disk.find(&format!("{OBS_CONFIG}/basic/scenes"), &pattern);
        let read = |(path, _)| {
            let text = self.disk.read(path, 0, CONFIG_BYTES_MAX).ok()?;
            Some((
                path.strip_prefix(OBS_CONFIG)?.trim_start_matches('/').to_owned(),
                text,
            ))
        };
        found.unwrap_or_default().into_iter().filter_map(read).collect()
    }

    pub(super) fn store_recordings(&mut self, now: Timestamp) {
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
            self.write(&path, Content::Recorded { seed, bytes }, now);
        }
    }

    fn write(&mut self, path: &str, content: Content, now: Timestamp) {
        // On a full disk there is no file, and the studio goes on as OBS does.
        let _ = self.disk.write_whole(path, content, now);
    }
}
