//! A coordinator in this process, as a rehearsal sees it.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;

use super::control::{Alert, Control, Move, Standing};
use super::scenario::Command;
use super::stage::Producer;
use crate::actors::coordinator::{Assign, Coordinator, Release};
use crate::actors::news::{self, Level};
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::studio::Secret;
use crate::domain::vm::Status;

/// Who asked, in the coordinator's books.
const WHO: &str = "rehearsal";
/// Limit on a killed actor's successor.
const SUCCESSOR: Duration = Duration::from_secs(60);
/// The coordinator.
pub struct Here {
    producer: Producer,
}

impl Here {
    #[must_use]
    pub fn new(coordinator: Coordinator) -> Self {
        Self {
            producer: Producer { coordinator },
        }
    }

    fn coordinator(&self) -> &Coordinator {
        &self.producer.coordinator
    }
}

impl From<&news::Alert> for Alert {
    fn from(alert: &news::Alert) -> Self {
        let level = match alert.level {
            Level::Critical => "critical",
            Level::Warning => "warning",
            Level::Info => "info",
        };
        Self {
            level: level.to_owned(),
            source: alert.source.clone(),
            title: alert.title.clone(),
            message: alert.message.clone(),
            show: alert.show.as_ref().map(ToString::to_string),
            vm: alert.vm.as_ref().map(ToString::to_string),
            at: alert.at,
        }
    }
}

#[async_trait]
impl Control for Here {
    async fn available(&self) -> anyhow::Result<usize> {
        Ok(self.coordinator().state().count(Status::Available))
    }

    async fn assign(&self, show: &ShowId, limit: Duration) -> anyhow::Result<(VmId, InstanceId)> {
        let assigned = self.coordinator().assign(show.clone(), Assign::default()).await?;
        if !assigned.ready {
            self.coordinator().await_ready(show, limit).await?;
        }
        let instance = self.producer.instance_of(&assigned.vm)?;
        Ok((assigned.vm, instance))
    }

    async fn is_captured(&self, show: &ShowId, key: &Secret) -> anyhow::Result<bool> {
        Ok(self.coordinator().streams_under(show, key))
    }

    async fn command(&self, show: &ShowId, command: Command) -> anyhow::Result<()> {
        let (coordinator, show) = (self.coordinator(), show.clone());
        let who = Some(WHO.to_owned());
        match command {
            Command::Release => drop(coordinator.release(show, Release::default()).await?),
            Command::Start => drop(coordinator.start_show(show, who).await?),
            Command::Stop => drop(coordinator.stop_show(show, who).await?),
            Command::Failover => drop(coordinator.failover(show, None, who).await?),
            Command::Hold => coordinator.hold(show, true, who).await?,
            Command::Resume => coordinator.hold(show, false, who).await?,
        }
        Ok(())
    }

    async fn standing(&self, show: &ShowId) -> anyhow::Result<Option<Standing>> {
        let state = self.coordinator().state();
        let Some(known) = state.show(show) else {
            return Ok(None);
        };
        let vm = known.vm.as_ref().and_then(|vm| state.vm(vm));
        Ok(Some(Standing {
            phase: known.phase.as_str().to_owned(),
            vm: known.vm.clone(),
            instance: vm.map(|vm| vm.instance_id().clone()),
            moves: known.records.iter().map(Move::from).collect(),
        }))
    }

    async fn spares(&self) -> anyhow::Result<Vec<(VmId, InstanceId)>> {
        let state = self.coordinator().state();
        let spares = state.vms().filter(|vm| vm.status() == Status::Available);
        Ok(spares
            .map(|vm| (vm.id.clone(), vm.instance_id().clone()))
            .collect())
    }

    async fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let alerts = self.coordinator().alerts_after(0);
        Ok(alerts.iter().map(|(_, alert)| Alert::from(alert)).collect())
    }

    async fn kill_vm_actor(&self, vm: &VmId) -> anyhow::Result<()> {
        anyhow::ensure!(self.coordinator().kill_vm_actor(vm), "{vm} had no actor to kill");
        // What was killed answers no more: who does is its successor.
        let answered = self.producer.until_answered_by(vm, SUCCESSOR).await;
        answered.context("after its death")
    }

    async fn kill_show_actor(&self, show: &ShowId) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.coordinator().kill_show_actor(show),
            "show {show} had no actor to kill"
        );
        Ok(())
    }

    async fn kill_coordinator(&self, _: Duration) -> anyhow::Result<()> {
        anyhow::bail!("the coordinator is in the rehearsal's own process, which cannot be killed")
    }
}
