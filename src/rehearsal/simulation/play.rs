//! A run: the real tree over the simulated world, in virtual time, as the plan says.
//!
//! The coordinator's process comes and goes; world, producers and witnesses outlive it.

mod acts;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::Pace;
use super::plan::{GiveBack, Plan, Size};
use super::process::Process;
use super::produce::{Desk, Productions};
use super::record::Record;
use super::recordings::Recordings;
use super::{rules, watch};
use crate::actors::coordinator::Coordinator;
use crate::domain::ids::{InstanceId, ShowId};
use crate::domain::instance::InstanceState;
use crate::domain::state::State;
use crate::domain::vm::Occupancy;
use crate::rehearsal::stage::stream_key;
use crate::sim::direct::{Parts, World, WorldConfig};

/// Looks at the ingest are this far apart; it keeps its own book between them.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Once nothing is wrong any more, everything has settled within this virtual time: a VM with a fault is left alone for
/// five minutes (`domain::pool::FAULT_COOLOFF`), and what may be in its way takes its deadlines one after the other.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Then operators look at what the coordinator leaves to them.
const ATTENDED_EVERY: Duration = Duration::from_secs(30);
/// Instances that are none of the coordinator's business.
const STRANGERS: usize = 2;

pub(super) struct Play {
    record: Record,
    pace: Pace,
    world: Arc<World>,
    process: Process,
    desk: Desk,
    productions: Productions,
    /// By their numbers in the plan.
    shows: Vec<ShowId>,
    strangers: Vec<InstanceId>,
    recordings: Recordings,
    size: Size,
}

impl Play {
    /// Sets the world and starts the coordinator in it.
    pub(super) async fn begin(
        plan: &Plan,
        over: fn(Parts) -> Parts,
        record: Record,
        pace: Pace,
    ) -> anyhow::Result<Self> {
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
        let desk = Desk::new(Arc::clone(&world), record.clone());
        let mut process = Process::new(Arc::clone(&world), over, desk.clone(), record.clone(), size)?;
        process.start().await?;
        Ok(Self {
            record,
            pace,
            process,
            productions: Productions::new(desk.clone()),
            desk,
            world,
            shows,
            strangers,
            recordings: Recordings::default(),
            size,
        })
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
        self.process.pass(span).await?;
        self.pace.passed(self.record.now_ms());
        self.look();
        Ok(())
    }

    fn look(&mut self) {
        self.recordings.look(&self.world, &self.record);
        watch::check_air(&self.process.state(), &self.world, &self.record);
        for stranger in &self.strangers {
            let touched = self
                .world
                .instance(stranger)
                .is_none_or(|instance| instance.state != InstanceState::Running);
            if touched {
                let what = format!("instance {stranger}, which is not of the pool, runs no more");
                self.record.violated(rules::UNKNOWN, what);
            }
        }
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
        while Instant::now() < until {
            self.pass(LOOK_EVERY).await?;
            if self.record.has_violations() {
                return Ok(());
            }
            let Some(coordinator) = self.process.coordinator().cloned() else {
                continue;
            };
            if attended_at.is_none_or(|at: Instant| at.elapsed() >= ATTENDED_EVERY) {
                attended_at = Some(Instant::now());
                self.attend(&coordinator);
            }
            if self.waits().is_empty() {
                self.record.note("everything has settled");
                return Ok(());
            }
        }
        let spent = SETTLED_WITHIN.as_secs();
        for wait in self.waits() {
            let what = format!("after {spent} s without any fault {wait}");
            self.record.violated(rules::LIVENESS, what);
        }
        Ok(())
    }

    /// What is not yet as it is to be.
    fn waits(&self) -> Vec<String> {
        let mut waits = watch::unsettled(&self.process.state(), &self.world, &self.productions.wanted());
        if self.process.coordinator().is_none() {
            waits.push("the coordinator is down".to_owned());
        }
        if waits.is_empty() && self.productions.is_busy() {
            waits.push("somebody waits for an answer".to_owned());
        }
        waits
    }

    fn mend_everything(&mut self) {
        self.process.journal().free();
        self.process.journal().slow_down(Duration::ZERO);
        self.world.heal_cloud();
        self.world.ingest().bring_back();
        self.world.archive().heal();
        for instance in self.pool() {
            for kind in acts::every_kind() {
                self.tell(self.world.heal(&instance, kind));
            }
        }
    }

    /// What operators do when nothing is wrong any more: VMs come out of maintenance, shows that were moved so often
    /// that the coordinator leaves them alone are moved by hand, and those that there is no room for are given back.
    fn attend(&mut self, coordinator: &Coordinator) {
        let state = coordinator.state();
        self.turn_away(&state, coordinator.settings().max_concurrent);
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

    /// Of more shows than there can be at a time, those that have no VM and came last are given back: nobody has promised
    /// them one.
    fn turn_away(&mut self, state: &State, concurrent_max: u32) {
        let places = state.vms().count().min(concurrent_max as usize);
        let wanted = self.productions.wanted();
        let surplus = wanted.len().saturating_sub(places);
        let without = |show: &ShowId| state.show(show).is_none_or(|show| show.vm.is_none());
        let last = wanted.into_iter().rev().filter(without);
        for show in last.take(surplus) {
            self.record.count("turned away".to_owned());
            self.productions.release(show, GiveBack::AsItIs);
        }
    }

    /// Ends the process in peace.
    pub(super) async fn finish(self) {
        self.productions.end();
        self.process.stop().await;
    }
}
