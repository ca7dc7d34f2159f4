//! The embedded read store: one SQLite file a generation, written by the projector alone and read by as many
//! connections as there are readers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params, params_from_iter};
use tokio::sync::watch;
use uuid::Uuid;

use super::generations::{Generations, InUse, discard};
use super::reader::{Columns, Moment, Read, Reader, Unreadable, Value};
use super::{Checkpoint, OpenError, ParkedEntity, Rows, StoreError, StoredCheckpoint, Touched, queries, rows};
use crate::domain::event::{Position, Timestamp};
use crate::domain::profile::Picture;
use crate::domain::text::MessageText;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::projections::{self, Shape};
use crate::sqlite::{self, Durability, FileLock, Lent, Readers, WalKeeper};

/// `pragma application_id` of a read store: "ENTV".
const APPLICATION: i64 = 0x454e_5456;
/// `pragma user_version` of a generation that was built beside another, to its end.
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

struct Writer {
    connection: Connection,
    wal: WalKeeper,
    stain: Stain,
}

/// Where bytes of what was erased may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stain {
    None,
    /// In the file, and then in its write-ahead log.
    File,
    /// In the write-ahead log alone.
    Wal,
}

impl Writer {
    /// Writes the file anew without what was erased, once, and empties its write-ahead log. Readers that are in the way are
    /// no error: that is tried again, now and then.
    fn scrub(&mut self) {
        if self.stain == Stain::File {
            match self.connection.execute_batch("vacuum") {
                Ok(()) => self.stain = Stain::Wal,
                Err(error) => tracing::warn!(%error, "what was erased may have left bytes in the views' file; it is tried again"),
            }
        }
        if self.stain == Stain::Wal {
            match sqlite::truncate_wal(&self.connection) {
                Ok(true) => self.stain = Stain::None,
                Ok(false) => tracing::debug!("readers keep what was erased in the views' write-ahead log; it is emptied when they are gone"),
                Err(error) => tracing::warn!(%error, "what was erased may have left bytes in the views' write-ahead log; it is tried again"),
            }
        }
    }
}

impl Generation {
    fn open(file: &Path, lock: Arc<FileLock>) -> Result<Self, rusqlite::Error> {
        Self::of(file, sqlite::open_writer(file, Durability::Cheap)?, lock)
    }

    fn of(file: &Path, mut connection: Connection, lock: Arc<FileLock>) -> Result<Self, rusqlite::Error> {
        connection.execute(queries::PARKED_TABLE, [])?;
        let in_use = InUse::mark(file)?;
        let wal = WalKeeper::start(file, &mut connection)?;
        let writer = Writer { connection, wal, stain: Stain::None };
        Ok(Self { file: file.into(), writer: Mutex::new(writer), readers: Arc::new(Readers::open(file)?), lock, _in_use: in_use })
    }

    /// Makes the tables of a file that is not there yet.
    fn create(file: &Path, log: Uuid, with: impl Fn(&Shape) -> String) -> Result<(), rusqlite::Error> {
        let mut connection = sqlite::open_writer(file, Durability::Cheap)?;
        let transaction = connection.transaction()?;
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
        generations.adopt_file().map_err(&io)?;
        let file = match generations.current() {
            Some(file) if unusable(&file, log).is_none() => file,
            current => {
                if current.is_none() {
                    // Whoever deletes the views means all of them.
                    generations.others().iter().try_for_each(|file| discard(file)).map_err(&io)?;
                }
                let next = generations.next();
                if !is_prepared(&next, log) {
                    if let Some(Unusable::Outdated(reason)) = current.and_then(|current| unusable(&current, log)) {
                        tracing::info!(path = %path.display(), reason, "the views are made anew from the log");
                    }
                    discard(&next).map_err(&io)?;
                    Generation::create(&next, log, |shape| shape.sql.to_owned()).map_err(OpenError::sqlite(path))?;
                }
                generations.switch_to(&next).map_err(&io)?;
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
        let lock = FileLock::acquire(&sqlite::beside(path, ".next"))?;
        let next = Generations::at(path).next();
        if unusable(&next, log).is_some() || !next.exists() {
            discard(&next).map_err(OpenError::io(path))?;
            Generation::create(&next, log, Shape::table).map_err(OpenError::sqlite(path))?;
        }
        let filled = sqlite::open_filler(&next).and_then(|connection| Generation::of(&next, connection, Arc::new(lock)));
        Ok(Self::of(filled.map_err(OpenError::sqlite(path))?, None))
    }

    /// Makes the indexes of a generation that was built, as far as there are none.
    pub(super) async fn finish(&self) -> Result<(), StoreError> {
        let index = |writer: &mut Writer| {
            let transaction = writer.connection.transaction().map_err(failed)?;
            for shape in projections::ALL {
                transaction.execute_batch(&shape.indexes()).map_err(failed)?;
            }
            transaction.pragma_update(None, "user_version", PREPARED).map_err(failed)?;
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
        let _nobody_builds = FileLock::acquire(&sqlite::beside(path, ".next"))?;
        let others = Generations::at(path).others();
        let (in_use, unused): (Vec<_>, Vec<_>) = others.iter().partition(|file| InUse::is_marked(file));
        unused.iter().try_for_each(|file| discard(file)).map_err(OpenError::io(path))?;
        match in_use.first() {
            Some(file) => Err(OpenError::InUse { place: sqlite::place(file), holder: "a service that has yet to go over to the next views".to_owned() }),
            None => Ok(unused.len()),
        }
    }

    /// Asks whoever folds, which may be another process.
    pub(super) fn request_retry(path: &Path, entity: Option<&str>) -> Result<u64, OpenError> {
        if !path.exists() {
            return Err(sqlite::nothing_here(path, "there are no views here yet"));
        }
        let asked = sqlite::open_writer(path, Durability::Cheap).and_then(|connection| connection.execute(queries::RETRY, [entity]));
        asked.map(|count| count as u64).map_err(OpenError::sqlite(path))
    }

    pub(super) fn has_rows(path: &Path) -> bool {
        path.exists() && stored_checkpoints(path).is_ok_and(|found| found.iter().any(|found| found.position > Position(0)))
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

/// The right to fold into a generation.
pub(super) struct SqliteLease {
    store: SqliteReadStore,
    generation: Arc<Generation>,
}

impl SqliteLease {
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        self.generation.checkpoint()
    }

    pub(super) fn parked(&self) -> Result<Vec<ParkedEntity>, StoreError> {
        let connection = self.generation.readers.lend().map_err(failed)?;
        query(&connection, queries::PARKED, &[], ParkedEntity::read)
    }

    /// Whether another generation became the current one.
    pub(super) fn is_superseded(&self) -> bool {
        self.store.newer_than(&self.generation).is_some()
    }

    /// Reads go to the generation from when it shows whatever was shown before.
    fn show(&self, checkpoint: Checkpoint) {
        let is_shown = || Arc::ptr_eq(&self.store.shown(), &self.generation);
        if !is_shown() {
            if checkpoint.position < self.store.checkpoint.borrow().position {
                return;
            }
            *self.store.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.generation);
        }
        self.store.checkpoint.send_replace(checkpoint);
    }

    /// The rows there are for some keys, for the projector to fold on.
    pub(super) async fn load(&self, touched: Touched) -> Result<Rows, StoreError> {
        let load = move |writer: &mut Writer| {
            let connection = &writer.connection;
            let mut found = Rows::default();
            for id in &touched.users {
                found.users.extend(query(connection, queries::USER, &[Value::Text(id.as_str())], rows::user)?);
            }
            for (owner, contact) in &touched.conversations {
                let parameters = [Value::Text(owner.as_str()), Value::Text(contact.as_str())];
                found.conversations.extend(query(connection, queries::CONVERSATION, &parameters, rows::conversation)?);
            }
            if touched.section {
                found.section = query(connection, queries::SECTION, &[], rows::section)?.pop();
            }
            Ok(found)
        };
        self.generation.write(load).await
    }

    /// What could not be done at once after an erasure. Called now and then.
    pub(super) async fn tidy(&self) -> Result<(), StoreError> {
        // Nobody else writes, so the lock is free.
        if self.generation.writer.try_lock().is_ok_and(|writer| writer.stain == Stain::None) {
            return Ok(());
        }
        let tidy = |writer: &mut Writer| {
            writer.scrub();
            Ok(())
        };
        self.generation.write(tidy).await
    }

    /// Writes changed rows, and that the log is folded up to `checkpoint`, in one transaction.
    pub(super) async fn apply(&self, rows: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        let write = move |writer: &mut Writer| {
            write_all(&mut writer.connection, &rows, checkpoint).map_err(failed)?;
            if !rows.erased.is_empty() {
                writer.stain = Stain::File;
                writer.scrub();
            }
            if let Err(error) = writer.wal.tend(&writer.connection) {
                tracing::warn!(%error, "the views could not be folded into their file");
            }
            Ok(rows)
        };
        let written = self.generation.write(write).await?;
        self.show(checkpoint);
        Ok(written)
    }
}

/// A connection for a query or several.
pub(super) struct SqliteReader(Lent<Arc<Readers>>);

impl Reader for SqliteReader {
    async fn query<T: Send>(&mut self, sql: &'static str, parameters: &[Value<'_>], read: Read<T>) -> Result<Vec<T>, StoreError> {
        query(&self.0, sql, parameters, read)
    }

    async fn query_each<T: Send>(&mut self, sql: &'static str, parameters: &[Vec<Value<'_>>], read: Read<T>) -> Result<Vec<Vec<T>>, StoreError> {
        parameters.iter().map(|parameters| query(&self.0, sql, parameters, read)).collect()
    }
}

fn query<T>(connection: &Connection, sql: &'static str, parameters: &[Value<'_>], read: Read<T>) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut found = statement.query(params_from_iter(parameters)).map_err(failed)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        rows.push(read(row)?);
    }
    Ok(rows)
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        match self {
            Self::Integer(integer) => integer.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::TextOrNull(text) => text.to_sql(),
            Self::Uuid(uuid) => uuid.to_sql(),
            Self::BytesOrNull(bytes) => bytes.to_sql(),
        }
    }
}

fn value<'a>(row: &'a Row<'_>, column: usize) -> Result<ValueRef<'a>, Unreadable> {
    row.get_ref(column).map_err(|error| Unreadable::new(column, error))
}

impl Columns for Row<'_> {
    fn integer(&self, column: usize) -> Result<i64, Unreadable> {
        value(self, column)?.as_i64().map_err(|error| Unreadable::new(column, error))
    }

    fn integer_or_null(&self, column: usize) -> Result<Option<i64>, Unreadable> {
        value(self, column)?.as_i64_or_null().map_err(|error| Unreadable::new(column, error))
    }

    fn text(&self, column: usize) -> Result<&str, Unreadable> {
        value(self, column)?.as_str().map_err(|error| Unreadable::new(column, error))
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, Unreadable> {
        value(self, column)?.as_str_or_null().map_err(|error| Unreadable::new(column, error))
    }

    fn uuid(&self, column: usize) -> Result<Uuid, Unreadable> {
        Uuid::from_slice(self.bytes(column)?).map_err(|error| Unreadable::new(column, error))
    }

    fn uuid_or_null(&self, column: usize) -> Result<Option<Uuid>, Unreadable> {
        if value(self, column)? == ValueRef::Null { Ok(None) } else { self.uuid(column).map(Some) }
    }

    fn bytes(&self, column: usize) -> Result<&[u8], Unreadable> {
        value(self, column)?.as_blob().map_err(|error| Unreadable::new(column, error))
    }
}

fn write_all(connection: &mut Connection, rows: &Rows, checkpoint: Checkpoint) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    write_rows(&transaction, rows)?;
    transaction.prepare_cached(queries::ADVANCE)?.execute(params![checkpoint.position.0, checkpoint.event])?;
    transaction.commit()
}

fn write_rows(connection: &Connection, changed: &Rows) -> Result<(), rusqlite::Error> {
    let mut user = connection.prepare_cached(queries::UPSERT_USER)?;
    for UserRow { id, user: state, member, version, sort_key, search_name, changed } in &changed.users {
        let picture = state.profile.picture.as_ref().map(Picture::as_str);
        user.execute(params![
            id.as_str(),
            state.profile.name.as_str(),
            picture,
            state.contactable,
            state.erased,
            member,
            version,
            sort_key,
            search_name,
            changed.0
        ])?;
    }
    let mut conversation = connection.prepare_cached(queries::UPSERT_CONVERSATION)?;
    for row in &changed.conversations {
        let (side, at) = (&row.side, |at: Option<Timestamp>| at.map(|at| at.0));
        conversation.execute(params![
            row.owner.as_str(),
            row.contact.as_str(),
            row.conversation.0,
            row.version,
            side.sent,
            side.received,
            side.read,
            side.blocked_at,
            rows::listing_name(side.listing),
            at(row.last_at),
            at(row.latest_at),
            row.changed.0,
            row.reshaped.0,
            row.removed.0,
            side.is_blocking(),
        ])?;
    }
    for user in &changed.erased {
        connection.prepare_cached(queries::ERASE_MESSAGES)?.execute(params![MessageText::erased().as_str(), user.as_str()])?;
    }
    let mut message = connection.prepare_cached(queries::INSERT_MESSAGE)?;
    for row in &changed.messages {
        let MessageRow { conversation, number, sender_number, id, sender, text, sent_at, position } = row;
        message.execute(params![conversation.0, number, sender_number, id.0, sender.as_str(), text.as_str(), sent_at.0, position.0])?;
    }
    if let Some(SectionRow { section, version, changed }) = &changed.section {
        let templates = (section.list_template.number(), section.detail_template.number());
        connection.prepare_cached(queries::UPSERT_SECTION)?.execute(params![section.title.as_str(), templates.0, templates.1, version, changed.0])?;
    }
    for ParkedEntity { entity, stream, version, position, event, reason, is_retried } in &changed.parked {
        connection.prepare_cached(queries::PARK)?.execute(params![entity, stream, version, position.0, event, reason, is_retried])?;
    }
    for entity in &changed.healed {
        connection.prepare_cached(queries::HEAL)?.execute([entity])?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rusqlite::Error) -> StoreError {
    if sqlite::is_full(&error) {
        return StoreError::NoRoom;
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
    match sqlite::inspect(path) {
        Ok(None) => return None,
        Ok(Some(inspection)) if inspection.application == APPLICATION => {}
        Ok(Some(_)) => return Some(Unusable::Foreign(OpenError::Foreign { place: sqlite::place(path), what: "a read store" })),
        Err(OpenError::Damaged { .. }) => return Some(Unusable::Outdated("the file is damaged")),
        Err(error) => return Some(Unusable::Foreign(error)),
    }
    let Ok(found) = stored_checkpoints(path) else { return Some(Unusable::Outdated("its checkpoints cannot be read")) };
    if found.iter().any(|found| found.log != log) {
        return Some(Unusable::Foreign(OpenError::Diverged { place: sqlite::place(path) }));
    }
    (!super::are_of_these_shapes(&found)).then_some(Unusable::Outdated("its projections have changed"))
}

/// Whether a generation was built to its end by these projections.
fn is_prepared(file: &Path, log: Uuid) -> bool {
    let is_finished = || {
        let connection = sqlite::open_reader(file)?;
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    file.exists() && unusable(file, log).is_none() && is_finished().is_ok_and(|version| version == PREPARED)
}

fn stored_checkpoints(path: &Path) -> Result<Vec<StoredCheckpoint>, StoreError> {
    let connection = sqlite::open_reader(path).map_err(failed)?;
    query(&connection, queries::CHECKPOINTS, &[], StoredCheckpoint::read)
}
