//! Recordings: how long a release with them is waited for, and archiving what such a release has left on a VM.

use std::time::Duration;

use super::{CommandError, Coordinator, QUICK};
use crate::actors::show;
use crate::domain::ids::VmId;

/// Longest that the answer to a release is waited for. Archiving may be allowed a day, and what is between a client and
/// this server closes a connection that is silent for so long.
const RELEASE_WAIT_MAX: Duration = Duration::from_secs(300);

impl Coordinator {
    /// How long the answer to a release is waited for: what silencing, archiving and cleaning may take by their own
    /// limits, but at most five minutes.
    #[must_use]
    pub fn release_wait(&self, archive: bool) -> Duration {
        let options = &self.ctx.options;
        let archiving = options.archive.deadline * u32::from(archive);
        let work = show::silence_limit(&options.failover) + archiving + options.cleaning.deadline;
        (work + QUICK).min(RELEASE_WAIT_MAX)
    }

    /// Begins to archive what is left on a VM of recordings that could not be archived when their shows were released. That
    /// goes on; the VM's record says how it ends.
    ///
    /// # Errors
    /// [`CommandError::NothingToArchive`], [`CommandError::NoArchive`], or that the VM is not up or has a show.
    pub async fn archive_left(&self, vm: VmId, by: Option<String>) -> Result<(), CommandError> {
        self.known(&vm)?;
        if self.ctx.world.archive.is_none() {
            return Err(CommandError::NoArchive);
        }
        tracing::info!(%vm, ?by, "archive what is left on it");
        let begun = self.ctx.machines.archive(&vm).await;
        begun.map_err(|error| error.about(&vm))
    }
}
