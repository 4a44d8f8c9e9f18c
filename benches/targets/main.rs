//! The targets, measured: one program, one table, each figure beside its target.
//!
//! `make bench`, or `cargo bench --bench targets -- P2 P9` for some of them. The table is printed and written
//! to `target/bench/report.md`. `UNDERSTUDY_BENCH=quick` makes every sample small: it shows that everything
//! runs, its figures mean nothing.
//!
//! Machines are shared and noisy. So a figure is a ratio taken in one run wherever it can be, and the load
//! average stands beside it; an absolute time is a guide.

mod blackout;
mod crowd;
mod disk;
mod far;
mod fleet;
mod growth;
mod http;
mod idle;
mod journal;
mod pairs;
mod rebirth;
mod report;
mod serve;
mod socket;
mod spread;
mod thousands;
mod warm;
mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use self::report::Report;

/// How large the samples are.
#[derive(Debug, Clone)]
pub struct Scale {
    pub name: &'static str,
    /// Synced appends, and commits by one writer.
    pub commits: usize,
    /// How long each load runs that is counted by the second.
    pub load: Duration,
    pub load_warm_up: Duration,
    /// Rehearsals of each failure, with ten shows each.
    pub rehearsals: u64,
    /// VMs and journal events of a start.
    pub start_vms: usize,
    pub start_events: usize,
    /// VMs that are supervised while some of their actors are killed.
    pub supervised: usize,
    pub kills: usize,
    /// Single assignments whose bytes are counted.
    pub told: usize,
    /// Of the fleet on the wire, VMs that run and VMs that are off; and how many run where SSH is compared.
    pub running: usize,
    pub stopped: usize,
    pub with_ssh: usize,
    /// How long the fleet is watched, and how long the product has nothing to do.
    pub watched: Duration,
    pub idle: Duration,
    /// Socket.IO clients, and changes that they are told of one by one.
    pub clients: usize,
    pub changes: usize,
    /// Pools in which the cost of a command is compared.
    pub sizes: [usize; 3],
}

impl Scale {
    const FULL: Self = Self {
        name: "full",
        commits: 3_000,
        load: Duration::from_secs(10),
        load_warm_up: Duration::from_secs(2),
        rehearsals: 10,
        start_vms: 10_000,
        start_events: 1_000_000,
        supervised: 10_000,
        kills: 500,
        told: 20,
        running: 7_000,
        stopped: 3_000,
        with_ssh: 500,
        watched: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        clients: 1_000,
        changes: 100,
        sizes: [100, 1_000, 10_000],
    };
    const QUICK: Self = Self {
        name: "quick",
        commits: 100,
        load: Duration::from_secs(1),
        load_warm_up: Duration::from_millis(200),
        rehearsals: 1,
        start_vms: 500,
        start_events: 20_000,
        supervised: 500,
        kills: 20,
        told: 2,
        running: 70,
        stopped: 30,
        with_ssh: 20,
        watched: Duration::from_secs(12),
        idle: Duration::from_secs(5),
        clients: 50,
        changes: 5,
        sizes: [20, 100, 500],
    };

    fn chosen() -> Result<Self> {
        match std::env::var("UNDERSTUDY_BENCH").as_deref() {
            Err(_) | Ok("full") => Ok(Self::FULL),
            Ok("quick") => Ok(Self::QUICK),
            Ok(other) => anyhow::bail!("UNDERSTUDY_BENCH is \"full\" or \"quick\", not {other:?}"),
        }
    }
}

fn main() -> Result<()> {
    // Cargo adds a flag of its own.
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // What is measured runs in processes of its own, which are this program too.
    match given.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("serve", rest)) => return runtime.block_on(serve::run(rest)),
        Some(("world", rest)) => return runtime.block_on(far::run(rest)),
        Some(("watch", rest)) => return runtime.block_on(thousands::coordinate(rest)),
        Some(_) | None => {}
    }
    let scale = Scale::chosen()?;
    let mut report = Report::new(&scale);
    runtime.block_on(measure(&given, &scale, &mut report))?;
    // Whatever still runs in there has been measured.
    runtime.shutdown_background();
    let path = report.write()?;
    println!("\n{}\nwritten to {}", report.markdown(), path.display());
    Ok(())
}

/// Those that were named, or all.
async fn measure(named: &[String], scale: &Scale, report: &mut Report) -> Result<()> {
    let wanted = |targets: &[&str]| {
        let is_named = |target: &&str| named.iter().any(|name| name.eq_ignore_ascii_case(target));
        named.is_empty() || targets.iter().any(is_named)
    };
    if wanted(&["P1"]) {
        warm::measure(scale, report).await?;
    }
    if wanted(&["P2", "P11"]) {
        pairs::measure(scale, report).await?;
    }
    if wanted(&["P3", "P4"]) {
        blackout::measure(scale, report).await?;
    }
    if wanted(&["P6"]) {
        thousands::measure(scale, report).await?;
    }
    if wanted(&["P7"]) {
        crowd::measure(scale, report).await?;
    }
    if wanted(&["P8"]) {
        journal::measure_start(scale, report).await?;
    }
    if wanted(&["P9"]) {
        rebirth::measure(scale, report).await?;
    }
    if wanted(&["P10"]) {
        journal::measure_commits(scale, report).await?;
    }
    if wanted(&["P12"]) {
        idle::measure(scale, report).await?;
    }
    if wanted(&["C"]) {
        growth::measure(scale, report).await?;
    }
    Ok(())
}

/// A folder on the disk of the package: the system's temporary one may be memory.
pub fn folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// `target/bench`, wherever the target folder is.
pub fn output_folder() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).join("bench")
}
