//! The coordinator in a process of its own: this program again, over machines in memory.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use understudy::cli::gateway::Gateway;

use crate::fleet::{self, Fleet};
use crate::http;
use crate::worker::{self, Worker};

/// Limit on the server being ready.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);
/// Limit on open requests at the end.
const CLOSE: Duration = Duration::from_secs(5);

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
    worker::tell(&gateway.address())?;
    let mut questions = worker::questions();
    while questions.recv().await.is_some() {}
    gateway.close(CLOSE).await;
    node.stop().await?;
    Ok(())
}

/// The parent's side.
pub struct Server {
    worker: Worker,
    address: SocketAddr,
}

impl Server {
    /// Starts the process; it is killed when this is dropped.
    pub async fn start(folder: &Path, vms: usize) -> Result<Self> {
        let folder = folder.display().to_string();
        let (worker, address) = Worker::start(&["serve", &folder, &vms.to_string()]).await?;
        Ok(Self { worker, address })
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
        worker::processor_time(self.worker.process()?)
    }

    /// Asks it to end and waits for that.
    pub async fn stop(self) -> Result<()> {
        self.worker.stop().await
    }
}
