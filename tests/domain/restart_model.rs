//! The restart budget against a list of every death there was.

use std::time::Duration;

use proptest::prelude::*;
use understudy::domain::restart::{Death, History, Policy, Restart, Verdict};
use understudy::domain::time::Timestamp;

/// Deaths since the last time the child was given up.
#[derive(Default)]
struct Deaths(Vec<u64>);

impl Deaths {
    fn verdict(&mut self, policy: &Policy, now: u64) -> Verdict {
        let window = policy.window.as_millis() as u64;
        let recent = self.0.iter().filter(|at| now - **at < window).count() as u32;
        if recent >= policy.restarts_max {
            self.0.clear();
            return Verdict::GiveUp {
                retry_after: policy.cooldown,
            };
        }
        self.0.push(now);
        if recent == 0 {
            return Verdict::AtOnce;
        }
        let mut delay = policy.backoff_initial;
        for _ in 1..recent {
            delay = (delay * 2).min(policy.backoff_max);
        }
        Verdict::After(delay.min(policy.backoff_max))
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    (0u32..8, 1u64..5_000, 1u64..500, 1u64..5_000).prop_map(|(restarts_max, window, initial, max)| Policy {
        restarts_max,
        window: Duration::from_millis(window),
        backoff_initial: Duration::from_millis(initial),
        backoff_max: Duration::from_millis(max),
        cooldown: Duration::from_secs(60),
    })
}

fn kinds() -> impl Strategy<Value = (Restart, Death)> {
    let restarts = prop_oneof![
        4 => Just(Restart::Permanent),
        2 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
    ];
    (restarts, prop_oneof![Just(Death::Normal), Just(Death::Failed)])
}

proptest! {
    #[test]
    fn a_child_is_restarted_as_a_count_of_its_recent_deaths_says(
        policy in policies(),
        deaths in prop::collection::vec((kinds(), 0u64..2_000), 1..60),
    ) {
        let (mut history, mut plain, mut now) = (History::default(), Deaths::default(), 0);
        for ((restart, death), ms) in deaths {
            now += ms;
            let stays_dead = match restart {
                Restart::Permanent => false,
                Restart::Transient => death == Death::Normal,
                Restart::Temporary => true,
            };
            let expected = if stays_dead { Verdict::Leave } else { plain.verdict(&policy, now) };
            let verdict = history.died(restart, death, &policy, Timestamp(now));
            prop_assert_eq!(verdict, expected, "at {}", now);
        }
    }

    #[test]
    fn restarts_within_any_window_never_exceed_the_budget(
        policy in policies(),
        gaps in prop::collection::vec(0u64..500, 1..100),
    ) {
        let (mut history, mut now) = (History::default(), 0);
        let mut restarted: Vec<u64> = Vec::new();
        for gap in gaps {
            now += gap;
            match history.died(Restart::Permanent, Death::Failed, &policy, Timestamp(now)) {
                Verdict::AtOnce => {
                    let window = policy.window.as_millis() as u64;
                    prop_assert!(restarted.iter().all(|at| now - at >= window), "two at once in a window");
                    restarted.push(now);
                }
                Verdict::After(delay) => {
                    prop_assert!(policy.backoff_initial.min(policy.backoff_max) <= delay);
                    prop_assert!(delay <= policy.backoff_max);
                    restarted.push(now);
                }
                Verdict::GiveUp { .. } => restarted.clear(),
                Verdict::Leave => prop_assert!(false, "a permanent child is not left"),
            }
            let window = policy.window.as_millis() as u64;
            let recent = restarted.iter().filter(|at| now - **at < window).count();
            prop_assert!(recent <= policy.restarts_max as usize);
        }
    }
}
