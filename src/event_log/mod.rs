//! The durable port: what happened, in one order, for ever. An append is flushed before its answer;
//! a command's events are appended together or not at all; a stream's version guards against what the
//! command did not know of; an event's id is never used twice.
//!
//! Refuses to start on what it cannot read, and stops for good when a flush fails: what the disk then
//! holds is unknown.

pub mod codec;
mod follow;
mod sqlite;
mod writer;

use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::domain::event::{Event, Metadata, Position, RecordedEvent, Stream, Timestamp};

pub use crate::sqlite::OpenError;
pub use follow::Follow;
pub use sqlite::SqliteEventLog as EventLog;

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
    /// An event of another append has one of the ids.
    #[error("the event id {} is taken", .0.id)]
    IdTaken(Box<RecordedEvent>),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why the log cannot answer.
#[derive(Clone, Debug, Error)]
pub enum LogError {
    /// The log stopped, or is about to.
    #[error("the event log has stopped: {0}")]
    Stopped(Arc<str>),
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

impl StoredEvent {
    /// # Errors
    /// [`LogError::Undecodable`] when this version does not know it.
    pub fn decode(self) -> Result<RecordedEvent, LogError> {
        let position = self.position;
        let undecodable = |reason: String| LogError::Undecodable { position, reason: reason.into() };
        let stream = self.stream.parse().map_err(|error| undecodable(format!("{error}")))?;
        let event = codec::decode(&self.kind, &self.data, self.id).map_err(|error| undecodable(error.to_string()))?;
        Ok(RecordedEvent {
            position,
            stream,
            version: self.version,
            id: self.id,
            at: self.at,
            metadata: Metadata { actor: self.actor.map(crate::domain::ids::UserId::from_stored), correlation: self.correlation, causation: self.causation },
            event,
        })
    }
}
