//! What the embedded log and the embedded read store have in common.
//!
//! | | |
//! | --- | --- |
//! | how they are opened, written and read | here |
//! | a file as such: its lock, and whether it is whole | [`files`] |
//! | its write-ahead log | [`wal`] |

mod files;
mod wal;

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::storage::OpenError;
pub(crate) use files::{FileLock, beside, folder, format, inspect, nothing_here, place};
pub(crate) use wal::{WalKeeper, truncate_wal};

/// Statements kept prepared on a connection; more than this service has.
const PREPARED_STATEMENTS: usize = 64;
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

impl OpenError {
    pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self + '_ {
        |error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => Self::Damaged { place: place(path), detail: error.to_string() },
            _ => Self::Sqlite { place: place(path), error },
        }
    }

    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |error| Self::Io { place: place(path), error }
    }
}

/// How much of what was acknowledged a power cut may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing: every commit is flushed.
    Full,
    /// The last commits, never a part of one, unless whoever opened it stops flushing (`pragma synchronous`).
    Cheap,
}

/// A file that is new is its owner's alone, in whatever folder.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, rusqlite::Error> {
    // What is in the way SQLite says below. One that is there must not be opened but by SQLite: whoever closes it once more
    // takes SQLite's locks from it, and another process may then remove the write-ahead log of one that is written to.
    drop(File::options().write(true).create_new(true).mode(0o600).open(path));
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    use_wal(&connection, durability)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -32 << 10)?;
    keep_prepared(&connection)?;
    Ok(connection)
}

/// The same for a file that is filled with nobody reading: without a write-ahead log, each page is written once.
/// Whoever is done with that turns to [`use_wal`].
pub(crate) fn open_filler(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open_writer(path, Durability::Full)?;
    connection.pragma_update(None, "journal_mode", "truncate")?;
    connection.pragma_update(None, "cache_size", -64 << 10)?;
    // An index is sorted on another core.
    connection.pragma_update(None, "threads", 1)?;
    Ok(connection)
}

/// From now on others can read while it is written to.
pub(crate) fn use_wal(connection: &Connection, durability: Durability) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", if durability == Durability::Full { "full" } else { "normal" })
}

/// Whether something could not be written because the disk is full: nothing of it was, and it can be tried again.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(rusqlite::ffi::SQLITE_FULL | rusqlite::ffi::SQLITE_IOERR_SHMSIZE))
}

/// Whether somebody else has the file for longer than one waits: nothing was written, and it can be tried again.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// A transaction to write in. It waits for the lock at its beginning: one that reads first is refused at once where a reader
/// holds the lock for an instant, as it does to see the write-ahead log's index whole.
pub(crate) fn begin(writer: &Connection) -> Result<Transaction<'_>, rusqlite::Error> {
    Transaction::new_unchecked(writer, TransactionBehavior::Immediate)
}

/// Brings a file's tables up to date, in one transaction: killed amid them, all are still to do.
pub(crate) fn migrate(migrations: refinery::Runner, connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let Err(error) = migrations.set_grouped(true).run(connection) else { return Ok(()) };
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<rusqlite::Error>());
    Err(match cause {
        Some(cause) if is_full(cause) || is_busy(cause) => OpenError::Unreachable { place: place(path), reason: cause.to_string() },
        _ => OpenError::Damaged { place: place(path), detail: format!("its migrations do not match: {error}") },
    })
}

pub(crate) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.pragma_update(None, "cache_size", -8 << 10)?;
    keep_prepared(&connection)?;
    Ok(connection)
}

/// Prepared statements stay prepared. Without the stability guarantee, SQLite plans a statement anew
/// for every parameter whose value could matter to a plan: a quarter of a send's time went there.
fn keep_prepared(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Connections that read beside the writer. A read runs on the thread that asks: from memory it takes
/// less time than another thread would to wake (`docs/decisions/0009-reads-on-the-asking-thread.md`).
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        Ok(Self { path: path.into(), idle: Mutex::new(vec![open_reader(path)?]) })
    }

    /// Runs a query. There are as many connections as there ever were readers at once, so nobody waits for one.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error>) -> Result<T, rusqlite::Error> {
        query(&mut *self.lend()?)
    }

    /// A connection until it is dropped.
    pub(crate) fn lend(&self) -> Result<Lent<&Self>, rusqlite::Error> {
        Ok(Lent { connection: Some(self.take()?), readers: self })
    }

    /// A connection that keeps its readers until it is dropped.
    pub(crate) fn lend_kept(readers: &Arc<Self>) -> Result<Lent<Arc<Self>>, rusqlite::Error> {
        Ok(Lent { connection: Some(readers.take()?), readers: Arc::clone(readers) })
    }

    fn take(&self) -> Result<Connection, rusqlite::Error> {
        let idle = self.lock_idle().pop();
        idle.map_or_else(|| open_reader(&self.path), Ok)
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that goes back to its readers. A transaction that was begun on it ends there.
pub(crate) struct Lent<R: Deref<Target = Readers>> {
    readers: R,
    connection: Option<Connection>,
}

impl<R: Deref<Target = Readers>> Deref for Lent<R> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is given back at the end")
    }
}

impl<R: Deref<Target = Readers>> DerefMut for Lent<R> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is given back at the end")
    }
}

impl<R: Deref<Target = Readers>> Drop for Lent<R> {
    fn drop(&mut self) {
        let connection = self.connection.take().expect("it is given back once");
        if connection.is_autocommit() || connection.execute_batch("rollback").is_ok() {
            self.readers.lock_idle().push(connection);
        }
    }
}
