//! The archive of a show's recordings: which of them belong to it, what is on its way, what has arrived.
//!
//! ```text
//!            upload began           kept                      removed
//!  looking ───────────────► uploading ─────► kept: it may go from the VM ─────► looking
//!     │  ▲    dropped         │  └ part stored                                    
//!     │  └────────────────────┘
//!     └──► ended: done · failed          (failed: from any of them)
//! ```
//!
//! One recording at a time. What is *kept* was verified in the archive, and nothing but what is kept is ever removed
//! from the VM. An upload is a fact with every part of it that has arrived, so that whoever goes on with it sends
//! only what is missing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Parts that one upload may have
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const PARTS_MAX: u64 = 10_000;
/// Parts get larger in these steps for a file that would have too many.
const PART_STEP_BYTES: u64 = 1 << 20;
/// How far a VM's clock may be behind ours: a recording looks this much older than it is.
pub const CLOCK_ALLOWANCE: Duration = Duration::from_secs(120);
/// The containers that OBS writes recordings in.
pub const RECORDING_EXTENSIONS: [&str; 7] = ["avi", "flv", "mkv", "mov", "mp4", "ts", "webm"];

/// Where a show's recordings go, and how far they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    pub bucket: String,
    /// Beginning of the key of each, with `/` at its end.
    pub folder: String,
    /// When it was asked for, or tried again last.
    pub asked_at: Timestamp,
    /// Recordings last written before this belong to somebody else. It is the time of the VM's assignment.
    pub since: Timestamp,
    /// Recordings that are kept and removed from the VM.
    pub files: u32,
    /// Of these, together.
    pub bytes: u64,
    pub stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// What there is on the VM is to be looked at.
    Looking,
    Uploading(Upload),
    /// It was verified in the archive, and may still be on the VM.
    Kept {
        recording: Recording,
    },
    Ended(Ending),
}

/// A file on the VM as it was when it was looked at. One that differs is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Without its folder.
    pub name: String,
    pub bytes: u64,
    pub modified: Timestamp,
}

/// A recording on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub recording: Recording,
    pub key: String,
    /// The archive's own name of it.
    pub upload_id: String,
    pub part_bytes: u64,
    /// The parts that have arrived, from the first on.
    pub stored: Vec<StoredPart>,
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// The archive's own name of what it got; it wants to be told when the parts are put together.
    pub tag: String,
    /// SHA-256 of what was sent, base64.
    pub checksum: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everything that belongs to the show is kept. `older`: recordings left on the VM because they do not.
    Done { older: u32 },
    /// What is not kept is untouched on the VM.
    Failed { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The recordings of the show's VM are to be kept before it is given back.
    Asked {
        bucket: String,
        folder: String,
        since: Timestamp,
    },
    UploadBegan {
        upload: Upload,
    },
    /// The next part has arrived.
    PartStored {
        upload_id: String,
        number: u64,
        part: StoredPart,
    },
    /// It cannot be gone on with.
    UploadDropped {
        upload_id: String,
        reason: String,
    },
    /// The archive has all of it, and its checksum is the one of what was sent.
    Kept {
        upload_id: String,
    },
    /// It is not on the VM any more: it was removed, or something else is there under its name.
    Removed {
        name: String,
    },
    Ended {
        ending: Ending,
    },
}

/// An event that cannot happen to this archive now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("its recordings are not being archived")]
    NotAsked,
    #[error("its recordings are being archived already")]
    AlreadyAsked,
    #[error("the archive of its recordings is {stage}")]
    WrongStage { stage: &'static str },
    #[error("upload {asked} is not the one under way")]
    OtherUpload { asked: String },
    #[error("the upload has no such part now")]
    BadParts,
}

impl Stage {
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Uploading(_) => "uploading",
            Self::Kept { .. } => "kept",
            Self::Ended(Ending::Done { .. }) => "done",
            Self::Ended(Ending::Failed { .. }) => "failed",
        }
    }
}

impl Upload {
    /// How a file is to be sent: in parts of `part_bytes`, or larger ones if there would be too many.
    #[must_use]
    pub fn new(recording: Recording, key: String, upload_id: String, part_bytes: u64) -> Self {
        let least = recording
            .bytes
            .div_ceil(PARTS_MAX)
            .next_multiple_of(PART_STEP_BYTES);
        let part_bytes = if part_bytes * PARTS_MAX < recording.bytes {
            least
        } else {
            part_bytes.max(1)
        };
        Self {
            recording,
            key,
            upload_id,
            part_bytes,
            stored: Vec::new(),
        }
    }

    /// An empty file is one empty part.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.recording.bytes.div_ceil(self.part_bytes.max(1)).max(1)
    }

    /// Bytes of the part of this number; the first is 1.
    #[must_use]
    pub fn bytes_of(&self, number: u64) -> u64 {
        let before = number.saturating_sub(1).saturating_mul(self.part_bytes);
        self.recording.bytes.saturating_sub(before).min(self.part_bytes)
    }

    /// Bytes of the file before this part.
    #[must_use]
    pub fn offset_of(&self, number: u64) -> u64 {
        number.saturating_sub(1).saturating_mul(self.part_bytes)
    }

    /// Number of the first part that has not arrived; one more than there are if all have.
    #[must_use]
    pub fn next_part(&self) -> u64 {
        self.stored.len() as u64 + 1
    }

    /// Whether the archive has the parts that are recorded here, as they were sent. `there` says size and, if the archive
    /// tells it, checksum of the part of a number.
    pub fn is_confirmed_by(&self, there: impl Fn(u64) -> Option<(u64, Option<String>)>) -> bool {
        (1..).zip(&self.stored).all(|(number, sent)| match there(number) {
            Some((bytes, checksum)) => {
                bytes == self.bytes_of(number) && checksum.is_none_or(|checksum| checksum == sent.checksum)
            }
            None => false,
        })
    }

    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.stored.len() as u64 == self.parts()
    }
}

impl Archive {
    #[must_use]
    pub(super) fn new(bucket: &str, folder: &str, since: Timestamp, at: Timestamp) -> Self {
        Self {
            bucket: bucket.to_owned(),
            folder: folder.to_owned(),
            asked_at: at,
            since,
            files: 0,
            bytes: 0,
            stage: Stage::Looking,
        }
    }

    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        match &self.stage {
            Stage::Ended(ending) => Some(ending),
            Stage::Looking | Stage::Uploading(_) | Stage::Kept { .. } => None,
        }
    }

    /// Begins again after it failed: what is kept is kept.
    pub(super) fn resume(&mut self, at: Timestamp) -> Result<(), Rejected> {
        match &self.stage {
            Stage::Ended(Ending::Failed { .. }) => {
                self.asked_at = at;
                self.stage = Stage::Looking;
                Ok(())
            }
            Stage::Looking | Stage::Uploading(_) | Stage::Kept { .. } | Stage::Ended(Ending::Done { .. }) => {
                Err(self.wrong_stage())
            }
        }
    }

    fn wrong_stage(&self) -> Rejected {
        let stage = self.stage.as_str();
        Rejected::WrongStage { stage }
    }

    fn upload_mut(&mut self, asked: &str) -> Result<&mut Upload, Rejected> {
        let wrong = self.wrong_stage();
        match &mut self.stage {
            Stage::Uploading(upload) if upload.upload_id == asked => Ok(upload),
            Stage::Uploading(_) => Err(Rejected::OtherUpload {
                asked: asked.to_owned(),
            }),
            Stage::Looking | Stage::Kept { .. } | Stage::Ended(_) => Err(wrong),
        }
    }

    pub(super) fn apply(&mut self, event: &Event) -> Result<(), Rejected> {
        match event {
            Event::Asked { .. } => return Err(Rejected::AlreadyAsked),
            Event::UploadBegan { upload } => {
                if self.stage != Stage::Looking {
                    return Err(self.wrong_stage());
                }
                if upload.part_bytes == 0 || upload.parts() > PARTS_MAX || !upload.stored.is_empty() {
                    return Err(Rejected::BadParts);
                }
                self.stage = Stage::Uploading(upload.clone());
            }
            Event::PartStored {
                upload_id,
                number,
                part,
            } => {
                let upload = self.upload_mut(upload_id)?;
                if upload.is_sent() || *number != upload.next_part() {
                    return Err(Rejected::BadParts);
                }
                upload.stored.push(part.clone());
            }
            Event::UploadDropped { upload_id, .. } => {
                self.upload_mut(upload_id)?;
                self.stage = Stage::Looking;
            }
            Event::Kept { upload_id } => {
                let upload = self.upload_mut(upload_id)?;
                if !upload.is_sent() {
                    return Err(Rejected::BadParts);
                }
                let recording = upload.recording.clone();
                self.stage = Stage::Kept { recording };
            }
            Event::Removed { name } => match &self.stage {
                Stage::Kept { recording } if recording.name == *name => {
                    self.files += 1;
                    self.bytes = self.bytes.saturating_add(recording.bytes);
                    self.stage = Stage::Looking;
                }
                Stage::Looking | Stage::Uploading(_) | Stage::Kept { .. } | Stage::Ended(_) => {
                    return Err(self.wrong_stage());
                }
            },
            Event::Ended { ending } => {
                let is_done = matches!(ending, Ending::Done { .. });
                if self.ending().is_some() || (is_done && self.stage != Stage::Looking) {
                    return Err(self.wrong_stage());
                }
                self.stage = Stage::Ended(ending.clone());
            }
        }
        Ok(())
    }
}

/// A regular file in the folder of recordings. `modified` is unknown where the server does not tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub bytes: u64,
    pub modified: Option<Timestamp>,
}

/// What is to be done about a folder of recordings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The show's own, the oldest first.
    pub recordings: Vec<Recording>,
    /// Recordings that are not, or not known to be.
    pub older: u32,
}

/// Chooses what belongs to one assignment of a VM, which began at `since`; `until` is when the next one did, if there was
/// one. Hidden files and files of other kinds are no recordings.
#[must_use]
pub fn select(found: &[Found], since: Timestamp, until: Option<Timestamp>) -> Selection {
    let since = since - CLOCK_ALLOWANCE;
    let until = until.map(|until| until - CLOCK_ALLOWANCE);
    let belongs = |at: &Timestamp| *at >= since && until.is_none_or(|until| *at < until);
    let mut selection = Selection::default();
    for file in found.iter().filter(|file| is_recording(&file.name)) {
        match file.modified.filter(belongs) {
            Some(modified) => selection.recordings.push(Recording {
                name: file.name.clone(),
                bytes: file.bytes,
                modified,
            }),
            None => selection.older += 1,
        }
    }
    selection
        .recordings
        .sort_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name)));
    selection
}

fn is_recording(name: &str) -> bool {
    match name.rsplit_once('.') {
        Some((stem, extension)) => {
            let extension = extension.to_ascii_lowercase();
            !stem.is_empty() && !name.starts_with('.') && RECORDING_EXTENSIONS.contains(&extension.as_str())
        }
        None => false,
    }
}

/// The key of a recording: its name under the folder, and what would not survive XML, percent-encoded.
#[must_use]
pub fn key(folder: &str, name: &str) -> String {
    let mut key = folder.to_owned();
    for character in name.chars() {
        if character.is_control() || character == '%' {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                key.push_str(&format!("%{byte:02X}"));
            }
        } else {
            key.push(character);
        }
    }
    key
}
