//! One simulated machine on the wire.
//!
//! A [`MachineHandle`] changes and inspects the model; a driver task, which exists while the machine's address is
//! in use, makes the sockets follow. When the last handle is dropped, everything of the machine is closed.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use russh::keys::PublicKey;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::clock::Clock;
use super::gate::{Gate, GatedStream};
use super::obs::sessions::Sessions;
use super::port::{self, Port, Serve};
use super::publish::{Target, publish};
use super::{obs, ssh, status};
use crate::domain::studio::Secret;
use crate::domain::time::Timestamp;
use crate::sim::model::fault::{Fault, FaultKind};
use crate::sim::model::machine::{Fate, Front, Machine, MachineTiming, Power, Service};
use crate::sim::model::studio::stream::Phase;
use crate::sim::model::studio::{Studio, StudioError};

/// Connections one service of one machine serves at once; further ones are dropped.
const CONNECTIONS_MAX: usize = 64;
/// Pause before an address that cannot be bound is tried again.
const BIND_RETRY: Duration = Duration::from_millis(250);

/// Where a machine's services listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub status: u16,
    pub obs: u16,
    pub ssh: u16,
}

impl Default for Ports {
    /// As on the real machines, except that the SSH port needs no privilege.
    fn default() -> Self {
        Self {
            status: 3003,
            obs: 4455,
            ssh: 2222,
        }
    }
}

impl Ports {
    fn of(self, service: Service) -> Option<u16> {
        match service {
            Service::Studio => Some(self.obs),
            Service::Status => Some(self.status),
            Service::Ssh => Some(self.ssh),
            Service::Display | Service::Nimble => None,
        }
    }
}

/// Who may log in over SSH.
#[derive(Debug, Clone)]
pub struct SshAccess {
    pub user: String,
    pub authorized: Option<PublicKey>,
}

impl Default for SshAccess {
    fn default() -> Self {
        Self {
            user: "ubuntu".to_owned(),
            authorized: None,
        }
    }
}

/// What a machine is like.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    pub clock: Clock,
    pub ports: Ports,
    pub timing: MachineTiming,
    /// Password of its obs-websocket server; `None` for none.
    pub obs_password: Option<Secret>,
    pub ssh: SshAccess,
    /// `rtmp://host:port/app` for example studios.
    pub ingest_url: String,
    /// Decides its identifiers and host key.
    pub seed: u64,
    /// While it is off, connection attempts to it time out instead of being refused. Costs six descriptors.
    pub dark_when_off: bool,
    /// How often a streaming studio sends a chunk to the ingest.
    pub chunk_interval: Duration,
}

impl MachineConfig {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            ports: Ports::default(),
            timing: MachineTiming::default(),
            obs_password: None,
            ssh: SshAccess::default(),
            ingest_url: "rtmp://127.77.255.1:1935/live".to_owned(),
            seed: 0,
            dark_when_off: true,
            chunk_interval: Duration::from_millis(100),
        }
    }
}

/// A machine at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineView {
    pub at: Timestamp,
    pub address: Ipv4Addr,
    pub power: Power,
    /// The studio's process exists, whether it answers or not.
    pub studio_alive: bool,
    pub studio_answers: bool,
    pub phase: Phase,
    /// `outputBytes`.
    pub stream_bytes: u64,
    pub program_scene: Option<String>,
    pub scene_collection: String,
    pub stream_key: Option<Secret>,
    pub active_show: Option<String>,
    /// Identified obs-websocket clients.
    pub obs_clients: usize,
}

impl MachineView {
    /// The studio says that its stream is active.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        match self.phase {
            Phase::Active { .. } | Phase::Reconnecting { .. } | Phase::Stopping { .. } => true,
            Phase::Inactive | Phase::Starting { .. } | Phase::Failing { .. } => false,
        }
    }
}

struct Registered {
    service: Service,
    generation: u32,
    gate: Weak<Gate>,
}

pub(super) struct State {
    model: Machine,
    address: Ipv4Addr,
    pub(super) sessions: Sessions,
    gates: Vec<Registered>,
    version: u64,
    closed: bool,
}

impl State {
    /// Makes connections and sessions follow the model.
    fn settle(&mut self, now: Timestamp) {
        let events = self.model.studio_mut().take_events();
        self.sessions.announce(&events);
        let (model, closed) = (&self.model, self.closed);
        self.gates.retain(|registered| {
            let Some(gate) = registered.gate.upgrade() else {
                return false;
            };
            gate.set(if closed {
                Fate::Reset
            } else {
                model.fate(registered.service, registered.generation, now)
            });
            true
        });
        self.version += 1;
    }
}

/// What the handle, the driver and the connections have in common.
pub(super) struct Shared {
    config: MachineConfig,
    state: Mutex<State>,
    wake: Notify,
    /// Version of the state, for those who wait for a change.
    changes: watch::Sender<u64>,
    /// Version that the sockets follow.
    applied: watch::Sender<u64>,
    ssh_config: OnceCell<Arc<russh::server::Config>>,
}

impl Shared {
    pub(super) fn config(&self) -> &MachineConfig {
        &self.config
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.config.clock
    }

    pub(super) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    pub(super) fn ssh_config(&self) -> &OnceCell<Arc<russh::server::Config>> {
        &self.ssh_config
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.state().address
    }

    pub(super) fn inspect<T>(&self, look: impl FnOnce(&Machine, Timestamp) -> T) -> T {
        look(&self.state().model, self.now())
    }

    /// Changes the model, and at once everything that follows from it but listening ports, which the driver
    /// moves a moment later.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Machine, Timestamp) -> T) -> T {
        let now = self.now();
        let mut state = self.state();
        state.model.advance(now);
        let result = change(&mut state.model, now);
        state.settle(now);
        let version = state.version;
        drop(state);
        self.wake.notify_one();
        self.changes.send_replace(version);
        result
    }

    /// A gate for a new connection of the service's present process.
    pub(super) fn register(&self, service: Service) -> Arc<Gate> {
        let now = self.now();
        let mut state = self.state();
        let gate = Arc::new(Gate::default());
        let generation = state.model.generation(service);
        let fate = if state.closed {
            Fate::Reset
        } else {
            state.model.fate(service, generation, now)
        };
        gate.set(fate);
        state.gates.push(Registered {
            service,
            generation,
            gate: Arc::downgrade(&gate),
        });
        gate
    }

    /// Takes a connection in. `None` if the service has too many.
    fn admit(&self, service: Service, stream: TcpStream) -> Option<(GatedStream, Arc<Gate>)> {
        let mut state = self.state();
        state
            .gates
            .retain(|registered| registered.gate.strong_count() > 0);
        let present = state
            .gates
            .iter()
            .filter(|registered| registered.service == service)
            .count();
        drop(state);
        if present >= CONNECTIONS_MAX {
            return None;
        }
        // Small messages in both directions; fails only on a socket that is gone already.
        let _ = stream.set_nodelay(true);
        let gate = self.register(service);
        Some((GatedStream::new(stream, Arc::clone(&gate)), gate))
    }

    fn serve(self: &Arc<Self>, service: Service) -> Serve {
        let shared = Arc::clone(self);
        Arc::new(move |stream| {
            let Some((stream, gate)) = shared.admit(service, stream) else {
                return;
            };
            let machine = Arc::clone(&shared);
            match service {
                Service::Studio => drop(tokio::spawn(obs::serve(machine, stream, gate))),
                Service::Status => drop(tokio::spawn(status::serve(machine, stream))),
                Service::Ssh => drop(tokio::spawn(ssh::serve(machine, stream))),
                Service::Display | Service::Nimble => {}
            }
        })
    }

    fn close(&self) {
        let now = self.now();
        let mut state = self.state();
        state.closed = true;
        state.settle(now);
        drop(state);
        self.wake.notify_one();
    }

    fn view(&self) -> MachineView {
        let now = self.now();
        let state = self.state();
        let (model, studio) = (&state.model, state.model.studio());
        MachineView {
            at: now,
            address: state.address,
            power: model.power(),
            studio_alive: model.studio_connected(),
            studio_answers: model.studio_answers(),
            phase: studio.output().phase(),
            stream_bytes: studio.output().bytes(now),
            program_scene: studio.program_scene().map(str::to_owned),
            scene_collection: studio.collection_name().to_owned(),
            stream_key: studio.service().key().map(Secret::new),
            active_show: model.active_show().map(str::to_owned),
            obs_clients: state.sessions.identified(),
        }
    }
}

struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A simulated machine. Cheap to clone; the machine ceases to exist when the last clone is dropped.
#[derive(Clone)]
pub struct MachineHandle {
    shared: Arc<Shared>,
    _guard: Arc<Guard>,
}

impl MachineHandle {
    /// A machine at `address`, which must be on loopback and free, switched off.
    #[must_use]
    pub fn start(address: Ipv4Addr, config: MachineConfig) -> Self {
        let model = Machine::new(config.timing, config.seed);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                model,
                address,
                sessions: Sessions::default(),
                gates: Vec::new(),
                version: 1,
                closed: false,
            }),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
            applied: watch::Sender::new(0),
            ssh_config: OnceCell::new(),
            config,
        });
        tokio::spawn(drive(Arc::clone(&shared)));
        let guard = Arc::new(Guard(Arc::clone(&shared)));
        Self {
            shared,
            _guard: guard,
        }
    }

    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.shared.address()
    }

    /// Another address, from the next power-on.
    pub fn set_address(&self, address: Ipv4Addr) {
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
        let server = self.shared.config.ingest_url.clone();
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

    #[must_use]
    pub fn view(&self) -> MachineView {
        self.shared.view()
    }

    /// The studio says that its stream is active.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.view().is_streaming()
    }

    /// The SSH host key, made when it is first needed and kept for the life of the machine.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub async fn host_key(&self) -> Result<PublicKey, russh::Error> {
        let config = ssh::server_config(&self.shared).await?;
        config
            .keys
            .first()
            .map(|key| key.public_key().clone())
            .ok_or(russh::Error::CouldNotReadKey)
    }

    /// Waits until the listening ports follow every change made so far, for at most five seconds.
    pub async fn settled(&self) {
        let version = self.shared.state().version;
        let mut applied = self.shared.applied.subscribe();
        // A machine whose address cannot be bound never settles; the caller's next step will show it.
        let _ = timeout(
            Duration::from_secs(5),
            applied.wait_for(|applied| *applied >= version),
        )
        .await;
    }

    /// Waits until `holds` is true of the machine, looking again at every change and at least every 20 ms.
    /// `None` if the deadline came first.
    pub async fn until(
        &self,
        deadline: Duration,
        holds: impl Fn(&MachineView) -> bool,
    ) -> Option<MachineView> {
        let end = Instant::now() + deadline;
        let mut changes = self.shared.changes.subscribe();
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
    address: Ipv4Addr,
    fronts: [(Service, Front); 3],
    publish: Option<(u64, Option<Target>)>,
    deadline: Option<Timestamp>,
    closed: bool,
}

fn plan(shared: &Shared) -> Plan {
    let now = shared.now();
    let mut state = shared.state();
    state.model.advance(now);
    state.settle(now);
    let model = &state.model;
    let front = |service| {
        let front = match model.front(service, now) {
            Front::Dark if model.power() == Power::Off && !shared.config.dark_when_off => Front::Closed,
            front @ (Front::Dark | Front::Closed | Front::Unanswered | Front::Open) => front,
        };
        (service, front)
    };
    let studio = model.studio();
    let plan = Plan {
        version: state.version,
        address: state.address,
        fronts: [Service::Status, Service::Studio, Service::Ssh].map(front),
        publish: studio
            .output()
            .publish()
            .map(|p| (p.attempt, Target::of(studio.service()))),
        deadline: model.next_deadline(now),
        closed: state.closed,
    };
    drop(state);
    shared.changes.send_replace(plan.version);
    plan
}

/// Makes ports and the stream follow the model until the machine is closed.
async fn drive(shared: Arc<Shared>) {
    let mut ports: [Port; 3] = Default::default();
    let mut stream: Option<(u64, JoinHandle<()>)> = None;
    loop {
        let plan = plan(&shared);
        if plan.closed {
            break;
        }
        let mut deadline = plan.deadline;
        for (port, (service, front)) in ports.iter_mut().zip(plan.fronts) {
            let Some(number) = shared.config.ports.of(service) else {
                continue;
            };
            let address = port::at(plan.address, number);
            if let Err(error) = port.follow(front, address, &shared.serve(service)).await {
                tracing::warn!(%address, %error, "a simulated machine cannot listen");
                deadline =
                    Some(deadline.map_or(shared.now() + BIND_RETRY, |d| d.min(shared.now() + BIND_RETRY)));
            }
        }
        follow_stream(&shared, &mut stream, &plan);
        shared.applied.send_replace(plan.version);
        match deadline {
            Some(deadline) => {
                // Woken early or on time, both are a reason to look.
                let _ =
                    tokio::time::timeout_at(shared.clock().instant(deadline), shared.wake.notified()).await;
            }
            None => shared.wake.notified().await,
        }
    }
    if let Some((_, task)) = stream {
        task.abort();
    }
    for port in &mut ports {
        port.close().await;
    }
}

fn follow_stream(shared: &Arc<Shared>, stream: &mut Option<(u64, JoinHandle<()>)>, plan: &Plan) {
    let wanted = plan.publish.as_ref().map(|(attempt, _)| *attempt);
    if stream.as_ref().map(|(attempt, _)| *attempt) == wanted {
        return;
    }
    if let Some((_, task)) = stream.take() {
        task.abort();
    }
    if let Some((attempt, target)) = plan.publish.clone() {
        let task = tokio::spawn(publish(Arc::clone(shared), attempt, plan.address, target));
        *stream = Some((attempt, task));
    }
}
