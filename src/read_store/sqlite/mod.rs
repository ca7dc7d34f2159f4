//! The embedded read store: one SQLite file a generation, written by the projector alone and read by as many
//! connections as there are readers.
//!
//! | | |
//! | --- | --- |
//! | the store, its generations and how one follows another | here |
//! | what is read | [`reader`] |
//! | what is folded and written | [`lease`]; by which connection, and when it reaches the disk [`writer`] |
//! | what a crash of the machine leaves of it | [`unflushed`] |

mod lease;
mod reader;
mod unflushed;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::{Connection, params};
use tokio::sync::watch;
use uuid::Uuid;

use super::generations::{Generations, InUse, discard};
use super::reader::Moment;
use super::{Checkpoint, OpenError, StoreError, StoredCheckpoint, queries, rows};
use crate::projections::{self, Shape};
use crate::sqlite::{self, Durability, FileLock, Readers};
pub(super) use lease::SqliteLease;
pub(super) use reader::SqliteReader;
use reader::query;
use writer::{STAINED, Writer, flag, flags};

/// `pragma application_id` of a read store: "ENTV".
const APPLICATION: i64 = 0x454e_5456;
/// A flag of `pragma user_version`: the generation was built beside another, to its end.
const PREPARED: i64 = 1;

/// The read store in a file, with the generations of it. Cheap to clone.
#[derive(Clone)]
pub struct SqliteReadStore {
    /// None while one generation is built.
    generations: Option<Generations>,
    /// What is read from.
    shown: Arc<RwLock<Arc<Generation>>>,
    checkpoint: Arc<watch::Sender<Checkpoint>>,
}

/// One file of rows.
struct Generation {
    file: PathBuf,
    writer: Mutex<Writer>,
    readers: Arc<Readers>,
    /// The store's: held until the last write that was begun has ended, whoever still waits for it.
    lock: Arc<FileLock>,
    /// So that nobody removes the file.
    _in_use: InUse,
}

impl Generation {
    fn open(file: &Path, lock: Arc<FileLock>) -> Result<Self, rusqlite::Error> {
        Self::of(file, sqlite::open_writer(file, Durability::Cheap)?, lock)
    }

    fn of(file: &Path, connection: Connection, lock: Arc<FileLock>) -> Result<Self, rusqlite::Error> {
        connection.execute(queries::PARKED_TABLE, [])?;
        let in_use = InUse::mark(file)?;
        let writer = Writer::of(file, connection)?;
        Ok(Self { file: file.into(), writer: Mutex::new(writer), readers: Arc::new(Readers::open(file)?), lock, _in_use: in_use })
    }

    /// Makes the tables of a file that is not there yet.
    fn create(file: &Path, log: Uuid, with: impl Fn(&Shape) -> String) -> Result<(), rusqlite::Error> {
        let connection = sqlite::open_writer(file, Durability::Cheap)?;
        let transaction = sqlite::begin(&connection)?;
        transaction.execute(queries::CHECKPOINTS_TABLE, [])?;
        for shape in projections::ALL {
            transaction.execute_batch(&with(&shape))?;
            transaction.execute(queries::INSERT_CHECKPOINT, params![shape.name, log, Uuid::nil(), shape.version, shape.sql])?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.commit()
    }

    fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let connection = self.readers.lend().map_err(failed)?;
        Ok(query(&connection, queries::CHECKPOINT, &[], rows::checkpoint)?.pop().unwrap_or_default())
    }

    async fn write<T: Send + 'static>(self: &Arc<Self>, work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let generation = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&mut generation.writer.lock().unwrap_or_else(PoisonError::into_inner))).await;
        done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }
}

impl SqliteReadStore {
    pub(super) fn open(path: &Path, log: Uuid) -> Result<Self, OpenError> {
        let lock = FileLock::acquire(path)?;
        let (generations, io) = (Generations::at(path), OpenError::io(path));
        if let Some(Unusable::Foreign(error)) = unusable(&generations.current().unwrap_or(path.into()), log) {
            return Err(error);
        }
        let was_unflushed = generations.all().iter().any(|file| unflushed::is_noted(file));
        if let Some(adopted) = generations.adopt_file().map_err(&io)?.filter(|_| was_unflushed) {
            // A copy of what the link led to, without its note.
            unflushed::distrust(&adopted).map_err(&io)?;
        }
        generations.sweep().map_err(&io)?;
        let file = match generations.current() {
            Some(file) if unusable(&file, log).is_none() => file,
            current => {
                // Who is still at it would go on writing into what is taken over or removed here.
                let _nobody_builds = nobody_builds(path)?;
                if current.is_none() {
                    // Whoever deletes the views means all of them.
                    generations.others().iter().try_for_each(|file| discard(file)).map_err(&io)?;
                }
                let next = generations.next();
                if !is_prepared(&next, log) {
                    if let Some((current, Unusable::Outdated(reason))) = current.as_ref().and_then(|current| Some((current, unusable(current, log)?))) {
                        tracing::info!(path = %path.display(), reason, "the views are made anew from the log");
                        if stored_checkpoints(current).is_err() {
                            tracing::warn!(path = %path.display(), "nothing in the former views can be read: whether the log lost something, they cannot tell");
                        }
                    }
                    discard(&next).map_err(&io)?;
                    Generation::create(&next, log, |shape| shape.sql.to_owned()).map_err(OpenError::sqlite(path))?;
                }
                generations.switch_to(&next).map_err(&io)?;
                // Nobody can make anything of torn pages.
                if let Some(torn) = current.filter(|current| unflushed::may_be_torn(current) && !InUse::is_marked(current)) {
                    discard(&torn).map_err(&io)?;
                }
                next
            }
        };
        Ok(Self::of(Generation::open(&file, Arc::new(lock)).map_err(OpenError::sqlite(path))?, Some(generations)))
    }

    fn of(generation: Generation, generations: Option<Generations>) -> Self {
        let (shown, checkpoint) = (Arc::new(RwLock::new(Arc::new(generation))), Arc::new(watch::channel(Checkpoint::default()).0));
        Self { generations, shown, checkpoint }
    }

    /// The next generation, as far as it was built: without its indexes until it is finished.
    pub(super) fn build(path: &Path, log: Uuid) -> Result<Self, OpenError> {
        let lock = nobody_builds(path)?;
        let next = Generations::at(path).next();
        // One whose making was cut short has no tables. What a kill left half written is taken back first.
        if unusable(&next, log).is_some() || stored_checkpoints(&next).is_err() {
            discard(&next).map_err(OpenError::io(path))?;
            Generation::create(&next, log, Shape::table).map_err(OpenError::sqlite(path))?;
        }
        let filled = sqlite::open_filler(&next).and_then(|connection| Generation::of(&next, connection, Arc::new(lock)));
        Ok(Self::of(filled.map_err(OpenError::sqlite(path))?, None))
    }

    /// Makes the indexes of a generation that was built, as far as there are none.
    pub(super) async fn finish(&self) -> Result<(), StoreError> {
        let index = |writer: &mut Writer| {
            let transaction = sqlite::begin(&writer.connection).map_err(failed)?;
            for shape in projections::ALL {
                transaction.execute_batch(&shape.indexes()).map_err(failed)?;
            }
            flag(&transaction, PREPARED).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            sqlite::use_wal(&writer.connection, Durability::Cheap).map_err(failed)
        };
        self.shown().write(index).await
    }

    /// Makes the generation that was built the current one. Whoever folds goes over to it.
    pub(super) fn switch(&self, path: &Path) -> Result<(), StoreError> {
        let switched = Generations::at(path).switch_to(&self.shown().file);
        switched.map_err(|error| StoreError::Failed(error.to_string().into()))
    }

    /// Removes every generation but the current one. Returns how many there were.
    pub(super) fn drop_others(path: &Path) -> Result<usize, OpenError> {
        drop_others(&Generations::at(path))
    }

    /// Asks whoever folds, which may be another process.
    pub(super) fn request_retry(path: &Path, entity: Option<&str>) -> Result<u64, OpenError> {
        if !path.exists() {
            return Err(sqlite::nothing_here(path, "there are no views here yet"));
        }
        let asked = sqlite::open_writer(path, Durability::Cheap).and_then(|connection| connection.execute(queries::RETRY, [entity]));
        asked.map(|count| count as u64).map_err(OpenError::sqlite(path))
    }

    pub(super) fn last_folded(path: &Path) -> Checkpoint {
        if !path.exists() {
            return Checkpoint::default();
        }
        let found = sqlite::open_reader(path).map_err(failed).and_then(|connection| query(&connection, queries::CHECKPOINT, &[], rows::checkpoint));
        found.unwrap_or_default().pop().unwrap_or_default()
    }

    /// Whether a start folds on from what is there.
    pub(super) fn is_usable(path: &Path, log: Uuid) -> bool {
        unusable(&Generations::at(path).current().unwrap_or(path.into()), log).is_none()
    }

    /// Whether bytes of what was erased may be left.
    pub(super) fn is_stained(&self) -> Result<bool, StoreError> {
        let shown = self.shown();
        let connection = shown.readers.lend().map_err(failed)?;
        Ok(flags(&connection).map_err(failed)? & STAINED != 0)
    }

    pub(super) fn checkpoint_watch(&self) -> watch::Receiver<Checkpoint> {
        self.checkpoint.subscribe()
    }

    fn shown(&self) -> Arc<Generation> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection that reads on the asking thread; its calls never wait.
    pub(super) fn reader(&self, moment: Moment) -> Result<SqliteReader, StoreError> {
        let connection = Readers::lend_kept(&self.shown().readers).map_err(failed)?;
        if moment == Moment::Same {
            connection.execute_batch("begin").map_err(failed)?;
        }
        Ok(SqliteReader(connection))
    }

    /// The file's lock is the lease; what is folded into is the current generation.
    pub(super) fn lead(&self) -> Result<SqliteLease, StoreError> {
        let shown = self.shown();
        let generation = match self.newer_than(&shown) {
            Some(file) => Arc::new(Generation::open(&file, Arc::clone(&shown.lock)).map_err(failed)?),
            None => shown,
        };
        let lease = SqliteLease { store: self.clone(), generation };
        lease.show(lease.generation.checkpoint()?);
        Ok(lease)
    }

    fn newer_than(&self, generation: &Generation) -> Option<PathBuf> {
        self.generations.as_ref().and_then(Generations::current).filter(|file| *file != generation.file)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rusqlite::Error) -> StoreError {
    if sqlite::is_full(&error) {
        return StoreError::NoRoom;
    }
    if sqlite::is_busy(&error) {
        return StoreError::Unavailable(error.to_string().into());
    }
    StoreError::Failed(error.to_string().into())
}

/// Why the rows of a file cannot be folded on.
enum Unusable {
    /// They are not to be touched.
    Foreign(OpenError),
    /// They are to be made anew.
    Outdated(&'static str),
}

/// None where they can be folded on, or where there is no file.
fn unusable(path: &Path, log: Uuid) -> Option<Unusable> {
    let is_of_another_log = |found: &[StoredCheckpoint]| found.iter().any(|found| found.log != log);
    let foreign = || Unusable::Foreign(OpenError::Diverged { place: sqlite::place(path) });
    if unflushed::may_be_torn(path) {
        let of_another_log = stored_checkpoints(path).is_ok_and(|found| is_of_another_log(&found));
        return Some(if of_another_log { foreign() } else { Unusable::Outdated("the machine went down while they were written") });
    }
    match sqlite::inspect(path) {
        Ok(None) => return path.exists().then_some(Unusable::Outdated("there is nothing in them")),
        Ok(Some(inspection)) if inspection.application == APPLICATION => {}
        Ok(Some(_)) => return Some(Unusable::Foreign(OpenError::Foreign { place: sqlite::place(path), what: "a read store" })),
        Err(OpenError::Damaged { .. }) => return Some(Unusable::Outdated("the file is damaged")),
        Err(error) => return Some(Unusable::Foreign(error)),
    }
    let Ok(found) = stored_checkpoints(path) else { return Some(Unusable::Outdated("its checkpoints cannot be read")) };
    if is_of_another_log(&found) {
        return Some(foreign());
    }
    (!super::are_of_these_shapes(&found)).then_some(Unusable::Outdated("its projections have changed"))
}

/// Whether a generation was built to its end by these projections.
fn is_prepared(file: &Path, log: Uuid) -> bool {
    let is_finished = || {
        let connection = sqlite::open_reader(file)?;
        flags(&connection)
    };
    file.exists() && unusable(file, log).is_none() && is_finished().is_ok_and(|flags| flags & PREPARED != 0)
}

/// Nobody builds the next generation as long as this is held, but whoever holds it.
fn nobody_builds(path: &Path) -> Result<FileLock, OpenError> {
    FileLock::acquire(&sqlite::beside(path, ".next")).map_err(|error| match error {
        OpenError::InUse { holder, .. } => OpenError::InUse { place: format!("the next generation of {}", sqlite::place(path)), holder },
        error => error,
    })
}

fn drop_others(generations: &Generations) -> Result<usize, OpenError> {
    let path = generations.link();
    let _nobody_builds = nobody_builds(path)?;
    generations.sweep().map_err(OpenError::io(path))?;
    let others = generations.others();
    let (in_use, unused): (Vec<_>, Vec<_>) = others.iter().partition(|file| InUse::is_marked(file));
    unused.iter().try_for_each(|file| discard(file)).map_err(OpenError::io(path))?;
    match in_use.first() {
        Some(file) => Err(OpenError::InUse { place: sqlite::place(file), holder: "a service that has yet to go over to the next views".to_owned() }),
        None => Ok(unused.len()),
    }
}

fn stored_checkpoints(path: &Path) -> Result<Vec<StoredCheckpoint>, StoreError> {
    let connection = sqlite::open_reader(path).map_err(failed)?;
    query(&connection, queries::CHECKPOINTS, &[], StoredCheckpoint::read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_store::Rows;

    const LOG: Uuid = Uuid::from_u128(7);

    /// How the writer flushes: 0 is never, 1 where the file is folded.
    fn flushes(lease: &SqliteLease) -> i64 {
        let writer = lease.generation.writer.lock().expect("not poisoned");
        writer.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).expect("answered")
    }

    async fn written(store: &SqliteReadStore, position: u64) -> SqliteLease {
        let lease = store.lead().expect("the lease");
        let checkpoint = Checkpoint { position: crate::domain::event::Position(position), event: Uuid::nil() };
        lease.apply(Rows::default(), checkpoint).await.expect("written");
        lease
    }

    #[tokio::test]
    async fn what_is_led_is_not_flushed_and_noted_until_it_is_let_go_and_nobody_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("views.db");
        let file = folder.path().join("views.db.1");
        let store = SqliteReadStore::open(&path, LOG).expect("opened");
        assert!(!unflushed::is_noted(&file), "nothing is written yet");
        let lease = written(&store, 1).await;
        assert_eq!((flushes(&lease), unflushed::is_noted(&file), unflushed::may_be_torn(&file)), (0, true, false));

        let reader = sqlite::open_reader(&file).expect("opened");
        reader.execute_batch("begin; select count(*) from users").expect("read");
        lease.release().await;
        assert!(unflushed::is_noted(&file), "somebody reads");
        reader.execute_batch("commit").expect("read");
        let lease = written(&store, 2).await;
        assert_eq!(flushes(&lease), 0);
        lease.release().await;
        assert!(!unflushed::is_noted(&file));
        let lease = written(&store, 3).await;
        assert!(flushes(&lease) == 0 && unflushed::is_noted(&file), "it is led again");
    }

    #[tokio::test]
    async fn what_a_process_left_that_was_killed_is_flushed_though_nothing_more_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, file) = (folder.path().join("views.db"), folder.path().join("views.db.1"));
        drop(written(&SqliteReadStore::open(&path, LOG).expect("opened"), 1).await);
        assert!(unflushed::is_noted(&file));
        let store = SqliteReadStore::open(&path, LOG).expect("opened again");
        let lease = store.lead().expect("the lease");
        assert_eq!(flushes(&lease), 0);
        lease.release().await;
        assert!(!unflushed::is_noted(&file));

        unflushed::distrust(&file).expect("noted");
        assert!(unflushed::may_be_torn(&file) && !SqliteReadStore::is_usable(&path, LOG));
    }
}
