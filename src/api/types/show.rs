//! A competition on air, and its moves, on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Iso, Ms};
use crate::domain::failover::{Failover, Fence, Record, Timeline};
use crate::domain::show::{Phase, Show};
use crate::domain::studio::{Comparison, MadeBy};

/// One page of the competitions that are remembered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShowsReply {
    /// By id.
    pub shows: Vec<ShowView>,
    /// What to ask for as `after` to get the next page; `null` if this was the last.
    pub next: Option<String>,
    /// Ledger position of this page; every event carries its own.
    pub seq: u64,
}

/// One competition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShowView {
    pub competition_id: String,
    /// `idle off_air on_air failing_over releasing`
    #[schema(example = "on_air")]
    pub phase: &'static str,
    /// The VM it has; while it is being moved, the one it leaves. `null` if it has none.
    pub vm_id: Option<String>,
    /// How often it has been given a VM.
    pub epoch: u64,
    /// A producer wants it streaming.
    pub stream_wanted: bool,
    /// An operator forbade automatic failover.
    pub held: bool,
    /// Its stream was seen to leave, and is not being moved.
    pub on_air: bool,
    /// When it was given a VM; `null` if it has none.
    pub assigned_at: Option<Ms>,
}

impl From<&Show> for ShowView {
    fn from(show: &Show) -> Self {
        Self {
            competition_id: show.id.to_string(),
            phase: show.phase.as_str(),
            vm_id: show.vm.as_ref().map(ToString::to_string),
            epoch: show.epoch.0,
            stream_wanted: show.stream_wanted,
            held: show.held,
            on_air: show.phase == Phase::OnAir,
            assigned_at: show.assigned_at.map(Ms::from),
        }
    }
}

/// Every move of a competition that is remembered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoversReply {
    pub competition_id: String,
    /// The move under way.
    pub current: Option<FailoverView>,
    /// Finished ones, newest first.
    pub failovers: Vec<FailoverView>,
}

/// One move.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverView {
    pub epoch: u64,
    /// `machine-lost studio-lost output-silent forced`
    pub cause: &'static str,
    pub from_vm_id: String,
    pub to_vm_id: Option<String>,
    /// What was known when it was decided.
    pub summary: String,
    pub suspected_at: Iso,
    pub decided_at: Iso,
    pub last_output_at: Option<Iso>,
    pub began_at: Iso,
    pub chosen_at: Option<Iso>,
    /// `stream-stopped studio-killed machine-off`
    pub fence: Option<&'static str>,
    pub fenced_at: Option<Iso>,
    pub restored_at: Option<Iso>,
    /// What could not be made equal on the new VM.
    pub differences: Vec<String>,
    /// `requests file`: how the new studio was made; `null` until then.
    pub restored_by: Option<&'static str>,
    /// Why it was not made from a file though it should have been.
    pub not_by_file: Option<String>,
    /// What was found when the new studio was read again; `null` until then.
    pub comparison: Option<ComparisonView>,
    pub publishing_at: Option<Iso>,
    /// `on-air moved recovered returned abandoned`; `null` while it goes on.
    pub ending: Option<&'static str>,
    pub ended_at: Option<Iso>,
    /// Milliseconds per step, once it is over.
    pub timeline: Option<TimelineView>,
}

/// A studio that was made, compared with what it was to be.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ComparisonView {
    /// When it had been read.
    pub at: Iso,
    /// In what it is not the same, one sentence each; empty if it is.
    pub differences: Vec<String>,
}

impl From<&Comparison> for ComparisonView {
    fn from(comparison: &Comparison) -> Self {
        Self {
            at: Iso(comparison.at),
            differences: comparison.differences.clone(),
        }
    }
}

/// Milliseconds per step; `null` for a step that did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineView {
    pub detect_ms: u64,
    pub decide_ms: Option<u64>,
    pub fence_ms: Option<u64>,
    pub restore_ms: Option<u64>,
    pub verify_ms: Option<u64>,
    pub off_air_ms: Option<u64>,
}

impl From<Timeline> for TimelineView {
    fn from(timeline: Timeline) -> Self {
        Self {
            detect_ms: timeline.detect_ms,
            decide_ms: timeline.decide_ms,
            fence_ms: timeline.fence_ms,
            restore_ms: timeline.restore_ms,
            verify_ms: timeline.verify_ms,
            off_air_ms: timeline.off_air_ms,
        }
    }
}

/// Moves a competition to another VM.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct FailoverBody {
    /// To this VM; else to the best spare.
    #[schema(
        max_length = 128,
        pattern = r"^(?!(config|launch|health-check|ready)$)[^.#$\[\]/\u0000-\u001f\u007f-\u009f]+$"
    )]
    pub to: Option<String>,
}

/// The move is decided and durable; it goes on by itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverReply {
    pub success: bool,
    pub competition_id: String,
    pub epoch: u64,
    pub from_vm_id: String,
    /// `null`: no spare yet, the competition waits for one.
    pub to_vm_id: Option<String>,
}

/// Forbids automatic failover, or allows it again.
#[derive(Debug, Deserialize, ToSchema)]
pub struct HoldBody {
    pub held: bool,
}

/// Whether automatic failover is forbidden now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldReply {
    pub success: bool,
    pub competition_id: String,
    pub held: bool,
}

/// The stream of a competition runs, or has stopped.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamReply {
    pub success: bool,
    pub competition_id: String,
    pub vm_id: String,
    pub on_air: bool,
}

impl From<&Failover> for FailoverView {
    fn from(failover: &Failover) -> Self {
        let (fence, fenced_at) = failover
            .fenced
            .map(|(how, at)| (fence_word(how), Iso(at)))
            .unzip();
        let restored_by = failover.restored_by.as_ref();
        Self {
            epoch: failover.epoch.0,
            cause: failover.cause.as_str(),
            from_vm_id: failover.from.to_string(),
            to_vm_id: failover.to.as_ref().map(ToString::to_string),
            summary: failover.evidence.summary.clone(),
            suspected_at: Iso(failover.evidence.suspected_at),
            decided_at: Iso(failover.evidence.decided_at),
            last_output_at: failover.evidence.last_output_at.map(Iso),
            began_at: Iso(failover.began_at),
            chosen_at: failover.chosen_at.map(Iso),
            fence,
            fenced_at,
            restored_at: failover.restored_at.map(Iso),
            differences: failover.differences.clone(),
            restored_by: restored_by.map(MadeBy::as_str),
            not_by_file: restored_by.and_then(MadeBy::why_not_file).map(str::to_owned),
            comparison: None,
            publishing_at: failover.publishing_at.map(Iso),
            ending: None,
            ended_at: None,
            timeline: None,
        }
    }
}

impl From<&Record> for FailoverView {
    fn from(record: &Record) -> Self {
        Self {
            ending: Some(record.ending.as_str()),
            ended_at: Some(Iso(record.ended_at)),
            timeline: Some(record.timeline().into()),
            comparison: record.comparison.as_ref().map(ComparisonView::from),
            ..Self::from(&record.failover)
        }
    }
}

fn fence_word(fence: Fence) -> &'static str {
    match fence {
        Fence::StreamStopped => "stream-stopped",
        Fence::StudioKilled => "studio-killed",
        Fence::MachineOff => "machine-off",
    }
}
