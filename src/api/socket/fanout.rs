//! Tells connected clients what happens: one task, in the order of the ledger.
//!
//! Events go out as they come, and after each burst of them the clients get a moment to write it out: many
//! packets in one write cost far less than one in each. What follows from many events is coalesced: whole-pool
//! snapshots at most every [`snapshot_interval`](crate::api::Options::snapshot_interval), deltas at most every
//! [`delta_interval`](crate::api::Options::delta_interval), checks of one VM at most every second; the first
//! after a rest goes out at once. Joining and asking for a snapshot pass through here too, so that a client's
//! snapshot and the deltas after it fit together.
//!
//! A packet is encoded once and shared. A client whose buffer is full when something is told misses it: it is
//! cut off, and comes back to a snapshot. Should one escape that because its buffer drained meanwhile,
//! everybody gets a snapshot, so that nobody is wrong for longer than the next one takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Value;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::{BroadcastError, SendError, SocketError, SocketIo};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::delta::Published;
use super::events::{self, Audience, Scene, Told};
use super::news;
use crate::actors::coordinator::{Batch, Metrics};
use crate::actors::news::Item;
use crate::api::gateway::Gateway;
use crate::api::options::SNAPSHOT_INTERVAL_MIN;
use crate::api::project;
use crate::api::types::Iso;
use crate::domain::ids::{ShowId, VmId};
use crate::domain::state::State;

/// Everybody who has joined.
const ALL: &str = "all";
/// Those who may work on VMs.
const ADMINS: &str = "admins";
/// Those who get snapshots, and those who get deltas.
const SNAPSHOTS: &str = "snapshots";
const DELTAS: &str = "deltas";
/// A burst is at most this part of a client's buffer, so that one which keeps up never fills it.
const BURST_PART: usize = 4;
/// Rest after a burst, per client and at most. A write to a client's connection takes some 10 µs of a core, so
/// this keeps writing below a fraction of one, and a change in a busy pool late by no more than the longest rest.
const REST_PER_CLIENT: Duration = Duration::from_micros(50);
const REST_MAX: Duration = Duration::from_millis(25);
/// Least time between telling two checks of the same VM; the latest is told. Turns of health are told at once.
const CHECKS_INTERVAL: Duration = Duration::from_secs(1);
/// A snapshot for a client with deltas is brought up to date with the board if it is older than this; what
/// the board says in between, it hears as `vmHealthUpdate`.
const BASELINE_AGE_MAX: Duration = Duration::from_secs(5);
/// Building snapshots takes at most one in so many parts of the time: a pool of thousands gets fewer of them.
const SNAPSHOT_DUTY: u32 = 20;
/// Until the pool has been looked at for the first time.
const READINESS_POLL: Duration = Duration::from_secs(1);

/// What the rest of the gateway asks of the fan-out.
pub enum Command {
    /// A client connected: from here on it is told everything, beginning with a snapshot.
    Join { socket: SocketRef, client: Arc<Client> },
    /// A client asks for the pool.
    Snapshot { socket: SocketRef, ack: AckSender },
    /// Say goodbye, and say when that is done.
    Farewell {
        message: String,
        done: oneshot::Sender<()>,
    },
}

pub struct Fanout {
    gateway: Gateway,
    io: SocketIo,
    /// The ledger as of the last batch.
    before: Arc<State>,
    published: Published,
    baseline_at: Option<Instant>,
    /// VMs that changed since the last delta.
    dirty: BTreeSet<VmId>,
    next_delta: Instant,
    snapshot_wanted: bool,
    next_snapshot: Instant,
    /// Until then, clients write out what they were told.
    rest_until: Instant,
    /// The latest check of each VM that is still to be told.
    checks: BTreeMap<VmId, Told>,
    next_checks: Instant,
    /// Somebody missed something and is not known.
    resync: bool,
    /// The pool had been looked at when somebody last checked.
    initialized: bool,
    said_goodbye: bool,
    alerts_told: u64,
}

impl Fanout {
    pub fn new(gateway: Gateway, io: SocketIo) -> Self {
        let now = Instant::now();
        Self {
            before: gateway.state(),
            gateway,
            io,
            published: Published::default(),
            baseline_at: None,
            dirty: BTreeSet::new(),
            next_delta: now,
            snapshot_wanted: false,
            next_snapshot: now,
            rest_until: now,
            checks: BTreeMap::new(),
            next_checks: now,
            resync: false,
            initialized: false,
            said_goodbye: false,
            alerts_told: 0,
        }
    }

    /// Runs until it has said goodbye, or the ledger's feed ends.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut feed = self.gateway.coordinator().feed();
        let mut news = self.gateway.coordinator().news();
        self.before = self.gateway.state();
        loop {
            let resting = Instant::now() < self.rest_until;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Join { socket, client }) => self.join(&socket, &client).await,
                    Some(Command::Snapshot { socket, ack }) => self.answer(&socket, ack).await,
                    Some(Command::Farewell { message, done }) => {
                        self.say_goodbye(&message).await;
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                () = sleep_until(self.rest_until), if resting => {}
                batch = feed.recv(), if !resting => match batch {
                    Ok(batch) => self.follow(batch, &mut feed).await,
                    Err(RecvError::Lagged(missed)) => self.catch_up(missed),
                    Err(RecvError::Closed) => return,
                },
                item = news.recv(), if !resting => match item {
                    Ok(item) => self.report(item).await,
                    // News may be missed; what may not is in the ledger.
                    Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "news items were not told"),
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(self.next_delta), if !self.dirty.is_empty() => self.delta().await,
                () = sleep_until(self.next_snapshot), if self.snapshot_wanted || self.resync => {
                    self.snapshot().await;
                }
                () = sleep_until(self.next_checks), if !self.checks.is_empty() => self.tell_checks().await,
                () = tokio::time::sleep(READINESS_POLL), if !self.initialized => self.look_at_readiness(),
            }
        }
    }

    async fn join(&mut self, socket: &SocketRef, client: &Client) {
        if client.deltas {
            self.refresh_baseline().await;
        }
        socket.join([ALL, if client.deltas { DELTAS } else { SNAPSHOTS }]);
        if let Some(show) = &client.show {
            socket.join(room(show));
        }
        if client.is_admin() {
            socket.join(ADMINS);
        }
        let status = self.status_for(client.deltas);
        self.send(socket, "vmPoolStatus", &status);
    }

    async fn answer(&mut self, socket: &SocketRef, ack: AckSender) {
        let deltas = Client::of(socket).is_some_and(|client| client.deltas);
        if deltas {
            self.refresh_baseline().await;
        }
        let mut status = self.status_for(deltas);
        self.send(socket, "vmPoolStatus", &status);
        status["success"] = true.into();
        if let Err(SendError::Socket(SocketError::InternalChannelFull)) = ack.send(&status) {
            self.gateway.transports().cut(socket);
            self.metrics().socket_events_dropped.count([]);
            self.metrics().sockets_cut.count(["slow"]);
        }
    }

    fn metrics(&self) -> &Metrics {
        self.gateway.coordinator().metrics()
    }

    /// The pool: for a client with deltas as last published to all of them, for others as it is now.
    fn status_for(&self, deltas: bool) -> Value {
        let mut status = self.gateway.pool_status();
        if deltas && status.initialized {
            status.vms = self.published.snapshot();
            status.seq = self.published.seq();
        }
        // Plain data: it can be written as JSON.
        serde_json::to_value(&status).unwrap_or_default()
    }

    fn send(&self, socket: &SocketRef, event: &str, payload: &Value) {
        if let Err(SendError::Socket(SocketError::InternalChannelFull)) = socket.emit(event, payload) {
            self.gateway.transports().cut(socket);
        }
    }

    /// Takes in a batch and what is waiting behind it, one burst of events.
    async fn follow(&mut self, first: Arc<Batch>, feed: &mut broadcast::Receiver<Arc<Batch>>) {
        let burst = self.burst();
        let mut told = self.take_in(&first).await;
        while told < burst {
            match feed.try_recv() {
                Ok(batch) => told += self.take_in(&batch).await,
                Err(TryRecvError::Lagged(missed)) => self.catch_up(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if told > 0 {
            self.rest();
        }
    }

    fn rest(&mut self) {
        let clients = u32::try_from(self.gateway.sockets()).unwrap_or(u32::MAX);
        self.rest_until = Instant::now() + REST_PER_CLIENT.saturating_mul(clients).min(REST_MAX);
    }

    /// How many events it was.
    async fn take_in(&mut self, batch: &Batch) -> usize {
        let before = std::mem::replace(&mut self.before, Arc::clone(&batch.state));
        if self.gateway.sockets() == 0 {
            // Nobody to tell. Whoever comes next starts from a snapshot.
            self.dirty.clear();
            self.baseline_at = None;
            return 0;
        }
        let settings = self.gateway.coordinator().settings();
        let scene = Scene {
            before: &before,
            after: &batch.state,
            board: self.gateway.coordinator().board(),
            reach: self.gateway.reach(),
            launch: &self.gateway.options().launch,
            settings: &settings,
        };
        let told = events::of_entries(&scene, &batch.entries);
        self.dirty
            .extend(events::touched(&before, &batch.state, &batch.entries));
        self.snapshot_wanted = true;
        for told in &told {
            self.tell(told).await;
        }
        told.len()
    }

    /// A pool that becomes usable without a single change is news too.
    fn look_at_readiness(&mut self) {
        self.initialized = self.gateway.coordinator().readiness().initialized;
        self.resync |= self.initialized;
    }

    /// The feed dropped batches: their events are lost, what they changed is not.
    fn catch_up(&mut self, missed: u64) {
        tracing::warn!(
            missed,
            "batches of the ledger were not told as events; everybody gets a snapshot"
        );
        self.before = self.gateway.state();
        self.dirty.extend(self.before.vms().map(|vm| vm.id.clone()));
        self.dirty.extend(self.published.ids());
        self.resync = true;
    }

    async fn report(&mut self, item: Item) {
        if let Item::ShuttingDown { message, .. } = &item {
            return self.say_goodbye(message).await;
        }
        if self.gateway.sockets() == 0 {
            self.checks.clear();
            return;
        }
        if matches!(item, Item::Alert(_)) {
            self.alerts_told += 1;
        }
        let (board, reach) = (self.gateway.coordinator().board(), self.gateway.reach());
        let told = news::event_of(&item, self.before.seq, board, reach, self.alerts_told);
        match (item, told) {
            (Item::Checked { vm, .. }, Some(told)) => {
                self.checks.insert(vm, told);
            }
            (
                Item::Replenished { .. } | Item::Archiving(_) | Item::Alert(_) | Item::Transferred(_),
                Some(told),
            ) => {
                self.tell(&told).await;
                self.rest();
            }
            (_, None) | (Item::ShuttingDown { .. }, Some(_)) => {}
        }
    }

    /// One burst of checks; in a large pool it takes several.
    async fn tell_checks(&mut self) {
        for _ in 0..self.burst() {
            let Some((_, told)) = self.checks.pop_first() else {
                break;
            };
            self.tell(&told).await;
        }
        self.rest();
        let again = if self.checks.is_empty() {
            CHECKS_INTERVAL
        } else {
            REST_MAX
        };
        self.next_checks = Instant::now() + again;
    }

    /// Events that are told in one go.
    fn burst(&self) -> usize {
        (self.gateway.options().socket_buffer_packets / BURST_PART).max(1)
    }

    async fn say_goodbye(&mut self, message: &str) {
        if std::mem::replace(&mut self.said_goodbye, true) {
            return;
        }
        let payload = serde_json::json!({
            "timestamp": Iso(self.gateway.coordinator().now()).to_string(),
            "message": message,
            "seq": self.before.seq.0,
        });
        self.emit(ALL.to_owned(), "serverShuttingDown", &payload).await;
    }

    async fn tell(&mut self, told: &Told) {
        let room = match &told.to {
            Audience::Everybody => ALL.to_owned(),
            Audience::Show(show) => room(show),
            Audience::Admins => ADMINS.to_owned(),
        };
        self.emit(room, told.name, &told.payload).await;
    }

    /// Tells a room, and cuts off those who cannot take it.
    async fn emit<T: Serialize + ?Sized>(&mut self, room: String, event: &str, payload: &T) {
        self.metrics().socket_events.count([]);
        let Err(error) = self.io.to(room).emit(event, payload).await else {
            return;
        };
        match error {
            BroadcastError::Socket(errors) => {
                let full = |error: &&SocketError| matches!(error, SocketError::InternalChannelFull);
                let missed = errors.iter().filter(full).count();
                self.metrics().socket_events_dropped.add([], missed as u64);
                if missed > 0 {
                    self.shed(missed);
                }
            }
            BroadcastError::Serialize(error) => tracing::error!(%error, event, "an event cannot be encoded"),
            BroadcastError::Adapter(error) => tracing::error!(%error, event, "an event cannot be told"),
        }
    }

    /// Cuts off the clients whose buffer is full.
    fn shed(&mut self, missed: usize) {
        let mut cut = 0;
        for socket in self.io.to(ALL).sockets() {
            // Reserves a place and then fails to fill it: finds out whether there is one without a packet.
            if let Err(SendError::Socket(SocketError::InternalChannelFull)) = socket.emit("", &Nothing) {
                tracing::info!(client = %socket.id, "a client does not keep up and is disconnected");
                self.gateway.transports().cut(&socket);
                self.metrics().sockets_cut.count(["slow"]);
                cut += 1;
            }
        }
        self.resync |= cut < missed;
    }

    async fn snapshot(&mut self) {
        let began = Instant::now();
        let resync = std::mem::take(&mut self.resync);
        self.snapshot_wanted = false;
        if self.gateway.sockets() > self.gateway.delta_sockets() {
            let status = self.gateway.pool_status();
            for name in ["vmPoolStatus", "vmPoolUpdate"] {
                self.emit(SNAPSHOTS.to_owned(), name, &status).await;
            }
        }
        if resync && self.gateway.delta_sockets() > 0 {
            self.delta().await;
            let status = self.status_for(true);
            self.emit(DELTAS.to_owned(), "vmPoolStatus", &status).await;
        }
        let interval = self
            .gateway
            .options()
            .snapshot_interval
            .max(SNAPSHOT_INTERVAL_MIN);
        self.next_snapshot = began + interval.max(began.elapsed() * SNAPSHOT_DUTY);
    }

    async fn delta(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.next_delta = Instant::now() + self.gateway.options().delta_interval;
        if self.gateway.delta_sockets() > 0 {
            self.publish(dirty).await;
        } else {
            // What was published is behind now: the next to come needs all of it.
            self.baseline_at = None;
        }
    }

    async fn publish(&mut self, vms: BTreeSet<VmId>) {
        let (gateway, state, reach) = (
            self.gateway.clone(),
            Arc::clone(&self.before),
            self.gateway.reach(),
        );
        let now = vms.into_iter().map(|id| {
            let record = state.vm(&id).map(|vm| gateway.record(vm, reach));
            (id, record)
        });
        if let Some(delta) = self.published.advance(state.seq.0, project::counts(&state), now) {
            self.emit(DELTAS.to_owned(), "vmPoolDelta", &delta).await;
        }
    }

    /// Brings what was published up to date, telling those who follow it, before somebody starts from it.
    async fn refresh_baseline(&mut self) {
        if self.baseline_at.is_some_and(|at| at.elapsed() < BASELINE_AGE_MAX) {
            return self.delta().await;
        }
        self.dirty.clear();
        let mut all = self.published.ids();
        all.extend(self.before.vms().map(|vm| vm.id.clone()));
        self.publish(all).await;
        self.baseline_at = Some(Instant::now());
    }
}

/// The room of those who want a competition's alerts.
fn room(show: &ShowId) -> String {
    format!("competition:{show}")
}

/// Cannot be encoded.
struct Nothing;

impl Serialize for Nothing {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("nothing to tell"))
    }
}
