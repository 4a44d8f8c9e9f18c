//! Rehearsals on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Iso;
use crate::api::rehearsals::{Progress, Rehearsal, ScenarioLine};

/// Rehearsals that are remembered, and what can be played.
#[derive(Debug, Serialize, ToSchema)]
pub struct RehearsalsReply {
    /// Newest first, without their reports. A restart forgets them.
    pub rehearsals: Vec<RehearsalView>,
    pub scenarios: Vec<ScenarioView>,
}

/// A built-in scenario.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScenarioView {
    #[schema(example = "studio-crash")]
    pub name: String,
    pub about: String,
}

/// Begins a rehearsal.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RehearsalBody {
    /// The name of a built-in scenario; every one if it is absent.
    #[schema(max_length = 64, example = "studio-crash")]
    pub scenario: Option<String>,
    /// Another number of shows than the scenario's own, where that does not name them.
    #[schema(minimum = 1, maximum = 100)]
    pub shows: Option<u32>,
    /// Drives every choice.
    pub seed: Option<u64>,
}

/// One rehearsal.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RehearsalView {
    pub id: u64,
    /// `null`: every one.
    pub scenario: Option<String>,
    pub shows: Option<u32>,
    pub seed: Option<u64>,
    pub started_by: String,
    /// `running passed failed cancelled broken`
    #[schema(example = "running")]
    pub state: &'static str,
    pub began_at: Iso,
    /// `null` while it is played.
    pub ended_at: Option<Iso>,
    pub progress: ProgressView,
    /// Why it broke.
    pub error: Option<String>,
    /// What `understudy rehearse --json` prints; `null` until it is over, and in lists.
    #[schema(value_type = Option<Object>)]
    pub report: Option<Value>,
}

/// How far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressView {
    /// The scenario that is played.
    pub scenario: Option<String>,
    pub scenarios_done: u32,
    pub scenarios: u32,
    /// Steps of that scenario that were carried out.
    pub steps_done: u32,
    pub steps: u32,
    /// What happened last, for people.
    pub latest: Option<String>,
}

impl From<Rehearsal> for RehearsalView {
    fn from(rehearsal: Rehearsal) -> Self {
        Self {
            id: rehearsal.id,
            scenario: rehearsal.ask.scenario,
            shows: rehearsal.ask.shows,
            seed: rehearsal.ask.seed,
            started_by: rehearsal.ask.by,
            state: rehearsal.state.as_str(),
            began_at: Iso(rehearsal.began_at),
            ended_at: rehearsal.ended_at.map(Iso),
            progress: ProgressView::from(rehearsal.progress),
            error: rehearsal.error,
            report: rehearsal.report,
        }
    }
}

impl From<Progress> for ProgressView {
    fn from(progress: Progress) -> Self {
        Self {
            scenario: progress.scenario,
            scenarios_done: progress.scenarios_done,
            scenarios: progress.scenarios,
            steps_done: progress.steps_done,
            steps: progress.steps,
            latest: progress.latest,
        }
    }
}

impl From<ScenarioLine> for ScenarioView {
    fn from(line: ScenarioLine) -> Self {
        Self {
            name: line.name,
            about: line.about,
        }
    }
}
