//! The one connection that writes to a generation: when what it writes reaches the disk, and where bytes of what was erased may be
//! left.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{drop_others, unflushed};
use crate::read_store::OpenError;
use crate::read_store::generations::Generations;
use crate::sqlite::{self, WalKeeper};

/// A flag of `pragma user_version`: bytes of what was erased may be left in the file or in its write-ahead log.
pub(super) const STAINED: i64 = 2;

/// Whoever folds into a generation writes with it.
pub(super) struct Writer {
    file: PathBuf,
    pub(super) connection: Connection,
    pub(super) wal: WalKeeper,
    /// Whether all of the file is on the disk, or will be in its order: there is no note.
    is_flushed: bool,
    /// A flush failed: what of the file was dropped since nobody knows, whatever later ones say.
    is_lost: bool,
    pub(super) stain: Stain,
}

/// Where bytes of what was erased may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stain {
    None,
    /// In the file, and then in its write-ahead log.
    File,
    /// In the write-ahead log, and in generations before.
    Wal,
    /// In generations before alone.
    Former,
}

impl Writer {
    pub(super) fn of(file: &Path, mut connection: Connection) -> Result<Self, rusqlite::Error> {
        let is_flushed = !unflushed::is_noted(file);
        // The note of a process that was killed may not be on the disk.
        if !is_flushed && unflushed::note(file).unwrap_or(false) {
            connection.pragma_update(None, "synchronous", "off")?;
        }
        let wal = WalKeeper::start(file, &mut connection)?;
        // Whatever a crash left there, which may be what was erased.
        let is_folded = sqlite::truncate_wal(&connection)?;
        let stain = match flags(&connection)? & STAINED {
            0 if is_folded => Stain::None,
            0 => Stain::Wal,
            _ => Stain::File,
        };
        Ok(Self { file: file.into(), connection, wal, is_flushed, is_lost: false, stain })
    }

    /// From now on the system brings to the disk what is written, whenever it likes; where that can be noted.
    pub(super) fn stop_flushing(&mut self) -> Result<(), rusqlite::Error> {
        if self.is_flushed {
            let is_noted = unflushed::note(&self.file).unwrap_or_else(|error| {
                tracing::debug!(%error, "the views are flushed: a note that they are not cannot be made");
                false
            });
            if is_noted {
                self.is_flushed = false;
                self.connection.pragma_update(None, "synchronous", "off")?;
            }
        }
        Ok(())
    }

    /// Leaves the file whole by itself and on the disk; false where readers are in the way.
    pub(super) fn settle(&mut self) -> Result<bool, rusqlite::Error> {
        self.wal.finish();
        if self.is_flushed {
            return sqlite::truncate_wal(&self.connection);
        }
        match self.fold_and_flush() {
            Ok(true) if !self.is_lost => {
                self.is_flushed = unflushed::take_off(&self.file).is_ok();
                self.connection.pragma_update(None, "synchronous", if self.is_flushed { "normal" } else { "off" })?;
            }
            Err(error) if !sqlite::is_full(&error) && !sqlite::is_busy(&error) => {
                self.is_lost = true;
                let _noted_as_far_as_it_can_be = unflushed::distrust(&self.file);
                return Err(error);
            }
            Ok(_) | Err(_) => {}
        }
        Ok(self.is_flushed)
    }

    /// Folds the write-ahead log into the file, empties it, and flushes the file with all that was written to it before; false where
    /// readers are in the way.
    fn fold_and_flush(&self) -> Result<bool, rusqlite::Error> {
        let flushes: i64 = self.connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        self.connection.pragma_update(None, "synchronous", "full")?;
        // SQLite flushes a file into which it folds something, so there is something: its first page.
        let folded = flag(&self.connection, 0).and_then(|()| sqlite::truncate_wal(&self.connection));
        self.connection.pragma_update(None, "synchronous", flushes)?;
        folded
    }

    /// Writes the file anew without what was erased, once, empties its write-ahead log, and removes the generations before.
    /// Readers that are in the way are no error, nor is somebody who builds: that is tried again, now and then.
    pub(super) fn scrub(&mut self, generations: Option<&Generations>) {
        if self.stain == Stain::File {
            match self.connection.execute_batch("vacuum") {
                Ok(()) => self.stain = Stain::Wal,
                Err(error) => tracing::warn!(%error, "what was erased may have left bytes in the views' file; it is tried again"),
            }
        }
        if self.stain == Stain::Wal {
            match self.fold_and_flush() {
                Ok(true) => self.stain = Stain::Former,
                Ok(false) => tracing::debug!("the views' write-ahead log is in use and keeps what was erased; it is emptied in a moment"),
                Err(error) => tracing::warn!(%error, "what was erased may have left bytes in the views' write-ahead log; it is tried again"),
            }
        }
        if self.stain == Stain::Former {
            match self.forget_former(generations) {
                Ok(()) => self.stain = Stain::None,
                Err(error) => tracing::debug!(%error, "views of before keep what was erased; they are removed when they can be"),
            }
        }
    }

    /// The last that may hold what was erased: afterwards nothing is left.
    fn forget_former(&self, generations: Option<&Generations>) -> Result<(), OpenError> {
        let sqlite_error = OpenError::sqlite(Path::new("the views"));
        if flags(&self.connection).map_err(&sqlite_error)? & STAINED != 0 {
            if let Some(generations) = generations {
                drop_others(generations)?;
            }
            unflag(&self.connection, STAINED).map_err(&sqlite_error)?;
        }
        Ok(())
    }
}

pub(super) fn flags(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn flag(connection: &Connection, flag: i64) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "user_version", flags(connection)? | flag)
}

fn unflag(connection: &Connection, flag: i64) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "user_version", flags(connection)? & !flag)
}
