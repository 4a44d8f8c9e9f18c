//! P9: the death of one VM's actor among thousands: how soon it is back, and whether a neighbour noticed.
//!
//! Back means that its successor takes messages and has looked at the machine. A neighbour would notice by its
//! probes coming late, so the lateness of every probe is noted, first in peace and then during the kills.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

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
    // Every VM has been probed once by then, and its next probe has a time to be compared with.
    tokio::time::sleep(PROBE_INTERVAL).await;
    fleet.note_lateness(true);
    tokio::time::sleep(PROBE_INTERVAL * 2).await;
    let peace = Spread::of(fleet.note_lateness(true));
    let mut back = Vec::with_capacity(scale.kills);
    // Spread over the whole fleet, each once.
    let step = scale.supervised / scale.kills;
    for number in (0..scale.kills).map(|kill| kill * step) {
        let vm = &fleet.vms()[number];
        let probed = fleet.next_probe(number);
        let began = Instant::now();
        ensure!(coordinator.kill_vm_actor(vm), "{vm} had no actor to kill");
        let returned = async {
            let mut at = probed.await?;
            while !coordinator.vm_actor_is_up(vm) {
                tokio::task::yield_now().await;
                at = Instant::now();
            }
            anyhow::Ok(at - began)
        };
        let returned = tokio::time::timeout(PATIENCE, returned).await;
        back.push(returned.with_context(|| format!("the actor of {vm} did not come back"))??);
        tokio::time::sleep(BETWEEN_KILLS).await;
    }
    // What was disturbed last shows at the next probe.
    tokio::time::sleep(PROBE_INTERVAL).await;
    let kills = Spread::of(fleet.note_lateness(false));
    node.stop().await?;
    let back = Spread::of(back);
    report.add(Row {
        target: "P9",
        what: format!(
            "one VM actor of {} killed until it is back, {} times",
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
        figure: format!("{kills}, {late} later than {}; in peace {peace}", brief(LATE)),
        goal: "none late".to_owned(),
        verdict: Verdict::of(late == 0),
    });
    Ok(())
}
