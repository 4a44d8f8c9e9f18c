//! P8 and P10: what the journal costs, at a start after a kill and with many writers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use understudy::domain::event::Event;
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{self, Health};
use understudy::infra::ledger::{Ledger, Options};

use crate::Scale;
use crate::disk::Disk;
use crate::fleet::{self, Fleet};
use crate::report::{Report, Row, Verdict};
use crate::serve::Server;
use crate::spread::{Spread, brief};

const WRITERS: usize = 256;
const RECORD_BYTES: usize = 512;
/// Events in one commit of the long journal.
const GROUP: usize = 100;
const START_MAX: Duration = Duration::from_secs(2);
const GROUPED_MIN: f64 = 10.0;

/// A process started on a journal as a kill left it, until it says that it is ready.
pub async fn measure_start(scale: &Scale, report: &mut Report) -> Result<()> {
    let folder = crate::folder()?;
    let config = fleet::config(scale.start_vms)?;
    let fleet = Fleet::new(scale.start_vms, &config)?;
    let killed = folder.path().join("killed");
    let replayed = folder.path().join("replayed");
    let events = write_journal(&fleet, scale.start_events, folder.path(), &[&killed, &replayed]).await?;
    let began = Instant::now();
    let server = Server::start(&killed, scale.start_vms).await?;
    server.until_ready().await?;
    let ready = began.elapsed();
    server.stop().await?;
    report.add(Row {
        target: "P8",
        what: format!(
            "kill -9, then ready, {} VMs, {events} journal events: process, journal, tree, first look at the cloud",
            scale.start_vms
        ),
        figure: brief(ready),
        goal: format!("<= {}", brief(START_MAX)),
        ratio: Some(ready.as_secs_f64() / START_MAX.as_secs_f64()),
        verdict: Verdict::of(ready <= START_MAX),
    });
    let from_first = open_without_snapshots(&replayed).await?;
    report.add(Row {
        target: "P8",
        what: "beside it: the journal opened with every snapshot lost".to_owned(),
        figure: brief(from_first),
        goal: String::new(),
        ratio: None,
        verdict: Verdict::Beside,
    });
    Ok(())
}

/// Fills a journal and copies its files, while it is open, as a kill would leave them.
async fn write_journal(fleet: &Fleet, events: usize, folder: &Path, copies: &[&Path]) -> Result<u64> {
    let ledger = fleet::ledger(folder).await?;
    fleet.move_in(&ledger).await?;
    let vms = fleet.vms();
    let moved_in = usize::try_from(ledger.state().seq.0)?;
    let rounds = events.saturating_sub(moved_in) / vms.len();
    for round in 0..rounds {
        // The last one finds everything in order, as the machines are when the process comes back.
        let health = if (rounds - round).is_multiple_of(2) {
            Health::Degraded
        } else {
            Health::Healthy
        };
        for chunk in vms.chunks(GROUP) {
            let turned = chunk
                .iter()
                .map(|vm| Event::vm(vm, vm::Event::HealthTurned { health }));
            ledger.commit(Timestamp(2), turned.collect()).await?;
        }
    }
    let state = ledger.state();
    for copy in copies {
        std::fs::create_dir(copy)?;
        let mut tries = 1;
        while !copied_whole(folder, copy)? {
            ensure!(
                tries < COPIES_MAX,
                "the journal keeps changing while it is copied"
            );
            tries += 1;
        }
    }
    ledger.close().await?;
    Ok(state.seq.0)
}

/// Copies of a journal that nobody writes to; a write-back or two of its log may come in between.
const COPIES_MAX: u32 = 10;

/// False if the log was written back into the database meanwhile: the two copies do not belong together then, as
/// a killed process's files always do.
fn copied_whole(folder: &Path, copy: &Path) -> Result<bool> {
    let database = folder.join("ledger.db");
    let before = std::fs::metadata(&database)?.modified()?;
    for file in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(folder.join(file), copy.join(file))?;
    }
    Ok(std::fs::metadata(&database)?.modified()? == before)
}

async fn open_without_snapshots(folder: &Path) -> Result<Duration> {
    let database = rusqlite::Connection::open(folder.join("ledger.db"))?;
    database.execute("DELETE FROM snapshot", [])?;
    database.close().map_err(|(_, error)| error)?;
    let began = Instant::now();
    let ledger = fleet::ledger(folder).await?;
    let took = began.elapsed();
    ledger.close().await?;
    Ok(took)
}

/// Many writers against one.
pub async fn measure_commits(scale: &Scale, report: &mut Report) -> Result<()> {
    let folder = crate::folder()?;
    let config = fleet::config(WRITERS)?;
    let fleet = Fleet::new(WRITERS, &config)?;
    let mut disk = Disk::beside(folder.path())?;
    let mut appends = disk.append_for(scale.load / 2)?;
    let single = writers(&fleet, 1, scale.load, &folder.path().join("single.db")).await?;
    let many = writers(&fleet, WRITERS, scale.load, &folder.path().join("many.db")).await?;
    appends.extend(disk.append_for(scale.load / 2)?);
    let appends = Spread::of(appends);
    let appended: f64 = appends.total().as_secs_f64();
    let ratio = many.per_s / single.per_s;
    report.add(Row {
        target: "P10",
        what: format!("journal under group commit, {WRITERS} writers of {RECORD_BYTES} B, against one"),
        figure: format!(
            "{:.0}/s in {:.0} transactions/s, {}; one writer {:.0}/s, {}: {ratio:.1} x",
            many.per_s, many.transactions_per_s, many.latency, single.per_s, single.latency
        ),
        goal: format!(">= {GROUPED_MIN} x"),
        ratio: Some(ratio / GROUPED_MIN),
        verdict: Verdict::of(ratio >= GROUPED_MIN),
    });
    report.add(Row {
        target: "P10",
        what: format!(
            "beside it: the disk's own appends of {RECORD_BYTES} B + fdatasync, one after the other"
        ),
        figure: format!("{:.0}/s, {appends}", appends.len() as f64 / appended),
        goal: String::new(),
        ratio: None,
        verdict: Verdict::Beside,
    });
    Ok(())
}

struct Written {
    latency: Spread,
    per_s: f64,
    transactions_per_s: f64,
}

/// So many writers, each waiting for its commit before the next.
async fn writers(fleet: &Fleet, count: usize, span: Duration, path: &Path) -> Result<Written> {
    let ledger = Ledger::open(Options::new(path))?;
    fleet.move_in(&ledger).await?;
    let before = ledger.counts();
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut writers = Vec::new();
    for vm in fleet.vms().iter().take(count) {
        let (vm, ledger, stop) = (vm.clone(), ledger.clone(), Arc::clone(&stop));
        let reason = "x".repeat(RECORD_BYTES - 60);
        writers.push(tokio::spawn(async move {
            let mut sample = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let event = vm::Event::Faulted {
                    reason: reason.clone(),
                };
                ledger.commit(Timestamp(1), vec![Event::vm(&vm, event)]).await?;
                sample.push(began.elapsed());
            }
            anyhow::Ok(sample)
        }));
    }
    tokio::time::sleep(span).await;
    stop.store(true, Ordering::Relaxed);
    let mut sample = Vec::new();
    for writer in writers {
        sample.extend(writer.await??);
    }
    let took = began.elapsed().as_secs_f64();
    let after = ledger.counts();
    ledger.close().await?;
    ensure!(after.rejected == before.rejected, "a commit was refused");
    let per_s = |count: u64| u32::try_from(count).map_or(f64::MAX, f64::from) / took;
    Ok(Written {
        latency: Spread::of(sample),
        per_s: per_s(after.commits - before.commits),
        transactions_per_s: per_s(after.transactions - before.transactions),
    })
}
