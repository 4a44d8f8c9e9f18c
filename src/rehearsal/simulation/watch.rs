//! The rules that are checked while a run goes on, from outside the tree: on the journal, at the ingest, and on what the
//! cloud is asked for.

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::record::Record;
use super::rules::{ACKNOWLEDGED, INVARIANTS, ON_AIR, ONE_PUBLISHER, PUBLISHER, REPLAY, UNKNOWN};
use crate::actors::coordinator::Batch;
use crate::domain::ids::{InstanceId, Seq, ShowId, VmId};
use crate::domain::instance::{Instance, Launch, PowerChange};
use crate::domain::invariants;
use crate::domain::show::{Phase, Show};
use crate::domain::state::State;
use crate::domain::vm::{Occupancy, Power};
use crate::infra::cloud::{Cloud, Error, StateChange};
use crate::infra::ledger::Ledger;
use crate::rehearsal::stage::stream_key;
use crate::sim::direct::World;

/// Writes down every event of the ledger and checks the state after it, until the ledger is gone.
pub async fn follow(mut batches: Receiver<Arc<Batch>>, record: Record) {
    loop {
        match batches.recv().await {
            Ok(batch) => check_batch(&batch, &record),
            // The next batch has the whole state.
            Err(RecvError::Lagged(missed)) => record.note(&format!("(the log lacks {missed} batches)")),
            Err(RecvError::Closed) => return,
        }
    }
}

fn check_batch(batch: &Batch, record: &Record) {
    for entry in &batch.entries {
        // It was read from or written as JSON: it can be.
        let event = serde_json::to_value(&entry.event).unwrap_or(Value::Null);
        record.note(&format!("ledger {:>5}  {event}", entry.seq.0));
    }
    for violation in invariants::violations(&batch.state) {
        record.violated(INVARIANTS, violation);
    }
}

/// A journal that is opened holds everything that somebody was told had been done.
pub fn check_acknowledged(state: &State, acknowledged: Seq, record: &Record) {
    if state.seq < acknowledged {
        let what = format!(
            "the journal ends with {}, and {acknowledged} was acknowledged",
            state.seq
        );
        record.violated(ACKNOWLEDGED, what);
    }
}

/// A journal may have more than the state in memory: what its process died over. Where both end, they are the same.
pub fn check_replay(state: &State, replayed: &State, record: &Record) {
    if replayed.seq < state.seq {
        let what = format!("{} events in memory, {} in the journal", state.seq, replayed.seq);
        record.violated(REPLAY, what);
    } else if replayed.seq == state.seq && replayed != state {
        record.violated(REPLAY, format!("they differ after event {}", state.seq));
    }
}

/// Looks at who publishes, and compares it with what the ledger says.
pub fn check_air(state: &State, world: &World, record: &Record) {
    let ingest = world.ingest();
    for overlap in ingest.overlaps() {
        record.violated(ONE_PUBLISHER, format!("{overlap:?}"));
    }
    let now = world.clock().now();
    for stretch in ingest.stretches() {
        // What has not sent this very moment may have been silenced since.
        if !stretch.is_open || stretch.to < now {
            continue;
        }
        let shows = state.shows().find(|show| stream_key(&show.id) == stretch.key);
        let wrong = match shows {
            None => Some("the show is not in the ledger".to_owned()),
            Some(show) => stranger(state, show, world, stretch.publisher),
        };
        if let Some(wrong) = wrong {
            record.violated(
                PUBLISHER,
                format!("{} publishes {}: {wrong}", stretch.publisher, stretch.key),
            );
        }
    }
}

/// Why the show must not be published from this address, if it must not.
fn stranger(state: &State, show: &Show, world: &World, publisher: Ipv4Addr) -> Option<String> {
    // The ledger may not know yet that a machine has another address; the world does.
    let at = |vm: &VmId| {
        let machine = state.vm(vm).and_then(|vm| world.machine(vm.instance_id()));
        machine.is_some_and(|machine| machine.address() == publisher)
    };
    let may = match &show.phase {
        Phase::Idle => false,
        Phase::OffAir | Phase::OnAir | Phase::Releasing { .. } => show.may_publish && show.vm.iter().any(at),
        Phase::FailingOver(move_) => {
            let old = move_.fenced.is_none() && at(&move_.from);
            let new = move_.publishing_at.is_some() && move_.to.iter().any(at);
            old || new
        }
    };
    (!may).then(|| {
        format!(
            "the show is {} with VM {:?} in epoch {}",
            show.phase.as_str(),
            show.vm,
            show.epoch
        )
    })
}

/// The cloud, with somebody who reads along.
pub struct WatchedCloud {
    pub cloud: Arc<dyn Cloud>,
    pub ledger: Ledger,
    pub record: Record,
}

impl WatchedCloud {
    fn note<T>(&self, call: &str, answer: &Result<T, Error>) {
        match answer {
            Ok(_) => self.record.note(&format!("cloud  {call}: done")),
            Err(error) => self.record.note(&format!("cloud  {call}: {error}")),
        }
    }

    fn judge(&self, instance: &InstanceId, change: PowerChange) {
        let state = self.ledger.state();
        let Some(vm) = state.vm_of_instance(instance) else {
            let what = format!("{change:?} was asked for {instance}, which is not in the ledger");
            return self.record.violated(UNKNOWN, what);
        };
        if change == PowerChange::Start {
            return;
        }
        let show = match &vm.occupancy {
            Occupancy::OnAir { show, .. } => show,
            Occupancy::Free
            | Occupancy::Assigned { .. }
            | Occupancy::Releasing { .. }
            | Occupancy::Maintenance { .. } => return,
        };
        // A VM that is being left is fenced in this way.
        let is_left = state.show(show).is_some_and(|show| show.failover().is_some());
        if !is_left {
            let what = format!("{change:?} was asked for {instance}, on which show {show} is on air");
            self.record.violated(ON_AIR, what);
        }
    }
}

#[async_trait]
impl Cloud for WatchedCloud {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.cloud.list().await
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        self.cloud.describe(instance).await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        let answer = self.cloud.launch(launch).await;
        self.note("launch", &answer);
        answer
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        self.judge(instance, change);
        let answer = self.cloud.change(instance, change).await;
        self.note(&format!("{change:?} {instance}"), &answer);
        answer
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        let answer = self.cloud.tag(instance, tags).await;
        self.note(&format!("tag {instance}"), &answer);
        answer
    }
}

/// What is not yet as it is to be once nothing is wrong any more. `wanted` are the shows that nobody has given back.
pub fn unsettled(state: &State, world: &World, wanted: &[ShowId]) -> Vec<String> {
    let mut waits = Vec::new();
    for show in state.shows() {
        match &show.phase {
            Phase::Releasing { .. } => waits.push(format!("show {} is being released", show.id)),
            Phase::FailingOver(move_) => waits.push(format!("show {} is being moved: {move_:?}", show.id)),
            Phase::OffAir if show.stream_wanted => waits.push(format!("show {} is off air", show.id)),
            Phase::OnAir if !show.stream_wanted => {
                waits.push(format!("show {} is on air and is not to be", show.id));
            }
            Phase::OnAir if world.ingest().publishers(&stream_key(&show.id)).is_empty() => {
                waits.push(format!("show {} is on air, and nothing arrives", show.id));
            }
            Phase::Idle | Phase::OffAir | Phase::OnAir => {}
        }
    }
    for vm in state.vms() {
        match &vm.power {
            Power::Starting { .. } | Power::Booting | Power::Stopping { .. } => {
                waits.push(format!("{} is {:?}", vm.id, vm.power));
            }
            Power::Ready if vm.is_free() && vm.pursues_archive() => {
                waits.push(format!("recordings on {} are not archived", vm.id));
            }
            Power::Stopped | Power::Ready => {}
        }
    }
    let placed = |show: &&ShowId| state.show(show).is_none_or(|show| show.vm.is_none());
    let without = wanted.iter().filter(placed);
    waits.extend(without.map(|show| format!("show {show} has no VM")));
    waits
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::event::Event;
    use crate::domain::ids::Epoch;
    use crate::domain::state::Snapshot;
    use crate::domain::time::Timestamp;
    use crate::domain::{show, vm};
    use crate::sim::direct::WorldConfig;

    fn world() -> (World, InstanceId) {
        let world = World::start(WorldConfig {
            warm: 1,
            cold: 0,
            ..WorldConfig::default()
        });
        let world = world.unwrap();
        let instance = world.instances()[0].instance_id.clone();
        (world, instance)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_publishes_without_the_ledgers_knowledge_is_seen() {
        let (world, instance) = world();
        let record = Record::begin();
        let machine = world.machine(&instance).unwrap();
        machine.load_example_studio("key-gala").unwrap();
        check_air(&State::default(), &world, &record);
        assert!(!record.has_violations());
        machine
            .operate(crate::sim::model::studio::Studio::start_stream)
            .unwrap();
        let publishes = |ingest: &crate::sim::direct::Ingest| ingest.bytes("key-gala") > 0;
        assert!(world.ingest().until(Duration::from_secs(10), publishes).await);
        check_air(&State::default(), &world, &record);
        assert_eq!(record.violations()[0].rule, PUBLISHER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_what_the_ledger_does_not_know_is_seen_and_a_listing_is_none() {
        let (world, instance) = world();
        let record = Record::begin();
        let vault = Arc::new(crate::infra::vault::Vault::with_key(&[1; 32]).unwrap());
        let cloud = WatchedCloud {
            cloud: world.parts(&vault).cloud,
            ledger: Ledger::in_memory(),
            record: record.clone(),
        };
        cloud.list().await.unwrap();
        assert!(!record.has_violations());
        cloud.change(&instance, PowerChange::Stop).await.unwrap();
        assert_eq!(record.violations()[0].rule, UNKNOWN);
    }

    /// A VM in the pool, of this instance, that a show is on air on.
    fn on_air(instance: &Instance) -> Vec<Event> {
        let vm = VmId::new("vm-1").unwrap();
        let gala = ShowId::new("gala").unwrap();
        let epoch = Epoch(1);
        vec![
            Event::vm(
                &vm,
                vm::Event::Adopted {
                    instance: instance.clone(),
                },
            ),
            Event::vm(&vm, vm::Event::Ready),
            Event::show(
                &gala,
                show::Event::Assigned {
                    vm: vm.clone(),
                    epoch,
                    by: None,
                    key: None,
                },
            ),
            Event::show(&gala, show::Event::StreamWanted { wanted: true }),
            Event::show(&gala, show::Event::WentOnAir { epoch }),
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_of_a_vm_on_air_is_seen() {
        let (world, instance) = world();
        let record = Record::begin();
        let vault = Arc::new(crate::infra::vault::Vault::with_key(&[1; 32]).unwrap());
        let ledger = Ledger::in_memory();
        let events = on_air(&world.instance(&instance).unwrap());
        ledger.commit(Timestamp(1), events).await.unwrap();
        let cloud = WatchedCloud {
            cloud: world.parts(&vault).cloud,
            ledger,
            record: record.clone(),
        };
        cloud.change(&instance, PowerChange::Stop).await.unwrap();
        assert_eq!(record.violations()[0].rule, ON_AIR);
    }

    #[tokio::test(start_paused = true)]
    async fn two_publishers_of_one_show_are_seen() {
        let world = World::start(WorldConfig {
            warm: 2,
            cold: 0,
            ..WorldConfig::default()
        });
        let world = world.unwrap();
        let record = Record::begin();
        for instance in world.instances() {
            let machine = world.machine(&instance.instance_id).unwrap();
            machine.load_example_studio("key-gala").unwrap();
            let started = machine.operate(crate::sim::model::studio::Studio::start_stream);
            started.unwrap();
        }
        let both = |ingest: &crate::sim::direct::Ingest| ingest.publishers("key-gala").len() == 2;
        assert!(world.ingest().until(Duration::from_secs(10), both).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        check_air(&State::default(), &world, &record);
        assert_eq!(record.violations()[0].rule, ONE_PUBLISHER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_vm_that_two_shows_count_on_is_seen() {
        let (world, instance) = world();
        let record = Record::begin();
        let sound = State::default()
            .with(&on_air(&world.instance(&instance).unwrap()), Timestamp(1))
            .unwrap();
        let batch = |state| Batch {
            entries: Vec::new(),
            state: Arc::new(state),
        };
        check_batch(&batch(sound.clone()), &record);
        assert!(!record.has_violations());
        let mut snapshot = Snapshot::from(&sound);
        let mut other = Show::clone(&snapshot.shows[0]);
        other.id = ShowId::new("finals").unwrap();
        snapshot.shows.push(Arc::new(other));
        check_batch(&batch(State::from(snapshot)), &record);
        assert_eq!(record.violations()[0].rule, INVARIANTS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_has_less_or_other_than_was_said_is_seen_and_one_that_has_more_is_sound() {
        let (world, instance) = world();
        let events = on_air(&world.instance(&instance).unwrap());
        let (last, before) = events.split_last().unwrap();
        let less = State::default().with(before, Timestamp(1)).unwrap();
        let more = less.with(std::slice::from_ref(last), Timestamp(1)).unwrap();
        let stopped = Event::show(
            &ShowId::new("gala").unwrap(),
            show::Event::StreamWanted { wanted: false },
        );
        let other = less.with(&[stopped], Timestamp(1)).unwrap();
        let broken = |check: &dyn Fn(&Record)| {
            let record = Record::begin();
            check(&record);
            record.violations().first().map(|violation| violation.rule)
        };
        assert_eq!(broken(&|record| check_replay(&less, &more, record)), None);
        assert_eq!(broken(&|record| check_replay(&more, &more, record)), None);
        assert_eq!(broken(&|record| check_replay(&more, &less, record)), Some(REPLAY));
        assert_eq!(
            broken(&|record| check_replay(&more, &other, record)),
            Some(REPLAY)
        );
        assert_eq!(
            broken(&|record| check_acknowledged(&more, less.seq, record)),
            None
        );
        let lost = broken(&|record| check_acknowledged(&less, more.seq, record));
        assert_eq!(lost, Some(ACKNOWLEDGED));
    }

    #[tokio::test(start_paused = true)]
    async fn a_show_that_somebody_wants_and_that_has_no_vm_is_not_settled() {
        let (world, _) = world();
        let gala = ShowId::new("gala").unwrap();
        assert_eq!(unsettled(&State::default(), &world, &[]), Vec::<String>::new());
        assert_eq!(
            unsettled(&State::default(), &world, &[gala]),
            ["show gala has no VM"]
        );
    }
}
