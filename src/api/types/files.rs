//! A VM's files on the wire.

use std::time::UNIX_EPOCH;

use serde::Serialize;
use utoipa::ToSchema;

use super::Iso;
use crate::actors::coordinator::{Entry, EntryKind};
use crate::domain::time::{Timestamp, millis};

/// What is in a folder of a VM.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileList {
    pub vm_id: String,
    pub path: String,
    /// Folders first, then by name.
    pub entries: Vec<EntryView>,
}

/// One entry of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryView {
    pub name: String,
    /// `file folder link other`
    pub kind: &'static str,
    pub bytes: u64,
    pub modified: Option<Iso>,
}

impl FileList {
    #[must_use]
    pub fn new(vm_id: String, path: String, mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|one, other| {
            let key = |entry: &Entry| (entry.kind != EntryKind::Folder, entry.name.clone());
            key(one).cmp(&key(other))
        });
        Self {
            vm_id,
            path,
            entries: entries.into_iter().map(EntryView::from).collect(),
        }
    }
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let since = entry.modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            kind: match entry.kind {
                EntryKind::File => "file",
                EntryKind::Folder => "folder",
                EntryKind::Link => "link",
                EntryKind::Other => "other",
            },
            name: entry.name,
            bytes: entry.bytes,
            modified: since.map(|since| Iso(Timestamp(millis(since)))),
        }
    }
}

/// A file is in its place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadReply {
    pub success: bool,
    pub vm_id: String,
    pub path: String,
    pub bytes: u64,
    pub execution_id: String,
}
