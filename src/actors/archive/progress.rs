//! How far the archive of a show's recordings is, for people who wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::actors::context::Context;
use crate::actors::news::Item;
use crate::domain::ids::{ShowId, VmId};

/// Between two that are told; the first and the last of a file are told at once.
const INTERVAL: Duration = Duration::from_millis(250);

/// As of now. The figures only grow, except that a recording which is begun again counts from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub show: ShowId,
    pub vm: VmId,
    /// The recording that is on its way; `None` between two.
    pub file: Option<String>,
    /// That have arrived, of all recordings together.
    pub bytes: u64,
    pub total_bytes: u64,
    /// Recordings that are verified and removed from the VM.
    pub files: u32,
    pub total_files: u32,
}

/// Tells of it, not too often.
pub(super) struct Teller {
    ctx: Arc<Context>,
    told_at: Option<Instant>,
}

impl Teller {
    pub fn new(ctx: &Arc<Context>) -> Self {
        Self {
            ctx: Arc::clone(ctx),
            told_at: None,
        }
    }

    /// Of a turn, such as the beginning or the end of a recording.
    pub fn tell(&mut self, progress: Progress) {
        self.told_at = None;
        self.step(progress);
    }

    /// Of a step on the way. Whoever asks is told of it; news goes out unless some did just before.
    pub fn step(&mut self, progress: Progress) {
        self.ctx.board.post_archive(&progress.vm, Some(progress.clone()));
        if self.told_at.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.told_at = Some(Instant::now());
            self.ctx.news.tell(Item::Archiving(progress));
        }
    }
}
