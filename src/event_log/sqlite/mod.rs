//! The embedded event log: one SQLite file, one thread that writes. Concurrent appends share one
//! transaction and one flush.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use notify::{RecursiveMode, Watcher};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;
use uuid::Uuid;

use self::writer::{Streams, Writer};
use super::merkle::{Frontier, Hash};
use super::orders::{Draft, Orders, Outcome, orders};
use super::{Clock, LogError, OpenError, StoredEvent, advance, kept_frontier, select_events, to_i64, without_holes};
use crate::domain::event::{Position, Stream, Timestamp};
use crate::sqlite::{self, Durability, FileLock, Readers, WalKeeper};

mod writer;

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// `pragma application_id` of a log: "ENTL".
const APPLICATION: i64 = 0x454e_544c;

const LAST_EVENT: &str = "select position, at from events order by position desc limit 1";
const FIND_EVENT: &str = select_events!("events e join streams s on s.number = e.stream where e.id = ?1");
const READ_ALL: &str = select_events!("events e cross join streams s where s.number = e.stream and e.position > ?1 order by e.position limit ?2");
const READ_STREAM: &str =
    select_events!("streams s cross join events e where s.name = ?1 and e.stream = s.number and e.version > ?2 order by e.version limit ?3");

const READER: &str = "select reader from log";
const NOTE_READER: &str = "update log set reader = ?1";
const BIND_KEYS: &str = "update log set keys = ?1 where keys is null";
const KEYS: &str = "select keys from log";
const TREE: &str = "select size, frontier from merkle";
const LEAVES: &str = "select hash from events where position > ?1 order by position limit ?2";
/// Events that an older version appended are put into the tree so many at a time.
const CATCH_UP: usize = 10_000;

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct SqliteEventLog {
    path: PathBuf,
    id: Uuid,
    pub(super) orders: Orders,
    readers: Arc<Readers>,
    head: watch::Receiver<Position>,
    /// Tells of another process's appends; none where this process writes.
    watcher: Option<Arc<notify::RecommendedWatcher>>,
}

impl SqliteEventLog {
    /// Opens the log for this process alone, or makes a new one.
    ///
    /// # Errors
    /// When another process holds it, or it is damaged, foreign, or of a newer version. Nothing was changed then.
    ///
    /// # Panics
    /// When the system has no thread left.
    #[expect(clippy::disallowed_methods, reason = "a log's id must be random: it is also the secret of cursors")]
    pub fn open(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        let sqlite_error = OpenError::sqlite(path);
        let lock = FileLock::acquire(path)?;
        let is_new = Self::is_new(path)?;
        let mut writer = sqlite::open_writer(path, Durability::Full).map_err(&sqlite_error)?;
        if is_new {
            writer.pragma_update(None, "application_id", APPLICATION).map_err(&sqlite_error)?;
        }
        sqlite::migrate(embedded::migrations::runner(), &mut writer, path)?;
        let log_id = Uuid::new_v4();
        writer.execute("insert into log (only_one, id) values (1, ?1) on conflict do nothing", [log_id]).map_err(&sqlite_error)?;

        let (position, at) = last_event(&writer).map_err(&sqlite_error)?;
        let (head_sender, head) = watch::channel(position);
        let (orders, waiting) = orders();
        let tree = caught_up_tree(&writer, position).map_err(&sqlite_error)?;
        let wal = WalKeeper::start(path, &mut writer).map_err(&sqlite_error)?;
        let log = Self::reading(path, orders, head, None).map_err(&sqlite_error)?;
        let writer = Writer { connection: writer, wal, clock, position, at, tree, streams: Streams::default(), head: head_sender, lock };
        thread::Builder::new().name("event-log".into()).spawn(move || writer.run(waiting)).expect("a thread can be started");
        Ok(log)
    }

    /// Opens a log that another process may be writing: it can be read and followed, not appended to.
    ///
    /// # Errors
    /// When there is none, or it is damaged, foreign, or of a newer version.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let sqlite_error = OpenError::sqlite(path);
        if !check(path)? {
            return Err(sqlite::nothing_here(path, "there is no event log here yet"));
        }
        let connection = sqlite::open_reader(path).map_err(&sqlite_error)?;
        let (head_sender, head) = watch::channel(Position(0));
        let refresh = Arc::new(Mutex::new(move || {
            let Ok((position, _)) = last_event(&connection) else { return };
            advance(&head_sender, position);
        }));
        let look = move || refresh.lock().unwrap_or_else(PoisonError::into_inner)();
        let watch_error = |error: notify::Error| OpenError::Io { place: sqlite::place(path), error: std::io::Error::other(error) };
        let woken = look.clone();
        let mut watcher = notify::recommended_watcher(move |_| woken()).map_err(watch_error)?;
        watcher.watch(sqlite::folder(path), RecursiveMode::NonRecursive).map_err(watch_error)?;
        look();
        Self::reading(path, Orders::none(), head, Some(Arc::new(watcher))).map_err(&sqlite_error)
    }

    fn reading(
        path: &Path,
        orders: Orders,
        head: watch::Receiver<Position>,
        watcher: Option<Arc<notify::RecommendedWatcher>>,
    ) -> Result<Self, rusqlite::Error> {
        let id = sqlite::open_reader(path)?.query_row("select id from log", [], |row| row.get(0))?;
        Ok(Self { path: path.into(), id, orders, readers: Arc::new(Readers::open(path)?), head, watcher })
    }

    /// Whether there is no log yet, so that opening makes one.
    ///
    /// # Errors
    /// When the file is damaged, foreign, or of a newer version.
    pub fn is_new(path: &Path) -> Result<bool, OpenError> {
        Ok(!check(path)?)
    }

    /// Names this log in the checkpoints made from it.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    #[must_use]
    pub fn head_watch(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    /// Who appends knows it; who only reads looks.
    pub(super) async fn latest(&self) -> Result<Position, LogError> {
        if self.watcher.is_none() {
            return Ok(*self.head.borrow());
        }
        self.read(LAST_EVENT, |statement| Ok(statement.query_row([], |row| row.get(0)).optional()?.map(Position).unwrap_or_default())).await
    }

    pub(super) async fn write(&self, draft: Draft) -> Outcome {
        self.orders.write(draft).await
    }

    pub(super) async fn reader(&self) -> Result<Option<String>, LogError> {
        self.read(READER, |statement| statement.query_row([], |row| row.get(0))).await
    }

    #[expect(clippy::unused_async, reason = "the port waits; this log answers at once")]
    pub(super) async fn note_reader(&self, reader: &str) -> Result<(), LogError> {
        let noted = sqlite::open_writer(&self.path, Durability::Full).and_then(|connection| connection.execute(NOTE_READER, [reader]));
        noted.map(|_| ()).map_err(|error| failed(&error))
    }

    /// The key store that the log has, this one where it had none.
    #[expect(clippy::unused_async, reason = "the port waits; this log answers at once")]
    pub(super) async fn bind_keys(&self, keys: Uuid) -> Result<Uuid, LogError> {
        let bind = || {
            let connection = sqlite::open_writer(&self.path, Durability::Full)?;
            connection.execute(BIND_KEYS, [keys])?;
            connection.query_row(KEYS, [], |row| row.get(0))
        };
        bind().map_err(|error: rusqlite::Error| failed(&error))
    }

    /// The key store that the log has; none where it has had none yet.
    pub(super) async fn bound_keys(&self) -> Result<Option<Uuid>, LogError> {
        self.read(KEYS, |statement| statement.query_row([], |row| row.get(0))).await
    }

    /// Lets the appends that wait be written, takes no more, and folds the write-ahead log into its file.
    pub async fn close(&self) {
        self.orders.close().await;
    }

    pub(super) async fn read_all_stored(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        let events: Vec<StoredEvent> =
            self.read(READ_ALL, move |statement| statement.query_map(params![to_i64(after.0), to_i64(limit as u64)], stored_event)?.collect()).await?;
        without_holes(after, events)
    }

    pub(super) async fn read_stream_stored(&self, stream: &Stream, after: u64, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        let name = stream.to_string();
        self.read(READ_STREAM, move |statement| statement.query_map(params![name, to_i64(after), to_i64(limit as u64)], stored_event)?.collect()).await
    }

    pub(super) async fn find_stored(&self, id: Uuid) -> Result<Option<StoredEvent>, LogError> {
        self.read(FIND_EVENT, move |statement| statement.query_row([id], stored_event).optional()).await
    }

    pub(super) async fn at(&self, position: Position) -> Result<Option<StoredEvent>, LogError> {
        let Some(before) = position.0.checked_sub(1) else { return Ok(None) };
        let found: Vec<StoredEvent> = self.read(READ_ALL, move |statement| statement.query_map([to_i64(before), 1], stored_event)?.collect()).await?;
        Ok(found.into_iter().find(|event| event.position == position))
    }

    pub(super) async fn kept_tree(&self) -> Result<Frontier, LogError> {
        let (size, bytes) = self.read(TREE, |statement| statement.query_row([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)))).await?;
        kept_frontier(size, &bytes)
    }

    pub(super) async fn kept_leaves(&self, after: Position, limit: usize) -> Result<Vec<Option<Hash>>, LogError> {
        let hash = |row: &Row<'_>| Ok(row.get::<_, Option<[u8; 32]>>(0)?.map(Hash));
        self.read(LEAVES, move |statement| statement.query_map(params![to_i64(after.0), to_i64(limit as u64)], hash)?.collect()).await
    }

    #[expect(clippy::unused_async, reason = "the port waits; this log answers at once")]
    async fn read<T>(&self, sql: &'static str, query: impl FnOnce(&mut rusqlite::CachedStatement<'_>) -> Result<T, rusqlite::Error>) -> Result<T, LogError> {
        let answer = self.readers.read(|connection| query(&mut connection.prepare_cached(sql)?));
        answer.map_err(|error| failed(&error))
    }
}

fn failed(error: &rusqlite::Error) -> LogError {
    let detail = error.to_string().into();
    if sqlite::is_busy(error) { LogError::Unavailable(detail) } else { LogError::Read(detail) }
}

/// Whether there is a log, and one that this version can write. Changes nothing.
fn check(path: &Path) -> Result<bool, OpenError> {
    let Some(inspection) = sqlite::inspect(path)? else { return Ok(false) };
    if inspection.application != APPLICATION {
        return Err(OpenError::Foreign { place: sqlite::place(path), what: "an event log" });
    }
    OpenError::unless_known(&embedded::migrations::runner(), sqlite::format(path)?, || sqlite::place(path))?;
    Ok(true)
}

/// The tree that is kept, with the events that were appended by a version without one. What is kept is not
/// looked into here: a tree that is not the events' is for an audit to find.
fn caught_up_tree(connection: &Connection, head: Position) -> Result<Frontier, rusqlite::Error> {
    let (size, bytes): (u64, Vec<u8>) = connection.query_row(TREE, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut tree = Frontier::from_bytes(size, &bytes).unwrap_or_default();
    while tree.size() < head.0 {
        let mut statement = connection.prepare_cached(READ_ALL)?;
        let events = statement.query_map(params![to_i64(tree.size()), to_i64(CATCH_UP as u64)], stored_event)?;
        for event in events {
            tree.push(Hash::of_leaf(&event?));
        }
    }
    Ok(tree)
}

fn last_event(connection: &Connection) -> Result<(Position, Timestamp), rusqlite::Error> {
    let last = connection.query_row(LAST_EVENT, [], |row| Ok((Position(row.get(0)?), Timestamp(row.get(1)?)))).optional()?;
    Ok(last.unwrap_or_default())
}

fn stored_event(row: &Row<'_>) -> Result<StoredEvent, rusqlite::Error> {
    Ok(StoredEvent {
        position: Position(row.get(0)?),
        stream: row.get(1)?,
        version: row.get(2)?,
        id: row.get(3)?,
        kind: row.get(4)?,
        at: Timestamp(row.get(5)?),
        actor: row.get(6)?,
        correlation: row.get(7)?,
        causation: row.get(8)?,
        data: row.get(9)?,
    })
}
