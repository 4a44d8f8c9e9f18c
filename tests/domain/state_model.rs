//! The state against the naive model, under random events for several VMs and shows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use understudy::domain::candidates::Kind;
use understudy::domain::event::Event;
use understudy::domain::invariants::violations;
use understudy::domain::show::{Phase, RECORDS_MAX, Show};
use understudy::domain::state::{STARTS_MAX, Snapshot, State};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{Health, Occupancy, Power, Status, Vm};

use crate::candidates::{Step, VMS, steps};
use crate::fixtures::{instance, of_vm, vm_id};
use crate::model::{How, Machine, Model, On, Played, Stage, Use};

/// The pool that every run begins with: as many VMs as there are names, the first two already up.
fn beginning() -> Vec<Event> {
    use understudy::domain::vm::Event::{Adopted, Booting, Ready};
    let adopted = (1..=VMS).map(|n| {
        of_vm(
            n,
            Adopted {
                instance: instance(n),
            },
        )
    });
    adopted
        .chain((1..=2).flat_map(|n| [of_vm(n, Booting), of_vm(n, Ready)]))
        .collect()
}

struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        let model = beginning().iter().fold(Model::default(), |model, event| {
            model
                .after(event, Timestamp(1_000))
                .expect("the beginning is possible")
        });
        Just(model).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        steps(model)
    }

    fn apply(mut model: Model, step: &Step) -> Model {
        let at = Timestamp(model.at.0 + step.ms);
        if let Some(next) = model.after(&step.event, at) {
            return next;
        }
        model.at = at;
        model
    }
}

struct Machinery {
    state: State,
    journal: Vec<(Event, Timestamp)>,
    now: Timestamp,
}

impl StateMachineTest for Machinery {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(_: &Model) -> Self {
        let journal: Vec<_> = beginning()
            .into_iter()
            .map(|event| (event, Timestamp(1_000)))
            .collect();
        let mut state = State::default();
        for (event, at) in &journal {
            state.apply(event, *at).unwrap();
        }
        Self {
            state,
            journal,
            now: Timestamp(1_000),
        }
    }

    fn apply(mut this: Self, model: &Model, step: Step) -> Self {
        let at = Timestamp(this.now.0 + step.ms);
        this.now = at;
        let before = this.state.clone();
        match this.state.apply(&step.event, at) {
            Ok(()) => {
                let by_group = before.with(std::slice::from_ref(&step.event), at);
                assert_eq!(by_group.as_ref(), Ok(&this.state));
                assert_eq!(this.state.seq, before.seq.next());
                this.journal.push((step.event.clone(), at));
            }
            Err(_) => assert_eq!(
                this.state, before,
                "{:?} was refused but left a trace",
                step.event
            ),
        }
        // The model has already taken the step: had only one of the two accepted it, they would differ.
        agree(&this.state, model, &step.event);
        this
    }

    fn check_invariants(this: &Self, model: &Model) {
        assert_eq!(violations(&this.state), Vec::<String>::new());
        for (id, show) in &model.shows {
            assert!(
                show.may_publish.len() <= 1,
                "{id} may be sent by {:?}",
                show.may_publish
            );
            let known = show.vm.iter().filter(|_| show.loud);
            assert!(
                matches!(show.stage, Stage::Moving(_))
                    || known.eq(&show.may_publish)
                    || show.may_publish.is_empty(),
                "{id} may be sent by {:?} unknown to it",
                show.may_publish
            );
        }
        indexes_agree_with_a_recount(&this.state);
        let text = serde_json::to_string(&Snapshot::from(&this.state)).unwrap();
        let read: Snapshot = serde_json::from_str(&text).unwrap();
        assert_eq!(
            State::from(read),
            this.state,
            "a snapshot read back is another state"
        );
    }

    fn teardown(this: Self, _: Model) {
        let mut again = State::default();
        for (event, at) in &this.journal {
            let text = serde_json::to_string(event).unwrap();
            again.apply(&serde_json::from_str(&text).unwrap(), *at).unwrap();
        }
        assert_eq!(again, this.state, "the journal replayed gives another state");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_state_and_the_naive_model_agree_whatever_happens(sequential 1..60 => Machinery);
}

fn agree(state: &State, model: &Model, event: &Event) {
    let known: Vec<_> = state.vms().map(|vm| &vm.id).collect();
    assert_eq!(known, model.vms.keys().collect::<Vec<_>>(), "after {event:?}");
    for vm in state.vms() {
        same_vm(vm, &model.vms[&vm.id], event);
    }
    let known: Vec<_> = state.shows().map(|show| &show.id).collect();
    assert_eq!(known, model.shows.keys().collect::<Vec<_>>(), "after {event:?}");
    for show in state.shows() {
        same_show(show, &model.shows[&show.id], event);
    }
    let keys: BTreeSet<_> = Snapshot::from(state)
        .keys
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, model.keys, "after {event:?}");
    let latest = model.starts.len().saturating_sub(STARTS_MAX);
    let mut starts = model.starts[latest..].to_vec();
    assert_eq!(Snapshot::from(state).starts, starts, "after {event:?}");
    starts.sort();
    assert_eq!(
        state.median_start(),
        starts.get(starts.len() / 2).copied(),
        "after {event:?}"
    );
}

fn same_vm(vm: &Vm, plain: &Machine, event: &Event) {
    let on = match vm.power {
        Power::Stopped => On::Off,
        Power::Starting { .. } => On::Starting,
        Power::Booting => On::Booting,
        Power::Ready => On::Ready,
        Power::Stopping { .. } => On::Stopping,
    };
    let held = |show: &_, epoch: &understudy::domain::ids::Epoch, how| Use::Held {
        show: Clone::clone(show),
        epoch: epoch.0,
        how,
    };
    let used = match &vm.occupancy {
        Occupancy::Free => Use::Free,
        Occupancy::Maintenance { .. } => Use::Maintenance,
        Occupancy::Assigned { show, epoch } => held(show, epoch, How::Assigned),
        Occupancy::OnAir { show, epoch } => held(show, epoch, How::OnAir),
        Occupancy::Releasing { show, epoch } => held(show, epoch, How::Releasing),
    };
    let fault_since = vm.fault.as_ref().map(|fault| fault.since);
    let told = format!("{} after {event:?}", vm.id);
    assert_eq!((on, used), (plain.on, plain.used.clone()), "{told}");
    assert_eq!(
        (vm.health, fault_since),
        (plain.health, plain.fault_since),
        "{told}"
    );
    assert_eq!(
        (&vm.instance.instance_id, &vm.instance.name),
        (&plain.instance, &plain.name),
        "{told}"
    );
    assert_eq!(vm.leftover.is_some(), plain.left, "{told}");
    let unarchived = vm.unarchived.iter();
    let unarchived = unarchived.map(|left| (left.archive.folder.clone(), left.is_under_way()));
    assert_eq!(unarchived.collect::<Vec<_>>(), plain.unarchived, "{told}");
    assert_eq!(vm.attempts.0, plain.attempts, "{told}");
    assert_eq!(vm.status().as_str(), plain.status(), "{told}");
}

fn same_show(show: &Show, plain: &Played, event: &Event) {
    let stage = match &show.phase {
        Phase::Idle => Stage::Idle,
        Phase::OffAir => Stage::OffAir,
        Phase::OnAir => Stage::OnAir,
        Phase::Releasing { .. } => Stage::Releasing,
        Phase::FailingOver(failover) => Stage::Moving(crate::model::Move {
            from: failover.from.clone(),
            to: failover.to.clone(),
            fenced: failover.fenced.is_some(),
            restored: failover.restored_at.is_some(),
            publishing: failover.publishing_at.is_some(),
            publish: failover.publish,
        }),
    };
    let told = format!("{} after {event:?}", show.id);
    assert_eq!((stage, &show.vm), (plain.stage.clone(), &plain.vm), "{told}");
    assert_eq!(
        (show.epoch.0, show.stream_wanted, show.may_publish),
        (plain.epoch, plain.wanted, plain.loud),
        "{told}"
    );
    assert_eq!(
        (show.held, show.studio.is_some()),
        (plain.held, plain.captured),
        "{told}"
    );
    assert_eq!(
        (show.stop_asked, show.unrestored, show.uncompared),
        (plain.stop_asked, plain.unrestored, plain.uncompared),
        "{told}"
    );
    assert_eq!(show.records.len(), plain.moves.min(RECORDS_MAX), "{told}");
}

fn indexes_agree_with_a_recount(state: &State) {
    for status in Status::ALL {
        let indexed: BTreeSet<_> = state.with_status(status).map(|vm| vm.id.clone()).collect();
        let counted: BTreeSet<_> = state
            .vms()
            .filter(|vm| vm.status() == status)
            .map(|vm| vm.id.clone())
            .collect();
        assert_eq!(indexed, counted, "{status}");
        assert_eq!(state.count(status), counted.len(), "{status}");
    }
    assert_eq!(state.vm_count(), state.vms().count());
    for n in 1..=VMS {
        let known = &instance(n).instance_id;
        let found = state.vm_of_instance(known).map(|vm| vm.id.clone());
        let expected = state
            .vms()
            .find(|vm| vm.instance_id() == known)
            .map(|vm| vm.id.clone());
        assert_eq!(found, expected, "{known}");
        assert_eq!(
            state.vm(&vm_id(n)).map(|vm| vm.id.clone()).is_some(),
            state.vms().any(|vm| vm.id == vm_id(n))
        );
    }
    candidates_agree_with_a_recount(state);
    let placed: Vec<_> = state.placed_shows().map(|show| show.id.clone()).collect();
    let expected: Vec<_> = state
        .shows()
        .filter(|show| show.vm.is_some())
        .map(|show| show.id.clone())
        .collect();
    assert_eq!(placed, expected);
    assert_eq!(state.placed_count(), expected.len());
    for show in state.shows() {
        let vm = state.vm_of_show(&show.id).map(|vm| vm.id.clone());
        assert_eq!(vm, show.vm);
        assert_eq!(state.next_epoch(&show.id), show.epoch.next());
    }
}

fn candidates_agree_with_a_recount(state: &State) {
    let kinds = |vm: &Vm| match (vm.status(), vm.power) {
        (Status::Available, _) if vm.health == Health::Healthy => Some(Kind::Healthy),
        (Status::Available, _) => Some(Kind::Unwell),
        (Status::Starting, Power::Booting) => Some(Kind::Booting),
        (Status::Starting, _) => Some(Kind::Starting),
        (Status::Stopped, _) => Some(Kind::Off),
        (Status::Error, Power::Stopped) => Some(Kind::Failed),
        _ => None,
    };
    let (mut indexed, mut counted) = (BTreeSet::new(), BTreeSet::new());
    for kind in [Kind::AVAILABLE, Kind::RISING, [Kind::Off, Kind::Failed]].concat() {
        for (zone, lot) in state.candidates().lots(kind) {
            indexed.extend(
                lot.iter()
                    .map(|(_, id)| (kind, zone.map(str::to_owned), id.clone())),
            );
        }
        let count = counted_as(state, |vm| vm.is_free() && kinds(vm) == Some(kind));
        assert_eq!(state.candidates().count(kind), count, "{kind:?}");
    }
    for vm in state.vms().filter(|vm| vm.is_free()) {
        let zone = vm.instance.availability_zone.clone();
        counted.extend(kinds(vm).map(|kind| (kind, zone, vm.id.clone())));
    }
    assert_eq!(indexed, counted);
    let is_up = |vm: &Vm| !matches!(vm.status(), Status::Starting | Status::Stopped);
    let awaited = counted_as(state, |vm| vm.occupancy.tenant().is_some() && !is_up(vm));
    assert_eq!(state.candidates().awaited(), awaited);
    for zone in ["zone-0", "zone-1", "zone-2"] {
        let goes_there = |show: &Show| {
            let target = show.failover().and_then(|failover| failover.to.as_ref());
            let vm = target.or(show.vm.as_ref()).and_then(|vm| state.vm(vm));
            vm.is_some_and(|vm| vm.instance.availability_zone.as_deref() == Some(zone))
        };
        let counted = state.shows().filter(|show| goes_there(show)).count();
        assert_eq!(state.shows_in_zone(zone), counted, "{zone}");
    }
}

fn counted_as(state: &State, is_one: impl Fn(&Vm) -> bool) -> usize {
    state.vms().filter(|vm| is_one(vm)).count()
}

/// Without this the agreement above might be about nothing but idle VMs.
#[test]
fn the_random_events_lead_into_every_step_of_a_move_and_leave_recordings() {
    let mut runner = TestRunner::deterministic();
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..48 {
        let (mut model, steps, _) = Reference::sequential_strategy(40..60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        for step in steps {
            let next = Reference::apply(model.clone(), &step);
            for (id, show) in &next.shows {
                let before = model.shows.get(id).map(|show| &show.stage);
                if let Some(corner) = corner(before, &show.stage) {
                    *reached.entry(corner).or_default() += 1;
                }
            }
            for (id, vm) in &next.vms {
                let before = model.vms.get(id).map_or(&[][..], |vm| &vm.unarchived);
                if let Some(corner) = corner_of_recordings(before, &vm.unarchived) {
                    *reached.entry(corner).or_default() += 1;
                }
            }
            model = next;
        }
    }
    let expected = [
        "abandoned",
        "lost while publishing",
        "lost",
        "on air elsewhere",
        "publishing",
        "recovered",
        "recordings left",
        "recordings tried again",
        "returned",
    ];
    for corner in expected {
        assert!(reached.contains_key(corner), "{corner}: {reached:?}");
    }
}

fn corner_of_recordings(before: &[(String, bool)], after: &[(String, bool)]) -> Option<&'static str> {
    let tried = |all: &[(String, bool)]| all.iter().filter(|(_, tried)| *tried).count();
    if after.len() > before.len() {
        Some("recordings left")
    } else if tried(after) > tried(before) {
        Some("recordings tried again")
    } else {
        None
    }
}

fn corner(before: Option<&Stage>, after: &Stage) -> Option<&'static str> {
    match (before?, after) {
        (Stage::Moving(was), Stage::Moving(is)) if was.to.is_some() && is.to.is_none() => {
            Some(if was.publishing {
                "lost while publishing"
            } else {
                "lost"
            })
        }
        (Stage::Moving(was), Stage::Moving(is)) if !was.publishing && is.publishing => Some("publishing"),
        (Stage::Moving(was), Stage::OnAir) => Some(if was.fenced {
            "on air elsewhere"
        } else {
            "recovered"
        }),
        (Stage::Moving(was), Stage::OffAir) if was.publish && was.to.is_none() => Some("returned"),
        (Stage::Moving(_), Stage::OffAir) => Some("abandoned"),
        _ => None,
    }
}
