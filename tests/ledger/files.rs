//! Files that cannot be used: each is told from the others, in a sentence, and left as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use understudy::infra::ledger::{Holder, Ledger, OpenError, Options, StorageError};

use crate::support::{NOW, Place, Second, adopted, again, faulted, is_root, role, say, vm_id};

fn refusal(place: &Place) -> OpenError {
    Ledger::open(place.options()).expect_err("it does not open")
}

/// A journal with some pages of events, closed.
async fn filled() -> Place {
    let place = Place::new();
    let ledger = place.open();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
    for n in 0..20 {
        let long = format!("{n} {}", "x".repeat(1_500));
        ledger.commit(NOW, vec![faulted("a", &long)]).await.unwrap();
    }
    ledger.close().await.unwrap();
    place
}

#[tokio::test]
async fn the_folder_is_created_with_the_journal() {
    let place = Place::new();
    let path = place.folder().join("var/lib/understudy/journal.db");
    let ledger = Ledger::open(Options::new(&path)).unwrap();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
    ledger.close().await.unwrap();
    assert!(path.is_file());
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn nobody_else_may_read_the_journal_and_the_files_beside_it() {
    let place = Place::new();
    let folder = place.folder().join("var");
    let files = ["journal.db", "journal.db-wal", "journal.db-shm"].map(|name| folder.join(name));
    let ledger = Ledger::open(Options::new(&files[0])).unwrap();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_journal_that_others_may_read_is_closed_to_them_and_a_strangers_file_is_not() {
    let place = filled().await;
    // As after a crash: the files beside it are there when it is opened.
    let kept = rusqlite::Connection::open(place.journal()).unwrap();
    kept.execute_batch("BEGIN IMMEDIATE; UPDATE meta SET app = app; COMMIT")
        .unwrap();
    let beside = ["-wal", "-shm"].map(|suffix| format!("{}{suffix}", place.journal().display()));
    let files = [place.journal().display().to_string()].into_iter().chain(beside);
    let files: Vec<String> = files.collect();
    for file in &files {
        set_mode(file.as_ref(), 0o664);
    }
    let ledger = place.open();
    for file in &files {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    ledger.close().await.unwrap();
    drop(kept);

    let stranger = Place::new();
    fs::write(stranger.journal(), b"hello").unwrap();
    set_mode(&stranger.journal(), 0o644);
    refusal(&stranger);
    assert_eq!(mode(stranger.journal()), 0o644);
}

#[test]
fn a_journal_held_by_another_process_names_it_and_is_free_after_its_death() {
    if let Some(journal) = role() {
        let _ledger = Ledger::open(Options::new(journal)).unwrap();
        say("open");
        // Until killed: the parent never writes.
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let place = Place::new();
    let test = "files::a_journal_held_by_another_process_names_it_and_is_free_after_its_death";
    let program = std::env::current_exe().unwrap();
    let mut second = Second::start(again(&program, test, &place.journal()));
    assert_eq!(second.hear().as_deref(), Some("open"));
    let error = refusal(&place);
    let OpenError::Locked {
        holder: Some(Holder { pid, .. }),
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(*pid, second.id());
    let text = error.to_string();
    assert!(text.contains(&format!("in use by process {pid} on ")), "{text}");
    assert!(
        text.contains(" since 20") && text.contains("stop that one first"),
        "{text}"
    );
    second.kill();
    drop(place.open());
}

#[tokio::test]
async fn a_second_ledger_on_the_same_journal_is_refused_until_the_first_is_closed() {
    let place = Place::new();
    let ledger = place.open();
    assert!(matches!(
        refusal(&place),
        OpenError::Locked { holder: Some(_), .. }
    ));
    ledger.close().await.unwrap();
    drop(place.open());
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_refused_and_not_changed() {
    let place = filled().await;
    let database = place.database();
    // As a later version may well do it: with other tables, and something still in the log.
    database
        .execute_batch("UPDATE meta SET schema_version = 7; ALTER TABLE snapshot RENAME TO checkpoint;")
        .unwrap();
    let before = fs::read(place.journal()).unwrap();
    let log = place.folder().join("journal.db-wal");
    let logged = fs::read(&log).unwrap();
    // Left open, so that nothing but the ledger could move the log into the file.
    let error = refusal(&place);
    assert!(
        matches!(
            error,
            OpenError::NewerSchema {
                found: 7,
                supported: 1,
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("schema 7, this one knows 1") && text.contains("not changed"),
        "{text}"
    );
    assert_eq!(fs::read(place.journal()).unwrap(), before);
    assert_eq!(fs::read(&log).unwrap(), logged);
}

#[tokio::test]
async fn what_is_not_a_journal_is_refused_and_not_changed() {
    let place = Place::new();
    let other = rusqlite::Connection::open(place.folder().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE album (title TEXT)").unwrap();
    other.close().unwrap();
    // Ours by its mark alone.
    let marked = rusqlite::Connection::open(place.folder().join("marked.db")).unwrap();
    let ours = "PRAGMA application_id = 1431521841; CREATE TABLE album (title TEXT)";
    marked.execute_batch(ours).unwrap();
    marked.close().unwrap();
    let strangers = [
        (
            fs::read(place.folder().join("other.db")).unwrap(),
            "of another program",
        ),
        (
            fs::read(place.folder().join("marked.db")).unwrap(),
            "without the table `meta`",
        ),
        (b"hello".to_vec(), "no SQLite database"),
        (b"{\"pool\": 1}\n".repeat(1_000), "no SQLite database"),
        (vec![0; 8192], "no SQLite database"),
    ];
    for (stranger, what) in strangers {
        fs::write(place.journal(), &stranger).unwrap();
        let error = refusal(&place);
        assert!(matches!(error, OpenError::NotAJournal { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("is not a journal of understudy: it is ")
                && error.to_string().contains(what),
            "{error}"
        );
        assert_eq!(fs::read(place.journal()).unwrap(), stranger);
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_journal() {
    let place = Place::new();
    fs::write(place.journal(), b"").unwrap();
    let ledger = place.open();
    ledger.commit(NOW, vec![adopted("a")]).await.unwrap();
}

#[test]
fn a_folder_in_the_place_of_the_file_is_told() {
    let place = Place::new();
    fs::create_dir(place.journal()).unwrap();
    let error = refusal(&place);
    assert!(matches!(error, OpenError::IsFolder { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("journal.db is a directory") && text.ends_with("journal.db/ledger.db"),
        "{text}"
    );
}

#[test]
fn a_file_in_the_place_of_the_folder_is_told() {
    let place = Place::new();
    fs::write(place.journal(), b"").unwrap();
    let error = Ledger::open(Options::new(place.journal().join("journal.db"))).unwrap_err();
    assert!(
        matches!(error, OpenError::Storage(StorageError::Io { .. })),
        "{error:?}"
    );
}

/// Whatever page is overwritten: either that is told, or it was one that nothing is read from.
#[tokio::test]
async fn an_overwritten_page_never_leads_to_another_state() {
    let place = filled().await;
    let ledger = place.open();
    let state = ledger.state();
    ledger.close().await.unwrap();
    let sound = fs::read(place.journal()).unwrap();
    let page_size = usize::from(u16::from_be_bytes([sound[16], sound[17]]));
    assert!(sound.len() / page_size > 8, "{} bytes", sound.len());
    let mut told = 0;
    for page in 0..sound.len() / page_size {
        for garbage in [0x00, 0xFF, 0x5A] {
            let mut damaged = sound.clone();
            damaged[page * page_size..][..page_size].fill(garbage);
            fs::write(place.journal(), &damaged).unwrap();
            match Ledger::open(place.options()) {
                Ok(ledger) => {
                    assert_eq!(*ledger.state(), *state, "page {page} of {garbage:#x}");
                    ledger.close().await.unwrap();
                }
                Err(
                    OpenError::Corrupt { .. }
                    | OpenError::NotAJournal { .. }
                    | OpenError::Storage(StorageError::Damaged { .. }),
                ) => told += 1,
                Err(error) => panic!("page {page} of {garbage:#x}: {error:?}"),
            }
        }
    }
    assert!(told > 8, "only {told} were told");
}

#[tokio::test]
async fn a_journal_cut_short_is_told() {
    let place = filled().await;
    let sound = fs::read(place.journal()).unwrap();
    for kept in [100, 4_096, sound.len() / 2, sound.len() - 1_000] {
        fs::write(place.journal(), &sound[..kept]).unwrap();
        let error = refusal(&place);
        assert!(
            matches!(
                error,
                OpenError::Storage(StorageError::Damaged { .. })
                    | OpenError::NotAJournal { .. }
                    | OpenError::Corrupt { .. }
            ),
            "{kept} bytes: {error:?}"
        );
    }
}

/// The same test as a user whom permissions bind, since they do not bind root.
fn as_somebody_else(place: &Place, test: &str) -> Command {
    if !is_root() {
        return again(&std::env::current_exe().unwrap(), test, &place.journal());
    }
    // Where that user can reach it.
    let program = place.folder().join("program");
    let original = std::env::current_exe().unwrap();
    if fs::hard_link(&original, &program).is_err() {
        fs::copy(&original, &program).unwrap();
    }
    let mut command = again(&program, test, &place.journal());
    command.uid(65_534).gid(65_534).current_dir("/");
    command
}

/// In the second process: what opening says, in one line.
fn say_refusal(journal: PathBuf) {
    match Ledger::open(Options::new(journal)) {
        Err(error @ OpenError::Storage(StorageError::ReadOnly { .. })) => say(&format!("read-only: {error}")),
        other => say(&format!("{other:?}")),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn assert_read_only(heard: &[String], file: &str) {
    let [text] = heard else { panic!("{heard:?}") };
    let sentence = format!("{file} cannot be written: the file, its folder or its file system is read-only");
    assert!(
        text.starts_with("read-only: ") && text.contains(&sentence),
        "{text}"
    );
}

#[tokio::test]
async fn a_read_only_file_is_told() {
    if let Some(journal) = role() {
        return say_refusal(journal);
    }
    let place = filled().await;
    set_mode(place.folder(), 0o777);
    set_mode(&place.folder().join("journal.db.lock"), 0o666);
    set_mode(&place.journal(), 0o444);
    let second = Second::start(as_somebody_else(&place, "files::a_read_only_file_is_told"));
    assert_read_only(&second.hear_out(), "journal.db");
    assert!(Ledger::open(place.options()).is_ok() == is_root());
}

#[tokio::test]
async fn a_read_only_folder_is_told() {
    if let Some(journal) = role() {
        return say_refusal(journal);
    }
    let place = Place::new();
    let command = as_somebody_else(&place, "files::a_read_only_folder_is_told");
    set_mode(place.folder(), 0o555);
    assert_read_only(&Second::start(command).hear_out(), "journal.db.lock");
    set_mode(place.folder(), 0o755);
    assert!(!place.journal().exists());
}

#[tokio::test]
async fn a_read_only_folder_around_a_writable_file_is_told() {
    if let Some(journal) = role() {
        return say_refusal(journal);
    }
    let place = filled().await;
    let command = as_somebody_else(&place, "files::a_read_only_folder_around_a_writable_file_is_told");
    set_mode(&place.folder().join("journal.db.lock"), 0o666);
    set_mode(&place.journal(), 0o666);
    set_mode(place.folder(), 0o555);
    assert_read_only(&Second::start(command).hear_out(), "journal.db");
    set_mode(place.folder(), 0o755);
    assert!(place.open().state().vm(&vm_id("a")).is_some());
}
