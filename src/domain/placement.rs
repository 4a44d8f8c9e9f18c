//! Which of several suitable VMs: preferred, then healthy, then in the least used availability zone, then the
//! one most recently proven to work.
//!
//! A spare that answered a second ago is worth more than one that answered a minute ago, and two shows in one
//! zone fail together. Ties fall to the smaller id, so that the same state always gives the same answer.
//!
//! What this costs does not grow with the pool. What a wish, a reservation or a recent fault rules out is passed over,
//! though: a region or a capability that few of many VMs have is looked for until one is found.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use imbl::OrdSet;

use super::candidates::{Entry, Kind};
use super::ids::VmId;
use super::state::State;
use super::time::Timestamp;
use super::vm::Vm;

/// Tag that names the region a VM serves, where it differs from its availability zone's.
pub const TAG_REGION: &str = "region";
/// Tag with a comma-separated list of what a VM can do: `4k,multi-camera`.
pub const TAG_CAPABILITY: &str = "capability";

/// VMs of one zone whose latest proofs are compared. It bounds what giving a VM costs in a pool of any size; the latest of
/// so many proofs is seconds old at the usual interval of probes, as the latest of all would be.
pub const COMPARED_MAX: usize = 8;

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

/// The best of VMs that are ready and `usable`.
///
/// In each zone the first [`COMPARED_MAX`] that will do are compared, those that have been available for longest.
pub fn best_warm<'a>(
    state: &'a State,
    wish: &Wish,
    usable: &dyn Fn(&Vm) -> bool,
    proven: &dyn Fn(&VmId) -> Option<Timestamp>,
) -> Option<&'a Vm> {
    Kind::AVAILABLE
        .into_iter()
        .flat_map(|kind| by_load(state, kind))
        .find_map(|lots| {
            lots.into_iter()
                .flat_map(|lot| in_order(state, lot, wish, usable).take(COMPARED_MAX))
                .min_by_key(|vm| (Reverse(proven(&vm.id)), vm.id.clone()))
        })
}

/// Of `usable` VMs on their way up, the one that will be there first: booting before starting, earlier before later.
pub fn first_to_be_ready<'a>(state: &'a State, wish: &Wish, usable: &dyn Fn(&Vm) -> bool) -> Option<&'a Vm> {
    Kind::RISING.into_iter().find_map(|kind| {
        let lots = state.candidates().lots(kind);
        lots.filter_map(|(_, lot)| in_order(state, lot, wish, usable).next())
            .min_by_key(|vm| (vm.last_started_at, vm.id.clone()))
    })
}

/// The best of `usable` VMs that are off: without a fault before with one, least used zone, longest off.
pub fn best_cold<'a>(state: &'a State, wish: &Wish, usable: &dyn Fn(&Vm) -> bool) -> Option<&'a Vm> {
    [Kind::Off, Kind::Failed]
        .into_iter()
        .flat_map(|kind| by_load(state, kind))
        .find_map(|lots| {
            lots.into_iter()
                .filter_map(|lot| in_order(state, lot, wish, usable).next())
                .min_by_key(|vm| (vm.last_stopped_at, vm.id.clone()))
        })
}

/// The lots of a kind, those in the zones with the fewest shows first; zones with as many go together.
fn by_load(state: &State, kind: Kind) -> impl Iterator<Item = Vec<&OrdSet<Entry>>> {
    let mut loads: BTreeMap<usize, Vec<&OrdSet<Entry>>> = BTreeMap::new();
    for (zone, lot) in state.candidates().lots(kind) {
        let load = zone.map_or(0, |zone| state.shows_in_zone(zone));
        loads.entry(load).or_default().push(lot);
    }
    loads.into_values()
}

/// Those of a lot that will do.
fn in_order<'a>(
    state: &'a State,
    lot: &'a OrdSet<Entry>,
    wish: &Wish,
    usable: &dyn Fn(&Vm) -> bool,
) -> impl Iterator<Item = &'a Vm> {
    lot.iter()
        .filter_map(|(_, id)| state.vm(id).map(AsRef::as_ref))
        .filter(|vm| usable(vm) && wish.is_met_by(vm))
}
