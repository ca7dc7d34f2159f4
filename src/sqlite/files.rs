//! A file as such: whose it is, who has it, whether it is whole.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_PATIENCE, open_reader};
use crate::storage::OpenError;

/// A file up to this size is checked page by page when it is opened.
const CHECKED_WHOLE_BYTES: u64 = 8 << 20;

/// A file held for this process alone, as long as this value lives. The lock ends with the process.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Locks `path` by a file beside it, which names the holder.
    pub(crate) fn acquire(path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, ".lock");
        let mut file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&lock_path).map_err(OpenError::io(&lock_path))?;
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
            Err(TryLockError::Error(error)) => Err(OpenError::Io { place: place(&lock_path), error }),
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
    OpenError::Io { place: place(path), error: io::Error::new(io::ErrorKind::NotFound, what.to_owned()) }
}

/// The path with something after its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Looks at a file without changing it, but for a transaction that a crash cut short, which is rolled back: none yet, or one
/// whose making was cut short (`None`); or whose it is and of which format. Before this process has a connection to it.
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

/// The last migration of a file that has some.
pub(crate) fn format(path: &Path) -> Result<i64, OpenError> {
    let last = |connection: Connection| connection.query_row("select coalesce(max(version), 0) from refinery_schema_history", [], |row| row.get(0));
    open_reader(path).and_then(last).map_err(OpenError::sqlite(path))
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
}
