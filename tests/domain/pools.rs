//! Random pools: VMs in every condition, reservations, and when each VM was last seen to work.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use understudy::domain::ids::{Attempt, Epoch, VmId};
use understudy::domain::placement::{TAG_CAPABILITY, TAG_REGION};
use understudy::domain::show::{Phase, Show};
use understudy::domain::state::State;
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{Fault, Health, Occupancy, Power, Status, Vm};

use crate::fixtures::{machine, show_id, state_of, vm_id};

pub const NOW: Timestamp = Timestamp(10_000_000);

#[derive(Debug, Clone)]
pub struct Pool {
    vms: Vec<Vm>,
    /// VM and show, by number; a show here has no VM yet.
    pub reserved: Vec<(usize, usize)>,
    pub proven: BTreeMap<VmId, Timestamp>,
}

impl Pool {
    pub fn state(&self) -> State {
        let shows = self.vms.iter().filter_map(|vm| {
            let (show, epoch) = vm.occupancy.tenant()?;
            let phase = match &vm.occupancy {
                Occupancy::Assigned { .. } => Phase::OffAir,
                Occupancy::OnAir { .. } => Phase::OnAir,
                Occupancy::Releasing { .. } => Phase::Releasing { stop_vm: false },
                Occupancy::Free | Occupancy::Maintenance { .. } => return None,
            };
            Some(Show {
                epoch,
                phase,
                vm: Some(vm.id.clone()),
                ..Show::new(show.clone())
            })
        });
        state_of(self.vms.clone(), shows.collect())
    }
}

fn powers() -> impl Strategy<Value = Power> {
    let attempt = Attempt(1);
    prop_oneof![
        3 => Just(Power::Stopped),
        1 => Just(Power::Starting { attempt }),
        1 => Just(Power::Booting),
        4 => Just(Power::Ready),
        1 => Just(Power::Stopping { attempt }),
    ]
}

fn healths() -> impl Strategy<Value = Health> {
    prop_oneof![
        4 => Just(Health::Healthy),
        1 => Just(Health::Degraded),
        1 => Just(Health::Unknown),
        1 => Just(Health::Unhealthy),
    ]
}

fn occupancy(kind: u8, n: usize) -> Occupancy {
    let (show, epoch) = (show_id(n), Epoch(1));
    match kind {
        0 => Occupancy::Assigned { show, epoch },
        1 => Occupancy::OnAir { show, epoch },
        2 => Occupancy::Releasing { show, epoch },
        3 => Occupancy::Maintenance { reason: None },
        _ => Occupancy::Free,
    }
}

fn ago(seconds: u64) -> Timestamp {
    NOW - Duration::from_secs(seconds)
}

fn vm(n: usize) -> impl Strategy<Value = Vm> {
    let tags = (
        prop::option::weighted(0.2, Just("west".to_owned())),
        prop::option::weighted(0.5, prop_oneof![Just("4k"), Just("multi, 4k"), Just(" ,multi")]),
    );
    let fault = prop::option::weighted(0.3, 0u64..600);
    // Few different ages, so that there are ties to settle.
    let ages = (0u64..4, 0u64..4, 0u64..120);
    (
        powers(),
        healths(),
        fault,
        0u8..12,
        prop::option::weighted(0.9, 0usize..3),
        tags,
        ages,
    )
        .prop_map(
            move |(power, health, fault, kind, zone, (region, capability), (started, stopped, changed))| {
                let mut vm = machine(n, power);
                vm.health = health;
                vm.occupancy = occupancy(kind, n);
                vm.fault = fault.map(|seconds| Fault {
                    reason: "it crashed".into(),
                    since: ago(seconds),
                    previous: Status::Available,
                });
                vm.instance.availability_zone = zone.map(|zone| format!("zone-{zone}"));
                vm.instance
                    .tags
                    .extend(region.map(|region| (TAG_REGION.to_owned(), region)));
                let tag = capability.map(|list| (TAG_CAPABILITY.to_owned(), list.to_owned()));
                vm.instance.tags.extend(tag);
                vm.last_started_at = (started > 0).then(|| ago(started));
                vm.last_stopped_at = (stopped > 0).then(|| ago(stopped));
                vm.last_state_change = ago(changed);
                vm
            },
        )
}

pub fn pools() -> impl Strategy<Value = Pool> {
    let reserved = prop::collection::vec((1usize..=8, 20usize..23), 0..3);
    let proven = prop::collection::btree_map((1usize..=8).prop_map(vm_id), (1u64..4).prop_map(ago), 0..8);
    let vms: Vec<_> = (1..=8).map(|n| vm(n).boxed()).collect();
    (vms, 0usize..=8, reserved, proven).prop_map(|(mut vms, count, mut reserved, proven)| {
        vms.truncate(count);
        // One reservation per VM: a later one takes the place of an earlier.
        reserved.sort_unstable();
        reserved.dedup_by_key(|(vm, _)| *vm);
        Pool {
            vms,
            reserved,
            proven,
        }
    })
}
