//! What seeds have found, as few events each, played every time.

use std::time::Duration;

use understudy::rehearsal::simulation::plan::{Act, Change, Event, SetUp};
use understudy::rehearsal::simulation::{Plan, Size, run};
use understudy::sim::model::fault::{Fault, FaultKind};

fn is_sound(warm: u32, acts: &[(u64, Act)]) {
    let numbered = acts.iter().cloned().enumerate();
    let events = numbered.map(|(number, (at_ms, act))| Event { number, at_ms, act });
    let plan = Plan {
        seed: 1,
        size: Size {
            warm,
            cold: 0,
            shows: 1,
            troubles: 0,
        },
        events: events.collect(),
        is_whole: true,
    };
    let run = run(&plan).expect("it can be played");
    assert_eq!(run.violations, [], "{}", run.log);
}

fn produce(at_ms: u64) -> (u64, Act) {
    let how = SetUp::ByHand;
    (at_ms, Act::Produce { show: 0, how })
}

fn change(at: Duration, change: Change) -> (u64, Act) {
    (
        u64::try_from(at.as_millis()).expect("not so late"),
        Act::World(change),
    )
}

/// Seed 5014: it asked again as soon as it had heard that nobody could be asked.
#[test]
fn a_silent_output_that_nobody_can_be_asked_about_is_asked_about_in_peace() {
    let (vm, fault) = (0, Fault::OutputSilent);
    is_sound(
        1,
        &[
            produce(5_000),
            change(Duration::from_secs(60), Change::Break { vm, fault }),
            change(
                Duration::from_secs(90),
                Change::Mend {
                    vm,
                    kind: FaultKind::OutputSilent,
                },
            ),
        ],
    );
}

/// Seed 2795598501: the simulated session to a silent machine went on asking when its process was gone.
#[test]
fn a_coordinator_that_dies_with_its_machines_silent_leaves_nobody_busy() {
    let (vm, fault) = (0, Fault::Blackhole);
    is_sound(
        1,
        &[
            change(Duration::from_secs(20), Change::Break { vm, fault }),
            (22_000, Act::KillCoordinator { down_ms: 1_000 }),
            change(
                Duration::from_secs(30),
                Change::Mend {
                    vm,
                    kind: FaultKind::Blackhole,
                },
            ),
        ],
    );
}

/// Seed 50651: nine shows at a time in a pool for eight are one too many, and no rule is broken by that.
#[test]
fn shows_that_there_is_no_room_for_are_turned_away() {
    let how = SetUp::ByHand;
    is_sound(1, &[produce(1_000), (1_000, Act::Produce { show: 1, how })]);
}
