//! The one clock: wall time at the start plus monotonic time since.
//!
//! A jump of the wall clock moves nothing here, and paused tokio time drives it in tests. A wall clock that was set
//! back before this process started is not followed either: what the ledger says happened is never in the future.

use std::time::Duration;

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

    /// Starts at the system's wall time, but not before `floor`. Also says by how much the wall time lags behind it.
    #[must_use]
    pub fn system_from(floor: Timestamp) -> (Self, Duration) {
        let wall = Self::system().wall_at_start;
        (Self::starting_at(wall.max(floor)), floor.since(wall))
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
