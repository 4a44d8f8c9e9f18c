//! Events to try on a model: every kind for every VM and show, sensible and not.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use understudy::domain::archive::{Ending as Archived, Event as Archive};
use understudy::domain::event::Event;
use understudy::domain::failover::{Cause, Ending, Fence};
use understudy::domain::ids::{Attempt, Epoch, RequestKey};
use understudy::domain::instance::{Instance, InstanceState};
use understudy::domain::show;
use understudy::domain::studio::Studio;
use understudy::domain::vm::{self, Health};

use crate::fixtures::{
    archive, archive_asked, cleaned, evidence, instance, of_show, of_vm, set_up, show_id, vm_id,
};
use crate::model::{Model, Stage};

pub const VMS: usize = 4;
pub const SHOWS: usize = 2;

/// An event, and the milliseconds that have passed since the one before.
#[derive(Debug, Clone)]
pub struct Step {
    pub event: Event,
    pub ms: u64,
}

/// What leads a show on air and through a move to its end. Left to chance alone few would get there.
const ONWARD: [&str; 8] = [
    "show assigned",
    "show on air",
    "show failing over",
    "show spare",
    "show fenced",
    "show restored",
    "show publishing",
    "show moved on air",
];

/// What leads a show that is being released to recordings left on its VM, and on from there.
const RECORDED: [&str; 4] = [
    "show archive asked",
    "show archive failed",
    "show released",
    "vm archive resumed",
];

/// Mostly what can happen, each kind alike, and often what leads onward; sometimes anything.
pub fn steps(model: &Model) -> BoxedStrategy<Step> {
    let (mut any, mut of_shows, mut of_vms) = (Kinds::new(), Kinds::new(), Kinds::new());
    let (mut onward, mut recorded) = (Vec::new(), Vec::new());
    for (kind, event) in candidates(model) {
        any.entry(kind).or_default().push(event.clone());
        let Some(next) = model.after(&event, model.at) else {
            continue;
        };
        if ONWARD.contains(&kind) && stages(&next) != stages(model) {
            onward.push(event.clone());
        }
        if RECORDED.contains(&kind) {
            recorded.push(event.clone());
        }
        let possible = if kind.starts_with("show") {
            &mut of_shows
        } else {
            &mut of_vms
        };
        possible.entry(kind).or_default().push(event);
    }
    let any = one_of(any);
    let event = prop_oneof![
        8 => if onward.is_empty() { any.clone() } else { select(onward).boxed() },
        6 => if of_shows.is_empty() { any.clone() } else { one_of(of_shows) },
        4 => if recorded.is_empty() { any.clone() } else { select(recorded).boxed() },
        3 => if of_vms.is_empty() { any.clone() } else { one_of(of_vms) },
        5 => any,
    ];
    let ms = prop_oneof![4 => 0u64..1_000, 1 => Just(400_000)];
    (event, ms).prop_map(|(event, ms)| Step { event, ms }).boxed()
}

type Kinds = BTreeMap<&'static str, Vec<Event>>;

fn one_of(kinds: Kinds) -> BoxedStrategy<Event> {
    let kinds: Vec<_> = kinds.into_values().collect();
    select(kinds).prop_flat_map(select).boxed()
}

fn stages(model: &Model) -> Vec<&Stage> {
    model.shows.values().map(|show| &show.stage).collect()
}

fn candidates(model: &Model) -> Vec<(&'static str, Event)> {
    let mut all = Vec::new();
    for n in 1..=VMS {
        let used = model.vms.get(&vm_id(n)).map_or(0, |vm| vm.attempts);
        all.extend(
            vm_events(n, used)
                .into_iter()
                .chain(other_vm_events())
                .map(|(kind, event)| (kind, of_vm(n, event))),
        );
    }
    for n in 1..=SHOWS {
        let show = model.shows.get(&show_id(n));
        let epoch = show.map_or(0, |show| show.epoch);
        let own = show.and_then(|show| show.vm.clone());
        let failing_over = show.is_some_and(|show| matches!(show.stage, Stage::Moving(_)));
        let mut events = show_events(epoch);
        events.extend(show_events(epoch + 1));
        for m in 1..=VMS {
            // A show's own VM is where most that is worth trying happens.
            let suits = failing_over || own.is_none() || own == Some(vm_id(m)) || m % 2 == 0;
            if suits {
                let own = || own.clone().unwrap_or_else(|| vm_id(1));
                events.extend(show_vm_events(m, epoch, own()));
                events.extend(show_vm_events(m, epoch + 1, own()).into_iter().filter(|_| m == 2));
            }
        }
        all.extend(events.into_iter().map(|(kind, event)| (kind, of_show(n, event))));
    }
    all
}

fn vm_events(n: usize, used: u64) -> Vec<(&'static str, vm::Event)> {
    let described = |n, state| Instance {
        state,
        name: Some("renamed".into()),
        ..instance(n)
    };
    vec![
        (
            "vm adopted",
            vm::Event::Adopted {
                instance: described(n, InstanceState::Running),
            },
        ),
        (
            "vm adopted",
            vm::Event::Adopted {
                instance: described(n, InstanceState::Stopped),
            },
        ),
        (
            "vm adopted",
            vm::Event::Adopted {
                instance: described(n % VMS + 1, InstanceState::Pending),
            },
        ),
        (
            "vm described",
            vm::Event::Described {
                instance: described(n, InstanceState::Running),
            },
        ),
        (
            "vm described",
            vm::Event::Described {
                instance: described(n % VMS + 1, InstanceState::Running),
            },
        ),
        (
            "vm starting",
            vm::Event::Starting {
                attempt: Attempt(used + 1),
            },
        ),
        (
            "vm starting",
            vm::Event::Starting {
                attempt: Attempt(used),
            },
        ),
        ("vm booting", vm::Event::Booting),
        ("vm ready", vm::Event::Ready),
        ("vm ready", vm::Event::Ready),
        (
            "vm stopping",
            vm::Event::Stopping {
                attempt: Attempt(used + 1),
            },
        ),
        (
            "vm stopping",
            vm::Event::Stopping {
                attempt: Attempt(used),
            },
        ),
    ]
}

fn other_vm_events() -> Vec<(&'static str, vm::Event)> {
    let health = |health| vm::Event::HealthTurned { health };
    vec![
        (
            "vm stop failed",
            vm::Event::StopFailed {
                reason: "throttled".into(),
            },
        ),
        ("vm stopped", vm::Event::Stopped),
        ("vm gone", vm::Event::Gone),
        ("vm health", health(Health::Unhealthy)),
        ("vm health", health(Health::Degraded)),
        ("vm health", health(Health::Healthy)),
        (
            "vm faulted",
            vm::Event::Faulted {
                reason: "it crashed".into(),
            },
        ),
        ("vm fault cleared", vm::Event::FaultCleared),
        (
            "vm withheld",
            vm::Event::Withheld {
                reason: "recordings are on it".into(),
            },
        ),
        (
            "vm archive resumed",
            vm::Event::ArchiveResumed { folder: folder() },
        ),
        ("vm archive ended", archive_ended(Archived::Done { older: 0 })),
        ("vm archive ended", archive_ended(no_bucket())),
        ("vm cleaned", cleaned(true)),
        ("vm not clean", cleaned(false)),
        ("vm maintenance", vm::Event::MaintenanceBegan { reason: None }),
        ("vm maintenance ended", vm::Event::MaintenanceEnded),
    ]
}

/// The folder that all shows archive to here.
fn folder() -> String {
    match archive_asked() {
        Archive::Asked { folder, .. } => folder,
        other => panic!("{other:?} names no folder"),
    }
}

fn no_bucket() -> Archived {
    let reason = "no bucket".into();
    Archived::Failed { reason }
}

fn archive_ended(ending: Archived) -> vm::Event {
    vm::Event::Archive {
        folder: folder(),
        event: Archive::Ended { ending },
    }
}

/// Those in which no VM is named.
fn show_events(epoch: u64) -> Vec<(&'static str, show::Event)> {
    let epoch = Epoch(epoch);
    let ended = |ending| show::Event::FailoverEnded { epoch, ending };
    let archived = |ending| archive(epoch.0, Archive::Ended { ending });
    let studio = Arc::new(Studio {
        scene_collection: "Show".into(),
        program_scene: "Main".into(),
        ..Studio::default()
    });
    vec![
        ("show wanted", show::Event::StreamWanted { wanted: true }),
        ("show not wanted", show::Event::StreamWanted { wanted: false }),
        ("show on air", show::Event::WentOnAir { epoch }),
        ("show off air", show::Event::WentOffAir { epoch }),
        ("show captured", show::Event::Captured { studio }),
        ("show set up", set_up(false)),
        ("show set up now", set_up(true)),
        (
            "show held",
            show::Event::Held {
                held: epoch.0.is_multiple_of(2),
            },
        ),
        (
            "show fenced",
            show::Event::Fenced {
                epoch,
                how: Fence::StudioKilled,
            },
        ),
        (
            "show restored",
            show::Event::Restored {
                epoch,
                differences: vec!["no font".into()],
                by: None,
            },
        ),
        (
            "show compared",
            show::Event::Compared {
                epoch,
                differences: Vec::new(),
            },
        ),
        (
            "show silenced",
            show::Event::Silenced {
                epoch,
                how: Fence::StreamStopped,
            },
        ),
        ("show publishing", show::Event::Publishing { epoch }),
        ("show moved on air", ended(Ending::OnAir)),
        ("show moved", ended(Ending::Moved)),
        ("show recovered", ended(Ending::Recovered)),
        ("show returned", ended(Ending::Returned)),
        ("show move abandoned", ended(Ending::Abandoned)),
        ("show archive asked", archive(epoch.0, archive_asked())),
        ("show archive ended", archived(Archived::Done { older: 1 })),
        ("show archive failed", archived(no_bucket())),
        (
            "show releasing",
            show::Event::ReleaseBegan {
                stop_vm: epoch.0.is_multiple_of(2),
                key: RequestKey::new(format!("release-{}", epoch.0)).ok(),
            },
        ),
        (
            "show release joined",
            show::Event::ReleaseJoined {
                key: RequestKey::new(format!("joined-{}", epoch.0)).unwrap(),
            },
        ),
    ]
}

fn show_vm_events(
    m: usize,
    now: u64,
    own: understudy::domain::ids::VmId,
) -> Vec<(&'static str, show::Event)> {
    let key = |word: &str| RequestKey::new(format!("{word}-{now}")).ok();
    let (vm, next) = (vm_id(m), Epoch(now + 1));
    let began = |to, cause| show::Event::FailoverBegan {
        epoch: next,
        cause,
        to,
        evidence: evidence(),
    };
    let assigned = |key| show::Event::Assigned {
        vm: vm.clone(),
        epoch: next,
        by: Some("ada".into()),
        key,
    };
    vec![
        ("show assigned", assigned(None)),
        ("show assigned", assigned(key("assign"))),
        (
            "show reassigned",
            show::Event::Reassigned {
                from: own,
                vm: vm.clone(),
                epoch: next,
            },
        ),
        ("show failing over", began(Some(vm.clone()), Cause::MachineLost)),
        ("show failing over", began(None, Cause::Forced)),
        (
            "show spare",
            show::Event::SpareChosen {
                epoch: Epoch(now),
                vm: vm.clone(),
            },
        ),
        (
            "show spare lost",
            show::Event::SpareLost {
                epoch: next,
                vm: vm.clone(),
                reason: "it died".into(),
            },
        ),
        (
            "show released",
            show::Event::Released {
                vm: vm.clone(),
                key: None,
            },
        ),
        (
            "show released",
            show::Event::Released {
                vm,
                key: key("assign"),
            },
        ),
    ]
}
