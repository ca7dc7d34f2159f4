//! The one thread that appends to the embedded log: what waits is written in one transaction and
//! flushed once.

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use tokio::sync::watch;

use super::{FIND_EVENT, stored_event};
use crate::domain::event::{Position, Timestamp};
use crate::event_log::merkle::{Frontier, Hash};
use crate::event_log::orders::{Draft, NotWritten, Outcome, Waiting};
use crate::event_log::{Clock, LogError, StoredEvent};
use crate::sqlite::{FileLock, WalKeeper};

const INSERT_STREAM: &str = "insert into streams (name) values (?1)";
const STREAM_VERSION: &str = "
    select s.number, (select max(e.version) from events e where e.stream = s.number)
    from streams s where s.name = ?1";
const INSERT_EVENT: &str = "
    insert into events (position, stream, version, id, type, at, actor, correlation, causation, data, hash)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const KEEP_TREE: &str = "update merkle set size = ?1, frontier = ?2";

/// The one thread that appends.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) wal: WalKeeper,
    pub(super) clock: Clock,
    pub(super) position: Position,
    pub(super) at: Timestamp,
    pub(super) tree: Frontier,
    pub(super) head: watch::Sender<Position>,
    pub(super) lock: FileLock,
}

impl Writer {
    /// Ends when nobody can order any more, or when a commit fails: what the disk then holds is
    /// unknown, so nothing is tried again.
    pub(super) fn run(mut self, mut waiting: Waiting) {
        while let Some(mut batch) = waiting.blocking_next() {
            match self.commit(std::mem::take(&mut batch.drafts)) {
                Ok(outcomes) => {
                    self.head.send_replace(self.position);
                    if let Err(error) = self.lock.ring() {
                        tracing::warn!(%error, "other readers of the event log could not be woken");
                    }
                    batch.answer(outcomes);
                }
                Err(error) => {
                    tracing::error!(%error, "the event log could not be written and stops");
                    batch.fail(&LogError::Stopped(error.to_string().into()));
                    return;
                }
            }
            if let Err(error) = self.wal.tend(&self.connection) {
                tracing::error!(%error, "the event log could not be folded into its file and stops");
                return;
            }
        }
        if let Err(error) = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())) {
            tracing::warn!(%error, "the write-ahead log could not be folded at the end");
        }
    }

    /// All drafts in one transaction, each with its own outcome.
    fn commit(&mut self, drafts: Vec<Draft>) -> Result<Vec<Outcome>, rusqlite::Error> {
        let transaction = self.connection.transaction()?;
        let now = (self.clock)();
        let (mut position, mut at, mut tree) = (self.position, self.at, self.tree.clone());
        let mut outcomes = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            outcomes.push(match admit(&transaction, &draft)? {
                Admission::Known(outcome) => outcome,
                Admission::New(stream) => {
                    draft.place(&mut position, &mut at, now);
                    insert(&transaction, stream, &draft.events, &mut tree)?;
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

enum Admission {
    /// The stream's number, if it has one yet.
    New(Option<i64>),
    Known(Outcome),
}

fn admit(connection: &Connection, draft: &Draft) -> Result<Admission, rusqlite::Error> {
    let mut find = connection.prepare_cached(FIND_EVENT)?;
    let mut known = Vec::new();
    for event in &draft.events {
        known.extend(find.query_row([event.id], stored_event).optional()?);
    }
    if let Some(outcome) = draft.repeated(known) {
        return Ok(Admission::Known(outcome));
    }
    let known = connection
        .prepare_cached(STREAM_VERSION)?
        .query_row([&draft.events[0].stream], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<u64>>(1)?)))
        .optional()?;
    let (stream, version) = known.map_or((None, 0), |(stream, version)| (Some(stream), version.unwrap_or(0)));
    Ok(if version == draft.expected { Admission::New(stream) } else { Admission::Known(Err(NotWritten::Conflict(version))) })
}

fn insert(connection: &Connection, stream: Option<i64>, events: &[StoredEvent], tree: &mut Frontier) -> Result<(), rusqlite::Error> {
    let stream = match stream {
        Some(stream) => stream,
        None => connection.prepare_cached(INSERT_STREAM)?.insert([&events[0].stream])?,
    };
    let mut statement = connection.prepare_cached(INSERT_EVENT)?;
    events.iter().try_for_each(|event| {
        let leaf = Hash::of_leaf(event);
        tree.push(leaf);
        insert_event(&mut statement, stream, event, leaf)
    })
}

fn insert_event(statement: &mut CachedStatement<'_>, stream: i64, event: &StoredEvent, leaf: Hash) -> Result<(), rusqlite::Error> {
    let StoredEvent { position, stream: _, version, id, kind, at, actor, correlation, causation, data } = event;
    statement.execute(params![position.0, stream, version, id, kind, at.0, actor, correlation, causation, data, leaf.0])?;
    Ok(())
}
