//! What a ledger promises, whatever its journal is in; and a disk of memory that is slow, or whose process dies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use understudy::domain::ids::Seq;
use understudy::domain::state::Rejected;
use understudy::infra::ledger::{CommitError, Death, Ledger, MemoryJournal};

use crate::support::{NOW, Place, adopted, faulted, ready, vm_id};

/// Where a journal can be.
enum Disk {
    File(Place),
    Memory(MemoryJournal),
}

impl Disk {
    fn both() -> [Self; 2] {
        [Self::File(Place::new()), Self::Memory(MemoryJournal::default())]
    }

    fn open(&self) -> Ledger {
        match self {
            Self::File(place) => place.open(),
            Self::Memory(journal) => Ledger::open_in_memory(journal).expect("the journal opens"),
        }
    }
}

#[tokio::test]
async fn a_group_is_numbered_folded_and_published_before_its_commit_returns() {
    for disk in Disk::both() {
        let ledger = disk.open();
        let mut batches = ledger.subscribe();
        let group = vec![adopted("a"), adopted("b"), ready("a")];
        let committed = ledger.commit(NOW, group.clone()).await.unwrap();
        assert_eq!(committed.seq, Seq(3));
        assert!(Arc::ptr_eq(&committed.state, &ledger.state()));
        let batch = batches.try_recv().unwrap();
        let events: Vec<_> = batch.entries.iter().map(|entry| entry.event.clone()).collect();
        assert_eq!(events, group);
        let numbers: Vec<_> = batch.entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, [Seq(1), Seq(2), Seq(3)]);
    }
}

#[tokio::test]
async fn a_group_with_one_impossible_event_is_refused_as_a_whole_and_leaves_no_trace() {
    for disk in Disk::both() {
        let ledger = disk.open();
        ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
        let before = ledger.state();
        let refused = ledger.commit(NOW, vec![adopted("b"), adopted("a")]).await;
        let Err(CommitError::Rejected(Rejected::DuplicateVm(vm))) = refused else {
            panic!("expected a rejection, got {refused:?}");
        };
        assert_eq!(vm, vm_id("a"));
        assert!(Arc::ptr_eq(&before, &ledger.state()));
        assert_eq!(ledger.counts().rejected, 1);
        ledger.close().await.unwrap();
        assert_eq!(*disk.open().state(), *before);
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_the_journal_is_opened_again() {
    for disk in Disk::both() {
        let ledger = disk.open();
        ledger
            .commit(NOW, vec![adopted("a"), adopted("b")])
            .await
            .unwrap();
        ledger.commit(NOW, vec![faulted("a", "smoke")]).await.unwrap();
        let state = ledger.state();
        ledger.close().await.unwrap();
        let refused = ledger.commit(NOW, vec![adopted("c")]).await;
        assert!(matches!(refused, Err(CommitError::Closed)), "{refused:?}");
        assert!(matches!(ledger.settled().await, Err(CommitError::Closed)));
        let again = disk.open();
        assert_eq!(*again.state(), *state);
        assert_eq!(
            again.commit(NOW, vec![ready("b")]).await.unwrap().seq,
            state.seq.next()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_writes_in_turn_and_settles_after_what_was_handed_in() {
    let journal = MemoryJournal::default();
    let ledger = Ledger::open_in_memory(&journal).unwrap();
    journal.slow_down(Duration::from_secs(2));
    let began = tokio::time::Instant::now();
    let first = ledger.commit(NOW, vec![adopted("a")]);
    let second = ledger.commit(NOW, vec![adopted("b")]);
    let settled = async {
        ledger.settled().await.unwrap();
        (began.elapsed(), ledger.state().vm_count())
    };
    let (first, second, (after, known)) = tokio::join!(first, second, settled);
    assert_eq!((first.unwrap().seq, second.unwrap().seq), (Seq(1), Seq(2)));
    assert_eq!((after, known), (Duration::from_secs(4), 2));
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_disk_has_begun_it_finishes_and_what_waits_too_long_it_never_begins() {
    let journal = MemoryJournal::default();
    let ledger = Ledger::open_in_memory(&journal).unwrap();
    let mut batches = ledger.subscribe();
    journal.slow_down(Duration::from_secs(60));
    let begun = ledger.commit(NOW, vec![adopted("begun")]);
    let waiting = ledger.commit(NOW, vec![adopted("waiting")]);
    for answer in <[_; 2]>::from(tokio::join!(begun, waiting)) {
        assert!(matches!(answer, Err(CommitError::TimedOut(_))), "{answer:?}");
    }
    assert!(matches!(ledger.settled().await, Err(CommitError::TimedOut(_))));
    assert_eq!(ledger.state().vm_count(), 0);
    batches.recv().await.unwrap();
    journal.slow_down(Duration::ZERO);
    ledger.settled().await.unwrap();
    let state = ledger.state();
    let names: Vec<_> = state.vms().map(|vm| vm.id.clone()).collect();
    assert_eq!(names, [vm_id("begun")]);
    assert_eq!(journal.replay().unwrap(), *state);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_over_a_commit_tells_nobody_whether_it_is_on_disk() {
    for (death, there) in [(Death::BeforeTheSync, 1), (Death::AfterTheSync, 2)] {
        let journal = MemoryJournal::default();
        let ledger = Ledger::open_in_memory(&journal).unwrap();
        ledger.commit(NOW, vec![adopted("before")]).await.unwrap();
        let mut batches = ledger.subscribe();
        let mut deaths = journal.deaths();
        journal.die_at_next_commit(death);
        let mut over_it = Box::pin(ledger.commit(NOW, vec![adopted("over it")]));
        assert!(poll_immediate(over_it.as_mut()).await.is_none());
        deaths.changed().await.unwrap();
        assert_eq!(*deaths.borrow(), 1);
        // Were it alive, it would have heard nothing until its deadline; and so with all that comes later.
        assert!(matches!(over_it.await, Err(CommitError::TimedOut(_))));
        let later = ledger.commit(NOW, vec![adopted("later")]).await;
        assert!(matches!(later, Err(CommitError::TimedOut(_))), "{later:?}");
        assert!(matches!(ledger.settled().await, Err(CommitError::TimedOut(_))));
        assert!(batches.try_recv().is_err());
        assert_eq!(ledger.state().vm_count(), 1);
        assert_eq!(journal.len(), there, "{death:?}");
        let next = Ledger::open_in_memory(&journal).unwrap();
        assert_eq!(next.state().vm_count(), there, "{death:?}");
        next.commit(NOW, vec![adopted("next")]).await.unwrap();
    }
}
