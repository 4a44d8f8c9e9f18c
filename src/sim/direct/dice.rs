//! The world's one source of chance.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::domain::time::millis;

/// How long something takes: any whole number of milliseconds from `min` to `max`, all as likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub min: Duration,
    pub max: Duration,
}

impl Span {
    #[must_use]
    pub const fn of_ms(min: u64, max: u64) -> Self {
        Self {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
        }
    }
}

/// How long what is not the machines' own takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One way between the coordinator and a machine, or between a machine and the ingest.
    pub trip: Span,
    /// A call to the cloud's API, there and back.
    pub cloud: Span,
}

impl Default for Timing {
    /// Machines of the coordinator's own network, and EC2's API.
    fn default() -> Self {
        Self {
            trip: Span::of_ms(1, 3),
            cloud: Span::of_ms(20, 120),
        }
    }
}

/// Seeded: the same draws in the same order give the same figures.
#[derive(Debug)]
pub(super) struct Dice {
    rng: Mutex<StdRng>,
    timing: Timing,
}

impl Dice {
    pub(super) fn new(seed: u64, timing: Timing) -> Self {
        Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            timing,
        }
    }

    pub(super) fn draw(&self, span: Span) -> Duration {
        let (min, max) = (millis(span.min), millis(span.max));
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(rng.random_range(min..=max.max(min)))
    }

    pub(super) fn number(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// Takes one way over the network.
    pub(super) async fn trip(&self) {
        sleep(self.draw(self.timing.trip)).await;
    }

    pub(super) fn cloud_call(&self) -> Duration {
        self.draw(self.timing.cloud)
    }
}
