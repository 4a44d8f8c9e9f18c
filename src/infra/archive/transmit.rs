//! A file on its way from a machine to the archive.
//!
//! It is read once, in order. While one part is sent the next is read, and no more than two are in memory. A part that
//! did not arrive is sent again a few times; after that whoever asked for the file decides.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{Checksum, Error as StoreError, Store, Target};
use crate::domain::archive::{StoredPart, Upload};
use crate::infra::ssh::files::{self, Download, Files};

/// Parts in memory: one that is sent, and the next, which is read or waits.
const PARTS_AT_ONCE: usize = 2;
/// Bytes that are hashed before others have their turn: less than a millisecond's work.
const HASHED_AT_ONCE: usize = 128 << 10;
/// Attempts to send a part, after the first.
const RETRIES: usize = 4;
const BACKOFF_INITIAL: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// What is to be sent: the parts of an upload that have not arrived.
pub struct Transmission {
    pub store: Arc<dyn Store>,
    pub files: Arc<dyn Files>,
    /// Of the file on the machine.
    pub path: String,
    pub target: Target,
    pub upload: Upload,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it could not be read: {0}")]
    Read(files::Error),
    #[error("it changed while it was read: it had {expected} bytes and has {now}")]
    Changed { expected: u64, now: u64 },
    #[error("part {number} could not be sent: {error}")]
    Put { number: u64, error: StoreError },
}

/// Sends the missing parts, and gives each as it has arrived, with its number, in order. Dropping the stream
/// ends it.
#[must_use]
pub fn transmit(transmission: Transmission) -> BoxStream<'static, Result<(u64, StoredPart), Error>> {
    let Transmission {
        store,
        files,
        path,
        target,
        upload,
    } = transmission;
    let target = Arc::new(target);
    let next = upload.next_part();
    let parts = stream::try_unfold(None, move |reader: Option<Reader>| {
        let (files, path, upload) = (Arc::clone(&files), path.clone(), upload.clone());
        async move {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Reader::open(files, &path, upload, next).await?,
            };
            let part = reader.part().await?;
            Ok(part.map(|part| (part, Some(reader))))
        }
    });
    parts
        .map_ok(move |(number, bytes)| put(Arc::clone(&store), Arc::clone(&target), number, bytes))
        .try_buffered(PARTS_AT_ONCE)
        .boxed()
}

async fn put(
    store: Arc<dyn Store>,
    target: Arc<Target>,
    number: u64,
    bytes: Bytes,
) -> Result<(u64, StoredPart), Error> {
    let failed = |error| Error::Put { number, error };
    let part = u32::try_from(number).map_err(|_| {
        failed(StoreError::Refused {
            call: "UploadPart",
            detail: "there is no part of this number".to_owned(),
        })
    })?;
    let checksum = checksum_of(&bytes).await;
    let backoff = ExponentialBuilder::default()
        .with_min_delay(BACKOFF_INITIAL)
        .with_max_delay(BACKOFF_MAX)
        .with_max_times(RETRIES)
        .with_jitter()
        .with_jitter_seed(jitter_seed(&target, number));
    let tag = (|| store.put(&target, part, bytes.clone(), &checksum))
        .retry(backoff)
        .when(StoreError::is_retryable)
        .notify(
            |error, pause| tracing::warn!(key = target.key, number, %error, ?pause, "a part is sent again"),
        )
        .await
        .map_err(failed)?;
    Ok((number, StoredPart { tag, checksum }))
}

/// Hashing megabytes takes long for a thread that others wait for: they have their turn in between. Another thread would be
/// no quicker, and when it ends would not depend on a simulation's seed.
async fn checksum_of(bytes: &[u8]) -> String {
    let mut sum = Checksum::default();
    for block in bytes.chunks(HASHED_AT_ONCE) {
        sum.update(block);
        tokio::task::yield_now().await;
    }
    sum.finish()
}

/// Pauses are to differ from part to part, and not from one simulation of a seed to the next.
fn jitter_seed(target: &Target, number: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&target.key, &target.upload_id, number).hash(&mut hasher);
    hasher.finish()
}

/// A file that is read part by part.
struct Reader {
    download: Download,
    upload: Upload,
    /// The part that comes next.
    next: u64,
    /// What was read beyond the last part.
    rest: Bytes,
}

impl Reader {
    async fn open(files: Arc<dyn Files>, path: &str, upload: Upload, next: u64) -> Result<Self, Error> {
        let download = files
            .read(path, upload.offset_of(next))
            .await
            .map_err(Error::Read)?;
        let (expected, now) = (upload.recording.bytes, download.bytes);
        if expected != now {
            return Err(Error::Changed { expected, now });
        }
        let rest = Bytes::new();
        Ok(Self {
            download,
            upload,
            next,
            rest,
        })
    }

    async fn part(&mut self) -> Result<Option<(u64, Bytes)>, Error> {
        if self.next > self.upload.parts() {
            return Ok(None);
        }
        let number = self.next;
        let wanted = usize::try_from(self.upload.bytes_of(number)).unwrap_or(usize::MAX);
        let mut part = BytesMut::with_capacity(wanted);
        while part.len() < wanted {
            if self.rest.is_empty() {
                let expected = self.upload.recording.bytes;
                let now = self.upload.offset_of(number) + part.len() as u64;
                let piece = self.download.next().await;
                self.rest = piece
                    .ok_or(Error::Changed { expected, now })?
                    .map_err(Error::Read)?;
            }
            let taken = self.rest.len().min(wanted - part.len());
            part.extend_from_slice(&self.rest.split_to(taken));
        }
        self.next += 1;
        Ok(Some((number, part.freeze())))
    }
}
