//! A run: the real tree over the simulated world, in virtual time, as the plan says.
//!
//! The coordinator lives, dies and lives again on one journal; world, producers and witnesses outlive it. When its process
//! dies, nothing of it goes on: its journal takes no more from it, and its connections are cut.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::plan::{Act, Button, Plan, Size, Whom};
use super::produce::{Desk, Productions};
use super::record::Record;
use super::watch::{self, WatchedCloud};
use crate::actors::clock::Clock;
use crate::actors::context::{self, Options};
use crate::actors::coordinator::{Coordinator, Victim};
use crate::actors::root::Node;
use crate::assembly;
use crate::config::{self, Config};
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::instance::InstanceState;
use crate::domain::pool::Settings;
use crate::domain::state::State;
use crate::domain::vm::Occupancy;
use crate::infra::ledger::{Ledger, MemoryJournal};
use crate::infra::template::Templates;
use crate::infra::vault::Vault;
use crate::rehearsal::stage::stream_key;
use crate::sim::direct::{self, World, WorldConfig};
use crate::sim::model::fault::{Fault, FaultKind};
use crate::sim::model::machine::Service;

/// The simulation keeps no secret.
const VAULT_KEY: [u8; 32] = [7; 32];
/// Looks at the ingest are this far apart; it keeps its own book between them.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a ledger has failed, its process ends and somebody makes room.
const DISK_FREED_AFTER: Duration = Duration::from_secs(5);
/// Once nothing is wrong any more, everything has settled within this virtual time: a VM with a fault is left alone for
/// five minutes (`domain::pool::FAULT_COOLOFF`), and what may be in its way takes its deadlines one after the other.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Then operators look at what the coordinator leaves to them.
const ATTENDED_EVERY: Duration = Duration::from_secs(30);
/// Instances that are none of the coordinator's business.
const STRANGERS: usize = 2;

/// One life of the coordinator.
struct Life {
    node: Node,
    coordinator: Coordinator,
    ledger: Ledger,
    parts: direct::Parts,
    follower: JoinHandle<()>,
}

pub(super) struct Play {
    record: Record,
    world: Arc<World>,
    journal: MemoryJournal,
    options: Options,
    vault: Arc<Vault>,
    templates: Arc<Templates>,
    life: Option<Life>,
    /// When the next life begins, while there is none.
    starts_at: Option<Instant>,
    /// How long the process stays down if it dies over a commit.
    down: Duration,
    deaths: u64,
    desk: Desk,
    productions: Productions,
    /// By their numbers in the plan.
    shows: Vec<ShowId>,
    strangers: Vec<InstanceId>,
    size: Size,
}

impl Play {
    /// Sets the world and starts the coordinator in it.
    pub(super) async fn begin(plan: &Plan, record: Record) -> anyhow::Result<Self> {
        let size = plan.size;
        let world = World::start(WorldConfig {
            seed: plan.seed,
            warm: size.warm,
            cold: size.cold,
            ..WorldConfig::default()
        })?;
        let shows: Result<_, _> = (0..size.shows)
            .map(|number| ShowId::new(format!("show-{number:04}")))
            .collect();
        let shows = shows?;
        let mut strangers = Vec::new();
        for number in 0..STRANGERS {
            let tags = [("Name".to_owned(), format!("stranger-{number}"))].into();
            strangers.push(world.place_with(tags, true)?);
        }
        let world = Arc::new(world);
        let config = configuration(&world, size);
        let catalogue = config::operations::load(&config).context("the operations")?;
        let desk = Desk::new(Arc::clone(&world), record.clone());
        let mut play = Self {
            record,
            journal: MemoryJournal::default(),
            options: assembly::options(&config, catalogue),
            vault: Arc::new(Vault::with_key(&VAULT_KEY)?),
            templates: Arc::new(Templates::load(None)?),
            life: None,
            starts_at: None,
            down: Duration::ZERO,
            deaths: 0,
            productions: Productions::new(desk.clone()),
            desk,
            world,
            shows,
            strangers,
            size,
        };
        play.start().await?;
        Ok(play)
    }

    /// Plays everything that the plan says, until it is over or something is wrong.
    pub(super) async fn perform(&mut self, plan: &Plan) -> anyhow::Result<()> {
        for event in &plan.events {
            self.pass_until(event.at_ms).await?;
            if self.record.has_violations() {
                return Ok(());
            }
            self.record
                .note(&format!("plan {:>3}  {:?}", event.number, event.act));
            self.act(&event.act);
        }
        Ok(())
    }

    /// Lets time pass, watching.
    async fn pass_until(&mut self, at_ms: u64) -> anyhow::Result<()> {
        while self.record.now_ms() < at_ms && !self.record.has_violations() {
            let left = Duration::from_millis(at_ms - self.record.now_ms());
            self.pass(left.min(LOOK_EVERY)).await?;
        }
        Ok(())
    }

    /// Lets a little time pass, then looks at everything.
    async fn pass(&mut self, span: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + span;
        if let Some(life) = &self.life {
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
                    let down = self.down;
                    self.end(down);
                }
                () = failed => {
                    self.record.note("the ledger has failed; the process ends");
                    self.end(DISK_FREED_AFTER);
                    self.journal.free();
                }
                () = sleep_until(until) => {}
            }
        } else {
            let starts_at = self.starts_at.unwrap_or(until);
            sleep_until(until.min(starts_at)).await;
            if Instant::now() >= starts_at {
                self.start().await?;
            }
        }
        self.look();
        Ok(())
    }

    fn look(&self) {
        if let Some(life) = &self.life {
            watch::check_air(&life.ledger.state(), &self.world, &self.record);
        } else if let Ok(state) = self.journal.replay() {
            watch::check_air(&state, &self.world, &self.record);
        }
        for stranger in &self.strangers {
            let touched = self
                .world
                .instance(stranger)
                .is_none_or(|instance| instance.state != InstanceState::Running);
            if touched {
                let what = format!("instance {stranger}, which is not of the pool, runs no more");
                self.record.violated(watch::UNKNOWN, what);
            }
        }
    }

    /// A new process.
    async fn start(&mut self) -> anyhow::Result<()> {
        self.starts_at = None;
        let ledger = Ledger::open_in_memory(&self.journal)?;
        let state = ledger.state();
        self.check_acknowledged(&state);
        let parts = self.world.parts(&self.vault);
        let world = context::World {
            cloud: Arc::new(WatchedCloud {
                cloud: Arc::clone(&parts.cloud),
                ledger: ledger.clone(),
                record: self.record.clone(),
            }),
            probe: Arc::clone(&parts.probe),
            obs: Some(Arc::clone(&parts.obs)),
            ssh: Some(Arc::clone(&parts.ssh)),
            archive: None,
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
        self.life = Some(Life {
            node,
            coordinator,
            ledger,
            parts,
            follower,
        });
        Ok(())
    }

    fn check_acknowledged(&self, state: &State) {
        let acknowledged = self.desk.acknowledged();
        if state.seq < acknowledged {
            let what = format!(
                "the journal ends with {}, and {acknowledged} was acknowledged",
                state.seq
            );
            self.record.violated(watch::ACKNOWLEDGED, what);
        }
    }

    /// The end of the process, by whatever.
    fn end(&mut self, down: Duration) {
        let Some(life) = self.life.take() else { return };
        self.desk.close();
        let before = life.ledger.state();
        self.journal.die();
        self.deaths = *self.journal.deaths().borrow();
        life.parts.cut();
        life.node.kill();
        life.follower.abort();
        self.starts_at = Some(Instant::now() + down);
        self.record.count("coordinator restarted".to_owned());
        self.check_replay(&before);
    }

    /// Only what the process died over may be in the journal and not in the state.
    fn check_replay(&self, state: &State) {
        match self.journal.replay() {
            Err(error) => self.record.violated(watch::REPLAY, format!("{error}")),
            Ok(replayed) if replayed.seq < state.seq => {
                let what = format!("{} events in memory, {} in the journal", state.seq, replayed.seq);
                self.record.violated(watch::REPLAY, what);
            }
            Ok(replayed) if replayed.seq == state.seq && replayed != *state => {
                self.record
                    .violated(watch::REPLAY, format!("they differ after event {}", state.seq));
            }
            Ok(_) => {}
        }
    }

    fn coordinator(&self) -> Option<&Coordinator> {
        self.life.as_ref().map(|life| &life.coordinator)
    }

    /// The instance that a plan means.
    fn instance(&self, number: u32) -> Option<InstanceId> {
        let pool: Vec<InstanceId> = self
            .world
            .instances()
            .into_iter()
            .map(|instance| instance.instance_id)
            .filter(|instance| !self.strangers.contains(instance))
            .collect();
        let place = (number as usize).checked_rem(pool.len())?;
        pool.into_iter().nth(place)
    }

    fn vm(&self, number: u32) -> Option<VmId> {
        let state = self.coordinator()?.state();
        let instance = self.instance(number)?;
        state.vm_of_instance(&instance).map(|vm| vm.id.clone())
    }

    fn zone(&self, number: u32) -> String {
        let zones = &self.world.config().zones;
        let place = (number as usize).checked_rem(zones.len()).unwrap_or(0);
        zones.get(place).cloned().unwrap_or_default()
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Produce { show, how } => self.with_show(*show, |all, show| all.begin(show, *how)),
            Act::Release { show, stop_vm } => self.with_show(*show, |all, show| all.release(show, *stop_vm)),
            Act::StreamOff { show }
            | Act::StreamOn { show }
            | Act::Hold { show, .. }
            | Act::Failover { show } => self.with_show(*show, |all, show| all.order(show, act)),
            Act::Maintain { vm, enabled } => self.maintain(*vm, *enabled),
            Act::Press { vm, button } => self.press(*vm, *button),
            Act::WarmTarget { vms } => self.warm_target(*vms),
            Act::Kill { whom } => self.kill(*whom),
            Act::KillCoordinator { down_ms } => self.end(Duration::from_millis(*down_ms)),
            Act::DieAtCommit { death, down_ms } => {
                self.down = Duration::from_millis(*down_ms);
                self.journal.die_at_next_commit(*death);
            }
            Act::DiskFull { events } => {
                self.record.count("fault disk full".to_owned());
                self.journal.leave_room_for(*events);
            }
            Act::SlowDisk { commit_ms } => {
                if *commit_ms > 0 {
                    self.record.count("fault slow disk".to_owned());
                }
                self.journal.slow_down(Duration::from_millis(*commit_ms));
            }
            Act::Break { .. }
            | Act::Mend { .. }
            | Act::BreakZone { .. }
            | Act::MendZone { .. }
            | Act::BreakCloud { .. }
            | Act::MendCloud
            | Act::IngestDown
            | Act::IngestUp
            | Act::StopInstance { .. } => self.change_world(act),
        }
    }

    fn with_show(&mut self, number: u32, act: impl FnOnce(&mut Productions, ShowId)) {
        if let Some(show) = self.shows.get(number as usize) {
            act(&mut self.productions, show.clone());
        }
    }

    fn change_world(&self, act: &Act) {
        let world = &self.world;
        match act {
            Act::Break { vm, fault } => {
                self.record.count(format!("fault {}", named(&fault.kind())));
                if let Some(instance) = self.instance(*vm) {
                    self.tell(world.fault(&instance, *fault));
                }
            }
            Act::Mend { vm, kind } => {
                if let Some(instance) = self.instance(*vm) {
                    self.tell(world.heal(&instance, *kind));
                }
            }
            Act::BreakZone { zone, fault } => {
                self.record.count(format!("fault zone {}", named(&fault.kind())));
                self.tell(world.fault_zone(&self.zone(*zone), *fault));
            }
            Act::MendZone { zone, kind } => self.tell(world.heal_zone(&self.zone(*zone), *kind)),
            Act::BreakCloud { fault } => {
                self.record.count(format!("fault cloud {}", named(fault)));
                world.cloud_fault(*fault);
            }
            Act::MendCloud => world.heal_cloud(),
            Act::IngestDown => {
                self.record.count("fault ingest down".to_owned());
                world.ingest().take_down();
            }
            Act::IngestUp => world.ingest().bring_back(),
            Act::StopInstance { vm } => {
                self.record.count("fault instance stopped".to_owned());
                if let Some(instance) = self.instance(*vm) {
                    self.tell(world.stop_instance(&instance));
                }
            }
            _ => {}
        }
    }

    fn tell(&self, done: Result<(), direct::WorldError>) {
        if let Err(error) = done {
            self.record.note(&format!("world  {error}"));
        }
    }

    fn kill(&self, whom: Whom) {
        let victim = match whom {
            Whom::Part(part) => Some(Victim::Part(part)),
            Whom::Vm(vm) => self.vm(vm).map(Victim::Vm),
            Whom::Link(vm, link) => self.vm(vm).map(|vm| Victim::Link(vm, link)),
            Whom::Show(show) => self.shows.get(show as usize).cloned().map(Victim::Show),
        };
        if let (Some(coordinator), Some(victim)) = (self.coordinator(), victim)
            && coordinator.kill(&victim)
        {
            self.record.count(format!("killed {}", named(&whom)));
        }
    }

    fn maintain(&self, vm: u32, enabled: bool) {
        if let Some(vm) = self.vm(vm) {
            self.desk.ask(format!("maintenance of {vm} {enabled}"), move |coordinator| async move {
                coordinator.maintenance(vm, enabled, None).await.map(|_| ())
            });
        }
    }

    fn press(&self, vm: u32, button: Button) {
        if let Some(vm) = self.vm(vm) {
            self.desk
                .ask(format!("{button:?} {vm}"), move |coordinator| async move {
                    let pressed = match button {
                        Button::Start => coordinator.start_vm(vm).await,
                        Button::Stop => coordinator.stop_vm(vm).await,
                        Button::Reboot => coordinator.reboot_vm(vm, false).await,
                    };
                    pressed.map(|_| ())
                });
        }
    }

    fn warm_target(&self, vms: u32) {
        self.desk
            .ask(format!("warm target {vms}"), move |coordinator| async move {
                let settings = Settings {
                    warm_count: vms,
                    ..coordinator.settings()
                };
                coordinator.configure(settings).await.map(|_| ())
            });
    }

    /// Mends everything, undoes what operators did, and waits until all is as it is to be.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        if self.record.has_violations() {
            return Ok(());
        }
        self.record.note("everything is mended");
        self.mend_everything();
        let until = Instant::now() + SETTLED_WITHIN;
        let mut attended_at = None;
        loop {
            self.pass(LOOK_EVERY).await?;
            if self.record.has_violations() {
                return Ok(());
            }
            let Some(coordinator) = self.coordinator().cloned() else {
                continue;
            };
            if attended_at.is_none_or(|at: Instant| at.elapsed() >= ATTENDED_EVERY) {
                attended_at = Some(Instant::now());
                self.attend(&coordinator);
            }
            let waits = watch::unsettled(&coordinator.state(), &self.world, &self.productions.wanted());
            if waits.is_empty() && !self.productions.is_busy() {
                break;
            }
            if Instant::now() >= until {
                let spent = SETTLED_WITHIN.as_secs();
                for wait in waits {
                    self.record.violated(
                        watch::LIVENESS,
                        format!("after {spent} s without any fault {wait}"),
                    );
                }
                if self.productions.is_busy() && !self.record.has_violations() {
                    let what = format!("after {spent} s without any fault somebody waits for an answer");
                    self.record.violated(watch::LIVENESS, what);
                }
                return Ok(());
            }
        }
        self.record.note("everything has settled");
        Ok(())
    }

    fn mend_everything(&mut self) {
        self.journal.free();
        self.journal.slow_down(Duration::ZERO);
        self.world.heal_cloud();
        self.world.ingest().bring_back();
        for number in 0..self.size.warm + self.size.cold {
            let Some(instance) = self.instance(number) else {
                continue;
            };
            for kind in every_kind() {
                self.tell(self.world.heal(&instance, kind));
            }
        }
    }

    /// What operators do when nothing is wrong any more: VMs come out of maintenance, and shows that were moved so often
    /// that the coordinator leaves them alone are moved by hand.
    fn attend(&self, coordinator: &Coordinator) {
        let state = coordinator.state();
        for show in state.shows().filter(|show| show.held) {
            let is_silent = self.world.ingest().publishers(&stream_key(&show.id)).is_empty();
            let move_it = show.stream_wanted && is_silent && show.failover().is_none();
            let id = show.id.clone();
            self.desk
                .ask(format!("hold of {id} over"), move |coordinator| async move {
                    coordinator.hold(id.clone(), false, None).await?;
                    if move_it {
                        coordinator.failover(id, None, None).await?;
                    }
                    Ok(())
                });
        }
        for vm in state.vms() {
            if matches!(vm.occupancy, Occupancy::Maintenance { .. }) {
                let id = vm.id.clone();
                self.desk.ask(format!("maintenance of {id} over"), move |coordinator| async move {
                    coordinator.maintenance(id, false, None).await.map(|_| ())
                });
            }
        }
        let target = self.size.warm.min(2);
        if coordinator.settings().warm_count != target {
            self.warm_target(target);
        }
    }

    /// Ends the process in peace and compares what it had in memory with its journal.
    pub(super) async fn finish(mut self) {
        self.productions.end();
        if let Some(life) = self.life.take() {
            let ledger = life.ledger.clone();
            if timeout(Duration::from_secs(60), life.node.stop()).await.is_err() {
                let what = "the coordinator does not stop within 60 s".to_owned();
                self.record.violated(watch::LIVENESS, what);
            }
            // Whatever was under way has ended or was given up by now.
            sleep(Duration::from_millis(10)).await;
            let state = ledger.state();
            self.check_replay(&state);
            let shows = state.shows().count();
            self.record.note(&format!("{shows} shows, {} events", state.seq));
        }
    }
}

fn configuration(world: &World, size: Size) -> Config {
    let sim = world.config();
    let mut config = Config::default();
    config.pool.project.clone_from(&sim.project);
    config.pool.warm_count = size.warm.min(2);
    config.pool.max_instances = size.warm + size.cold;
    config.pool.max_concurrent = size.warm + size.cold;
    config.cloud.provider = config::Provider::Rest;
    config.cloud.address = config::Address::Private;
    config.vm.service_port = sim.ports.status;
    config.vm.obs_port = sim.ports.obs;
    config.vm.ssh_port = sim.ports.ssh;
    config.obs.password.clone_from(&sim.obs_password);
    config
}

/// Every kind of fault that can be mended.
fn every_kind() -> Vec<FaultKind> {
    let services = [Service::Studio, Service::Status, Service::Ssh];
    let never = services.map(|service| Fault::ServiceNeverStarts(service).kind());
    let others = [
        FaultKind::StudioCrash,
        FaultKind::StudioHang,
        FaultKind::StatusDown,
        FaultKind::StatusHang,
        FaultKind::StatusFlap,
        FaultKind::Blackhole,
        FaultKind::SshDown,
        FaultKind::OutputSilent,
        FaultKind::SlowBoot,
        FaultKind::BootNeverFinishes,
        FaultKind::AddressChanges,
    ];
    never.into_iter().chain(others).collect()
}

/// What kind of thing it is, for counting: its name without its figures.
fn named(of: &impl std::fmt::Debug) -> String {
    let text = format!("{of:?}");
    let end = text.find([' ', '{']).unwrap_or(text.len());
    let name = text.get(..end).unwrap_or(&text);
    let plain: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
    plain.replace(['(', ')', ','], " ").trim().to_lowercase()
}
