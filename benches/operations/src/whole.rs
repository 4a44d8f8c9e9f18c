//! Operations beyond the domain: on the wire and in the ledger.

use futures_util::FutureExt as _;
use understudy::actors::board::Observation;
use understudy::actors::context::AddressKind;
use understudy::api::project::{self, Reach};
use understudy::api::socket::delta::Published;
use understudy::api::types::pool::{Counts, PoolDelta};
use understudy::api::types::vm::VmRecord;
use understudy::domain::event::Event;
use understudy::domain::health::Reading;
use understudy::domain::ids::Seq;
use understudy::domain::vm;
use understudy::infra::ledger::Ledger;

use super::{NOW, Pool, assigned, fold, instance, pool, vm_id};

fn reach() -> Reach {
    Reach {
        address: AddressKind::Private,
        server: 3003,
        obs: 4455,
        no_machine: 4000,
    }
}

fn seen() -> Observation {
    Observation {
        checked_at: Some(NOW),
        proven_at: Some(NOW),
        reading: Reading {
            node: Some(true),
            obs: Some(true),
            ..Reading::default()
        },
        uptime_s: Some(3_600.0),
        version: Some("1.0.0".to_owned()),
        ..Observation::default()
    }
}

/// One VM as it goes over the wire, written as JSON.
pub fn projection(pool: &Pool) -> String {
    let vm = pool.state.vm(&vm_id(3)).expect("it is in the pool");
    serde_json::to_string(&project::record(vm, &seen(), reach())).expect("plain data")
}

/// A pool that was told whole, and one VM of it as it is after it was given to a show.
pub fn told(size: usize) -> (Published, VmRecord) {
    let before = pool(size);
    let all = before
        .state
        .vms()
        .map(|vm| (vm.id.clone(), Some(project::record(vm, &seen(), reach()))));
    let mut published = Published::default();
    published.advance(1, project::counts(&before.state), all);
    let after = fold(&before);
    let vm = after.vm(&vm_id(0)).expect("it is in the pool");
    (published, project::record(vm, &seen(), reach()))
}

/// What there is to tell of that change.
pub fn delta((mut published, now): (Published, VmRecord)) -> PoolDelta {
    let counts = Counts::default();
    let changed = std::iter::once((vm_id(0), Some(now)));
    published.advance(2, counts, changed).expect("something changed")
}

/// A ledger in memory of so many VMs, all of them ready.
pub fn ledger(size: usize) -> Ledger {
    let ledger = Ledger::in_memory();
    let events = (0..size).flat_map(|number| {
        let (id, instance) = (vm_id(number), instance(number));
        [
            Event::vm(&id, vm::Event::Adopted { instance }),
            Event::vm(&id, vm::Event::Ready),
        ]
    });
    commit(&ledger, events.collect());
    // What holds the rows in memory makes room for more with the first one after these, once.
    let degraded = vm::Event::HealthTurned {
        health: vm::Health::Degraded,
    };
    commit(&ledger, vec![Event::vm(&vm_id(1), degraded)]);
    ledger
}

fn commit(ledger: &Ledger, events: Vec<Event>) -> Seq {
    // In memory there is nothing to wait for.
    let committed = ledger
        .commit(NOW, events)
        .now_or_never()
        .expect("it does not wait");
    committed.expect("the events can happen").seq
}

/// The assignment of a VM through the ledger: written as JSON, read back to be sure, folded and published.
pub fn journal(ledger: &Ledger) -> Seq {
    commit(ledger, vec![assigned(0)])
}
