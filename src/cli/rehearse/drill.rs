//! One scenario, played with a coordinator in this process.

use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::report::{FailoverReport, ScenarioReport};
use super::scenario::{Expected, Scenario};
use super::watch::Watch;
use crate::actors::coordinator::Coordinator;
use crate::config::Config;
use crate::domain::ids::{ShowId, VmId};
use crate::domain::show::{Phase, Show};
use crate::rehearsal::stage::{Producer, Setting, Stage, stream_key};
use crate::sim::model::fault::Fault;
use crate::sim::wire::Ingest;
use crate::sim::world::WorldConfig;

/// How long setting up may take, per show and altogether.
const SET_UP: Duration = Duration::from_secs(60);
/// Faults hit the shows at random moments within this time.
const FAULTS_WITHIN_MS: u64 = 500;
/// After trouble that moves no show, studios may take this long to be publishing again.
const BACK_ON_AIR: Duration = Duration::from_secs(15);

/// What a scenario is played with.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    pub shows: usize,
    pub seed: u64,
}

/// How the stage is set for a scenario: enough spares for every show, or none that runs. What decides how fast
/// a failure is noticed and mended stays at its default.
#[must_use]
pub fn setting(scenario: Scenario, cast: Cast) -> Setting {
    let shows = u32::try_from(cast.shows).unwrap_or(u32::MAX);
    let (warm, cold, warm_target) = if scenario.has_warm_spares() {
        (shows * 2, 1, 1)
    } else {
        (shows, shows, 0)
    };
    let mut base = Config::default();
    base.pool.warm_count = warm_target;
    base.pool.max_instances = warm + cold;
    base.pool.max_concurrent = shows;
    base.pool.health_check_interval = Duration::from_secs(5);
    base.pool.warmup_time = Duration::from_secs(30);
    base.cloud.sweep_interval = Duration::from_secs(1);
    Setting {
        world: WorldConfig {
            seed: cast.seed,
            ..WorldConfig::for_test(warm, cold)
        },
        base,
    }
}

/// The shows of a rehearsal.
///
/// # Errors
/// Never for the names used here.
pub fn shows(count: usize) -> anyhow::Result<Vec<ShowId>> {
    (1..=count)
        .map(|n| Ok(ShowId::new(format!("show-{n}"))?))
        .collect()
}

/// Plays a scenario and says what came of it.
///
/// # Errors
/// When the stage could not be set; whatever goes wrong after that is in the report.
pub async fn play(scenario: Scenario, cast: Cast) -> anyhow::Result<ScenarioReport> {
    let stage = Stage::set(setting(scenario, cast)).await?;
    let node = stage.coordinator(|_| None).await?;
    let drill = Drill {
        producer: Producer {
            coordinator: node.coordinator(),
        },
        shows: shows(cast.shows)?,
        rng: StdRng::seed_from_u64(cast.seed),
        stage,
    };
    let report = drill.play(scenario).await;
    node.stop().await?;
    report
}

struct Drill {
    stage: Stage,
    producer: Producer,
    shows: Vec<ShowId>,
    rng: StdRng,
}

impl Drill {
    async fn play(mut self, scenario: Scenario) -> anyhow::Result<ScenarioReport> {
        self.set_up().await.context("setting up")?;
        let watch = Watch::begin(&self.producer.coordinator);
        let mut failures = Vec::new();
        if let Err(error) = self.break_and_wait(scenario).await {
            failures.push(format!("{error:#}"));
        }
        let ingest = self.stage.world.ingest();
        let state = self.producer.coordinator.state();
        let mut shows_on_air = 0;
        let mut failovers = Vec::new();
        for id in &self.shows {
            let show = state.show(id).context("a show was forgotten")?;
            match self.is_on_air(show) {
                Ok(()) => shows_on_air += 1,
                Err(why) => failures.push(why),
            }
            let gap = ingest_gap_ms(ingest, &stream_key(id));
            failovers.extend(
                show.records
                    .iter()
                    .map(|record| FailoverReport::of(id.as_str(), record, gap)),
            );
        }
        failures.extend(unexpected(scenario, &self.shows, &failovers));
        let invariants = watch.end(ingest);
        Ok(ScenarioReport {
            name: scenario.name(),
            passed: failures.is_empty() && invariants.violations.is_empty(),
            shows: self.shows.len(),
            shows_on_air,
            failovers,
            invariants,
            failures,
        })
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        self.producer
            .until_available(self.stage.world.config().warm as usize, SET_UP)
            .await?;
        for show in &self.shows {
            self.producer.go_on_air(&self.stage, show, SET_UP).await?;
        }
        Ok(())
    }

    async fn break_and_wait(&mut self, scenario: Scenario) -> anyhow::Result<()> {
        for show in self.shows.clone() {
            let pause = self
                .rng
                .random_range(0..FAULTS_WITHIN_MS / self.shows.len() as u64 + 1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.strike(scenario, &show).await?;
        }
        match scenario.expected() {
            Expected::Moved { within } => self.wait_for_moves(within).await,
            Expected::Stays { watched_for } => {
                tokio::time::sleep(watched_for).await;
                self.mend(scenario).await
            }
        }
    }

    async fn strike(&self, scenario: Scenario, show: &ShowId) -> anyhow::Result<()> {
        let coordinator = &self.producer.coordinator;
        let vm = vm_of(coordinator, show)?;
        let instance = self.producer.instance_of(&vm)?;
        let world = &self.stage.world;
        match scenario {
            Scenario::StudioCrash | Scenario::NoSpare | Scenario::CoordinatorKill9 => {
                world.fault(&instance, Fault::StudioCrash)?;
            }
            Scenario::StudioHang => world.fault(&instance, Fault::StudioHang)?,
            Scenario::MachineBlackhole => world.fault(&instance, Fault::Blackhole)?,
            Scenario::InstanceStopped => world.stop_instance(&instance)?,
            Scenario::StatusFlap => {
                let (up, down) = (Duration::from_millis(700), Duration::from_millis(1_500));
                world.fault(&instance, Fault::StatusFlap { up, down })?;
            }
            Scenario::IngestDown => world.ingest().take_down().await,
            Scenario::KillVmActor => {
                self.kill_vm_actor(&vm).await?;
                world.fault(&instance, Fault::StudioCrash)?;
            }
            Scenario::KillShowActor => {
                world.fault(&instance, Fault::StudioCrash)?;
                self.kill_show_actor(show).await?;
            }
        }
        Ok(())
    }

    /// The actor dies and comes back; its show does not notice.
    async fn kill_vm_actor(&self, vm: &VmId) -> anyhow::Result<()> {
        let coordinator = &self.producer.coordinator;
        anyhow::ensure!(coordinator.kill_vm_actor(vm), "{vm} had no actor to kill");
        // What was killed answers no more: who does is its successor.
        self.producer.until_answered_by(vm, SET_UP).await
    }

    /// The actor dies while it moves its show.
    async fn kill_show_actor(&self, show: &ShowId) -> anyhow::Result<()> {
        let coordinator = &self.producer.coordinator;
        let what = format!("show {show} failing over");
        let moving = |show: &Show| show.failover().is_some() || !show.records.is_empty();
        self.producer
            .until(&what, SET_UP, |state| {
                state.show(show).is_some_and(|show| moving(show)).then_some(())
            })
            .await?;
        anyhow::ensure!(
            coordinator.kill_show_actor(show),
            "show {show} had no actor to kill"
        );
        Ok(())
    }

    async fn mend(&self, scenario: Scenario) -> anyhow::Result<()> {
        if scenario == Scenario::IngestDown {
            self.stage.world.ingest().bring_back().await?;
        }
        let keys: Vec<String> = self.shows.iter().map(stream_key).collect();
        let all_publish = |ingest: &Ingest| keys.iter().all(|key| ingest.publishers(key).len() == 1);
        let back = self.stage.world.ingest().until(BACK_ON_AIR, all_publish).await;
        anyhow::ensure!(
            back,
            "not every show was publishing again within {} s",
            BACK_ON_AIR.as_secs()
        );
        Ok(())
    }

    async fn wait_for_moves(&self, within: Duration) -> anyhow::Result<()> {
        for show in &self.shows {
            let what = format!("show {show} on air on another VM");
            self.producer
                .until(&what, within, |state| {
                    let show = state.show(show)?;
                    (show.phase == Phase::OnAir && !show.records.is_empty()).then_some(())
                })
                .await?;
            let what = format!("the studio of show {show} compared");
            self.producer
                .until(&what, within, |state| {
                    state.show(show)?.records.last()?.comparison.as_ref().map(drop)
                })
                .await?;
        }
        Ok(())
    }

    /// On air by the ledger's word and by the ingest's.
    fn is_on_air(&self, show: &Show) -> Result<(), String> {
        let phase = show.phase.as_str();
        if show.phase != Phase::OnAir {
            return Err(format!("show {} is {phase}", show.id));
        }
        let state = self.producer.coordinator.state();
        let vm = show.vm.as_ref().and_then(|vm| state.vm(vm));
        let expected = vm.and_then(|vm| vm.instance.private_ip);
        let publishers = self.stage.world.ingest().publishers(&stream_key(&show.id));
        match publishers.as_slice() {
            [one] if Some(std::net::IpAddr::V4(*one)) == expected => Ok(()),
            others => Err(format!(
                "show {} should be published by {expected:?}; the ingest sees {others:?}",
                show.id
            )),
        }
    }
}

fn vm_of(coordinator: &Coordinator, show: &ShowId) -> anyhow::Result<VmId> {
    let state = coordinator.state();
    Ok(state
        .vm_of_show(show)
        .with_context(|| format!("show {show} has no VM"))?
        .id
        .clone())
}

/// What should have happened to every show and did not, or the other way round.
pub fn unexpected(scenario: Scenario, shows: &[ShowId], failovers: &[FailoverReport]) -> Vec<String> {
    let moves_of = |show: &ShowId| failovers.iter().filter(|f| f.show == show.as_str()).count();
    let wanted = match scenario.expected() {
        Expected::Moved { .. } => 1,
        Expected::Stays { .. } => 0,
    };
    let mut found: Vec<String> = shows
        .iter()
        .filter(|show| moves_of(show) != wanted)
        .map(|show| {
            format!(
                "show {show} was moved {} times instead of {wanted}",
                moves_of(show)
            )
        })
        .collect();
    for failover in failovers {
        let seen = failover.found.iter().flatten();
        let lacks: Vec<&str> = failover
            .differences
            .iter()
            .chain(seen)
            .map(String::as_str)
            .collect();
        if !lacks.is_empty() {
            let lacks = lacks.join("; ");
            found.push(format!("the new studio of show {} lacks: {lacks}", failover.show));
        }
    }
    found
}

/// Between the last byte of the first publisher of a key and the first byte of the next one.
pub fn ingest_gap_ms(ingest: &Ingest, key: &str) -> Option<u64> {
    let stretches: Vec<_> = ingest.stretches().into_iter().filter(|s| s.key == key).collect();
    let first = stretches.first()?;
    let next = stretches
        .iter()
        .find(|stretch| stretch.publisher != first.publisher)?;
    let last = stretches
        .iter()
        .filter(|s| s.publisher == first.publisher)
        .map(|s| s.to)
        .max()?;
    u64::try_from(next.from.since(last).as_millis()).ok()
}
