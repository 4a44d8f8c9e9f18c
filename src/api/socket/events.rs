//! Which events a batch of the ledger is to Socket.IO clients. Pure.
//!
//! | in the ledger | events |
//! |---|---|
//! | a VM starts | `vmStarting` |
//! | its services answered | `vmReady`, `vmStarted`; `vmAssigned` if a competition was waiting for it |
//! | it stops, is off | `vmStopping`, `vmStopped` |
//! | it turns to `error` | `vmError` |
//! | its health turns | `vmHealthChanged` |
//! | a competition is given a VM | `vmAssigned` if it is ready, else `vmStarting` |
//! | it goes on air | `vmInUse` |
//! | it is moved | `vmFailover` (started, completed, failed); `vmAssigned` when it has its new VM |
//! | its studio is made from its configuration | `showConfigured` |
//! | it is released | `vmReleased` |
//! | the settings change | `vmPoolConfigUpdated` |
//!
//! What is only news is in [`super::news`]. The pool's snapshots and deltas are not events of one entry; [`super::fanout`] sends them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::actors::board::Board;
use crate::api::config::ConfigView;
use crate::api::options::LaunchFacts;
use crate::api::project::{self, Reach};
use crate::api::types::Iso;
use crate::domain::event::{Entry, Event};
use crate::domain::failover::{Ending, Failover};
use crate::domain::ids::{Seq, ShowId, VmId};
use crate::domain::pool::Settings;
use crate::domain::show;
use crate::domain::state::State;
use crate::domain::studio::MadeBy;
use crate::domain::vm::{self, Power, Status, Vm};

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    Everybody,
    /// Clients that connected for this competition.
    Show(ShowId),
    /// Clients that may work on VMs.
    Admins,
}

/// One event on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub name: &'static str,
    pub to: Audience,
    pub payload: Value,
}

/// What it takes to put an event into words: the ledger before and after, and the board.
pub struct Scene<'a> {
    pub before: &'a State,
    pub after: &'a State,
    pub board: &'a Board,
    pub settings: &'a Settings,
    pub launch: &'a LaunchFacts,
    pub reach: Reach,
}

/// The events of one batch, in order.
#[must_use]
pub fn of_entries(scene: &Scene<'_>, entries: &[Entry]) -> Vec<Told> {
    let mut words = Words {
        scene,
        seq: Seq(0),
        told: Vec::new(),
        starting: BTreeSet::new(),
    };
    for entry in entries {
        words.seq = entry.seq;
        match &entry.event {
            Event::Vm { vm, event } => words.vm(vm, event),
            Event::Show { show, event } => words.show(show, event),
            Event::PoolConfigured { settings } => words.configured(settings),
            // Whoever started it hears of it; everybody else may ask.
            Event::Execution { .. } => {}
        }
    }
    for vm in touched(scene.before, scene.after, entries) {
        words.turned(&vm);
    }
    words.told
}

/// VMs that these entries may have changed.
#[must_use]
pub fn touched(before: &State, after: &State, entries: &[Entry]) -> BTreeSet<VmId> {
    let mut touched = BTreeSet::new();
    for entry in entries {
        match &entry.event {
            Event::Vm { vm, .. } => {
                touched.insert(vm.clone());
            }
            Event::Show { show, event } => {
                touched.extend(named(event).cloned());
                for state in [before, after] {
                    touched.extend(state.show(show).and_then(|show| show.vm.clone()));
                    let failover = state.show(show).and_then(|show| show.failover());
                    touched.extend(failover.and_then(|failover| failover.to.clone()));
                }
            }
            Event::Execution { .. } | Event::PoolConfigured { .. } => {}
        }
    }
    touched
}

/// VMs that an event itself names.
fn named(event: &show::Event) -> impl Iterator<Item = &VmId> {
    let (one, other) = match event {
        show::Event::Assigned { vm, .. }
        | show::Event::SpareChosen { vm, .. }
        | show::Event::SpareLost { vm, .. }
        | show::Event::Released { vm, .. } => (Some(vm), None),
        show::Event::Reassigned { from, vm, .. } => (Some(from), Some(vm)),
        show::Event::FailoverBegan { to, .. } => (to.as_ref(), None),
        show::Event::StreamWanted { .. }
        | show::Event::WentOnAir { .. }
        | show::Event::WentOffAir { .. }
        | show::Event::Silenced { .. }
        | show::Event::Captured { .. }
        | show::Event::Compared { .. }
        | show::Event::SetUp { .. }
        | show::Event::Held { .. }
        | show::Event::Fenced { .. }
        | show::Event::Restored { .. }
        | show::Event::Publishing { .. }
        | show::Event::FailoverEnded { .. }
        | show::Event::ReleaseBegan { .. }
        | show::Event::ReleaseJoined { .. }
        | show::Event::Archive { .. } => (None, None),
    };
    one.into_iter().chain(other)
}

struct Words<'a> {
    scene: &'a Scene<'a>,
    seq: Seq,
    told: Vec<Told>,
    /// VMs of which this batch already told that they are starting.
    starting: BTreeSet<VmId>,
}

impl<'a> Words<'a> {
    fn tell(&mut self, name: &'static str, mut payload: Value) {
        payload["seq"] = self.seq.0.into();
        self.told.push(Told {
            name,
            to: Audience::Everybody,
            payload,
        });
    }

    /// The VM as it is after the batch, or was before it left the pool in it.
    fn look(&self, vm: &VmId) -> Option<&'a Vm> {
        self.scene
            .after
            .vm(vm)
            .or_else(|| self.scene.before.vm(vm))
            .map(AsRef::as_ref)
    }

    fn vm(&mut self, id: &VmId, event: &vm::Event) {
        let Some(vm) = self.look(id) else { return };
        let plain = || json!({"vmId": id.as_str(), "instanceId": vm.instance_id().as_str()});
        match event {
            vm::Event::Starting { .. } => self.starting(vm),
            vm::Event::Ready => self.ready(vm),
            vm::Event::Stopping { .. } => self.tell("vmStopping", plain()),
            vm::Event::Stopped => self.tell("vmStopped", plain()),
            // Told from what they do to the VM's status and health, if anything; see `turned`.
            vm::Event::Adopted { .. }
            | vm::Event::Described { .. }
            | vm::Event::Booting
            | vm::Event::StopFailed { .. }
            | vm::Event::Gone
            | vm::Event::HealthTurned { .. }
            | vm::Event::Faulted { .. }
            | vm::Event::Withheld { .. }
            | vm::Event::FaultCleared
            | vm::Event::Cleaned { .. }
            | vm::Event::Resealed { .. }
            // Told as it gets on; see `of_news`.
            | vm::Event::ArchiveResumed { .. }
            | vm::Event::Archive { .. }
            | vm::Event::MaintenanceBegan { .. }
            | vm::Event::MaintenanceEnded => {}
        }
    }

    fn starting(&mut self, vm: &Vm) {
        if !self.starting.insert(vm.id.clone()) {
            return;
        }
        let began = vm.last_started_at.unwrap_or(self.scene.after.at);
        let mut payload = json!({
            "vmId": vm.id.as_str(),
            "instanceId": vm.instance_id().as_str(),
            "estimatedReadyTime": Iso(began + self.scene.settings.warmup_time).to_string(),
        });
        if let Some((show, _)) = vm.occupancy.tenant() {
            payload["competitionId"] = show.as_str().into();
        }
        self.tell("vmStarting", payload);
    }

    fn ready(&mut self, vm: &Vm) {
        let seen = self.scene.board.latest(&vm.id);
        let payload = json!({
            "vmId": vm.id.as_str(),
            "instanceId": vm.instance_id().as_str(),
            "publicIp": project::public_ip(&vm.instance),
            "services": project::services_of(vm, &seen, self.scene.reach),
        });
        self.tell("vmReady", payload.clone());
        self.tell("vmStarted", payload);
        if let Some((show, _)) = vm.occupancy.tenant() {
            // While the show is being moved here, it is not here yet.
            let is_its_vm = self
                .scene
                .after
                .show(show)
                .is_some_and(|show| show.vm.as_ref() == Some(&vm.id));
            if is_its_vm {
                self.assigned(show, vm);
            }
        }
    }

    fn assigned(&mut self, show: &ShowId, vm: &Vm) {
        let payload = json!({
            "success": true,
            "vmId": vm.id.as_str(),
            "instanceId": vm.instance_id().as_str(),
            "publicIp": project::public_ip(&vm.instance),
            "vmAddress": project::vm_address(vm, self.scene.reach),
            "competitionId": show.as_str(),
        });
        self.tell("vmAssigned", payload);
    }

    fn given(&mut self, show: &ShowId, vm: &VmId) {
        let Some(vm) = self.look(vm) else { return };
        match vm.power {
            Power::Ready => self.assigned(show, vm),
            Power::Starting { .. } | Power::Booting => self.starting(vm),
            // Its start is an entry of its own.
            Power::Stopped | Power::Stopping { .. } => {}
        }
    }

    fn show(&mut self, id: &ShowId, event: &show::Event) {
        match event {
            show::Event::Assigned { vm, .. } | show::Event::Reassigned { vm, .. } => self.given(id, vm),
            show::Event::WentOnAir { .. } => self.on_air(id),
            show::Event::FailoverBegan { to, .. } => {
                let from = self
                    .scene
                    .after
                    .show(id)
                    .and_then(|show| show.failover())
                    .map(|f| f.from.clone());
                let from = from.or_else(|| self.scene.before.show(id).and_then(|show| show.vm.clone()));
                self.moving(id, from.as_ref(), to.as_ref());
            }
            show::Event::SpareChosen { vm, .. } => {
                let from = self
                    .scene
                    .after
                    .show(id)
                    .and_then(|show| show.failover())
                    .map(|f| f.from.clone());
                self.moving(id, from.as_ref(), Some(vm));
            }
            show::Event::FailoverEnded { ending, .. } => self.moved(id, *ending),
            show::Event::Restored { .. } => self.configured_show(id),
            show::Event::Released { vm, .. } => {
                let instance = self.look(vm).map(|vm| vm.instance_id().as_str());
                let (vm, show) = (vm.as_str(), id.as_str());
                let payload =
                    json!({"success": true, "vmId": vm, "instanceId": instance, "competitionId": show});
                self.tell("vmReleased", payload);
            }
            show::Event::StreamWanted { .. }
            | show::Event::WentOffAir { .. }
            | show::Event::Silenced { .. }
            | show::Event::Captured { .. }
            | show::Event::Compared { .. }
            | show::Event::SetUp { .. }
            | show::Event::Held { .. }
            | show::Event::SpareLost { .. }
            | show::Event::Fenced { .. }
            | show::Event::Publishing { .. }
            | show::Event::ReleaseBegan { .. }
            | show::Event::ReleaseJoined { .. }
            // Told as it gets on; see `of_news`.
            | show::Event::Archive { .. } => {}
        }
    }

    /// A studio was made from the configuration, if that is what this batch made.
    fn configured_show(&mut self, id: &ShowId) {
        let made = |state: &'a State| state.show(id).and_then(|show| show.made.as_ref());
        let (before, after) = (made(self.scene.before), made(self.scene.after));
        let (true, Some(made), Some(show)) = (before != after, after, self.scene.after.show(id)) else {
            return;
        };
        let vm = show
            .failover()
            .map_or(show.vm.as_ref(), |failover| failover.to.as_ref());
        let payload = json!({
            "competitionId": id.as_str(),
            "vmId": vm.map(VmId::as_str),
            "epoch": made.epoch.0,
            "configuredAt": Iso(made.at).to_string(),
            "differences": made.differences,
            "restoredBy": made.by.as_ref().map(MadeBy::as_str),
            "notByFile": made.by.as_ref().and_then(MadeBy::why_not_file),
        });
        self.tell("showConfigured", payload);
    }

    fn on_air(&mut self, show: &ShowId) {
        if let Some(vm) = self.scene.after.vm_of_show(show) {
            self.tell(
                "vmInUse",
                json!({"vmId": vm.id.as_str(), "competitionId": show.as_str()}),
            );
        }
    }

    fn moving(&mut self, show: &ShowId, from: Option<&VmId>, to: Option<&VmId>) {
        let payload = json!({
            "competitionId": show.as_str(),
            "fromVmId": from.map(VmId::as_str),
            "toVmId": to.map(VmId::as_str),
            "status": "started",
        });
        self.tell("vmFailover", payload);
    }

    fn moved(&mut self, id: &ShowId, ending: Ending) {
        let record = self.scene.after.show(id).and_then(|show| show.records.last());
        let Some(Failover {
            from,
            to,
            epoch,
            cause,
            ..
        }) = record.map(|record| &record.failover)
        else {
            return;
        };
        // A move that ended because the old VM can be used after all leaves the show where it was.
        let (status, now_on) = match ending {
            Ending::OnAir | Ending::Moved => ("completed", to.as_ref()),
            Ending::Recovered | Ending::Returned => ("completed", Some(from)),
            Ending::Abandoned => ("failed", to.as_ref()),
        };
        let vm = now_on.and_then(|vm| self.look(vm));
        let mut payload = json!({
            "competitionId": id.as_str(),
            "fromVmId": from.as_str(),
            "toVmId": now_on.map(VmId::as_str),
            "status": status,
            "ending": ending.as_str(),
            "cause": cause.as_str(),
            "epoch": epoch.0,
            "offAirMs": record.and_then(|record| record.timeline().off_air_ms),
        });
        if let Some(vm) = vm.filter(|_| status == "completed") {
            payload["vmAddress"] = project::vm_address(vm, self.scene.reach).into();
        }
        self.tell("vmFailover", payload);
        match (ending, vm) {
            (Ending::OnAir, Some(vm)) => {
                self.assigned(id, vm);
                self.on_air(id);
            }
            (Ending::Moved, Some(vm)) => self.assigned(id, vm),
            (Ending::OnAir | Ending::Moved | Ending::Recovered | Ending::Returned | Ending::Abandoned, _) => {
            }
        }
    }

    fn configured(&mut self, settings: &Settings) {
        // Plain data: it can be written as JSON.
        if let Ok(payload) = serde_json::to_value(ConfigView::new(settings, self.scene.launch)) {
            self.tell("vmPoolConfigUpdated", payload);
        }
    }

    /// What the whole batch did to a VM's status and health.
    fn turned(&mut self, id: &VmId) {
        let (before, after) = (self.scene.before.vm(id), self.scene.after.vm(id));
        let Some(after) = after else { return };
        let seen = self.scene.board.latest(id);
        let was_error = before.is_some_and(|before| before.status() == Status::Error);
        if after.status() == Status::Error && !was_error {
            let reason = after.fault.as_ref().map(|fault| fault.reason.clone());
            let reason = reason
                .or_else(|| seen.error.clone())
                .unwrap_or_else(|| "it is unhealthy".to_owned());
            let payload = json!({
                "vmId": id.as_str(),
                "instanceId": after.instance_id().as_str(),
                "error": reason,
                "reason": reason,
            });
            self.tell("vmError", payload);
        }
        if let Some(before) = before.filter(|before| before.health != after.health) {
            let mut payload = json!({
                "vmId": id.as_str(),
                "previousStatus": project::health_word(before.health),
                "newStatus": project::health_word(after.health),
                "assignedTo": after.occupancy.tenant().map(|(show, _)| show.as_str()),
            });
            if let Some(error) = &seen.error {
                payload["reason"] = error.as_str().into();
            }
            self.tell("vmHealthChanged", payload);
        }
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
