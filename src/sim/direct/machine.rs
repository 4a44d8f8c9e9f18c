//! One simulated machine: its model behind a lock, the lines that others have to it, and a task that lets time pass.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::dice::Dice;
use super::ingest::Ingest;
use super::publish::{Target, publish};
use crate::domain::time::Timestamp;
use crate::infra::watch;
use crate::sim::clock::Clock;
use crate::sim::model::fault::{Fault, FaultKind};
use crate::sim::model::machine::disk::Disk;
use crate::sim::model::machine::{Fate, Machine, MachineTiming, MachineView, Ports, Service};
use crate::sim::model::studio::event::StudioEvent;
use crate::sim::model::studio::{Studio, StudioError};

/// Events that may wait for one client of a studio. One that lets more pile up is dropped.
const EVENTS_MAX: usize = 512;

/// What all machines of a world have in common.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) ports: Ports,
    pub(super) timing: MachineTiming,
    pub(super) ingest: Ingest,
    pub(super) dice: Arc<Dice>,
}

/// An established connection, as the machine's end of it.
pub(super) struct Line {
    service: Service,
    generation: u32,
    fate: watch::Sender<Fate>,
}

impl Line {
    pub(super) fn fate(&self) -> watch::Receiver<Fate> {
        self.fate.subscribe()
    }

    pub(super) fn is_reset(&self) -> bool {
        *self.fate.borrow() == Fate::Reset
    }

    /// A reset is final.
    fn set(&self, fate: Fate) {
        self.fate.send_if_modified(|present| {
            let changes = *present != Fate::Reset && *present != fate;
            if changes {
                *present = fate;
            }
            changes
        });
    }
}

/// An identified client of the studio.
struct Client {
    line: Weak<Line>,
    events: mpsc::Sender<StudioEvent>,
}

impl Client {
    fn is_there(&self) -> bool {
        self.line.upgrade().is_some_and(|line| !line.is_reset())
    }

    fn tell(&self, event: &StudioEvent) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event.clone())
            && let Some(line) = self.line.upgrade()
        {
            line.set(Fate::Reset);
        }
    }
}

struct State {
    model: Machine,
    address: Ipv4Addr,
    lines: Vec<Weak<Line>>,
    clients: Vec<Client>,
    version: u64,
    /// The world has ended.
    closed: bool,
    /// Its instance was terminated: nothing will ever happen to it again.
    vanished: bool,
}

impl State {
    /// Makes lines and the studio's clients follow the model.
    fn settle(&mut self, now: Timestamp) {
        let events = self.model.studio_mut().take_events();
        for event in &events {
            self.clients.iter().for_each(|client| client.tell(event));
        }
        let (model, closed) = (&self.model, self.closed);
        self.lines.retain(|line| {
            let Some(line) = line.upgrade() else {
                return false;
            };
            line.set(if closed {
                Fate::Reset
            } else {
                model.fate(line.service, line.generation, now)
            });
            true
        });
        self.clients.retain(Client::is_there);
        self.version += 1;
    }
}

/// What the handle, the driver and the connections of one machine have in common.
pub(super) struct Shared {
    surroundings: Surroundings,
    state: Mutex<State>,
    wake: Notify,
    /// Version of the state, for those who wait for a change.
    changes: watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.surroundings.clock.now()
    }

    pub(super) fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.state().address
    }

    pub(super) fn inspect<T>(&self, look: impl FnOnce(&Machine, Timestamp) -> T) -> T {
        look(&self.state().model, self.now())
    }

    /// Changes the model, and at once everything that follows from it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Machine, Timestamp) -> T) -> T {
        let now = self.now();
        let mut state = self.state();
        state.model.advance(now);
        let result = change(&mut state.model, now);
        self.follow(state, now);
        result
    }

    /// Asks the model something that does not change it. Cheaper than [`Self::change`] because nothing has to follow,
    /// unless something was due.
    pub(super) fn ask<T>(&self, ask: impl FnOnce(&mut Machine, Timestamp) -> T) -> T {
        let now = self.now();
        let mut state = self.state();
        let is_due = state.model.next_deadline(now).is_some_and(|at| at <= now);
        if is_due {
            state.model.advance(now);
        }
        let result = ask(&mut state.model, now);
        if is_due {
            self.follow(state, now);
        }
        result
    }

    fn follow(&self, mut state: MutexGuard<'_, State>, now: Timestamp) {
        state.settle(now);
        let version = state.version;
        drop(state);
        self.wake.notify_one();
        self.changes.send_replace(version);
    }

    /// A line for a new connection of the service's present process.
    pub(super) fn line(&self, service: Service) -> Arc<Line> {
        let now = self.now();
        let mut state = self.state();
        let generation = state.model.generation(service);
        let fate = if state.closed {
            Fate::Reset
        } else {
            state.model.fate(service, generation, now)
        };
        let line = Arc::new(Line {
            service,
            generation,
            fate: watch::Sender::new(fate),
        });
        state.lines.push(Arc::downgrade(&line));
        line
    }

    /// From now on, whoever is at the other end of the line hears what the studio announces.
    pub(super) fn subscribe(&self, line: &Arc<Line>) -> mpsc::Receiver<StudioEvent> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        self.state().clients.push(Client {
            line: Arc::downgrade(line),
            events,
        });
        receiver
    }

    fn view(&self) -> MachineView {
        let now = self.now();
        let state = self.state();
        let clients = state.clients.iter().filter(|client| client.is_there()).count();
        state.model.view(state.address, clients, now)
    }
}

/// A simulated machine. Cheap to clone.
#[derive(Clone)]
pub struct MachineHandle {
    shared: Arc<Shared>,
}

impl MachineHandle {
    /// A machine that is switched off. Must be called within a runtime.
    pub(super) fn start(address: Ipv4Addr, seed: u64, surroundings: Surroundings) -> Self {
        let model = Machine::new(surroundings.timing, seed);
        let state = State {
            model,
            address,
            lines: Vec::new(),
            clients: Vec::new(),
            version: 1,
            closed: false,
            vanished: false,
        };
        let shared = Arc::new(Shared {
            surroundings,
            state: Mutex::new(state),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
        });
        tokio::spawn(drive(Arc::clone(&shared)));
        Self { shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the machine with its world: connections are reset.
    pub(super) fn close(&self) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        state.closed = true;
        self.shared.follow(state, now);
    }

    /// Its instance is gone. Nobody tells its clients: it is as silent as any machine that is off, for good.
    pub(super) fn vanish(&self) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        state.vanished = true;
        self.shared.follow(state, now);
    }

    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.shared.address()
    }

    pub(super) fn set_address(&self, address: Ipv4Addr) {
        self.shared.state().address = address;
        self.shared.wake.notify_one();
    }

    /// Applies power: services come up after the boot.
    pub fn power_on(&self) {
        self.shared.change(Machine::power_on);
    }

    /// Powered so long ago that every service that can be up is up.
    pub fn power_on_long_ago(&self) {
        self.shared.change(|model, now| {
            model.power_on(now - Duration::from_secs(3_600));
            model.advance(now);
        });
    }

    /// Cuts the power.
    pub fn power_off(&self) {
        self.shared.change(Machine::power_off);
    }

    /// Asks the operating system to shut down; the power stays.
    pub fn shut_down(&self) {
        self.shared.change(Machine::shut_down);
    }

    pub fn reboot(&self) {
        self.shared.change(Machine::reboot);
    }

    /// Makes something go wrong.
    pub fn fault(&self, fault: Fault) {
        self.shared.change(|model, now| model.fault(fault, now));
    }

    /// Mends it again.
    pub fn heal(&self, kind: FaultKind) {
        self.shared.change(|model, now| model.heal(kind, now));
    }

    /// Replaces the studio's content with a typical show's, streaming to the ingest with `stream_key`.
    ///
    /// # Errors
    /// [`StudioError::StreamRunning`].
    pub fn load_example_studio(&self, stream_key: &str) -> Result<(), StudioError> {
        let server = self.shared.surroundings.ingest.server_url();
        self.shared
            .change(|model, _| model.studio_mut().load_example(&server, stream_key))
    }

    /// Looks at the machine's model.
    pub fn inspect<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.shared.inspect(|model, _| look(model))
    }

    /// Changes the studio as somebody sitting before it could.
    pub fn operate<T>(&self, change: impl FnOnce(&mut Studio, Timestamp) -> T) -> T {
        self.shared.change(|model, now| change(model.studio_mut(), now))
    }

    /// Looks at the machine's files, or changes them as somebody who has logged in could.
    pub fn files<T>(&self, work: impl FnOnce(&mut Disk, Timestamp) -> T) -> T {
        self.shared.change(|model, now| work(model.disk(now), now))
    }

    #[must_use]
    pub fn view(&self) -> MachineView {
        self.shared.view()
    }

    /// The studio says that its stream is active.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.view().is_streaming()
    }

    /// Waits until `holds` is true of the machine, looking again at every change and at least every 20 ms.
    /// `None` if the deadline came first.
    pub async fn until(
        &self,
        deadline: Duration,
        holds: impl Fn(&MachineView) -> bool,
    ) -> Option<MachineView> {
        let end = Instant::now() + deadline;
        let mut changes = self.shared.changes();
        loop {
            let view = self.view();
            if holds(&view) {
                return Some(view);
            }
            if Instant::now() >= end {
                return None;
            }
            // Some things change with time alone, such as the bytes of a stream.
            let _ = timeout(Duration::from_millis(20), changes.changed()).await;
        }
    }
}

/// What the driver has to do next.
struct Plan {
    version: u64,
    publish: Option<(u64, Option<Target>)>,
    deadline: Option<Timestamp>,
    is_over: bool,
}

fn plan(shared: &Shared) -> Plan {
    let now = shared.now();
    let mut state = shared.state();
    state.model.advance(now);
    state.settle(now);
    let studio = state.model.studio();
    let target = || Target::of(studio.service(), &shared.surroundings.ingest);
    Plan {
        version: state.version,
        publish: studio.output().publish().map(|p| (p.attempt, target())),
        deadline: state.model.next_deadline(now),
        is_over: state.closed || state.vanished,
    }
}

/// Lets time pass for the machine, and makes its stream follow the model, until it is over.
async fn drive(shared: Arc<Shared>) {
    let mut stream: Option<(u64, JoinHandle<()>)> = None;
    loop {
        let plan = plan(&shared);
        shared.changes.send_replace(plan.version);
        if plan.is_over {
            break;
        }
        follow_stream(&shared, &mut stream, plan.publish);
        match plan.deadline {
            Some(deadline) => {
                let deadline = shared.surroundings.clock.instant(deadline);
                // Woken early or on time, both are a reason to look.
                let _ = timeout_at(deadline, shared.wake.notified()).await;
            }
            None => shared.wake.notified().await,
        }
    }
    if let Some((_, task)) = stream {
        task.abort();
    }
}

fn follow_stream(
    shared: &Arc<Shared>,
    stream: &mut Option<(u64, JoinHandle<()>)>,
    wanted: Option<(u64, Option<Target>)>,
) {
    if stream.as_ref().map(|(attempt, _)| *attempt) == wanted.as_ref().map(|(attempt, _)| *attempt) {
        return;
    }
    if let Some((_, task)) = stream.take() {
        task.abort();
    }
    if let Some((attempt, target)) = wanted {
        let task = tokio::spawn(publish(Arc::clone(shared), attempt, target));
        *stream = Some((attempt, task));
    }
}
