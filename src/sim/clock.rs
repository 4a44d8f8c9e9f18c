//! The world's clock: wall time at the start plus the runtime's monotonic time since.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::domain::time::{Timestamp, millis};

/// Cheap to copy. All parts of a world share one.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    started: Instant,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(Timestamp(millis(since_epoch)))
    }

    /// A clock that shows `wall` now, whatever the system's says.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            started: Instant::now(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.wall + self.started.elapsed()
    }

    /// The runtime's instant at which the clock will show `at`, never before it.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_instant_is_as_far_away_as_its_timestamp() {
        let clock = Clock::start();
        let (now, before) = (clock.now(), Instant::now());
        let instant = clock.instant(now + Duration::from_secs(60));
        let away = instant.duration_since(before);
        assert!(
            away > Duration::from_secs(59) && away < Duration::from_secs(61),
            "{away:?}"
        );
        assert_eq!(clock.instant(Timestamp(0)), clock.started);
    }
}
