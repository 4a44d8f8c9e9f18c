//! What happens to a show: every phase, and every step of a failover, by every event.

use std::sync::Arc;

use understudy::domain::archive;
use understudy::domain::failover::{Action, Ending, Failover};
use understudy::domain::ids::{Epoch, RequestKey};
use understudy::domain::invariants::violations;
use understudy::domain::show::{Event, Phase, Rejected as ShowRejected, Show};
use understudy::domain::state::State;
use understudy::domain::vm::Power;

use crate::fixtures::{
    archive, archive_asked, assigned, at, compared, ended, failover_began, fenced, machine, of_show,
    publishing, restored, set_up, show_id, silenced, spare_lost, state_of, studio, vm_id, went_on_air,
};

/// Refused: the state is as before.
const NO: &str = "–";

pub const PHASES: [&str; 5] = [
    "idle",
    "off air, VM coming up",
    "off air, VM ready",
    "on air",
    "releasing",
];

/// Events carry the right epoch: the present one, or the next where the event begins one.
#[rustfmt::skip]
pub const BY_PHASE: [(&str, [&str; 5]); 28] = [
    ("Assigned",                 ["off air", NO, NO, NO, NO]),
    ("Reassigned",               [NO, "off air", NO, NO, NO]),
    ("StreamWanted",             [NO, "off air", "off air", "on air", NO]),
    ("StreamWanted not",         [NO, "off air", "off air", "on air", "releasing"]),
    ("WentOnAir",                [NO, "on air", "on air", NO, NO]),
    ("WentOffAir",               [NO, NO, NO, "off air", NO]),
    ("Silenced",                 [NO, "off air", "off air", NO, "releasing"]),
    ("Captured",                 [NO, "off air", "off air", "on air", "releasing"]),
    ("SetUp",                    ["idle", "off air", "off air", "on air", "releasing"]),
    ("SetUp, make",              [NO, "off air", "off air", "on air", NO]),
    ("Held",                     [NO, "off air", "off air", "on air", "releasing"]),
    ("FailoverBegan",            [NO, "moving", "moving", "moving", NO]),
    ("FailoverBegan, no spare",  [NO, "waiting", "waiting", "waiting", NO]),
    ("SpareChosen",              [NO, NO, NO, NO, NO]),
    ("SpareLost",                [NO, NO, NO, NO, NO]),
    ("Fenced",                   [NO, NO, NO, NO, NO]),
    ("Restored",                 [NO, NO, NO, NO, NO]),
    ("Compared",                 [NO, NO, NO, NO, NO]),
    ("Publishing",               [NO, NO, NO, NO, NO]),
    ("FailoverEnded on air",     [NO, NO, NO, NO, NO]),
    ("FailoverEnded moved",      [NO, NO, NO, NO, NO]),
    ("FailoverEnded recovered",  [NO, NO, NO, NO, NO]),
    ("FailoverEnded returned",   [NO, NO, NO, NO, NO]),
    ("FailoverEnded abandoned",  [NO, NO, NO, NO, NO]),
    ("ReleaseBegan",             [NO, "releasing", "releasing", "releasing", NO]),
    ("ReleaseJoined",            [NO, NO, NO, NO, "releasing"]),
    ("Archive asked",            [NO, NO, NO, NO, "releasing"]),
    ("Archive ended",            [NO, NO, NO, NO, NO]),
];

/// `waiting` has no spare, `moving` has one.
pub const STEPS: [&str; 7] = [
    "waiting",
    "waiting, fenced",
    "moving",
    "moving, fenced",
    "moving, restored",
    "moving, fenced, restored",
    "publishing",
];

#[rustfmt::skip]
pub const BY_STEP: [(&str, [&str; 7]); 28] = [
    ("Assigned",                 [NO, NO, NO, NO, NO, NO, NO]),
    ("Reassigned",               [NO, NO, NO, NO, NO, NO, NO]),
    ("StreamWanted",             ["waiting", "waiting, fenced", "moving", "moving, fenced", "moving, restored", "moving, fenced, restored", "publishing"]),
    ("StreamWanted not",         ["waiting", "waiting, fenced", "moving", "moving, fenced", "moving, restored", "moving, fenced, restored", "publishing"]),
    ("WentOnAir",                [NO, NO, NO, NO, NO, NO, NO]),
    ("WentOffAir",               [NO, NO, NO, NO, NO, NO, NO]),
    ("Silenced",                 [NO, NO, NO, NO, NO, NO, NO]),
    ("Captured",                 ["waiting", "waiting, fenced", "moving", "moving, fenced", "moving, restored", "moving, fenced, restored", "publishing"]),
    ("SetUp",                    ["waiting", "waiting, fenced", "moving", "moving, fenced", "moving, restored", "moving, fenced, restored", "publishing"]),
    ("SetUp, make",              [NO, NO, NO, NO, NO, NO, NO]),
    ("Held",                     ["waiting", "waiting, fenced", "moving", "moving, fenced", "moving, restored", "moving, fenced, restored", "publishing"]),
    ("FailoverBegan",            [NO, NO, NO, NO, NO, NO, NO]),
    ("FailoverBegan, no spare",  [NO, NO, NO, NO, NO, NO, NO]),
    ("SpareChosen",              ["moving", "moving, fenced", NO, NO, NO, NO, NO]),
    ("SpareLost",                [NO, NO, "waiting", "waiting, fenced", "waiting", "waiting, fenced", "waiting"]),
    ("Fenced",                   ["waiting, fenced", "waiting, fenced", "moving, fenced", "moving, fenced", "moving, fenced, restored", "moving, fenced, restored", "publishing"]),
    ("Restored",                 [NO, NO, "moving, restored", "moving, fenced, restored", "moving, restored", "moving, fenced, restored", "publishing"]),
    ("Compared",                 [NO, NO, NO, NO, NO, NO, NO]),
    ("Publishing",               [NO, NO, NO, NO, NO, "publishing", "publishing"]),
    ("FailoverEnded on air",     [NO, NO, NO, NO, NO, NO, "on air on the spare"]),
    ("FailoverEnded moved",      [NO, NO, NO, "off air on the spare", NO, "off air on the spare", "off air on the spare"]),
    ("FailoverEnded recovered",  ["on air", NO, "on air", NO, "on air", NO, NO]),
    ("FailoverEnded returned",   ["off air", "off air", NO, NO, NO, NO, NO]),
    ("FailoverEnded abandoned",  ["off air", "off air", "off air", "off air on the spare", "off air", "off air on the spare", "off air on the spare"]),
    ("ReleaseBegan",             [NO, NO, NO, NO, NO, NO, NO]),
    ("ReleaseJoined",            [NO, NO, NO, NO, NO, NO, NO]),
    ("Archive asked",            [NO, NO, NO, NO, NO, NO, NO]),
    ("Archive ended",            [NO, NO, NO, NO, NO, NO, NO]),
];

/// What a failover asks for: spare, whether its studio can be talked to, fenced, restored, to be published.
#[rustfmt::skip]
pub const NEXT: [([bool; 5], &str); 13] = [
    ([false, false, false, false, true ], "choose a spare"),
    ([false, false, true,  false, true ], "choose a spare"),
    ([true,  false, false, false, true ], "await the target"),
    ([true,  false, true,  false, true ], "await the target"),
    ([true,  false, false, true,  true ], "await the target"),
    ([true,  false, true,  true,  true ], "await the target"),
    ([true,  true,  false, false, true ], "fence, restore"),
    ([true,  true,  true,  false, true ], "restore"),
    ([true,  true,  false, true,  true ], "fence"),
    ([true,  true,  true,  true,  true ], "publish"),
    ([true,  true,  true,  true,  false], "finish"),
    ([true,  true,  false, false, false], "fence, restore"),
    ([true,  true,  false, true,  false], "fence"),
];

/// Only to have the compiler ask for a row when an event is added.
fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Assigned { .. } => "Assigned",
        Event::Reassigned { .. } => "Reassigned",
        Event::StreamWanted { .. } => "StreamWanted",
        Event::WentOnAir { .. } => "WentOnAir",
        Event::WentOffAir { .. } => "WentOffAir",
        Event::Silenced { .. } => "Silenced",
        Event::Captured { .. } => "Captured",
        Event::SetUp { .. } => "SetUp",
        Event::Held { .. } => "Held",
        Event::FailoverBegan { .. } => "FailoverBegan",
        Event::SpareChosen { .. } => "SpareChosen",
        Event::SpareLost { .. } => "SpareLost",
        Event::Fenced { .. } => "Fenced",
        Event::Restored { .. } => "Restored",
        Event::Compared { .. } => "Compared",
        Event::Publishing { .. } => "Publishing",
        Event::FailoverEnded { .. } => "FailoverEnded",
        Event::ReleaseBegan { .. } => "ReleaseBegan",
        Event::ReleaseJoined { .. } => "ReleaseJoined",
        Event::Archive { .. } => "Archive",
        Event::Released { .. } => "Released",
    }
}

/// The event of this name for a show in `now`, whose VM is 1, whose spare is 2; 3 and 4 are free.
fn event_named(name: &str, now: u64) -> Event {
    let event = match name {
        "Assigned" => assigned(3, now + 1),
        "Reassigned" => Event::Reassigned {
            from: vm_id(1),
            vm: vm_id(3),
            epoch: Epoch(now + 1),
        },
        "StreamWanted" => Event::StreamWanted { wanted: true },
        "StreamWanted not" => Event::StreamWanted { wanted: false },
        "WentOnAir" => went_on_air(now),
        "WentOffAir" => Event::WentOffAir { epoch: Epoch(now) },
        "Silenced" => silenced(now),
        "Captured" => Event::Captured {
            studio: Arc::new(studio()),
        },
        "SetUp" => set_up(false),
        "SetUp, make" => set_up(true),
        "Held" => Event::Held { held: true },
        "FailoverBegan" => failover_began(now + 1, Some(3)),
        "FailoverBegan, no spare" => failover_began(now + 1, None),
        "SpareChosen" => Event::SpareChosen {
            epoch: Epoch(now),
            vm: vm_id(3),
        },
        "SpareLost" => spare_lost(now + 1, 2),
        "Fenced" => fenced(now),
        "Restored" => restored(now),
        "Compared" => compared(now, &[]),
        "Publishing" => publishing(now),
        "FailoverEnded on air" => ended(now, Ending::OnAir),
        "FailoverEnded moved" => ended(now, Ending::Moved),
        "FailoverEnded recovered" => ended(now, Ending::Recovered),
        "FailoverEnded returned" => ended(now, Ending::Returned),
        "FailoverEnded abandoned" => ended(now, Ending::Abandoned),
        "ReleaseBegan" => Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        "ReleaseJoined" => Event::ReleaseJoined {
            key: RequestKey::new("joined").unwrap(),
        },
        "Archive asked" => archive(now, archive_asked()),
        "Archive ended" => archive(
            now,
            archive::Event::Ended {
                ending: archive::Ending::Done { older: 0 },
            },
        ),
        other => panic!("no event is called {other}"),
    };
    assert!(name.starts_with(event_name(&event)), "{name}");
    event
}

pub fn after(state: &State, events: Vec<Event>) -> State {
    let facts: Vec<_> = events.into_iter().map(|event| of_show(1, event)).collect();
    let state = state.with(&facts, at(5)).unwrap();
    assert_eq!(violations(&state), Vec::<String>::new());
    state
}

pub fn pool(power: Power) -> State {
    let mut vms = vec![machine(1, power)];
    vms.extend((2..=4).map(|n| machine(n, Power::Ready)));
    state_of(vms, Vec::new())
}

fn released() -> Event {
    Event::Released {
        vm: vm_id(1),
        key: None,
    }
}

fn in_phase(phase: &str) -> State {
    let release = || Event::ReleaseBegan {
        stop_vm: false,
        key: None,
    };
    let (power, events) = match phase {
        "idle" => (Power::Ready, vec![assigned(1, 1), release(), released()]),
        "off air, VM coming up" => (Power::Booting, vec![assigned(1, 1)]),
        "off air, VM ready" => (Power::Ready, vec![assigned(1, 1)]),
        "on air" => (Power::Ready, vec![assigned(1, 1), went_on_air(1)]),
        "releasing" => (Power::Ready, vec![assigned(1, 1), went_on_air(1), release()]),
        other => panic!("no phase is called {other}"),
    };
    after(&pool(power), events)
}

pub fn in_step(step: &str) -> State {
    let mut events = vec![assigned(1, 1), went_on_air(1)];
    events.push(failover_began(
        2,
        if step.starts_with("waiting") {
            None
        } else {
            Some(2)
        },
    ));
    if step.contains("fenced") || step == "publishing" {
        events.push(fenced(2));
    }
    if step.contains("restored") || step == "publishing" {
        events.push(restored(2));
    }
    if step == "publishing" {
        events.push(publishing(2));
    }
    after(&pool(Power::Ready), events)
}

fn name_of(show: &Show) -> String {
    let spare = if show.vm == Some(vm_id(2)) {
        " on the spare"
    } else {
        ""
    };
    match &show.phase {
        Phase::Idle => "idle".into(),
        Phase::OffAir => format!("off air{spare}"),
        Phase::OnAir => format!("on air{spare}"),
        Phase::Releasing { .. } => "releasing".into(),
        Phase::FailingOver(failover) => step_of(failover),
    }
}

fn step_of(failover: &Failover) -> String {
    if failover.publishing_at.is_some() {
        return "publishing".into();
    }
    let mut name = if failover.to.is_some() {
        "moving"
    } else {
        "waiting"
    }
    .to_owned();
    if failover.fenced.is_some() {
        name.push_str(", fenced");
    }
    if failover.restored_at.is_some() {
        name.push_str(", restored");
    }
    name
}

fn check(state: &State, name: &str, expected: &str, whence: &str) {
    let before = state.show(&show_id(1)).unwrap();
    let event = of_show(1, event_named(name, before.epoch.0));
    match state.with(&[event], at(10)) {
        Ok(after) => {
            assert_eq!(
                name_of(after.show(&show_id(1)).unwrap()),
                expected,
                "{name} while {whence}"
            );
            assert_eq!(violations(&after), Vec::<String>::new(), "{name} while {whence}");
        }
        Err(why) => assert_eq!(NO, expected, "{name} while {whence}: {why}"),
    }
}

#[test]
fn every_event_in_every_phase_does_what_the_table_says() {
    for (name, row) in BY_PHASE {
        for (phase, expected) in PHASES.into_iter().zip(row) {
            check(&in_phase(phase), name, expected, phase);
        }
    }
}

#[test]
fn every_event_in_every_step_of_a_failover_does_what_the_table_says() {
    for (name, row) in BY_STEP {
        for (step, expected) in STEPS.into_iter().zip(row) {
            let state = in_step(step);
            assert_eq!(name_of(state.show(&show_id(1)).unwrap()), step);
            check(&state, name, expected, step);
        }
    }
}

#[test]
fn a_show_is_released_once_and_only_from_the_vm_it_has() {
    for phase in PHASES {
        let state = in_phase(phase);
        let silent = [of_show(1, silenced(1)), of_show(1, released())];
        assert_eq!(
            state.with(&silent, at(10)).is_ok(),
            phase == "releasing",
            "{phase}"
        );
    }
    for step in STEPS {
        assert!(
            in_step(step).with(&[of_show(1, released())], at(10)).is_err(),
            "{step}"
        );
    }
    let other = Event::Released {
        vm: vm_id(2),
        key: None,
    };
    assert!(in_phase("releasing").with(&[of_show(1, other)], at(10)).is_err());
}

#[test]
fn a_vm_that_may_publish_is_not_given_back() {
    let result = in_phase("releasing").with(&[of_show(1, released())], at(10));
    let expected = ShowRejected::NotSilent {
        show: show_id(1),
        vm: vm_id(1),
    };
    assert_eq!(result.unwrap_err(), expected.into());
    let never_told = vec![
        assigned(1, 1),
        Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        released(),
    ];
    after(&pool(Power::Ready), never_told);
}

/// A show stopped in the middle of a move keeps the VM that nobody could fence.
#[test]
fn a_vm_left_unfenced_by_an_abandoned_move_is_not_given_back_either() {
    let unfenced = [
        ended(2, Ending::Abandoned),
        Event::StreamWanted { wanted: false },
        Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
    ];
    let state = after(&in_step("moving"), unfenced.to_vec());
    assert!(state.with(&[of_show(1, released())], at(10)).is_err());
    after(&state, vec![silenced(2), released()]);
}

#[test]
fn an_event_for_another_epoch_is_refused_wherever_it_would_have_been_accepted() {
    let tables = BY_PHASE
        .iter()
        .flat_map(|(name, row)| {
            PHASES
                .iter()
                .zip(row)
                .map(|(phase, to)| (*name, in_phase(phase), *to))
        })
        .chain(BY_STEP.iter().flat_map(|(name, row)| {
            STEPS
                .iter()
                .zip(row)
                .map(|(step, to)| (*name, in_step(step), *to))
        }));
    let mut refused = 0;
    for (name, state, to) in tables {
        let present = state.show(&show_id(1)).unwrap().epoch.0;
        if to == NO || event_named(name, present) == event_named(name, present + 1) {
            continue;
        }
        for wrong in [present - 1, present + 1] {
            let event = of_show(1, event_named(name, wrong));
            assert!(
                state.with(&[event], at(10)).is_err(),
                "{name} in epoch {wrong} of {present}"
            );
            refused += 1;
        }
    }
    assert!(refused > 50, "only {refused} events with an epoch were tried");
}

#[test]
fn the_next_work_of_a_failover_is_what_the_table_says() {
    let state = in_step("moving");
    let base = state.show(&show_id(1)).unwrap().failover().unwrap().clone();
    let fence = in_step("moving, fenced")
        .show(&show_id(1))
        .unwrap()
        .failover()
        .unwrap()
        .fenced;
    for ([spare, ready, fenced, restored, publish], expected) in NEXT {
        let failover = Failover {
            to: spare.then(|| vm_id(2)),
            fenced: fence.filter(|_| fenced),
            restored_at: restored.then(|| at(3)),
            publish,
            ..base.clone()
        };
        let names: Vec<_> = failover.next(ready).into_iter().map(action_name).collect();
        assert_eq!(names.join(", "), expected);
    }
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::ChooseSpare => "choose a spare",
        Action::AwaitTarget => "await the target",
        Action::Fence => "fence",
        Action::Restore => "restore",
        Action::Publish => "publish",
        Action::Finish => "finish",
    }
}
