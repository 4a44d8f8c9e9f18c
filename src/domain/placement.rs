//! Which of several suitable VMs: preferred, then healthy, then in the least used availability zone, then the
//! one most recently proven to work.
//!
//! A spare that answered a second ago is worth more than one that answered a minute ago, and two shows in one
//! zone fail together. Ties fall to the smaller id, so that the same state always gives the same answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::ids::VmId;
use super::state::State;
use super::time::Timestamp;
use super::vm::{Health, Power, Vm};

/// Tag that names the region a VM serves, where it differs from its availability zone's.
pub const TAG_REGION: &str = "region";
/// Tag with a comma-separated list of what a VM can do: `4k,multi-camera`.
pub const TAG_CAPABILITY: &str = "capability";

/// What a show asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Named by somebody who knows: region, capabilities and exclusions are not asked of it.
    pub preferred: Option<VmId>,
    /// Take another if the preferred one is busy.
    pub allow_fallback: bool,
    /// Region tag, or a prefix of the availability zone.
    pub region: Option<String>,
    /// All of these must be among the VM's capabilities.
    pub capabilities: Vec<String>,
    /// VMs that must not be chosen.
    pub exclude: Vec<VmId>,
    /// Rather than none, one that is off with a fault from a moment ago. For a show that has nothing else.
    pub last_resort: bool,
    /// Whether the show had no VM before, and so counts against the limit of concurrent shows.
    pub counts_as_new: bool,
}

impl Wish {
    /// Whether this VM can do what is asked, whatever its state.
    #[must_use]
    pub fn is_met_by(&self, vm: &Vm) -> bool {
        !self.exclude.contains(&vm.id)
            && self.region.as_ref().is_none_or(|region| is_in_region(vm, region))
            && self
                .capabilities
                .iter()
                .all(|wanted| capabilities(vm).any(|has| has == wanted))
    }
}

fn is_in_region(vm: &Vm, region: &str) -> bool {
    let tag = vm.instance.tags.get(TAG_REGION);
    tag.is_some_and(|tag| tag == region)
        || vm
            .instance
            .availability_zone
            .as_ref()
            .is_some_and(|zone| zone.starts_with(region))
}

/// What the VM's tag says it can do.
pub fn capabilities(vm: &Vm) -> impl Iterator<Item = &str> {
    let tag = vm.instance.tags.get(TAG_CAPABILITY).map_or("", String::as_str);
    tag.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// The best of VMs that are ready.
pub fn best_warm<'a>(
    state: &State,
    candidates: impl Iterator<Item = &'a Vm>,
    wish: &Wish,
    proven: &dyn Fn(&VmId) -> Option<Timestamp>,
) -> Option<&'a Vm> {
    let load = zone_load(state);
    candidates.filter(|vm| wish.is_met_by(vm)).min_by_key(|vm| {
        let unhealthy = vm.health != Health::Healthy;
        (
            unhealthy,
            load_of(&load, vm),
            Reverse(proven(&vm.id)),
            vm.id.clone(),
        )
    })
}

/// Of VMs on their way up, the one that will be there first: booting before starting, earlier before later.
pub fn first_to_be_ready<'a>(candidates: impl Iterator<Item = &'a Vm>, wish: &Wish) -> Option<&'a Vm> {
    candidates
        .filter(|vm| wish.is_met_by(vm))
        .min_by_key(|vm| (vm.power != Power::Booting, vm.last_started_at, vm.id.clone()))
}

/// The best of VMs that are off: without a cooled fault, least used zone, longest off.
pub fn best_cold<'a>(state: &State, candidates: impl Iterator<Item = &'a Vm>, wish: &Wish) -> Option<&'a Vm> {
    let load = zone_load(state);
    candidates.filter(|vm| wish.is_met_by(vm)).min_by_key(|vm| {
        (
            vm.fault.is_some(),
            load_of(&load, vm),
            vm.last_stopped_at,
            vm.id.clone(),
        )
    })
}

/// VMs that hold a show, per availability zone. A show that is being moved counts where it is going: when a
/// whole zone fails, its shows must not all land in one other.
fn zone_load(state: &State) -> BTreeMap<&str, usize> {
    let mut load = BTreeMap::new();
    for show in state.placed_shows() {
        let target = show.failover().and_then(|failover| failover.to.as_ref());
        let vm = target.or(show.vm.as_ref()).and_then(|vm| state.vm(vm));
        if let Some(zone) = vm.and_then(|vm| vm.instance.availability_zone.as_deref()) {
            *load.entry(zone).or_default() += 1;
        }
    }
    load
}

fn load_of(load: &BTreeMap<&str, usize>, vm: &Vm) -> usize {
    vm.instance
        .availability_zone
        .as_deref()
        .and_then(|zone| load.get(zone))
        .copied()
        .unwrap_or(0)
}
