//! The one thread that appends to the embedded log: what waits is written in one transaction and
//! flushed once.

use quick_cache::unsync::Cache;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Transaction, params};
use tokio::sync::watch;

use super::{FIND_EVENT, stored_event};
use crate::domain::event::{Position, Timestamp};
use crate::event_log::merkle::{Frontier, Hash};
use crate::event_log::orders::{Draft, NotWritten, Outcome, Waiting};
use crate::event_log::{Clock, LogError, StoredEvent};
use crate::sqlite::{self, FileLock, WalKeeper, is_busy, is_full};

const INSERT_STREAM: &str = "insert into streams (name) values (?1)";
const STREAM_VERSION: &str = "
    select s.number, (select max(e.version) from events e where e.stream = s.number)
    from streams s where s.name = ?1";
const INSERT_EVENT: &str = "
    insert into events (position, stream, version, id, type, at, actor, correlation, causation, data, hash)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const KEEP_TREE: &str = "update merkle set size = ?1, frontier = ?2";

/// How many streams are remembered, about 100 bytes each.
const STREAMS: usize = 65_536;

/// The one thread that appends.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) wal: WalKeeper,
    pub(super) clock: Clock,
    pub(super) position: Position,
    pub(super) at: Timestamp,
    pub(super) tree: Frontier,
    pub(super) streams: Streams,
    pub(super) head: watch::Sender<Position>,
    pub(super) lock: FileLock,
}

/// Streams that were written to lately: their numbers and versions, which nobody else changes. None after a transaction
/// that failed.
pub(super) struct Streams(Cache<String, (i64, u64)>);

impl Default for Streams {
    fn default() -> Self {
        Self(Cache::new(STREAMS))
    }
}

impl Streams {
    /// The stream's number, if it has one yet, and its version.
    fn find(&self, connection: &Connection, name: &str) -> Result<(Option<i64>, u64), rusqlite::Error> {
        if let Some((number, version)) = self.0.get(name) {
            return Ok((Some(*number), *version));
        }
        let mut statement = connection.prepare_cached(STREAM_VERSION)?;
        let known = statement.query_row([name], |row| Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?))).optional()?;
        Ok(known.map_or((None, 0), |(number, version)| (Some(number), version.unwrap_or(0))))
    }

    fn wrote(&mut self, number: i64, last: &StoredEvent) {
        self.0.insert(last.stream.clone(), (number, last.version));
    }
}

impl Writer {
    /// Writes until the end. `write` takes the connection and the file's lock and drops them; only then is `waiting` dropped, which
    /// tells whoever closes the log that the file is free.
    pub(super) fn run(self, mut waiting: Waiting) {
        self.write(&mut waiting);
    }

    /// Ends when nobody can order any more, or when a commit fails for another reason than a full disk: what the
    /// disk then holds is unknown, so nothing is tried again.
    fn write(mut self, waiting: &mut Waiting) {
        let mut has_room = true;
        while let Some(mut batch) = waiting.blocking_next() {
            let committed = self.commit(std::mem::take(&mut batch.drafts));
            if committed.is_err() {
                self.streams = Streams::default();
            }
            match committed {
                Ok(outcomes) => {
                    if !std::mem::replace(&mut has_room, true) {
                        tracing::info!("the event log can be written again");
                    }
                    self.head.send_replace(self.position);
                    if let Err(error) = self.lock.ring() {
                        tracing::warn!(%error, "other readers of the event log could not be woken");
                    }
                    batch.answer(outcomes);
                }
                Err(error) if is_full(&error) => {
                    if std::mem::replace(&mut has_room, false) {
                        tracing::error!("the disk is full: nothing is appended to the event log until there is room");
                    }
                    batch.fail(&LogError::Unavailable("the disk is full".into()));
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "the event log could not be written and stops: look at its disk, then start the service again");
                    batch.fail(&LogError::Stopped(error.to_string().into()));
                    return;
                }
            }
            if let Err(error) = self.wal.tend(&self.connection)
                && !is_full(&error)
                && !is_busy(&error)
            {
                tracing::error!(%error, "the event log could not be folded into its file and stops: look at its disk, then start the service again");
                return;
            }
        }
        if let Err(error) = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())) {
            tracing::warn!(%error, "the write-ahead log could not be folded at the end");
        }
    }

    /// All drafts in one transaction, each with its own outcome.
    fn commit(&mut self, drafts: Vec<Draft>) -> Result<Vec<Outcome>, rusqlite::Error> {
        let transaction = begin_at_last(&self.connection)?;
        let now = (self.clock)();
        let (mut position, mut at, mut tree) = (self.position, self.at, self.tree.clone());
        let mut outcomes = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            outcomes.push(match admit(&transaction, &self.streams, &draft)? {
                Admission::Known(outcome) => outcome,
                Admission::New(stream) => {
                    draft.place(&mut position, &mut at, now);
                    let stream = insert(&transaction, stream, &draft.events, &mut tree)?;
                    draft.events.last().into_iter().for_each(|last| self.streams.wrote(stream, last));
                    Ok(draft.events)
                }
            });
        }
        if position > self.position {
            transaction.prepare_cached(KEEP_TREE)?.execute(params![tree.size(), tree.to_bytes()])?;
        }
        transaction.commit()?;
        (self.position, self.at, self.tree) = (position, at, tree);
        Ok(outcomes)
    }
}

/// Waits for as long as another process, such as an operator's shell, has the file to write to.
fn begin_at_last(connection: &Connection) -> Result<Transaction<'_>, rusqlite::Error> {
    let mut waited = false;
    loop {
        match sqlite::begin(connection) {
            Err(error) if is_busy(&error) => {
                if !std::mem::replace(&mut waited, true) {
                    tracing::warn!("another process holds the event log's file: nothing is appended until it lets go");
                }
            }
            begun => {
                if waited {
                    tracing::info!("the event log can be written again");
                }
                return begun;
            }
        }
    }
}

enum Admission {
    /// The stream's number, if it has one yet.
    New(Option<i64>),
    Known(Outcome),
}

fn admit(connection: &Connection, streams: &Streams, draft: &Draft) -> Result<Admission, rusqlite::Error> {
    let mut find = connection.prepare_cached(FIND_EVENT)?;
    let mut known = Vec::new();
    for event in &draft.events {
        known.extend(find.query_row([event.id], stored_event).optional()?);
    }
    if let Some(outcome) = draft.repeated(known) {
        return Ok(Admission::Known(outcome));
    }
    let (stream, version) = streams.find(connection, &draft.events[0].stream)?;
    Ok(if version == draft.expected { Admission::New(stream) } else { Admission::Known(Err(NotWritten::Conflict(version))) })
}

fn insert(connection: &Connection, stream: Option<i64>, events: &[StoredEvent], tree: &mut Frontier) -> Result<i64, rusqlite::Error> {
    let stream = match stream {
        Some(stream) => stream,
        None => connection.prepare_cached(INSERT_STREAM)?.insert([&events[0].stream])?,
    };
    let mut statement = connection.prepare_cached(INSERT_EVENT)?;
    events.iter().try_for_each(|event| {
        let leaf = Hash::of_leaf(event);
        tree.push(leaf);
        insert_event(&mut statement, stream, event, leaf)
    })?;
    Ok(stream)
}

fn insert_event(statement: &mut CachedStatement<'_>, stream: i64, event: &StoredEvent, leaf: Hash) -> Result<(), rusqlite::Error> {
    let StoredEvent { position, stream: _, version, id, kind, at, actor, correlation, causation, data } = event;
    statement.execute(params![position.0, stream, version, id, kind, at.0, actor, correlation, causation, data, leaf.0])?;
    Ok(())
}
