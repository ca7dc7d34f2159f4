//! The durable port: what happened, in one order, for ever. An append is flushed before its answer;
//! a command's events are appended together or not at all; a stream's version guards against what the
//! command did not know of; an event's id is never used twice.
//!
//! Refuses to start on what it cannot read, and stops for good when a flush fails: what the disk then
//! holds is unknown.
//!
//! | what | file |
//! | --- | --- |
//! | the adapters | [`sqlite`], [`postgres`], [`kurrentdb`]; opened [`opening`] |
//! | what a writer is given, and answers | [`orders`] |
//! | events as they are stored, and read | [`stored`], [`codec`]; what people wrote in them is sealed [`keys`] |
//! | reading on and on | [`follow`], [`recent`]; a part of the log [`selection`] |
//! | from one back end to another | [`copy`] |
//! | what proves that nothing was changed | [`merkle`] |

pub mod codec;
pub mod copy;
mod follow;
pub mod keys;
mod kurrentdb;
pub mod merkle;
mod opening;
mod orders;
mod postgres;
mod recent;
pub mod selection;
mod sqlite;
mod stored;

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::event::{Event, Metadata, Position, RecordedEvent, Stream, Timestamp};
use crate::domain::ids::UserId;

pub use crate::storage::OpenError;
use copy::CopyError;
pub use follow::Follow;
use keys::Keyring;
use kurrentdb::KurrentEventLog;
use merkle::{Frontier, Hash};
pub use opening::keys_beside;
use orders::{Draft, NotWritten};
use postgres::PostgresEventLog;
use sqlite::SqliteEventLog;
pub use stored::{StoredEvent, Undecodable};

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
    /// Another event has one of the ids: it is given, but where KurrentDB has a claim whose event never came.
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
    /// They have no key until the log tells of their erasure.
    #[error("whoever writes this is being erased")]
    BeingErased,
    /// A read failed.
    #[error("the event log cannot be read: {0}")]
    Read(Arc<str>),
    /// It lost events that were known here: it was restored, or another server took over without them.
    #[error("the event log ends at position {found} now, and was known up to {known}: it lost events. Start the service again to go on with what is left")]
    Shortened { known: Position, found: Position },
    /// An event that this version cannot read.
    #[error("the event at position {position} cannot be read: {reason}")]
    Undecodable { position: Position, reason: Arc<str> },
}

/// The log, wherever it is kept, and the keys of what people wrote in it. Cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    kept: Kept,
    keys: Keyring,
    /// Where it ended before the keys were read.
    opened_at: Position,
}

#[derive(Clone)]
enum Kept {
    Sqlite(SqliteEventLog),
    Postgres(PostgresEventLog),
    Kurrent(KurrentEventLog),
}

/// Calls the same on whichever adapter it is.
macro_rules! adapter {
    ($kept:expr, $adapter:ident => $call:expr) => {
        match $kept {
            Kept::Sqlite($adapter) => $call,
            Kept::Postgres($adapter) => $call,
            Kept::Kurrent($adapter) => $call,
        }
    };
}

/// The same for what is waited for. The network adapters' futures are in boxes: otherwise the future of every caller would have
/// room for the largest of them, also where the log is a file.
macro_rules! answer {
    ($kept:expr, $adapter:ident => $call:expr) => {
        match $kept {
            Kept::Sqlite($adapter) => $call.await,
            Kept::Postgres($adapter) => Box::pin($call).await,
            Kept::Kurrent($adapter) => Box::pin($call).await,
        }
    };
}
use answer;

impl EventLog {
    /// Whether other processes may append to it, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self.kept {
            Kept::Sqlite(_) => false,
            Kept::Postgres(_) | Kept::Kurrent(_) => true,
        }
    }

    /// Names this log in the checkpoints made from it.
    #[must_use]
    pub fn id(&self) -> Uuid {
        adapter!(&self.kept, log => log.id())
    }

    /// The position of the last event that is known here; 0 while there is none.
    #[must_use]
    pub fn head(&self) -> Position {
        end_of(&self.kept)
    }

    /// Changes as more events become known here.
    #[must_use]
    pub fn head_watch(&self) -> watch::Receiver<Position> {
        adapter!(&self.kept, log => log.head_watch())
    }

    /// The position of the last event, whoever appended it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn latest(&self) -> Result<Position, LogError> {
        answer!(&self.kept, log => log.latest())
    }

    /// Forgets what it remembers of the log's end, which may not be there any more.
    pub fn read_anew(&self) {
        if let Kept::Postgres(log) = &self.kept {
            log.forget_recent();
        }
    }

    /// Comes back when nothing can be appended any more.
    pub async fn ended(&self) {
        match &self.kept {
            Kept::Sqlite(log) => log.orders.ended().await,
            Kept::Postgres(log) => log.orders.ended().await,
            Kept::Kurrent(_) => std::future::pending().await,
        }
    }

    /// Comes back once what somebody writes can be appended: at once, unless they are being erased.
    ///
    /// # Errors
    /// [`LogError`]: it cannot.
    pub async fn is_ready_for(&self, author: &UserId) -> Result<(), LogError> {
        self.keys.of_authors(&[author]).await.map(|_| ())
    }

    /// Appends the events together, flushed before the answer. The same append again, with the same ids
    /// after the same version, returns what the first recorded.
    ///
    /// # Errors
    /// [`AppendError`]: nothing was appended.
    pub async fn append(&self, append: Append) -> Result<Vec<RecordedEvent>, AppendError> {
        if append.events.is_empty() {
            return Ok(vec![]);
        }
        let authors: Vec<&UserId> = append.events.iter().filter_map(|(_, event)| codec::author(event)).collect();
        let draft = Draft::new(&append, &self.keys.of_authors(&authors).await?);
        match answer!(&self.kept, log => log.write(draft)) {
            // What was written is what was asked for, now or by the same append before.
            Ok(stored) => Ok(stored.into_iter().zip(append.events).map(|(stored, (_, event))| stored.recorded(append.stream.clone(), event)).collect()),
            Err(NotWritten::Conflict(actual)) => Err(AppendError::Conflict { actual }),
            Err(NotWritten::IdTaken(None)) => Err(AppendError::IdTaken(None)),
            Err(NotWritten::IdTaken(Some(event))) => Err(AppendError::IdTaken(Some(Box::new(self.decode(*event).await?)))),
            Err(NotWritten::Log(error)) => Err(error.into()),
        }
    }

    /// Writes events of another log, in their order, each as it was there but for its position.
    async fn import(&self, events: Vec<StoredEvent>) -> Result<(), CopyError> {
        match &self.kept {
            Kept::Sqlite(log) => log.orders.import(events).await,
            Kept::Postgres(log) => log.orders.import(events).await,
            Kept::Kurrent(log) => log.import(&events).await,
        }
    }

    /// Lets the appends that wait be written, and takes no more.
    pub async fn close(&self) {
        answer!(&self.kept, log => log.close());
    }

    /// The events after a position, in order, at most `limit`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn read_all(&self, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, LogError> {
        self.decode_all(self.read_all_stored(after, limit).await?).await
    }

    /// The same, as they are stored.
    ///
    /// # Errors
    /// When the log cannot be read, or has a hole.
    pub async fn read_all_stored(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        answer!(&self.kept, log => log.read_all_stored(after, limit))
    }

    /// The events of a stream after a version, in order, at most `limit`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn read_stream(&self, stream: &Stream, after: u64, limit: usize) -> Result<Vec<RecordedEvent>, LogError> {
        self.decode_all(self.read_stream_stored(stream, after, limit).await?).await
    }

    /// The same, as they are stored.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn read_stream_stored(&self, stream: &Stream, after: u64, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        answer!(&self.kept, log => log.read_stream_stored(stream, after, limit))
    }

    /// The last events before a position, or before the end, in order, at most `limit`.
    ///
    /// # Errors
    /// When the log cannot be read, or has a hole.
    pub async fn read_before_stored(&self, before: Option<Position>, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        if let Kept::Kurrent(log) = &self.kept {
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
        match self.find_stored(id).await? {
            Some(event) => self.decode(event).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same, as it is stored.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn find_stored(&self, id: Uuid) -> Result<Option<StoredEvent>, LogError> {
        answer!(&self.kept, log => log.find_stored(id))
    }

    /// The event at exactly this position.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn at(&self, position: Position) -> Result<Option<StoredEvent>, LogError> {
        answer!(&self.kept, log => log.at(position))
    }

    /// The Merkle tree as it is kept with the log; none where this log keeps none.
    ///
    /// # Errors
    /// When the log cannot be read, or what is kept is no tree.
    pub async fn kept_tree(&self) -> Result<Option<Frontier>, LogError> {
        match &self.kept {
            Kept::Sqlite(log) => log.kept_tree().await.map(Some),
            Kept::Postgres(log) => log.kept_tree().await.map(Some),
            Kept::Kurrent(_) => Ok(None),
        }
    }

    /// The leaves of the events after a position, as they were kept when these were appended; none where one was not.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn kept_leaves(&self, after: Position, limit: usize) -> Result<Vec<Option<Hash>>, LogError> {
        match &self.kept {
            Kept::Sqlite(log) => log.kept_leaves(after, limit).await,
            Kept::Postgres(log) => log.kept_leaves(after, limit).await,
            Kept::Kurrent(_) => Ok(vec![]),
        }
    }

    /// Reads on from a position as the log grows.
    #[must_use]
    pub fn follow(&self, after: Position) -> Follow {
        Follow::new(self.clone(), after)
    }
}

fn end_of(kept: &Kept) -> Position {
    *adapter!(kept, log => log.head_watch()).borrow()
}

/// The head never goes back: what is known of it late is old.
fn advance(head: &watch::Sender<Position>, to: Position) {
    head.send_if_modified(|head| std::mem::replace(head, to.max(*head)) < to);
}

/// As databases count.
fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The events of the two SQL logs, whose tables are alike, in columns that are read in this order.
macro_rules! select_events {
    ($rest:literal) => {
        concat!("select e.position, s.name, e.version, e.id, e.type, e.at, e.actor, e.correlation, e.causation, e.data from ", $rest)
    };
}
use select_events;

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
