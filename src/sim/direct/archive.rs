//! Where recordings are kept.
//!
//! The model's bucket ([`crate::sim::model::archive`]) behind the trait that S3 is behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::dice::{Dice, Span};
use crate::domain::archive::StoredPart;
use crate::infra::archive::{Error, Part, Store, Target, checksum, composite};
use crate::sim::model::archive::{Archive as Model, Object, Refusal};
use crate::sim::model::fault::ArchiveFault;

/// A call, there and back.
const CALL: Span = Span::of_ms(15, 90);
/// After so long no answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A part goes at 400 Mbit/s.
const BYTES_PER_MS: u64 = 50_000;

/// The archive. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    model: Arc<Mutex<Model>>,
    dice: Arc<Dice>,
}

impl Archive {
    pub(super) fn new(bucket: &str, dice: Arc<Dice>) -> Self {
        Self {
            model: Arc::new(Mutex::new(Model::new(bucket))),
            dice,
        }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something go wrong with it.
    pub fn fault(&self, fault: ArchiveFault) {
        self.model().fault(fault);
    }

    /// Mends everything that is wrong with it.
    pub fn heal(&self) {
        self.model().heal();
    }

    /// Everything that is kept, in the order of keys.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, Object)> {
        let model = self.model();
        let objects = model.objects().iter();
        objects
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// Uploads that were begun and neither finished nor aborted.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.model().unfinished()
    }

    /// One call, which sends so many bytes.
    async fn call<T>(
        &self,
        call: &'static str,
        bucket: &str,
        bytes: usize,
        act: impl FnOnce(&mut Model) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let unavailable = |detail: &str| Error::Unavailable {
            call,
            detail: detail.to_owned(),
        };
        let answer = async {
            let faults = self.model().faults();
            let sending = Duration::from_millis(bytes as u64 / BYTES_PER_MS);
            sleep(self.dice.draw(CALL) + sending + faults.delay).await;
            if faults.down {
                return Err(unavailable("503 SlowDown"));
            }
            if faults.denied {
                return Err(Error::Denied {
                    call,
                    bucket: bucket.to_owned(),
                    detail: "AccessDenied".to_owned(),
                });
            }
            let mut model = self.model();
            let here = model.check(bucket);
            here.map_err(|_| Error::NoBucket {
                bucket: bucket.to_owned(),
            })?;
            let done = act(&mut model);
            if faults.answers_lost {
                return Err(unavailable("connection closed before message completed"));
            }
            done
        };
        timeout(PATIENCE, answer)
            .await
            .unwrap_or_else(|_| Err(unavailable("operation timed out")))
    }
}

fn refused(call: &'static str, target: &Target, refusal: &Refusal) -> Error {
    match refusal {
        Refusal::NoBucket => Error::NoBucket {
            bucket: target.bucket.clone(),
        },
        Refusal::NoSuchUpload => Error::NoSuchUpload {
            key: target.key.clone(),
        },
        Refusal::InvalidPart => Error::Refused {
            call,
            detail: refusal.to_string(),
        },
    }
}

#[async_trait]
impl Store for Archive {
    async fn begin(&self, bucket: &str, key: &str) -> Result<String, Error> {
        self.call("CreateMultipartUpload", bucket, 0, |model| Ok(model.begin(key)))
            .await
    }

    async fn parts(&self, target: &Target) -> Result<Vec<Part>, Error> {
        let call = "ListParts";
        self.call(call, &target.bucket, 0, |model| {
            let parts = model.parts(&target.upload_id);
            let parts = parts.map_err(|refusal| refused(call, target, &refusal))?;
            let part = |(number, part): (&u32, &crate::sim::model::archive::Part)| Part {
                number: *number,
                bytes: part.bytes,
                checksum: Some(part.checksum.clone()),
            };
            Ok(parts.iter().map(part).collect())
        })
        .await
    }

    async fn put(&self, target: &Target, number: u32, bytes: Bytes, wanted: &str) -> Result<String, Error> {
        let call = "UploadPart";
        self.call(call, &target.bucket, bytes.len(), |model| {
            let got = if model.faults().damages {
                checksum(&[])
            } else {
                checksum(&bytes)
            };
            if got != wanted {
                return Err(Error::Corrupt {
                    what: format!("part {number}"),
                    expected: wanted.to_owned(),
                    got,
                });
            }
            model
                .put(&target.upload_id, number, bytes.len() as u64, wanted)
                .map_err(|refusal| refused(call, target, &refusal))
        })
        .await
    }

    async fn finish(&self, target: &Target, parts: &[StoredPart], bytes: u64) -> Result<(), Error> {
        let call = "CompleteMultipartUpload";
        let whole = composite(parts)?;
        let tags: Vec<&str> = parts.iter().map(|part| part.tag.as_str()).collect();
        self.call(call, &target.bucket, 0, |model| {
            let completed = model.complete(&target.upload_id, &tags, &whole);
            let object = model.objects().get(&target.key);
            match (completed, object) {
                // Also one that was finished before.
                (Ok(()) | Err(Refusal::NoSuchUpload), Some(object)) => {
                    verified(target, object, &whole, bytes)
                }
                (Ok(()), None) => Err(refused(call, target, &Refusal::NoSuchUpload)),
                (Err(refusal), _) => Err(refused(call, target, &refusal)),
            }
        })
        .await
    }

    async fn abort(&self, target: &Target) -> Result<(), Error> {
        self.call("AbortMultipartUpload", &target.bucket, 0, |model| {
            model.abort(&target.upload_id);
            Ok(())
        })
        .await
    }
}

fn verified(target: &Target, object: &Object, whole: &str, bytes: u64) -> Result<(), Error> {
    let (expected, got) = ((bytes, whole), (object.bytes, object.checksum.as_str()));
    if expected == got {
        return Ok(());
    }
    let said = |(bytes, checksum): (u64, &str)| format!("{checksum} ({bytes} bytes)");
    Err(Error::Corrupt {
        what: target.key.clone(),
        expected: said(expected),
        got: said(got),
    })
}
