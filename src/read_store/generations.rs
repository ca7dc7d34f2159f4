//! The files of an embedded read store. Its address is a link to the *generation* that is current, a file with a
//! number. The next is built beside it and becomes current by one rename; those before are kept until told.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::sqlite::{beside, folder};

/// What is kept beside a file: by SQLite, while it is filled or afterwards, and by who has it open.
const COMPANIONS: [&str; 5] = ["-wal", "-shm", "-journal", IN_USE, UNFLUSHED];
const IN_USE: &str = ".open";
/// Says in which run of the machine the file is written without flushes.
pub(super) const UNFLUSHED: &str = ".unflushed";

/// The generations at an address.
#[derive(Clone, Debug)]
pub(super) struct Generations {
    link: PathBuf,
}

impl Generations {
    pub(super) fn at(link: &Path) -> Self {
        Self { link: link.into() }
    }

    /// The address.
    pub(super) fn link(&self) -> &Path {
        &self.link
    }

    /// The file that the address leads to; none where there is none.
    pub(super) fn current(&self) -> Option<PathBuf> {
        fs::read_link(&self.link).ok().map(|target| self.link.with_file_name(target)).filter(|file| file.exists())
    }

    /// The file of the generation after the current one, whether it is there yet or not.
    pub(super) fn next(&self) -> PathBuf {
        let current = fs::read_link(&self.link).ok().and_then(|target| self.number(&target));
        match current {
            Some(number) => beside(&self.link, &format!(".{}", number + 1)),
            None => self.all().pop().unwrap_or_else(|| beside(&self.link, ".1")),
        }
    }

    /// Makes a file the current one, in one step.
    pub(super) fn switch_to(&self, file: &Path) -> io::Result<()> {
        let target = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let made = beside(&self.link, ".link");
        match fs::remove_file(&made) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(target, &made)?;
        fs::rename(&made, &self.link)
    }

    /// Takes in a store that is one file by itself: from a backup, or of a version before there were generations. As which it was
    /// taken in.
    pub(super) fn adopt_file(&self) -> io::Result<Option<PathBuf>> {
        if !fs::symlink_metadata(&self.link).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let file = self.next();
        discard(&file)?;
        for companion in COMPANIONS {
            match fs::rename(beside(&self.link, companion), beside(&file, companion)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.link, &file)?;
        self.switch_to(&file)?;
        Ok(Some(file))
    }

    /// Removes what is beside files that somebody removed, unless they have them open: a write-ahead log tells what it held.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let owner = |entry: &Path| {
            let name = entry.file_name()?.to_str()?;
            let companion = COMPANIONS.iter().find(|companion| name.ends_with(**companion))?;
            let file = self.link.with_file_name(name.strip_suffix(*companion)?);
            self.number(&file).map(|_| file)
        };
        let orphaned: HashSet<PathBuf> = self.entries().filter_map(|entry| owner(&entry)).filter(|file| !file.exists()).collect();
        orphaned.iter().filter(|file| !InUse::is_marked(file)).try_for_each(|file| discard(file))
    }

    /// Every generation but the current one.
    pub(super) fn others(&self) -> Vec<PathBuf> {
        let current = self.current();
        self.all().into_iter().filter(|file| Some(file) != current.as_ref()).collect()
    }

    /// The files there are, by their numbers.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let mut found: Vec<(u64, PathBuf)> = self.entries().filter_map(|entry| Some((self.number(&entry)?, entry))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, file)| file).collect()
    }

    /// Everything in the folder.
    fn entries(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(folder(&self.link)).into_iter().flatten().flatten();
        entries.map(|entry| self.link.with_file_name(entry.file_name()))
    }

    fn number(&self, file: &Path) -> Option<u64> {
        file.file_name()?.to_str()?.strip_prefix(self.link.file_name()?.to_str()?)?.strip_prefix('.')?.parse().ok()
    }
}

/// Says that a generation is open, as long as this lives and the process does. Not by its file itself: who closes that
/// once more takes SQLite's own locks from it.
#[derive(Debug)]
pub(super) struct InUse(#[expect(dead_code, reason = "it is only held")] File);

impl InUse {
    pub(super) fn mark(file: &Path) -> Result<Self, rusqlite::Error> {
        let marked = marker(file).and_then(|marker| marker.lock_shared().map(|()| Self(marker)));
        let cannot_open = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        marked.map_err(|error| rusqlite::Error::SqliteFailure(cannot_open, Some(error.to_string())))
    }

    /// Whether somebody has it open, or may have: it could not be found out.
    pub(super) fn is_marked(file: &Path) -> bool {
        !marker(file).is_ok_and(|marker| marker.try_lock().is_ok())
    }
}

fn marker(file: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(beside(file, IN_USE))
}

/// Removes a generation's file and what is beside it.
pub(super) fn discard(file: &Path) -> io::Result<()> {
    let companions = COMPANIONS.iter().map(|companion| beside(file, companion));
    for file in std::iter::once(file.to_path_buf()).chain(companions) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_a_file_that_was_removed_goes_unless_somebody_has_it_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let generations = Generations::at(&folder.path().join("views.db"));
        let there = |name: &str| folder.path().join(name);
        for name in ["views.db.1", "views.db.1-wal", "views.db.2-wal", "views.db.2.unflushed", "views.db.3-wal", "views.db.lock", "other.db.4-wal"] {
            fs::write(there(name), "written").expect("written");
        }
        let open = InUse::mark(&there("views.db.3")).expect("marked");
        generations.sweep().expect("swept");
        assert!(there("views.db.1-wal").exists() && there("views.db.3-wal").exists() && there("views.db.lock").exists() && there("other.db.4-wal").exists());
        assert!(!there("views.db.2-wal").exists() && !there("views.db.2.unflushed").exists());
        drop(open);
        generations.sweep().expect("swept");
        assert!(!there("views.db.3-wal").exists());
    }

    #[test]
    fn generations_follow_each_other_and_the_address_leads_to_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("views.db");
        let generations = Generations::at(&link);
        assert_eq!((generations.current(), generations.others()), (None, vec![]));
        fs::write(&link, "a store of one file").expect("written");
        fs::write(beside(&link, "-wal"), "its log").expect("written");
        let first = folder.path().join("views.db.1");
        assert_eq!(generations.adopt_file().expect("adopted"), Some(first.clone()));
        assert_eq!(generations.current(), Some(first.clone()));
        assert_eq!(fs::read_to_string(&link).expect("read"), "a store of one file");
        assert!(beside(&first, "-wal").exists() && !beside(&link, "-wal").exists());
        assert_eq!(generations.adopt_file().expect("a link is left as it is"), None);

        let second = generations.next();
        assert_eq!(second, folder.path().join("views.db.2"));
        fs::write(&second, "the next").expect("written");
        assert_eq!((generations.current(), generations.others()), (Some(first.clone()), vec![second.clone()]));
        generations.switch_to(&second).expect("switched");
        assert_eq!((generations.current(), generations.others()), (Some(second.clone()), vec![first.clone()]));
        assert_eq!(fs::read_to_string(&link).expect("read"), "the next");
        discard(&first).expect("removed");
        assert_eq!(generations.others(), Vec::<PathBuf>::new());
        discard(&second).expect("removed");
        assert_eq!((generations.current(), generations.next()), (None, folder.path().join("views.db.3")));
    }
}
