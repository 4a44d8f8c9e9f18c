//! The people of a run: producers, who want their shows on air whatever it takes, and operators, who give orders.
//!
//! They reach the coordinator as clients do: whoever waits for an answer when its process dies gets none and asks again.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::plan::{GiveBack, Order, SetUp};
use super::record::Record;
use super::rules::ACKNOWLEDGED;
use crate::actors::coordinator::{Apply, Assign, CommandError, Configure, Coordinator, Release};
use crate::domain::ids::{RequestKey, Seq, ShowId};
use crate::domain::state::State;
use crate::domain::studio::Secret;
use crate::infra::watch;
use crate::rehearsal::stage::stream_key;
use crate::sim::direct::World;
use crate::sim::model::machine::Machine;
use crate::sim::model::studio::Studio;

/// Before somebody who was refused asks again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long a producer waits for a VM before asking for it again.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Looks at a studio that is set up by hand.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of which there are so many before the producer asks the coordinator again.
const LOOKS_MAX: usize = 60;

/// Where the coordinator is reached, whichever it is now. Clones share it.
#[derive(Clone)]
pub(super) struct Desk {
    pub world: Arc<World>,
    pub record: Record,
    coordinator: Arc<watch::Sender<Option<Coordinator>>>,
    /// Last event of the journal when something was answered with success.
    acknowledged: Arc<AtomicU64>,
    waiting: Arc<AtomicUsize>,
}

/// Counts somebody who waits, until dropped.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    pub(super) fn new(world: Arc<World>, record: Record) -> Self {
        Self {
            world,
            record,
            coordinator: Arc::new(watch::Sender::new(None)),
            acknowledged: Arc::default(),
            waiting: Arc::default(),
        }
    }

    pub(super) fn open(&self, coordinator: Coordinator) {
        self.coordinator.send_replace(Some(coordinator));
    }

    /// From here on nobody answers.
    pub(super) fn close(&self) {
        self.coordinator.send_replace(None);
    }

    pub(super) fn acknowledged(&self) -> Seq {
        Seq(self.acknowledged.load(Ordering::Relaxed))
    }

    pub(super) fn is_waited_at(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn present(&self) -> Option<Coordinator> {
        self.coordinator.borrow().clone()
    }

    /// One command and its answer; `None` if nobody answers, or the coordinator dies over it.
    async fn command<T: Debug, F: Future<Output = Result<T, CommandError>>>(
        &self,
        what: &str,
        command: impl FnOnce(Coordinator) -> F,
    ) -> Option<Result<T, CommandError>> {
        let mut lives = self.coordinator.subscribe();
        let Some(coordinator) = lives.borrow_and_update().clone() else {
            self.record.note(&format!("asked {what}: nobody answers"));
            return None;
        };
        let answer = tokio::select! {
            // What a process says in the moment in which it dies does not arrive.
            biased;
            _ = lives.changed() => {
                self.record.note(&format!("asked {what}: the connection is lost"));
                return None;
            }
            answer = command(coordinator.clone()) => answer,
        };
        match &answer {
            Ok(answer) => {
                self.acknowledged
                    .fetch_max(coordinator.state().seq.0, Ordering::Relaxed);
                self.record.note(&format!("asked {what}: {answer:?}"));
                self.record.count("commands carried out".to_owned());
            }
            Err(error) => {
                self.record.note(&format!("asked {what}: {error}"));
                self.record.count("commands refused".to_owned());
            }
        }
        Some(answer)
    }

    /// Gives an order and goes away; the answer is only written down.
    pub(super) fn ask<F: Future<Output = Result<(), CommandError>> + Send + 'static>(
        &self,
        what: String,
        command: impl FnOnce(Coordinator) -> F + Send + 'static,
    ) {
        let desk = self.clone();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(Arc::clone(&self.waiting));
        tokio::spawn(async move {
            desk.command(&what, command).await;
            drop(waiting);
        });
    }
}

struct Production {
    work: JoinHandle<()>,
    is_wanted: bool,
}

/// Every show that was asked for.
pub(super) struct Productions {
    desk: Desk,
    productions: BTreeMap<ShowId, Production>,
}

impl Productions {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            desk,
            productions: BTreeMap::new(),
        }
    }

    /// A producer begins, and does not rest before the show is on air.
    pub(super) fn begin(&mut self, show: ShowId, how: SetUp) {
        self.desk.record.count("shows".to_owned());
        let producer = Producer {
            desk: self.desk.clone(),
            show: show.clone(),
            how,
            renewed: 0,
        };
        self.replace(show, tokio::spawn(producer.work()), true);
    }

    /// What the show is to be made from is said, until it has been heard.
    pub(super) fn schedule(&mut self, show: ShowId) {
        self.desk.record.count("scheduled".to_owned());
        let work = schedule(self.desk.clone(), show.clone());
        self.replace(show, tokio::spawn(work), false);
    }

    /// The show is over: its VM is given back, however often that has to be asked for.
    pub(super) fn release(&mut self, show: ShowId, how: GiveBack) {
        let work = release(self.desk.clone(), show.clone(), how);
        self.replace(show, tokio::spawn(work), false);
    }

    pub(super) fn cancel(&mut self, show: ShowId) {
        self.desk.record.count("cancelled".to_owned());
        self.release(show, GiveBack::AsItIs);
    }

    fn replace(&mut self, show: ShowId, work: JoinHandle<()>, is_wanted: bool) {
        let before = self.productions.insert(show, Production { work, is_wanted });
        if let Some(before) = before {
            before.work.abort();
        }
    }

    /// Somebody gives an order about a show.
    pub(super) fn order(&self, show: ShowId, order: Order) {
        let what = format!("{order:?} of {show}");
        match order {
            Order::StreamOff => self.desk.ask(what, |coordinator| async move {
                coordinator.stop_show(show, None).await.map(|_| ())
            }),
            Order::StreamOn => self.desk.ask(what, |coordinator| async move {
                coordinator.start_show(show, None).await.map(|_| ())
            }),
            Order::Hold { held } => self.desk.ask(what, move |coordinator| async move {
                coordinator.hold(show, held, None).await
            }),
            Order::Failover => self.desk.ask(what, |coordinator| async move {
                coordinator.failover(show, None, None).await.map(|_| ())
            }),
        }
    }

    /// Shows that somebody wants and nobody has given back.
    pub(super) fn wanted(&self) -> Vec<ShowId> {
        let wanted = self
            .productions
            .iter()
            .filter(|(_, production)| production.is_wanted);
        wanted.map(|(show, _)| show.clone()).collect()
    }

    /// Whether somebody still waits for an answer, or asks again.
    pub(super) fn is_busy(&self) -> bool {
        self.desk.is_waited_at()
            || self
                .productions
                .values()
                .any(|production| !production.work.is_finished())
    }

    pub(super) fn end(&self) {
        self.productions
            .values()
            .for_each(|production| production.work.abort());
    }
}

async fn schedule(desk: Desk, show: ShowId) {
    while set_up(&desk, &show, Apply::Later).await.is_none() {
        sleep(AGAIN_AFTER).await;
    }
}

/// Says what the show's studio is to be made from.
async fn set_up(desk: &Desk, show: &ShowId, apply: Apply) -> Option<()> {
    let ask = Configure {
        template: "multi-camera".to_owned(),
        variables: variables(show),
        stream_server: Some(desk.world.ingest().server_url()),
        stream_key: Some(Secret::new(stream_key(show))),
        apply,
    };
    let what = format!("set-up of {show}");
    let id = show.clone();
    let asked = desk.command(&what, |coordinator| async move {
        coordinator.set_up_show(id, ask).await
    });
    match asked.await? {
        // Refused while it is on air or on the move: then it was set up before.
        Ok(()) | Err(CommandError::WrongPhase { .. }) => Some(()),
        Err(_) => None,
    }
}

async fn release(desk: Desk, show: ShowId, how: GiveBack) {
    let (stop_vm, archive) = match how {
        GiveBack::AsItIs => (false, false),
        GiveBack::Stopped => (true, false),
        GiveBack::Archived => (false, true),
    };
    for number in 0_u32.. {
        let ask = Release {
            stop_vm,
            archive,
            key: RequestKey::new(format!("release-{show}-{number}")).ok(),
            ..Release::default()
        };
        while !is_released(&desk, &show, &ask).await {
            sleep(AGAIN_AFTER).await;
        }
        // An assign that was given up by whoever asked for it may have come after all.
        sleep(AGAIN_AFTER).await;
        let present = desk.present();
        if present.is_some_and(|coordinator| coordinator.state().vm_of_show(&show).is_none()) {
            return;
        }
    }
}

async fn is_released(desk: &Desk, show: &ShowId, ask: &Release) -> bool {
    let what = format!("release of {show}");
    let (id, ask) = (show.clone(), ask.clone());
    let released = desk.command(&what, |coordinator| coordinator_release(coordinator, id, ask));
    matches!(released.await, Some(Ok(())))
}

async fn coordinator_release(
    coordinator: Coordinator,
    show: ShowId,
    ask: Release,
) -> Result<(), CommandError> {
    coordinator.release(show, ask).await.map(|_| ())
}

/// Whoever sets up one show.
struct Producer {
    desk: Desk,
    show: ShowId,
    how: SetUp,
    /// How often the answer was that what had been asked for is over.
    renewed: u32,
}

impl Producer {
    async fn work(mut self) {
        while self.attempt().await.is_none() {
            sleep(AGAIN_AFTER).await;
        }
    }

    /// From nothing to the stream; every step may find that it was done before.
    async fn attempt(&mut self) -> Option<()> {
        self.assign().await?;
        match self.how {
            SetUp::ByHand | SetUp::Recorded => {
                self.ready().await?;
                self.by_hand().await?;
            }
            SetUp::Configured => set_up(&self.desk, &self.show, Apply::OffAir).await?,
            // Unless whoever scheduled it was not heard before it began.
            SetUp::Scheduled => {
                let state = self.desk.present()?.state();
                if state.show(&self.show)?.configuration.is_none() {
                    set_up(&self.desk, &self.show, Apply::OffAir).await?;
                }
            }
        }
        let show = self.show.clone();
        let what = format!("start of {show}");
        let started = self.desk.command(&what, |coordinator| async move {
            coordinator.start_show(show, Some("producer".to_owned())).await
        });
        started.await?.ok().map(|_| ())
    }

    async fn assign(&mut self) -> Option<()> {
        let show = self.show.clone();
        let ask = Assign {
            by: Some("producer".to_owned()),
            key: RequestKey::new(format!("assign-{show}-{}", self.renewed)).ok(),
            ..Assign::default()
        };
        let what = format!("assign of {show}");
        let record = self.desk.record.clone();
        let asked = self.desk.command(&what, |coordinator| async move {
            let assigned = coordinator.assign(show.clone(), ask).await?;
            let epoch = coordinator.state().show(&show).map(|show| show.epoch);
            if epoch.is_none_or(|epoch| epoch < assigned.epoch) {
                let what = format!("{assigned:?} was answered, and the ledger says {epoch:?}");
                record.violated(ACKNOWLEDGED, what);
            }
            Ok(assigned)
        });
        match asked.await? {
            Ok(_) | Err(CommandError::AlreadyAssigned { .. }) => Some(()),
            Err(CommandError::Refused(error)) => {
                let has_one = |state: Arc<State>| state.vm_of_show(&self.show).is_some();
                if self
                    .desk
                    .present()
                    .is_some_and(|coordinator| has_one(coordinator.state()))
                {
                    let what = format!("{error}, and show {} has a VM", self.show);
                    self.desk.record.violated(ACKNOWLEDGED, what);
                }
                // What had been assigned is over.
                self.renewed += 1;
                None
            }
            Err(_) => None,
        }
    }

    async fn ready(&self) -> Option<()> {
        let show = self.show.clone();
        let what = format!("ready for {show}");
        let ready = self.desk.command(&what, |coordinator| async move {
            coordinator.await_ready(&show, READY_WITHIN).await
        });
        ready.await?.ok().map(|_| ())
    }

    /// Sits down before the studio, wherever it is now, until the coordinator has seen what was set up.
    async fn by_hand(&self) -> Option<()> {
        let key = stream_key(&self.show);
        for _ in 0..LOOKS_MAX {
            let coordinator = self.desk.present()?;
            if coordinator.streams_under(&self.show, &Secret::new(key.clone())) {
                return Some(());
            }
            let state = coordinator.state();
            let show = state.show(&self.show)?;
            let machine = show
                .vm
                .as_ref()
                .filter(|_| show.failover().is_none())
                .and_then(|vm| state.vm(vm))
                .and_then(|vm| self.desk.world.machine(vm.instance_id()));
            if let Some(machine) = machine.filter(|machine| machine.inspect(Machine::studio_answers)) {
                if let Err(error) = machine.load_example_studio(&key) {
                    self.desk.record.note(&format!("{}  {error}", self.show));
                }
                if self.how == SetUp::Recorded {
                    // It may be recording already.
                    let _ = machine.operate(Studio::start_record);
                }
            }
            sleep(LOOK_EVERY).await;
        }
        None
    }
}

fn variables(show: &ShowId) -> Map<String, Value> {
    let cameras = [
        json!({"name": "Floor", "port": 9001}),
        json!({"name": "Vault", "port": 9002}),
    ];
    let variables = [
        ("title", json!(show.as_str())),
        ("cameras", json!(cameras)),
        ("graphics_url", json!("http://127.0.0.1:3003/overlay")),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}
