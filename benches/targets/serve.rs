//! The coordinator in a process of its own: this program again, over machines in memory.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use understudy::cli::gateway::Gateway;

use crate::fleet::{self, Fleet};
use crate::http;

/// Limit on the process saying where it listens, being ready, and ending.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);
/// Limit on open requests at the end.
const CLOSE: Duration = Duration::from_secs(5);
/// Ticks of `/proc/<pid>/stat` per second: `USER_HZ`, which is 100 on every architecture of Linux in use.
const TICKS_PER_S: u32 = 100;

/// The child's side: `serve FOLDER VMS`. Ends when its standard input does.
pub async fn run(words: &[String]) -> Result<()> {
    let [folder, vms] = words else {
        anyhow::bail!("serve FOLDER VMS");
    };
    let size: usize = vms.parse()?;
    let config = fleet::config(size)?;
    let fleet = Fleet::new(size, &config)?;
    let ledger = fleet::ledger(Path::new(folder)).await?;
    let gateway = Gateway::bind(&config)?;
    let node = fleet
        .node(&config, ledger, |coordinator| Some(gateway.spec(coordinator)))
        .await?;
    println!("{}", gateway.address());
    // Blocks until the parent closes its end, by dropping it or by dying.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    gateway.close(CLOSE).await;
    node.stop().await?;
    Ok(())
}

/// The parent's side.
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the process; it is killed when this is dropped.
    pub async fn start(folder: &Path, vms: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(folder)
            .arg(vms.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let address = line.context("the server ended before it listened")?.parse()?;
        Ok(Self { child, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn until_ready(&self) -> Result<()> {
        let wait = async {
            let mut client = http::Client::connect(self.address).await?;
            while client.get("/readyz").await?.status != 200 {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, wait).await?
    }

    /// Waits until so many VMs are available.
    pub async fn until_available(&self, count: u64) -> Result<()> {
        let wait = async {
            let mut client = http::Client::connect(self.address).await?;
            loop {
                let pool = client.get("/api/admin/vm-pool").await?.json()?;
                if pool["counts"]["available"].as_u64() >= Some(count) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await?
    }

    /// Processor time that the server has used so far, all threads.
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time(self.child.id().context("the server has ended")?)
    }

    /// Asks it to end and waits for that.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        anyhow::ensure!(ended.success(), "the server ended with {ended}");
        Ok(())
    }
}

/// User and system time of a process: fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may
/// hold blanks.
pub fn processor_time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, behind_name) = stat.rsplit_once(") ").context("a process without a name")?;
    let ticks: u32 = behind_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(Duration::from_secs(1) * ticks / TICKS_PER_S)
}
