//! `understudy rehearse --live`: on the spare VMs of a running coordinator, once somebody has agreed to it.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::remote::Remote;
use crate::cli::client::{Call, Client};
use crate::cli::connection::Connection;
use crate::cli::failure::{Exit, Failure};
use crate::cli::input;
use crate::cli::show::configuration;
use crate::cli::style::Tone;
use crate::cli::terminal::Terminal;
use crate::domain::ids::{ShowId, VmId};
use crate::rehearsal::control::Control;
use crate::rehearsal::live::{self, LivePool, Operation, Plan, PlanError, PoolVm};
use crate::rehearsal::play::Audience;
use crate::rehearsal::report::ScenarioReport;
use crate::rehearsal::scenario::Scenario;

/// What a show must be called to be a rehearsal's.
const PREFIX: &str = "rehearsal-";

/// Options of a live rehearsal.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Live")]
pub struct LiveArgs {
    /// Rehearse on the spare VMs of a running coordinator instead of simulated ones
    #[arg(long, requires = "studio", requires = "scenario")]
    pub live: bool,
    /// What the rehearsal's studio is made from, as for `show configure`; its `[stream]` names an ingest and a key that no
    /// real show has
    #[arg(long, value_name = "FILE", requires = "live")]
    pub studio: Option<std::path::PathBuf>,
    /// Spare VMs that must stay for real shows; with fewer the rehearsal is aborted
    #[arg(long, value_name = "N", default_value_t = 1, requires = "live")]
    pub keep: u32,
    /// Agree to it without being asked
    #[arg(long, requires = "live")]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// The coordinator, and what the show's studio is made from.
struct Pool {
    remote: Remote,
    configuration: Value,
}

/// Plays a scenario on the real pool, if somebody agrees to it: then it `begins`.
///
/// # Errors
/// When it is not for this pool, nobody agreed, or the show could not be put on air.
pub async fn play(
    args: &LiveArgs,
    scenario: &Scenario,
    seed: u64,
    terminal: &Terminal,
    audience: &dyn Audience,
    begins: impl FnOnce() -> anyhow::Result<()>,
    told_to_end: impl Future<Output = ()>,
) -> anyhow::Result<ScenarioReport> {
    let pool = Pool {
        remote: Remote {
            client: Client::new(&args.connection)?,
        },
        configuration: studio(args.studio.as_deref())?,
    };
    // Another rehearsal may be begun in the same instant.
    let (second, lot) = (jiff::Timestamp::now().as_second(), rand::random::<u16>());
    let show = ShowId::new(format!("{PREFIX}{second}-{lot:04x}"))?;
    let vms = pool.vms().await?;
    let plan = live::plan(scenario, show, &vms, args.keep as usize).map_err(Failure::from)?;
    let mut told_to_end = std::pin::pin!(told_to_end);
    tokio::select! {
        biased;
        () = &mut told_to_end => return Err(unagreed("the rehearsal was ended before it began").into()),
        agreed = agree(args, &plan, &pool, terminal) => agreed?,
    }
    begins()?;
    live::play(&pool, &plan, scenario, seed, audience, told_to_end).await
}

/// What the file says, which has to name where the stream goes: nothing of a template is to be streamed to by accident.
fn studio(file: Option<&Path>) -> Result<Value, Failure> {
    let file = file.ok_or_else(|| Failure::new(Exit::Usage, "--live needs --studio FILE"))?;
    let configuration = configuration(file)?;
    let names = |field: &str| {
        let text = configuration["stream"][field].as_str();
        text.is_some_and(|text| !text.trim().is_empty())
    };
    for field in ["server", "key"] {
        if !names(field) {
            let message = format!("{}: stream.{field} is missing", file.display());
            return Err(Failure::new(Exit::Usage, message)
                .advice("name an ingest and a key of the rehearsal's own, never those of a real show"));
        }
    }
    Ok(configuration)
}

impl LiveArgs {
    /// The coordinator that is rehearsed with, if one is.
    ///
    /// # Errors
    /// [`Exit::Usage`] if its address is none.
    pub fn pool(&self) -> Result<Option<String>, Failure> {
        if !self.live {
            return Ok(None);
        }
        Ok(Some(Client::new(&self.connection)?.url()))
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let (exit, advice) = match &error {
            PlanError::Scenario { .. } => (
                Exit::Usage,
                "docs/rehearsals.md says what can be rehearsed on the real pool",
            ),
            PlanError::TooFew { .. } => (
                Exit::Conflict,
                "start more VMs, or let fewer stay for real shows with --keep",
            ),
            PlanError::ShowTaken { .. } => (Exit::Conflict, "release it with `understudy release`"),
        };
        Failure::new(exit, error.to_string()).advice(advice)
    }
}

fn unagreed(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
}

/// Asks people, naming the VMs.
async fn agree(args: &LiveArgs, plan: &Plan, pool: &Pool, terminal: &Terminal) -> Result<(), Failure> {
    let others: Vec<&str> = plan.others.iter().map(VmId::as_str).collect();
    let server = pool.configuration["stream"]["server"]
        .as_str()
        .unwrap_or_default();
    let server = crate::domain::studio::without_secrets(server);
    for line in [
        format!("This rehearses on the pool of {}.", pool.remote.client.url()),
        format!(
            "It puts show {} on {} and streams to {server}.",
            plan.show, plan.vm
        ),
        format!("It may be moved to: {}.", others.join(", ")),
        format!(
            "What is broken is mended and given back at the end. It is aborted when a real alert rings, a real show \
             needs a VM, or the number of spares falls below {}.",
            plan.keep
        ),
    ] {
        terminal.note(&line);
    }
    if args.yes {
        return Ok(());
    }
    if terminal.json || !std::io::stdin().is_terminal() {
        let unasked = unagreed("nobody can be asked whether to do this");
        return Err(unasked.advice("--yes agrees without being asked"));
    }
    terminal.note(&Tone::Strong.paint("Type yes to begin:", terminal.color_on_stderr));
    if input::line().await.as_deref().map(str::trim) != Some("yes") {
        return Err(unagreed("nobody agreed to it; nothing was done"));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VmLine {
    vm_id: VmId,
    status: String,
    assigned_to: Option<String>,
}

#[derive(Deserialize)]
struct PoolAnswer {
    vms: Vec<VmLine>,
}

#[derive(Deserialize)]
struct Configured {
    state: String,
}

#[derive(Deserialize)]
struct AlertsNow {
    now: i64,
}

#[derive(Deserialize)]
struct Done {
    code: i64,
}

#[async_trait]
impl LivePool for Pool {
    fn control(&self) -> &dyn Control {
        &self.remote
    }

    async fn vms(&self) -> anyhow::Result<Vec<PoolVm>> {
        let pool: PoolAnswer = self.remote.read(Call::get(&["api", "admin", "vm-pool"])).await?;
        let vms = pool.vms.into_iter().map(|vm| PoolVm {
            vm: vm.vm_id,
            status: vm.status,
            show: vm.assigned_to,
        });
        Ok(vms.collect())
    }

    async fn shows_in_need(&self, but: &ShowId) -> anyhow::Result<Vec<String>> {
        let shows = self.remote.shows().await?;
        let in_need = shows.into_iter().filter(|show| show.phase == "failing_over");
        Ok(in_need
            .map(|show| show.competition_id)
            .filter(|id| id != but.as_str())
            .collect())
    }

    async fn configure(&self, show: &ShowId) -> anyhow::Result<()> {
        let path = ["api", "competitions", show.as_str(), "show", "config"];
        let call = Call::put(&path, self.configuration.clone());
        self.remote.client.ask(call).await?;
        Ok(())
    }

    async fn assign_this(&self, show: &ShowId, vm: &VmId, limit: Duration) -> anyhow::Result<()> {
        let path = ["api", "competitions", show.as_str(), "vm", "assign"];
        let body = json!({"preferredVmId": vm.as_str(), "allowFallback": false});
        self.remote
            .client
            .ask(Call::post(&path, body).wait(limit))
            .await?;
        Ok(())
    }

    async fn is_made(&self, show: &ShowId) -> anyhow::Result<bool> {
        let path = ["api", "competitions", show.as_str(), "show", "config"];
        let configured: Configured = self.remote.read(Call::get(&path)).await?;
        Ok(configured.state == "made")
    }

    async fn operate(&self, vm: &VmId, operation: Operation) -> anyhow::Result<()> {
        let vm = vm.as_str();
        let name = match operation {
            Operation::StopStudio => "STOP_OBS",
            Operation::StartStudio => "START_OBS",
            Operation::RestartShowServer => "RESTART_SHOW_SERVER",
            Operation::Reboot => {
                let path = ["api", "admin", "vm-pool", vm, "reboot"];
                self.remote
                    .client
                    .ask(Call::post(&path, json!({"force": true})))
                    .await?;
                return Ok(());
            }
            Operation::Start => {
                let path = ["api", "admin", "vm-pool", vm, "start"];
                self.remote.client.ask(Call::post(&path, json!({}))).await?;
                return Ok(());
            }
        };
        let path = ["api", "admin", "vm-pool", vm, "ssh", "exec"];
        let done: Done = self
            .remote
            .read(Call::post(&path, json!({"operation": name})))
            .await?;
        anyhow::ensure!(done.code == 0, "{name} ended with status {}", done.code);
        Ok(())
    }

    async fn ahead_ms(&self) -> anyhow::Result<i64> {
        let told: AlertsNow = self.remote.read(Call::get(&["api", "admin", "alerts"])).await?;
        Ok(told.now - jiff::Timestamp::now().as_millisecond())
    }
}
