//! P6: ten thousand machines that speak the real protocols, and one coordinator in a process of its own.
//!
//! Seven thousand of them run, each with a probe every five seconds and a studio's WebSocket; the others are off. A
//! process here has 20,000 descriptors at most, and each running machine takes two of the world's and of the
//! coordinator's. SSH, the product's default, is one more: what it adds is measured with fewer machines, with and
//! without it. There the way to a studio leads through the SSH connection.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use understudy::actors::coordinator::Coordinator;
use understudy::assembly;
use understudy::cli::gateway::Gateway;
use understudy::domain::ids::VmId;
use understudy::domain::time::Timestamp;
use understudy::domain::vm::Status;

use crate::Scale;
use crate::far::Far;
use crate::report::{Report, Row, Verdict};
use crate::spread::{Spread, brief};
use crate::worker::{self, Worker};

const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const CORES_MAX: f64 = 1.0;
const BYTES_PER_VM_MAX: f64 = 64.0 * 1024.0;
const LATE_MAX: Duration = Duration::from_millis(250);
/// Between two looks at when each VM was checked last: shorter than the interval, so that no check is missed.
const LOOK: Duration = Duration::from_secs(2);
/// Limit on every link being up.
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    let whole = run(scale, scale.running, scale.stopped, false).await?;
    let vms = scale.running + scale.stopped;
    report.add(Row {
        target: "P6",
        what: format!(
            "{vms} VMs, {} of them running with an OBS link, probed every {}, over the wire; processor time",
            scale.running,
            brief(PROBE_INTERVAL)
        ),
        figure: format!(
            "{:.2} cores; the far side {:.2}; {} links up at the end, {} VMs available, all up after {}",
            whole.cores,
            whole.far_cores,
            whole.links,
            whole.available,
            brief(whole.up_after)
        ),
        goal: format!("<= {CORES_MAX} core, all links up"),
        ratio: Some(whole.cores / CORES_MAX),
        verdict: Verdict::of(whole.cores <= CORES_MAX && whole.links == scale.running),
    });
    let per_vm = whole.resident as f64 / vms as f64;
    report.add(Row {
        target: "P6",
        what: "the same; resident memory of the process, per VM".to_owned(),
        figure: format!(
            "{:.1} KiB, {:.1} per running one; {} MiB in all",
            per_vm / 1024.0,
            whole.resident as f64 / 1024.0 / scale.running as f64,
            whole.resident >> 20
        ),
        goal: format!("<= {} KiB", BYTES_PER_VM_MAX / 1024.0),
        ratio: Some(per_vm / BYTES_PER_VM_MAX),
        verdict: Verdict::of(per_vm <= BYTES_PER_VM_MAX),
    });
    let late = &whole.lateness;
    report.add(Row {
        target: "P6",
        what: format!("the same; lateness of {} probes, answer included", late.count),
        figure: format!(
            "p50 {}, p99 {}, worst {}",
            brief(late.p50()),
            brief(late.p99()),
            brief(late.worst())
        ),
        goal: format!("p99 <= {}", brief(LATE_MAX)),
        ratio: Some(late.p99().as_secs_f64() / LATE_MAX.as_secs_f64()),
        verdict: Verdict::of(late.count > 0 && late.p99() <= LATE_MAX),
    });
    with_ssh(scale, report).await
}

async fn with_ssh(scale: &Scale, report: &mut Report) -> Result<()> {
    let vms = scale.with_ssh;
    let without = run(scale, vms, 0, false).await?;
    let with = run(scale, vms, 0, true).await?;
    let per_vm = |bytes: u64| bytes as f64 / 1024.0 / vms as f64;
    let each = |cores: f64| cores * 1e6 / vms as f64;
    report.add(Row {
        target: "P6",
        what: format!("beside it: what SSH adds, which leads to the studio then; {vms} running VMs"),
        figure: format!(
            "{:.1} KiB and {:.0} us of processor time a second per VM; without {:.1} KiB and {:.0} us, with {:.1} KiB and \
             {:.0} us; {} and {} links up",
            per_vm(with.resident) - per_vm(without.resident),
            each(with.cores) - each(without.cores),
            per_vm(without.resident),
            each(without.cores),
            per_vm(with.resident),
            each(with.cores),
            without.links,
            with.links
        ),
        goal: String::new(),
        ratio: None,
        verdict: Verdict::Beside,
    });
    Ok(())
}

struct Outcome {
    cores: f64,
    far_cores: f64,
    resident: u64,
    links: usize,
    available: usize,
    up_after: Duration,
    lateness: Lateness,
}

/// How late checks were, in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lateness {
    count: usize,
    p50_us: u64,
    p99_us: u64,
    worst_us: u64,
}

impl Lateness {
    fn of(sample: Vec<Duration>) -> Self {
        let spread = Spread::of(sample);
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self {
            count: spread.len(),
            p50_us: us(spread.p50()),
            p99_us: us(spread.p99()),
            worst_us: us(spread.worst()),
        }
    }

    fn p50(&self) -> Duration {
        Duration::from_micros(self.p50_us)
    }

    fn p99(&self) -> Duration {
        Duration::from_micros(self.p99_us)
    }

    fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_us)
    }
}

async fn run(scale: &Scale, running: usize, stopped: usize, ssh: bool) -> Result<Outcome> {
    let folder = crate::folder()?;
    let (mut far, found) = Far::start(running, stopped, ssh.then_some(folder.path())).await?;
    let found = serde_json::to_string(&found)?;
    let began = Instant::now();
    let folder_name = folder.path().display().to_string();
    let (mut watch, ()) = Worker::start(&["watch", &folder_name, &found]).await?;
    let up = async {
        while watch.ask::<usize>("available").await? < running || far.ask::<usize>("links").await? < running {
            tokio::time::sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    let all_up = tokio::time::timeout(PATIENCE, up).await;
    let up_after = began.elapsed();
    if let Ok(failed) = all_up {
        failed?;
    }
    // The first probes came at once; after a round or two they are spread as they stay.
    tokio::time::sleep(PROBE_INTERVAL * 2).await;
    watch.ask::<()>("note").await?;
    let busy = |worker: &Worker| worker::processor_time(worker.process()?);
    let (at, before, far_before) = (Instant::now(), busy(&watch)?, busy(&far)?);
    tokio::time::sleep(scale.watched).await;
    let (span, after, far_after) = (at.elapsed(), busy(&watch)?, busy(&far)?);
    let cores = |before: Duration, after: Duration| (after - before).as_secs_f64() / span.as_secs_f64();
    let outcome = Outcome {
        cores: cores(before, after),
        far_cores: cores(far_before, far_after),
        resident: worker::resident_bytes(watch.process()?)?,
        lateness: watch.ask("told").await?,
        links: far.ask("links").await?,
        available: watch.ask("available").await?,
        up_after,
    };
    watch.stop().await?;
    far.stop().await?;
    Ok(outcome)
}

/// The coordinator's side: `watch FOLDER FAR`.
pub async fn coordinate(words: &[String]) -> Result<()> {
    ensure!(words.len() == 2, "watch FOLDER FAR");
    let far: Far = serde_json::from_str(&words[1])?;
    let mut config = far.config(Path::new(&words[0]))?;
    config.pool.health_check_interval = PROBE_INTERVAL;
    let gateway = Gateway::bind(&config)?;
    let node = assembly::node(&config, |coordinator| Some(gateway.spec(coordinator))).await?;
    let coordinator = node.coordinator();
    worker::tell(&())?;
    let mut questions = worker::questions();
    let mut checks = Checks::default();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            question = questions.recv() => match question.as_deref() {
                Some("available") => worker::tell(&coordinator.state().count(Status::Available))?,
                Some("note") => {
                    checks = Checks { on: true, ..Checks::default() };
                    worker::tell(&())?;
                }
                Some("told") => worker::tell(&Lateness::of(std::mem::take(&mut checks).late))?,
                Some(other) => anyhow::bail!("asked {other:?}"),
                None => break,
            },
            _ = looks.tick(), if checks.on => checks.look(&coordinator),
        }
    }
    gateway.close(Duration::from_secs(1)).await;
    node.stop().await?;
    Ok(())
}

/// When each VM was checked last, and by how much each check came later than an interval after the one before.
#[derive(Default)]
struct Checks {
    on: bool,
    last: HashMap<VmId, Timestamp>,
    late: Vec<Duration>,
}

impl Checks {
    fn look(&mut self, coordinator: &Coordinator) {
        let board = coordinator.board();
        for vm in coordinator.state().with_status(Status::Available) {
            let Some(at) = board.latest(&vm.id).checked_at else {
                continue;
            };
            match self.last.insert(vm.id.clone(), at) {
                Some(before) if before != at => {
                    self.late.push(at.since(before).saturating_sub(PROBE_INTERVAL));
                }
                Some(_) | None => {}
            }
        }
    }
}
