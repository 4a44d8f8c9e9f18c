//! Shows that are released with their recordings: a real OpenSSH server, and moto's S3.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::Method;
use serde_json::{Value, json};
use understudy::actors::news::{Item, Level};
use understudy::config::Cleanup;
use understudy::domain::archive::Stage;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::studio::Secret;
use understudy::infra::archive::s3::{Config as S3, S3Store};
use understudy::infra::aws::AccessKey;

use crate::executions::served_by;
use crate::served::{LIMIT, Served, send};
use crate::support::bucket::{Bucket, Spoil};
use crate::support::eventually::eventually;
use crate::support::moto::Moto;
use crate::support::noise::noise;
use crate::support::sshd::Sshd;

const MIB: usize = 1 << 20;
/// For a try at archiving that is to fail.
const BRIEFLY: Duration = Duration::from_secs(6);
/// The same, where the next try is to do with it on a busy machine.
const A_WHILE: Duration = Duration::from_secs(20);
const RELEASE: &str = "/api/competitions/finals/vm/release";
const POOL: &str = "/api/admin/vm-pool";
const VIEW: &str = "/api/competitions/finals/vm";

/// One VM, which `finals` has, with a folder of recordings, and a bucket for them.
struct Rig {
    served: Served,
    bucket: Bucket,
    sshd: Sshd,
}

impl Rig {
    async fn with(deadline: Duration) -> Self {
        let bucket = Bucket::create(Arc::new(Moto::start().await)).await;
        let sshd = Sshd::start().await;
        std::fs::create_dir(sshd.path("recordings")).unwrap();
        let store = S3Store::new(S3 {
            region: "us-east-1".to_owned(),
            endpoint_url: Some(bucket.endpoint().to_owned()),
            path_style: true,
            storage_class: None,
            access_key: Some(AccessKey {
                id: "test".to_owned(),
                secret: Secret::new("test"),
            }),
        })
        .await;
        let (served, _) = served_by(&sshd, Some(Arc::new(store)), |config| {
            config.archive.bucket = Some(bucket.name().to_owned());
            config.archive.part_bytes = 5 << 20;
            config.archive.deadline = deadline;
            // The SSH server is this machine's: what cleaning runs on a VM, such as sudo, need not be here.
            config.shows.cleanup = Cleanup::BestEffort;
            config.vm.recordings_path = sshd.path("recordings").display().to_string();
        })
        .await;
        served.post("/api/competitions/finals/vm/assign").await.is(200);
        Self { served, bucket, sshd }
    }

    async fn vm(&self, vm: &str) -> Value {
        self.served.get(&format!("{POOL}/{vm}")).await.is(200)
    }

    /// Waits until the VM may be given to a show.
    async fn until_available(&self, vm: &str) -> Value {
        eventually("the VM is available", LIMIT * 2, async || {
            let view = self.vm(vm).await;
            (view["status"] == "available").then_some(view)
        })
        .await
    }

    fn recordings(&self) -> PathBuf {
        self.sshd.path("recordings")
    }

    async fn until_two_parts_arrived_and_two_are_held(&self, show: &ShowId) {
        eventually("two parts have arrived and two are held", LIMIT, async || {
            let state = self.served.coordinator.state();
            let archive = state.show(show)?.archive.clone()?;
            let Stage::Uploading(upload) = &archive.stage else {
                return None;
            };
            (upload.stored.len() == 2 && self.bucket.parts_sent().len() == 4).then_some(())
        })
        .await;
    }

    async fn release(&self) -> Value {
        let body = json!({"archiveRecordings": true});
        self.served.post_json(RELEASE, &body).await.is(200)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shows_recordings_are_in_the_bucket_and_its_vm_is_free_once_the_answer_comes() {
    let rig = Rig::with(LIMIT).await;
    let folder = rig.recordings();
    let (first, second) = (noise("first", 12 * MIB), noise("second", 1_000));
    std::fs::write(folder.join("a.mkv"), &first).unwrap();
    std::fs::write(folder.join("b.mp4"), &second).unwrap();
    std::fs::write(folder.join("notes.txt"), "not a recording").unwrap();
    // Of the VM's show before, and something that is none of anybody's business.
    std::fs::write(folder.join("older.mkv"), "older").unwrap();
    let older = File::options()
        .write(true)
        .open(folder.join("older.mkv"))
        .unwrap();
    older
        .set_modified(SystemTime::now() - Duration::from_secs(3_600))
        .unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link.mkv")).unwrap();
    let mut news = rig.served.coordinator.news();

    let released = rig.release().await;
    assert_eq!(
        (&released["archived"], &released["status"]),
        (&json!(true), &json!("available")),
        "{released}"
    );
    let archive = &released["archive"];
    assert_eq!(
        (&archive["files"], &archive["bytes"], &archive["older"]),
        (&json!(2), &json!(first.len() + second.len()), &json!(1))
    );
    let place = archive["folder"].as_str().unwrap();
    let beginning = format!("recordings/finals/{}/", released["vmId"].as_str().unwrap());
    assert!(place.starts_with(&beginning), "{place}");
    assert_eq!(rig.bucket.keys().await.len(), 2);
    assert_eq!(rig.bucket.object(&format!("{place}a.mkv")).await.unwrap(), first);
    assert_eq!(rig.bucket.object(&format!("{place}b.mp4")).await.unwrap(), second);
    assert_eq!(names(&folder), ["link.mkv", "notes.txt", "older.mkv"]);
    assert_eq!(rig.bucket.open_uploads().await, 0);

    let mut last = None;
    while let Ok(item) = news.try_recv() {
        if let Item::Archiving(progress) = item {
            last = Some(progress);
        }
    }
    let last = last.expect("progress was told");
    let total = (first.len() + second.len()) as u64;
    assert_eq!(
        (last.files, last.total_files, last.bytes, last.total_bytes),
        (2, 2, total, total)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_an_archive_up_goes_on_with_the_next_part() {
    let rig = Rig::with(Duration::from_secs(120)).await;
    let content = noise("killed", 22 * MIB);
    let path = rig.recordings().join("show.mkv");
    std::fs::write(&path, &content).unwrap();
    rig.bucket.spoil(Spoil::HoldAfter(2));
    let show = ShowId::new("finals").unwrap();
    // Whoever asked goes away; the release goes on.
    let ask = json!({"archiveRecordings": true});
    let release = rig.served.post_json(RELEASE, &ask);
    let killed = async {
        rig.until_two_parts_arrived_and_two_are_held(&show).await;
        let view = eventually("both that arrived are shown", LIMIT, async || {
            let view = rig.served.get(VIEW).await.is(200);
            (view["archiving"]["bytes"] == 10 * MIB).then_some(view)
        })
        .await;
        assert_eq!(view["phase"], "releasing");
        let archiving = &view["archiving"];
        assert_eq!(
            (
                &archiving["file"],
                &archiving["totalBytes"],
                &archiving["totalFiles"]
            ),
            (&json!("show.mkv"), &json!(22 * MIB), &json!(1))
        );
        assert!(rig.served.coordinator.kill_show_actor(&show));
        rig.bucket.spoil(Spoil::Nothing);
    };
    tokio::select! {
        answer = release => panic!("it was released: {answer:?}"),
        () = killed => {}
    }
    eventually("the show is released", LIMIT * 3, async || {
        (rig.served.get(VIEW).await.status == 404).then_some(())
    })
    .await;
    // Two at a time, in either order.
    let mut sent = rig.bucket.parts_sent();
    sent[..4].sort_unstable();
    sent[4..].sort_unstable();
    assert_eq!(sent, [1, 2, 3, 4, 3, 4, 5]);
    let [key] = <[String; 1]>::try_from(rig.bucket.keys().await).unwrap();
    assert_eq!(rig.bucket.object(&key).await.unwrap(), content);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_lost_on_the_way_is_gone_on_with_when_it_is_back() {
    let mut rig = Rig::with(LIMIT).await;
    let content = noise("lost", 22 * MIB);
    let path = rig.recordings().join("show.mkv");
    std::fs::write(&path, &content).unwrap();
    rig.bucket.spoil(Spoil::HoldAfter(2));
    let show = ShowId::new("finals").unwrap();
    let address = rig.served.url(RELEASE);
    let release = tokio::spawn(async move {
        let body = json!({"archiveRecordings": true});
        let answer = reqwest::Client::new().post(address).json(&body).send();
        answer.await.unwrap().json::<Value>().await.unwrap()
    });
    rig.until_two_parts_arrived_and_two_are_held(&show).await;
    // What was read already is sent; the fifth part is what is missing of the file.
    rig.sshd.kill();
    rig.bucket.spoil(Spoil::Nothing);
    rig.sshd.restart().await;
    let released = tokio::time::timeout(LIMIT, release).await.unwrap().unwrap();
    assert_eq!(released["archived"], true, "{released}");
    let sent = rig.bucket.parts_sent();
    assert!(!sent[4..].contains(&1) && !sent[4..].contains(&2), "{sent:?}");
    let [key] = <[String; 1]>::try_from(rig.bucket.keys().await).unwrap();
    assert_eq!(rig.bucket.object(&key).await.unwrap(), content);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_from_a_vm_that_did_not_arrive_as_it_was_sent() {
    let rig = Rig::with(Duration::from_secs(12)).await;
    let path = rig.recordings().join("show.mkv");
    let content = noise("spoilt", 6 * MIB);
    std::fs::write(&path, &content).unwrap();
    rig.bucket.spoil(Spoil::Part(1));
    let mut news = rig.served.coordinator.news();
    let released = rig.release().await;
    assert_eq!(
        (&released["archived"], &released["status"]),
        (&json!(false), &json!("error")),
        "{released}"
    );
    let why = released["archive"]["error"].as_str().unwrap();
    assert!(why.contains("show.mkv"), "{why}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
    // Nothing half done stays.
    assert_eq!(rig.bucket.open_uploads().await, 0);
    rig.served.get(VIEW).await.is(404);
    let mut told = Vec::new();
    while let Ok(item) = news.try_recv() {
        if let Item::Alert(alert) = item {
            told.push((alert.level, alert.message));
        }
    }
    let critical = told.iter().find(|(level, _)| *level == Level::Critical);
    let (_, message) = critical.unwrap_or_else(|| panic!("no alert: {told:?}"));
    assert!(
        message.contains(rig.bucket.name()) && message.contains("untouched"),
        "{message}"
    );
}

/// Nobody asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn recordings_left_on_a_vm_are_archived_by_itself_though_its_actor_dies_over_it() {
    let rig = Rig::with(A_WHILE).await;
    let content = noise("left", 22 * MIB);
    let path = rig.recordings().join("show.mkv");
    std::fs::write(&path, &content).unwrap();
    rig.bucket.spoil(Spoil::Refuse(403, "AccessDenied"));
    let released = rig.release().await;
    assert_eq!(released["archived"], false, "{released}");
    let vm = released["vmId"].as_str().unwrap();
    let left = rig.vm(vm).await;
    let reason = left["errorReason"].as_str().unwrap();
    assert!(
        reason.contains("finals") && reason.contains("s3:PutObject"),
        "{reason}"
    );
    assert_eq!(left["unarchived"][0]["competitionId"], "finals", "{left}");
    rig.bucket.spoil(Spoil::HoldAfter(2));
    eventually("two parts have arrived and two are held", LIMIT, async || {
        (rig.bucket.parts_arrived().len() == 2 && rig.bucket.held() == 2).then_some(())
    })
    .await;
    let trying = eventually("it is seen how far it is", LIMIT, async || {
        let view = rig.vm(vm).await;
        (view["unarchived"][0]["archiving"]["bytes"] == 10 * MIB).then_some(view)
    })
    .await;
    assert_eq!(
        (&trying["status"], &trying["unarchived"][0]["underWay"]),
        (&json!("error"), &json!(true))
    );
    assert!(rig.served.coordinator.kill_vm_actor(&VmId::new(vm).unwrap()));
    eventually("nothing is held", LIMIT, async || {
        (rig.bucket.held() == 0).then_some(())
    })
    .await;
    rig.bucket.spoil(Spoil::Nothing);
    let available = rig.until_available(vm).await;
    assert_eq!(available.get("unarchived"), None, "{available}");
    let mut arrived = rig.bucket.parts_arrived();
    arrived.sort_unstable();
    assert_eq!(arrived, [1, 2, 3, 4, 5], "each once");
    let key = format!("{}show.mkv", released["archive"]["folder"].as_str().unwrap());
    assert_eq!(rig.bucket.object(&key).await.unwrap(), content);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_left_on_a_vm_are_archived_when_somebody_asks_for_it() {
    let rig = Rig::with(BRIEFLY).await;
    let path = rig.recordings().join("show.mkv");
    std::fs::write(&path, "a show").unwrap();
    rig.bucket.spoil(Spoil::Refuse(403, "AccessDenied"));
    let assigned = rig.served.get(VIEW).await.is(200);
    let archive = format!("{POOL}/{}/archive", assigned["vmId"].as_str().unwrap());
    rig.served.post(&archive).await.refuses(409, "OCCUPIED");
    let released = rig.release().await;
    let vm = released["vmId"].as_str().unwrap();
    // Tried once by itself, and then not for a minute.
    let left = eventually("it failed again", LIMIT, async || {
        let left = rig.vm(vm).await["unarchived"][0].clone();
        (left["tries"] == 1 && left["underWay"] == false).then_some(left)
    })
    .await;
    let next = left["nextTryAt"].as_u64().unwrap();
    assert!(next > rig.served.coordinator.now().0 + 30_000, "{left}");
    assert!(path.exists());
    rig.bucket.spoil(Spoil::Nothing);
    let asked = rig.served.post(&archive).await.is(202);
    assert_eq!(
        (&asked["success"], &asked["status"]),
        (&json!(true), &json!("error")),
        "{asked}"
    );
    let available = rig.until_available(vm).await;
    assert_eq!(available.get("unarchived"), None, "{available}");
    let key = format!("{}show.mkv", released["archive"]["folder"].as_str().unwrap());
    assert_eq!(rig.bucket.object(&key).await.unwrap(), "a show");
    assert!(!path.exists());
    rig.served.post(&archive).await.refuses(409, "NOTHING_TO_ARCHIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_refuses_is_told_and_asked_again_until_it_is_mended() {
    let rig = Rig::with(LIMIT).await;
    std::fs::write(rig.recordings().join("show.mkv"), "a show").unwrap();
    rig.bucket.spoil(Spoil::Refuse(403, "AccessDenied"));
    let mut news = rig.served.coordinator.news();
    let mended = async {
        loop {
            if let Item::Alert(alert) = news.recv().await.unwrap()
                && alert.message.contains("s3:PutObject")
            {
                return rig.bucket.spoil(Spoil::Nothing);
            }
        }
    };
    let (released, mended) = tokio::join!(rig.release(), tokio::time::timeout(LIMIT, mended));
    mended.expect("an alert says what to do");
    assert_eq!(released["archived"], true, "{released}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_takes_longer_than_its_answer_may_is_accepted_and_asked_for_again_with_its_key() {
    let rig = Rig::with(LIMIT).await;
    std::fs::write(rig.recordings().join("show.mkv"), "a show").unwrap();
    rig.bucket.spoil(Spoil::HoldAfter(0));
    let ask = json!({"archiveRecordings": true});
    let keyed = async |path: &str| {
        let request = rig.served.request(Method::POST, path).json(&ask);
        send(request.header("Idempotency-Key", "k-1")).await
    };
    let accepted = keyed(&format!("{RELEASE}?wait=0")).await.is(202);
    assert_eq!(
        (&accepted["success"], &accepted["phase"], &accepted["status"]),
        (&json!(true), &json!("releasing"), &json!("releasing")),
        "{accepted}"
    );
    assert!(accepted["vmId"].is_string() && accepted.get("archived").is_none());
    assert!(accepted["message"].as_str().unwrap().contains("Idempotency-Key"));
    rig.bucket.spoil(Spoil::Nothing);
    let released = keyed(RELEASE).await.is(200);
    assert_eq!(
        (
            &released["vmId"],
            &released["archived"],
            &released["archive"]["files"]
        ),
        (&accepted["vmId"], &json!(true), &json!(1))
    );
    let again = keyed(RELEASE).await.is(200);
    assert_eq!(again["repeated"], true);
    assert_eq!(again["archive"], released["archive"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bucket_a_release_with_recordings_is_refused_before_anything_begins() {
    let served = Served::with(1, 0).await;
    served.post("/api/competitions/finals/vm/assign").await.is(200);
    let body = json!({"archiveRecordings": true});
    let refused = served.post_json(RELEASE, &body).await;
    let refused = refused.refuses(409, "ARCHIVE_NOT_CONFIGURED");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("ARCHIVE_S3_BUCKET"), "{error}");
    let view = served.get(VIEW).await.is(200);
    assert_eq!(view["phase"], "off_air");
    served.post(RELEASE).await.is(200);
    served.stop().await;
}
