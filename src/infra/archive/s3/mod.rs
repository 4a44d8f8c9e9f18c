//! Amazon S3, or what speaks its API, as the archive.
//!
//! The only place that knows S3's SDK. Every call has a deadline and is made once: whether
//! to repeat it is the caller's to know. Each part carries its SHA-256 (`x-amz-checksum-sha256`), which S3 checks on
//! arrival and keeps; of the whole it then says the checksum of those
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).

mod error;

use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart, StorageClass,
};
use bytes::Bytes;

use super::{Error, Part, Store, Target, composite};
use crate::domain::archive::StoredPart;
use crate::infra::aws::{self, AccessKey};

const CREATE: &str = "CreateMultipartUpload";
const UPLOAD: &str = "UploadPart";
const LIST: &str = "ListParts";
const COMPLETE: &str = "CompleteMultipartUpload";
const HEAD: &str = "HeadObject";
const ABORT: &str = "AbortMultipartUpload";

const CONNECT: Duration = Duration::from_secs(5);
/// Limit on a call. A part of 8 MiB takes so long at 70 KiB/s; completing an upload of thousands of parts takes S3
/// minutes (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
const CALL: Duration = Duration::from_secs(120);
/// Pages of a list of parts: one upload has 10,000 at most, and a page 1,000.
const PAGES_MAX: usize = 11;

#[derive(Debug, Clone)]
pub struct Config {
    pub region: String,
    /// Where to send requests instead of the region's public endpoint.
    pub endpoint_url: Option<String>,
    /// Put the bucket into the path instead of the host name.
    pub path_style: bool,
    /// As S3 names it; `None` is its standard one.
    pub storage_class: Option<String>,
    /// `None`: what the SDK's own chain finds.
    pub access_key: Option<AccessKey>,
}

#[derive(Debug)]
pub struct S3Store {
    client: Client,
    storage_class: Option<StorageClass>,
}

impl S3Store {
    /// Sets the client up, and contacts nobody: credentials are found at the first call.
    pub async fn new(config: Config) -> Self {
        let (region, endpoint_url) = (Some(config.region.as_str()), config.endpoint_url.as_deref());
        let loader = aws::loader(region, endpoint_url, config.access_key.as_ref())
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .read_timeout(CALL)
                    .operation_timeout(CALL)
                    .build(),
            );
        let shared = loader.load().await;
        let settings = Builder::from(&shared)
            .force_path_style(config.path_style)
            // Ours is sent; another one of the SDK's beside it would be refused.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self {
            client: Client::from_conf(settings),
            storage_class: config.storage_class.as_deref().map(StorageClass::from),
        }
    }

    /// The parts that have arrived, all pages.
    async fn listed(&self, target: &Target) -> Result<Vec<Part>, Error> {
        let mut found = Vec::new();
        let mut marker = None;
        for _ in 0..PAGES_MAX {
            let page = self
                .client
                .list_parts()
                .bucket(&target.bucket)
                .key(&target.key)
                .upload_id(&target.upload_id)
                .set_part_number_marker(marker.take())
                .send()
                .await
                .map_err(|failure| error::sort(LIST, &target.bucket, &target.key, &failure))?;
            for part in page.parts() {
                let number = part.part_number().and_then(|number| u32::try_from(number).ok());
                let bytes = part.size().and_then(|bytes| u64::try_from(bytes).ok());
                let (Some(number), Some(bytes)) = (number, bytes) else {
                    return Err(error::unreadable(LIST, "a part without number or size"));
                };
                found.push(Part {
                    number,
                    bytes,
                    checksum: part.checksum_sha256().map(str::to_owned),
                });
            }
            match page.next_part_number_marker() {
                Some(next) if page.is_truncated() == Some(true) => marker = Some(next.to_owned()),
                Some(_) | None => return Ok(found),
            }
        }
        Err(error::unreadable(LIST, "a list without an end"))
    }

    async fn complete(&self, target: &Target, parts: &[StoredPart]) -> Result<(), Error> {
        let completed = |(number, part): (i32, &StoredPart)| {
            CompletedPart::builder()
                .part_number(number)
                .e_tag(&part.tag)
                .checksum_sha256(&part.checksum)
                .build()
        };
        let parts: Vec<CompletedPart> = (1..).zip(parts).map(completed).collect();
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        self.client
            .complete_multipart_upload()
            .bucket(&target.bucket)
            .key(&target.key)
            .upload_id(&target.upload_id)
            .multipart_upload(whole)
            .send()
            .await
            .map_err(|failure| error::sort(COMPLETE, &target.bucket, &target.key, &failure))?;
        Ok(())
    }

    /// Has S3 say what it has under the key.
    async fn verify(&self, target: &Target, parts: &[StoredPart], bytes: u64) -> Result<(), Error> {
        let answer = self
            .client
            .head_object()
            .bucket(&target.bucket)
            .key(&target.key)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        let object = match answer {
            Ok(object) => object,
            Err(failure)
                if failure
                    .as_service_error()
                    .is_some_and(HeadObjectError::is_not_found) =>
            {
                return Err(Error::NoSuchUpload {
                    key: target.key.clone(),
                });
            }
            Err(failure) => return Err(error::sort(HEAD, &target.bucket, &target.key, &failure)),
        };
        let corrupt = |expected: String, got: String| Error::Corrupt {
            what: target.key.clone(),
            expected,
            got,
        };
        let there = object
            .content_length()
            .and_then(|bytes| u64::try_from(bytes).ok());
        if there != Some(bytes) {
            let there = there.map_or_else(|| "an unknown size".to_owned(), |there| format!("{there} bytes"));
            return Err(corrupt(format!("{bytes} bytes"), there));
        }
        let Some(there) = object.checksum_sha256() else {
            return Err(Error::Unverifiable {
                key: target.key.clone(),
            });
        };
        // S3 writes the number of parts behind it.
        let there = there.split('-').next().unwrap_or_default();
        let expected = composite(parts)?;
        if there == expected {
            Ok(())
        } else {
            Err(corrupt(expected, there.to_owned()))
        }
    }
}

#[async_trait]
impl Store for S3Store {
    async fn begin(&self, bucket: &str, key: &str) -> Result<String, Error> {
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_type(ChecksumType::Composite)
            .set_storage_class(self.storage_class.clone())
            .send()
            .await
            .map_err(|failure| error::sort(CREATE, bucket, key, &failure))?;
        let upload_id = begun.upload_id().filter(|id| !id.is_empty());
        upload_id
            .map(str::to_owned)
            .ok_or_else(|| error::unreadable(CREATE, "an upload without a name"))
    }

    async fn parts(&self, target: &Target) -> Result<Vec<Part>, Error> {
        self.listed(target).await
    }

    async fn put(&self, target: &Target, number: u32, bytes: Bytes, checksum: &str) -> Result<String, Error> {
        let answer = self
            .client
            .upload_part()
            .bucket(&target.bucket)
            .key(&target.key)
            .upload_id(&target.upload_id)
            .set_part_number(i32::try_from(number).ok())
            .checksum_sha256(checksum)
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(|failure| error::sort(UPLOAD, &target.bucket, &target.key, &failure))?;
        agrees(number, checksum, answer.checksum_sha256())?;
        let tag = answer.e_tag().filter(|tag| !tag.is_empty());
        tag.map(str::to_owned)
            .ok_or_else(|| error::unreadable(UPLOAD, "a part without a tag"))
    }

    async fn finish(&self, target: &Target, parts: &[StoredPart], bytes: u64) -> Result<(), Error> {
        match self.complete(target, parts).await {
            // Somebody may have finished it before, and been told nothing.
            Ok(()) | Err(Error::NoSuchUpload { .. }) => self.verify(target, parts, bytes).await,
            Err(error) => Err(error),
        }
    }

    async fn abort(&self, target: &Target) -> Result<(), Error> {
        let aborted = self
            .client
            .abort_multipart_upload()
            .bucket(&target.bucket)
            .key(&target.key)
            .upload_id(&target.upload_id)
            .send()
            .await
            .map_err(|failure| error::sort(ABORT, &target.bucket, &target.key, &failure));
        match aborted {
            Ok(_) | Err(Error::NoSuchUpload { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a store says of a part, if it says anything, is what was sent.
fn agrees(number: u32, sent: &str, there: Option<&str>) -> Result<(), Error> {
    match there {
        Some(there) if there != sent => Err(Error::Corrupt {
            what: format!("part {number}"),
            expected: sent.to_owned(),
            got: there.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}
