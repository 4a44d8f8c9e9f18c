//! Recordings that were to be archived and are still on a VM, though their show has given it back.
//!
//! ```text
//! released, its archive failed ──► failed ──► resumed: archived as before (see [`super::archive`]) ──► done: forgotten
//!                                    ▲            │
//!                                    └── failed ──┘
//! ```
//!
//! It is a fact of the VM: the show may have another by now. It is tried again by itself for an hour, with longer and
//! longer pauses, and whenever somebody asks for it; into the same folder of the same bucket, as if the show were
//! still being released.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::archive::{Archive, Ending, Event, Rejected, Stage};
use super::ids::ShowId;
use super::time::Timestamp;
use super::vm::Vm;

/// Shows whose recordings are remembered for one VM; of more the oldest are forgotten, and stay on the VM.
pub const UNARCHIVED_MAX: usize = 8;
/// From the first try on it is tried for so long without being asked for, and for as long no show gets the VM. Whoever can
/// mend the bucket has been alerted by then; a pool that has lost all its spares to one wrong bucket policy fails shows.
pub const PURSUED_FOR: Duration = Duration::from_secs(60 * 60);
/// After the first try, which follows as soon as it can: it may have been the machine that was lost.
const PAUSE_INITIAL: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

/// What one show left so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unarchived {
    pub show: ShowId,
    pub archive: Archive,
    /// What was last written after this belongs to a show that has had the VM since; `None` while none has.
    pub until: Option<Timestamp>,
    /// How often it was tried again.
    pub tries: u32,
    /// When that began first.
    #[serde(default)]
    pub tried_since: Option<Timestamp>,
    /// When it failed last.
    pub failed_at: Timestamp,
}

impl Unarchived {
    /// What a show leaves on the VM that it gives back, if that is so.
    #[must_use]
    pub fn of(show: &ShowId, archive: Option<&Archive>, at: Timestamp) -> Option<Self> {
        let archive = archive.filter(|archive| matches!(archive.ending(), Some(Ending::Failed { .. })))?;
        Some(Self {
            show: show.clone(),
            archive: archive.clone(),
            until: None,
            tries: 0,
            tried_since: None,
            failed_at: at,
        })
    }

    /// It is being tried again.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.archive.ending().is_none()
    }

    /// When it is tried again without being asked for; `None` if it is being tried, or not any more.
    #[must_use]
    pub fn next_try_at(&self) -> Option<Timestamp> {
        if self.is_under_way() {
            return None;
        }
        let Some(since) = self.tried_since else {
            return Some(self.failed_at);
        };
        let doublings = self.tries.saturating_sub(1).min(u32::BITS - 1);
        let pause = PAUSE_INITIAL.saturating_mul(1 << doublings).min(PAUSE_MAX);
        let next = self.failed_at + pause;
        (next <= since + PURSUED_FOR).then_some(next)
    }

    /// It is being tried, or will be by itself.
    #[must_use]
    pub fn is_pursued(&self) -> bool {
        self.is_under_way() || self.next_try_at().is_some()
    }

    /// What is wrong with the VM for it.
    #[must_use]
    pub fn fault(&self) -> String {
        match &self.archive.stage {
            Stage::Ended(Ending::Failed { reason }) => {
                format!(
                    "recordings of show {} are on it and not archived: {reason}",
                    self.show
                )
            }
            Stage::Looking | Stage::Uploading(_) | Stage::Kept { .. } | Stage::Ended(Ending::Done { .. }) => {
                format!("recordings of show {} are being archived from it", self.show)
            }
        }
    }

    pub(super) fn resume(&mut self, at: Timestamp) -> Result<(), Rejected> {
        self.archive.resume(at)?;
        self.tries = self.tries.saturating_add(1);
        self.tried_since = self.tried_since.or(Some(at));
        Ok(())
    }

    pub(super) fn apply(&mut self, event: &Event, at: Timestamp) -> Result<(), Rejected> {
        self.archive.apply(event)?;
        if self.archive.ending().is_some() {
            self.failed_at = at;
        }
        Ok(())
    }

    /// All of it is in the archive.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.archive.ending(), Some(Ending::Done { .. }))
    }
}

impl Vm {
    /// Recordings are still on it that are being archived, or will be tried again.
    #[must_use]
    pub fn pursues_archive(&self) -> bool {
        self.archive_fault().is_some()
    }

    /// Why no show is to get it, if it pursues an archive.
    #[must_use]
    pub fn archive_fault(&self) -> Option<String> {
        let pursued = self.unarchived.iter().find(|left| left.is_pursued());
        pursued.map(|left| left.fault())
    }

    /// A show leaves recordings on it that could not be archived.
    pub(super) fn keep_unarchived(&mut self, left: Unarchived) {
        if self.unarchived.len() == UNARCHIVED_MAX {
            self.unarchived.remove(0);
        }
        self.unarchived.push(Arc::new(left));
    }

    /// Another show gets it: what is written from here on is that one's.
    pub(super) fn close_unarchived(&mut self, at: Timestamp) {
        for left in self.unarchived.iter_mut().filter(|left| left.until.is_none()) {
            Arc::make_mut(left).until = Some(at);
        }
    }

    /// Changes what is to be archived into this folder, and forgets it once it is. If that is refused nothing has changed.
    pub(super) fn edit_unarchived(
        &mut self,
        folder: &str,
        edit: impl FnOnce(&mut Unarchived) -> Result<(), Rejected>,
    ) -> Result<(), Rejected> {
        let index = self
            .unarchived
            .iter()
            .position(|left| left.archive.folder == folder);
        let index = index.ok_or(Rejected::NotAsked)?;
        let mut left = Unarchived::clone(&self.unarchived[index]);
        edit(&mut left)?;
        if left.is_done() {
            self.unarchived.remove(index);
        } else {
            self.unarchived[index] = Arc::new(left);
        }
        Ok(())
    }
}
