//! Recordings that are left on a VM and belong into the archive, on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use super::Ms;
use super::assignment::{ArchiveView, ArchivingView};
use crate::actors::archive::Progress;
use crate::domain::unarchived::Unarchived;

/// Recordings of one competition that are still on a VM, since they could not be archived when it was released.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnarchivedView {
    pub competition_id: String,
    /// What is in the archive of them, and why not all is.
    pub archive: ArchiveView,
    /// It is being tried now.
    pub under_way: bool,
    /// How far that is, once something is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archiving: Option<ArchivingView>,
    /// How often it was tried again.
    pub tries: u32,
    /// When it is tried again by itself, at the earliest; absent while it is being tried, and once somebody has to ask for
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Ms>,
}

impl UnarchivedView {
    #[must_use]
    pub fn of(left: &Unarchived, progress: Option<&Progress>) -> Self {
        let progress = progress.filter(|progress| progress.show == left.show && left.is_under_way());
        Self {
            competition_id: left.show.to_string(),
            archive: ArchiveView::from(&left.archive),
            under_way: left.is_under_way(),
            archiving: progress.map(ArchivingView::from),
            tries: left.tries,
            next_try_at: left.next_try_at().map(Into::into),
        }
    }
}

/// What is left on the VM is being archived.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveReply {
    pub success: bool,
    pub vm_id: String,
    /// `error`: no competition gets it before it is done.
    pub status: &'static str,
    pub unarchived: Vec<UnarchivedView>,
    pub message: &'static str,
}
