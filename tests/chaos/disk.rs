//! A disk that is full, and one that stalls.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use understudy::rehearsal::stage::Stage;
use understudy::sim::world::WorldConfig;

use crate::LIMIT;
use crate::book::{Callers, entry_of};
use crate::process::{Answer, Launch, Process};
use crate::report::Report;
use crate::scene::{self, key, never_two_publishers, on_air, until_on_air};
use crate::support::eventually::eventually;

/// Room on the small disk, and what is left of it once the ballast is there.
const DISK_BYTES: usize = 4 << 20;
const LEFT_BYTES: usize = 256 << 10;
/// What a commit may take while the disk stalls.
const COMMIT: Duration = Duration::from_secs(1);
/// Longer than that.
const STALL: Duration = Duration::from_secs(2);
/// Commands that are acknowledged before it does.
const ORDINARY: u64 = 20;

/// A disk of its own for the journal, in a mount namespace: gone with the process that holds it.
struct Disk {
    holder: Child,
    folder: PathBuf,
    /// What stands before a program that is to see it.
    enter: Vec<String>,
}

impl Disk {
    /// A small one in memory. Needs no root where user namespaces are allowed.
    async fn small(stage: &Stage) -> Self {
        let mount = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs \"$0\"");
        Self::hold(
            stage,
            &["--map-root-user", "--mount"],
            &mount,
            &["--user", "--preserve-credentials", "--mount"],
        )
        .await
    }

    /// One that can be frozen: a file system in a file. Needs root.
    async fn freezable(stage: &Stage) -> Self {
        let image = stage.dir().join("disk.img");
        let image = image.display();
        let mount =
            format!("truncate -s 64M {image} && mkfs.ext4 -q {image} && mount -o loop {image} \"$0\"");
        Self::hold(stage, &["--mount"], &mount, &["--mount"]).await
    }

    async fn hold(stage: &Stage, namespaces: &[&str], mount: &str, enter: &[&str]) -> Self {
        let folder = stage.dir().join("disk");
        std::fs::create_dir(&folder).unwrap();
        // Until its input is closed, which it is when this process ends, however it does.
        let script = format!("{mount} && echo mounted && read -r _");
        let mut holder = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", &script])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
        let said = tokio::time::timeout(LIMIT, said.next_line())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(said.as_deref(), Some("mounted"), "the disk could not be made");
        let target = format!("--target={}", holder.id().unwrap());
        let enter = ["nsenter".to_owned(), target]
            .into_iter()
            .chain(enter.iter().map(|word| (*word).to_owned()));
        Self {
            folder,
            enter: enter.collect(),
            holder,
        }
    }

    fn launch(&self) -> Launch {
        let journal = self.folder.join("ledger.db");
        Launch {
            runner: self.enter.clone(),
            environment: vec![key("LEDGER__PATH", &journal.display().to_string())],
        }
    }

    /// A file on it, as seen from outside.
    fn file(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id().unwrap());
        PathBuf::from(root)
            .join(self.folder.strip_prefix("/").unwrap())
            .join(name)
    }

    /// Until that is dropped it stalls.
    async fn freeze(&self) -> Frozen {
        let frozen = Frozen {
            enter: self.enter.clone(),
            folder: self.folder.clone(),
        };
        let freeze = frozen.command("--freeze");
        let froze = tokio::task::spawn_blocking(move || { freeze }.status());
        assert!(froze.await.unwrap().unwrap().success(), "it cannot be frozen");
        frozen
    }
}

/// A disk that stalls. It must not outlive its test so: nobody could take it away any more.
struct Frozen {
    enter: Vec<String>,
    folder: PathBuf,
}

impl Frozen {
    fn command(&self, how: &str) -> std::process::Command {
        let [first, rest @ ..] = &self.enter[..] else {
            panic!("nothing to enter")
        };
        let mut command = std::process::Command::new(first);
        command.args(rest).args(["fsfreeze", how]).arg(&self.folder);
        command
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let thawed = self.command("--unfreeze").status();
        assert!(thawed.is_ok_and(|status| status.success()), "it stays frozen");
    }
}

/// What it takes to have a disk of its own that can be frozen.
fn is_root() -> bool {
    let asked = std::process::Command::new("id").arg("-u").output().unwrap();
    asked.stdout == b"0\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_program_and_loses_nothing_and_it_goes_on_once_there_is_room() {
    let stage = scene::set(WorldConfig::for_test(4, 0), |_| {}).await;
    let disk = Disk::small(&stage).await;
    let mut process = Process::start(&stage, disk.launch()).await;
    process.until_count("available", 4).await;
    let show = on_air(&stage, &process, "steady").await;
    let used = std::fs::metadata(disk.file("ledger.db-wal")).unwrap().len();
    let ballast = DISK_BYTES - LEFT_BYTES - usize::try_from(used).unwrap();
    let filled = std::fs::write(disk.file("ballast"), vec![0; ballast]);
    println!("filled up: {filled:?}");
    let callers = Callers::begin(&process.client, 3, 7);
    let ended = process.ended().await;
    assert_eq!(ended.code(), Some(1), "{ended}");
    let log = process.log();
    let said = log
        .lines()
        .rev()
        .find(|line| line.contains("the ledger cannot write"))
        .expect("it says why")
        .to_owned();
    assert!(said.contains("the disk is full"), "{said}");
    std::fs::remove_file(disk.file("ballast")).unwrap();
    process.start_again().await;
    until_on_air(&stage, &process, &show).await;
    let book = callers.end().await;
    let complaints: Vec<_> = book.iter().flat_map(|page| &page.complaints).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let said_of_shows = process.client.get("/api/shows").await.expect();
    for page in &book {
        assert_eq!(entry_of(&said_of_shows, &page.show), page.entry, "{}", page.show);
    }
    never_two_publishers(&stage);
    let mut report = Report::new("disk-full", "A full disk");
    let acknowledged: u64 = book.iter().map(|page| page.acknowledged).sum();
    report.line(&format!("the program ended by itself ({ended}), saying: {said}"));
    report.line(&format!("started again with room: {acknowledged} commands acknowledged before and after, 0 lost, 0 doubled; the show stayed on air"));
    report.passed();
}

/// As root alone, with a loop device: nobody else may mount a file system that can be frozen.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stalls_delays_commands_and_acknowledges_none_of_them_wrongly() {
    if !is_root() {
        println!("NOT TRIED: a disk that stalls is made of a loop device and fsfreeze(8), which need root");
        return;
    }
    let stage = scene::set(WorldConfig::for_test(4, 0), |_| {}).await;
    let disk = Disk::freezable(&stage).await;
    let mut launch = disk.launch();
    launch
        .environment
        .push(key("LEDGER__COMMIT_DEADLINE", &format!("{}s", COMMIT.as_secs())));
    let process = Process::start(&stage, launch).await;
    process.until_count("available", 4).await;
    let show = on_air(&stage, &process, "steady").await;
    let callers = Callers::begin(&process.client, 3, 7);
    // A stretch of ordinary work on both sides of the stall.
    callers.until_acknowledged(ORDINARY).await;
    let frozen = disk.freeze().await;
    let frozen_at = Instant::now();
    let command = process
        .client
        .post("/api/competitions/steady/vm/hold", json!({ "held": true }))
        .await;
    let (answered_after, status) = match &command {
        Answer::Answered { status, .. } => (frozen_at.elapsed(), *status),
        Answer::Lost(why) => panic!("no answer: {why}"),
        Answer::Silence(long) => panic!("no answer for {long:?}"),
    };
    let read = Instant::now();
    process.client.get("/api/shows").await.expect();
    let read = read.elapsed();
    // The trouble itself: nobody could say when it has lasted long enough.
    tokio::time::sleep(STALL.saturating_sub(frozen_at.elapsed())).await;
    drop(frozen);
    assert_eq!(
        status, 504,
        "acknowledged by a disk that did not answer: {command:?}"
    );
    until_on_air(&stage, &process, &show).await;
    // What was in doubt is asked for again, and is true once it was acknowledged.
    eventually("a hold is recorded again", LIMIT, async || {
        let held = process
            .client
            .post("/api/competitions/steady/vm/hold", json!({ "held": true }))
            .await;
        held.done().map(drop)
    })
    .await;
    assert_eq!(
        scene::view(&process, "steady").await.expect("it answers")["held"],
        true
    );
    let book = callers.end().await;
    let complaints: Vec<_> = book.iter().flat_map(|page| &page.complaints).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let (finished, current) = scene::moves(&process, "steady").await.unwrap();
    assert!(finished.is_empty() && current.is_null(), "{finished:?} {current}");
    never_two_publishers(&stage);
    let mut report = Report::new("disk-stalled", "A disk that stalls (fsfreeze)");
    let acknowledged: u64 = book.iter().map(|page| page.acknowledged).sum();
    report.line(&format!(
        "frozen for {STALL:?} and more, with {COMMIT:?} for a commit: a command was answered 504 after {} ms, a list was read in {} ms",
        answered_after.as_millis(),
        read.as_millis()
    ));
    report.line(&format!(
        "thawed: {acknowledged} commands acknowledged before and after, 0 lost, 0 doubled; no show was moved"
    ));
    report.passed();
}
