//! What a test measured, kept for people: nothing fails because of a figure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::coordinator::text;
use super::program::run;
use super::rig::Rig;

/// Writes `target/tmp/studio/<name>.json` and prints it.
fn write(name: &str, report: &Value) {
    std::fs::create_dir_all(folder()).unwrap();
    let text = serde_json::to_string_pretty(report).unwrap();
    std::fs::write(folder().join(format!("{name}.json")), &text).unwrap();
    eprintln!("{name}: {report}");
}

/// One move of a show, by the coordinator's word and by the ingest's; beside it, the coordinator's log.
pub async fn failover(rig: &Rig, fault: &str, from: &str, to: &str, failover: &Value) {
    let (at_least, at_most) = rig.ingest.gap(rig.address(from).await, rig.address(to).await);
    let report = json!({
        "fault": fault,
        "cause": text(&failover["cause"]),
        "fence": failover["fence"],
        "summary": failover["summary"],
        "timeline": failover["timeline"],
        "offAirByTheIngestMs": [at_least.as_millis(), at_most.as_millis()],
        "differences": failover["differences"],
        "load": load(),
        "rigMemoryKiB": memory().await,
    });
    let name = format!("failover-{fault}");
    write(&name, &report);
    std::fs::write(folder().join(format!("{name}.log")), rig.coordinator.log()).unwrap();
}

/// A release with its recordings archived, from the request to its answer.
pub fn archived(archive: &Value, took: Duration) {
    let report = json!({"archive": archive, "ms": took.as_millis(), "load": load()});
    write("archived", &report);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("studio")
}

/// Processes that want a core, on the average of the last minute: what makes figures comparable.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Memory of everything in the rig, coordinator and test included: proportional set size, in KiB.
async fn memory() -> u64 {
    let script = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ {sum += $2} END {print sum}'";
    let sum = run("bash", &["-c", script]).await;
    sum.trim().parse().unwrap()
}
