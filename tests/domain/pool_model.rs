//! Allocation, replenishment and retirement against their definitions, over whole lists.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use understudy::domain::ids::{Attempt, ShowId, VmId};
use understudy::domain::placement::{TAG_CAPABILITY, TAG_REGION, Wish};
use understudy::domain::pool::{
    Allocation, Denied, FAULT_COOLOFF, Reservations, Settings, allocate, replenish, retire,
};
use understudy::domain::state::State;
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{Event, Health, Power, Status, Vm};

use crate::fixtures::{assigned, machine, of_show, of_vm, settings, show_id, vm_id};
use crate::pools::{NOW, Pool, pools};

fn reserved(pool: &Pool, vm: &VmId) -> bool {
    pool.reserved.iter().any(|(reserved, _)| vm_id(*reserved) == *vm)
}

fn reservations(pool: &Pool) -> Reservations {
    let mut reservations = Reservations::default();
    for (vm, show) in &pool.reserved {
        let vm = machine(*vm, Power::Ready);
        reservations.reserve(&vm, show_id(*show), NOW + Duration::from_secs(9));
    }
    reservations
}

fn startable(vm: &Vm) -> bool {
    let cooled = |since| NOW.since(since) >= FAULT_COOLOFF;
    vm.power == Power::Stopped && vm.fault.as_ref().is_none_or(|fault| cooled(fault.since))
}

/// Unreserved VMs that nothing and nobody uses.
fn spare<'a>(pool: &'a Pool, state: &'a State) -> Vec<&'a Vm> {
    state
        .vms()
        .map(AsRef::as_ref)
        .filter(|vm| vm.is_free() && !reserved(pool, &vm.id))
        .collect()
}

fn meets(vm: &Vm, wish: &Wish) -> bool {
    let has: Vec<&str> = match vm.instance.tags.get(TAG_CAPABILITY) {
        Some(list) => list.split(',').map(str::trim).collect(),
        None => Vec::new(),
    };
    let in_region = |region: &String| {
        vm.instance.tags.get(TAG_REGION) == Some(region)
            || vm
                .instance
                .availability_zone
                .as_ref()
                .is_some_and(|zone| zone.starts_with(region.as_str()))
    };
    wish.region.as_ref().is_none_or(in_region)
        && wish
            .capabilities
            .iter()
            .all(|wanted| has.contains(&wanted.as_str()))
        && !wish.exclude.contains(&vm.id)
}

fn load(state: &State, vm: &Vm) -> usize {
    let same_zone = |other: &Vm| {
        vm.instance.availability_zone.is_some()
            && other.instance.availability_zone == vm.instance.availability_zone
    };
    state
        .vms()
        .filter(|other| other.occupancy.tenant().is_some() && same_zone(other))
        .count()
}

fn expected(pool: &Pool, state: &State, wish: &Wish, settings: &Settings) -> Result<Allocation, Denied> {
    let having: BTreeSet<ShowId> = state
        .shows()
        .filter(|show| show.vm.is_some())
        .map(|s| s.id.clone())
        .collect();
    let promised = pool.reserved.iter().map(|(_, show)| show_id(*show));
    let shows = having
        .iter()
        .cloned()
        .chain(promised)
        .collect::<BTreeSet<_>>()
        .len();
    if wish.counts_as_new && shows >= settings.max_concurrent as usize {
        return Err(Denied::MaxConcurrent {
            limit: settings.max_concurrent,
        });
    }
    if let Some(id) = &wish.preferred {
        let vm = state.vm(id).ok_or_else(|| Denied::PreferredUnknown(id.clone()))?;
        if vm.status() == Status::Available && !reserved(pool, id) {
            return Ok(Allocation::Warm(id.clone()));
        }
        if !wish.allow_fallback {
            return Err(Denied::PreferredBusy {
                vm: id.clone(),
                status: vm.status(),
            });
        }
    }
    let spare: Vec<&Vm> = spare(pool, state)
        .into_iter()
        .filter(|vm| meets(vm, wish))
        .collect();
    let mut warm: Vec<_> = spare
        .iter()
        .filter(|vm| vm.status() == Status::Available)
        .collect();
    warm.sort_by_key(|vm| {
        let proven = pool.proven.get(&vm.id).copied().map_or(0, |at: Timestamp| at.0);
        (
            vm.health != Health::Healthy,
            load(state, vm),
            Reverse(proven),
            vm.id.clone(),
        )
    });
    if let Some(vm) = warm.first() {
        return Ok(Allocation::Warm(vm.id.clone()));
    }
    let mut rising: Vec<_> = spare
        .iter()
        .filter(|vm| vm.status() == Status::Starting)
        .collect();
    rising.sort_by_key(|vm| (vm.power != Power::Booting, vm.last_started_at, vm.id.clone()));
    if let Some(vm) = rising.first() {
        return Ok(Allocation::Starting(vm.id.clone()));
    }
    let mut cold: Vec<_> = spare.iter().filter(|vm| startable(vm)).collect();
    if cold.is_empty() && wish.last_resort {
        cold = spare.iter().filter(|vm| vm.power == Power::Stopped).collect();
    }
    cold.sort_by_key(|vm| {
        (
            vm.fault.is_some(),
            load(state, vm),
            vm.last_stopped_at,
            vm.id.clone(),
        )
    });
    cold.first()
        .map(|vm| Allocation::Cold(vm.id.clone()))
        .ok_or(Denied::Exhausted)
}

fn wishes() -> impl Strategy<Value = Wish> {
    let vm = || (1usize..=9).prop_map(vm_id);
    let region = prop_oneof![Just("zone"), Just("zone-1"), Just("west"), Just("nowhere")];
    let capability = prop_oneof![Just("4k"), Just("multi")];
    (
        prop::option::weighted(0.3, vm()),
        any::<bool>(),
        prop::option::weighted(0.3, region),
        prop::collection::vec(capability, 0..2),
        prop::collection::vec(vm(), 0..3),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(preferred, allow_fallback, region, capabilities, exclude, last_resort, counts_as_new)| Wish {
                preferred,
                allow_fallback,
                region: region.map(str::to_owned),
                capabilities: capabilities.into_iter().map(str::to_owned).collect(),
                exclude,
                last_resort,
                counts_as_new,
            },
        )
}

fn limits() -> impl Strategy<Value = Settings> {
    let timeout = prop::option::of((0u64..120).prop_map(Duration::from_secs));
    (0u32..5, 0u32..9, timeout).prop_map(|(warm_count, max_concurrent, idle_timeout)| Settings {
        warm_count,
        max_concurrent,
        idle_timeout,
        ..settings()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn an_allocation_is_the_one_its_definition_names(pool in pools(), wish in wishes(), settings in limits()) {
        let state = pool.state();
        let proven = |vm: &VmId| pool.proven.get(vm).copied();
        let chosen = allocate(&state, &reservations(&pool), &wish, &settings, &proven, NOW);
        prop_assert_eq!(&chosen, &expected(&pool, &state, &wish, &settings));
        let Ok(chosen) = chosen else { return Ok(()) };
        let vm = state.vm(chosen.vm()).unwrap();
        prop_assert!(vm.is_free() && !reserved(&pool, &vm.id), "it is busy");
        prop_assert!(wish.preferred.as_ref() == Some(&vm.id) || meets(vm, &wish), "it is not what was asked");
        let cold = matches!(chosen, Allocation::Cold(_));
        prop_assert_eq!(cold, vm.power == Power::Stopped);
        prop_assert!(cold || vm.fault.is_none(), "it has a fault");
        let n: usize = vm.id.as_str()[3..].parse().unwrap();
        prop_assert!(state.with(&[of_show(99, assigned(n, 1))], NOW).is_ok(), "it cannot be assigned");
    }

    #[test]
    fn as_many_are_started_as_are_missing_and_then_no_more(pool in pools(), settings in limits()) {
        let state = pool.state();
        let reservations = reservations(&pool);
        let spare = spare(&pool, &state);
        let warm = spare.iter().filter(|vm| matches!(vm.status(), Status::Available | Status::Starting)).count();
        let missing = (settings.warm_count as usize).saturating_sub(warm);
        let off: BTreeMap<_, _> = spare.iter().filter(|vm| startable(vm)).map(|vm| (&vm.id, *vm)).collect();
        let chosen = replenish(&state, &reservations, &settings, NOW);
        prop_assert_eq!(chosen.len(), missing.min(off.len()));
        prop_assert!(chosen.iter().all(|id| off.contains_key(id)), "{:?} cannot all be started", chosen);
        let distinct: BTreeSet<_> = chosen.iter().collect();
        prop_assert_eq!(distinct.len(), chosen.len());
        let sound = off.values().filter(|vm| vm.fault.is_none()).count();
        let chosen_sound = chosen.iter().filter(|id| off[id].fault.is_none()).count();
        prop_assert_eq!(chosen_sound, chosen.len().min(sound), "VMs without a fault come first");

        let started = chosen.iter().fold(state, |state, id| {
            let n = id.as_str()[3..].parse().unwrap();
            let start = of_vm(n, Event::Starting { attempt: Attempt(9) });
            state.with(&[start], NOW).unwrap()
        });
        prop_assert_eq!(replenish(&started, &reservations, &settings, NOW), Vec::<VmId>::new());
    }

    #[test]
    fn only_what_is_idle_and_above_the_target_is_retired(pool in pools(), settings in limits()) {
        let state = pool.state();
        let reservations = reservations(&pool);
        let chosen = retire(&state, &reservations, &settings, NOW);
        let available: Vec<_> =
            spare(&pool, &state).into_iter().filter(|vm| vm.status() == Status::Available).collect();
        let surplus = available.len().saturating_sub(settings.warm_count as usize);
        let mut idle: Vec<_> = available
            .iter()
            .filter(|vm| settings.idle_timeout.is_some_and(|limit| NOW.since(vm.last_state_change) >= limit))
            .collect();
        idle.sort_by_key(|vm| (vm.last_state_change, vm.id.clone()));
        let expected: Vec<_> = idle.into_iter().take(surplus).map(|vm| vm.id.clone()).collect();
        prop_assert_eq!(&chosen, &expected);

        let missing_before = replenish(&state, &reservations, &settings, NOW).len();
        let retired = chosen.iter().fold(state.clone(), |state, id| {
            let n = id.as_str()[3..].parse().unwrap();
            state.with(&[of_vm(n, Event::Stopping { attempt: Attempt(9) })], NOW).unwrap()
        });
        let missing = replenish(&retired, &reservations, &settings, NOW).len();
        prop_assert_eq!(missing, missing_before, "what is retired must not have to be replaced");
    }
}
