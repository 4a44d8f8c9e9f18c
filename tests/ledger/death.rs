//! Processes killed and disks that fail in the middle of commits: what was acknowledged is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use understudy::domain::event::Event;
use understudy::domain::ids::VmId;
use understudy::domain::state::State;
use understudy::infra::ledger::{
    CommitError, FatalError, Ledger, MemoryJournal, OpenError, Options, StorageError,
};

use crate::support::{NOW, Place, Second, adopted, again, again_after, as_child, role, say};

/// Kills of the process. The instants differ by how much was acknowledged before.
const KILLS: usize = 20;
/// Tasks that commit at the same time.
const WRITERS: usize = 8;

/// Commits pairs of VMs from many tasks and says the name of each pair that was acknowledged, until killed.
fn commit_until_killed(journal: PathBuf) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ledger = Ledger::open(Options {
            // Often, so that kills meet snapshots too.
            snapshot_every: 50,
            ..Options::new(journal)
        })
        .unwrap();
        let writers = (0..WRITERS).map(|writer| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let name = format!("{}-{writer}-{n}", std::process::id());
                    ledger.commit(NOW, pair(&name)).await.unwrap();
                    say(&name);
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

fn pair(name: &str) -> Vec<Event> {
    vec![adopted(&format!("{name}-x")), adopted(&format!("{name}-y"))]
}

/// The pairs in a state, none of which may be half there.
fn pairs(state: &State) -> BTreeSet<String> {
    let strip = |vm: &VmId, half: &str| {
        vm.as_str()
            .strip_prefix("vm-")?
            .strip_suffix(half)
            .map(str::to_owned)
    };
    let all = |half| {
        state
            .vms()
            .filter_map(|vm| strip(&vm.id, half))
            .collect::<BTreeSet<_>>()
    };
    let (x, y) = (all("-x"), all("-y"));
    assert_eq!(x, y, "half a group is in the state");
    x
}

#[tokio::test]
async fn every_acknowledged_commit_survives_kill_9() {
    if let Some(journal) = role() {
        return tokio::task::spawn_blocking(|| commit_until_killed(journal))
            .await
            .unwrap();
    }
    let place = Place::new();
    let program = std::env::current_exe().unwrap();
    let mut acknowledged = BTreeSet::new();
    for kill in 0..KILLS {
        let test = "death::every_acknowledged_commit_survives_kill_9";
        let mut second = Second::start(again(&program, test, &place.journal()));
        let before = acknowledged.len();
        for _ in 0..1 + 7 * kill {
            acknowledged.insert(second.hear().expect("it goes on until it is killed"));
        }
        second.kill();
        // Acknowledged before its death, heard after it.
        acknowledged.extend(std::iter::from_fn(|| second.hear()));
        assert!(acknowledged.len() > before);
        // Every other process finds the file as the killed one left it.
        if kill % 2 == 0 {
            continue;
        }
        let ledger = place.open();
        let there = pairs(&ledger.state());
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(
            lost.is_empty(),
            "kill {kill}: {lost:?} were acknowledged and are lost"
        );
        // Every event in the journal is one of these pairs': nothing is there twice.
        assert_eq!(ledger.state().seq.0, 2 * there.len() as u64);
        ledger.close().await.unwrap();
    }
}

/// Commits until the disk fails, checks that nothing but the acknowledged is visible then, and that a new
/// start finds all of it. Returns what the failure said.
async fn commit_until_failure(open: impl Fn() -> Ledger, make_room: impl FnOnce()) -> String {
    let ledger = open();
    let health = ledger.health();
    let mut acknowledged = 0;
    let error = loop {
        let name = format!("{acknowledged}-{}", "x".repeat(100));
        match ledger.commit(NOW, pair(&name)).await {
            Ok(_) => acknowledged += 1,
            Err(CommitError::Failed(error)) => break error,
            Err(other) => panic!("expected a failure of the disk, got {other:?}"),
        }
        assert!(acknowledged < 100_000, "the disk never fails");
    };
    assert!(matches!(&*error, FatalError::Storage(_)), "{error:?}");
    assert!(health.borrow().failure().is_some());
    assert_eq!(pairs(&ledger.state()).len(), acknowledged);
    let later = ledger.commit(NOW, vec![adopted("later")]).await;
    assert!(matches!(later, Err(CommitError::Failed(_))), "{later:?}");
    assert!(ledger.close().await.is_err());
    // As when somebody has cleaned up.
    make_room();
    let ledger = open();
    let there = pairs(&ledger.state()).len();
    assert!(
        there >= acknowledged && acknowledged > 0,
        "{there} of {acknowledged} are there"
    );
    error.to_string()
}

async fn commit_until_file_fails(journal: &Path) -> String {
    let open = || Ledger::open(Options::new(journal)).unwrap();
    let make_room = || {
        // There is none where files are limited instead.
        let _ = std::fs::remove_file(ballast(journal));
    };
    commit_until_failure(open, make_room).await
}

#[tokio::test]
async fn a_full_disk_of_memory_stops_the_ledger_and_loses_nothing() {
    let journal = MemoryJournal::default();
    journal.leave_room_for(41);
    let open = || Ledger::open_in_memory(&journal).unwrap();
    let text = commit_until_failure(open, || journal.free()).await;
    assert!(
        text.contains("the disk is full: ") && text.contains("space"),
        "{text}"
    );
    // A group is there as a whole or not at all.
    assert_eq!(journal.len(), 40);
}

/// Something that can be removed from a full disk.
fn ballast(journal: &Path) -> PathBuf {
    journal.with_file_name("ballast")
}

/// A shell's way to let every file grow to 400 blocks of 512 or 1024 bytes and no further: writes beyond fail
/// instead of killing.
const LIMIT_FILES: &str = "trap '' XFSZ; ulimit -f 400";

/// Runs this test again with a small disk mounted on the journal's folder, in a mount namespace: gone with the
/// process, and nothing for which one must be root. `None` where the system forbids namespaces, as within some
/// containers.
fn again_on_small_disk(test: &str, place: &Place) -> Option<Command> {
    let on_small_disk = || {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"";
        command.args(["--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(place.folder());
        command
    };
    let probe = on_small_disk().arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = on_small_disk();
    command.arg(std::env::current_exe().unwrap());
    as_child(&mut command, test, &place.journal());
    Some(command)
}

#[tokio::test]
async fn a_full_disk_stops_the_ledger_and_loses_nothing() {
    if let Some(journal) = role() {
        std::fs::write(ballast(&journal), vec![0; 100 * 1024]).unwrap();
        say(&commit_until_file_fails(&journal).await);
        return;
    }
    let place = Place::new();
    let test = "death::a_full_disk_stops_the_ledger_and_loses_nothing";
    // Without a disk to fill, a limit on the file: the same to the ledger but for the sentence.
    let (command, sentence) = match again_on_small_disk(test, &place) {
        Some(command) => (command, "the disk is full: "),
        None => (
            again_after(LIMIT_FILES, test, &place.journal()),
            "journal.db could not be",
        ),
    };
    let heard = Second::start(command).hear_out();
    let [text] = &heard[..] else { panic!("{heard:?}") };
    assert!(text.contains(sentence) && text.contains("space"), "{text}");
}

#[tokio::test]
async fn a_journal_is_not_begun_on_a_full_disk() {
    if let Some(journal) = role() {
        let filled = std::fs::write(ballast(&journal), vec![0; 4 * 1024 * 1024]);
        assert!(filled.is_err(), "there is more room than there should be");
        match Ledger::open(Options::new(&journal)) {
            Err(OpenError::Storage(error @ StorageError::DiskFull { .. })) => say(&error.to_string()),
            other => panic!("expected a full disk, got {other:?}"),
        }
        return;
    }
    let place = Place::new();
    let test = "death::a_journal_is_not_begun_on_a_full_disk";
    let command = again_on_small_disk(test, &place)
        .unwrap_or_else(|| again_after("trap '' XFSZ; ulimit -f 0", test, &place.journal()));
    let heard = Second::start(command).hear_out();
    let [text] = &heard[..] else { panic!("{heard:?}") };
    assert!(text.starts_with("the disk is full: "), "{text}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_any_more_stops_the_ledger_and_loses_nothing() {
    if let Some(journal) = role() {
        say(&commit_until_file_fails(&journal).await);
        return;
    }
    let place = Place::new();
    let test = "death::a_file_that_cannot_be_written_any_more_stops_the_ledger_and_loses_nothing";
    let command = again_after(LIMIT_FILES, test, &place.journal());
    let heard = Second::start(command).hear_out();
    let [text] = &heard[..] else { panic!("{heard:?}") };
    assert!(text.contains("journal.db could not be read or written"), "{text}");
    // Nor is it lost to a process that has no such limit.
    assert!(!pairs(&place.open().state()).is_empty());
}
