//! The pool as a whole: its settings, who gets which VM, how many are kept warm, which may rest.
//!
//! All of it is decided from the [`State`] and the reservations the pool has handed out but not yet seen in
//! it. Nothing here starts or stops anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::candidates::{Entry, Kind};
use super::ids::{ShowId, VmId};
use super::placement::{self, Wish};
use super::state::State;
use super::time::Timestamp;
use super::vm::{Power, Status, Vm};

/// How long a stopped VM with a fault is left alone before the pool tries it again on its own: long enough
/// for a capacity shortage to pass, short enough that a small pool is not crippled for the evening.
pub const FAULT_COOLOFF: Duration = Duration::from_secs(300);

/// What operators may change while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// VMs kept ready and unassigned.
    pub warm_count: u32,
    /// VMs the pool is meant to keep stopped; informative.
    pub cold_count: u32,
    /// VMs the pool may have in all.
    pub max_instances: u32,
    /// Shows that may have a VM at the same time.
    pub max_concurrent: u32,
    pub health_check_interval: Duration,
    /// An available VM above the warm target is stopped after this long; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// How long a start is expected to take until starts have been measured.
    pub warmup_time: Duration,
    pub service_port: u16,
    pub region: String,
    pub ami_id: Option<String>,
    pub default_instance_type: String,
}

/// VMs promised to a show whose assignment is not in the ledger yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reservations {
    by_vm: BTreeMap<VmId, Promise>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Promise {
    show: ShowId,
    until: Timestamp,
    /// How often the VM had been given to a show when it was promised. One more, and the promise was kept,
    /// even if the VM is free again by the time anybody looks.
    assignments: u64,
}

impl Reservations {
    /// Promises a VM, as it is in the ledger now, to a show.
    pub fn reserve(&mut self, vm: &Vm, show: ShowId, until: Timestamp) {
        let assignments = vm.total_assignments;
        let promise = Promise {
            show,
            until,
            assignments,
        };
        self.by_vm.insert(vm.id.clone(), promise);
    }

    /// Forgets the reservation if it is this show's.
    pub fn cancel(&mut self, vm: &VmId, show: &ShowId) {
        if self.by_vm.get(vm).is_some_and(|promise| promise.show == *show) {
            self.by_vm.remove(vm);
        }
    }

    /// Drops what the ledger has caught up with and what was never used.
    pub fn settle(&mut self, state: &State, now: Timestamp) {
        self.by_vm.retain(|vm, promise| {
            let is_open = |vm: &Vm| vm.is_free() && vm.total_assignments == promise.assignments;
            promise.until > now && state.vm(vm).is_some_and(|vm| is_open(vm))
        });
    }

    #[must_use]
    pub fn holds(&self, vm: &VmId) -> bool {
        self.by_vm.contains_key(vm)
    }

    /// How many VMs of these kinds are not promised.
    fn unpromised(&self, state: &State, kinds: &[Kind]) -> usize {
        let all: usize = kinds.iter().map(|kind| state.candidates().count(*kind)).sum();
        let is_promised = |id: &&VmId| {
            let kind = state.vm(id).and_then(|vm| Kind::of(vm));
            kind.is_some_and(|kind| kinds.contains(&kind))
        };
        all - self.by_vm.keys().filter(is_promised).count()
    }

    /// Shows that have a reservation and no VM yet. A show with two reservations is one show.
    pub fn pending(&self, state: &State) -> usize {
        let unplaced = |show: &ShowId| state.show(show).is_none_or(|show| show.vm.is_none());
        let shows: BTreeSet<&ShowId> = self.by_vm.values().map(|promise| &promise.show).collect();
        shows.into_iter().filter(|show| unplaced(show)).count()
    }
}

/// A VM for a show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// Ready now.
    Warm(VmId),
    /// On its way up for the warm target; it is the show's as soon as it is ready.
    Starting(VmId),
    /// Off; it has to be started.
    Cold(VmId),
}

impl Allocation {
    #[must_use]
    pub fn vm(&self) -> &VmId {
        match self {
            Self::Warm(vm) | Self::Starting(vm) | Self::Cold(vm) => vm,
        }
    }
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("VM {0} is not in the pool")]
    PreferredUnknown(VmId),
    #[error("VM {vm} is {status}, not available")]
    PreferredBusy { vm: VmId, status: Status },
    #[error("no VM is available and none can be started")]
    Exhausted,
    #[error("{limit} shows have a VM already, which is the limit")]
    MaxConcurrent { limit: u32 },
}

/// Chooses a VM: warm before starting before cold, each in the order of [`placement`]; as a last resort one that is
/// off because it failed.
///
/// # Errors
/// [`Denied`] says why there is none.
pub fn allocate(
    state: &State,
    reservations: &Reservations,
    wish: &Wish,
    settings: &Settings,
    proven: &dyn Fn(&VmId) -> Option<Timestamp>,
    now: Timestamp,
) -> Result<Allocation, Denied> {
    let placed = state.placed_count() + reservations.pending(state);
    if wish.counts_as_new && placed >= settings.max_concurrent as usize {
        return Err(Denied::MaxConcurrent {
            limit: settings.max_concurrent,
        });
    }
    if let Some(preferred) = &wish.preferred {
        let vm = state
            .vm(preferred)
            .ok_or_else(|| Denied::PreferredUnknown(preferred.clone()))?;
        if vm.status() == Status::Available && !reservations.holds(preferred) {
            return Ok(Allocation::Warm(preferred.clone()));
        }
        if !wish.allow_fallback {
            return Err(Denied::PreferredBusy {
                vm: preferred.clone(),
                status: vm.status(),
            });
        }
    }
    let usable = |vm: &Vm| vm.is_free() && !reservations.holds(&vm.id);
    if let Some(vm) = placement::best_warm(state, wish, &usable, proven) {
        return Ok(Allocation::Warm(vm.id.clone()));
    }
    if let Some(vm) = placement::first_to_be_ready(state, wish, &usable) {
        return Ok(Allocation::Starting(vm.id.clone()));
    }
    let startable = |vm: &Vm| usable(vm) && is_startable(vm, now);
    placement::best_cold(state, wish, &startable)
        .or_else(|| {
            let usable = |vm: &Vm| wish.last_resort && usable(vm);
            placement::best_cold(state, wish, &usable)
        })
        .map(|vm| Allocation::Cold(vm.id.clone()))
        .ok_or(Denied::Exhausted)
}

/// It is off, and has no fault, or one that has cooled off.
fn is_startable(vm: &Vm, now: Timestamp) -> bool {
    vm.power == Power::Stopped
        && vm
            .fault
            .as_ref()
            .is_none_or(|fault| now.since(fault.since) >= FAULT_COOLOFF)
}

/// The stopped VMs to start so that `available + unreserved starting` reaches the warm target. Never more than
/// are missing; asked again while those are starting, it answers none.
#[must_use]
pub fn replenish(
    state: &State,
    reservations: &Reservations,
    settings: &Settings,
    now: Timestamp,
) -> Vec<VmId> {
    let warm =
        reservations.unpromised(state, &Kind::AVAILABLE) + reservations.unpromised(state, &Kind::RISING);
    let missing = (settings.warm_count as usize).saturating_sub(warm);
    [Kind::Off, Kind::Failed]
        .into_iter()
        .flat_map(|kind| {
            let will_do = |vm: &Vm| !reservations.holds(&vm.id) && is_startable(vm, now);
            longest(state, &[kind], missing, |_| true, will_do)
        })
        .take(missing)
        .collect()
}

/// The available VMs above the warm target that have been idle for longer than the idle timeout: they may be
/// stopped. Longest idle first.
#[must_use]
pub fn retire(state: &State, reservations: &Reservations, settings: &Settings, now: Timestamp) -> Vec<VmId> {
    let Some(timeout) = settings.idle_timeout else {
        return Vec::new();
    };
    let available = reservations.unpromised(state, &Kind::AVAILABLE);
    let surplus = available.saturating_sub(settings.warm_count as usize);
    let is_idle = |since: Timestamp| now.since(since) >= timeout;
    longest(state, &Kind::AVAILABLE, surplus, is_idle, |vm| {
        !reservations.holds(&vm.id)
    })
}

/// The VMs that have been of these kinds for longest: of those that have been since a moment that is `due`, later ones
/// being less so, the first that will do, and at most so many.
fn longest(
    state: &State,
    kinds: &[Kind],
    max: usize,
    due: impl Fn(Timestamp) -> bool,
    will_do: impl Fn(&Vm) -> bool,
) -> Vec<VmId> {
    let lots = kinds.iter().flat_map(|kind| state.candidates().lots(*kind));
    let mut entries: Vec<&Entry> = lots
        .flat_map(|(_, lot)| {
            lot.iter()
                .take_while(|(since, _)| since.is_none_or(&due))
                .filter(|(_, id)| state.vm(id).is_some_and(|vm| will_do(vm)))
                .take(max)
        })
        .collect();
    entries.sort_unstable();
    entries.into_iter().take(max).map(|(_, id)| id.clone()).collect()
}
