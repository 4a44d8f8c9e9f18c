//! The coordinator as a rehearsal sees it, whether it runs in this process, in one of its own, or far away.

use std::time::Duration;

use async_trait::async_trait;

use super::scenario::Command;
use crate::domain::failover::{Record, Timeline};
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::show::Phase;
use crate::domain::studio::Secret;
use crate::domain::time::Timestamp;

/// What a rehearsal asks of a coordinator. Everything is bounded by whoever implements it, or by its caller.
#[async_trait]
pub trait Control: Send + Sync {
    /// How many VMs could take a show now.
    async fn available(&self) -> anyhow::Result<usize>;
    /// Gives the show a VM and waits for at most `limit` until that is ready.
    async fn assign(&self, show: &ShowId, limit: Duration) -> anyhow::Result<(VmId, InstanceId)>;
    /// Whether the studio of the show's VM has been captured as it is, with this key.
    async fn is_captured(&self, show: &ShowId, key: &Secret) -> anyhow::Result<bool>;
    /// Does what a person would do; returns when it is accepted or, where that is quick, done.
    async fn command(&self, show: &ShowId, command: Command) -> anyhow::Result<()>;
    /// How a show is; `None` if nobody knows it.
    async fn standing(&self, show: &ShowId) -> anyhow::Result<Option<Standing>>;
    /// The instances of VMs that are ready and have no show, by VM.
    async fn spares(&self) -> anyhow::Result<Vec<(VmId, InstanceId)>>;
    /// Alerts so far, oldest first; those told before the coordinator was last started may be missing.
    async fn alerts(&self) -> anyhow::Result<Vec<Alert>>;
    /// Kills the actor of a VM and returns when its successor answers.
    async fn kill_vm_actor(&self, vm: &VmId) -> anyhow::Result<()>;
    /// Kills the actor of a show.
    async fn kill_show_actor(&self, show: &ShowId) -> anyhow::Result<()>;
    /// Kills the coordinator's process, and has it back after this time.
    async fn kill_coordinator(&self, dead_for: Duration) -> anyhow::Result<()>;
}

/// How a show is, by the coordinator's word.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// As on the wire: `idle off_air on_air failing_over releasing`.
    pub phase: String,
    pub vm: Option<VmId>,
    pub instance: Option<InstanceId>,
    /// Moves that are over, oldest first.
    pub moves: Vec<Move>,
}

impl Standing {
    #[must_use]
    pub fn is(&self, phase: &Phase) -> bool {
        self.phase == phase.as_str()
    }

    /// Whether it is being moved, or has been.
    #[must_use]
    pub fn has_begun_to_move(&self) -> bool {
        self.phase == "failing_over" || !self.moves.is_empty()
    }

    /// Moves that led to another VM.
    pub fn completed(&self) -> impl Iterator<Item = &Move> {
        self.moves
            .iter()
            .filter(|moved| matches!(moved.ending.as_str(), "on-air" | "moved"))
    }
}

/// A move that is over: what it was about and when it came how far.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub cause: String,
    pub epoch: u64,
    pub from: String,
    pub to: Option<String>,
    pub summary: String,
    pub suspected_at: Timestamp,
    pub decided_at: Timestamp,
    pub chosen_at: Option<Timestamp>,
    pub fenced_at: Option<Timestamp>,
    pub restored_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    pub ending: String,
    pub timeline: Timeline,
    /// What the new studio lacks.
    pub differences: Vec<String>,
    /// In what it was found not to be the same, when it was read again; absent until then.
    pub found: Option<Vec<String>>,
}

impl From<&Record> for Move {
    fn from(record: &Record) -> Self {
        let failover = &record.failover;
        Self {
            cause: failover.cause.as_str().to_owned(),
            epoch: failover.epoch.0,
            from: failover.from.to_string(),
            to: failover.to.as_ref().map(ToString::to_string),
            summary: failover.evidence.summary.clone(),
            suspected_at: failover.evidence.suspected_at,
            decided_at: failover.evidence.decided_at,
            chosen_at: failover.chosen_at,
            fenced_at: failover.fenced.map(|(_, at)| at),
            restored_at: failover.restored_at,
            ended_at: record.ended_at,
            ending: record.ending.as_str().to_owned(),
            timeline: record.timeline(),
            differences: failover.differences.clone(),
            found: record.comparison.as_ref().map(|found| found.differences.clone()),
        }
    }
}

/// An alert that rang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// `critical warning info`
    pub level: String,
    pub source: String,
    pub title: String,
    pub message: String,
    pub show: Option<String>,
    pub vm: Option<String>,
    pub at: Timestamp,
}
