//! P9: the death of one VM's actor among thousands: how soon it is back, and whether a neighbour noticed.
//!
//! Back means that its successor has answered a message, for which it has looked at the machine. A neighbour
//! would notice by its probes coming late, so the lateness of every probe is noted, first in peace and then
//! during the kills, and in the end it is counted whose next probe is missing. Of a VM's links there is the
//! probe alone; the machines are memory ([`fleet`](crate::fleet) says why).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use understudy::actors::coordinator::Coordinator;
use understudy::domain::ids::VmId;

use crate::Scale;
use crate::fleet::{self, Fleet};
use crate::report::{Report, Row, Verdict};
use crate::spread::{Spread, brief};

const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const BETWEEN_KILLS: Duration = Duration::from_millis(20);
const BACK_MAX: Duration = Duration::from_millis(10);
/// What counts as late: the limit for the whole fleet in P6.
const LATE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(10);
/// Of the choice of victims.
const SEED: u64 = 9;

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    let folder = crate::folder()?;
    let mut config = fleet::config(scale.supervised)?;
    config.pool.health_check_interval = PROBE_INTERVAL;
    let fleet = Fleet::new(scale.supervised, &config)?;
    let ledger = fleet::ledger(folder.path()).await?;
    fleet.move_in(&ledger).await?;
    let node = fleet.node(&config, ledger, |_| None).await?;
    let coordinator = node.coordinator();
    fleet::until_available(&coordinator, scale.supervised).await?;
    // The first probes all come at once, and what they find is written down: not yet peace.
    tokio::time::sleep(PROBE_INTERVAL * 2).await;
    fleet.note_lateness(true);
    tokio::time::sleep(PROBE_INTERVAL * 2).await;
    let peace = Spread::of(fleet.note_lateness(true));
    let (mut back, mut alive) = (Vec::new(), Vec::new());
    // Each once: nobody's budget is used up.
    let victims = rand::seq::index::sample(&mut StdRng::seed_from_u64(SEED), scale.supervised, scale.kills);
    for number in victims {
        let vm = &fleet.vms()[number];
        alive.push(answer(&coordinator, vm, false).await?);
        tokio::time::sleep(BETWEEN_KILLS / 2).await;
        back.push(answer(&coordinator, vm, true).await?);
        tokio::time::sleep(BETWEEN_KILLS / 2).await;
    }
    // What was disturbed last shows at the next probe.
    tokio::time::sleep(PROBE_INTERVAL).await;
    let kills = Spread::of(fleet.note_lateness(false));
    let missing = fleet.overdue(LATE);
    node.stop().await?;
    tell(scale, report, &Spread::of(back), &Spread::of(alive));
    let late = kills.above(LATE);
    report.add(Row {
        target: "P9",
        what: format!("lateness of the {} probes during that", kills.len()),
        figure: format!(
            "{kills}, {late} later than {}, {missing} missing; in peace {peace}",
            brief(LATE)
        ),
        goal: "none late".to_owned(),
        ratio: None,
        verdict: Verdict::of(late + missing == 0),
    });
    Ok(())
}

/// Until the VM's actor answers; if it is killed first, that is its successor, since what was killed answers no
/// more. In a task, so that who asks does not compete with who answers for a core.
async fn answer(coordinator: &Coordinator, vm: &VmId, kill: bool) -> Result<Duration> {
    let (coordinator, vm) = (coordinator.clone(), vm.clone());
    let answered = tokio::spawn(async move {
        let began = Instant::now();
        ensure!(
            !kill || coordinator.kill_vm_actor(&vm),
            "{vm} had no actor to kill"
        );
        while coordinator.check(Some(vm.clone()), false).await?.is_empty() {
            tokio::task::yield_now().await;
        }
        Ok(began.elapsed())
    });
    tokio::time::timeout(PATIENCE, answered)
        .await
        .context("an actor did not answer")??
}

fn tell(scale: &Scale, report: &mut Report, back: &Spread, alive: &Spread) {
    report.add(Row {
        target: "P9",
        what: format!(
            "one VM actor of {} killed until its successor answers, {} times; probe links only, machines in memory",
            scale.supervised,
            back.len()
        ),
        figure: back.to_string(),
        goal: format!("p99 <= {}", brief(BACK_MAX)),
        ratio: Some(back.p99().as_secs_f64() / BACK_MAX.as_secs_f64()),
        verdict: Verdict::of(back.p99() <= BACK_MAX),
    });
    report.add(Row {
        target: "P9",
        what: "beside it: the same answer from the same actors just before they were killed".to_owned(),
        figure: alive.to_string(),
        goal: String::new(),
        ratio: None,
        verdict: Verdict::Beside,
    });
}
