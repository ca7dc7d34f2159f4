//! The embedded read store: one SQLite file, written by the projector alone and read by a pool.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::rows::{conversation_row, message_row, section_row, user_id, user_row, user_view, write_rows};
use super::{
    Checkpoint, DirectoryKey, ListKey, ListOrder, Members, MessageView, Missed, OpenError, Page, Relation, Rows, Run, Slice, StoreError, Take, Totals, Touched,
    UserView, inbox, queries,
};
use crate::domain::event::Position;
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::projections;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::sqlite::{self, Durability, FileLock, Readers, WalKeeper};

/// `pragma application_id` of a read store: "ENTV".
const APPLICATION: i64 = 0x454e_5456;

/// The read store. Cheap to clone.
#[derive(Clone)]
pub struct SqliteReadStore {
    writer: Arc<Mutex<Writer>>,
    readers: Arc<Readers>,
    calls: Arc<AtomicU64>,
}

struct Writer {
    connection: Connection,
    wal: WalKeeper,
    _lock: FileLock,
}

impl SqliteReadStore {
    /// Opens the rows made from the log with this id, or begins anew where they are missing, damaged, or
    /// made by other folds.
    ///
    /// # Errors
    /// When another process holds the file, it is no read store, it was made from another log, or it
    /// cannot be written.
    pub fn open(path: &Path, log: Uuid) -> Result<Self, OpenError> {
        let lock = FileLock::acquire(path)?;
        if let Some(reason) = unusable(path, log)? {
            tracing::info!(path = %path.display(), reason, "the views are made anew from the log");
            discard(path)?;
        }
        Self::open_or_create(path, log, lock).map_err(OpenError::sqlite(path))
    }

    fn open_or_create(path: &Path, log: Uuid, lock: FileLock) -> Result<Self, rusqlite::Error> {
        let mut connection = sqlite::open_writer(path, Durability::Cheap)?;
        let transaction = connection.transaction()?;
        if transaction.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))? != APPLICATION {
            transaction.execute(queries::CHECKPOINTS_TABLE, [])?;
            for shape in projections::ALL {
                transaction.execute_batch(shape.sql)?;
                transaction.execute(queries::INSERT_CHECKPOINT, params![shape.name, log, Uuid::nil(), shape.version, shape.sql])?;
            }
            transaction.pragma_update(None, "application_id", APPLICATION)?;
        }
        transaction.commit()?;
        let writer = Writer { connection, wal: WalKeeper::start(path)?, _lock: lock };
        Ok(Self { writer: Arc::new(Mutex::new(writer)), readers: Arc::new(Readers::open(path)?), calls: Arc::default() })
    }

    /// Whether there are rows that were made from events. What cannot be read has none.
    #[must_use]
    pub fn has_rows(path: &Path) -> bool {
        path.exists() && stored_checkpoints(path).is_ok_and(|found| found.iter().any(|found| found.position > Position(0)))
    }

    /// How many queries were answered since the start.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    #[expect(clippy::unused_async, reason = "the port waits; this store answers at once")]
    async fn read<T>(&self, query: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error>) -> Result<T, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.readers.read(query).map_err(failed)
    }

    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&mut Writer) -> Result<T, rusqlite::Error> + Send + 'static) -> Result<T, StoreError> {
        let writer = Arc::clone(&self.writer);
        let done = tokio::task::spawn_blocking(move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))).await;
        done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())).map_err(failed)
    }

    /// How far the log is folded.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let checkpoint = |row: &Row<'_>| Ok(Checkpoint { position: Position(row.get(0)?), event: row.get(1)? });
        self.read(|connection| connection.prepare_cached(queries::CHECKPOINT)?.query_row([], checkpoint)).await
    }

    /// The rows there are for some keys, for the projector to fold on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(&self, touched: Touched) -> Result<Rows, StoreError> {
        self.write(move |writer| {
            let connection = &writer.connection;
            let mut rows = Rows::default();
            let mut user = connection.prepare_cached(queries::USER)?;
            for id in &touched.users {
                rows.users.extend(user.query_row([id.as_str()], |row| user_row(row, 0)).optional()?);
            }
            let mut conversation = connection.prepare_cached(queries::CONVERSATION)?;
            for (owner, contact) in &touched.conversations {
                rows.conversations.extend(conversation.query_row([owner.as_str(), contact.as_str()], |row| conversation_row(row, 0)).optional()?);
            }
            if touched.section {
                rows.section = connection.prepare_cached(queries::SECTION)?.query_row([], section_row).optional()?;
            }
            Ok(rows)
        })
        .await
    }

    /// Writes changed rows, and that the log is folded up to `checkpoint`, in one transaction.
    ///
    /// # Errors
    /// When the store fails. Nothing was written then.
    pub async fn apply(&self, rows: Rows, checkpoint: Checkpoint) -> Result<(), StoreError> {
        self.write(move |writer| {
            let transaction = writer.connection.transaction()?;
            write_rows(&transaction, &rows)?;
            transaction.prepare_cached(queries::ADVANCE)?.execute(params![checkpoint.position.0, checkpoint.event])?;
            transaction.commit()?;
            if let Err(error) = writer.wal.tend(&writer.connection) {
                tracing::warn!(%error, "the views could not be folded into their file");
            }
            Ok(())
        })
        .await
    }

    /// A user as `viewer` sees them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn view(&self, viewer: &UserId, user: &UserId) -> Result<Option<UserView>, StoreError> {
        let (viewer, user) = (viewer.clone(), user.clone());
        self.read(move |connection| connection.prepare_cached(queries::VIEW)?.query_row([viewer.as_str(), user.as_str()], user_view).optional()).await
    }

    /// A part of the viewer's conversation list.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, viewer: &UserId, order: ListOrder, slice: Slice<ListKey>) -> Result<Page<UserView>, StoreError> {
        let viewer = viewer.clone();
        self.read(move |connection| {
            let moment = connection.transaction()?;
            let descending = (order == ListOrder::NewestFirst) != matches!(slice.take, Take::Last(_));
            let mut statement = moment.prepare_cached(if descending { queries::LISTED_NEWEST_FIRST } else { queries::LISTED_OLDEST_FIRST })?;
            let mut rows = Vec::new();
            for blocked in if matches!(slice.take, Take::First(_)) { [false, true] } else { [true, false] } {
                let Some((low, high)) = group_bounds(blocked, order, &slice) else { continue };
                let missing = slice.take.count() + 1 - rows.len();
                let found = statement.query_map(params![viewer.as_str(), blocked, low.0, low.1, high.0, high.1, missing as u64], user_view)?;
                for row in found {
                    rows.push(row?);
                }
                if rows.len() > slice.take.count() {
                    break;
                }
            }
            Ok(Page::of(rows, &slice))
        })
        .await
    }

    /// The totals of the viewer's list.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn totals(&self, viewer: &UserId) -> Result<Totals, StoreError> {
        let viewer = viewer.clone();
        self.read(move |connection| {
            connection.prepare_cached(queries::TOTALS)?.query_row([viewer.as_str()], |row| Ok(Totals { conversations: row.get(0)?, unread: row.get(1)? }))
        })
        .await
    }

    /// A part of the directory without the viewer; `search` as [`crate::domain::collation::searchable`] made it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn directory(&self, viewer: &UserId, search: &str, slice: Slice<DirectoryKey>) -> Result<Page<UserView>, StoreError> {
        let viewer = viewer.clone();
        let pattern = format!("%{}%", search.replace('!', "!!").replace('%', "!%").replace('_', "!_"));
        self.read(move |connection| {
            let (sql, beyond, within) = match slice.take {
                Take::First(_) => (queries::DIRECTORY, &slice.after, &slice.before),
                Take::Last(_) => (queries::DIRECTORY_BACKWARDS, &slice.before, &slice.after),
            };
            let key = |key: &Option<DirectoryKey>| key.as_ref().map_or((None, None), |key| (Some(key.sort_key.clone()), Some(key.id.to_string())));
            let ((beyond_key, beyond_id), (within_key, within_id)) = (key(beyond), key(within));
            let limit = slice.take.count() as u64 + 1;
            let rows = connection
                .prepare_cached(sql)?
                .query_map(params![viewer.as_str(), pattern, beyond_key, beyond_id, within_key, within_id, limit], user_view)?
                .collect::<Result<_, _>>()?;
            Ok(Page::of(rows, &slice))
        })
        .await
    }

    /// Several runs of messages at once, each in order. Whether the asker may see them is theirs to know.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn messages(&self, runs: Vec<Run>) -> Result<Vec<Vec<MessageRow>>, StoreError> {
        self.read(move |connection| {
            let moment = connection.transaction()?;
            let mut statement = moment.prepare_cached(queries::MESSAGES)?;
            runs.iter().map(|run| statement.query_map(params![run.conversation.0, run.from, run.to], |row| message_row(row, 0))?.collect()).collect()
        })
        .await
    }

    /// Any message, whoever may see it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
        self.read(move |connection| connection.prepare_cached(queries::MESSAGE)?.query_row([id.0], |row| message_row(row, 0)).optional()).await
    }

    /// A message that `viewer` may see.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn visible_message(&self, viewer: &UserId, id: MessageId) -> Result<Option<MessageView>, StoreError> {
        let viewer = viewer.clone();
        self.read(move |connection| {
            let view = |row: &Row<'_>| Ok(MessageView { message: message_row(row, 0)?, contact: user_id(row, queries::COLUMNS_OF_MESSAGE)? });
            connection.prepare_cached(queries::VISIBLE_MESSAGE)?.query_row(params![viewer.as_str(), id.0], view).optional()
        })
        .await
    }

    /// With whom a conversation of the viewer's list is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn contact_of(&self, viewer: &UserId, conversation: ConversationId) -> Result<Option<UserId>, StoreError> {
        let viewer = viewer.clone();
        self.read(move |connection| {
            connection.prepare_cached(queries::CONTACT_OF)?.query_row(params![conversation.0, viewer.as_str()], |row| user_id(row, 0)).optional()
        })
        .await
    }

    /// The section as configured; none while nobody did.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn section(&self) -> Result<Option<SectionRow>, StoreError> {
        self.read(|connection| connection.prepare_cached(queries::SECTION)?.query_row([], section_row).optional()).await
    }

    /// A registered user.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn user(&self, id: &UserId) -> Result<Option<UserRow>, StoreError> {
        let id = id.clone();
        self.read(move |connection| connection.prepare_cached(queries::USER)?.query_row([id.as_str()], |row| user_row(row, 0)).optional()).await
    }

    /// What a decision of `owner` about `contact` is made from.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn relation(&self, owner: &UserId, contact: &UserId) -> Result<Relation, StoreError> {
        let (owner, contact) = (owner.clone(), contact.clone());
        self.read(move |connection| {
            let moment = connection.transaction()?;
            let user = moment.prepare_cached(queries::USER)?.query_row([contact.as_str()], |row| user_row(row, 0)).optional()?;
            let mut conversation = moment.prepare_cached(queries::CONVERSATION)?;
            let mut row =
                |owner: &UserId, contact: &UserId| conversation.query_row([owner.as_str(), contact.as_str()], |row| conversation_row(row, 0)).optional();
            Ok(Relation { contact: user, own: row(&owner, &contact)?, theirs: row(&contact, &owner)? })
        })
        .await
    }

    /// The head count, and which of some users are registered, at one moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn members(&self, asked: Vec<UserId>) -> Result<Members, StoreError> {
        self.read(move |connection| {
            let moment = connection.transaction()?;
            let count = moment.prepare_cached(queries::MEMBERS)?.query_row([], |row| row.get(0))?;
            let mut statement = moment.prepare_cached(queries::USER)?;
            let mut registered = Vec::new();
            for id in asked {
                if statement.exists([id.as_str()])? {
                    registered.push(id);
                }
            }
            Ok(Members { count, registered })
        })
        .await
    }

    /// Whose lists a user stands in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn listed_by(&self, user: &UserId) -> Result<Vec<UserId>, StoreError> {
        let user = user.clone();
        self.read(move |connection| connection.prepare_cached(queries::LISTED_BY)?.query_map([user.as_str()], |row| user_id(row, 0))?.collect()).await
    }

    /// What `viewer` is to be told of what happened since, at most `limit` items.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn missed(&self, viewer: &UserId, after: Position, limit: usize) -> Result<Missed, StoreError> {
        let viewer = viewer.clone();
        self.read(move |connection| inbox::missed(connection, &viewer, after, limit)).await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rusqlite::Error) -> StoreError {
    StoreError(error.to_string().into())
}

/// Why the rows of a file cannot be folded on; none where they can, or where there is no file.
fn unusable(path: &Path, log: Uuid) -> Result<Option<&'static str>, OpenError> {
    match sqlite::inspect(path) {
        Ok(None) => return Ok(None),
        Ok(Some(inspection)) if inspection.application == APPLICATION => {}
        Ok(Some(_)) => return Err(OpenError::Foreign { path: path.into(), what: "a read store" }),
        Err(OpenError::Damaged { .. }) => return Ok(Some("the file is damaged")),
        Err(error) => return Err(error),
    }
    let Ok(found) = stored_checkpoints(path) else { return Ok(Some("its checkpoints cannot be read")) };
    let mut shapes = projections::ALL;
    shapes.sort_by_key(|shape| shape.name);
    let same_shapes = found.len() == shapes.len()
        && found.iter().zip(shapes).all(|(found, shape)| found.projection == shape.name && found.version == shape.version && found.sql == shape.sql);
    if found.iter().any(|found| found.log != log) {
        return Err(OpenError::Diverged { path: path.into() });
    }
    Ok((!same_shapes).then_some("its projections have changed"))
}

struct StoredCheckpoint {
    projection: String,
    log: Uuid,
    position: Position,
    version: u32,
    sql: String,
}

fn stored_checkpoints(path: &Path) -> Result<Vec<StoredCheckpoint>, rusqlite::Error> {
    let connection = sqlite::open_reader(path)?;
    let mut statement = connection.prepare(queries::CHECKPOINTS)?;
    let checkpoint = |row: &Row<'_>| {
        Ok(StoredCheckpoint { projection: row.get(0)?, log: row.get(1)?, position: Position(row.get(2)?), version: row.get(4)?, sql: row.get(5)? })
    };
    statement.query_map([], checkpoint)?.collect()
}

fn discard(path: &Path) -> Result<(), OpenError> {
    let files: [PathBuf; 3] = [path.into(), sqlite::beside(path, "-wal"), sqlite::beside(path, "-shm")];
    for file in files {
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Io { path: file, source }),
        }
    }
    Ok(())
}

/// Between which places of a list's blocked or other rows a slice lies; none where it has no part there.
fn group_bounds(blocked: bool, order: ListOrder, slice: &Slice<ListKey>) -> Option<((i64, Uuid), (i64, Uuid))> {
    let (lowest, highest) = ((i64::MIN, Uuid::nil()), (i64::MAX, Uuid::max()));
    let place = |key: ListKey| (key.last_at.0, key.conversation.0);
    // The blocked come after the others: a bound in the other group takes all of this one, or nothing.
    let after = match slice.after {
        Some(key) if key.blocked == blocked => Some(place(key)),
        Some(key) if key.blocked => return None,
        Some(_) | None => None,
    };
    let before = match slice.before {
        Some(key) if key.blocked == blocked => Some(place(key)),
        Some(key) if !key.blocked => return None,
        Some(_) | None => None,
    };
    Some(match order {
        ListOrder::OldestFirst => (after.unwrap_or(lowest), before.unwrap_or(highest)),
        ListOrder::NewestFirst => (before.unwrap_or(lowest), after.unwrap_or(highest)),
    })
}
