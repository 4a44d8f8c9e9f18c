//! What the handle, the driver and the connections of one machine have in common: the model behind a lock, and
//! the hold on every connection.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::net::TcpStream;
use tokio::sync::{Notify, OnceCell, watch};

use super::config::MachineConfig;
use crate::domain::time::Timestamp;
use crate::sim::clock::Clock;
use crate::sim::model::machine::{Fate, Machine, MachineView, Service};
use crate::sim::wire::gate::{Gate, GatedStream};
use crate::sim::wire::obs::sessions::Sessions;
use crate::sim::wire::{obs, ssh, status};

/// Connections one service of one machine serves at once; further ones are dropped.
const CONNECTIONS_MAX: usize = 64;

struct Registered {
    service: Service,
    generation: u32,
    gate: Weak<Gate>,
}

pub(in crate::sim::wire) struct State {
    pub(super) model: Machine,
    pub(super) address: Ipv4Addr,
    pub(in crate::sim::wire) sessions: Sessions,
    gates: Vec<Registered>,
    pub(super) version: u64,
    pub(super) closed: bool,
}

impl State {
    fn new(address: Ipv4Addr, model: Machine) -> Self {
        Self {
            model,
            address,
            sessions: Sessions::default(),
            gates: Vec::new(),
            version: 1,
            closed: false,
        }
    }

    /// Makes connections and sessions follow the model.
    pub(super) fn settle(&mut self, now: Timestamp) {
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
pub(in crate::sim::wire) struct Shared {
    config: MachineConfig,
    state: Mutex<State>,
    pub(super) wake: Notify,
    /// Version of the state, for those who wait for a change.
    pub(super) changes: watch::Sender<u64>,
    /// Version that the sockets follow.
    pub(super) applied: watch::Sender<u64>,
    ssh_config: OnceCell<Arc<russh::server::Config>>,
}

impl Shared {
    pub(super) fn new(address: Ipv4Addr, config: MachineConfig) -> Self {
        let model = Machine::new(config.timing, config.seed);
        Self {
            config,
            state: Mutex::new(State::new(address, model)),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
            applied: watch::Sender::new(0),
            ssh_config: OnceCell::new(),
        }
    }

    pub(in crate::sim::wire) fn config(&self) -> &MachineConfig {
        &self.config
    }

    pub(in crate::sim::wire) fn clock(&self) -> &Clock {
        &self.config.clock
    }

    pub(in crate::sim::wire) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    pub(in crate::sim::wire) fn ssh_config(&self) -> &OnceCell<Arc<russh::server::Config>> {
        &self.ssh_config
    }

    pub(in crate::sim::wire) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::sim::wire) fn address(&self) -> Ipv4Addr {
        self.state().address
    }

    pub(in crate::sim::wire) fn inspect<T>(&self, look: impl FnOnce(&Machine, Timestamp) -> T) -> T {
        look(&self.state().model, self.now())
    }

    /// Changes the model, and at once everything that follows from it but listening ports, which the driver
    /// moves a moment later.
    pub(in crate::sim::wire) fn change<T>(&self, change: impl FnOnce(&mut Machine, Timestamp) -> T) -> T {
        let now = self.now();
        let mut state = self.state();
        state.model.advance(now);
        let result = change(&mut state.model, now);
        self.follow(state, now);
        result
    }

    /// Asks the model something that needs it to be changeable but does not change it, as most requests of
    /// obs-websocket do. Cheaper than [`Self::change`] because nothing has to follow.
    pub(in crate::sim::wire) fn ask<T>(&self, ask: impl FnOnce(&mut Machine, Timestamp) -> T) -> T {
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

    /// A gate for a new connection of the service's present process.
    pub(in crate::sim::wire) fn register(&self, service: Service) -> Arc<Gate> {
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

    /// Serves one accepted connection to `service`, in a task of its own.
    pub(in crate::sim::wire) fn serve(self: &Arc<Self>, service: Service, stream: TcpStream) {
        let Some((stream, gate)) = self.admit(service, stream) else {
            return;
        };
        let machine = Arc::clone(self);
        match service {
            Service::Studio => drop(tokio::spawn(obs::serve(machine, stream, gate))),
            Service::Status => drop(tokio::spawn(status::serve(machine, stream))),
            Service::Ssh => drop(tokio::spawn(ssh::serve(machine, stream))),
            Service::Display | Service::Nimble => {}
        }
    }

    /// Ends everything: connections now, ports when the driver sees it.
    pub(super) fn close(&self) {
        let now = self.now();
        let mut state = self.state();
        state.closed = true;
        self.follow(state, now);
    }

    pub(super) fn view(&self) -> MachineView {
        let now = self.now();
        let state = self.state();
        state.model.view(state.address, state.sessions.identified(), now)
    }
}
