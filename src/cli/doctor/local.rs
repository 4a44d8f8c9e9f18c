//! What the coordinator needs of its own machine: a disk that syncs quickly, room on it, descriptors; and the coordinator
//! itself, if one runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::finding::Finding;
use super::within;
use crate::cli::client::Client;
use crate::cli::connection::Connection;
use crate::cli::span;
use crate::config::Config;
use crate::infra::ledger;

/// Synced appends that are measured, unless the disk is slow.
const APPENDS: usize = 200;
const APPEND_BYTES: usize = 512;
/// Time spent on them at most, beside the one under way.
const APPENDING: Duration = Duration::from_secs(3);
/// Limit on the whole check: a disk that is gone for so long stops the ledger.
const DISK: Duration = Duration::from_secs(10);
/// A commit waits for one sync; a show that is moved for about ten of them. Above this that is felt.
const SYNC_SLOW: Duration = Duration::from_millis(50);
/// A journal of a million events has about half of it.
const ROOM_LOW: u64 = 1 << 30;
const ROOM_OUT: u64 = 100 << 20;
/// What a VM takes at most: the show server's probe, OBS, SSH, a tunnel and a transfer.
const DESCRIPTORS_PER_VM: u64 = 6;
/// The journal and its log, listeners, the runtime, standard streams, a dynamic library or two.
const DESCRIPTORS_OWN: u64 = 64;
/// Limit on a running coordinator's answer.
const HEALTH: Duration = Duration::from_secs(5);

/// How quickly the ledger's folder syncs, and how much room it has.
pub async fn disk(config: &Config) -> Vec<Finding> {
    let journal = config.ledger.path.clone();
    let commit_deadline = config.ledger.commit_deadline;
    let look = tokio::task::spawn_blocking(move || look_at_disk(&journal, commit_deadline));
    within("disk", DISK, async {
        look.await.unwrap_or_else(|died| {
            vec![Finding::skipped(
                "disk",
                format!("it could not be measured: {died}"),
            )]
        })
    })
    .await
}

fn look_at_disk(journal: &Path, commit_deadline: Duration) -> Vec<Finding> {
    let folder = existing_folder(journal);
    let place = folder.display();
    let sync = match synced_appends(&folder) {
        Ok(mut took) => judge_sync(&mut took, &folder, commit_deadline),
        Err(error) => Finding::fail(
            "disk sync",
            format!("{place} cannot be written: {error}"),
            "let the coordinator's user write there, or set ledger.path to where it may",
        ),
    };
    let room = match rustix::fs::statvfs(&folder) {
        Ok(found) => judge_room(found.f_bavail.saturating_mul(found.f_frsize), &folder),
        Err(error) => Finding::skipped("disk space", format!("{place}: {error}")),
    };
    vec![sync, room]
}

/// The journal's folder, or the nearest there is: the coordinator makes the rest when it first starts.
fn existing_folder(journal: &Path) -> PathBuf {
    let folders = journal.ancestors().skip(1);
    let found = folders.into_iter().find(|folder| folder.is_dir());
    found.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// What each took, in a file of its own that goes away.
fn synced_appends(folder: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file = tempfile::Builder::new()
        .prefix(".understudy-doctor-")
        .tempfile_in(folder)?;
    let bytes = [0x5a; APPEND_BYTES];
    let until = Instant::now() + APPENDING;
    let mut took = Vec::with_capacity(APPENDS);
    while took.len() < APPENDS && (took.is_empty() || Instant::now() < until) {
        let began = Instant::now();
        file.write_all(&bytes)?;
        file.as_file().sync_data()?;
        took.push(began.elapsed());
    }
    Ok(took)
}

fn judge_sync(took: &mut [Duration], folder: &Path, commit_deadline: Duration) -> Finding {
    took.sort_unstable();
    let at = |hundredths: usize| took[(took.len() - 1) * hundredths / 100];
    let (p50, p99) = (at(50), at(99));
    let ms = |span: Duration| format!("{:.2} ms", span.as_secs_f64() * 1_000.0);
    let detail = format!(
        "{APPEND_BYTES} bytes are on {} after {} (p50), {} (p99 of {})",
        folder.display(),
        ms(p50),
        ms(p99),
        took.len()
    );
    if p99 >= commit_deadline {
        let advice = "commits will fail (ledger.commit_deadline): put ledger.path on a local disk that works";
        Finding::fail("disk sync", detail, advice)
    } else if p99 > SYNC_SLOW {
        let advice =
            "every command waits for that: put ledger.path on a faster local disk (no network file system)";
        Finding::warn("disk sync", detail, advice)
    } else {
        Finding::pass("disk sync", detail)
    }
}

fn judge_room(free_bytes: u64, folder: &Path) -> Finding {
    let detail = format!("{} MiB are free on {}", free_bytes >> 20, folder.display());
    let advice = "make room: when the disk is full, the ledger stops, and with it every command and failover";
    if free_bytes < ROOM_OUT {
        Finding::fail("disk space", detail, advice)
    } else if free_bytes < ROOM_LOW {
        Finding::warn("disk space", detail, advice)
    } else {
        Finding::pass("disk space", detail)
    }
}

/// Whether the limit on open files is enough for the pool, of the coordinator that runs, or else of this shell.
pub fn descriptors(config: &Config) -> Finding {
    let check = "open files";
    let running = ledger::last_holder(&config.ledger.path).map(|holder| holder.pid);
    let running = running.filter(|pid| is_understudy(*pid));
    let (whose, process) = match running {
        Some(pid) => (format!("of the coordinator (process {pid})"), pid.to_string()),
        None => ("of this shell".to_owned(), "self".to_owned()),
    };
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits"));
    let Some(limit) = limits.ok().and_then(|text| open_files(&text)) else {
        return Finding::skipped(check, format!("the limit {whose} cannot be read"));
    };
    let server = &config.server;
    let needed = u64::from(config.pool.max_instances) * DESCRIPTORS_PER_VM
        + server.connections_max as u64
        + DESCRIPTORS_OWN;
    let detail = format!("the limit {whose} is {limit}, and up to {needed} may be needed");
    if limit >= needed {
        Finding::pass(check, detail)
    } else {
        let advice = format!(
            "set LimitNOFILE={needed} in the coordinator's systemd unit (ulimit -n elsewhere), or lower \
             server.connections_max"
        );
        Finding::warn(check, detail, advice)
    }
}

fn is_understudy(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "understudy")
}

/// The soft limit in a `/proc/<pid>/limits` (proc(5)).
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        figure => figure.parse().ok(),
    }
}

/// How the coordinator does that listens where the configuration says, if one does.
pub async fn coordinator(config: &Config) -> Vec<Finding> {
    let mut listen = config.server.listen;
    if listen.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match listen {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        listen.set_ip(loopback);
    }
    let check = "coordinator";
    within(check, HEALTH, async {
        if tokio::net::TcpStream::connect(listen).await.is_err() {
            return vec![Finding::skipped(check, format!("none listens at {listen}"))];
        }
        let client = match Client::new(&Connection::to(format!("http://{listen}"))) {
            Ok(client) => client,
            Err(failure) => return vec![Finding::skipped(check, failure.message)],
        };
        let ready = client.glance(&["readyz"]).await;
        let status = client.glance(&["api", "coordinator", "status"]).await;
        vec![judge_coordinator(
            &listen.to_string(),
            ready.as_ref(),
            status.as_ref(),
        )]
    })
    .await
}

fn judge_coordinator(listen: &str, ready: Option<&Value>, status: Option<&Value>) -> Finding {
    let check = "coordinator";
    let Some(ready) = ready.filter(|ready| ready["ready"].is_boolean()) else {
        let advice = "see with `ss -ltnp` what it is, or set server.listen to another port";
        return Finding::fail(
            check,
            format!("what listens at {listen} is not an understudy"),
            advice,
        );
    };
    if ready["ready"] == true {
        let since = status.and_then(|status| status["uptime"].as_u64());
        let since = since.map_or_else(String::new, |s| {
            format!(", up for {}", span::coarse(Duration::from_secs(s)))
        });
        return Finding::pass(check, format!("it is ready at {listen}{since}"));
    }
    let why = ready["message"].as_str().unwrap_or("it does not say why");
    let advice = "the findings below may say why; its log does";
    Finding::fail(check, format!("it is not ready: {why}"), advice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_disk_is_judged_by_its_slowest_syncs_and_its_room() {
        let folder = Path::new("/var/lib/understudy");
        let deadline = Duration::from_secs(5);
        let judge = |slowest: Duration| {
            let mut took = vec![Duration::from_millis(1); 98];
            took.extend([slowest; 3]);
            judge_sync(&mut took, folder, deadline).verdict
        };
        assert_eq!(judge(Duration::from_millis(2)), Verdict::Pass);
        assert_eq!(judge(Duration::from_millis(80)), Verdict::Warn);
        assert_eq!(judge(Duration::from_secs(6)), Verdict::Fail);
        for (free, verdict) in [
            (2 << 30, Verdict::Pass),
            (1 << 29, Verdict::Warn),
            (1 << 20, Verdict::Fail),
        ] {
            assert_eq!(judge_room(free, folder).verdict, verdict, "{free}");
        }
    }

    #[test]
    fn measuring_a_folder_leaves_nothing_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("not/there/yet/ledger.db");
        assert_eq!(existing_folder(&journal), dir.path());
        let found = look_at_disk(&journal, Duration::from_secs(5));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].detail.contains("p99"), "{found:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_limit_on_open_files_is_read_as_the_kernel_writes_it() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             62830                62830                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files"),
            Some(u64::MAX)
        );
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn a_stranger_at_the_port_is_told_from_a_coordinator_that_is_not_ready() {
        let stranger = judge_coordinator("127.0.0.1:1", Some(&json!({"hello": 1})), None);
        assert!(stranger.detail.contains("not an understudy"), "{stranger:?}");
        let waiting = json!({"ready": false, "message": "no usable credentials"});
        let waiting = judge_coordinator("127.0.0.1:1", Some(&waiting), None);
        assert!(waiting.detail.contains("no usable credentials"), "{waiting:?}");
        let up = judge_coordinator(
            "127.0.0.1:1",
            Some(&json!({"ready": true})),
            Some(&json!({"uptime": 61})),
        );
        assert_eq!(up.verdict, Verdict::Pass);
    }
}
