//! The files that every machine is made with.

use super::{Content, Disk, HOME, OBS_CONFIG, OBS_TEMPLATE, RECORDINGS, Who};
use crate::domain::time::Timestamp;

/// What OBS 30 keeps of a profile; of the keys those that matter here.
const BASIC_INI: &str = "[General]\nName=Untitled\n\n[Output]\nMode=Simple\n\n[SimpleOutput]\nFilePath=/home/ubuntu/recordings\nRecFormat2=mp4\n";

impl Disk {
    /// A machine's files before it has done anything.
    #[must_use]
    pub fn image(now: Timestamp) -> Self {
        let mut disk = Self::empty(now);
        let folders = [HOME, RECORDINGS, "/tmp", "/etc", "/var/log"];
        for folder in folders {
            // A few short paths: there is room for them.
            let _ = disk.make_folders(Who::Root, folder, now);
        }
        for folder in [OBS_CONFIG, OBS_TEMPLATE] {
            let path = format!("{folder}/basic/profiles/Untitled/basic.ini");
            let _ = disk.write_whole(&path, Content::Held(BASIC_INI.into()), now);
        }
        disk
    }

    /// What a boot does to the files: systemd-tmpfiles empties /tmp, as on Ubuntu (tmp.conf).
    pub(in crate::sim::model::machine) fn boot(&mut self) {
        let in_tmp = self.list("/tmp").unwrap_or_default();
        let paths: Vec<String> = in_tmp.iter().map(|(name, _)| format!("/tmp/{name}")).collect();
        for path in paths {
            // It was just listed.
            let _ = self.remove_all(Who::Root, &path);
        }
    }
}
