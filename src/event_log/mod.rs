//! The durable port: what happened, in one order, for ever. An append is flushed before its answer;
//! a command's events are appended together or not at all; a stream's version guards against what the
//! command did not know of; an event's id is never used twice.
//!
//! Refuses to start on what it cannot read, and stops for good when a flush fails: what the disk then
//! holds is unknown.

pub mod codec;
pub mod copy;
mod follow;
mod kurrentdb;
pub mod merkle;
mod orders;
mod postgres;
mod recent;
pub mod selection;
mod sqlite;

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::event::{Event, Metadata, Position, RecordedEvent, Stream, Timestamp, UnknownStream};
use crate::domain::ids::UserId;
use crate::storage::StoreUrl;

pub use crate::storage::OpenError;
use copy::CopyError;
pub use follow::Follow;
use kurrentdb::KurrentEventLog;
use merkle::{Frontier, Hash};
use postgres::PostgresEventLog;
use sqlite::SqliteEventLog;

/// Where the time comes from: the edge, or a test.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Events to append together to one stream.
#[derive(Clone, Debug)]
pub struct Append {
    pub stream: Stream,
    /// The version of the stream that the decision was made on; 0: no stream yet.
    pub expected: u64,
    pub metadata: Metadata,
    /// Each with its id.
    pub events: Vec<(Uuid, Event)>,
}

/// Why nothing was appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The stream is at another version: decide again.
    #[error("the stream is at version {actual}")]
    Conflict { actual: u64 },
    /// An event of another append has one of the ids: that one, or none where the id was claimed for an append that never came.
    #[error("the event id is taken")]
    IdTaken(Option<Box<RecordedEvent>>),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why the log cannot answer.
#[derive(Clone, Debug, Error)]
pub enum LogError {
    /// The log stopped, or is about to.
    #[error("the event log has stopped: {0}")]
    Stopped(Arc<str>),
    /// The log cannot be reached now; it may be later.
    #[error("the event log cannot be reached: {0}")]
    Unavailable(Arc<str>),
    /// A read failed.
    #[error("the event log cannot be read: {0}")]
    Read(Arc<str>),
    /// An event that this version cannot read.
    #[error("the event at position {position} cannot be read: {reason}")]
    Undecodable { position: Position, reason: Arc<str> },
}

/// An event as it is stored and exported: names and data as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub position: Position,
    pub stream: String,
    pub version: u64,
    pub id: Uuid,
    /// The stored name of the event's type.
    pub kind: String,
    pub at: Timestamp,
    pub actor: Option<String>,
    pub correlation: Uuid,
    pub causation: Uuid,
    /// JSON.
    pub data: String,
}

/// An event that this version cannot read, and why.
#[derive(Clone, Debug)]
pub struct Undecodable {
    pub event: Box<StoredEvent>,
    pub reason: Arc<str>,
}

impl From<Undecodable> for LogError {
    fn from(undecodable: Undecodable) -> Self {
        Self::Undecodable { position: undecodable.event.position, reason: undecodable.reason }
    }
}

impl StoredEvent {
    /// # Errors
    /// When this version does not know it.
    pub fn decode(self) -> Result<RecordedEvent, Undecodable> {
        let stream = self.stream.parse().map_err(|error: UnknownStream| error.to_string());
        let event = codec::decode(&self.kind, &self.data, self.id).map_err(|error| error.to_string());
        let (stream, event) = match (stream, event) {
            (Ok(stream), Ok(event)) => (stream, event),
            (Err(reason), _) | (_, Err(reason)) => return Err(Undecodable { event: Box::new(self), reason: reason.into() }),
        };
        Ok(RecordedEvent {
            position: self.position,
            stream,
            version: self.version,
            id: self.id,
            at: self.at,
            metadata: Metadata { actor: self.actor.map(UserId::from_stored), correlation: self.correlation, causation: self.causation },
            event,
        })
    }
}

/// The log, wherever it is kept. Cheap to clone.
#[derive(Clone)]
pub enum EventLog {
    Sqlite(SqliteEventLog),
    Postgres(PostgresEventLog),
    Kurrent(KurrentEventLog),
}

/// Calls the same on whichever adapter it is.
macro_rules! adapter {
    ($log:expr, $adapter:ident => $call:expr) => {
        match $log {
            EventLog::Sqlite($adapter) => $call,
            EventLog::Postgres($adapter) => $call,
            EventLog::Kurrent($adapter) => $call,
        }
    };
}

impl EventLog {
    /// Opens the log, or makes a new one where there is none.
    ///
    /// # Errors
    /// When it cannot be reached, another process holds it, or it is damaged, foreign, or of a newer version. Nothing was changed then.
    pub async fn open(url: &StoreUrl, clock: Clock) -> Result<Self, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => SqliteEventLog::open(path, clock).map(Self::Sqlite),
            StoreUrl::Postgres(url) => PostgresEventLog::open(url, clock).await.map(Self::Postgres),
            StoreUrl::Kurrent(url) => KurrentEventLog::open(url, clock).await.map(Self::Kurrent),
        }
    }

    /// Opens a log that others may be writing: it can be read and followed, not appended to.
    ///
    /// # Errors
    /// When there is none, it cannot be reached, or it is damaged, foreign, or of a newer version.
    pub async fn open_read_only(url: &StoreUrl) -> Result<Self, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => SqliteEventLog::open_read_only(path).map(Self::Sqlite),
            StoreUrl::Postgres(url) => PostgresEventLog::open_read_only(url).await.map(Self::Postgres),
            StoreUrl::Kurrent(url) => KurrentEventLog::open_read_only(url).await.map(Self::Kurrent),
        }
    }

    /// Whether opening makes a new log, as far as can be seen without opening it.
    ///
    /// # Errors
    /// When the file is damaged, foreign, or of a newer version.
    pub fn is_new(url: &StoreUrl) -> Result<bool, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => SqliteEventLog::is_new(path),
            StoreUrl::Postgres(_) | StoreUrl::Kurrent(_) => Ok(false),
        }
    }

    /// Whether other processes may append to it, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(_) | Self::Kurrent(_) => true,
        }
    }

    /// Names this log in the checkpoints made from it.
    #[must_use]
    pub fn id(&self) -> Uuid {
        adapter!(self, log => log.id())
    }

    /// The position of the last event that is known here; 0 while there is none.
    #[must_use]
    pub fn head(&self) -> Position {
        *self.head_watch().borrow()
    }

    /// Changes as more events become known here.
    #[must_use]
    pub fn head_watch(&self) -> watch::Receiver<Position> {
        adapter!(self, log => log.head_watch())
    }

    /// The position of the last event, whoever appended it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn latest(&self) -> Result<Position, LogError> {
        adapter!(self, log => log.latest().await)
    }

    /// Appends the events together, flushed before the answer. The same append again, with the same ids
    /// after the same version, returns what the first recorded.
    ///
    /// # Errors
    /// [`AppendError`]: nothing was appended.
    pub async fn append(&self, append: Append) -> Result<Vec<RecordedEvent>, AppendError> {
        adapter!(self, log => log.append(append).await)
    }

    /// Writes events of another log, in their order, each as it was there but for its position.
    async fn import(&self, events: Vec<StoredEvent>) -> Result<(), CopyError> {
        match self {
            Self::Sqlite(log) => log.orders.import(events).await,
            Self::Postgres(log) => log.orders.import(events).await,
            Self::Kurrent(log) => log.import(events).await,
        }
    }

    /// Lets the appends that wait be written, and takes no more.
    pub async fn close(&self) {
        adapter!(self, log => log.close().await);
    }

    /// The events after a position, in order, at most `limit`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn read_all(&self, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, LogError> {
        decoded(self.read_all_stored(after, limit).await?)
    }

    /// The same, as they are stored.
    ///
    /// # Errors
    /// When the log cannot be read, or has a hole.
    pub async fn read_all_stored(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        adapter!(self, log => log.read_all_stored(after, limit).await)
    }

    /// Each event as far as this version can read it.
    #[must_use]
    pub fn decode_each(&self, events: Vec<StoredEvent>) -> Vec<Result<RecordedEvent, Undecodable>> {
        events.into_iter().map(StoredEvent::decode).collect()
    }

    /// The events of a stream after a version, in order, at most `limit`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn read_stream(&self, stream: &Stream, after: u64, limit: usize) -> Result<Vec<RecordedEvent>, LogError> {
        decoded(self.read_stream_stored(stream, after, limit).await?)
    }

    /// The same, as they are stored.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn read_stream_stored(&self, stream: &Stream, after: u64, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        adapter!(self, log => log.read_stream_stored(stream, after, limit).await)
    }

    /// The last events before a position, or before the end, in order, at most `limit`.
    ///
    /// # Errors
    /// When the log cannot be read, or has a hole.
    pub async fn read_before_stored(&self, before: Option<Position>, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        if let Self::Kurrent(log) = self {
            return log.read_before_stored(before, limit).await;
        }
        let end = self.latest().await?.0 + 1;
        let before = before.map_or(end, |before| before.0.min(end));
        let after = before.saturating_sub(1).saturating_sub(limit as u64);
        let count = usize::try_from(before.saturating_sub(1) - after).unwrap_or(limit);
        if count == 0 { Ok(vec![]) } else { self.read_all_stored(Position(after), count).await }
    }

    /// The event with this id.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn find(&self, id: Uuid) -> Result<Option<RecordedEvent>, LogError> {
        Ok(self.find_stored(id).await?.map(StoredEvent::decode).transpose()?)
    }

    /// The same, as it is stored.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn find_stored(&self, id: Uuid) -> Result<Option<StoredEvent>, LogError> {
        adapter!(self, log => log.find_stored(id).await)
    }

    /// The event at exactly this position.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn at(&self, position: Position) -> Result<Option<StoredEvent>, LogError> {
        adapter!(self, log => log.at(position).await)
    }

    /// The Merkle tree as it is kept with the log; none where this log keeps none.
    ///
    /// # Errors
    /// When the log cannot be read, or what is kept is no tree.
    pub async fn kept_tree(&self) -> Result<Option<Frontier>, LogError> {
        match self {
            Self::Sqlite(log) => log.kept_tree().await.map(Some),
            Self::Postgres(log) => log.kept_tree().await.map(Some),
            Self::Kurrent(_) => Ok(None),
        }
    }

    /// The leaves of the events after a position, as they were kept when these were appended; none where one was not.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn kept_leaves(&self, after: Position, limit: usize) -> Result<Vec<Option<Hash>>, LogError> {
        match self {
            Self::Sqlite(log) => log.kept_leaves(after, limit).await,
            Self::Postgres(log) => log.kept_leaves(after, limit).await,
            Self::Kurrent(_) => Ok(vec![]),
        }
    }

    /// Reads on from a position as the log grows.
    #[must_use]
    pub fn follow(&self, after: Position) -> Follow {
        Follow::new(self.clone(), after)
    }
}

/// The head never goes back: what is known of it late is old.
fn advance(head: &watch::Sender<Position>, to: Position) {
    head.send_if_modified(|head| std::mem::replace(head, to.max(*head)) < to);
}

/// Positions of this log are dense: one that is missing means that the log is damaged.
fn without_holes(after: Position, events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>, LogError> {
    match (after.0 + 1..).zip(&events).find(|(expected, event)| event.position.0 != *expected) {
        Some((expected, _)) => Err(LogError::Undecodable { position: Position(expected), reason: "the log has a hole here".into() }),
        None => Ok(events),
    }
}

fn kept_frontier(size: u64, bytes: &[u8]) -> Result<Frontier, LogError> {
    Frontier::from_bytes(size, bytes).ok_or_else(|| LogError::Read("the Merkle tree that is kept with it is damaged".into()))
}

fn decoded(events: Vec<StoredEvent>) -> Result<Vec<RecordedEvent>, LogError> {
    events.into_iter().map(|event| event.decode().map_err(LogError::from)).collect()
}
