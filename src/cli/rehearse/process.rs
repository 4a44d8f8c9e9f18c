//! The coordinator in a process of its own, killed without warning and started again.
//!
//! The world stays: the cloud, the machines and the ingest live in this process. What the coordinator acknowledged must
//! be there when it is back, and every show must be as the scenario says.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::process::{Child, Command as Program};
use tokio::sync::Mutex;

use super::remote::Remote;
use crate::cli::client::{Call, Client};
use crate::cli::connection::Connection;
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::studio::Secret;
use crate::rehearsal::control::{Alert, Control, Standing};
use crate::rehearsal::play::{self, Audience, Cast};
use crate::rehearsal::report::ScenarioReport;
use crate::rehearsal::scenario::{Command, Scenario};
use crate::rehearsal::stage::Stage;

/// Limit on the coordinator answering after its start.
const READY: Duration = Duration::from_secs(30);
/// Limit on every other answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Pause between two questions over HTTP.
const LOOK: Duration = Duration::from_millis(25);

/// Plays a scenario in which the coordinator is killed.
///
/// # Errors
/// When the stage could not be set or the coordinator not be started.
pub async fn play(
    scenario: &Scenario,
    cast: Cast,
    audience: &dyn Audience,
) -> anyhow::Result<ScenarioReport> {
    let stage = Stage::set(play::setting(scenario, cast)?).await?;
    let process = Process::start(&stage).await?;
    play::play(&stage, &process, None, scenario, cast, audience).await
}

struct Process<'s> {
    stage: &'s Stage,
    address: SocketAddr,
    remote: Remote,
    child: Mutex<Child>,
    /// Alerts of those who were killed; each begins to count anew.
    kept: std::sync::Mutex<Vec<Alert>>,
}

impl<'s> Process<'s> {
    async fn start(stage: &'s Stage) -> anyhow::Result<Self> {
        // Bound and let go again: free now, and nobody else on this machine is looking for it.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let connection = Connection {
            timeout: Some(ANSWER),
            ..Connection::to(format!("http://{address}"))
        };
        let process = Self {
            stage,
            address,
            remote: Remote {
                client: Client::new(&connection)?,
            },
            child: Mutex::new(launch(stage, address)?),
            kept: std::sync::Mutex::default(),
        };
        process.until_ready().await?;
        Ok(process)
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let ready = async {
            while self.remote.client.send(&Call::get(&["readyz"])).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let in_time = tokio::time::timeout(READY, ready).await;
        in_time.with_context(|| format!("the coordinator was not ready within {} s", READY.as_secs()))
    }

    fn kept(&self) -> Vec<Alert> {
        self.kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Control for Process<'_> {
    async fn available(&self) -> anyhow::Result<usize> {
        self.remote.available().await
    }

    async fn assign(&self, show: &ShowId, limit: Duration) -> anyhow::Result<(VmId, InstanceId)> {
        self.remote.assign(show, limit).await
    }

    async fn is_captured(&self, show: &ShowId, key: &Secret) -> anyhow::Result<bool> {
        self.remote.is_captured(show, key).await
    }

    async fn command(&self, show: &ShowId, command: Command) -> anyhow::Result<()> {
        self.remote.command(show, command).await
    }

    async fn standing(&self, show: &ShowId) -> anyhow::Result<Option<Standing>> {
        self.remote.standing(show).await
    }

    async fn spares(&self) -> anyhow::Result<Vec<(VmId, InstanceId)>> {
        self.remote.spares().await
    }

    async fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let mut alerts = self.kept();
        alerts.extend(self.remote.alerts().await?);
        Ok(alerts)
    }

    async fn kill_vm_actor(&self, vm: &VmId) -> anyhow::Result<()> {
        self.remote.kill_vm_actor(vm).await
    }

    async fn kill_show_actor(&self, show: &ShowId) -> anyhow::Result<()> {
        self.remote.kill_show_actor(show).await
    }

    async fn kill_coordinator(&self, dead_for: Duration) -> anyhow::Result<()> {
        // Of two deaths in one moment the second waits until there is somebody to kill, and to ask, again.
        let mut child = self.child.lock().await;
        let told = self.remote.alerts().await;
        let told = told.context("asking for the alerts before they are gone")?;
        child.kill().await.context("killing the coordinator")?;
        self.kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .extend(told);
        tokio::time::sleep(dead_for).await;
        *child = launch(self.stage, self.address)?;
        self.until_ready().await
    }
}

/// Starts the coordinator as an operator would: the same program, `serve`, configured by its environment.
fn launch(stage: &Stage, address: SocketAddr) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    Program::new(program)
        .args(["serve", "--attended"])
        .env_clear()
        .envs(stage.environment(address))
        // Held open as long as this process lives.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log_file(stage)?)
        .kill_on_drop(true)
        .spawn()
        .context("starting the coordinator")
}

fn log_file(stage: &Stage) -> anyhow::Result<Stdio> {
    let path = stage.dir().join("coordinator.log");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    Ok(Stdio::from(
        file.with_context(|| format!("opening {}", path.display()))?,
    ))
}
