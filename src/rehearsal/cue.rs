//! When what happens to whom: the steps of a scenario as single cues. Pure, and drawn from one seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::scenario::{Act, Scenario, Which};
use crate::domain::ids::ShowId;
use crate::domain::time::millis;

/// One thing that happens once.
#[derive(Debug, Clone, PartialEq)]
pub struct Cue {
    /// From the beginning.
    pub at: Duration,
    /// The step of the scenario, from 0.
    pub step: usize,
    /// The show that it is about, where the step is about shows.
    pub show: Option<ShowId>,
}

/// The cues of a scenario for these shows, in the order in which they happen.
#[must_use]
pub fn cues(scenario: &Scenario, shows: &[ShowId], seed: u64) -> Vec<Cue> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut cues = Vec::new();
    for (step, written) in scenario.steps.iter().enumerate() {
        for time in 0..written.repeat {
            for show in struck(&written.act, shows) {
                let spread_ms = rng.random_range(0..=millis(written.spread));
                let at = written.at + written.every * time + Duration::from_millis(spread_ms);
                cues.push(Cue { at, step, show });
            }
        }
    }
    cues.sort_by_key(|cue| cue.at);
    cues
}

fn struck(act: &Act, shows: &[ShowId]) -> Vec<Option<ShowId>> {
    match act.which() {
        None => vec![None],
        Some(Which::One(show)) => vec![Some(show.clone())],
        Some(Which::Every) => shows.iter().cloned().map(Some).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::scenario::parse;

    fn scenario(text: &str) -> Scenario {
        let text = format!("about = \"a test\"\n{text}");
        parse(std::path::Path::new("test.toml"), "test", &text).unwrap()
    }

    fn shows() -> Vec<ShowId> {
        ["show-1", "show-2"].map(|id| ShowId::new(id).unwrap()).to_vec()
    }

    #[test]
    fn the_same_seed_draws_the_same_moments_and_another_draws_others() {
        let scenario = scenario("[[step]]\nspread = \"1m\"\ntarget = \"show:*\"\nfault = \"blackhole\"\n");
        let drawn = |seed| cues(&scenario, &shows(), seed);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!(drawn(1).iter().all(|cue| cue.at <= Duration::from_secs(60)));
    }

    #[test]
    fn what_repeats_and_strikes_every_show_is_a_cue_for_each_in_the_order_of_time() {
        let scenario = scenario(
            "[[step]]\nat = \"3s\"\ntarget = \"cloud\"\nfault = \"denied\"\n\
             [[step]]\nat = \"1s\"\nrepeat = 2\nevery = \"4s\"\ntarget = \"show:*\"\nfault = \"blackhole\"\nfor = \"1s\"\n",
        );
        let found: Vec<(u64, usize, Option<String>)> = cues(&scenario, &shows(), 1)
            .into_iter()
            .map(|cue| (cue.at.as_secs(), cue.step, cue.show.map(|show| show.to_string())))
            .collect();
        let show = |number| Some(format!("show-{number}"));
        let expected = [
            (1, 1, show(1)),
            (1, 1, show(2)),
            (3, 0, None),
            (5, 1, show(1)),
            (5, 1, show(2)),
        ];
        assert_eq!(found, expected);
    }
}
