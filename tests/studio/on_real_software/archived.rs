//! What OBS has recorded of a show is in the archive before its machine is another show's.

use std::time::Instant;

use serde_json::{Value, json};

use crate::LIMIT;
use crate::machine::Machine;
use crate::producer::{set_bit_rate, start_recording, stop_recording};
use crate::program::{installed, ours, run};
use crate::report;
use crate::rig::Rig;
use crate::support::bucket::Spoil;
use crate::support::eventually::eventually;

const RECORDINGS: &str = "/home/ubuntu/recordings";
/// Second names of the recordings, on the same disk: what is in them stays when the recordings are removed.
const KEPT: &str = "/home/ubuntu/kept";
/// What was recorded before the show had the machine.
const OLDER: &str = "/home/ubuntu/recordings/rehearsal.mkv";
/// More than a part.
const LONG_BYTES: u64 = 6_000_000;

/// Names, sizes and check sums of the files in a folder of the machine, in the order of the names.
async fn files(machine: &Machine, folder: &str) -> Vec<(String, u64, String)> {
    let list = "cd \"$0\" && for f in *; do echo \"$(stat -c %s \"$f\") $(sha256sum <\"$f\" | cut -d' ' -f1) $f\"; done";
    let said = machine.run(&["sh", "-c", list, folder]).await;
    let file = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (bytes, sum, name) = (words.next()?, words.next()?, words.next()?);
        Some((name.to_owned(), bytes.parse().ok()?, sum.to_owned()))
    };
    said.lines()
        .map(|line| file(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

/// Waits until the newest recording is that large.
async fn until_recorded(machine: &Machine, bytes: u64) {
    let newest = format!("stat -c %s \"$(ls -t {RECORDINGS}/*.mp4 | head -1)\"");
    eventually("enough is recorded", LIMIT, async || {
        let said = machine.run(&["sh", "-c", &newest]).await;
        (said.trim().parse::<u64>().ok()? > bytes).then_some(())
    })
    .await;
}

/// Waits until there are so many recordings.
async fn until_begun(machine: &Machine, recordings: usize) {
    let list = format!("ls {RECORDINGS}/*.mp4 || true");
    eventually("a recording has begun", LIMIT, async || {
        let said = machine.run(&["sh", "-c", &list]).await;
        (said.lines().count() == recordings).then_some(())
    })
    .await;
}

/// Records twice: a long recording that has ended, and one that goes on.
async fn record(machine: &Machine) {
    start_recording(machine).await;
    until_begun(machine, 1).await;
    until_recorded(machine, LONG_BYTES).await;
    stop_recording(machine).await;
    start_recording(machine).await;
    until_begun(machine, 2).await;
    until_recorded(machine, 1_000_000).await;
    let keep = format!("mkdir {KEPT} && ln {RECORDINGS}/*.mp4 {KEPT}");
    machine.run(&["sh", "-c", &keep]).await;
}

/// What the archive has, as another client than ours finds it, and where that has put it.
async fn archived(rig: &Rig) -> Vec<(Value, String)> {
    let folder = rig.folder().join("archived");
    std::fs::create_dir(&folder).unwrap();
    let folder = folder.display().to_string();
    let script = ours("archive.py");
    let words = [
        &script,
        rig.moto.endpoint(),
        rig.moto.region(),
        rig.bucket.name(),
        &folder,
    ];
    let found: Vec<Value> = serde_json::from_str(&run(&installed("venv/bin/python"), &words).await).unwrap();
    let at = |(number, about)| (about, format!("{folder}/{number}"));
    found.into_iter().enumerate().map(at).collect()
}

/// Releases the show and holds back what is sent to the archive until it has been looked what is on the machine then.
async fn release(rig: &Rig) -> (Value, Vec<(String, u64, String)>) {
    rig.bucket.spoil(Spoil::HoldAfter(0));
    let began = Instant::now();
    let asked = json!({"archiveRecordings": true});
    let release = rig.coordinator.post("/api/competitions/finals/vm/release", asked);
    let held = async {
        eventually("a part is on its way", LIMIT, async || {
            (!rig.bucket.parts_sent().is_empty()).then_some(())
        })
        .await;
        let there = files(&rig.fleet.machines().await[&rig.instances[0]], RECORDINGS).await;
        rig.bucket.spoil(Spoil::Nothing);
        there
    };
    let (released, there) = tokio::join!(release, held);
    let released = released.expect(200);
    report::archived(&released["archive"], began.elapsed());
    (released, there)
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_in_the_archive_before_they_are_removed_from_their_machine() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    {
        let machines = rig.fleet.machines().await;
        let older = format!("echo older >{OLDER} && touch -d -1hour {OLDER}");
        machines[instance].run(&["sh", "-c", &older]).await;
        set_bit_rate(&machines[instance], 8_000).await;
    }
    rig.go_on_air("finals", instance).await;
    record(&rig.fleet.machines().await[instance]).await;

    let (released, there) = release(&rig).await;
    assert_eq!(
        (&released["archived"], &released["status"]),
        (&json!(true), &json!("available")),
        "{released}"
    );
    assert_eq!(released["cleaning"]["clean"], true, "{released}");
    let made = files(&rig.fleet.machines().await[instance], KEPT).await;
    assert!(made.iter().any(|(_, bytes, _)| *bytes > LONG_BYTES), "{made:?}");
    // While nothing had arrived, all of it was on the machine, complete.
    assert_eq!(there[..2], made[..]);
    let left = files(&rig.fleet.machines().await[instance], RECORDINGS).await;
    assert_eq!(left, there[2..]);
    assert!(OLDER.ends_with(&left[0].0), "{left:?}");

    let archive = &released["archive"];
    let bytes: u64 = made.iter().map(|(_, bytes, _)| bytes).sum();
    let told = ["files", "bytes", "older"].map(|name| &archive[name]);
    assert_eq!(told, [&json!(2), &json!(bytes), &json!(1)], "{archive}");
    let found = archived(&rig).await;
    assert_eq!(found.len(), made.len(), "{found:?}");
    for ((about, path), (name, bytes, sum)) in found.iter().zip(&made) {
        let key = format!("{}{name}", archive["folder"].as_str().unwrap());
        assert_eq!(*about, json!({"key": key, "bytes": bytes, "sha256": sum}));
        plays(path).await;
    }
    // The long one took several.
    assert!(rig.bucket.parts_sent().len() > made.len());
    assert_eq!(rig.bucket.open_uploads().await, 0);
    rig.end().await;
}

/// OBS has completed it: without its index an MP4 does not play.
async fn plays(path: &str) {
    let words = [
        "-v",
        "error",
        "-count_packets",
        "-select_streams",
        "v",
        "-show_streams",
        "-of",
        "json",
        path,
    ];
    let found: Value = serde_json::from_str(&run("ffprobe", &words).await).unwrap();
    let packets = found["streams"][0]["nb_read_packets"].as_str();
    let packets: u32 = packets.and_then(|text| text.parse().ok()).unwrap_or(0);
    assert!(packets > 1, "{found}");
}
