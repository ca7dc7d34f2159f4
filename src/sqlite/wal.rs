//! The write-ahead log of a file, kept from growing without end.

use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::BUSY_PATIENCE;

/// Pages in the write-ahead log, of 4 KiB, from which on it is folded back into its file: the more, the more often one page
/// was written before it is.
const WAL_LIMIT_PAGES: u64 = 4_096;
/// So few that the writer folds them itself.
const LITTLE_PAGES: i64 = 256;
/// How often what came meanwhile is folded too, until it is so little.
const FOLDS: usize = 4;
/// How long the writer waits for readers to leave the write-ahead log before it goes on with it as it is.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(50);

/// Keeps the write-ahead log of one writer short. Most of the work is done by a thread beside the
/// writer; the rest, after which the log begins anew in its place, between two of the writer's transactions. A thread
/// beside the writer alone would never catch up with a busy one. Readers never do it.
pub(crate) struct WalKeeper {
    /// Pages in the write-ahead log, as of the writer's last commit.
    pages: Arc<AtomicU64>,
    /// With how many it is to be folded next.
    due: u64,
    /// One at a time: two checkpoints are in each other's way.
    is_ordered: bool,
    /// Each says how the writer flushes (`pragma synchronous`): the thread does as it does.
    orders: SyncSender<i64>,
    /// Whether nearly all was folded.
    outcomes: Receiver<Result<bool, rusqlite::Error>>,
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
        let (orders, to_do) = sync_channel(1);
        let (done, outcomes) = sync_channel(1);
        let keep = move || {
            while let Ok(flushes) = to_do.recv() {
                let folded = connection.pragma_update(None, "synchronous", flushes).and_then(|()| fold_nearly_all(&connection));
                if done.send(folded).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("wal-keeper".into()).spawn(keep).expect("a thread can be started");
        Ok(Self { pages, due: WAL_LIMIT_PAGES, is_ordered: false, orders, outcomes })
    }

    /// Waits for what was ordered to be done: nobody folds afterwards.
    pub(crate) fn finish(&mut self) {
        if std::mem::take(&mut self.is_ordered) {
            let _of_no_matter_now = self.outcomes.recv();
        }
    }

    /// Called by the writer between transactions. Readers that stay too long are no error: it is tried again when there is as
    /// much again to fold, so that the writer does not wait for them time after time.
    ///
    /// # Errors
    /// When the file could not be written or flushed.
    pub(crate) fn tend(&mut self, writer: &Connection) -> Result<(), rusqlite::Error> {
        if let Ok(folded) = self.outcomes.try_recv() {
            self.is_ordered = false;
            let begins_anew = folded? && checkpoint(writer, "pragma wal_checkpoint(restart)")?;
            self.due = if begins_anew { 0 } else { self.pages.load(Ordering::Relaxed) } + WAL_LIMIT_PAGES;
            return Ok(());
        }
        let pages = self.pages.load(Ordering::Relaxed);
        // It may have begun anew without this.
        self.due = self.due.min(pages + WAL_LIMIT_PAGES);
        if !self.is_ordered && pages > self.due {
            let flushes: i64 = writer.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            self.is_ordered = self.orders.try_send(flushes).is_ok();
        }
        Ok(())
    }
}

/// Folds what there is, and then what came meanwhile, until that is little; false where somebody still reads what was there
/// before the rest.
fn fold_nearly_all(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let mut folded = 0;
    for _ in 0..FOLDS {
        let (pages, now_folded): (i64, i64) = connection.query_row("pragma wal_checkpoint(passive)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if now_folded <= folded && now_folded < pages {
            return Ok(false);
        }
        if pages - folded < LITTLE_PAGES {
            return Ok(true);
        }
        folded = now_folded;
    }
    Ok(true)
}

/// Folds the write-ahead log, waiting a little for readers that are in the way; false where they stay longer.
fn checkpoint(writer: &Connection, pragma: &str) -> Result<bool, rusqlite::Error> {
    writer.busy_timeout(CHECKPOINT_PATIENCE)?;
    let is_busy = writer.query_row(pragma, [], |row| row.get::<_, bool>(0));
    writer.busy_timeout(BUSY_PATIENCE)?;
    Ok(!is_busy?)
}

/// Folds the write-ahead log into its file and empties it; false where readers were in the way.
pub(crate) fn truncate_wal(writer: &Connection) -> Result<bool, rusqlite::Error> {
    checkpoint(writer, "pragma wal_checkpoint(truncate)")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sqlite::{Durability, beside, open_reader, open_writer};

    /// Writes a little, and waits until whatever was ordered then is done. Returns whether something was.
    fn write_some(writer: &Connection, keeper: &mut WalKeeper) -> bool {
        writer.execute_batch("insert into t values (zeroblob(160000))").expect("written");
        keeper.tend(writer).expect("tended");
        let was_ordered = keeper.is_ordered;
        while keeper.is_ordered {
            thread::yield_now();
            keeper.tend(writer).expect("tended");
        }
        was_ordered
    }

    #[test]
    fn a_reader_that_stays_is_in_the_way_now_and_then_and_not_at_every_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let mut writer = open_writer(&path, Durability::Cheap).expect("opened");
        writer.execute_batch("create table t (x)").expect("made");
        let mut keeper = WalKeeper::start(&path, &mut writer).expect("started");
        let reader = open_reader(&path).expect("opened");
        reader.execute_batch("begin; select count(*) from t").expect("read");
        // As many pages as it takes six times the limit for, in all.
        let orders = (0..600).filter(|_| write_some(&writer, &mut keeper)).count();
        assert!((4..=7).contains(&orders), "{orders}");
        reader.execute_batch("commit").expect("read");
        while fs::metadata(beside(&path, "-wal")).expect("a log").len() > 2 * WAL_LIMIT_PAGES * 4_096 {
            write_some(&writer, &mut keeper);
            if keeper.due == WAL_LIMIT_PAGES {
                assert!(truncate_wal(&writer).expect("folded"));
            }
        }
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
            write_some(&writer, &mut keeper);
        }
        let length = fs::metadata(beside(&path, "-wal")).expect("a log").len();
        assert!(length < 2 * limit, "{length}");
        while !truncate_wal(&writer).expect("folded") {}
        assert_eq!(fs::metadata(beside(&path, "-wal")).expect("a log").len(), 0);
        let rows: i64 = open_reader(&path).expect("opened").query_row("select count(*) from t", [], |row| row.get(0)).expect("counted");
        assert_eq!(rows, 600);
    }
}
