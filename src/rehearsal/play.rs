//! Plays one scenario on a stage, with whatever coordinates it, and judges.
//!
//! ```text
//! set up: all shows on air ─► cues ─► watch ─► settle: as expected, or out of time ─► verdict
//! ```
//!
//! Only a stage that could not be set is an error. Whatever goes wrong after that is in the report.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::control::{Control, Standing};
use super::cue::cues;
use super::gaps::{self, Curtain};
use super::here::Here;
use super::in_force::{Force, InForce, Lift};
use super::judge;
use super::report::{FailoverReport, Invariants, ScenarioReport, ShowReport, Strike};
use super::scenario::{Command, Ends, Part, Scenario};
use super::stage::{Setting, Stage, stream_key};
use super::wait::until;
use super::watch::{self, Watch};
use crate::actors::coordinator::Coordinator;
use crate::config::Config;
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::show::RECORDS_MAX;
use crate::domain::studio::Secret;
use crate::domain::time::{Timestamp, millis};
use crate::sim::world::WorldConfig;

/// How long setting up may take, per show and altogether.
const SET_UP: Duration = Duration::from_secs(60);
/// Pause between two questions to the coordinator.
const LOOK: Duration = Duration::from_millis(20);

/// What a scenario is played with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cast {
    /// So many shows instead of the scenario's own number.
    pub shows: Option<u32>,
    /// Drives every choice.
    pub seed: u64,
}

/// What is told while a scenario is played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "happening", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Happening {
    /// A scenario begins to be set up.
    SettingUp { scenario: String, shows: usize },
    /// All shows are on air; so many cues follow, the last of which is over after this.
    Began { cues: usize, length_ms: u64 },
    /// A cue was carried out.
    Struck { at_ms: u64, what: String },
    /// What was struck is mended.
    Mended { at_ms: u64, what: String },
    /// All cues are over; everything has to be as expected within this.
    Settling { within_ms: u64 },
    /// The verdict.
    Judged { scenario: String, passed: bool },
}

/// Whoever wants to know while it goes on.
pub trait Audience: Send + Sync {
    fn told(&self, happening: Happening);
}

/// Nobody.
impl Audience for () {
    fn told(&self, _: Happening) {}
}

/// How the stage is set for a scenario. What decides how fast a failure is noticed and mended stays at its default.
///
/// # Errors
/// [`super::scenario::CastError`].
pub fn setting(scenario: &Scenario, cast: Cast) -> anyhow::Result<Setting> {
    let shows = u32::try_from(scenario.parts(cast.shows)?.len())?;
    let (warm, cold) = scenario.machines(shows);
    let mut base = Config::default();
    base.pool.warm_count = scenario.pool.warm_target;
    base.pool.max_instances = warm + cold;
    base.pool.max_concurrent = shows;
    base.pool.health_check_interval = Duration::from_secs(5);
    base.pool.warmup_time = Duration::from_secs(30);
    base.cloud.sweep_interval = Duration::from_secs(1);
    Ok(Setting {
        world: WorldConfig {
            seed: cast.seed,
            zones: scenario.pool.zones.clone(),
            ..WorldConfig::for_test(warm, cold)
        },
        base,
    })
}

/// Plays a scenario with a coordinator in this process.
///
/// # Errors
/// When the stage could not be set, or the coordinator not be started or stopped.
pub async fn play_here(
    scenario: &Scenario,
    cast: Cast,
    audience: &dyn Audience,
) -> anyhow::Result<ScenarioReport> {
    let stage = Stage::set(setting(scenario, cast)?).await?;
    let node = stage.coordinator(|_| None).await?;
    let coordinator = node.coordinator();
    let here = Here::new(coordinator.clone());
    let report = play(&stage, &here, Some(&coordinator), scenario, cast, audience).await;
    node.stop().await?;
    report
}

/// Plays a scenario. `watched` is the coordinator whose every state is held against the invariants, where it is in
/// this process.
///
/// # Errors
/// When the shows could not be put on air.
pub async fn play(
    stage: &Stage,
    control: &dyn Control,
    watched: Option<&Coordinator>,
    scenario: &Scenario,
    cast: Cast,
    audience: &dyn Audience,
) -> anyhow::Result<ScenarioReport> {
    let drill = Drill {
        stage,
        control,
        scenario,
        parts: scenario.parts(cast.shows)?,
        audience,
        notes: Mutex::default(),
    };
    audience.told(Happening::SettingUp {
        scenario: scenario.name.clone(),
        shows: drill.parts.len(),
    });
    drill.set_up().await.context("setting up")?;
    let watch = watched.map(Watch::begin);
    let (mut failures, settled) = drill.perform(cast.seed).await;
    let seen = drill.judge(&mut failures).await;
    let invariants = watch.map(Watch::end).unwrap_or_default();
    failures.extend(judge::failures(&seen.shows, &seen.failovers, &seen.judged));
    // Last: what was not as expected says more.
    failures.extend(settled.err());
    let report = drill.report(seen, failures, invariants);
    audience.told(Happening::Judged {
        scenario: report.name.clone(),
        passed: report.passed,
    });
    Ok(report)
}

/// A scenario while it is played.
pub(super) struct Drill<'d> {
    stage: &'d Stage,
    control: &'d dyn Control,
    scenario: &'d Scenario,
    parts: Vec<Part>,
    audience: &'d dyn Audience,
    notes: Mutex<Notes>,
}

/// What is written down on the way.
#[derive(Default)]
struct Notes {
    /// When it began, by both clocks.
    began: Option<(Timestamp, Instant)>,
    strikes: Vec<Strike>,
    /// When the viewers of a show expect nothing, since somebody took it off the air.
    curtains: BTreeMap<ShowId, Vec<Curtain>>,
    in_force: InForce,
    vms: BTreeMap<ShowId, (VmId, InstanceId)>,
}

/// What was seen of shows and alerts, before it is put together.
struct Seen {
    end: Timestamp,
    shows: Vec<ShowReport>,
    failovers: Vec<FailoverReport>,
    judged: judge::Judged,
}

impl Drill<'_> {
    pub(super) fn stage(&self) -> &Stage {
        self.stage
    }

    pub(super) fn control(&self) -> &dyn Control {
        self.control
    }

    pub(super) fn scenario(&self) -> &Scenario {
        self.scenario
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.stage.world.clock().now()
    }

    fn began(&self) -> (Timestamp, Instant) {
        let now = (self.now(), Instant::now());
        *self.notes().began.get_or_insert(now)
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        millis(self.now().since(self.began().0))
    }

    /// The runtime's instant of a moment of the timeline.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began().1 + at
    }

    /// Writes down what is done now; returns its number.
    pub(super) fn note(&self, what: String, show: Option<&ShowId>) -> usize {
        let at_ms = self.elapsed_ms();
        let strike = Strike {
            at_ms,
            until_ms: None,
            show: show.map(ToString::to_string),
            what: what.clone(),
        };
        let number = {
            let mut notes = self.notes();
            notes.strikes.push(strike);
            notes.strikes.len() - 1
        };
        self.audience.told(Happening::Struck { at_ms, what });
        number
    }

    pub(super) fn note_mended(&self, number: usize) {
        let at_ms = self.elapsed_ms();
        let mended = self.notes().strikes.get_mut(number).map(|strike| {
            strike.until_ms = Some(at_ms);
            strike.what.clone()
        });
        if let Some(what) = mended {
            self.audience.told(Happening::Mended { at_ms, what });
        }
    }

    /// Since then the show's viewers expect nothing.
    pub(super) fn curtain_falls(&self, show: &ShowId, at_ms: u64) {
        let mut notes = self.notes();
        let curtains = notes.curtains.entry(show.clone()).or_default();
        if curtains.last().is_none_or(|last| last.until_ms.is_some()) {
            let until_ms = None;
            curtains.push(Curtain { at_ms, until_ms });
        }
    }

    /// From now on they expect it again.
    pub(super) fn curtain_rises(&self, show: &ShowId) {
        let at_ms = self.elapsed_ms();
        let mut notes = self.notes();
        if let Some(last) = notes.curtains.get_mut(show).and_then(|all| all.last_mut()) {
            last.until_ms.get_or_insert(at_ms);
        }
    }

    pub(super) fn is_in_force(&self, strike: usize, force: Force) {
        self.notes().in_force.add(strike, force);
    }

    pub(super) fn lift(&self, strike: usize) -> Vec<Lift> {
        self.notes().in_force.lift(strike)
    }

    pub(super) fn remember(&self, show: &ShowId, vm: (VmId, InstanceId)) {
        self.notes().vms.insert(show.clone(), vm);
    }

    pub(super) fn remembered(&self, show: &ShowId) -> Option<(VmId, InstanceId)> {
        self.notes().vms.get(show).cloned()
    }

    /// Asks until there is an answer, for at most `limit`.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl AsyncFn() -> Option<T>,
    ) -> anyhow::Result<T> {
        until(what, limit, LOOK, look).await
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        let warm = self.stage.world.config().warm as usize;
        let what = format!("{warm} VMs available");
        self.until(&what, SET_UP, async || {
            let available = self.control.available().await.ok()?;
            (available >= warm).then_some(())
        })
        .await?;
        for part in &self.parts {
            let show = &part.show;
            let (vm, instance) = self.control.assign(show, SET_UP).await?;
            let key = stream_key(show);
            self.stage.machine(&instance)?.load_example_studio(&key)?;
            let key = Secret::new(key);
            self.until(
                &format!("the studio of show {show} captured"),
                SET_UP,
                async || {
                    let captured = self.control.is_captured(show, &key).await.ok()?;
                    captured.then_some(())
                },
            )
            .await?;
            self.control.command(show, Command::Start).await?;
            self.until(&format!("show {show} on air"), SET_UP, async || {
                let standing = self.control.standing(show).await.ok()??;
                (standing.phase == "on_air" && self.is_published_by(show, &instance)).then_some(())
            })
            .await?;
            self.remember(show, (vm, instance));
        }
        Ok(())
    }

    /// Carries out every cue and waits until everything is as expected, or for as long as that may take. Returns what
    /// could not be carried out, and whether everything came to be as expected.
    async fn perform(&self, seed: u64) -> (Vec<String>, Result<(), String>) {
        let shows: Vec<ShowId> = self.parts.iter().map(|part| part.show.clone()).collect();
        let cues = cues(self.scenario, &shows, seed);
        self.began();
        self.audience.told(Happening::Began {
            cues: cues.len(),
            length_ms: millis(self.scenario.length()),
        });
        let played = join_all(cues.iter().map(|cue| self.carry_out(cue))).await;
        let failures = played.into_iter().filter_map(Result::err);
        let failures: Vec<String> = failures.map(|error| format!("{error:#}")).collect();
        let objective = &self.scenario.objective;
        tokio::time::sleep(objective.watch).await;
        self.audience.told(Happening::Settling {
            within_ms: millis(objective.within),
        });
        let settled = self
            .until("everything as expected", objective.within, async || {
                let mut settled = true;
                for part in &self.parts {
                    settled &= self.is_settled(part).await;
                }
                settled.then_some(())
            })
            .await;
        let within_s = objective.within.as_secs_f64();
        let late = |_| format!("not everything was as expected within {within_s} s of the last step");
        (failures, settled.map_err(late))
    }

    async fn is_settled(&self, part: &Part) -> bool {
        let Ok(Some(standing)) = self.control.standing(&part.show).await else {
            return false;
        };
        let moves = standing.completed().count();
        let enough = part.moves.is_none_or(|expected| moves >= expected as usize);
        // Only a show on air is read again; the others wait for nothing.
        let compared = standing
            .completed()
            .last()
            .is_none_or(|last| last.found.is_some());
        let is_published = self.is_published(&part.show, &standing);
        enough
            && part.ends.fits(&standing.phase)
            && is_published == (part.ends == Ends::OnAir)
            && (compared || part.ends != Ends::OnAir)
    }

    /// Published by its own VM and by nobody else, as the ingest sees it; without a VM, by anybody.
    fn is_published(&self, show: &ShowId, standing: &Standing) -> bool {
        match &standing.instance {
            Some(instance) if standing.phase == "on_air" => self.is_published_by(show, instance),
            _ => !self.stage.world.ingest().publishers(&stream_key(show)).is_empty(),
        }
    }

    fn is_published_by(&self, show: &ShowId, instance: &InstanceId) -> bool {
        let found = self.stage.world.instance(instance);
        let expected = found.and_then(|instance| instance.private_ip);
        let publishers = self.stage.world.ingest().publishers(&stream_key(show));
        matches!(publishers.as_slice(), [one] if Some(std::net::IpAddr::V4(*one)) == expected)
    }

    async fn judge(&self, failures: &mut Vec<String>) -> Seen {
        let ((begin, _), end) = (self.began(), self.now());
        let mut shows = Vec::with_capacity(self.parts.len());
        let mut failovers = Vec::new();
        for part in &self.parts {
            match self.control.standing(&part.show).await {
                Ok(Some(standing)) => {
                    if standing.moves.len() >= RECORDS_MAX {
                        failures.push(format!(
                            "show {} was moved {RECORDS_MAX} times or more, of which no more are remembered: nobody can say \
                             whether all went well",
                            part.show
                        ));
                    }
                    let show = self.show_report(part, &standing, begin, end);
                    let moves = standing.moves.iter();
                    let name = part.show.as_str();
                    failovers.extend(moves.map(|moved| FailoverReport::of(name, moved, begin, &show.gaps)));
                    shows.push(show);
                }
                Ok(None) => failures.push(format!("show {} was forgotten", part.show)),
                Err(error) => failures.push(format!("show {} cannot be asked for: {error:#}", part.show)),
            }
        }
        let rang = self.control.alerts().await.unwrap_or_else(|error| {
            failures.push(format!("the alerts cannot be asked for: {error:#}"));
            Vec::new()
        });
        let judged = judge::alerts(&rang, &self.scenario.objective, begin);
        Seen {
            end,
            shows,
            failovers,
            judged,
        }
    }

    fn show_report(&self, part: &Part, standing: &Standing, begin: Timestamp, end: Timestamp) -> ShowReport {
        let stretches = self.stage.world.ingest().stretches();
        let published = gaps::published(&stretches, &stream_key(&part.show), begin, end);
        let curtains = self.notes().curtains.get(&part.show).cloned();
        let silent_before_ms = gaps::silent_before_ms(&stretches, &stream_key(&part.show), begin);
        let end_ms = millis(end.since(begin));
        let gaps = gaps::gaps(
            &published,
            &curtains.unwrap_or_default(),
            silent_before_ms,
            end_ms,
        );
        ShowReport {
            show: part.show.to_string(),
            moves_expected: part.moves,
            moves: u32::try_from(standing.completed().count()).unwrap_or(u32::MAX),
            ends: part.ends.word().to_owned(),
            phase: standing.phase.clone(),
            on_air: self.is_published(&part.show, standing),
            max_off_air_ms: part.max_off_air.map(millis),
            worst_gap_ms: gaps.iter().map(|gap| gap.ms).max().unwrap_or_default(),
            gaps,
            published,
        }
    }

    fn report(&self, seen: Seen, failures: Vec<String>, mut invariants: Invariants) -> ScenarioReport {
        watch::add_ingest(&mut invariants, self.stage.world.ingest());
        let mut strikes = self.notes().strikes.clone();
        strikes.sort_by_key(|strike| strike.at_ms);
        ScenarioReport {
            name: self.scenario.name.clone(),
            about: self.scenario.about.clone(),
            passed: failures.is_empty() && invariants.violations.is_empty(),
            duration_ms: millis(seen.end.since(self.began().0)),
            shows: self.parts.len(),
            shows_on_air: seen.shows.iter().filter(|show| show.on_air).count(),
            worst_gap_ms: seen
                .shows
                .iter()
                .map(|show| show.worst_gap_ms)
                .max()
                .unwrap_or_default(),
            strikes,
            failovers: seen.failovers,
            alerts: seen.judged.alerts,
            alerts_missing: seen.judged.missing,
            on_stage: seen.shows,
            invariants,
            failures,
        }
    }
}
