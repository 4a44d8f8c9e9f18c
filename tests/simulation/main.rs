//! The whole tree, simulated: shows come and go while everything breaks, and what must hold, holds.
//!
//! `UNDERSTUDY_SIMULATION_SEEDS` says how many fresh seeds are played beside the fixed ones.

mod defects;
mod found;
mod pool;

use std::process::Command;

use understudy::rehearsal::simulation::report::Failure;
use understudy::rehearsal::simulation::{Plan, Run, Size, run};

/// Played every time.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=6;
/// Found a defect each. One did not end: each look at a show whose VM had not come up set two timers, and each of these was a
/// look. Then two publishers: a machine that the cloud did not find by its id was taken for off. Then a show on air that
/// nobody wanted there: that it was not to start was written down so late that its start was tried again before.
const FOUND: [u64; 3] = [20_497, 405_349, 410_900];
/// Fresh ones, unless the environment says how many: what `make soak` finds with them is mended before they may hold up
/// a change.
const FRESH: u64 = 2;

/// Plays a seed; what breaks a rule is told with as few events as break it.
fn sound(seed: u64, size: Size) -> Run {
    let plan = Plan::of(seed, size);
    let played = run(&plan).unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    assert!(
        played.violations.is_empty(),
        "seed {seed}\n{}",
        Failure::investigate(&plan, played, run, |_| ())
    );
    played
}

#[test]
fn whatever_breaks_breaks_no_rule() {
    for seed in SEEDS.chain(FOUND) {
        sound(seed, Size::default());
    }
}

#[test]
fn nor_does_it_with_seeds_that_nobody_has_seen() {
    let asked = std::env::var("UNDERSTUDY_SIMULATION_SEEDS").ok();
    let count = asked.map_or(FRESH, |text| text.parse().expect("a number of seeds"));
    for _ in 0..count {
        let seed = u64::from(rand::random::<u32>());
        println!("fresh seed {seed}");
        sound(seed, Size::default());
    }
}

/// Small, for what is played more than once.
const SMALL: Size = Size {
    warm: 4,
    cold: 4,
    shows: 4,
    troubles: 16,
};

#[test]
fn one_seed_gives_the_same_log_byte_for_byte() {
    for seed in [3, 4] {
        let (first, again) = (sound(seed, SMALL).log, sound(seed, SMALL).log);
        let differs = first.lines().zip(again.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}: where they part");
        assert_eq!(first, again, "seed {seed}");
    }
}

/// Whatever a process has of its own, such as the keys of its hash maps.
#[test]
fn nor_does_it_differ_from_process_to_process() {
    let program = || {
        let size = ["--warm", "4", "--cold", "4", "--shows", "4", "--troubles", "16"];
        let played = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args(["rehearse", "--seed", "5", "--log"])
            .args(size)
            .output()
            .expect("the program runs");
        assert!(played.status.success(), "{played:?}");
        String::from_utf8(played.stdout).expect("text")
    };
    let (first, again) = (program(), program());
    let differs = first.lines().zip(again.lines()).find(|(one, other)| one != other);
    assert_eq!(differs, None, "where they part");
    assert_eq!(first, again);
    let here = sound(5, SMALL).log;
    assert!(first.starts_with(here.trim_end()), "and from this one's");
}

#[test]
fn another_seed_gives_another_log() {
    let size = Size {
        shows: 2,
        troubles: 4,
        ..Size::default()
    };
    let log = |seed| run(&Plan::of(seed, size)).expect("it can be played").log;
    assert_ne!(log(1), log(2));
}
