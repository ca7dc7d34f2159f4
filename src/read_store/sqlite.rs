//! The embedded read store: one SQLite file, written by the projector alone and read by as many
//! connections as there are readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params, params_from_iter};
use tokio::sync::watch;
use uuid::Uuid;

use super::reader::{Columns, Moment, Read, Reader, Unreadable, Value};
use super::{Checkpoint, OpenError, Rows, StoreError, StoredCheckpoint, Touched, queries, rows};
use crate::domain::event::{Position, Timestamp};
use crate::domain::profile::Picture;
use crate::projections;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::sqlite::{self, Durability, FileLock, Lent, Readers, WalKeeper};

/// `pragma application_id` of a read store: "ENTV".
const APPLICATION: i64 = 0x454e_5456;

/// The read store in a file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteReadStore {
    writer: Arc<Mutex<Writer>>,
    readers: Arc<Readers>,
    checkpoint: Arc<watch::Sender<Checkpoint>>,
}

struct Writer {
    connection: Connection,
    wal: WalKeeper,
    _lock: FileLock,
}

impl SqliteReadStore {
    pub(super) fn open(path: &Path, log: Uuid) -> Result<Self, OpenError> {
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
        Ok(Self {
            writer: Arc::new(Mutex::new(writer)),
            readers: Arc::new(Readers::open(path)?),
            checkpoint: Arc::new(watch::channel(Checkpoint::default()).0),
        })
    }

    pub(super) fn has_rows(path: &Path) -> bool {
        path.exists() && stored_checkpoints(path).is_ok_and(|found| found.iter().any(|found| found.position > Position(0)))
    }

    pub(super) fn checkpoint_watch(&self) -> watch::Receiver<Checkpoint> {
        self.checkpoint.subscribe()
    }

    /// A connection that reads on the asking thread; its calls never wait.
    pub(super) fn reader(&self, moment: Moment) -> Result<SqliteReader<'_>, StoreError> {
        let connection = self.readers.lend().map_err(failed)?;
        if moment == Moment::Same {
            connection.execute_batch("begin").map_err(failed)?;
        }
        Ok(SqliteReader(connection))
    }

    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let writer = Arc::clone(&self.writer);
        let done = tokio::task::spawn_blocking(move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))).await;
        done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    /// The rows there are for some keys, for the projector to fold on.
    pub(super) async fn load(&self, touched: Touched) -> Result<Rows, StoreError> {
        self.write(move |writer| {
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
        })
        .await
    }

    /// Writes changed rows, and that the log is folded up to `checkpoint`, in one transaction.
    pub(super) async fn apply(&self, rows: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        let write = move |writer: &mut Writer| {
            write_all(&mut writer.connection, &rows, checkpoint).map_err(failed)?;
            if let Err(error) = writer.wal.tend(&writer.connection) {
                tracing::warn!(%error, "the views could not be folded into their file");
            }
            Ok(rows)
        };
        let written = self.write(write).await?;
        self.checkpoint.send_replace(checkpoint);
        Ok(written)
    }
}

/// A connection for a query or several.
pub(super) struct SqliteReader<'a>(Lent<'a>);

impl Reader for SqliteReader<'_> {
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
        user.execute(params![id.as_str(), state.profile.name.as_str(), picture, state.contactable, member, version, sort_key, search_name, changed.0])?;
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
    let mut message = connection.prepare_cached(queries::INSERT_MESSAGE)?;
    for row in &changed.messages {
        let MessageRow { conversation, number, sender_number, id, sender, text, sent_at, position } = row;
        message.execute(params![conversation.0, number, sender_number, id.0, sender.as_str(), text.as_str(), sent_at.0, position.0])?;
    }
    if let Some(SectionRow { section, version, changed }) = &changed.section {
        let templates = (section.list_template.number(), section.detail_template.number());
        connection.prepare_cached(queries::UPSERT_SECTION)?.execute(params![section.title.as_str(), templates.0, templates.1, version, changed.0])?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Failed(error.to_string().into())
}

/// Why the rows of a file cannot be folded on; none where they can, or where there is no file.
fn unusable(path: &Path, log: Uuid) -> Result<Option<&'static str>, OpenError> {
    match sqlite::inspect(path) {
        Ok(None) => return Ok(None),
        Ok(Some(inspection)) if inspection.application == APPLICATION => {}
        Ok(Some(_)) => return Err(OpenError::Foreign { place: sqlite::place(path), what: "a read store" }),
        Err(OpenError::Damaged { .. }) => return Ok(Some("the file is damaged")),
        Err(error) => return Err(error),
    }
    let Ok(found) = stored_checkpoints(path) else { return Ok(Some("its checkpoints cannot be read")) };
    if found.iter().any(|found| found.log != log) {
        return Err(OpenError::Diverged { place: sqlite::place(path) });
    }
    Ok((!super::are_of_these_shapes(&found)).then_some("its projections have changed"))
}

fn stored_checkpoints(path: &Path) -> Result<Vec<StoredCheckpoint>, StoreError> {
    let connection = sqlite::open_reader(path).map_err(failed)?;
    query(&connection, queries::CHECKPOINTS, &[], StoredCheckpoint::read)
}

fn discard(path: &Path) -> Result<(), OpenError> {
    let files: [PathBuf; 3] = [path.into(), sqlite::beside(path, "-wal"), sqlite::beside(path, "-shm")];
    for file in files {
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Io { place: sqlite::place(&file), source }),
        }
    }
    Ok(())
}
