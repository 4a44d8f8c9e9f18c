//! The one clock: wall time at the start plus monotonic time since.
//!
//! A jump of the wall clock moves nothing here, and paused tokio time drives it in tests.

use tokio::time::Instant;

use crate::domain::time::{Timestamp, millis};

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_at_start: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts at the system's wall time, or at the epoch should the system's time lie before it.
    #[must_use]
    pub fn system() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self::starting_at(Timestamp(millis(wall)))
    }

    /// Starts at a given wall time.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall_at_start: wall,
            started: Instant::now(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.wall_at_start + self.started.elapsed()
    }
}
