//! Recordings: moto's S3, OpenSSH, and a coordinator that is killed on the way.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::LIMIT;
use crate::coordinator::text;
use crate::scene::{Cast, Scene};
use crate::support::bucket::{Bucket, Spoil};
use crate::support::eventually::eventually;

const ONE: Cast = Cast {
    running: 1,
    stopped: 0,
    warm_count: 0,
    max_instances: 1,
};
const MIB: usize = 1 << 20;
/// S3 takes no smaller ones.
const PART: usize = 5 * MIB;
const RELEASE: &str = "/api/competitions/finals/vm/release";

struct Rig {
    scene: Scene,
    bucket: Bucket,
    recordings: TempDir,
}

impl Rig {
    /// `finals` is on air, and VMs are proven clean before they are used again.
    async fn on_air() -> Self {
        let recordings = tempfile::tempdir().unwrap();
        let mut bucket = None;
        let scene = Scene::set_with(ONE, async |moto| {
            let made = Bucket::create(moto).await;
            let variables = [
                ("ARCHIVE__BUCKET", made.name().to_owned()),
                ("ARCHIVE__ENDPOINT_URL", made.endpoint().to_owned()),
                ("ARCHIVE__PATH_STYLE", "true".to_owned()),
                ("ARCHIVE__PART_BYTES", PART.to_string()),
                ("SHOWS__CLEANUP", "strict".to_owned()),
                ("VM__RECORDINGS_PATH", recordings.path().display().to_string()),
            ];
            bucket = Some(made);
            variables.map(|(name, value)| (name.to_owned(), value)).to_vec()
        })
        .await;
        scene.coordinator.until_available(1).await;
        let instance = scene.instances[0].clone();
        scene.go_on_air("finals", &instance).await;
        Self {
            scene,
            bucket: bucket.unwrap(),
            recordings,
        }
    }

    fn recording(&self) -> PathBuf {
        self.recordings.path().join("show.mkv")
    }

    /// Asks for the release, and waits for nothing.
    fn release(&self) -> tokio::task::JoinHandle<Result<reqwest::Response, reqwest::Error>> {
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request
            .post(format!("{}{RELEASE}", self.scene.coordinator.url()))
            .header("Idempotency-Key", "release-1")
            .json(&json!({"archiveRecordings": true}));
        tokio::spawn(request.send())
    }

    /// Waits until so many parts are recorded as having arrived, and another waits at the gate.
    async fn until_arrived(&self, parts: usize) -> Value {
        let what = format!("{parts} parts have arrived, and the next is held");
        eventually(&what, LIMIT, async || {
            let view = self.scene.coordinator.vm_of("finals").await.expect(200);
            let arrived = view["archiving"]["bytes"] == parts * PART;
            (arrived && self.bucket.held() > 0).then_some(view)
        })
        .await
    }
}

/// Bytes that do not repeat.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = Vec::with_capacity(bytes + 32);
    let mut block = Sha256::digest("a show");
    while noise.len() < bytes {
        noise.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    noise.truncate(bytes);
    noise
}

fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_between_two_parts_sends_those_that_had_not_arrived_and_the_vm_is_clean() {
    let mut rig = Rig::on_air().await;
    let content = noise(22 * MIB);
    std::fs::write(rig.recording(), &content).unwrap();
    rig.bucket.spoil(Spoil::HoldAfter(2));
    let lost = rig.release();
    let view = rig.until_arrived(2).await;
    assert_eq!(view["phase"], "releasing");
    rig.scene.coordinator.kill().await;
    assert!(
        lost.await.unwrap().is_err(),
        "whoever waited is not told that it worked"
    );
    eventually("what the first life had at the gate is gone", LIMIT, async || {
        (rig.bucket.held() == 0).then_some(())
    })
    .await;
    assert_eq!(sorted(rig.bucket.parts_arrived()), [1, 2]);
    assert_eq!(rig.bucket.keys().await, Vec::<String>::new());

    rig.bucket.spoil(Spoil::HoldAfter(4));
    rig.scene.coordinator.start_again().await;
    rig.until_arrived(4).await;
    assert_eq!(
        std::fs::read(rig.recording()).unwrap(),
        content,
        "it is not verified yet"
    );
    rig.bucket.spoil(Spoil::Nothing);
    // Asked again with its key, it answers for what the first life began.
    let released = rig.release().await.unwrap().unwrap();
    assert_eq!(released.status().as_u16(), 200);
    let released: Value = released.json().await.unwrap();
    assert_eq!(
        (
            &released["archived"],
            &released["archive"]["files"],
            &released["archive"]["bytes"]
        ),
        (&json!(true), &json!(1), &json!(content.len())),
        "{released}"
    );
    assert_eq!(
        (&released["status"], &released["cleaning"]["clean"]),
        (&json!("available"), &json!(true)),
        "{released}"
    );
    let arrived = rig.bucket.parts_arrived();
    assert_eq!(
        sorted(arrived[2..].to_vec()),
        [3, 4, 5],
        "each part once in both lives: {arrived:?}"
    );
    let key = format!("{}show.mkv", text(&released["archive"]["folder"]));
    assert_eq!(rig.bucket.keys().await, [key.as_str()]);
    let stored = rig.bucket.object(&key).await.unwrap();
    assert_eq!(Sha256::digest(&stored), Sha256::digest(&content));
    assert!(!rig.recording().exists());
    assert_eq!(rig.bucket.open_uploads().await, 0);
    rig.scene.coordinator.until_available(1).await;
    rig.scene.end().await;
}
