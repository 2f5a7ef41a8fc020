use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tidegate_engine::ports::PortError;

use super::readers::Readers;
use super::writer::Writer;

/// `PRAGMA application_id`: "tide".
const APPLICATION: i32 = 0x7469_6465;
/// `PRAGMA user_version`: of the tables.
const TABLES: i32 = 1;

/// `STRICT` keeps what people do with the `sqlite3` shell from storing other types. Records live in the key's own tree
/// (`WITHOUT ROWID`), so that the records of one partition lie side by side.
const SCHEMA: &str = "
    CREATE TABLE records (
        pk TEXT NOT NULL,
        sk TEXT NOT NULL,
        version BLOB NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (pk, sk)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        grp TEXT,
        body TEXT NOT NULL,
        -- Milliseconds since the epoch. The largest integer while an earlier message of the group is there.
        visible_at INTEGER NOT NULL,
        receives INTEGER NOT NULL DEFAULT 0,
        -- While it is handed out. Belongs to the process that handed it out.
        receipt INTEGER
    ) STRICT;
    CREATE INDEX messages_ready ON messages (queue, visible_at, id);
    CREATE INDEX messages_group ON messages (queue, grp, id) WHERE grp IS NOT NULL;
";

/// The database of a server: one writing thread, a few reading connections. Dropping the last handle waits until
/// everything that was asked for is written.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    writer: Option<Writer>,
    thread: Option<JoinHandle<()>>,
    readers: Readers,
}

impl Database {
    /// Opens the database of the one server that may write, or makes it.
    ///
    /// Errors: [`PortError::Fatal`] when it cannot be used, with the reason.
    pub fn open(path: &Path) -> Result<Arc<Self>, PortError> {
        let connection = Connection::open(path).map_err(|error| open_error(path, &error))?;
        prepare(&connection, path)?;
        let readers = Readers::open(path)?;
        let (writer, thread) =
            Writer::start(connection).map_err(|error| PortError::fatal(format!("cannot start a thread: {error}")))?;
        Ok(Arc::new(Self { path: path.to_owned(), writer: Some(writer), thread: Some(thread), readers }))
    }

    /// Opens the database for reading, whether a server writes to it or not.
    ///
    /// Errors: [`PortError::Fatal`] when there is none or it cannot be read.
    pub fn open_read_only(path: &Path) -> Result<Arc<Self>, PortError> {
        let readers = Readers::open(path)?;
        Ok(Arc::new(Self { path: path.to_owned(), writer: None, thread: None, readers }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn writer(&self) -> Result<&Writer, PortError> {
        self.writer.as_ref().ok_or_else(|| {
            PortError::reject(format!("the database `{}` was opened for reading only", self.path.display()))
        })
    }

    pub(super) fn readers(&self) -> &Readers {
        &self.readers
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.writer = None;
        // A thread cannot wait for itself.
        let elsewhere = |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(elsewhere) {
            // It has no panics of its own to tell of that were not printed already.
            let _ended = thread.join();
        }
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Somebody with the `sqlite3` shell may hold a lock for a moment.
    connection.busy_timeout(Duration::from_secs(5))?;
    // 2 MiB a connection, and no mapping, which would count as resident: the whole server stays small.
    connection.pragma_update(None, "cache_size", -2_048)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), PortError> {
    let failed = |error: rusqlite::Error| open_error(path, &error);
    configure(connection).map_err(failed)?;
    // The log makes readers and the writer independent, and a commit one flush of one file. FULL: the flush happens
    // before the commit is answered; the writer asks for less where a port promises less.
    connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", 8 << 20).map_err(failed)?;
    let tables = version(connection).map_err(failed)?;
    if tables == 0 {
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {TABLES}; COMMIT;"
            ))
            .map_err(failed)?;
    }
    check_version(path, version(connection).map_err(failed)?)
}

fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn check_version(path: &Path, tables: i32) -> Result<(), PortError> {
    if tables == TABLES {
        Ok(())
    } else {
        Err(PortError::fatal(format!(
            "the database `{}` has version {tables}, this program knows version {TABLES}: use the program that wrote it",
            path.display()
        )))
    }
}

pub(super) fn open_reader(path: &Path) -> Result<Connection, PortError> {
    let failed = |error: rusqlite::Error| open_error(path, &error);
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(failed)?;
    configure(&connection).map_err(failed)?;
    check_version(path, version(&connection).map_err(failed)?)?;
    Ok(connection)
}

fn open_error(path: &Path, error: &rusqlite::Error) -> PortError {
    // Nobody can work without the database: what would be worth a repetition later is fatal at the start.
    match sql_error(&format!("open the database `{}`", path.display()), error) {
        PortError::Retry { why, .. } => PortError::Fatal { why },
        other => other,
    }
}

/// Classifies a failure of SQLite.
pub(super) fn sql_error(doing: &str, error: &rusqlite::Error) -> PortError {
    let words = |what: &str| format!("cannot {doing}: {what}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            PortError::fatal(words("the disk is full: free some space; nothing that was confirmed is lost"))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            PortError::fatal(words(&format!("it is damaged ({error})")))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            PortError::fatal(words(&format!("{error}")))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            PortError::retry(words("another program holds its lock"))
        }
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::FileLockingProtocolFailed,
        ) => PortError::retry(words(&format!("{error}"))),
        _ => PortError::fatal(words(&format!("{error}"))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_no_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        std::fs::write(&path, "not a database, and long enough to be sure of that. ".repeat(40)).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(&error, PortError::Fatal { why } if why.contains("damaged")), "{error}");
        let error = Database::open_read_only(&directory.path().join("none")).unwrap_err();
        assert!(matches!(&error, PortError::Fatal { why } if why.contains("none")), "{error}");
    }

    #[test]
    fn tables_of_another_version_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        drop(Database::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(&error, PortError::Fatal { why } if why.contains("version 7")), "{error}");
    }
}
