//! Where recordings are kept: one bucket with uploads in parts, as S3 has them.
//!
//! Of what it gets it keeps the sizes and the checksums, not the bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::ArchiveFault;

/// An upload that has begun.
#[derive(Debug)]
struct Upload {
    key: String,
    parts: BTreeMap<u32, Part>,
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub bytes: u64,
    /// SHA-256, base64.
    pub checksum: String,
    pub tag: String,
}

/// A recording that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub bytes: u64,
    /// Of its parts' checksums, base64.
    pub checksum: String,
}

/// What is wrong with it now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub down: bool,
    pub denied: bool,
    pub delay: Duration,
    pub answers_lost: bool,
    pub damages: bool,
}

/// Why it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the specified bucket does not exist")]
    NoBucket,
    #[error("the specified upload does not exist")]
    NoSuchUpload,
    #[error("one or more of the specified parts could not be found")]
    InvalidPart,
}

/// One bucket.
#[derive(Debug)]
pub struct Archive {
    bucket: String,
    uploads: BTreeMap<String, Upload>,
    objects: BTreeMap<String, Object>,
    begun: u64,
    faults: Faults,
}

impl Archive {
    #[must_use]
    pub fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            uploads: BTreeMap::new(),
            objects: BTreeMap::new(),
            begun: 0,
            faults: Faults::default(),
        }
    }

    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults
    }

    pub fn fault(&mut self, fault: ArchiveFault) {
        match fault {
            ArchiveFault::Down => self.faults.down = true,
            ArchiveFault::Denied => self.faults.denied = true,
            ArchiveFault::Slow { delay } => self.faults.delay = delay,
            ArchiveFault::AnswersLost => self.faults.answers_lost = true,
            ArchiveFault::Damages => self.faults.damages = true,
        }
    }

    /// Mends everything that is wrong with it.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
    }

    /// # Errors
    /// [`Refusal::NoBucket`].
    pub fn check(&self, bucket: &str) -> Result<(), Refusal> {
        (bucket == self.bucket).then_some(()).ok_or(Refusal::NoBucket)
    }

    /// Returns the name of the new upload.
    pub fn begin(&mut self, key: &str) -> String {
        self.begun += 1;
        let id = format!("upload-{:06}", self.begun);
        let upload = Upload {
            key: key.to_owned(),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        id
    }

    /// # Errors
    /// [`Refusal::NoSuchUpload`].
    pub fn parts(&self, upload: &str) -> Result<&BTreeMap<u32, Part>, Refusal> {
        let upload = self.uploads.get(upload).ok_or(Refusal::NoSuchUpload)?;
        Ok(&upload.parts)
    }

    /// Returns the part's tag.
    ///
    /// # Errors
    /// [`Refusal::NoSuchUpload`].
    pub fn put(&mut self, upload: &str, number: u32, bytes: u64, checksum: &str) -> Result<String, Refusal> {
        let there = self.uploads.get_mut(upload).ok_or(Refusal::NoSuchUpload)?;
        let tag = format!("\"{upload}-{number}-{checksum}\"");
        let part = Part {
            bytes,
            checksum: checksum.to_owned(),
            tag: tag.clone(),
        };
        there.parts.insert(number, part);
        Ok(tag)
    }

    /// Makes the parts with these tags, in this order, an object with this checksum.
    ///
    /// # Errors
    /// [`Refusal::NoSuchUpload`], [`Refusal::InvalidPart`].
    pub fn complete(&mut self, upload: &str, tags: &[&str], checksum: &str) -> Result<(), Refusal> {
        let there = self.uploads.get(upload).ok_or(Refusal::NoSuchUpload)?;
        let mut bytes = 0;
        for (tag, number) in tags.iter().zip(1..) {
            let part = there.parts.get(&number).filter(|part| part.tag == *tag);
            bytes += part.ok_or(Refusal::InvalidPart)?.bytes;
        }
        let object = Object {
            bytes,
            checksum: checksum.to_owned(),
        };
        self.objects.insert(there.key.clone(), object);
        self.uploads.remove(upload);
        Ok(())
    }

    pub fn abort(&mut self, upload: &str) {
        self.uploads.remove(upload);
    }

    /// Everything that is kept, by its key.
    #[must_use]
    pub fn objects(&self) -> &BTreeMap<String, Object> {
        &self.objects
    }

    /// Uploads that were begun and neither finished nor aborted.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.uploads.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_an_object_once_and_only_as_they_arrived() {
        let mut archive = Archive::new("b");
        assert_eq!(archive.check("other"), Err(Refusal::NoBucket));
        let upload = archive.begin("show/one.mp4");
        let first = archive.put(&upload, 1, 5, "c1").unwrap();
        let second = archive.put(&upload, 2, 7, "c2").unwrap();
        let wrong = archive.complete(&upload, &[&second, &first], "c");
        assert_eq!(wrong, Err(Refusal::InvalidPart));
        archive.complete(&upload, &[&first, &second], "c").unwrap();
        assert_eq!(archive.objects()["show/one.mp4"].bytes, 12);
        assert_eq!(archive.unfinished(), 0);
        let again = archive.complete(&upload, &[&first, &second], "c");
        assert_eq!(again, Err(Refusal::NoSuchUpload));
    }
}
