//! Whether this process ran all the time.
//!
//! A process that was stopped (SIGSTOP, a frozen control group, a machine without processor time for it) finds every
//! deadline of its own passed at once when it goes on, and everybody else silent for long. Neither says anything about
//! anybody but itself: what is to be held against somebody must have been found out while it ran.
//!
//! The clock is looked at every [`LOOK`]; a look that comes much later than that has found a stall.

use std::time::Duration;

use super::time::Timestamp;

/// Between two looks at the clock.
pub const LOOK: Duration = Duration::from_millis(250);
/// A look this much later than due means a stall. What a shorter one makes fail, one attempt at something, is attempted
/// again anyway; and a machine that is merely busy must not put off every verdict.
const LATE: Duration = Duration::from_secs(2);

/// Whether a timer that fires so late has slept through a stall: for whoever has nothing else to tell by.
#[must_use]
pub fn slept_through(late: Duration) -> bool {
    late > LATE
}

/// The stalls of this process, as far as they matter: the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalls {
    looked_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl Stalls {
    /// Begins to look.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            looked_at: now,
            ended_at: None,
        }
    }

    /// Takes a look at the clock, and says how long the stall was that this look has found.
    pub fn look(&mut self, now: Timestamp) -> Option<Duration> {
        let since = now.since(self.looked_at);
        self.looked_at = self.looked_at.max(now);
        (since > LOOK + LATE).then(|| {
            self.ended_at = Some(now);
            since
        })
    }

    /// Whether part of the time since then was a stall.
    #[must_use]
    pub fn any_since(&self, at: Timestamp) -> bool {
        self.ended_at.is_some_and(|ended| ended > at)
    }

    /// From when on the time since then counts: from the end of the last stall, if that came later.
    #[must_use]
    pub fn counted_from(&self, at: Timestamp) -> Timestamp {
        self.ended_at.map_or(at, |ended| ended.max(at))
    }

    /// What is left at `now` of the time that was given at `from`, all of it while this process ran.
    #[must_use]
    pub fn left(&self, from: Timestamp, span: Duration, now: Timestamp) -> Duration {
        span.saturating_sub(now.since(self.counted_from(from)))
    }

    /// Whether it has run for so long that whoever was silent all that time may be held to be.
    #[must_use]
    pub fn none_within(&self, span: Duration, now: Timestamp) -> bool {
        self.ended_at.is_none_or(|ended| now >= ended + span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn looked(at_ms: impl IntoIterator<Item = u64>) -> (Stalls, Vec<u128>) {
        let mut stalls = Stalls::new(Timestamp(0));
        let found = at_ms.into_iter().filter_map(|ms| stalls.look(Timestamp(ms)));
        let found = found.map(|stall| stall.as_millis()).collect();
        (stalls, found)
    }

    #[test]
    fn looks_that_come_in_time_or_a_little_late_find_nothing() {
        let (stalls, found) = looked([250, 500, 1_500, 2_750]);
        assert_eq!(found, [0; 0]);
        assert!(!stalls.any_since(Timestamp(0)) && stalls.none_within(SECOND, Timestamp(2_750)));
    }

    #[test]
    fn a_look_that_comes_much_too_late_has_found_a_stall_of_that_length() {
        let (_, found) = looked([250, 10_250, 10_500]);
        assert_eq!(found, [10_000]);
    }

    #[test]
    fn only_what_began_before_the_end_of_a_stall_is_touched_by_it() {
        let (stalls, _) = looked([250, 10_250]);
        assert!(stalls.any_since(Timestamp(100)) && stalls.any_since(Timestamp(9_000)));
        assert!(!stalls.any_since(Timestamp(10_250)));
    }

    #[test]
    fn time_counts_from_the_end_of_the_last_stall() {
        let (stalls, _) = looked([10_000, 10_250, 30_000]);
        assert_eq!(stalls.counted_from(Timestamp(5_000)), Timestamp(30_000));
        assert_eq!(stalls.counted_from(Timestamp(31_000)), Timestamp(31_000));
    }

    #[test]
    fn of_the_time_that_was_given_before_a_stall_all_is_left_after_it() {
        let (stalls, _) = looked([10_000, 10_250, 30_000]);
        let left = |from, now| stalls.left(Timestamp(from), 5 * SECOND, Timestamp(now));
        assert_eq!(left(29_000, 30_000), 5 * SECOND);
        assert_eq!(left(29_000, 34_000), SECOND);
        assert_eq!(left(29_000, 40_000), Duration::ZERO);
        assert_eq!(left(31_000, 32_000), 4 * SECOND);
    }

    #[test]
    fn a_timer_that_fires_a_little_late_has_slept_through_nothing() {
        assert!(!slept_through(SECOND) && slept_through(3 * SECOND));
    }

    #[test]
    fn silence_is_believed_once_it_was_listened_to_for_as_long() {
        let (stalls, _) = looked([10_000]);
        assert!(!stalls.none_within(3 * SECOND, Timestamp(12_999)));
        assert!(stalls.none_within(3 * SECOND, Timestamp(13_000)));
    }

    #[test]
    fn a_look_that_is_overtaken_by_a_later_one_changes_nothing() {
        let (stalls, found) = looked([1_000, 900, 2_000]);
        assert_eq!((stalls.any_since(Timestamp(0)), found), (false, vec![]));
    }
}
