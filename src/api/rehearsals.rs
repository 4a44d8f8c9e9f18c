//! Rehearsals as the gateway sees them: somebody else plays, it only passes on what is asked and how far they are.

use std::fmt;

use serde_json::Value;

use crate::domain::time::Timestamp;

/// Whoever plays rehearsals. Handed in at assembly; the gateway knows no more of it.
pub trait Rehearsals: fmt::Debug + Send + Sync {
    /// What can be played, in the order in which it is listed.
    fn scenarios(&self) -> Vec<ScenarioLine>;
    /// Those that are remembered, newest first, without their reports.
    fn list(&self) -> Vec<Rehearsal>;
    /// One, with its report if there is one.
    fn get(&self, id: u64) -> Option<Rehearsal>;
    /// Begins to play. Returns at once.
    ///
    /// # Errors
    /// [`Refused`].
    fn begin(&self, ask: Ask) -> Result<Rehearsal, Refused>;
    /// Ends the one that is played. Returns at once; it is over a moment later.
    ///
    /// # Errors
    /// [`Refused::Unknown`] and [`Refused::Over`].
    fn cancel(&self, id: u64) -> Result<Rehearsal, Refused>;
}

/// A scenario that can be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioLine {
    pub name: String,
    pub about: String,
}

/// What is to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The name of a scenario; `None` is every one.
    pub scenario: Option<String>,
    pub shows: Option<u32>,
    pub seed: Option<u64>,
    pub by: String,
}

/// One rehearsal.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsal {
    /// From 1 since the start.
    pub id: u64,
    pub ask: Ask,
    pub state: State,
    pub began_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub progress: Progress,
    /// Why it broke.
    pub error: Option<String>,
    /// The report of `understudy rehearse --json`.
    pub report: Option<Value>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// Everything went as it must.
    Passed,
    /// Something did not.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// It could not be played to its end.
    Broken,
}

impl State {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Broken => "broken",
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The scenario that is played.
    pub scenario: Option<String>,
    /// Scenarios that are over.
    pub scenarios_done: u32,
    pub scenarios: u32,
    /// Steps of the present scenario that were carried out.
    pub steps_done: u32,
    pub steps: u32,
    /// What happened last, for people.
    pub latest: Option<String>,
}

/// Why nothing is played, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("rehearsal {id} is being played; one at a time")]
    Busy { id: u64 },
    #[error("there is no scenario {name:?}")]
    Scenario { name: String },
    #[error("{reason}")]
    Shows { reason: String },
    #[error("there is no rehearsal {id}; a restart forgets them, and so does time")]
    Unknown { id: u64 },
    #[error("rehearsal {id} is over")]
    Over { id: u64 },
    #[error("the rehearsal could not be started: {reason}")]
    Start { reason: String },
}
