//! The one thread that appends to the embedded log: what waits is written in one transaction and
//! flushed once.

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::sqlite::{FIND_EVENT, stored_event};
use super::{Append, AppendError, Clock, LogError, StoredEvent, codec};
use crate::domain::event::{Event, Metadata, Position, RecordedEvent, Timestamp};
use crate::domain::ids::UserId;
use crate::metrics::{METRICS, Timer};
use crate::sqlite::{FileLock, WalKeeper};

/// The most appends in one transaction.
const BATCH: usize = 512;
const INSERT_STREAM: &str = "insert into streams (name) values (?1)";
const STREAM_VERSION: &str = "
    select s.number, (select max(e.version) from events e where e.stream = s.number)
    from streams s where s.name = ?1";
const INSERT_EVENT: &str = "
    insert into events (position, stream, version, id, type, at, actor, correlation, causation, data)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// What the writer is asked for.
pub(super) enum Order {
    Append(Append, oneshot::Sender<Result<Vec<RecordedEvent>, AppendError>>),
    Close,
}

/// The one thread that appends.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) wal: WalKeeper,
    pub(super) clock: Clock,
    pub(super) position: Position,
    pub(super) at: Timestamp,
    pub(super) head: watch::Sender<Position>,
    pub(super) lock: FileLock,
}

impl Writer {
    /// Ends when nobody can order any more, or when a commit fails: what the disk then holds is
    /// unknown, so nothing is tried again.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Order>) {
        let mut orders = Vec::with_capacity(BATCH);
        while waiting.blocking_recv_many(&mut orders, BATCH) > 0 {
            let mut closing = false;
            let (mut appends, mut answers) = (Vec::with_capacity(orders.len()), Vec::with_capacity(orders.len()));
            for order in orders.drain(..) {
                match order {
                    Order::Append(append, answer) => {
                        appends.push(append);
                        answers.push(answer);
                    }
                    Order::Close => closing = true,
                }
            }
            let (timer, batch) = (Timer::start(), appends.len());
            let committed = self.commit(appends);
            if batch > 0 {
                METRICS.append_time.observe(timer.seconds());
                METRICS.append_batch.observe(f64::from(u32::try_from(batch).unwrap_or(u32::MAX)));
            }
            match committed {
                Ok(outcomes) => {
                    self.head.send_replace(self.position);
                    if let Err(error) = self.lock.ring() {
                        tracing::warn!(%error, "other readers of the event log could not be woken");
                    }
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        let _asker_left = answer.send(outcome);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the event log could not be written and stops");
                    let stopped = LogError::Stopped(error.to_string().into());
                    for answer in answers {
                        let _asker_left = answer.send(Err(stopped.clone().into()));
                    }
                    return;
                }
            }
            if let Err(error) = self.wal.tend(&self.connection) {
                tracing::error!(%error, "the event log could not be folded into its file and stops");
                return;
            }
            if closing {
                break;
            }
        }
        if let Err(error) = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())) {
            tracing::warn!(%error, "the write-ahead log could not be folded at the end");
        }
    }

    /// All appends in one transaction, each with its own outcome.
    fn commit(&mut self, appends: Vec<Append>) -> Result<Vec<Result<Vec<RecordedEvent>, AppendError>>, rusqlite::Error> {
        let transaction = self.connection.transaction()?;
        let now = (self.clock)();
        let (mut position, mut at) = (self.position, self.at);
        let mut outcomes = Vec::with_capacity(appends.len());
        for append in appends {
            outcomes.push(match admit(&transaction, &append)? {
                Admission::New(stream) => Ok(insert(&transaction, append, stream, &mut position, &mut at, now)?),
                Admission::Repeated(recorded) => recorded.into_iter().map(|event| event.decode().map_err(AppendError::Log)).collect(),
                Admission::Conflict(actual) => Err(AppendError::Conflict { actual }),
                Admission::IdTaken(event) => Err(event.decode().map_or_else(AppendError::Log, |event| AppendError::IdTaken(Box::new(event)))),
            });
        }
        transaction.commit()?;
        (self.position, self.at) = (position, at);
        Ok(outcomes)
    }
}

enum Admission {
    /// The stream's number, if it has one yet.
    New(Option<i64>),
    Repeated(Vec<StoredEvent>),
    Conflict(u64),
    IdTaken(StoredEvent),
}

/// Looks at ids before versions: a repeated append is known by its ids, however far its stream went on.
fn admit(connection: &Connection, append: &Append) -> Result<Admission, rusqlite::Error> {
    let mut find = connection.prepare_cached(FIND_EVENT)?;
    let mut recorded = Vec::new();
    for (id, _) in &append.events {
        recorded.extend(find.query_row([id], stored_event).optional()?);
    }
    if let Some(first) = recorded.first() {
        let stream = append.stream.to_string();
        let same = recorded.len() == append.events.len()
            && recorded.iter().zip(&append.events).zip(append.expected + 1..).all(|((recorded, (_, event)), version)| {
                let (kind, data) = codec::encode(event);
                recorded.stream == stream && recorded.version == version && recorded.kind == kind && recorded.data == data
            });
        return Ok(if same { Admission::Repeated(recorded) } else { Admission::IdTaken(first.clone()) });
    }
    let known = connection
        .prepare_cached(STREAM_VERSION)?
        .query_row([append.stream.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<u64>>(1)?)))
        .optional()?;
    let (stream, version) = known.map_or((None, 0), |(stream, version)| (Some(stream), version.unwrap_or(0)));
    Ok(if version == append.expected { Admission::New(stream) } else { Admission::Conflict(version) })
}

fn insert(
    connection: &Connection,
    append: Append,
    stream: Option<i64>,
    position: &mut Position,
    at: &mut Timestamp,
    now: Timestamp,
) -> Result<Vec<RecordedEvent>, rusqlite::Error> {
    let Append { stream: name, expected, metadata, events } = append;
    let stream = match stream {
        Some(stream) => stream,
        None => connection.prepare_cached(INSERT_STREAM)?.insert([name.to_string()])?,
    };
    let mut statement = connection.prepare_cached(INSERT_EVENT)?;
    let mut recorded = Vec::with_capacity(events.len());
    for ((id, event), version) in events.into_iter().zip(expected + 1..) {
        position.0 += 1;
        at.0 = now.0.max(at.0 + 1);
        insert_event(&mut statement, stream, version, id, &metadata, *position, *at, &event)?;
        recorded.push(RecordedEvent { position: *position, stream: name.clone(), version, id, at: *at, metadata: metadata.clone(), event });
    }
    Ok(recorded)
}

#[expect(clippy::too_many_arguments, reason = "one a column")]
fn insert_event(
    statement: &mut rusqlite::CachedStatement<'_>,
    stream: i64,
    version: u64,
    id: Uuid,
    metadata: &Metadata,
    position: Position,
    at: Timestamp,
    event: &Event,
) -> Result<(), rusqlite::Error> {
    let (kind, data) = codec::encode(event);
    let actor = metadata.actor.as_ref().map(UserId::as_str);
    statement.execute(params![position.0, stream, version, id, kind, at.0, actor, metadata.correlation, metadata.causation, data])?;
    Ok(())
}
