//! What the embedded log and the embedded read store have in common: how their files are opened,
//! locked, read beside the writer, and kept from growing without end.

use std::ffi::c_int;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::storage::OpenError;

/// Statements kept prepared on a connection; more than this service has.
const PREPARED_STATEMENTS: usize = 64;
/// Pages in the write-ahead log, of 4 KiB, from which on it is folded back into its file: the more, the more often one page
/// was written before it is.
const WAL_LIMIT_PAGES: u64 = 4_096;
/// So few that the writer folds them itself; and how often they may be more.
const LITTLE_PAGES: i64 = 256;
const FOLDS: usize = 4;
/// A file up to this size is checked page by page when it is opened.
const CHECKED_WHOLE_BYTES: u64 = 8 << 20;
/// How long the writer waits for readers to leave the write-ahead log before it goes on with it as it is.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(50);
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

impl OpenError {
    pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self + '_ {
        |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => Self::Damaged { place: place(path), detail: source.to_string() },
            _ => Self::Sqlite { place: place(path), source },
        }
    }

    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io { place: place(path), source }
    }
}

/// A file held for this process alone, as long as this value lives. The lock ends with the process.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Locks `path` by a file beside it, which names the holder.
    pub(crate) fn acquire(path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, ".lock");
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&lock_path).map_err(OpenError::io(&lock_path))?;
        match file.try_lock() {
            Ok(()) => {
                let lock = Self(file);
                lock.0.set_len(0).and_then(|()| lock.ring()).map_err(OpenError::io(&lock_path))?;
                Ok(lock)
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _unreadable_is_unknown = file.rewind().and_then(|()| file.read_to_string(&mut pid));
                Err(OpenError::InUse { place: place(path), holder: if pid.is_empty() { pid } else { format!("process {pid}") } })
            }
            Err(TryLockError::Error(source)) => Err(OpenError::Io { place: place(&lock_path), source }),
        }
    }

    /// Writes the lock file anew, for other processes that watch it: they wake when a commit is visible,
    /// which the write-ahead log alone does not tell, being written before.
    pub(crate) fn ring(&self) -> io::Result<()> {
        self.0.write_all_at(std::process::id().to_string().as_bytes(), 0)
    }
}

/// A file as people are told of it.
pub(crate) fn place(path: &Path) -> String {
    path.display().to_string()
}

/// Why a file that has to be there cannot be opened.
pub(crate) fn nothing_here(path: &Path, what: &str) -> OpenError {
    OpenError::Io { place: place(path), source: io::Error::new(io::ErrorKind::NotFound, what.to_owned()) }
}

/// The path with something after its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// How much of what was acknowledged a power cut may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing: every commit is flushed.
    Full,
    /// The last commits, never a part of one.
    Cheap,
}

/// A file that is new is its owner's alone, in whatever folder.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, rusqlite::Error> {
    // What is in the way SQLite says below.
    drop(File::options().create(true).append(true).mode(0o600).open(path));
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

/// Folds the write-ahead log into its file and empties it; false where readers were in the way.
pub(crate) fn truncate_wal(writer: &Connection) -> Result<bool, rusqlite::Error> {
    checkpoint(writer, "pragma wal_checkpoint(truncate)")
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

/// Looks at a file without changing it, but for a transaction that a crash cut short, which is rolled back: none yet, or one
/// whose making was cut short (`None`); or whose it is and of which format.
pub(crate) fn inspect(path: &Path) -> Result<Option<Inspection>, OpenError> {
    roll_back(path)?;
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(path)(error)),
    };
    let wal_length = fs::metadata(beside(path, "-wal")).map_or(0, |wal| wal.len());
    if length == 0 && wal_length == 0 {
        return Ok(None);
    }
    if wal_length == 0 {
        whole(path, length)?;
    }
    let sqlite = OpenError::sqlite(path);
    let connection = open_reader(path).map_err(&sqlite)?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).map_err(&sqlite)?;
    let inspection = Inspection { application: pragma("application_id").map_err(&sqlite)? };
    if tables == 0 {
        return Ok(None);
    }
    if length <= CHECKED_WHOLE_BYTES {
        let finding: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(&sqlite)?;
        if finding != "ok" {
            return Err(OpenError::Damaged { place: place(path), detail: finding });
        }
    }
    Ok(Some(inspection))
}

/// Ends a transaction that a crash left in a rollback journal, which nobody who only reads can do. Without it, the file
/// may be of two minds.
fn roll_back(path: &Path) -> Result<(), OpenError> {
    if fs::metadata(beside(path, "-journal")).map_or(0, |journal| journal.len()) == 0 || !path.exists() {
        return Ok(());
    }
    let rolled_back = || {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_PATIENCE)?;
        connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
    };
    rolled_back().map_err(OpenError::sqlite(path))
}

pub(crate) struct Inspection {
    /// `pragma application_id`: whose file it is.
    pub(crate) application: i64,
}

/// Compares the file's length with what its header says (<https://www.sqlite.org/fileformat.html#the_database_header>).
fn whole(path: &Path, length: u64) -> Result<(), OpenError> {
    let damaged = |detail: &str| OpenError::Damaged { place: place(path), detail: detail.into() };
    let mut header = [0; 100];
    let mut file = File::open(path).map_err(OpenError::io(path))?;
    file.read_exact(&mut header).map_err(|_| damaged("it is too short"))?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(damaged("it has no SQLite header"));
    }
    let page_size = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        size => size,
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    if length < page_size * pages { Err(damaged("its end is missing")) } else { Ok(()) }
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

/// Keeps the write-ahead log of one writer short. Most of the work is done by a thread beside the
/// writer; the rest, after which the log begins anew in its place, between two of the writer's transactions. A thread
/// beside the writer alone would never catch up with a busy one. Readers never do it.
pub(crate) struct WalKeeper {
    /// Pages in the write-ahead log, as of the writer's last commit.
    pages: Arc<AtomicU64>,
    /// One at a time: two checkpoints are in each other's way.
    is_ordered: bool,
    orders: SyncSender<()>,
    outcomes: Receiver<Result<(), rusqlite::Error>>,
}

impl WalKeeper {
    /// For whoever writes to a file again and again: only their commits are counted.
    pub(crate) fn start(path: &Path, writer: &mut Connection) -> Result<Self, rusqlite::Error> {
        let pages = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: c_int| {
            counted.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_PATIENCE)?;
        let (orders, to_do) = sync_channel::<()>(1);
        let (done, outcomes) = sync_channel(1);
        let keep = move || {
            while to_do.recv().is_ok() {
                if done.send(fold_nearly_all(&connection)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("wal-keeper".into()).spawn(keep).expect("a thread can be started");
        Ok(Self { pages, is_ordered: false, orders, outcomes })
    }

    /// Called by the writer between transactions. Readers that stay too long are no error: it is tried again.
    ///
    /// # Errors
    /// When the file could not be written or flushed.
    pub(crate) fn tend(&mut self, writer: &Connection) -> Result<(), rusqlite::Error> {
        if let Ok(folded) = self.outcomes.try_recv() {
            self.is_ordered = false;
            folded?;
            return checkpoint(writer, "pragma wal_checkpoint(restart)").map(|_is_whole| ());
        }
        if !self.is_ordered && self.pages.load(Ordering::Relaxed) > WAL_LIMIT_PAGES {
            self.is_ordered = self.orders.try_send(()).is_ok();
        }
        Ok(())
    }
}

/// Folds what there is, and then what came meanwhile, until that is little.
fn fold_nearly_all(connection: &Connection) -> Result<(), rusqlite::Error> {
    let mut folded = 0;
    for _ in 0..FOLDS {
        let (pages, now_folded): (i64, i64) = connection.query_row("pragma wal_checkpoint(passive)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if pages - folded < LITTLE_PAGES || now_folded <= folded {
            break;
        }
        folded = now_folded;
    }
    Ok(())
}

/// Folds the write-ahead log, waiting a little for readers that are in the way; false where they stay longer.
fn checkpoint(writer: &Connection, pragma: &str) -> Result<bool, rusqlite::Error> {
    writer.busy_timeout(CHECKPOINT_PATIENCE)?;
    let is_busy = writer.query_row(pragma, [], |row| row.get::<_, bool>(0));
    writer.busy_timeout(BUSY_PATIENCE)?;
    Ok(!is_busy?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_a_crash_cut_short_is_rolled_back_before_a_file_is_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, journal) = (folder.path().join("file"), folder.path().join("file-journal"));
        let dying = Connection::open(&path).expect("opened");
        dying.execute_batch("pragma application_id = 7; create table t (x); insert into t values (zeroblob(9))").expect("written");
        dying.execute_batch("pragma journal_mode = truncate; pragma cache_size = 1; begin; pragma application_id = 8").expect("begun");
        let much = "with recursive n(n) as (select 1 union all select n + 1 from n where n < 9000) insert into t select zeroblob(99) from n";
        dying.execute_batch(much).expect("spilled");
        let left = (fs::read(&path).expect("pages"), fs::read(&journal).expect("a journal"));
        assert!(!left.1.is_empty());
        drop(dying);
        fs::write(&path, left.0).expect("written");
        fs::write(&journal, left.1).expect("written");

        assert_eq!(inspect(&path).expect("whole").map(|found| found.application), Some(7));
        let rows: i64 = open_reader(&path).expect("opened").query_row("select count(*) from t", [], |row| row.get(0)).expect("counted");
        assert_eq!(rows, 1);
    }

    #[test]
    fn a_write_ahead_log_begins_anew_however_much_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let mut writer = open_writer(&path, Durability::Cheap).expect("opened");
        writer.execute_batch("create table t (x)").expect("made");
        let mut keeper = WalKeeper::start(&path, &mut writer).expect("started");
        let limit = WAL_LIMIT_PAGES * 4_096;
        for _ in 0..600 {
            // As many pages as it takes six times the limit for, in all.
            writer.execute_batch("insert into t values (zeroblob(160000))").expect("written");
            keeper.tend(&writer).expect("tended");
            while keeper.is_ordered {
                thread::yield_now();
                keeper.tend(&writer).expect("tended");
            }
        }
        let length = fs::metadata(beside(&path, "-wal")).expect("a log").len();
        assert!(length < 2 * limit, "{length}");
        while !truncate_wal(&writer).expect("folded") {}
        assert_eq!(fs::metadata(beside(&path, "-wal")).expect("a log").len(), 0);
        let rows: i64 = open_reader(&path).expect("opened").query_row("select count(*) from t", [], |row| row.get(0)).expect("counted");
        assert_eq!(rows, 600);
    }
}
