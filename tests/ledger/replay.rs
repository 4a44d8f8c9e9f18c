//! The journal replayed gives the state in memory, exactly; what does not replay is refused, with its place.

use std::error::Error;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use understudy::domain::event::Event;
use understudy::domain::failover::{Cause, Ending, Evidence, Fence};
use understudy::domain::ids::{Epoch, RequestKey, Seq, ShowId, VmId};
use understudy::domain::show;
use understudy::domain::state::State;
use understudy::domain::studio::{Audio, Input, Json, Studio};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{self, Health};
use understudy::infra::ledger::{CommitError, Defect, Ledger, MemoryJournal, OpenError, Options};

use crate::support::{NOW, Place, adopted, eventually, faulted, instance, vm_id};

const VMS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One event out of all there are, about one of few VMs and shows, so that a good part can happen.
fn any_event(random: &mut StdRng, state: &State) -> Event {
    let name = *VMS.choose(random).unwrap();
    let vm = vm_id(name);
    let show = ShowId::new(["north", "south"][random.random_range(0..2)]).unwrap();
    if random.random_bool(0.4) {
        return Event::vm(&vm, any_vm_event(random, name));
    }
    let epoch = state.show(&show).map_or(Epoch(0), |show| show.epoch);
    let event = any_show_event(
        random,
        vm,
        epoch,
        state.show(&show).and_then(|show| show.vm.clone()),
    );
    Event::show(&show, event)
}

fn any_vm_event(random: &mut StdRng, name: &str) -> vm::Event {
    let attempt = understudy::domain::ids::Attempt(random.random_range(0..9));
    let reason = format!("reason {}", random.random::<u16>());
    match random.random_range(0..12) {
        0 => vm::Event::Adopted {
            instance: instance(name),
        },
        1 => vm::Event::Starting { attempt },
        2 => vm::Event::Booting,
        3..6 => vm::Event::Ready,
        6 => vm::Event::Stopping { attempt },
        7 => vm::Event::Stopped,
        8 => vm::Event::HealthTurned {
            health: Health::Healthy,
        },
        9 => vm::Event::Faulted { reason },
        10 => vm::Event::FaultCleared,
        _ => vm::Event::Gone,
    }
}

fn any_show_event(random: &mut StdRng, vm: VmId, epoch: Epoch, held: Option<VmId>) -> show::Event {
    let key = Some(RequestKey::new(random.random::<u32>().to_string()).unwrap());
    match random.random_range(0..16) {
        0..3 => show::Event::Assigned {
            vm,
            epoch: epoch.next(),
            by: Some("somebody".to_owned()),
            key,
        },
        3 => show::Event::WentOnAir { epoch },
        4 => show::Event::StreamWanted { wanted: true },
        5 => show::Event::Captured {
            studio: Arc::new(any_studio(random)),
        },
        6..8 => show::Event::FailoverBegan {
            epoch: epoch.next(),
            cause: Cause::StudioLost,
            to: Some(vm),
            evidence: Evidence {
                suspected_at: NOW,
                decided_at: NOW,
                last_output_at: None,
                summary: "the studio is silent".to_owned(),
            },
        },
        8 => show::Event::Fenced {
            epoch,
            how: Fence::StreamStopped,
        },
        9 => show::Event::Restored {
            epoch,
            differences: vec!["volume of Mic".to_owned()],
            by: None,
        },
        10 => show::Event::Publishing { epoch },
        11 => show::Event::FailoverEnded {
            epoch,
            ending: Ending::OnAir,
        },
        12 => show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        13 => show::Event::Silenced {
            epoch,
            how: Fence::MachineOff,
        },
        14 => show::Event::Compared {
            epoch,
            differences: vec!["group \"Lower third\" is missing".to_owned()],
        },
        _ => show::Event::Released {
            vm: held.unwrap_or(vm),
            key,
        },
    }
}

/// With numbers of every size, since they are what JSON is worst at.
fn any_studio(random: &mut StdRng) -> Studio {
    let volume_mul = loop {
        let any = f64::from_bits(random.next_u64());
        if any.is_finite() {
            break any;
        }
    };
    let input = Input {
        name: "Mic \u{1F399} \"one\"".to_owned(),
        kind: "pulse_input_capture".to_owned(),
        settings: Json("{\"device\":\"\\u0000\"}".to_owned()),
        audio: Some(Audio {
            volume_mul,
            ..Audio::default()
        }),
        ..Input::default()
    };
    Studio {
        scene_collection: "Show".to_owned(),
        inputs: vec![input],
        program_scene: "Main".to_owned(),
        ..Studio::default()
    }
}

/// Commits random groups, most of which cannot happen, and returns what a fold of the others gives.
async fn walk(ledger: &Ledger, random: &mut StdRng, groups: usize) -> State {
    let mut expected = State::clone(&ledger.state());
    for _ in 0..groups {
        let at = Timestamp(random.random_range(NOW.0 - 1_000..NOW.0 + 1_000));
        let size = random.random_range(1..3);
        let group: Vec<_> = (0..size).map(|_| any_event(random, &expected)).collect();
        match (ledger.commit(at, group.clone()).await, expected.with(&group, at)) {
            (Ok(committed), Ok(state)) => {
                assert_eq!(*committed.state, state);
                expected = state;
            }
            (Err(CommitError::Rejected(told)), Err(rejected)) => assert_eq!(told, rejected),
            (answer, fold) => panic!("the ledger says {answer:?}, the fold {fold:?}"),
        }
    }
    expected
}

#[tokio::test]
async fn the_journal_replayed_is_the_state_in_memory() {
    for seed in 1..=4 {
        let place = Place::new();
        let ledger = place.open();
        let expected = walk(&ledger, &mut StdRng::seed_from_u64(seed), 1_500).await;
        assert!(
            expected.seq.0 > 150,
            "seed {seed}: too little could happen: {}",
            expected.seq
        );
        assert_eq!(*ledger.state(), expected, "seed {seed}");
        ledger.close().await.unwrap();
        assert_eq!(*place.open().state(), expected, "seed {seed}");
    }
}

#[tokio::test]
async fn a_snapshot_and_the_events_after_it_are_the_whole_journal() {
    for seed in 1..=4 {
        let place = Place::new();
        let often = Options {
            snapshot_every: 40,
            ..place.options()
        };
        let ledger = Ledger::open(often).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        walk(&ledger, &mut random, 700).await;
        eventually(|| ledger.counts().snapshots > 0).await;
        let expected = walk(&ledger, &mut random, 100).await;
        ledger.close().await.unwrap();
        let database = place.database();
        let snapshots: i64 = database
            .query_row("SELECT count(DISTINCT seq) FROM snapshot", [], |row| row.get(0))
            .unwrap();
        assert!((1..=3).contains(&snapshots), "{snapshots} snapshots are kept");
        let ledger = place.open();
        assert_eq!(*ledger.state(), expected, "seed {seed}: from the snapshot");
        ledger.close().await.unwrap();
        database.execute("DELETE FROM snapshot", []).unwrap();
        assert_eq!(
            *place.open().state(),
            expected,
            "seed {seed}: from the first event"
        );
    }
}

#[tokio::test]
async fn a_ledger_in_memory_keeps_the_same_promises() {
    let journal = MemoryJournal::default();
    let ledger = Ledger::open_in_memory(&journal).unwrap();
    let expected = walk(&ledger, &mut StdRng::seed_from_u64(7), 1_500).await;
    assert_eq!(*ledger.state(), expected);
    assert_eq!(journal.len() as u64, expected.seq.0);
    let again = Ledger::open_in_memory(&journal).unwrap();
    assert_eq!(*again.state(), expected);
    // The one before is cut off, as a killed process is.
    let cut_off = ledger.commit(NOW, vec![adopted("late")]).await;
    assert!(matches!(cut_off, Err(CommitError::Closed)), "{cut_off:?}");
    ledger.close().await.unwrap();
    again.commit(NOW, vec![adopted("late")]).await.unwrap();
    again.close().await.unwrap();
    assert!(matches!(
        again.commit(NOW, vec![adopted("x")]).await,
        Err(CommitError::Closed)
    ));
}

#[tokio::test]
async fn a_snapshot_of_many_parts_is_read_as_one() {
    let place = Place::new();
    let ledger = Ledger::open(Options {
        snapshot_every: 1_000,
        ..place.options()
    })
    .unwrap();
    let group = (0..2_000).map(|n| adopted(&n.to_string())).collect();
    ledger.commit(NOW, group).await.unwrap();
    // Commits go on between the parts.
    while ledger.counts().snapshots == 0 {
        ledger.commit(NOW, vec![faulted("0", "again")]).await.unwrap();
    }
    let state = ledger.state();
    ledger.close().await.unwrap();
    let parts = "SELECT count(*), max(parts), min(seq), max(seq) FROM snapshot";
    let (count, parts, first, last): (i64, i64, i64, i64) = place
        .database()
        .query_row(parts, [], |row| row.try_into())
        .unwrap();
    assert!(count == parts && parts > 1, "{count} of {parts}");
    assert_eq!((first, last), (2_000, 2_000));
    assert_eq!(*place.open().state(), *state);
}

/// A journal of 90 events with two snapshots, closed; and its state.
async fn with_two_snapshots(place: &Place) -> Arc<State> {
    let ledger = Ledger::open(Options {
        snapshot_every: 30,
        ..place.options()
    })
    .unwrap();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
    for snapshots in 1..=2 {
        for n in 0..40 {
            ledger
                .commit(NOW, vec![faulted("a", &n.to_string())])
                .await
                .unwrap();
        }
        eventually(|| ledger.counts().snapshots == snapshots).await;
    }
    let state = ledger
        .commit(NOW, vec![faulted("a", "last")])
        .await
        .unwrap()
        .state;
    ledger.close().await.unwrap();
    state
}

#[tokio::test]
async fn a_damaged_snapshot_is_passed_over_for_the_one_before_or_the_whole_journal() {
    let place = Place::new();
    let state = with_two_snapshots(&place).await;
    let damages = [
        "UPDATE snapshot SET state = x'7b7d' WHERE seq = (SELECT max(seq) FROM snapshot)",
        "UPDATE snapshot SET parts = 2 WHERE seq = (SELECT max(seq) FROM snapshot)",
        "UPDATE snapshot SET state = x'00'",
    ];
    for damage in damages {
        place.database().execute(damage, []).unwrap();
        let ledger = place.open();
        assert_eq!(*ledger.state(), *state, "{damage}");
        ledger.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_snapshot_does_not_take_the_place_of_a_good_one() {
    let place = Place::new();
    with_two_snapshots(&place).await;
    let newest = "SELECT max(seq) FROM snapshot";
    let damage = format!("UPDATE snapshot SET state = x'00' WHERE seq = ({newest})");
    place.database().execute(&damage, []).unwrap();
    let ledger = Ledger::open(Options {
        snapshot_every: 1,
        ..place.options()
    })
    .unwrap();
    let good: i64 = place
        .database()
        .query_row("SELECT min(seq) FROM snapshot", [], |row| row.get(0))
        .unwrap();
    let committed = ledger.commit(NOW, vec![faulted("a", "more")]).await.unwrap();
    eventually(|| ledger.counts().snapshots == 1).await;
    ledger.close().await.unwrap();
    let kept: Vec<i64> = place
        .database()
        .prepare("SELECT seq FROM snapshot ORDER BY seq")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(kept, [good, committed.seq.0.cast_signed()]);
}

/// What opening says about a journal of 20 events after `damage`.
async fn opened_after(damage: &str) -> OpenError {
    let place = Place::new();
    let ledger = place.open();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
    for n in 2..=20 {
        ledger
            .commit(NOW, vec![faulted("a", &n.to_string())])
            .await
            .unwrap();
    }
    ledger.close().await.unwrap();
    place.database().execute_batch(damage).unwrap();
    let error = Ledger::open(place.options()).expect_err("a damaged journal does not open");
    assert!(error.to_string().contains("journal.db"), "{error}");
    error
}

#[tokio::test]
async fn an_event_that_is_missing_is_named() {
    let error = opened_after("DELETE FROM journal WHERE seq = 12").await;
    let OpenError::Corrupt {
        seq,
        defect: Defect::Missing { next },
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*seq, *next), (Seq(12), Seq(13)));
    let text = format!("{error}: {}", error.source().unwrap());
    assert!(text.starts_with("event 12 of the journal "), "{text}");
    assert!(text.ends_with("it is missing; the next one is 13"), "{text}");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_named() {
    for event in ["{\"vm\":{\"vm\":\"vm-a\",\"event\":\"flew\"}}", "half a li", ""] {
        let error = opened_after(&format!("UPDATE journal SET event = '{event}' WHERE seq = 7")).await;
        let OpenError::Corrupt {
            seq: Seq(7),
            defect: Defect::Unreadable(_),
            ..
        } = error
        else {
            panic!("{error:?}");
        };
    }
}

#[tokio::test]
async fn an_event_that_cannot_follow_is_named() {
    let error = opened_after("UPDATE journal SET event = replace(event, 'vm-a', 'vm-b') WHERE seq = 9").await;
    let OpenError::Corrupt {
        seq: Seq(9),
        defect: Defect::Impossible(_),
        ..
    } = error
    else {
        panic!("{error:?}");
    };
}

/// A process that is killed while it stores a snapshot leaves some of its parts; the next one begins with the state that
/// this snapshot was to be of, and makes it again.
#[tokio::test]
async fn a_snapshot_that_a_killed_process_left_in_part_is_made_again() {
    let leave = [
        "DELETE FROM snapshot WHERE part > 0",
        "UPDATE snapshot SET state = x'00'",
        "DELETE FROM snapshot WHERE part > 0; UPDATE snapshot SET parts = 9",
    ];
    for left in leave {
        let place = Place::new();
        let often = || Options {
            snapshot_every: 1_000,
            ..place.options()
        };
        let ledger = Ledger::open(often()).unwrap();
        let group = (0..2_000).map(|n| adopted(&n.to_string())).collect();
        ledger.commit(NOW, group).await.unwrap();
        eventually(|| ledger.counts().snapshots == 1).await;
        let state = ledger.state();
        ledger.close().await.unwrap();
        place.database().execute_batch(left).unwrap();

        let ledger = Ledger::open(often()).unwrap();
        assert_eq!(*ledger.state(), *state, "{left}");
        // Nothing is written by this, but a snapshot is due.
        ledger.settled().await.unwrap();
        eventually(|| ledger.counts().snapshots == 1 || ledger.health().borrow().failure().is_some()).await;
        ledger.commit(NOW, vec![faulted("0", "later")]).await.unwrap();
        let state = ledger.state();
        ledger.close().await.unwrap();
        let whole = "SELECT count(*) = max(parts) AND count(*) > 1 FROM snapshot WHERE seq = 2000";
        let is_whole: bool = place.database().query_row(whole, [], |row| row.get(0)).unwrap();
        assert!(is_whole, "{left}");
        assert_eq!(*place.open().state(), *state, "{left}");
    }
}

#[tokio::test]
async fn a_journal_that_ends_before_its_snapshot_is_refused() {
    let place = Place::new();
    with_two_snapshots(&place).await;
    place
        .database()
        .execute("DELETE FROM journal WHERE seq > 10", [])
        .unwrap();
    let error = Ledger::open(place.options()).unwrap_err();
    let OpenError::Corrupt {
        seq: Seq(11),
        defect: Defect::BehindSnapshot,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
}

#[tokio::test]
async fn a_state_that_must_not_be_is_refused_with_the_reason() {
    let place = Place::new();
    with_two_snapshots(&place).await;
    // A VM held by a show that does not exist, as only a damaged snapshot can say.
    let held = "{\"assigned\":{\"show\":\"nobody\",\"epoch\":1}}";
    let damage = format!(
        "UPDATE snapshot SET state = CAST(replace(CAST(state AS TEXT), '\"free\"', '{held}') AS BLOB)"
    );
    assert_eq!(place.database().execute(&damage, []).unwrap(), 2);
    let error = Ledger::open(place.options()).unwrap_err();
    let OpenError::Broken { violation, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(
        violation.contains("vm-a") && violation.contains("nobody"),
        "{violation}"
    );
    assert!(error.to_string().contains(violation.as_str()));
}
