//! Health with hysteresis: how many checks in a row it takes to believe a change.
//!
//! A check gives a [`Reading`] per service; a reading has a level; the level must repeat before it counts:
//! `fail_threshold` times for a worse one, `recover_threshold` times for a better one. What is not known is
//! never counted as good or bad: it leaves the count as it is.

use serde::{Deserialize, Serialize};

use super::vm::Health;

/// What one check found out, service by service. `None` is "not known", never "no".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The show server answered with a JSON object.
    pub node: Option<bool>,
    /// OBS answers over its WebSocket; where we have no session, what the show server says.
    pub obs: Option<bool>,
    /// The SSH session answers.
    pub ssh: Option<bool>,
}

impl Reading {
    /// Healthy: show server and OBS up, nothing known to be down. Degraded: the show server is up, something
    /// else is down. Unhealthy: the show server is down.
    #[must_use]
    pub fn level(self) -> Health {
        match (self.node, self.obs, self.ssh) {
            (None, _, _) => Health::Unknown,
            (Some(false), _, _) => Health::Unhealthy,
            (Some(true), Some(false), _) | (Some(true), _, Some(false)) => Health::Degraded,
            (Some(true), Some(true) | None, Some(true) | None) => Health::Healthy,
        }
    }
}

/// Checks in a row that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    pub fail: u32,
    pub recover: u32,
}

/// The level that is believed, and the one that is knocking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hysteresis {
    believed: Health,
    candidate: Health,
    in_a_row: u32,
}

impl Hysteresis {
    /// Starts from what the ledger says is believed.
    #[must_use]
    pub fn new(believed: Health) -> Self {
        Self {
            believed,
            candidate: believed,
            in_a_row: 0,
        }
    }

    #[must_use]
    pub fn believed(&self) -> Health {
        self.believed
    }

    /// Takes one check's level and returns the new belief if it changed with it.
    pub fn observe(&mut self, level: Health, thresholds: Thresholds) -> Option<Health> {
        if level == Health::Unknown {
            return None;
        }
        if level == self.believed {
            self.candidate = self.believed;
            self.in_a_row = 0;
            return None;
        }
        let same_direction = self.in_a_row > 0 && (level > self.believed) == (self.candidate > self.believed);
        self.in_a_row = if same_direction { self.in_a_row + 1 } else { 1 };
        self.candidate = level;
        let needed = match self.believed {
            Health::Unknown => 1,
            Health::Healthy | Health::Degraded | Health::Unhealthy if level > self.believed => {
                thresholds.fail
            }
            Health::Healthy | Health::Degraded | Health::Unhealthy => thresholds.recover,
        };
        if self.in_a_row < needed.max(1) {
            return None;
        }
        *self = Self::new(level);
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Thresholds = Thresholds { fail: 3, recover: 2 };

    #[test]
    fn a_worse_level_is_believed_after_three_checks_and_a_better_one_after_two() {
        let mut h = Hysteresis::new(Health::Healthy);
        assert_eq!(h.observe(Health::Unhealthy, T), None);
        assert_eq!(h.observe(Health::Unhealthy, T), None);
        assert_eq!(h.observe(Health::Unhealthy, T), Some(Health::Unhealthy));
        assert_eq!(h.observe(Health::Healthy, T), None);
        assert_eq!(h.observe(Health::Healthy, T), Some(Health::Healthy));
    }

    #[test]
    fn a_flap_starts_the_count_again() {
        let mut h = Hysteresis::new(Health::Healthy);
        for _ in 0..20 {
            assert_eq!(h.observe(Health::Unhealthy, T), None);
            assert_eq!(h.observe(Health::Unhealthy, T), None);
            assert_eq!(h.observe(Health::Healthy, T), None);
        }
        assert_eq!(h.believed(), Health::Healthy);
    }

    #[test]
    fn bad_checks_of_different_badness_count_together() {
        let mut h = Hysteresis::new(Health::Healthy);
        assert_eq!(h.observe(Health::Degraded, T), None);
        assert_eq!(h.observe(Health::Unhealthy, T), None);
        assert_eq!(h.observe(Health::Degraded, T), Some(Health::Degraded));
    }

    #[test]
    fn the_first_known_level_is_believed_at_once() {
        let mut h = Hysteresis::new(Health::Unknown);
        assert_eq!(h.observe(Health::Unknown, T), None);
        assert_eq!(h.observe(Health::Degraded, T), Some(Health::Degraded));
    }

    #[test]
    fn a_check_that_found_nothing_out_neither_counts_nor_starts_the_count_again() {
        let mut h = Hysteresis::new(Health::Healthy);
        for level in [
            Health::Unhealthy,
            Health::Unknown,
            Health::Unhealthy,
            Health::Unknown,
        ] {
            assert_eq!(h.observe(level, T), None);
        }
        assert_eq!(h.observe(Health::Unhealthy, T), Some(Health::Unhealthy));
    }

    #[test]
    fn what_is_not_known_is_neither_good_nor_bad() {
        let level = |node, obs, ssh| Reading { node, obs, ssh }.level();
        assert_eq!(level(None, Some(true), Some(true)), Health::Unknown);
        assert_eq!(level(Some(true), None, None), Health::Healthy);
        assert_eq!(level(Some(true), Some(false), None), Health::Degraded);
        assert_eq!(level(Some(true), Some(true), Some(false)), Health::Degraded);
        assert_eq!(level(Some(false), Some(true), Some(true)), Health::Unhealthy);
    }
}
