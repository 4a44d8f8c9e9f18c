//! Where recordings are kept: objects of an S3 bucket, sent in parts.
//!
//! A [`Store`] sends parts and says what has arrived; the SHA-256 of each travels with it, and the store checks it.
//! [`Store::finish`] answers only for an object that the store itself says has the size and the checksum of what was
//! sent. It repeats nothing and knows no files: [`transmit()`] reads one from a machine and repeats parts that did not
//! arrive.

#[cfg(feature = "s3")]
pub mod s3;
mod transmit;

pub use transmit::{Error as TransmitError, Transmission, transmit};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::domain::archive::StoredPart;

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Announces an object, and gives the store's name for the upload.
    async fn begin(&self, bucket: &str, key: &str) -> Result<String, Error>;

    /// The parts that have arrived, by their numbers.
    ///
    /// # Errors
    /// [`Error::NoSuchUpload`] once it was finished or aborted.
    async fn parts(&self, target: &Target) -> Result<Vec<Part>, Error>;

    /// Sends a part, with its checksum, and gives the store's tag of it. One that is there under this number is
    /// replaced.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the store got something else.
    async fn put(&self, target: &Target, number: u32, bytes: Bytes, checksum: &str) -> Result<String, Error>;

    /// Makes the parts an object, and has the store say what it has. Repeating it is safe. `parts` are all of them, in
    /// their order; `bytes` is the size of the whole.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unverifiable`], [`Error::NoSuchUpload`]: it is not there, or nobody can say that it is.
    async fn finish(&self, target: &Target, parts: &[StoredPart], bytes: u64) -> Result<(), Error>;

    /// Throws the parts away. An upload that is not there is fine.
    async fn abort(&self, target: &Target) -> Result<(), Error>;
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub bucket: String,
    pub key: String,
    pub upload_id: String,
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub bytes: u64,
    /// SHA-256, base64, if the store tells it.
    pub checksum: Option<String>,
}

/// SHA-256 of bytes that come one after the other, base64, as the store is told it.
#[derive(Default)]
pub struct Checksum(Sha256);

impl Checksum {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[must_use]
    pub fn finish(self) -> String {
        STANDARD.encode(self.0.finalize())
    }
}

/// SHA-256 of some bytes, base64.
#[must_use]
pub fn checksum(bytes: &[u8]) -> String {
    let mut sum = Checksum::default();
    sum.update(bytes);
    sum.finish()
}

/// What the store must say of an object made of such parts: the SHA-256 of their SHA-256, one after the other
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).
///
/// # Errors
/// [`Error::Corrupt`] for what is no checksum.
pub fn composite(parts: &[StoredPart]) -> Result<String, Error> {
    let mut whole = Sha256::new();
    for part in parts {
        let digest = STANDARD.decode(&part.checksum).map_err(|_| Error::Corrupt {
            what: "the record of a part".to_owned(),
            expected: "a checksum".to_owned(),
            got: "something else".to_owned(),
        })?;
        whole.update(digest);
    }
    Ok(STANDARD.encode(whole.finalize()))
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "bucket {bucket} does not exist: create it, or set archive.bucket (ARCHIVE_S3_BUCKET) to one that does"
    )]
    NoBucket { bucket: String },
    #[error(
        "S3 does not allow {call} in bucket {bucket} ({detail}): the coordinator's credentials need s3:PutObject, \
         s3:GetObject, s3:ListMultipartUploadParts and s3:AbortMultipartUpload on it"
    )]
    Denied {
        call: &'static str,
        bucket: String,
        detail: String,
    },
    #[error(
        "there are no credentials that S3 accepts ({detail}): renew those that the coordinator finds (variables, profile \
         or instance role)"
    )]
    Credentials { detail: String },
    #[error("bucket {bucket} is in another region ({detail}): set archive.region to its own")]
    WrongRegion { bucket: String, detail: String },
    #[error("S3 knows no such upload of {key}")]
    NoSuchUpload { key: String },
    #[error("{what} has the checksum or size {got} in the archive, not {expected}")]
    Corrupt {
        what: String,
        expected: String,
        got: String,
    },
    #[error(
        "the archive does not say which checksum {key} has: this S3 endpoint does not keep SHA-256 checksums, so nothing \
         that was sent there can be verified"
    )]
    Unverifiable { key: String },
    #[error("S3 refused {call} ({detail})")]
    Refused { call: &'static str, detail: String },
    #[error("S3 did not carry out {call} now ({detail})")]
    Unavailable { call: &'static str, detail: String },
}

impl Error {
    /// Whether the same call may succeed a moment later without anything being mended by hand.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Corrupt { .. } => true,
            Self::NoBucket { .. }
            | Self::Denied { .. }
            | Self::Credentials { .. }
            | Self::WrongRegion { .. }
            | Self::NoSuchUpload { .. }
            | Self::Unverifiable { .. }
            | Self::Refused { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_is_the_checksum_of_the_parts_digests() {
        // From `printf abc | sha256sum` and `printf '' | sha256sum`, joined as bytes and hashed again.
        let part = |checksum| StoredPart {
            tag: String::new(),
            checksum,
        };
        let parts = [part(checksum(b"abc")), part(checksum(b""))];
        assert_eq!(parts[0].checksum, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(composite(&parts).unwrap(), COMPOSITE);
        assert_ne!(composite(&parts[..1]).unwrap(), parts[0].checksum);
        assert!(composite(&[part("no checksum".to_owned())]).is_err());
    }

    const COMPOSITE: &str = "bxKQiW7oGgNJF00Z9Ec9JnoQKJxASAhh1cQq//+9efk=";
}
