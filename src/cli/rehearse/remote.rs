//! A coordinator in another process, as a rehearsal sees it: through its HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::cli::client::{Call, CallError, Client};
use crate::domain::failover::Timeline;
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::studio::Secret;
use crate::domain::time::Timestamp;
use crate::rehearsal::control::{Alert, Control, Move, Standing};
use crate::rehearsal::scenario::Command;

/// Its API.
#[derive(Debug, Clone)]
pub struct Remote {
    pub client: Client,
}

/// A VM of the pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vm {
    pub vm_id: VmId,
    pub instance_id: InstanceId,
    pub status: String,
}

#[derive(Deserialize)]
struct Pool {
    vms: Vec<Vm>,
}

/// A show.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Show {
    pub competition_id: String,
    pub phase: String,
    pub vm_id: Option<VmId>,
}

#[derive(Deserialize)]
struct Shows {
    shows: Vec<Show>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Failovers {
    failovers: Vec<Failover>,
}

/// As the API tells a move that is over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failover {
    epoch: u64,
    cause: String,
    from_vm_id: String,
    to_vm_id: Option<String>,
    summary: String,
    suspected_at: jiff::Timestamp,
    decided_at: jiff::Timestamp,
    chosen_at: Option<jiff::Timestamp>,
    fenced_at: Option<jiff::Timestamp>,
    restored_at: Option<jiff::Timestamp>,
    ended_at: jiff::Timestamp,
    ending: String,
    timeline: Steps,
    differences: Vec<String>,
    comparison: Option<Comparison>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Steps {
    detect_ms: u64,
    decide_ms: Option<u64>,
    fence_ms: Option<u64>,
    restore_ms: Option<u64>,
    verify_ms: Option<u64>,
    off_air_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Comparison {
    differences: Vec<String>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<RangAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RangAlert {
    level: String,
    source_id: String,
    title: String,
    message: String,
    competition_id: Option<String>,
    vm_id: Option<String>,
    timestamp: u64,
}

#[derive(Deserialize)]
struct Difference {
    same: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assigned {
    vm_id: VmId,
    instance_id: InstanceId,
}

fn timestamp(at: jiff::Timestamp) -> Timestamp {
    Timestamp(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

impl From<Failover> for Move {
    fn from(told: Failover) -> Self {
        Self {
            cause: told.cause,
            epoch: told.epoch,
            from: told.from_vm_id,
            to: told.to_vm_id,
            summary: told.summary,
            suspected_at: timestamp(told.suspected_at),
            decided_at: timestamp(told.decided_at),
            chosen_at: told.chosen_at.map(timestamp),
            fenced_at: told.fenced_at.map(timestamp),
            restored_at: told.restored_at.map(timestamp),
            ended_at: timestamp(told.ended_at),
            ending: told.ending,
            timeline: Timeline {
                detect_ms: told.timeline.detect_ms,
                decide_ms: told.timeline.decide_ms,
                fence_ms: told.timeline.fence_ms,
                restore_ms: told.timeline.restore_ms,
                verify_ms: told.timeline.verify_ms,
                off_air_ms: told.timeline.off_air_ms,
            },
            differences: told.differences,
            found: told.comparison.map(|comparison| comparison.differences),
        }
    }
}

impl Remote {
    /// Asks for a document.
    ///
    /// # Errors
    /// Whatever the client says.
    pub async fn read<T: serde::de::DeserializeOwned>(&self, call: Call<'_>) -> anyhow::Result<T> {
        Ok(self.client.ask(call).await?.read()?)
    }

    /// Every VM of the pool.
    ///
    /// # Errors
    /// Whatever the client says.
    pub async fn vms(&self) -> anyhow::Result<Vec<Vm>> {
        let pool: Pool = self.read(Call::get(&["api", "admin", "vm-pool"])).await?;
        Ok(pool.vms)
    }

    /// Every show that is remembered.
    ///
    /// # Errors
    /// Whatever the client says.
    pub async fn shows(&self) -> anyhow::Result<Vec<Show>> {
        let (mut shows, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut call = Call::get(&["api", "shows"]).with("limit", "500");
            if let Some(after) = after {
                call = call.with("after", after);
            }
            let page: Shows = self.read(call).await?;
            shows.extend(page.shows);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(shows),
            }
        }
    }

    async fn show(&self, id: &ShowId) -> anyhow::Result<Option<Show>> {
        let shows = self.shows().await?;
        Ok(shows.into_iter().find(|show| show.competition_id == id.as_str()))
    }

    /// Sends a command about a show; what the server says to it is of no further interest.
    async fn order(&self, show: &ShowId, path: [&str; 2], body: serde_json::Value) -> anyhow::Result<()> {
        let path = ["api", "competitions", show.as_str(), path[0], path[1]];
        self.client.ask(Call::post(&path, body)).await?;
        Ok(())
    }
}

#[async_trait]
impl Control for Remote {
    async fn available(&self) -> anyhow::Result<usize> {
        Ok(self.spares().await?.len())
    }

    async fn assign(&self, show: &ShowId, limit: Duration) -> anyhow::Result<(VmId, InstanceId)> {
        let path = ["api", "competitions", show.as_str(), "vm", "assign"];
        let call = Call::post(&path, json!({})).wait(limit);
        let assigned: Assigned = self.read(call).await?;
        Ok((assigned.vm_id, assigned.instance_id))
    }

    /// The key is no secret to the studio that is compared: as long as it has another one, it differs.
    async fn is_captured(&self, show: &ShowId, _: &Secret) -> anyhow::Result<bool> {
        let path = ["api", "competitions", show.as_str(), "studio", "diff"];
        match self.client.send(&Call::get(&path).slow()).await {
            Ok(answer) => Ok(answer.read::<Difference>()?.same),
            // Nothing was captured yet.
            Err(CallError::Refused(refusal)) if refusal.status == 404 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn command(&self, show: &ShowId, command: Command) -> anyhow::Result<()> {
        let (path, body) = match command {
            Command::Release => (["vm", "release"], json!({})),
            Command::Start => (["show", "start"], json!({})),
            Command::Stop => (["show", "stop"], json!({})),
            Command::Failover => (["vm", "failover"], json!({})),
            Command::Hold => (["vm", "hold"], json!({"held": true})),
            Command::Resume => (["vm", "hold"], json!({"held": false})),
        };
        self.order(show, path, body).await
    }

    async fn standing(&self, show: &ShowId) -> anyhow::Result<Option<Standing>> {
        let Some(found) = self.show(show).await? else {
            return Ok(None);
        };
        let instance = match &found.vm_id {
            Some(vm) => {
                let vm: Vm = self
                    .read(Call::get(&["api", "admin", "vm-pool", vm.as_str()]))
                    .await?;
                Some(vm.instance_id)
            }
            None => None,
        };
        let path = ["api", "competitions", show.as_str(), "failovers"];
        let told: Failovers = self.read(Call::get(&path)).await?;
        let newest_first = told.failovers.into_iter();
        Ok(Some(Standing {
            phase: found.phase,
            vm: found.vm_id,
            instance,
            moves: newest_first.rev().map(Move::from).collect(),
        }))
    }

    async fn spares(&self) -> anyhow::Result<Vec<(VmId, InstanceId)>> {
        let vms = self.vms().await?.into_iter();
        let spares = vms.filter(|vm| vm.status == "available");
        Ok(spares.map(|vm| (vm.vm_id, vm.instance_id)).collect())
    }

    async fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let told: Alerts = self.read(Call::get(&["api", "admin", "alerts"])).await?;
        let alerts = told.alerts.into_iter().map(|alert| Alert {
            level: alert.level,
            source: alert.source_id,
            title: alert.title,
            message: alert.message,
            show: alert.competition_id,
            vm: alert.vm_id,
            at: Timestamp(alert.timestamp),
        });
        Ok(alerts.collect())
    }

    async fn kill_vm_actor(&self, vm: &VmId) -> anyhow::Result<()> {
        anyhow::bail!("the actor of {vm} is in another process, out of reach")
    }

    async fn kill_show_actor(&self, show: &ShowId) -> anyhow::Result<()> {
        anyhow::bail!("the actor of show {show} is in another process, out of reach")
    }

    async fn kill_coordinator(&self, _: Duration) -> anyhow::Result<()> {
        anyhow::bail!("the coordinator is not ours to kill")
    }
}
