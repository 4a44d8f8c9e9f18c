//! Hysteresis against a window of all that was read.

use proptest::prelude::*;
use understudy::domain::health::{Hysteresis, Reading, Thresholds};
use understudy::domain::vm::Health;

fn levels() -> impl Strategy<Value = Health> {
    prop_oneof![
        1 => Just(Health::Unknown),
        3 => Just(Health::Healthy),
        2 => Just(Health::Degraded),
        2 => Just(Health::Unhealthy),
    ]
}

/// The belief after each level: the last known levels, since the belief last changed, must all lie on one side
/// of it, and be enough.
fn naive(first: Health, levels: &[Health], thresholds: Thresholds) -> Vec<Health> {
    let (mut believed, mut window) = (first, Vec::new());
    let mut beliefs = Vec::new();
    for level in levels {
        if *level != Health::Unknown {
            window.push(*level);
            let worse = window.iter().rev().take_while(|seen| **seen > believed).count();
            let better = window.iter().rev().take_while(|seen| **seen < believed).count();
            let first_known = believed == Health::Unknown;
            let enough_worse = worse >= thresholds.fail.max(1) as usize;
            let enough_better = better >= thresholds.recover.max(1) as usize;
            if first_known || enough_worse || enough_better {
                believed = *level;
                window.clear();
            }
        }
        beliefs.push(believed);
    }
    beliefs
}

proptest! {
    #[test]
    fn a_level_is_believed_when_enough_readings_in_a_row_say_so(
        first in levels(),
        seen in prop::collection::vec(levels(), 0..60),
        fail in 0u32..5,
        recover in 0u32..5,
    ) {
        let thresholds = Thresholds { fail, recover };
        let mut hysteresis = Hysteresis::new(first);
        let mut beliefs = Vec::new();
        for level in &seen {
            let before = hysteresis.believed();
            let turned = hysteresis.observe(*level, thresholds);
            let changed = (hysteresis.believed() != before).then_some(hysteresis.believed());
            prop_assert_eq!(turned, changed, "a change is told, and nothing else");
            beliefs.push(hysteresis.believed());
        }
        prop_assert_eq!(beliefs, naive(first, &seen, thresholds));
    }

    #[test]
    fn what_is_not_known_changes_nothing_wherever_it_comes(
        first in levels(),
        seen in prop::collection::vec(levels(), 0..40),
    ) {
        let thresholds = Thresholds { fail: 3, recover: 2 };
        let run = |levels: &mut dyn Iterator<Item = Health>| {
            let mut hysteresis = Hysteresis::new(first);
            for level in levels {
                hysteresis.observe(level, thresholds);
            }
            hysteresis.believed()
        };
        let known = run(&mut seen.iter().copied().filter(|level| *level != Health::Unknown));
        prop_assert_eq!(run(&mut seen.iter().copied()), known);
    }
}

/// A service that comes back never makes the level worse, and one that goes down never makes it better.
#[test]
fn a_level_never_gets_worse_because_a_service_came_back() {
    let services = [Some(false), None, Some(true)];
    for node in services {
        for obs in services {
            for ssh in services {
                let level = Reading { node, obs, ssh }.level();
                for back in [
                    Reading {
                        node: Some(true),
                        obs,
                        ssh,
                    },
                    Reading {
                        node,
                        obs: Some(true),
                        ssh,
                    },
                    Reading {
                        node,
                        obs,
                        ssh: Some(true),
                    },
                ] {
                    let unknown = level == Health::Unknown || back.level() == Health::Unknown;
                    assert!(
                        unknown || back.level() <= level,
                        "{back:?} is {:?}, was {level:?}",
                        back.level()
                    );
                }
            }
        }
    }
}
