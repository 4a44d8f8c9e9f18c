//! What durability costs on this disk: one writer against a bare synced append, many writers, and a start.
//!
//! `cargo bench --bench ledger [-- FOLDER]` prints the table; a figure here depends on the disk it ran on, so
//! each is shown beside what the same disk did in the same run. The disk is that of FOLDER, or of the package.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use understudy::domain::event::Event;
use understudy::domain::ids::{InstanceId, VmId};
use understudy::domain::instance::{Instance, InstanceState};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{self, Health};
use understudy::infra::ledger::{Ledger, Options};

const RECORD_BYTES: usize = 512;
const SINGLE_COMMITS: usize = 3_000;
const WRITERS: usize = 256;
const FOR: Duration = Duration::from_secs(5);
const VMS: usize = 10_000;
const EVENTS: usize = 1_000_000;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Not the system's temporary folder, which may be memory. Cargo adds a flag of its own.
    let given = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let folder = tempfile::tempdir_in(given.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").to_owned()))?;
    let append = synced_appends(&folder.path().join("append"))?;
    println!("append + fdatasync, {RECORD_BYTES} B      {append}");
    let (single, rate) = runtime.block_on(single_writer(&folder.path().join("single.db")))?;
    println!("commit, 1 writer, {RECORD_BYTES} B        {single}  {rate:.0}/s");
    let many = runtime.block_on(many_writers(&folder.path().join("many.db")))?;
    println!("commit, {WRITERS} writers            {many}");
    runtime.block_on(start(&folder.path().join("start.db")))
}

/// Percentiles of a sample of durations.
struct Spread(Vec<Duration>);

impl Spread {
    fn of(mut sample: Vec<Duration>) -> Self {
        sample.sort_unstable();
        Self(sample)
    }

    fn at(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "figures are printed, not computed with"
        )]
        let index = (self.0.len() as f64 * share) as usize;
        self.0[index.min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p99, worst) = (self.at(0.5), self.at(0.99), self.at(1.0));
        write!(f, "p50 {p50:>9.1?}  p99 {p99:>9.1?}  worst {worst:>9.1?}")
    }
}

fn synced_appends(path: &Path) -> Result<Spread> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let record = [b'x'; RECORD_BYTES];
    let mut sample = Vec::with_capacity(SINGLE_COMMITS);
    for _ in 0..SINGLE_COMMITS {
        let began = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        sample.push(began.elapsed());
    }
    Ok(Spread::of(sample))
}

async fn single_writer(path: &Path) -> Result<(Spread, f64)> {
    let ledger = Ledger::open(Options::new(path))?;
    let vm = adopt(&ledger, 1).await?.remove(0);
    let reason = "x".repeat(RECORD_BYTES - 60);
    let mut sample = Vec::with_capacity(SINGLE_COMMITS);
    let all = Instant::now();
    for _ in 0..SINGLE_COMMITS {
        let event = Event::vm(
            &vm,
            vm::Event::Faulted {
                reason: reason.clone(),
            },
        );
        let began = Instant::now();
        ledger.commit(Timestamp(1), vec![event]).await?;
        sample.push(began.elapsed());
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "figures are printed, not computed with"
    )]
    let rate = SINGLE_COMMITS as f64 / all.elapsed().as_secs_f64();
    ledger.close().await?;
    Ok((Spread::of(sample), rate))
}

async fn many_writers(path: &Path) -> Result<String> {
    let ledger = Ledger::open(Options::new(path))?;
    let vms = adopt(&ledger, WRITERS).await?;
    let before = ledger.counts();
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut writers = Vec::new();
    for vm in vms {
        let (ledger, stop) = (ledger.clone(), Arc::clone(&stop));
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
    tokio::time::sleep(FOR).await;
    stop.store(true, Ordering::Relaxed);
    let mut sample = Vec::new();
    for writer in writers {
        sample.extend(writer.await??);
    }
    let took = began.elapsed();
    let after = ledger.counts();
    ledger.close().await?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "figures are printed, not computed with"
    )]
    let rate = |count: u64| count as f64 / took.as_secs_f64();
    let commits = after.commits - before.commits;
    let transactions = after.transactions - before.transactions;
    Ok(format!(
        "{}  {:.0}/s in {:.0} transactions/s, {} snapshots",
        Spread::of(sample),
        rate(commits),
        rate(transactions),
        after.snapshots
    ))
}

/// A journal of ten thousand VMs and a million events, opened again with its snapshot and without.
async fn start(path: &Path) -> Result<()> {
    let ledger = Ledger::open(Options::new(path))?;
    let vms = adopt(&ledger, VMS).await?;
    let began = Instant::now();
    let mut sample = Vec::new();
    for round in 0..(EVENTS - VMS) / 100 {
        let health = if round / 100 % 2 == 0 {
            Health::Degraded
        } else {
            Health::Healthy
        };
        let events = (0..100).map(|n| {
            let vm = &vms[(round * 100 + n) % VMS];
            Event::vm(vm, vm::Event::HealthTurned { health })
        });
        let events = events.collect();
        let began = Instant::now();
        ledger.commit(Timestamp(2), events).await?;
        sample.push(began.elapsed());
    }
    println!(
        "100-event commits, {VMS} VMs       {}  {:.0?} in all, {} snapshots",
        Spread::of(sample),
        began.elapsed(),
        ledger.counts().snapshots
    );
    // The files as a kill leaves them: the log is not in the journal yet.
    let state = ledger.state();
    let killed = path.with_file_name("killed.db");
    std::fs::copy(path, &killed)?;
    std::fs::copy(
        path.with_file_name("start.db-wal"),
        killed.with_file_name("killed.db-wal"),
    )?;
    ledger.close().await?;
    println!(
        "file                             {} MiB",
        path.metadata()?.len() >> 20
    );
    let began = Instant::now();
    let ledger = Ledger::open(Options::new(&killed))?;
    println!("open after a kill, {EVENTS}      {:.0?}", began.elapsed());
    assert!(*ledger.state() == *state, "the replay gives the state in memory");
    ledger.close().await?;
    let database = rusqlite::Connection::open(path)?;
    let bytes: i64 = database.query_row(
        "SELECT coalesce(sum(length(state)), 0) / max(count(DISTINCT seq), 1) FROM snapshot",
        [],
        |row| row.get(0),
    )?;
    println!("snapshot                         {} KiB", bytes >> 10);
    let began = Instant::now();
    let _: String = database.query_row("PRAGMA quick_check", [], |row| row.get(0))?;
    println!("PRAGMA quick_check               {:.0?}", began.elapsed());
    database.execute("DELETE FROM snapshot", [])?;
    database.close().map_err(|(_, error)| error)?;
    let began = Instant::now();
    let ledger = Ledger::open(Options::new(path))?;
    println!("open, every event replayed       {:.0?}", began.elapsed());
    assert!(*ledger.state() == *state, "the replay gives the state in memory");
    ledger.close().await?;
    Ok(())
}

async fn adopt(ledger: &Ledger, count: usize) -> Result<Vec<VmId>> {
    let mut vms = Vec::with_capacity(count);
    for number in 0..count {
        let id = InstanceId::new(format!("i-{number:017x}"))?;
        let vm = VmId::for_instance(&id, 8)?;
        let instance = Instance {
            instance_id: id,
            name: Some(format!("pool-{number}")),
            state: InstanceState::Running,
            public_ip: Some([198, 51, 100, 7].into()),
            private_ip: Some([10, 0, 0, 7].into()),
            public_dns: Some("ec2-198-51-100-7.compute.example.com".to_owned()),
            private_dns: Some("ip-10-0-0-7.internal".to_owned()),
            instance_type: Some("g4dn.xlarge".to_owned()),
            launch_time: Some(Timestamp(1)),
            availability_zone: Some("eu-central-1a".to_owned()),
            subnet_id: Some("subnet-0".to_owned()),
            vpc_id: Some("vpc-0".to_owned()),
            tags: [
                ("Project", "show"),
                ("ManagedBy", "vm-pool-manager"),
                ("Name", "pool"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        };
        vms.push((vm.clone(), Event::vm(&vm, vm::Event::Adopted { instance })));
    }
    for chunk in vms.chunks(500) {
        let events = chunk.iter().map(|(_, event)| event.clone()).collect();
        ledger.commit(Timestamp(1), events).await?;
    }
    Ok(vms.into_iter().map(|(vm, _)| vm).collect())
}
