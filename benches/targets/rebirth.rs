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
    let mut back = Vec::with_capacity(scale.kills);
    // Each once: nobody's budget is used up.
    let victims = rand::seq::index::sample(&mut StdRng::seed_from_u64(SEED), scale.supervised, scale.kills);
    for number in victims {
        back.push(rebirth(&coordinator, &fleet.vms()[number]).await?);
        tokio::time::sleep(BETWEEN_KILLS).await;
    }
    // What was disturbed last shows at the next probe.
    tokio::time::sleep(PROBE_INTERVAL).await;
    let kills = Spread::of(fleet.note_lateness(false));
    let missing = fleet.overdue(LATE);
    node.stop().await?;
    tell(scale, report, &Spread::of(back), &kills, &peace, missing);
    Ok(())
}

/// From the kill to the first answer. What was killed answers no more: who does is its successor.
async fn rebirth(coordinator: &Coordinator, vm: &VmId) -> Result<Duration> {
    let began = Instant::now();
    ensure!(coordinator.kill_vm_actor(vm), "{vm} had no actor to kill");
    let answered = async {
        while coordinator.check(Some(vm.clone()), false).await?.is_empty() {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(began.elapsed())
    };
    let in_time = tokio::time::timeout(PATIENCE, answered).await;
    in_time.with_context(|| format!("the actor of {vm} did not come back"))?
}

fn tell(scale: &Scale, report: &mut Report, back: &Spread, kills: &Spread, peace: &Spread, missing: usize) {
    report.add(Row {
        target: "P9",
        what: format!(
            "one VM actor of {} killed until its successor answers, {} times; probe links only, machines in memory",
            scale.supervised,
            back.len()
        ),
        figure: back.to_string(),
        goal: format!("p99 <= {}", brief(BACK_MAX)),
        verdict: Verdict::of(back.p99() <= BACK_MAX),
    });
    let late = kills.above(LATE);
    report.add(Row {
        target: "P9",
        what: format!("lateness of the {} probes during that", kills.len()),
        figure: format!(
            "{kills}, {late} later than {}, {missing} missing; in peace {peace}",
            brief(LATE)
        ),
        goal: "none late".to_owned(),
        verdict: Verdict::of(late + missing == 0),
    });
}
