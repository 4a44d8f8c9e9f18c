//! When a dead actor is started again, and when no longer.
//!
//! Intensity: at most `restarts_max` restarts within `window`. Back-off: the first restart within the window is
//! immediate, since a single crash is no loop and whoever waits for the child waits for nothing; the second
//! waits `backoff_initial`, each one after that twice as long as the one before, up to `backoff_max`. Past its
//! intensity a child is given up for `cooldown`, after which it is tried afresh: a show that is on air must not
//! lose its watch for ever because of one bad minute.

use std::collections::VecDeque;
use std::time::Duration;

use super::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub restarts_max: u32,
    pub window: Duration,
    pub backoff_initial: Duration,
    pub backoff_max: Duration,
    pub cooldown: Duration,
}

impl Default for Policy {
    /// Five restarts in thirty seconds: a crash loop is recognised within seconds, a few unrelated crashes
    /// during a long show are not one.
    fn default() -> Self {
        Self {
            restarts_max: 5,
            window: Duration::from_secs(30),
            backoff_initial: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            cooldown: Duration::from_secs(60),
        }
    }
}

impl Policy {
    fn backoff(&self, doublings: u32) -> Duration {
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.backoff_initial.saturating_mul(factor).min(self.backoff_max)
    }
}

/// Which deaths ask for a restart; the words are Erlang/OTP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// After a failure, not after a normal end.
    Transient,
    /// Never.
    Temporary,
}

/// How a child died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Normal,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again now.
    AtOnce,
    /// Start it again after this long.
    After(Duration),
    /// The budget is used up: report it, and try afresh after this long.
    GiveUp { retry_after: Duration },
    /// It is not to be started again.
    Leave,
}

/// The deaths of one child that still count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    deaths: VecDeque<Timestamp>,
}

impl History {
    /// Decides what to do about a death at `now`.
    pub fn died(&mut self, restart: Restart, death: Death, policy: &Policy, now: Timestamp) -> Verdict {
        match (restart, death) {
            (Restart::Temporary, Death::Normal | Death::Failed) | (Restart::Transient, Death::Normal) => {
                return Verdict::Leave;
            }
            (Restart::Permanent, Death::Normal | Death::Failed) | (Restart::Transient, Death::Failed) => {}
        }
        while self
            .deaths
            .front()
            .is_some_and(|first| now.since(*first) >= policy.window)
        {
            self.deaths.pop_front();
        }
        let recent = u32::try_from(self.deaths.len()).unwrap_or(u32::MAX);
        if recent >= policy.restarts_max {
            self.deaths.clear();
            return Verdict::GiveUp {
                retry_after: policy.cooldown,
            };
        }
        self.deaths.push_back(now);
        match recent.checked_sub(1) {
            None => Verdict::AtOnce,
            Some(doublings) => Verdict::After(policy.backoff(doublings)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            restarts_max: 3,
            window: Duration::from_secs(10),
            ..Policy::default()
        }
    }

    #[test]
    fn the_first_restart_is_immediate_the_next_back_off_and_the_one_past_the_budget_gives_up() {
        let (mut history, policy) = (History::default(), policy());
        let mut verdicts = Vec::new();
        for ms in [0, 10, 20, 30, 40] {
            verdicts.push(history.died(Restart::Permanent, Death::Failed, &policy, Timestamp(ms)));
        }
        let after = |ms| Verdict::After(Duration::from_millis(ms));
        let give_up = Verdict::GiveUp {
            retry_after: policy.cooldown,
        };
        // Tried afresh after the cool-down, it starts with a clean slate.
        assert_eq!(
            verdicts,
            [Verdict::AtOnce, after(50), after(100), give_up, Verdict::AtOnce]
        );
    }

    #[test]
    fn a_pause_between_restarts_never_exceeds_its_maximum() {
        let policy = Policy {
            restarts_max: 40,
            backoff_max: Duration::from_millis(120),
            ..policy()
        };
        let mut history = History::default();
        let mut pauses = Vec::new();
        for _ in 0..policy.restarts_max {
            match history.died(Restart::Permanent, Death::Failed, &policy, Timestamp(0)) {
                Verdict::AtOnce => pauses.push(0),
                Verdict::After(pause) => pauses.push(pause.as_millis()),
                Verdict::GiveUp { .. } | Verdict::Leave => panic!("within its budget it is restarted"),
            }
        }
        assert_eq!(pauses[..4], [0, 50, 100, 120]);
        assert!(pauses[4..].iter().all(|pause| *pause == 120), "{pauses:?}");
    }

    #[test]
    fn deaths_that_are_far_apart_never_use_up_the_budget_and_never_wait() {
        let (mut history, policy) = (History::default(), policy());
        for n in 0..100 {
            let now = Timestamp(n * 10_000);
            let verdict = history.died(Restart::Permanent, Death::Failed, &policy, now);
            assert_eq!(verdict, Verdict::AtOnce);
        }
    }

    #[test]
    fn the_kind_of_child_and_of_death_decide_whether_to_restart_at_all() {
        let table = [
            (Restart::Permanent, Death::Normal, true),
            (Restart::Permanent, Death::Failed, true),
            (Restart::Transient, Death::Normal, false),
            (Restart::Transient, Death::Failed, true),
            (Restart::Temporary, Death::Normal, false),
            (Restart::Temporary, Death::Failed, false),
        ];
        for (restart, death, restarted) in table {
            let verdict = History::default().died(restart, death, &policy(), Timestamp(0));
            assert_eq!(verdict != Verdict::Leave, restarted, "{restart:?} {death:?}");
        }
    }
}
