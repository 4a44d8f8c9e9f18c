//! P12: the product itself, `understudy serve`, with fifty machines to watch and nothing else to do.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::process::Child;

use crate::far::Far;
use crate::report::{Report, Row, Verdict};
use crate::worker::{processor_time, resident_bytes, unlimited};
use crate::{Scale, http};

const VMS: usize = 50;
const RESIDENT_MAX: u64 = 25_000_000;
const CORES_MAX: f64 = 0.01;
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// What a start leaves to be done is done by then.
const SETTLE: Duration = Duration::from_secs(10);

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    let folder = crate::folder()?;
    let (far, found) = Far::start(VMS, 0, Some(folder.path())).await?;
    let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut product = unlimited(Path::new(env!("CARGO_BIN_EXE_understudy")))
        .arg("serve")
        .current_dir(folder.path())
        .envs(found.environment(folder.path(), listen))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let until = tokio::time::timeout(PATIENCE, until_available(&mut product, listen)).await;
    until.context("the VMs were not available in time")??;
    tokio::time::sleep(SETTLE).await;
    let process = product.id().context("the product has ended")?;
    let (at, before) = (Instant::now(), processor_time(process)?);
    tokio::time::sleep(scale.idle).await;
    let cores = (processor_time(process)? - before).as_secs_f64() / at.elapsed().as_secs_f64();
    let resident = resident_bytes(process)?;
    product.kill().await?;
    far.stop().await?;
    let (memory, share) = (resident as f64 / RESIDENT_MAX as f64, cores / CORES_MAX);
    let idle = "`understudy serve`, 50 VMs watched by probe, SSH and OBS";
    report.add(Row {
        target: "P12",
        what: format!("{idle}: resident memory"),
        figure: format!("{:.1} MB", resident as f64 / 1e6),
        goal: format!("<= {} MB", RESIDENT_MAX / 1_000_000),
        ratio: Some(memory),
        verdict: Verdict::of(memory <= 1.0),
    });
    report.add(Row {
        target: "P12",
        what: format!("the same, over {} s: processor time", scale.idle.as_secs()),
        figure: format!("{:.2} % of a core", cores * 100.0),
        goal: format!("<= {} %", CORES_MAX * 100.0),
        ratio: Some(share),
        verdict: Verdict::of(share <= 1.0),
    });
    Ok(())
}

async fn until_available(product: &mut Child, listen: SocketAddr) -> Result<()> {
    loop {
        if let Some(ended) = product.try_wait()? {
            anyhow::bail!("it ended with {ended}");
        }
        if let Ok(mut client) = http::Client::connect(listen).await {
            let pool = client.get("/api/admin/vm-pool").await?.json()?;
            if pool["counts"]["available"].as_u64() >= Some(VMS as u64) {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
