//! What must hold in every [`State`], whatever happened before.
//!
//! The fold refuses events that would break these; this is the independent check that it does, run by tests,
//! by rehearsals, and by the ledger after a replay.

use std::collections::BTreeMap;

use super::failover::Failover;
use super::ids::{ShowId, VmId};
use super::show::{Phase, Show};
use super::state::State;
use super::vm::{Occupancy, Power, Vm};

/// A sentence that says what is wrong and with which VM or show.
pub type Violation = String;

/// Everything wrong with this state; empty if it is sound.
#[must_use]
pub fn violations(state: &State) -> Vec<Violation> {
    let mut held: BTreeMap<&ShowId, Vec<&VmId>> = BTreeMap::new();
    for vm in state.vms() {
        if let Some((show, _)) = vm.occupancy.tenant() {
            held.entry(show).or_default().push(&vm.id);
        }
    }
    let mut found = Vec::new();
    for show in state.shows() {
        check_show(
            state,
            show,
            &held.remove(&show.id).unwrap_or_default(),
            &mut found,
        );
    }
    for (show, vms) in held {
        found.push(format!("{vms:?} held for show {show}, which does not exist"));
    }
    for vm in state.vms() {
        check_vm(state, vm, &mut found);
    }
    found
}

fn check_show(state: &State, show: &Show, held: &[&VmId], found: &mut Vec<Violation>) {
    let expected: Vec<&VmId> = match &show.phase {
        Phase::Idle => Vec::new(),
        Phase::OffAir | Phase::OnAir | Phase::Releasing { .. } => show.vm.iter().collect(),
        Phase::FailingOver(failover) => std::iter::once(&failover.from).chain(&failover.to).collect(),
    };
    if show.vm.is_none() != (show.phase == Phase::Idle) {
        found.push(format!(
            "show {} is {} with VM {:?}",
            show.id,
            show.phase.as_str(),
            show.vm
        ));
    }
    for vm in &expected {
        let occupancy = state.vm(vm).map(|vm| &vm.occupancy);
        if !occupancy.is_some_and(|occupancy| suits(show, vm, occupancy)) {
            found.push(format!(
                "show {}, {} in epoch {}, counts on {vm}, which is {occupancy:?}",
                show.id,
                show.phase.as_str(),
                show.epoch
            ));
        }
    }
    if let Phase::FailingOver(failover) = &show.phase {
        check_failover(show, failover, found);
    }
    if show.idle_since.is_some() != show.vm.is_none() {
        found.push(format!(
            "show {} has been idle since {:?} with VM {:?}",
            show.id, show.idle_since, show.vm
        ));
    }
    for vm in held.iter().filter(|vm| !expected.contains(vm)) {
        found.push(format!(
            "{vm} is held for show {}, which does not know it",
            show.id
        ));
    }
}

/// Whether this is what one of the show's VMs is for: in the show's phase, and in its epoch. The VM that is
/// being left was got in an earlier one.
fn suits(show: &Show, vm: &VmId, occupancy: &Occupancy) -> bool {
    let Some((tenant, epoch)) = occupancy.tenant() else {
        return false;
    };
    let assigned = matches!(occupancy, Occupancy::Assigned { .. });
    let on_air = matches!(occupancy, Occupancy::OnAir { .. });
    let suits = match &show.phase {
        Phase::Idle => false,
        Phase::OffAir => assigned && epoch == show.epoch,
        Phase::OnAir => on_air && epoch == show.epoch,
        Phase::FailingOver(failover) if failover.from == *vm => (assigned || on_air) && epoch < show.epoch,
        Phase::FailingOver(_) => assigned && epoch == show.epoch,
        Phase::Releasing { .. } => matches!(occupancy, Occupancy::Releasing { .. }) && epoch == show.epoch,
    };
    *tenant == show.id && suits
}

fn check_failover(show: &Show, failover: &Failover, found: &mut Vec<Violation>) {
    if failover.epoch != show.epoch || show.vm.as_ref() != Some(&failover.from) {
        found.push(format!(
            "show {} has {:?} in epoch {}, and is moved from {} in epoch {}",
            show.id, show.vm, show.epoch, failover.from, failover.epoch
        ));
    }
    if failover.publishing_at.is_some() && !failover.may_publish() {
        found.push(format!(
            "show {} publishes on {:?} before {} is fenced and the studio restored",
            show.id, failover.to, failover.from
        ));
    }
}

fn check_vm(state: &State, vm: &Vm, found: &mut Vec<Violation>) {
    if let (Occupancy::OnAir { show, .. }, Power::Stopping { .. }) = (&vm.occupancy, &vm.power)
        && state.show(show).is_some_and(|show| show.phase == Phase::OnAir)
    {
        found.push(format!(
            "{} is being stopped while show {show} is on air on it",
            vm.id
        ));
    }
}
