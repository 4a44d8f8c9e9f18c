//! What a rehearsal found out. Data: how it looks is for whoever shows it.
//!
//! Every `…_at_ms` counts from the moment when all shows were on air and the first step could come.

use serde::{Deserialize, Serialize};

use super::control::{Alert, Move};
use crate::domain::time::{Timestamp, millis};

/// Everything one run did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// When it began.
    pub began_at: jiff::Timestamp,
    /// From then to the last verdict, with the setting up.
    pub took_ms: u64,
    /// Of the understudy that played.
    pub version: String,
    /// The coordinator on whose pool it was played, of which nobody but itself tells; `None` if everything was simulated.
    pub pool: Option<String>,
    /// What every choice was drawn from.
    pub seed: u64,
    pub scenarios: Vec<ScenarioReport>,
    /// Scenarios that were asked for and have no verdict.
    pub unplayed: Vec<String>,
    /// Why they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    /// One that has no verdict yet.
    #[must_use]
    pub fn begun(began_at: jiff::Timestamp, seed: u64, pool: Option<String>) -> Self {
        Self {
            began_at,
            took_ms: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pool,
            seed,
            scenarios: Vec::new(),
            unplayed: Vec::new(),
            error: None,
        }
    }

    #[must_use]
    pub fn passed(&self) -> bool {
        self.unplayed.is_empty() && self.scenarios.iter().all(|scenario| scenario.passed)
    }

    /// How many went as they must.
    #[must_use]
    pub fn passed_count(&self) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.passed).count()
    }
}

/// One scenario, and whether it went as it must.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScenarioReport {
    pub name: String,
    pub about: String,
    pub passed: bool,
    /// From the beginning to the verdict.
    pub duration_ms: u64,
    pub shows: usize,
    /// On air at the end, as the ingest saw it.
    pub shows_on_air: usize,
    /// The longest time that the viewers of any show had nothing, as the ingest saw it.
    pub worst_gap_ms: u64,
    /// What was done, in the order of time.
    pub strikes: Vec<Strike>,
    pub on_stage: Vec<ShowReport>,
    pub failovers: Vec<FailoverReport>,
    pub alerts: Vec<AlertReport>,
    /// Patterns of alerts that must ring and did not.
    pub alerts_missing: Vec<String>,
    pub invariants: Invariants,
    /// What was expected and did not come, one sentence each.
    pub failures: Vec<String>,
}

/// Something that was done to a machine, the cloud, the ingest or the coordinator, or by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    pub at_ms: u64,
    /// When it was mended; `None` if it was not.
    pub until_ms: Option<u64>,
    /// The show that it was aimed at.
    pub show: Option<String>,
    /// For people: what, and to whom.
    pub what: String,
}

/// One show: what was expected of it and how it went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShowReport {
    pub show: String,
    /// `None` if it did not matter.
    pub moves_expected: Option<u32>,
    pub moves: u32,
    /// `on-air off-air released waiting`
    pub ends: String,
    /// The phase that it ended in, by the coordinator's word.
    pub phase: String,
    pub on_air: bool,
    /// The objective; `None` if it was not judged.
    pub max_off_air_ms: Option<u64>,
    pub worst_gap_ms: u64,
    /// Times without a publisher, as the ingest saw it.
    pub gaps: Vec<Gap>,
    /// Who published, as the ingest saw it.
    pub published: Vec<Published>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub at_ms: u64,
    pub ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub at_ms: u64,
    pub until_ms: u64,
    /// The publisher's address.
    pub by: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Invariants {
    /// Checks made: states looked at, and looks at the ingest.
    pub checked: u64,
    pub violations: Vec<String>,
}

/// One move of one show, milliseconds per step; a step that did not happen has none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailoverReport {
    pub show: String,
    pub cause: String,
    pub epoch: u64,
    pub from: String,
    pub to: Option<String>,
    pub ending: String,
    pub summary: String,
    /// The last good sign of the old VM, or the first bad one: since then it was in doubt.
    pub suspected_at_ms: u64,
    /// When its failure was certain.
    pub decided_at_ms: u64,
    pub fenced_at_ms: Option<u64>,
    pub restored_at_ms: Option<u64>,
    pub ended_at_ms: u64,
    pub detect_ms: u64,
    pub decide_ms: Option<u64>,
    pub fence_ms: Option<u64>,
    pub restore_ms: Option<u64>,
    pub verify_ms: Option<u64>,
    /// Between the last output seen from the old VM and the first from the new one.
    pub off_air_ms: Option<u64>,
    /// The same as the ingest saw it: between bytes of the two publishers.
    pub ingest_gap_ms: Option<u64>,
    /// What the new studio lacks.
    pub differences: Vec<String>,
    /// In what it was found not to be the same, when it was read again; absent until then.
    pub found: Option<Vec<String>>,
}

impl FailoverReport {
    /// `gaps` are those of its show.
    #[must_use]
    pub fn of(show: &str, moved: &Move, begin: Timestamp, gaps: &[Gap]) -> Self {
        let at = |at: Timestamp| millis(at.since(begin));
        let (suspected, ended) = (at(moved.suspected_at), at(moved.ended_at));
        // Bytes stop before anybody suspects it, and flow before that is seen.
        let ours = gaps
            .iter()
            .filter(|gap| gap.at_ms <= ended && gap.at_ms + gap.ms >= suspected);
        Self {
            show: show.to_owned(),
            cause: moved.cause.clone(),
            epoch: moved.epoch,
            from: moved.from.clone(),
            to: moved.to.clone(),
            ending: moved.ending.clone(),
            summary: moved.summary.clone(),
            suspected_at_ms: suspected,
            decided_at_ms: at(moved.decided_at),
            fenced_at_ms: moved.fenced_at.map(at),
            restored_at_ms: moved.restored_at.map(at),
            ended_at_ms: ended,
            detect_ms: moved.timeline.detect_ms,
            decide_ms: moved.timeline.decide_ms,
            fence_ms: moved.timeline.fence_ms,
            restore_ms: moved.timeline.restore_ms,
            verify_ms: moved.timeline.verify_ms,
            off_air_ms: moved.timeline.off_air_ms,
            ingest_gap_ms: ours.map(|gap| gap.ms).max(),
            differences: moved.differences.clone(),
            found: moved.found.clone(),
        }
    }
}

/// An alert that rang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertReport {
    pub at_ms: u64,
    /// `critical warning info`
    pub level: String,
    pub source: String,
    pub title: String,
    pub message: String,
    pub show: Option<String>,
    pub verdict: Rang,
}

/// Whether an alert was to ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rang {
    /// The scenario asks for it.
    Expected,
    /// The scenario says nothing about it.
    Allowed,
    /// The scenario forbids it.
    Forbidden,
}

impl AlertReport {
    #[must_use]
    pub fn of(alert: &Alert, verdict: Rang, begin: Timestamp) -> Self {
        Self {
            at_ms: millis(alert.at.since(begin)),
            level: alert.level.clone(),
            source: alert.source.clone(),
            title: alert.title.clone(),
            message: alert.message.clone(),
            show: alert.show.clone(),
            verdict,
        }
    }
}

impl ScenarioReport {
    /// The objective of the show whose viewers had nothing for the longest; each is held against its own.
    #[must_use]
    pub fn objective_ms(&self) -> Option<u64> {
        let worst = self.on_stage.iter().max_by_key(|show| show.worst_gap_ms);
        worst.and_then(|show| show.max_off_air_ms)
    }

    /// Whether any show was on air at any time.
    #[must_use]
    pub fn was_on_air(&self) -> bool {
        self.on_stage.iter().any(|show| !show.published.is_empty())
    }

    /// What went wrong, one line each.
    pub fn complaints(&self) -> impl Iterator<Item = &String> {
        self.failures.iter().chain(&self.invariants.violations)
    }
}
