//! The coordinator's process: it lives, dies and lives again on one journal.
//!
//! When it dies, nothing of it goes on: its journal takes no more from it, and its connections are cut.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::plan::Size;
use super::produce::Desk;
use super::record::Record;
use super::rules;
use super::watch::{self, WatchedCloud};
use crate::actors::clock::Clock;
use crate::actors::context::{self, Options};
use crate::actors::coordinator::Coordinator;
use crate::actors::root::Node;
use crate::assembly;
use crate::config::{self, Config};
use crate::domain::state::State;
use crate::infra::ledger::{Death, Ledger, MemoryJournal};
use crate::infra::template::Templates;
use crate::infra::vault::Vault;
use crate::sim::direct::world::BUCKET;
use crate::sim::direct::{Parts, World};

/// The simulation keeps no secret.
const VAULT_KEY: [u8; 32] = [7; 32];
/// After a ledger has failed, its process ends and somebody makes room.
const DISK_FREED_AFTER: Duration = Duration::from_secs(5);
/// A coordinator that is asked to stop has done so within this.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// Recordings that are not archived by then stay on their VM, which tries again.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(60);
/// VMs that the pool may have beside those that are there at the start.
const LAUNCHES_MAX: u32 = 2;

/// One life of it.
struct Life {
    node: Node,
    coordinator: Coordinator,
    ledger: Ledger,
    parts: Parts,
    follower: JoinHandle<()>,
}

/// What is there of it now.
enum Phase {
    Alive(Box<Life>),
    /// Until somebody starts it again; what its journal holds is known.
    Dead {
        starts_at: Instant,
        state: Arc<State>,
    },
}

pub(super) struct Process {
    record: Record,
    world: Arc<World>,
    /// What the world's parts become before it gets them.
    over: fn(Parts) -> Parts,
    desk: Desk,
    journal: MemoryJournal,
    options: Options,
    vault: Arc<Vault>,
    templates: Arc<Templates>,
    phase: Phase,
    /// How long it stays down if it dies over a commit.
    down: Duration,
    /// Deaths of the journal's writers so far.
    deaths: u64,
}

impl Process {
    /// One that is about to start for the first time.
    pub(super) fn new(
        world: Arc<World>,
        over: fn(Parts) -> Parts,
        desk: Desk,
        record: Record,
        size: Size,
    ) -> anyhow::Result<Self> {
        let config = configuration(&world, size);
        let catalogue = config::operations::load(&config).context("the operations")?;
        Ok(Self {
            record,
            desk,
            world,
            over,
            journal: MemoryJournal::default(),
            options: assembly::options(&config, catalogue),
            vault: Arc::new(Vault::with_key(&VAULT_KEY)?),
            templates: Arc::new(Templates::load(None)?),
            phase: Phase::Dead {
                starts_at: Instant::now(),
                state: Arc::default(),
            },
            down: Duration::ZERO,
            deaths: 0,
        })
    }

    pub(super) fn coordinator(&self) -> Option<&Coordinator> {
        match &self.phase {
            Phase::Alive(life) => Some(&life.coordinator),
            Phase::Dead { .. } => None,
        }
    }

    /// What it has decided, or has left behind.
    pub(super) fn state(&self) -> Arc<State> {
        match &self.phase {
            Phase::Alive(life) => life.ledger.state(),
            Phase::Dead { state, .. } => Arc::clone(state),
        }
    }

    /// Lets a little time pass for it.
    pub(super) async fn pass(&mut self, span: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + span;
        let life = match &self.phase {
            Phase::Alive(life) => life,
            Phase::Dead { starts_at, .. } => {
                let starts_at = *starts_at;
                sleep_until(until.min(starts_at)).await;
                if Instant::now() >= starts_at {
                    self.start().await?;
                }
                return Ok(());
            }
        };
        let mut deaths = self.journal.deaths();
        let seen = self.deaths;
        let mut health = life.ledger.health();
        // What these return keeps a lock that the end of the process needs.
        let died = async {
            let _ = deaths.wait_for(|deaths| *deaths > seen).await;
        };
        let failed = async {
            let _ = health.wait_for(|health| health.failure().is_some()).await;
        };
        tokio::select! {
            // An end first; that time has passed is seen next time.
            biased;
            () = died => {
                self.record.note("the process died over a commit");
                self.end(self.down);
            }
            () = failed => {
                self.record.note("the ledger has failed; the process ends");
                self.end(DISK_FREED_AFTER);
                self.journal.free();
            }
            () = sleep_until(until) => {}
        }
        Ok(())
    }

    /// A new life.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let ledger = Ledger::open_in_memory(&self.journal)?;
        let state = ledger.state();
        watch::check_acknowledged(&state, self.desk.acknowledged(), &self.record);
        let parts = (self.over)(self.world.parts(&self.vault));
        let world = context::World {
            cloud: Arc::new(WatchedCloud {
                cloud: Arc::clone(&parts.cloud),
                ledger: ledger.clone(),
                record: self.record.clone(),
            }),
            probe: Arc::clone(&parts.probe),
            obs: Some(Arc::clone(&parts.obs)),
            ssh: Some(Arc::clone(&parts.ssh)),
            archive: Some(Arc::clone(&parts.archive)),
            vault: Arc::clone(&self.vault),
            templates: Arc::clone(&self.templates),
        };
        let clock = Clock::starting_at(self.world.clock().now());
        let follower = tokio::spawn(watch::follow(ledger.subscribe(), self.record.clone()));
        let options = self.options.clone();
        let node = Box::pin(Node::start(clock, ledger.clone(), options, world, |_| None)).await?;
        let coordinator = node.coordinator();
        self.record
            .note(&format!("the coordinator starts after event {}", state.seq));
        self.desk.open(coordinator.clone());
        self.phase = Phase::Alive(Box::new(Life {
            node,
            coordinator,
            ledger,
            parts,
            follower,
        }));
        Ok(())
    }

    /// `kill -9`, and a new start after this time. Whoever is dead already stays so as long as was said.
    pub(super) fn kill(&mut self, down: Duration) {
        self.end(down);
    }

    /// The same, over the next commit.
    pub(super) fn die_at_next_commit(&mut self, death: Death, down: Duration) {
        self.down = down;
        self.journal.die_at_next_commit(death);
    }

    /// The disk: how many events it has room for, and how long a commit takes.
    pub(super) fn journal(&self) -> &MemoryJournal {
        &self.journal
    }

    /// Its end, by whatever.
    fn end(&mut self, down: Duration) {
        let starts_at = Instant::now() + down;
        let state = self.state();
        let dead = Phase::Dead { starts_at, state };
        let life = match std::mem::replace(&mut self.phase, dead) {
            Phase::Alive(life) => life,
            before @ Phase::Dead { .. } => {
                self.phase = before;
                return;
            }
        };
        self.desk.close();
        let before = life.ledger.state();
        self.journal.die();
        self.deaths = *self.journal.deaths().borrow();
        life.parts.cut();
        life.node.kill();
        life.follower.abort();
        self.record.count("coordinator restarted".to_owned());
        if let Some(state) = self.check_replay(&before) {
            let state = Arc::new(state);
            self.phase = Phase::Dead { starts_at, state };
        }
    }

    /// What the journal holds. Only what the process died over may be in it and not in the state.
    fn check_replay(&self, state: &State) -> Option<State> {
        match self.journal.replay() {
            Err(error) => {
                self.record.violated(rules::REPLAY, format!("{error}"));
                None
            }
            Ok(replayed) => {
                watch::check_replay(state, &replayed, &self.record);
                Some(replayed)
            }
        }
    }

    /// Ends it in peace and compares what it had in memory with its journal.
    pub(super) async fn stop(mut self) {
        let dead = Phase::Dead {
            starts_at: Instant::now(),
            state: Arc::default(),
        };
        let Phase::Alive(life) = std::mem::replace(&mut self.phase, dead) else {
            return;
        };
        if timeout(STOPPED_WITHIN, life.node.stop()).await.is_err() {
            let what = format!(
                "the coordinator does not stop within {} s",
                STOPPED_WITHIN.as_secs()
            );
            self.record.violated(rules::LIVENESS, what);
        }
        // Whatever was under way has ended or was given up by now.
        sleep(Duration::from_millis(10)).await;
        let state = life.ledger.state();
        self.check_replay(&state);
        let shows = state.shows().count();
        self.record.note(&format!("{shows} shows, {} events", state.seq));
    }
}

fn configuration(world: &World, size: Size) -> Config {
    let sim = world.config();
    let mut config = Config::default();
    config.pool.project.clone_from(&sim.project);
    config.pool.warm_count = size.warm.min(2);
    config.pool.max_instances = size.warm + size.cold + LAUNCHES_MAX;
    config.pool.max_concurrent = size.warm + size.cold;
    config.archive.bucket = Some(BUCKET.to_owned());
    config.archive.deadline = ARCHIVED_WITHIN;
    config.cloud.provider = config::Provider::Rest;
    config.cloud.address = config::Address::Private;
    config.vm.service_port = sim.ports.status;
    config.vm.obs_port = sim.ports.obs;
    config.vm.ssh_port = sim.ports.ssh;
    config.obs.password.clone_from(&sim.obs_password);
    config
}
