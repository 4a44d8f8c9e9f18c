//! Committing: what is answered, what is seen, by whom and when.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use understudy::domain::event::Event;
use understudy::domain::ids::{Epoch, Seq, ShowId};
use understudy::domain::show;
use understudy::domain::state::Rejected;
use understudy::domain::studio::{Audio, Input, Json, Studio};
use understudy::domain::time::Timestamp;
use understudy::infra::ledger::{CommitError, FatalError, Health, Ledger, Options, StorageError};

use crate::support::{NOW, PATIENCE, Place, adopted, faulted, ready, vm_id};

/// Of ledgers that are kept from writing.
const DEADLINE: Duration = Duration::from_millis(50);

/// Keeps the writer from writing, as a database shell with an open transaction does.
struct Obstacle(rusqlite::Connection);

impl Obstacle {
    fn in_the_way_of(place: &Place) -> Self {
        let database = place.database();
        database
            .execute_batch("BEGIN IMMEDIATE")
            .expect("the file is free");
        Self(database)
    }

    fn remove(self) {
        self.0.execute_batch("ROLLBACK").expect("the transaction is open");
    }
}

#[tokio::test]
async fn a_commit_is_numbered_folded_and_published_before_it_returns() {
    let place = Place::new();
    let ledger = place.open();
    let mut batches = ledger.subscribe();
    let group = vec![adopted("a"), adopted("b"), ready("a")];
    let committed = ledger.commit(NOW, group.clone()).await.unwrap();
    assert_eq!(committed.seq, Seq(3));
    assert_eq!(committed.state.seq, Seq(3));
    assert!(Arc::ptr_eq(&committed.state, &ledger.state()));
    let batch = batches.try_recv().unwrap();
    assert!(Arc::ptr_eq(&batch.state, &ledger.state()));
    let events: Vec<_> = batch.entries.iter().map(|entry| entry.event.clone()).collect();
    assert_eq!(events, group);
    let places: Vec<_> = batch.entries.iter().map(|entry| (entry.seq, entry.at)).collect();
    assert_eq!(places, [(Seq(1), NOW), (Seq(2), NOW), (Seq(3), NOW)]);
}

#[tokio::test]
async fn an_empty_group_commits_nothing_and_returns_the_present_state() {
    let place = Place::new();
    for ledger in [place.open(), Ledger::in_memory()] {
        ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
        let before = ledger.counts();
        let committed = ledger.commit(NOW, Vec::new()).await.unwrap();
        assert_eq!(committed.seq, Seq(1));
        assert!(Arc::ptr_eq(&committed.state, &ledger.state()));
        assert_eq!(ledger.counts(), before);
    }
}

#[tokio::test]
async fn time_may_go_backwards_and_is_stored_as_given() {
    let place = Place::new();
    let ledger = place.open();
    let mut batches = ledger.subscribe();
    for at in [Timestamp(9), Timestamp(5), Timestamp(u64::MAX)] {
        ledger
            .commit(at, vec![adopted(&format!("at-{}", at.0))])
            .await
            .unwrap();
        assert_eq!(batches.try_recv().unwrap().entries[0].at, at);
    }
    let state = ledger.state();
    ledger.close().await.unwrap();
    assert_eq!(*place.open().state(), *state);
}

#[tokio::test]
async fn a_rejected_group_changes_nothing_and_the_others_go_on() {
    let place = Place::new();
    let ledger = place.open();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
    let obstacle = Obstacle::in_the_way_of(&place);
    let mut held = Box::pin(ledger.commit(NOW, vec![adopted("first")]));
    assert!(poll_immediate(held.as_mut()).await.is_none());
    // The second event of the second group cannot happen: the whole group falls, alone.
    let commits = vec![
        ledger.commit(NOW, vec![adopted("b")]),
        ledger.commit(NOW, vec![adopted("c"), adopted("a")]),
        ledger.commit(NOW, vec![adopted("d")]),
        ledger.commit(NOW, vec![adopted("b")]),
    ];
    let mut all = Box::pin(join_all(commits));
    assert!(poll_immediate(all.as_mut()).await.is_none());
    obstacle.remove();
    held.await.unwrap();
    let answers = all.await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let refused = [(1, "a"), (3, "b")];
    for (answer, vm) in refused {
        match &answers[answer] {
            Err(CommitError::Rejected(Rejected::DuplicateVm(id))) => assert_eq!(*id, vm_id(vm)),
            other => panic!("expected a rejection, got {other:?}"),
        }
    }
    let names: Vec<_> = ledger.state().vms().map(|vm| vm.id.clone()).collect();
    assert_eq!(names, ["a", "b", "d", "first"].map(vm_id));
    assert_eq!(ledger.counts().rejected, 2);
}

#[tokio::test]
async fn whoever_is_rejected_finds_the_reason_in_the_state() {
    let place = Place::new();
    let ledger = place.open();
    let obstacle = Obstacle::in_the_way_of(&place);
    let mut held = Box::pin(ledger.commit(NOW, vec![adopted("first")]));
    assert!(poll_immediate(held.as_mut()).await.is_none());
    let mut winner = Box::pin(ledger.commit(NOW, vec![adopted("a")]));
    let mut loser = Box::pin(ledger.commit(NOW, vec![adopted("a")]));
    assert!(poll_immediate(winner.as_mut()).await.is_none());
    assert!(poll_immediate(loser.as_mut()).await.is_none());
    obstacle.remove();
    assert!(matches!(loser.await, Err(CommitError::Rejected(_))));
    assert!(ledger.state().vm(&vm_id("a")).is_some());
    winner.await.unwrap();
    held.await.unwrap();
}

#[tokio::test]
async fn commits_that_wait_together_share_a_transaction() {
    let place = Place::new();
    let ledger = place.open();
    let obstacle = Obstacle::in_the_way_of(&place);
    let commits = (0..256).map(|n| ledger.commit(NOW, vec![adopted(&n.to_string())]));
    let mut all = Box::pin(join_all(commits));
    assert!(poll_immediate(all.as_mut()).await.is_none());
    obstacle.remove();
    let answers = all.await;
    assert!(answers.iter().all(Result::is_ok));
    let counts = ledger.counts();
    assert_eq!((counts.commits, counts.events), (256, 256));
    // The writer may have gone ahead with whatever was there when it looked; the rest went together.
    assert!(counts.transactions <= 3, "{counts:?}");
}

#[tokio::test]
async fn a_transaction_carries_no_more_commits_than_it_may() {
    let place = Place::new();
    let ledger = Ledger::open(Options {
        batch_max: 10,
        ..place.options()
    })
    .unwrap();
    let mut batches = ledger.subscribe();
    let obstacle = Obstacle::in_the_way_of(&place);
    let commits = (0..100).map(|n| ledger.commit(NOW, vec![adopted(&n.to_string())]));
    let mut all = Box::pin(join_all(commits));
    assert!(poll_immediate(all.as_mut()).await.is_none());
    obstacle.remove();
    assert!(all.await.iter().all(Result::is_ok));
    while let Ok(batch) = batches.try_recv() {
        assert!(batch.entries.len() <= 10);
    }
    assert!(ledger.counts().transactions >= 10);
}

#[tokio::test]
async fn batches_come_in_order_and_without_gaps() {
    let place = Place::new();
    let ledger = place.open();
    let mut batches = ledger.subscribe();
    let writers = (0..16).map(|writer| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for n in 0..8 {
                let group = vec![
                    adopted(&format!("{writer}-{n}-x")),
                    adopted(&format!("{writer}-{n}-y")),
                ];
                ledger.commit(NOW, group).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut seq = Seq(0);
    while let Ok(batch) = batches.try_recv() {
        for entry in &batch.entries {
            assert_eq!(entry.seq, seq.next());
            seq = entry.seq;
        }
        assert_eq!(batch.state.seq, seq);
    }
    assert_eq!(seq, Seq(256));
}

#[tokio::test]
async fn a_subscriber_that_lags_is_told_and_finds_everything_in_the_state() {
    let ledger = Ledger::in_memory();
    let mut batches = ledger.subscribe();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
    for n in 0..2_000 {
        ledger
            .commit(NOW, vec![faulted("a", &n.to_string())])
            .await
            .unwrap();
    }
    assert!(matches!(batches.recv().await, Err(RecvError::Lagged(_))));
    let state = ledger.state();
    assert_eq!(state.seq, Seq(2_001));
    // From there on it may follow again: what it missed is in the state it read.
    let mut last = Seq(0);
    while let Ok(batch) = batches.try_recv() {
        last = batch.state.seq;
    }
    assert_eq!(last, state.seq);
}

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_empties_again() {
    let place = Place::new();
    let ledger = Ledger::open(Options {
        queue_max: 4,
        ..place.options()
    })
    .unwrap();
    let obstacle = Obstacle::in_the_way_of(&place);
    let mut waiting = Vec::new();
    let refusal = loop {
        let name = waiting.len().to_string();
        let mut commit = Box::pin(ledger.commit(NOW, vec![adopted(&name)]));
        match poll_immediate(commit.as_mut()).await {
            Some(answer) => break answer,
            None => waiting.push(commit),
        }
        assert!(waiting.len() < 20, "the queue is not bounded");
    };
    assert!(matches!(refusal, Err(CommitError::QueueFull)), "{refusal:?}");
    assert!(waiting.len() >= 4);
    obstacle.remove();
    for commit in waiting {
        commit.await.unwrap();
    }
    ledger.commit(NOW, vec![adopted("late")]).await.unwrap();
}

#[tokio::test]
async fn a_commit_past_its_deadline_is_told_that_its_outcome_is_unknown() {
    let place = Place::new();
    let ledger = Ledger::open(Options {
        commit_deadline: DEADLINE,
        ..place.options()
    })
    .unwrap();
    let mut batches = ledger.subscribe();
    let obstacle = Obstacle::in_the_way_of(&place);
    let answer = ledger.commit(NOW, vec![adopted("a")]).await;
    assert!(
        matches!(answer, Err(CommitError::TimedOut(limit)) if limit == DEADLINE),
        "{answer:?}"
    );
    assert!(ledger.state().vm(&vm_id("a")).is_none());
    obstacle.remove();
    // The writer had begun with it, so here it does become durable.
    timeout(PATIENCE, batches.recv()).await.unwrap().unwrap();
    assert!(ledger.state().vm(&vm_id("a")).is_some());
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_any_more_is_not_begun() {
    let place = Place::new();
    let ledger = Ledger::open(Options {
        queue_max: 1,
        batch_max: 1,
        ..place.options()
    })
    .unwrap();
    let obstacle = Obstacle::in_the_way_of(&place);
    let mut begun = Box::pin(ledger.commit(NOW, vec![adopted("begun")]));
    assert!(poll_immediate(begun.as_mut()).await.is_none());
    // There is room for the next one only when the writer has begun with the first.
    let mut given_up = Box::pin(ledger.commit(NOW, vec![adopted("given-up")]));
    while let Some(answer) = poll_immediate(given_up.as_mut()).await {
        assert!(matches!(answer, Err(CommitError::QueueFull)), "{answer:?}");
        given_up = Box::pin(ledger.commit(NOW, vec![adopted("given-up")]));
        std::thread::yield_now();
    }
    drop(given_up);
    obstacle.remove();
    begun.await.unwrap();
    // An answer to a later one shows that the writer has passed it.
    while let Err(error) = ledger.commit(NOW, vec![adopted("later")]).await {
        assert!(matches!(error, CommitError::QueueFull), "{error:?}");
        tokio::task::yield_now().await;
    }
    let names: Vec<_> = ledger.state().vms().map(|vm| vm.id.clone()).collect();
    assert_eq!(names, ["begun", "later"].map(vm_id));
}

#[tokio::test]
async fn a_ledger_has_settled_when_everything_handed_in_before_is_decided() {
    let place = Place::new();
    let ledger = place.open();
    ledger.settled().await.unwrap();
    let obstacle = Obstacle::in_the_way_of(&place);
    let mut taken = Box::pin(ledger.commit(NOW, vec![adopted("a")]));
    assert!(poll_immediate(taken.as_mut()).await.is_none());
    let mut refused = Box::pin(ledger.commit(NOW, vec![adopted("a")]));
    assert!(poll_immediate(refused.as_mut()).await.is_none());
    let mut settled = Box::pin(ledger.settled());
    assert!(poll_immediate(settled.as_mut()).await.is_none());
    obstacle.remove();
    settled.await.unwrap();
    assert!(ledger.state().vm(&vm_id("a")).is_some());
    assert!(matches!(poll_immediate(taken).await, Some(Ok(_))));
    assert!(matches!(
        poll_immediate(refused).await,
        Some(Err(CommitError::Rejected(_)))
    ));
    // Nothing was written for it.
    assert_eq!(ledger.counts().transactions, 1);
}

#[tokio::test]
async fn waiting_for_a_ledger_to_settle_ends_when_it_is_slow_or_closed() {
    let place = Place::new();
    let ledger = Ledger::open(Options {
        commit_deadline: DEADLINE,
        ..place.options()
    })
    .unwrap();
    let obstacle = Obstacle::in_the_way_of(&place);
    let mut held = Box::pin(ledger.commit(NOW, vec![adopted("a")]));
    assert!(poll_immediate(held.as_mut()).await.is_none());
    let answer = ledger.settled().await;
    assert!(
        matches!(answer, Err(CommitError::TimedOut(limit)) if limit == DEADLINE),
        "{answer:?}"
    );
    obstacle.remove();
    ledger.close().await.unwrap();
    let answer = ledger.settled().await;
    assert!(matches!(answer, Err(CommitError::Closed)), "{answer:?}");
    Ledger::in_memory().settled().await.unwrap();
}

#[tokio::test]
async fn a_journal_that_stays_locked_by_another_program_stops_the_ledger() {
    let place = Place::new();
    let ledger = place.open();
    ledger.commit(NOW, vec![adopted("before")]).await.unwrap();
    let mut health = ledger.health();
    assert!(matches!(*health.borrow_and_update(), Health::Ok));
    let obstacle = Obstacle::in_the_way_of(&place);
    let answer = ledger.commit(NOW, vec![adopted("a")]).await;
    obstacle.remove();
    let Err(CommitError::Failed(error)) = answer else {
        panic!("expected a failure, got {answer:?}");
    };
    assert!(
        matches!(&*error, FatalError::Storage(StorageError::Busy { .. })),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("journal.db is locked by another program"),
        "{error}"
    );
    // For ever, for everybody, even with the obstacle gone; and nothing of it is visible.
    timeout(PATIENCE, health.changed()).await.unwrap().unwrap();
    assert!(health.borrow().failure().is_some());
    let later = ledger.commit(NOW, vec![adopted("b")]).await;
    assert!(matches!(later, Err(CommitError::Failed(_))), "{later:?}");
    assert!(matches!(ledger.settled().await, Err(CommitError::Failed(_))));
    assert_eq!(ledger.state().seq, Seq(1));
    assert!(ledger.close().await.is_err());
    // A new start finds what was acknowledged.
    assert!(place.open().state().vm(&vm_id("before")).is_some());
}

#[tokio::test]
async fn closing_finishes_what_is_in_flight_and_refuses_the_rest() {
    let place = Place::new();
    let ledger = place.open();
    let obstacle = Obstacle::in_the_way_of(&place);
    let commits = (0..20).map(|n| ledger.commit(NOW, vec![adopted(&n.to_string())]));
    let mut in_flight = Box::pin(join_all(commits));
    assert!(poll_immediate(in_flight.as_mut()).await.is_none());
    let mut close = Box::pin(ledger.close());
    assert!(poll_immediate(close.as_mut()).await.is_none());
    let mut late = Box::pin(ledger.commit(NOW, vec![adopted("late")]));
    assert!(poll_immediate(late.as_mut()).await.is_none());
    obstacle.remove();
    assert!(in_flight.await.iter().all(Result::is_ok));
    assert!(matches!(late.await, Err(CommitError::Closed)));
    close.await.unwrap();
    ledger.close().await.unwrap();
    assert!(matches!(
        ledger.commit(NOW, vec![adopted("z")]).await,
        Err(CommitError::Closed)
    ));
    // The log is in the file and the lock is free.
    assert!(!place.folder().join("journal.db-wal").exists());
    assert_eq!(place.open().state().vm_count(), 20);
}

#[tokio::test]
async fn a_number_that_json_cannot_hold_never_reaches_the_journal() {
    let place = Place::new();
    for ledger in [place.open(), Ledger::in_memory()] {
        let show = ShowId::new("final").unwrap();
        let (epoch, vm) = (Epoch(1), vm_id("a"));
        let (by, key) = (None, None);
        let assigned = show::Event::Assigned { vm, epoch, by, key };
        let group = vec![adopted("a"), Event::show(&show, assigned)];
        ledger.commit(NOW, group).await.unwrap();
        let captured = |volume_mul| {
            let input = Input {
                name: "Mic".to_owned(),
                kind: "pulse_input_capture".to_owned(),
                settings: Json::default(),
                audio: Some(Audio {
                    volume_mul,
                    ..Audio::default()
                }),
                ..Input::default()
            };
            let studio = Studio {
                scene_collection: "Show".to_owned(),
                inputs: vec![input],
                program_scene: "Main".to_owned(),
                ..Studio::default()
            };
            let studio = Arc::new(studio);
            Event::show(&show, show::Event::Captured { studio })
        };
        for volume_mul in [f64::NAN, f64::INFINITY] {
            let answer = ledger.commit(NOW, vec![ready("a"), captured(volume_mul)]).await;
            assert!(
                matches!(answer, Err(CommitError::NotStorable { index: 1 })),
                "{answer:?}"
            );
        }
        // One that a careless parser gets wrong in the last bit.
        ledger
            .commit(NOW, vec![captured(0.100_000_000_000_000_02)])
            .await
            .unwrap();
        assert_eq!(ledger.state().seq, Seq(3));
    }
}
