//! Recordings on their way from a real OpenSSH server into moto's S3.

use std::sync::Arc;

use futures_util::StreamExt as _;
use sha2::{Digest, Sha256};

use http::Method;
use understudy::domain::archive::{Recording, Upload};
use understudy::domain::studio::Secret;
use understudy::domain::time::Timestamp;
use understudy::infra::archive::s3::{Config, S3Store};
use understudy::infra::archive::{Error, Store, Target, Transmission, TransmitError, transmit};
use understudy::infra::aws::AccessKey;
use understudy::infra::ssh::Session;
use understudy::infra::ssh::files::Files;

use crate::support::PLENTY;
use crate::support::bucket::{Bucket, Spoil};
use crate::support::eventually::eventually;
use crate::support::memory::{peak_memory_kib, reset_peak_memory};
use crate::support::moto::Moto;
use crate::support::noise::noise;
use crate::support::sshd::Sshd;

const MIB: u64 = 1 << 20;
/// The least that S3 takes.
const PART_BYTES: u64 = 5 * MIB;

/// A server with a recording, and a bucket for it.
struct Rig {
    sshd: Sshd,
    bucket: Bucket,
    store: Arc<dyn Store>,
    content: Vec<u8>,
}

impl Rig {
    async fn with(bytes: u64) -> Self {
        // A bucket belongs to the whole server, so each test has a server of its own.
        let moto = Arc::new(Moto::start().await);
        let bucket = Bucket::create(moto).await;
        let sshd = Sshd::start().await;
        let content = noise("recording", usize::try_from(bytes).unwrap());
        std::fs::write(sshd.path("show.mkv"), &content).unwrap();
        let store = store(bucket.endpoint()).await;
        Self {
            sshd,
            bucket,
            store,
            content,
        }
    }

    async fn begin(&self, key: &str) -> Upload {
        let upload_id = self.store.begin(self.bucket.name(), key).await.unwrap();
        let recording = Recording {
            name: "show.mkv".to_owned(),
            bytes: self.content.len() as u64,
            modified: Timestamp(0),
        };
        Upload::new(recording, key.to_owned(), upload_id, PART_BYTES)
    }

    /// Sends what is missing, and notes what arrived.
    async fn send(&self, session: &dyn Session, upload: &mut Upload) -> Result<(), TransmitError> {
        let files: Arc<dyn Files> = session.files().await.unwrap();
        let mut parts = transmit(Transmission {
            store: Arc::clone(&self.store),
            files,
            path: self.sshd.path("show.mkv").display().to_string(),
            target: self.target(upload),
            upload: upload.clone(),
        });
        while let Some(part) = parts.next().await {
            let (number, part) = part?;
            assert_eq!(number, upload.next_part());
            upload.stored.push(part);
        }
        Ok(())
    }

    fn target(&self, upload: &Upload) -> Target {
        Target {
            bucket: self.bucket.name().to_owned(),
            key: upload.key.clone(),
            upload_id: upload.upload_id.clone(),
        }
    }

    async fn finish(&self, upload: &Upload) -> Result<(), Error> {
        self.store
            .finish(&self.target(upload), &upload.stored, upload.recording.bytes)
            .await
    }
}

async fn store(endpoint: &str) -> Arc<dyn Store> {
    let config = Config {
        region: "us-east-1".to_owned(),
        endpoint_url: Some(endpoint.to_owned()),
        path_style: true,
        storage_class: None,
        access_key: Some(AccessKey {
            id: "test".to_owned(),
            secret: Secret::new("test"),
        }),
    };
    Arc::new(S3Store::new(config).await)
}

#[tokio::test]
async fn a_recording_arrives_whole_in_as_many_parts_as_it_takes() {
    let mut rig = Rig::with(0).await;
    let session = rig.sshd.connect().await.unwrap();
    for (bytes, parts) in [
        (0, 1),
        (1, 1),
        (PART_BYTES, 1),
        (PART_BYTES + 1, 2),
        (12 * MIB, 3),
    ] {
        rig.content = noise("recording", usize::try_from(bytes).unwrap());
        std::fs::write(rig.sshd.path("show.mkv"), &rig.content).unwrap();
        let key = format!("a folder/{bytes} bytes ümlaut.mkv");
        let mut upload = rig.begin(&key).await;
        rig.send(session.as_ref(), &mut upload).await.unwrap();
        assert_eq!(upload.stored.len(), parts);
        assert!(upload.is_sent());
        rig.finish(&upload).await.unwrap();
        let kept = rig.bucket.object(&key).await.unwrap();
        assert_eq!(
            Sha256::digest(&kept),
            Sha256::digest(&rig.content),
            "{bytes} bytes"
        );
        // Whoever was not told may ask again.
        rig.finish(&upload).await.unwrap();
    }
    assert_eq!(rig.bucket.open_uploads().await, 0);
}

#[tokio::test]
async fn a_large_recording_takes_the_memory_of_two_parts() {
    let mut rig = Rig::with(120 * MIB).await;
    let session = rig.sshd.connect().await.unwrap();
    let mut upload = rig.begin("large.mkv").await;
    rig.content = Vec::new();
    let before = peak_memory_kib();
    reset_peak_memory();
    let began = peak_memory_kib();
    rig.send(session.as_ref(), &mut upload).await.unwrap();
    // Two parts, and what the gate of this test holds of them: the same again.
    let used = peak_memory_kib().saturating_sub(began);
    assert!(used < 60 * 1024, "{used} KiB more, {before} KiB before");
    rig.finish(&upload).await.unwrap();
}

#[tokio::test]
async fn a_broken_transfer_goes_on_with_the_next_part_and_sends_none_twice() {
    let mut rig = Rig::with(22 * MIB).await;
    let session = rig.sshd.connect().await.unwrap();
    let mut upload = rig.begin("show.mkv").await;
    // Two parts get through, two are held: then the machine is lost.
    rig.bucket.spoil(Spoil::HoldAfter(2));
    {
        let sending = rig.send(session.as_ref(), &mut upload);
        let lost = eventually("two parts are held", PLENTY, async || {
            (rig.bucket.parts_sent().len() >= 4).then_some(())
        });
        tokio::select! {
            ended = sending => panic!("it ended: {ended:?}"),
            () = lost => {}
        }
    }
    rig.sshd.kill();
    assert_eq!(upload.stored.len(), 2);
    // Two at a time, in either order.
    let mut sent = rig.bucket.parts_sent();
    sent.sort_unstable();
    assert_eq!(sent, [1, 2, 3, 4]);

    rig.bucket.spoil(Spoil::Nothing);
    rig.sshd.restart().await;
    let session = rig.sshd.connect().await.unwrap();
    let there = rig.store.parts(&rig.target(&upload)).await.unwrap();
    let part = |number: u64| {
        let part = there.iter().find(|part| u64::from(part.number) == number)?;
        Some((part.bytes, part.checksum.clone()))
    };
    assert!(upload.is_confirmed_by(part));
    rig.send(session.as_ref(), &mut upload).await.unwrap();
    let mut rest = rig.bucket.parts_sent().split_off(sent.len());
    rest.sort_unstable();
    assert_eq!(rest, [3, 4, 5]);
    rig.finish(&upload).await.unwrap();
    assert_eq!(rig.bucket.object("show.mkv").await.unwrap(), rig.content);
}

#[tokio::test]
async fn a_lost_machine_is_told_from_an_archive_that_refuses() {
    let mut rig = Rig::with(22 * MIB).await;
    let session = rig.sshd.connect().await.unwrap();
    let mut upload = rig.begin("show.mkv").await;
    rig.bucket.spoil(Spoil::Refuse(403, "AccessDenied"));
    let refused = rig.send(session.as_ref(), &mut upload).await.unwrap_err();
    let TransmitError::Put { number: 1, error } = refused else {
        panic!("{refused}");
    };
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    rig.sshd.kill();
    session.closed().await;
    rig.bucket.spoil(Spoil::Nothing);
    rig.sshd.restart().await;
    let session = rig.sshd.connect().await.unwrap();
    std::fs::write(rig.sshd.path("show.mkv"), "another").unwrap();
    let changed = rig.send(session.as_ref(), &mut upload).await.unwrap_err();
    let expected = rig.content.len() as u64;
    assert_eq!(changed, TransmitError::Changed { expected, now: 7 });
}

#[tokio::test]
async fn a_part_that_an_unwell_archive_refuses_is_sent_again() {
    let rig = Rig::with(12 * MIB).await;
    let session = rig.sshd.connect().await.unwrap();
    let mut upload = rig.begin("show.mkv").await;
    rig.bucket.spoil(Spoil::Refuse(503, "SlowDown"));
    let well_again = async {
        eventually("a part is sent again", PLENTY, async || {
            let sent = rig.bucket.parts_sent();
            (sent.iter().filter(|number| **number == 1).count() > 1).then_some(())
        })
        .await;
        rig.bucket.spoil(Spoil::Nothing);
    };
    let (sent, ()) = tokio::join!(rig.send(session.as_ref(), &mut upload), well_again);
    sent.unwrap();
    rig.finish(&upload).await.unwrap();
    assert_eq!(rig.bucket.object("show.mkv").await.unwrap(), rig.content);
}

#[tokio::test]
async fn what_arrived_otherwise_than_it_was_sent_is_not_verified() {
    let rig = Rig::with(12 * MIB).await;
    let session = rig.sshd.connect().await.unwrap();
    let mut upload = rig.begin("show.mkv").await;
    rig.bucket.spoil(Spoil::Part(2));
    rig.send(session.as_ref(), &mut upload).await.unwrap();
    let refused = rig.finish(&upload).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().contains("show.mkv"), "{refused}");
}

#[tokio::test]
async fn an_archive_that_keeps_no_checksums_verifies_nothing() {
    let rig = Rig::with(1).await;
    let session = rig.sshd.connect().await.unwrap();
    let mut upload = rig.begin("show.mkv").await;
    rig.send(session.as_ref(), &mut upload).await.unwrap();
    rig.bucket.spoil(Spoil::NoChecksums);
    let refused = rig.finish(&upload).await.unwrap_err();
    assert!(matches!(refused, Error::Unverifiable { .. }), "{refused}");
}

#[tokio::test]
async fn an_upload_that_is_gone_is_told_and_aborting_it_is_fine() {
    let rig = Rig::with(1).await;
    let session = rig.sshd.connect().await.unwrap();
    let mut upload = rig.begin("never.mkv").await;
    rig.send(session.as_ref(), &mut upload).await.unwrap();
    rig.store.abort(&rig.target(&upload)).await.unwrap();
    let gone = rig.store.parts(&rig.target(&upload)).await.unwrap_err();
    assert!(matches!(gone, Error::NoSuchUpload { .. }), "{gone}");
    rig.store.abort(&rig.target(&upload)).await.unwrap();
    let nothing = rig.finish(&upload).await.unwrap_err();
    assert!(matches!(nothing, Error::NoSuchUpload { .. }), "{nothing}");
}

#[tokio::test]
async fn a_missing_bucket_and_credentials_that_are_not_accepted_say_what_to_do() {
    let rig = Rig::with(1).await;
    let missing = rig.store.begin("nowhere-to-be-found", "a.mkv").await.unwrap_err();
    assert!(matches!(missing, Error::NoBucket { .. }), "{missing}");
    assert!(missing.to_string().contains("archive.bucket"), "{missing}");

    let own = rig;
    for (status, code, advice) in [
        (403, "AccessDenied", "s3:PutObject"),
        (400, "ExpiredToken", "renew"),
        (403, "InvalidAccessKeyId", "renew"),
        (301, "PermanentRedirect", "archive.region"),
    ] {
        own.bucket.spoil(Spoil::Refuse(status, code));
        let asked = own.bucket.asked(&Method::POST);
        let refused = own.store.begin(own.bucket.name(), "a.mkv").await.unwrap_err();
        assert!(refused.to_string().contains(advice), "{code}: {refused}");
        assert!(!refused.is_retryable(), "{code}");
        assert_eq!(
            own.bucket.asked(&Method::POST),
            asked + 1,
            "{code} was tried again"
        );
    }
    let nobody = store("http://127.0.0.1:9").await;
    let refused = nobody.begin("shows", "a.mkv").await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
}
