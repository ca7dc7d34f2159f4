//! The event log in KurrentDB, formerly EventStoreDB, shared by any number of nodes. Streams are its streams,
//! versions its revisions counted from 1, and a position is its commit position: ordered, with gaps.
//!
//! Every append expects an exact revision, so the database knows an append that is made again by the ids of
//! its events. That holds within one stream; that a message's id is used in one stream only is made sure of
//! by a claim (`docs/decisions/0015-kurrentdb.md`).

mod connection;
mod head;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_util::future::BoxFuture;
use kurrentdb::{
    AppendToStreamOptions, Client, Error, EventData, Position as LogPosition, ReadAllOptions, ReadStream, ReadStreamOptions, RecordedEvent as Read,
    StreamPosition, StreamState, SubscriptionFilter,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, watch};
use uuid::Uuid;

use super::{Clock, LogError, OpenError, StoredEvent};
use crate::domain::event::{Position, Stream, Timestamp};
use crate::storage::Backoff;
use connection::{Connection, Failure};
use head::Head;

/// This service's streams. System streams begin with `$`.
const STREAMS: &str = "^(conversation-|user-|community$|section$)";
const LOG_STREAM: &str = "entrenous";
const LOG_CREATED: &str = "LogCreated";
/// Whoever read all of the log, by what it reads.
const READERS_STREAM: &str = "entrenous-readers";
const READER_NOTED: &str = "ReaderNoted";
const KEYS_NAMED: &str = "KeysNamed";
/// Events read past a page, since events of one commit stay together.
const MARGIN: usize = 16;
/// How many records the database looks through at once for this service's.
const SEARCHED: u32 = 4_096;
/// How often somebody else's event is looked for that is known to be there.
const LOOKS: usize = 10;
/// What the database says where it does not tell a position.
const UNTOLD: Position = Position(u64::MAX);

/// The log in KurrentDB. Cheap to clone.
#[derive(Clone)]
pub struct KurrentEventLog(Arc<Inner>);

struct Inner {
    id: Uuid,
    connection: Connection,
    clock: Option<Clock>,
    head: Head,
    /// The latest time of any event that this node read or wrote: what it writes is later, so that times grow
    /// along every stream whichever node writes, and whatever its clock does.
    newest: AtomicI64,
    /// Held for reading by appends under way; true once the log takes no more.
    closed: RwLock<bool>,
    closing: AtomicBool,
}

/// What is stored beside an event's data.
#[derive(Serialize, Deserialize)]
struct Metadata {
    /// UTC, microseconds since 1970. The database's own time of an event is cut to seconds by its client.
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    actor: Option<String>,
    #[serde(rename = "$correlationId")]
    correlation: Uuid,
    #[serde(rename = "$causationId")]
    causation: Uuid,
}

#[derive(Serialize, Deserialize)]
struct LogCreated {
    id: Uuid,
}

/// Which version reads the log.
#[derive(Serialize, Deserialize)]
struct ReaderNoted {
    reader: String,
}

/// Which key store the log has.
#[derive(Serialize, Deserialize)]
struct KeysNamed {
    keys: Uuid,
}

impl KurrentEventLog {
    /// # Errors
    /// When it cannot be reached.
    pub(super) async fn open(url: &str, clock: Clock) -> Result<Self, OpenError> {
        Self::connect(url, Some(clock)).await
    }

    pub(super) async fn open_read_only(url: &str) -> Result<Self, OpenError> {
        Self::connect(url, None).await
    }

    async fn connect(url: &str, clock: Option<Clock>) -> Result<Self, OpenError> {
        let connection = Connection::new(url)?;
        let unreachable = |failure: Failure| connection.unreachable(failure.reason());
        let id = match log_id(&connection).await.map_err(unreachable)? {
            Some(id) => id,
            None if clock.is_some() => create_log(&connection).await.map_err(unreachable)?,
            None => return Err(connection.unreachable("there is no event log here yet".to_owned())),
        };
        let latest = latest(&connection).await.map_err(unreachable)?;
        let head = Head::follow(&connection, latest);
        let (newest, closed, closing) = (AtomicI64::new(0), RwLock::new(clock.is_none()), AtomicBool::new(false));
        Ok(Self(Arc::new(Inner { id, connection, clock, head, newest, closed, closing })))
    }

    pub(super) fn id(&self) -> Uuid {
        self.0.id
    }

    pub(super) fn head_watch(&self) -> watch::Receiver<Position> {
        self.0.head.watch()
    }

    pub(super) async fn latest(&self) -> Result<Position, LogError> {
        let latest = latest(&self.0.connection).await?;
        self.0.head.advance(latest);
        Ok(latest)
    }

    /// The last that was noted.
    pub(super) async fn reader(&self) -> Result<Option<String>, LogError> {
        let (mut after, mut reader) = (0, None);
        loop {
            let found = read_stream(&self.0.connection, READERS_STREAM, after, 100).await?;
            let Some(last) = found.last() else { return Ok(reader) };
            after = last.revision + 1;
            let noted = last.as_json::<ReaderNoted>().map_err(|error| LogError::Read(error.to_string().into()))?;
            reader = Some(noted.reader);
        }
    }

    pub(super) async fn note_reader(&self, reader: &str) -> Result<(), LogError> {
        let after = read_stream(&self.0.connection, READERS_STREAM, 0, 10_000).await?.len() as u64;
        let noted = EventData::json(READER_NOTED, &ReaderNoted { reader: reader.to_owned() }).expect("a hash is JSON").id(random_id());
        let (noted, options) = (&noted, &exactly(after));
        let append =
            move |client: Client| -> BoxFuture<'_, _> { Box::pin(async move { client.append_to_stream(READERS_STREAM, options, noted.clone()).await }) };
        match self.0.connection.write(&self.0.closing, append).await {
            // Where another was faster, the next start looks again.
            Ok(_) | Err(Failure::WrongExpectedVersion(_)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The key store that the log has, this one where it had none.
    pub(super) async fn bind_keys(&self, keys: Uuid) -> Result<Uuid, LogError> {
        let named = EventData::json(KEYS_NAMED, &KeysNamed { keys }).expect("an id is JSON");
        let earlier = append_or_find(&self.0.connection, &self.0.closing, LOG_STREAM, 1, named).await?;
        earlier.map_or(Ok(keys), |event| keys_of(&event))
    }

    /// The key store that the log has; none where it has had none yet.
    pub(super) async fn bound_keys(&self) -> Result<Option<Uuid>, LogError> {
        read_stream(&self.0.connection, LOG_STREAM, 1, 1).await?.first().map(keys_of).transpose()
    }

    pub(super) async fn close(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        *self.0.closed.write().await = true;
    }

    pub(super) async fn read_all_stored(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        // Only a position where an event is can be read from, so the one that is known comes again.
        let position = match after {
            Position(0) => StreamPosition::Start,
            Position(commit) => StreamPosition::Position(LogPosition { commit, prepare: commit }),
        };
        let options = ReadAllOptions::default().position(position).filter(own_streams()).max_count(limit.saturating_add(MARGIN)).requires_leader(true);
        let options = &options;
        let found = self.0.connection.read(move |client| Box::pin(async move { collect(client.read_all(options).await).await })).await?;
        let mut events: Vec<Read> = found.into_iter().filter(|event| event.position.commit > after.0).collect();
        events.sort_by_key(|event| (event.position.commit, event.position.prepare));
        let end = (limit..events.len()).find(|&at| at == 0 || events[at].position.commit != events[at - 1].position.commit).unwrap_or(events.len());
        events.truncate(end);
        Ok(events.into_iter().map(|event| self.stored(event)).collect())
    }

    /// Events of one commit stay together.
    pub(super) async fn read_before_stored(&self, before: Option<Position>, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        let position = before.map_or(StreamPosition::End, |Position(commit)| StreamPosition::Position(LogPosition { commit, prepare: commit }));
        let asked = limit.saturating_add(MARGIN);
        let options = ReadAllOptions::default().position(position).backwards().filter(own_streams()).max_count(asked).requires_leader(true);
        let options = &options;
        let found = self.0.connection.read(move |client| Box::pin(async move { collect(client.read_all(options).await).await })).await?;
        let reached_start = found.len() < asked;
        let mut events: Vec<Read> = found.into_iter().filter(|event| before.is_none_or(|before| event.position.commit < before.0)).collect();
        events.sort_by_key(|event| (event.position.commit, event.position.prepare));
        let is_first = |at: &usize| (*at == 0 && reached_start) || (*at > 0 && events[*at].position.commit != events[*at - 1].position.commit);
        let start = (0..=events.len().saturating_sub(limit)).rev().find(|at| *at < events.len() && is_first(at)).unwrap_or(0);
        events.drain(..start);
        Ok(events.into_iter().map(|event| self.stored(event)).collect())
    }

    pub(super) async fn read_stream_stored(&self, stream: &Stream, after: u64, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.read_stream(&stream.to_string(), after, limit).await
    }

    pub(super) async fn at(&self, position: Position) -> Result<Option<StoredEvent>, LogError> {
        if position == Position(0) || i64::try_from(position.0).is_err() {
            return Ok(None);
        }
        let place = StreamPosition::Position(LogPosition { commit: position.0, prepare: position.0 });
        let options = ReadAllOptions::default().position(place).max_count(1).requires_leader(true);
        let options = &options;
        match self.0.connection.read(move |client| Box::pin(async move { collect(client.read_all(options).await).await })).await {
            Ok(events) => Ok(events.into_iter().find(|event| event.position.commit == position.0).map(|event| self.stored(event))),
            Err(Failure::Refused(_)) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn read_stream(&self, name: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        let found = read_stream(&self.0.connection, name, after, limit).await?;
        let mut events: Vec<StoredEvent> = found.into_iter().map(|event| self.stored(event)).collect();
        if events.iter().any(|event| event.position == UNTOLD) {
            // Wherever they are, they are not later than the end: whoever waits for that has seen them.
            let end = latest(&self.0.connection).await?;
            self.0.head.advance(end);
            events.iter_mut().filter(|event| event.position == UNTOLD).for_each(|event| event.position = end);
        }
        Ok(events)
    }

    fn stored(&self, event: Read) -> StoredEvent {
        let stream = event.stream_id().to_owned();
        let (metadata, kind) = match serde_json::from_slice::<Metadata>(&event.custom_metadata) {
            Ok(metadata) => (metadata, event.event_type),
            // Somebody else wrote it, so that it is of no type that is known here.
            Err(_) => (Metadata { at: 0, actor: None, correlation: Uuid::nil(), causation: Uuid::nil() }, format!("{} without metadata", event.event_type)),
        };
        self.0.newest.fetch_max(metadata.at, Ordering::SeqCst);
        StoredEvent {
            position: Position(event.position.commit),
            stream,
            version: event.revision + 1,
            id: event.id,
            kind,
            at: Timestamp(metadata.at),
            actor: metadata.actor,
            correlation: metadata.correlation,
            causation: metadata.causation,
            data: String::from_utf8_lossy(&event.data).into_owned(),
        }
    }
}

impl From<Failure> for LogError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing(reason) => Self::Unavailable(reason.into()),
            Failure::Closed => Self::Stopped("it takes no more events".into()),
            failure => Self::Read(failure.reason().into()),
        }
    }
}

fn own_streams() -> SubscriptionFilter {
    SubscriptionFilter::on_stream_name().regex(STREAMS).max(SEARCHED)
}

/// Never 'any': only an exact expectation makes a repeated append known.
fn exactly(version: u64) -> AppendToStreamOptions {
    let state = version.checked_sub(1).map_or(StreamState::NoStream, StreamState::StreamRevision);
    AppendToStreamOptions::default().stream_state(state).requires_leader(true).deadline(connection::PATIENCE)
}

async fn collect(opened: Result<ReadStream, Error>) -> Result<Vec<Read>, Error> {
    let (mut events, mut found) = (Vec::new(), opened?);
    while let Some(resolved) = found.next().await? {
        events.extend(resolved.event);
    }
    Ok(events)
}

async fn read_stream(connection: &Connection, name: &str, after: u64, limit: usize) -> Result<Vec<Read>, Failure> {
    let options = ReadStreamOptions::default().position(StreamPosition::Position(after)).max_count(limit).requires_leader(true);
    let options = &options;
    match connection.read(move |client| Box::pin(async move { collect(client.read_stream(name, options).await).await })).await {
        Err(Failure::NotFound) => Ok(vec![]),
        answer => answer,
    }
}

async fn latest(connection: &Connection) -> Result<Position, Failure> {
    let options = ReadAllOptions::default().position(StreamPosition::End).filter(own_streams()).max_count(1).requires_leader(true);
    let options = &options;
    // What comes after the first is not waited for: the database would look for it back to the beginning.
    let last = connection.read(move |client| Box::pin(async move { client.read_all(options).await?.next().await })).await?;
    Ok(last.and_then(|resolved| resolved.event).map(|event| Position(event.position.commit)).unwrap_or_default())
}

async fn log_id(connection: &Connection) -> Result<Option<Uuid>, Failure> {
    read_stream(connection, LOG_STREAM, 0, 1).await?.first().map(id_of).transpose()
}

fn id_of(created: &Read) -> Result<Uuid, Failure> {
    created.as_json::<LogCreated>().map(|created| created.id).map_err(|error| Failure::Refused(error.to_string()))
}

fn keys_of(named: &Read) -> Result<Uuid, LogError> {
    named.as_json::<KeysNamed>().map(|named| named.keys).map_err(|error| LogError::Read(error.to_string().into()))
}

/// Whoever is first names the log.
async fn create_log(connection: &Connection) -> Result<Uuid, Failure> {
    let id = random_id();
    let created = EventData::json(LOG_CREATED, &LogCreated { id }).expect("an id is JSON");
    let earlier = append_or_find(connection, &AtomicBool::new(false), LOG_STREAM, 0, created).await?;
    earlier.map_or(Ok(id), |event| id_of(&event))
}

/// Appends an event after so many of its stream, where several may try; none then. The event that another appended there,
/// otherwise: the database knows of that before anybody can read it.
async fn append_or_find(connection: &Connection, closing: &AtomicBool, stream: &str, after: u64, event: EventData) -> Result<Option<Read>, Failure> {
    let (event, options) = (&event.id(random_id()), &exactly(after));
    let mut backoff = Backoff::new();
    for _ in 0..LOOKS {
        let append = move |client: Client| -> BoxFuture<'_, _> { Box::pin(async move { client.append_to_stream(stream, options, event.clone()).await }) };
        match connection.write(closing, append).await {
            Ok(_) => return Ok(None),
            Err(Failure::WrongExpectedVersion(_)) => {}
            Err(failure) => return Err(failure),
        }
        let found = read_stream(connection, stream, after, 1).await?;
        if !found.is_empty() {
            return Ok(found.into_iter().next());
        }
        backoff.wait().await;
    }
    Err(Failure::Passing(format!("what another appended to {stream} cannot be read yet")))
}

/// A log's id is also the secret of cursors; a claim must never look like another's.
#[expect(clippy::disallowed_methods, reason = "these ids must be random")]
fn random_id() -> Uuid {
    Uuid::new_v4()
}
