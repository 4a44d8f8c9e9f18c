//! What must hold in every [`State`], whatever happened before.
//!
//! The fold refuses events that would break these; this is the independent check that it does, run by tests,
//! by rehearsals, and by the ledger after a replay.

use std::collections::BTreeMap;

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
        match state.vm(vm).map(|vm| vm.occupancy.tenant()) {
            Some(Some((tenant, epoch))) if *tenant == show.id && epoch <= show.epoch => {}
            other => found.push(format!(
                "show {} counts on {vm}, which is held by {other:?}",
                show.id
            )),
        }
    }
    for vm in held.iter().filter(|vm| !expected.contains(vm)) {
        found.push(format!(
            "{vm} is held for show {}, which does not know it",
            show.id
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
