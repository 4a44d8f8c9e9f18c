//! The journal's file: SQLite in WAL mode, `synchronous=FULL`, one connection, one thread.
//!
//! ```text
//! journal   seq (1, 2, 3, …), at (ms), event (JSON)         one row per event, never changed or removed
//! snapshot  seq, part, parts, at (ms), state (JSON bytes)   the state after event `seq`, in parts
//! meta      schema_version, created_at, app                 one row
//! ```
//!
//! A snapshot is written in parts of [`PART_BYTES`], each along with a group of events, so that a state of
//! many megabytes never holds up a commit; it counts once all its parts are there. The application id in the
//! file's header and `meta.schema_version` keep their places in every later schema: they are what tells a
//! newer journal from a stranger's database.
//!
//! Events hold stream keys, so the file is its user's alone: it is made with mode 0600, which SQLite gives the
//! files beside it too, and one that others may read is closed to them when it is opened.
//!
//! This module knows rows and bytes. What an event means is [`super::replay`]'s business.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, Params, params};
use tracing::warn;

use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;

use super::error::{OpenError, StorageError, Stranger};

/// The schema this version writes and reads.
pub(super) const SCHEMA_VERSION: i64 = 1;
/// "USJ1" in the file's header marks a database as our journal.
pub(super) const APPLICATION_ID: i64 = 0x5553_4A31;
/// How long to wait for a program that reads or copies the file. Well below the commit deadline, so that the
/// reason is told, not just the delay.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a snapshot per transaction: about two milliseconds of writing on a common disk.
pub(super) const PART_BYTES: usize = 256 * 1024;

const SCHEMA: &str = "
    CREATE TABLE journal (
        seq   INTEGER PRIMARY KEY,
        at    INTEGER NOT NULL,
        event TEXT    NOT NULL
    ) STRICT;
    CREATE TABLE snapshot (
        seq   INTEGER NOT NULL,
        part  INTEGER NOT NULL,
        parts INTEGER NOT NULL,
        at    INTEGER NOT NULL,
        state BLOB    NOT NULL,
        PRIMARY KEY (seq, part)
    ) STRICT;
    CREATE TABLE meta (
        id             INTEGER PRIMARY KEY CHECK (id = 1),
        schema_version INTEGER NOT NULL,
        created_at     INTEGER NOT NULL,
        app            TEXT    NOT NULL
    ) STRICT;
";

/// An event as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub seq: Seq,
    pub at: Timestamp,
    /// JSON.
    pub event: &'a [u8],
}

/// A piece of a snapshot.
#[derive(Debug)]
pub(super) struct Part {
    pub seq: Seq,
    pub at: Timestamp,
    /// From 0.
    pub number: u32,
    pub parts: u32,
    pub bytes: Vec<u8>,
}

impl Part {
    fn is_first(&self) -> bool {
        self.number == 0
    }

    pub fn is_last(&self) -> bool {
        self.number + 1 == self.parts
    }
}

pub(super) struct Journal {
    connection: Connection,
    path: PathBuf,
}

impl Journal {
    /// Opens or creates the file. A file that is not ours, or too new, is left as it was.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        open_or_create(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|error| StorageError::from_sqlite(path, error))?;
        let journal = Self {
            connection,
            path: path.to_owned(),
        };
        // Whatever happens from here on, only a graceful close moves the log into the file.
        journal.checkpoint_on_close(false)?;
        let is_new = journal.require_ours()?;
        close_to_others(path)?;
        journal.configure()?;
        if is_new {
            journal.create_schema()?;
        }
        Ok(journal)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one group as one durable transaction. After an error the journal must not be written again.
    pub fn append<'a>(
        &mut self,
        rows: impl Iterator<Item = Row<'a>>,
        part: Option<&Part>,
    ) -> Result<(), StorageError> {
        self.transaction(|journal| {
            let mut insert = journal.statement("INSERT INTO journal (seq, at, event) VALUES (?1, ?2, ?3)")?;
            for row in rows {
                // JSON is UTF-8, so it is handed over as text unchecked.
                let event = ToSqlOutput::Borrowed(ValueRef::Text(row.event));
                insert.execute(params![row.seq.0.cast_signed(), row.at.0.cast_signed(), event])?;
            }
            part.map_or(Ok(()), |part| journal.store(part))
        })
        .map_err(|error| StorageError::from_sqlite(&self.path, error))
    }

    /// The first part replaces whatever is stored of a snapshot of the same event: one that a killed process left in part,
    /// or that could not be read.
    fn store(&self, part: &Part) -> Result<(), rusqlite::Error> {
        let seq = part.seq.0.cast_signed();
        if part.is_first() {
            self.statement("DELETE FROM snapshot WHERE seq = ?1")?
                .execute([seq])?;
        }
        self.statement("INSERT INTO snapshot (seq, part, parts, at, state) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                seq,
                part.number,
                part.parts,
                part.at.0.cast_signed(),
                part.bytes
            ])?;
        Ok(())
    }

    fn transaction(
        &self,
        write: impl FnOnce(&Self) -> Result<(), rusqlite::Error>,
    ) -> Result<(), rusqlite::Error> {
        self.statement("BEGIN IMMEDIATE")?.execute([])?;
        write(self)?;
        self.statement("COMMIT")?.execute([])?;
        Ok(())
    }

    /// The last event, 0 if there is none.
    pub fn last_seq(&self) -> Result<Seq, StorageError> {
        self.integer("SELECT coalesce(max(seq), 0) FROM journal", [])
            .map(|seq| Seq(seq.cast_unsigned()))
    }

    /// Hands over every event after `after`, in order, until one is refused.
    pub fn each_after(
        &self,
        after: Seq,
        mut take: impl FnMut(Row<'_>) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let storage = |error| StorageError::from_sqlite(&self.path, error);
        let mut select = self
            .statement("SELECT seq, at, event FROM journal WHERE seq > ?1 ORDER BY seq")
            .map_err(storage)?;
        let mut rows = select.query([after.0.cast_signed()]).map_err(storage)?;
        while let Some(row) = rows.next().map_err(storage)? {
            let seq: i64 = row.get(0).map_err(storage)?;
            let at: i64 = row.get(1).map_err(storage)?;
            let event = row.get_ref(2).map_err(storage)?;
            let event = event.as_bytes().map_err(|error| storage(error.into()))?;
            take(Row {
                seq: Seq(seq.cast_unsigned()),
                at: Timestamp(at.cast_unsigned()),
                event,
            })?;
        }
        Ok(())
    }

    /// The snapshots that have all their parts, newest first.
    pub fn snapshots(&self) -> Result<Vec<Seq>, StorageError> {
        let read = || -> Result<Vec<Seq>, rusqlite::Error> {
            self.statement(
                "SELECT seq FROM snapshot GROUP BY seq HAVING count(*) = max(parts) ORDER BY seq DESC",
            )?
            .query_map([], |row| row.get::<_, i64>(0))?
            .map(|seq| seq.map(|seq| Seq(seq.cast_unsigned())))
            .collect()
        };
        read().map_err(|error| StorageError::from_sqlite(&self.path, error))
    }

    /// The bytes of a snapshot.
    pub fn snapshot(&self, seq: Seq) -> Result<Vec<u8>, StorageError> {
        let read = || -> Result<Vec<u8>, rusqlite::Error> {
            let mut bytes = Vec::new();
            let mut select = self.statement("SELECT state FROM snapshot WHERE seq = ?1 ORDER BY part")?;
            let mut rows = select.query([seq.0.cast_signed()])?;
            while let Some(row) = rows.next()? {
                bytes.extend_from_slice(row.get_ref(0)?.as_blob()?);
            }
            Ok(bytes)
        };
        read().map_err(|error| StorageError::from_sqlite(&self.path, error))
    }

    /// Removes every snapshot, whole or in part, but these.
    pub fn keep_snapshots(&mut self, kept: [Seq; 2]) -> Result<(), StorageError> {
        self.transaction(|journal| {
            journal
                .statement("DELETE FROM snapshot WHERE seq NOT IN (?1, ?2)")?
                .execute(kept.map(|seq| seq.0.cast_signed()))?;
            Ok(())
        })
        .map_err(|error| StorageError::from_sqlite(&self.path, error))
    }

    /// Moves the log into the file and lets go of it.
    pub fn close(self) -> Result<(), StorageError> {
        self.integer("PRAGMA wal_checkpoint(TRUNCATE)", [])?;
        self.checkpoint_on_close(true)?;
        self.connection
            .close()
            .map_err(|(_, error)| StorageError::from_sqlite(&self.path, error))
    }

    /// Whether the file is new. Reads only.
    fn require_ours(&self) -> Result<bool, OpenError> {
        let foreign = |found| OpenError::NotAJournal {
            path: self.path.clone(),
            found,
        };
        let application_id = match self.integer("PRAGMA application_id", []) {
            Err(StorageError::Damaged { .. }) => return Err(foreign(Stranger::NoDatabase)),
            read => read?,
        };
        let tables = self.integer("SELECT count(*) FROM sqlite_schema", [])?;
        if application_id == 0 && tables == 0 {
            return Ok(true);
        }
        if application_id != APPLICATION_ID {
            return Err(foreign(Stranger::AnothersDatabase));
        }
        if !self.has_table("meta")? {
            return Err(foreign(Stranger::Without { table: "meta" }));
        }
        let found = self.integer("SELECT schema_version FROM meta WHERE id = 1", [])?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::NewerSchema {
                path: self.path.clone(),
                found,
                supported: SCHEMA_VERSION,
            });
        }
        for table in ["journal", "snapshot"] {
            if !self.has_table(table)? {
                return Err(foreign(Stranger::Without { table }));
            }
        }
        Ok(false)
    }

    fn has_table(&self, name: &str) -> Result<bool, StorageError> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        self.integer(sql, [name]).map(|count| count == 1)
    }

    fn configure(&self) -> Result<(), StorageError> {
        let configure = || -> Result<(), rusqlite::Error> {
            self.connection.busy_timeout(BUSY_TIMEOUT)?;
            self.connection.pragma_update(None, "journal_mode", "wal")?;
            self.connection.pragma_update(None, "synchronous", "full")?;
            // A damaged page is told when it is read, not when it has misled.
            self.connection.pragma_update(None, "cell_size_check", true)
        };
        configure().map_err(|error| StorageError::from_sqlite(&self.path, error))
    }

    fn create_schema(&self) -> Result<(), StorageError> {
        self.transaction(|journal| {
            journal.connection.execute_batch(SCHEMA)?;
            journal
                .connection
                .pragma_update(None, "application_id", APPLICATION_ID)?;
            journal
                .statement("INSERT INTO meta (id, schema_version, created_at, app) VALUES (1, ?1, ?2, ?3)")?
                .execute(params![
                    SCHEMA_VERSION,
                    jiff::Timestamp::now().as_millisecond(),
                    concat!("understudy ", env!("CARGO_PKG_VERSION"))
                ])?;
            Ok(())
        })
        .map_err(|error| StorageError::from_sqlite(&self.path, error))
    }

    fn checkpoint_on_close(&self, wanted: bool) -> Result<(), StorageError> {
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !wanted)
            .map(|_| ())
            .map_err(|error| StorageError::from_sqlite(&self.path, error))
    }

    fn statement(&self, sql: &str) -> Result<CachedStatement<'_>, rusqlite::Error> {
        self.connection.prepare_cached(sql)
    }

    fn integer(&self, sql: &str, params: impl Params) -> Result<i64, StorageError> {
        self.statement(sql)
            .and_then(|mut select| select.query_row(params, |row| row.get(0)))
            .map_err(|error| StorageError::from_sqlite(&self.path, error))
    }
}

/// SQLite opens a file that it may not write for reading and tells so only at the first commit; here it is
/// told at once, with the system's own reason. A new file is made here, since SQLite would let others read it.
fn open_or_create(path: &Path) -> Result<(), OpenError> {
    if path.is_dir() {
        return Err(OpenError::IsFolder {
            path: path.to_owned(),
        });
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(|_| ())
        .map_err(|error| StorageError::from_io(path, error).into())
}

/// Takes from the journal and the files beside it what others may do with them.
fn close_to_others(path: &Path) -> Result<(), StorageError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = OsString::from(path);
        name.push(suffix);
        let path = PathBuf::from(name);
        let mode = match fs::metadata(&path) {
            Ok(meta) => meta.permissions().mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StorageError::from_io(&path, error)),
        };
        if mode & 0o077 == 0 {
            continue;
        }
        // It may be another user's, who lets us write it: that is for people to judge.
        if let Err(error) = fs::set_permissions(&path, Permissions::from_mode(mode & 0o700)) {
            let path = path.display();
            warn!(%path, %error, "other users may read the journal, and that could not be changed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::lock::Lock;
    use super::super::{CommitError, FatalError, Ledger, Options};
    use super::*;
    use crate::domain::event::Event;
    use crate::domain::ids::{InstanceId, VmId};
    use crate::domain::instance::{Instance, InstanceState};
    use crate::domain::vm;

    fn adopted(name: &str) -> Event {
        let instance = Instance {
            instance_id: InstanceId::new(format!("i-{name}")).unwrap(),
            name: Some("x".repeat(500)),
            state: InstanceState::Stopped,
            public_ip: None,
            private_ip: None,
            public_dns: None,
            private_dns: None,
            instance_type: None,
            launch_time: None,
            availability_zone: None,
            subnet_id: None,
            vpc_id: None,
            tags: [].into(),
        };
        Event::vm(
            &VmId::new(format!("vm-{name}")).unwrap(),
            vm::Event::Adopted { instance },
        )
    }

    #[test]
    fn every_commit_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.db")).unwrap();
        let pragma = |name: &str| -> String {
            let value = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            let value = journal.connection.pragma_query_value(None, name, value).unwrap();
            format!("{value:?}")
        };
        assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
        // FULL: <https://sqlite.org/pragma.html#pragma_synchronous>.
        assert_eq!(pragma("synchronous"), "Integer(2)");
    }

    /// SQLite's own limit on the size of a database fails a commit just as a full disk does.
    #[tokio::test]
    async fn a_journal_without_room_stops_the_ledger_and_shows_nothing_of_the_last_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let journal = Journal::open(&path).unwrap();
        journal
            .connection
            .pragma_update(None, "max_page_count", 20)
            .unwrap();
        let lock = Lock::acquire(&path).unwrap();
        let ledger = Ledger::start(Options::new(&path), lock, journal).unwrap();
        let mut batches = ledger.subscribe();
        let mut acknowledged = 0;
        let failure = loop {
            match ledger
                .commit(Timestamp(1), vec![adopted(&acknowledged.to_string())])
                .await
            {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < 1_000, "the limit does not hold");
        };
        let CommitError::Failed(error) = failure else {
            panic!("{failure:?}");
        };
        assert!(
            matches!(&*error, FatalError::Storage(StorageError::DiskFull { .. })),
            "{error:?}"
        );
        assert!(error.to_string().starts_with("the disk is full: "), "{error}");
        assert!(ledger.health().borrow().failure().is_some());
        let again = ledger.commit(Timestamp(1), vec![adopted("again")]).await;
        assert!(matches!(again, Err(CommitError::Failed(_))), "{again:?}");
        assert_eq!(ledger.state().vm_count(), acknowledged);
        let published = std::iter::from_fn(|| batches.try_recv().ok()).count();
        assert_eq!(published, acknowledged);
        assert!(ledger.close().await.is_err());
        let ledger = Ledger::open(Options::new(&path)).unwrap();
        assert_eq!(ledger.state().vm_count(), acknowledged);
    }
}
