//! The VMs that could be given to a show, in lots: giving one, or looking after the pool, looks at the first of some
//! lots and never at all VMs.
//!
//! An index of the [`state`](super::state): derived from the VMs alone, never stored. Who gets which is
//! [`placement`](super::placement)'s to say.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::ids::VmId;
use super::time::Timestamp;
use super::vm::{Health, Power, Status, Vm};

/// What can be had of a VM that nobody has, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Available and healthy.
    Healthy,
    /// Available; its health is degraded or not known yet.
    Unwell,
    Booting,
    Starting,
    /// Off.
    Off,
    /// Off, with a fault.
    Failed,
}

impl Kind {
    pub const AVAILABLE: [Self; 2] = [Self::Healthy, Self::Unwell];
    pub const RISING: [Self; 2] = [Self::Booting, Self::Starting];

    /// `None`: it is somebody's, or of no use now.
    #[must_use]
    pub fn of(vm: &Vm) -> Option<Self> {
        if !vm.is_free() {
            return None;
        }
        match vm.status() {
            Status::Available if vm.health == Health::Healthy => Some(Self::Healthy),
            Status::Available => Some(Self::Unwell),
            Status::Starting if vm.power == Power::Booting => Some(Self::Booting),
            Status::Starting => Some(Self::Starting),
            Status::Stopped => Some(Self::Off),
            Status::Error if vm.power == Power::Stopped => Some(Self::Failed),
            Status::Error
            | Status::Assigned
            | Status::InUse
            | Status::Releasing
            | Status::Stopping
            | Status::Maintenance => None,
        }
    }
}

/// Where a VM stands: in the lot of this kind and availability zone, since this moment.
#[derive(PartialEq)]
struct Place<'a> {
    kind: Kind,
    zone: Option<&'a str>,
    since: Option<Timestamp>,
}

impl<'a> Place<'a> {
    fn of(vm: &'a Vm) -> Option<Self> {
        let kind = Kind::of(vm)?;
        let since = match kind {
            Kind::Healthy | Kind::Unwell => Some(vm.last_state_change),
            Kind::Booting | Kind::Starting => vm.last_started_at,
            Kind::Off | Kind::Failed => vm.last_stopped_at,
        };
        Some(Self {
            kind,
            zone: vm.instance.availability_zone.as_deref(),
            since,
        })
    }

    fn lot(&self) -> (Kind, Option<Arc<str>>) {
        (self.kind, self.zone.map(Arc::from))
    }
}

/// Since when a VM has been of its kind (`None`: not known), and which VM it is.
pub type Entry = (Option<Timestamp>, VmId);

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidates {
    lots: OrdMap<(Kind, Option<Arc<str>>), OrdSet<Entry>>,
    /// VMs that a show has and waits for: off, or on their way up.
    awaited: usize,
}

impl Candidates {
    /// A VM was `before` and is `after`; `None`: not in the pool.
    pub(super) fn note(&mut self, before: Option<&Vm>, after: Option<&Vm>) {
        let is_awaited = |vm: Option<&Vm>| usize::from(vm.is_some_and(is_awaited));
        self.awaited = self.awaited - is_awaited(before) + is_awaited(after);
        let (old, new) = (before.and_then(Place::of), after.and_then(Place::of));
        if old == new {
            return;
        }
        if let (Some(place), Some(vm)) = (old, before) {
            self.take(&place, vm);
        }
        if let (Some(place), Some(vm)) = (new, after) {
            let lot = self.lots.entry(place.lot()).or_default();
            lot.insert((place.since, vm.id.clone()));
        }
    }

    fn take(&mut self, place: &Place<'_>, vm: &Vm) {
        let key = place.lot();
        if let Some(lot) = self.lots.get_mut(&key) {
            lot.remove(&(place.since, vm.id.clone()));
            // An empty lot would make this state differ from the same facts read from a snapshot.
            if lot.is_empty() {
                self.lots.remove(&key);
            }
        }
    }

    /// How many VMs are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.lots(kind).map(|(_, lot)| lot.len()).sum()
    }

    /// The VMs of a kind, by availability zone: in each, the one that has been so for longest first, then by id.
    pub fn lots(&self, kind: Kind) -> impl Iterator<Item = (Option<&str>, &OrdSet<Entry>)> {
        self.lots
            .range((kind, None)..)
            .take_while(move |((of, _), _)| *of == kind)
            .map(|((_, zone), lot)| (zone.as_deref(), lot))
    }

    /// VMs that a show has and waits for.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.awaited
    }
}

fn is_awaited(vm: &Vm) -> bool {
    vm.occupancy.tenant().is_some() && matches!(vm.status(), Status::Starting | Status::Stopped)
}
