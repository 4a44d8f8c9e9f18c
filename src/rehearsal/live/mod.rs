//! A rehearsal on the real pool: one show of its own on spare VMs, through the coordinator that is on air.
//!
//! ```text
//! plan ─► (consent, its caller's affair) ─► set up ─► steps ─► settle ─► verdict ─► clean up
//!                                             └── guard: anything real ──► abort ──────┘
//! ```
//!
//! It never touches a VM that is on air or assigned: the coordinator gives it one that it names, and takes any further one
//! from the spares as for every show. It ends at once when an alert rings about anybody else, when spares run short, or
//! when it is told to; and whatever ended it, it mends what it broke and gives back what it was given.
//!
//! What it cannot know: it has no witness at the ingest, so that gaps are by the coordinator's account.

mod cleanup;
mod guard;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::time::Instant;

pub use self::plan::{Plan, PlanError, plan};
use super::control::{Control, Move, Standing};
use super::cue::cues;
use super::judge;
use super::play::{Audience, Happening};
use super::report::{FailoverReport, Gap, Invariants, Published, ScenarioReport, ShowReport, Strike};
use super::scenario::{Act, Command, MachineFault, Part, Scenario};
use super::wait::until;
use crate::domain::ids::{ShowId, VmId};
use crate::domain::time::{Timestamp, millis};
use crate::sim::model::fault::Fault;

/// Limit on each part of setting up: a studio has to be made, and a stream to be seen to leave.
const SET_UP: Duration = Duration::from_secs(120);
/// Pause between two questions to the coordinator.
const LOOK: Duration = Duration::from_millis(200);

/// A VM of the pool, by the coordinator's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolVm {
    pub vm: VmId,
    /// As on the wire: `available`, `stopped` and so on.
    pub status: String,
    /// The show that it is given to.
    pub show: Option<String>,
}

/// What can be done to a real VM through its coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The studio is stopped: `STOP_OBS`.
    StopStudio,
    /// And started again: `START_OBS`.
    StartStudio,
    /// `RESTART_SHOW_SERVER`.
    RestartShowServer,
    /// The machine is rebooted, though a show is on it.
    Reboot,
    /// A machine that is off is started.
    Start,
}

/// The coordinator that is on air, as a live rehearsal needs it.
#[async_trait]
pub trait LivePool: Send + Sync {
    /// What a rehearsal asks of any coordinator.
    fn control(&self) -> &dyn Control;
    /// Every VM.
    async fn vms(&self) -> anyhow::Result<Vec<PoolVm>>;
    /// Shows other than this one that are being moved or wait for a VM.
    async fn shows_in_need(&self, but: &ShowId) -> anyhow::Result<Vec<String>>;
    /// Says what the show's studio is to be made from. Its ingest and key are in there.
    async fn configure(&self, show: &ShowId) -> anyhow::Result<()>;
    /// Gives the show this VM and no other; returns when that is ready.
    async fn assign_this(&self, show: &ShowId, vm: &VmId, limit: Duration) -> anyhow::Result<()>;
    /// Whether the show's studio is made.
    async fn is_made(&self, show: &ShowId) -> anyhow::Result<bool>;
    /// Does something to a VM; returns when it is done.
    async fn operate(&self, vm: &VmId, operation: Operation) -> anyhow::Result<()>;
    /// What the coordinator's clock is ahead of ours, in milliseconds.
    async fn ahead_ms(&self) -> anyhow::Result<i64>;
}

/// Plays the plan. `told_to_end` returns when somebody wants it to end.
///
/// # Errors
/// When the rehearsal's show could not be put on air. Everything that it was given has been given back then, too.
pub async fn play(
    pool: &dyn LivePool,
    plan: &Plan,
    scenario: &Scenario,
    seed: u64,
    audience: &dyn Audience,
    told_to_end: impl Future<Output = ()>,
) -> anyhow::Result<ScenarioReport> {
    let live = Live {
        pool,
        plan,
        scenario,
        audience,
        notes: Mutex::default(),
    };
    audience.told(Happening::SettingUp {
        scenario: scenario.name.clone(),
        shows: 1,
    });
    let guarded = async {
        tokio::select! {
            biased;
            () = told_to_end => Err(Stopped::Aborted("somebody ended it".to_owned())),
            reason = guard::watch(&live) => Err(Stopped::Aborted(reason)),
            performed = live.perform(seed) => performed,
        }
    };
    let performed = guarded.await;
    let mut failures = match &performed {
        Ok(failures) => failures.clone(),
        Err(Stopped::Aborted(reason)) => vec![format!("aborted: {reason}")],
        Err(Stopped::SetUp(error)) => vec![format!("setting up: {error:#}")],
    };
    let seen = live.look(&mut failures).await;
    failures.extend(live.clean_up().await);
    let report = live.report(seen, failures);
    audience.told(Happening::Judged {
        scenario: report.name.clone(),
        passed: report.passed,
    });
    Ok(report)
}

enum Stopped {
    SetUp(anyhow::Error),
    Aborted(String),
}

/// A rehearsal while it is played.
struct Live<'l> {
    pool: &'l dyn LivePool,
    plan: &'l Plan,
    scenario: &'l Scenario,
    audience: &'l dyn Audience,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// When the first step could come, by the coordinator's clock and by the runtime's.
    began: Option<(Timestamp, Instant)>,
    strikes: Vec<Strike>,
    /// VMs that the show has had.
    touched: BTreeSet<VmId>,
    /// What has to be done to VMs before they are as they were.
    broken: BTreeMap<VmId, Operation>,
}

/// What was seen when it was over, before anything was cleaned up.
struct Seen {
    standing: Option<Standing>,
    alerts: judge::Judged,
    duration_ms: u64,
    begin: Timestamp,
}

impl Live<'_> {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> &ShowId {
        &self.plan.show
    }

    fn elapsed_ms(&self) -> u64 {
        let began = self.notes().began;
        began.map_or(0, |(_, instant)| millis(instant.elapsed()))
    }

    async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl AsyncFn() -> Option<T>,
    ) -> anyhow::Result<T> {
        until(what, limit, LOOK, look).await
    }

    async fn standing(&self) -> Option<Standing> {
        let standing = self.pool.control().standing(self.show()).await.ok()??;
        if let Some(vm) = &standing.vm {
            self.notes().touched.insert(vm.clone());
        }
        Some(standing)
    }

    async fn perform(&self, seed: u64) -> Result<Vec<String>, Stopped> {
        self.set_up().await.map_err(Stopped::SetUp)?;
        let ahead_ms = self.pool.ahead_ms().await.map_err(Stopped::SetUp)?;
        self.notes().began = Some((now(ahead_ms), Instant::now()));
        let cues = cues(self.scenario, std::slice::from_ref(self.show()), seed);
        self.audience.told(Happening::Began {
            cues: cues.len(),
            length_ms: millis(self.scenario.length()),
        });
        let mut failures = Vec::new();
        let began = Instant::now();
        for cue in &cues {
            tokio::time::sleep_until(began + cue.at).await;
            let step = &self.scenario.steps[cue.step];
            if step.when.is_some() {
                let waited = self
                    .until("the show failing over", SET_UP, async || {
                        self.standing().await?.has_begun_to_move().then_some(())
                    })
                    .await;
                failures.extend(waited.err().map(|error| format!("{error:#}")));
            }
            if let Err(error) = self.strike(&step.act).await {
                failures.push(format!("{error:#}"));
            }
        }
        tokio::time::sleep(self.scenario.objective.watch).await;
        let within = self.scenario.objective.within;
        self.audience.told(Happening::Settling {
            within_ms: millis(within),
        });
        let part = &self.plan.part;
        let settled = self.until("everything as expected", within, async || {
            let standing = self.standing().await?;
            is_settled(part, &standing).then_some(())
        });
        failures.extend(settled.await.err().map(|error| format!("{error:#}")));
        Ok(failures)
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        let (show, vm) = (self.show(), &self.plan.vm);
        self.pool.configure(show).await.context("configuring the show")?;
        self.notes().touched.insert(vm.clone());
        self.pool.assign_this(show, vm, SET_UP).await?;
        self.until("its studio made", SET_UP, async || {
            self.pool.is_made(show).await.ok()?.then_some(())
        })
        .await?;
        self.pool.control().command(show, Command::Start).await?;
        self.until("the show on air", SET_UP, async || {
            (self.standing().await?.phase == "on_air").then_some(())
        })
        .await
    }

    async fn strike(&self, act: &Act) -> anyhow::Result<()> {
        let standing = self.standing().await.context("the show cannot be asked for")?;
        let vm = standing.vm.context("the show has no VM")?;
        let (operation, mend) = match act {
            Act::Machine { fault, .. } => match fault {
                MachineFault::Fault(Fault::StudioCrash) => {
                    (Operation::StopStudio, Some(Operation::StartStudio))
                }
                MachineFault::Fault(Fault::StatusDown) => (Operation::RestartShowServer, None),
                MachineFault::InstanceRebooted => (Operation::Reboot, None),
                // The plan refuses them.
                MachineFault::Fault(_) | MachineFault::InstanceStopped | MachineFault::InstanceTerminated => {
                    anyhow::bail!("{} is not for real machines", fault.word())
                }
            },
            Act::Command { command, .. } => {
                self.note(format!("somebody asks: {} {}", command.word(), self.show()));
                return self.pool.control().command(self.show(), *command).await;
            }
            Act::Cloud { .. }
            | Act::Ingest { .. }
            | Act::VmActor(_)
            | Act::ShowActor(_)
            | Act::Coordinator { .. } => anyhow::bail!("{} is not for the real pool", act.word()),
        };
        self.note(format!("{}: {vm}", act.word()));
        if let Some(mend) = mend {
            // Before it is done: whoever is aborted in the middle of it must know.
            self.notes().broken.insert(vm.clone(), mend);
        }
        self.pool.operate(&vm, operation).await
    }

    fn note(&self, what: String) {
        let at_ms = self.elapsed_ms();
        self.notes().strikes.push(Strike {
            at_ms,
            until_ms: None,
            show: Some(self.show().to_string()),
            what: what.clone(),
        });
        self.audience.told(Happening::Struck { at_ms, what });
    }

    async fn look(&self, failures: &mut Vec<String>) -> Seen {
        let began = self.notes().began;
        let duration_ms = self.elapsed_ms();
        let begin = began.map_or(Timestamp(u64::MAX), |(at, _)| at);
        let standing = self.standing().await;
        let about_ours = |about: Option<&str>| about == Some(self.show().as_str());
        let rang = self.pool.control().alerts().await.unwrap_or_else(|error| {
            failures.push(format!("the alerts cannot be asked for: {error:#}"));
            Vec::new()
        });
        let ours: Vec<_> = rang
            .into_iter()
            .filter(|alert| about_ours(alert.show.as_deref()))
            .collect();
        Seen {
            standing,
            alerts: judge::alerts(&ours, &self.scenario.objective, begin),
            duration_ms,
            begin,
        }
    }

    fn report(&self, seen: Seen, mut failures: Vec<String>) -> ScenarioReport {
        let show = self.show_report(&seen);
        let failovers: Vec<FailoverReport> = moves(seen.standing.as_ref())
            .map(|moved| FailoverReport::of(self.show().as_str(), moved, seen.begin, &show.gaps))
            .collect();
        let on_stage = vec![show];
        if self.notes().began.is_some() {
            failures.extend(judge::failures(&on_stage, &failovers, &seen.alerts));
        }
        ScenarioReport {
            name: self.scenario.name.clone(),
            about: format!("{} (on the real pool)", self.scenario.about),
            passed: failures.is_empty(),
            duration_ms: seen.duration_ms,
            shows: 1,
            shows_on_air: on_stage.iter().filter(|show| show.on_air).count(),
            worst_gap_ms: on_stage
                .iter()
                .map(|show| show.worst_gap_ms)
                .max()
                .unwrap_or_default(),
            strikes: self.notes().strikes.clone(),
            on_stage,
            failovers,
            alerts: seen.alerts.alerts,
            alerts_missing: seen.alerts.missing,
            invariants: Invariants::default(),
            failures,
        }
    }

    /// By the coordinator's account: on air but for what each move says.
    fn show_report(&self, seen: &Seen) -> ShowReport {
        let part = &self.plan.part;
        let at = |at: Timestamp| millis(at.since(seen.begin));
        let (mut gaps, mut published, mut since_ms) = (Vec::new(), Vec::new(), 0);
        for moved in moves(seen.standing.as_ref()) {
            let Some(off_air_ms) = moved.timeline.off_air_ms else {
                continue;
            };
            let back_ms = at(moved.ended_at);
            let gone_ms = back_ms.saturating_sub(off_air_ms);
            published.push(Published {
                at_ms: since_ms,
                until_ms: gone_ms,
                by: moved.from.clone(),
            });
            gaps.push(Gap {
                at_ms: gone_ms,
                ms: back_ms - gone_ms,
            });
            since_ms = back_ms;
        }
        let phase = seen.standing.as_ref().map(|standing| standing.phase.clone());
        let on_air = phase.as_deref() == Some("on_air");
        let vm = seen.standing.as_ref().and_then(|standing| standing.vm.as_ref());
        if let (true, Some(vm)) = (on_air, vm) {
            published.push(Published {
                at_ms: since_ms,
                until_ms: seen.duration_ms,
                by: vm.to_string(),
            });
        }
        let completed = seen.standing.iter().flat_map(Standing::completed);
        ShowReport {
            show: self.show().to_string(),
            moves_expected: part.moves,
            moves: u32::try_from(completed.count()).unwrap_or(u32::MAX),
            ends: part.ends.word().to_owned(),
            phase: phase.unwrap_or_else(|| "unknown".to_owned()),
            on_air,
            max_off_air_ms: part.max_off_air.map(millis),
            worst_gap_ms: gaps.iter().map(|gap| gap.ms).max().unwrap_or_default(),
            gaps,
            published,
        }
    }
}

fn moves(standing: Option<&Standing>) -> impl Iterator<Item = &Move> {
    standing.into_iter().flat_map(|standing| &standing.moves)
}

fn is_settled(part: &Part, standing: &Standing) -> bool {
    let moves = standing.completed().count();
    let enough = part.moves.is_none_or(|expected| moves >= expected as usize);
    let compared = standing
        .completed()
        .last()
        .is_none_or(|last| last.found.is_some());
    enough && part.ends.fits(&standing.phase) && compared
}

/// The coordinator's time now.
fn now(ahead_ms: i64) -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(millis(since_epoch).saturating_add_signed(ahead_ms))
}
