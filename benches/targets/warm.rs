//! P1: giving a show a VM that is ready, durably, against one synced append on the same disk.

use std::time::{Duration, Instant};

use anyhow::Result;
use understudy::actors::coordinator::{Assign, Release};
use understudy::domain::ids::ShowId;

use crate::disk::Disk;
use crate::report::{Report, Row, Verdict};
use crate::spread::{Spread, brief};
use crate::{Scale, fleet};

const VMS: usize = 50;
/// Appends and assignments take turns in runs of so many, so that both meet the same disk and the same load.
const TURN: usize = 10;
const ALLOWANCE: Duration = Duration::from_micros(200);

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    let folder = crate::folder()?;
    let config = fleet::config(VMS)?;
    let fleet = fleet::Fleet::new(VMS, &config)?;
    let node = fleet
        .node(&config, fleet::ledger(folder.path()).await?, |_| None)
        .await?;
    let coordinator = node.coordinator();
    fleet::until_available(&coordinator, VMS).await?;
    let mut disk = Disk::beside(folder.path())?;
    let (mut appends, mut assigns, mut releases) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..scale.commits {
        if number % TURN == 0 {
            for _ in 0..TURN {
                appends.push(disk.append()?);
            }
        }
        // A show of its own each time, as in life: its actor has to be started first.
        let show = ShowId::new(format!("show-{number}"))?;
        let began = Instant::now();
        coordinator.assign(show.clone(), Assign::default()).await?;
        assigns.push(began.elapsed());
        let began = Instant::now();
        coordinator.release(show, Release::default()).await?;
        releases.push(began.elapsed());
    }
    node.stop().await?;
    let (append, assign, release) = (Spread::of(appends), Spread::of(assigns), Spread::of(releases));
    let goal = append.p50().mul_f64(1.5) + ALLOWANCE;
    report.add(Row {
        target: "P1",
        what: format!(
            "warm assign, durable, in process, one caller, {} samples",
            assign.len()
        ),
        figure: format!("{assign}; release {release}"),
        ratio: Some(assign.p50().as_secs_f64() / goal.as_secs_f64()),
        goal: format!("p50 <= 1.5 x append + 200 us = {}", brief(goal)),
        verdict: Verdict::of(assign.p50() <= goal),
    });
    report.add(Row {
        target: "P1",
        what: "beside it: one append of 512 B + fdatasync".to_owned(),
        figure: append.to_string(),
        goal: String::new(),
        ratio: None,
        verdict: Verdict::Beside,
    });
    Ok(())
}
