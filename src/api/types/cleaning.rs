//! How a VM was cleaned, on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use super::Ms;
use super::archive::UnarchivedView;
use super::vm::VmRecord;
use crate::actors::archive::Progress;
use crate::domain::cleaning::Report;
use crate::domain::time::millis;
use crate::domain::vm::Vm;

/// One VM, with what a list of them leaves out.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmView {
    #[serde(flatten)]
    pub record: VmRecord,
    /// The competition that has left something on it that is not removed yet. It is not available before, or with
    /// `shows.cleanup = "best-effort"` all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_clean_after: Option<String>,
    /// How it was cleaned last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaning: Option<Cleaning>,
    /// Recordings that are still on it and belong into the archive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unarchived: Vec<UnarchivedView>,
}

impl VmView {
    /// `archiving`: how far the archive of recordings on it is.
    #[must_use]
    pub fn of(vm: &Vm, record: VmRecord, archiving: Option<&Progress>) -> Self {
        let unarchived = vm.unarchived.iter();
        Self {
            unarchived: unarchived
                .map(|left| UnarchivedView::of(left, archiving))
                .collect(),
            record,
            not_clean_after: vm.leftover.as_ref().map(|left| left.show.to_string()),
            cleaning: vm.cleaning.as_deref().map(Cleaning::from),
        }
    }
}

/// What was done to clean a VM, and what was found afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cleaning {
    /// Whose it was.
    pub competition_id: String,
    /// Everything that was looked at is clean.
    pub clean: bool,
    /// `template`: OBS's configuration was replaced by the template directory's. `studio`: the studio was emptied
    /// through OBS. `nothing`: neither SSH nor OBS is configured.
    #[schema(example = "template")]
    pub way: &'static str,
    pub at: Ms,
    /// Milliseconds.
    pub took: u64,
    pub findings: Vec<Finding>,
    /// Recordings that stay on the machine; absent if they were not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recordings: Option<u32>,
}

/// What was found of one thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// `reset obs stream recording scenes stream_key files temporary_files`
    #[schema(example = "stream_key")]
    pub subject: &'static str,
    pub clean: bool,
    /// One sentence.
    #[schema(example = "OBS has no stream key")]
    pub found: String,
}

impl From<&Report> for Cleaning {
    fn from(report: &Report) -> Self {
        let finding = |finding: &crate::domain::cleaning::Finding| Finding {
            subject: finding.subject.as_str(),
            clean: finding.clean,
            found: finding.found.clone(),
        };
        Self {
            competition_id: report.show.to_string(),
            clean: report.is_clean(),
            way: report.way.as_str(),
            at: report.ended_at.into(),
            took: millis(report.ended_at.since(report.began_at)),
            findings: report.findings.iter().map(finding).collect(),
            recordings: report.recordings,
        }
    }
}
