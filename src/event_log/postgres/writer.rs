//! The writer of one node: what waits is written in one transaction. It locks the log's row, looks at what
//! the log has of the drafts' ids and streams, decides in memory, and sends all that is new together with the
//! commit. Between two transactions it holds nothing, so nodes take turns batch by batch.
//!
//! An outcome is never guessed. When the connection is lost, a new session takes a new epoch, for which it
//! has to wait for the log's row: by then the old transaction has ended, one way or the other. The same
//! batch is written again, and the ids tell what had been committed. A session whose epoch was taken from
//! it writes nothing any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join4, try_join5};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::{FIND, READ_ALL, position, stored_event, to_i64};
use crate::domain::event::{Position, Timestamp};
use crate::event_log::merkle::{Frontier, Hash};
use crate::event_log::orders::{Draft, NotWritten, Outcome, Waiting};
use crate::event_log::recent::Recent;
use crate::event_log::{Clock, LogError, StoredEvent, advance};
use crate::postgres::{self, Parameters, Server};
use crate::storage::Backoff;

/// Takes an epoch, and the epochs of this node's earlier sessions, and of those that the server knows no more, away.
const BEGIN_SESSION: &str = "
    with next as (update log set epoch = epoch + 1 returning epoch),
        own as (select pid, backend_start as since from pg_stat_activity where pid = pg_backend_pid()),
        gone as (
            delete from writers w
            where w.node = $1 or not exists (select from pg_stat_activity a where a.pid = w.pid and a.backend_start = w.since)
        )
    insert into writers (epoch, node, pid, since) select next.epoch, $1, own.pid, own.since from next, own returning epoch";
const LOCK: &str = "select from log for update";
const STATE: &str = "select head, at, streams, exists (select from writers where epoch = $1), tree_size, frontier from log";
const STREAMS: &str = "
    select s.name, s.number, (select max(e.version) from events e where e.stream = s.number) from streams s where s.name = any($1)";
const INSERT_STREAMS: &str = "insert into streams (number, name) select * from unnest($1::bigint[], $2::text[])";
const INSERT_EVENTS: &str = "
    insert into events (position, stream, version, id, type, at, actor, correlation, causation, data, hash)
    select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::text[], $6::bigint[], $7::text[], $8::uuid[], $9::uuid[], $10::text[],
        $11::bytea[])";
const ADVANCE: &str = "update log set head = $1, at = $2, streams = $3, tree_size = $4, frontier = $5";
/// Events that an older version appended are put into the tree so many at a time.
const CATCH_UP: i64 = 10_000;
const NOTIFY: &str = "select pg_notify('entrenous_log', $1)";

/// How long a server may take to write a batch, or to say that it did not.
const PATIENCE: Duration = Duration::from_secs(30);

/// Appends for one node.
pub(super) struct Writer {
    server: Server,
    node: Uuid,
    clock: Clock,
    head: Arc<watch::Sender<Position>>,
    recent: Arc<Recent>,
    session: Option<Session>,
}

struct Session {
    epoch: i64,
    client: Client,
    statements: Statements,
}

struct Statements {
    lock: Statement,
    state: Statement,
    find: Statement,
    streams: Statement,
    insert_streams: Statement,
    insert_events: Statement,
    advance: Statement,
    notify: Statement,
}

/// Why a batch was not written, or may have been.
enum Failure {
    /// Look again, in a new session.
    Interrupted(String),
    /// The server will never write it.
    Final(String),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = postgres::reason(&error);
        if postgres::is_passing(&error) { Self::Interrupted(reason) } else { Self::Final(reason) }
    }
}

impl Writer {
    pub(super) fn new(server: &Server, node: Uuid, clock: Clock, head: Arc<watch::Sender<Position>>, recent: Arc<Recent>) -> Self {
        // An append is on the disk before it is answered. A session that goes silent in a transaction loses it, and the lock.
        let settings = ["synchronous_commit=on", "idle_in_transaction_session_timeout=2s", "lock_timeout=5s", "statement_timeout=20s"];
        Self { server: server.with_settings("entrenous writer", &settings), node, clock, head, recent, session: None }
    }

    /// Ends when nobody can order any more, or when the server refuses for good.
    pub(super) async fn run(mut self, mut waiting: Waiting) {
        while let Some(batch) = waiting.next().await {
            match self.write_until_known(&batch.drafts).await {
                Ok(outcomes) => batch.answer(outcomes),
                Err(reason) => {
                    tracing::error!(reason, "the event log could not be written and stops: look at the database, then start the service again");
                    batch.fail(&LogError::Stopped(reason.into()));
                    return;
                }
            }
        }
    }

    async fn write_until_known(&mut self, drafts: &[Draft]) -> Result<Vec<Outcome>, String> {
        let (mut backoff, mut is_interrupted) = (Backoff::new(), false);
        loop {
            // A session that is given up writes nothing any more: the next one's epoch sees to it.
            let failure = match timeout(PATIENCE, self.write(drafts)).await {
                Ok(Ok(outcomes)) => {
                    if is_interrupted {
                        tracing::info!(place = %self.server.place, "the event log can be written again");
                    }
                    return Ok(outcomes);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Interrupted("the server does not answer".to_owned()),
            };
            self.session = None;
            // The server may come back without what it had not yet copied elsewhere.
            self.recent.clear();
            match failure {
                Failure::Interrupted(reason) if !std::mem::replace(&mut is_interrupted, true) => {
                    tracing::warn!(reason, place = %self.server.place, "an append was interrupted and is looked after");
                }
                Failure::Interrupted(reason) => tracing::debug!(reason, place = %self.server.place, "an append was interrupted again"),
                Failure::Final(reason) => return Err(reason),
            }
            backoff.wait().await;
        }
    }

    async fn write(&mut self, drafts: &[Draft]) -> Result<Vec<Outcome>, Failure> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::begin(&self.server, self.node).await?,
        };
        // What is known before the server is asked: it may answer a node that was frozen meanwhile, and has heard of more since.
        let known = *self.head.borrow();
        let mut looked = session.look(drafts).await?;
        if looked.position < known {
            return Err(Failure::Final(LogError::Shortened { known, found: looked.position }.to_string()));
        }
        let now = (self.clock)();
        let outcomes = looked.admit(drafts, now);
        session.finish(&looked).await?;
        self.recent.extend(looked.written);
        advance(&self.head, looked.position);
        self.session = Some(session);
        Ok(outcomes)
    }
}

impl Session {
    async fn begin(server: &Server, node: Uuid) -> Result<Self, Failure> {
        let client = server.connect().await?;
        let epoch = client.query_one(BEGIN_SESSION, &[&node]).await?.get(0);
        let statements = Statements {
            lock: client.prepare(LOCK).await?,
            state: client.prepare(STATE).await?,
            find: client.prepare(FIND).await?,
            streams: client.prepare(STREAMS).await?,
            insert_streams: client.prepare(INSERT_STREAMS).await?,
            insert_events: client.prepare(INSERT_EVENTS).await?,
            advance: client.prepare(ADVANCE).await?,
            notify: client.prepare(NOTIFY).await?,
        };
        Ok(Self { epoch, client, statements })
    }

    /// Takes the lock, and in later statements of the same transaction, which see all that was committed before,
    /// what the log has of the drafts. All of it goes to the server at once.
    async fn look(&self, drafts: &[Draft]) -> Result<Looked, Failure> {
        let (client, statements) = (&self.client, &self.statements);
        let ids: Vec<Uuid> = drafts.iter().flat_map(|draft| draft.events.iter().map(|event| event.id)).collect();
        let names: Vec<&str> = drafts.iter().map(|draft| draft.events[0].stream.as_str()).collect();
        let (epoch, ids, names): (Parameters<'_, 1>, Parameters<'_, 1>, Parameters<'_, 1>) = ([&self.epoch], [&ids], [&names]);
        let (_begun, _locked, state, known, streams) = try_join5(
            client.batch_execute("begin"),
            client.execute(&statements.lock, &[]),
            client.query_one(&statements.state, &epoch),
            client.query(&statements.find, &ids),
            client.query(&statements.streams, &names),
        )
        .await?;
        if !state.get::<_, bool>(3) {
            return Err(Failure::Interrupted("another session took over from this one".to_owned()));
        }
        let tree = self.caught_up_tree(&state).await?;
        let known = known.iter().map(stored_event).map(|event| (event.id, event)).collect();
        let stream = |row: &tokio_postgres::Row| (row.get(0), StreamState { number: row.get(1), version: row.get::<_, i64>(2).cast_unsigned(), is_new: false });
        let streams = streams.iter().map(stream).collect();
        Ok(Looked {
            position: position(&state, 0),
            at: Timestamp(state.get(1)),
            last_stream: state.get(2),
            tree,
            known,
            streams,
            written: vec![],
            leaves: vec![],
        })
    }

    /// The tree that is kept, with the events that were appended by a version without one.
    async fn caught_up_tree(&self, state: &tokio_postgres::Row) -> Result<Frontier, Failure> {
        let head = position(state, 0);
        let mut tree = Frontier::from_bytes(state.get::<_, i64>(4).cast_unsigned(), state.get(5)).unwrap_or_default();
        while tree.size() < head.0 {
            let events = self.client.query(READ_ALL, &[&to_i64(tree.size()), &CATCH_UP]).await?;
            if events.is_empty() {
                return Err(Failure::Final("the log has fewer events than its head says".to_owned()));
            }
            tree.extend(events.iter().map(|event| Hash::of_leaf(&stored_event(event))));
        }
        Ok(tree)
    }

    /// Writes what was admitted and commits; all of it goes to the server at once. A statement that fails
    /// makes those after it fail, and the commit a rollback.
    async fn finish(&self, looked: &Looked) -> Result<(), Failure> {
        let (client, statements) = (&self.client, &self.statements);
        if looked.written.is_empty() {
            return Ok(client.batch_execute("rollback").await?);
        }
        let stream_of = |event: &&StoredEvent| looked.streams[&event.stream].number;
        let (new_names, new_numbers): (Vec<&str>, Vec<i64>) =
            looked.streams.iter().filter(|(_, stream)| stream.is_new).map(|(name, stream)| (name.as_str(), stream.number)).unzip();
        let events: Vec<&StoredEvent> = looked.written.iter().collect();
        let (positions, streams) = (column(&events, |event| to_i64(event.position.0)), events.iter().map(stream_of).collect::<Vec<_>>());
        let (versions, ids, kinds) = (column(&events, |event| to_i64(event.version)), column(&events, |event| event.id), column(&events, |event| &*event.kind));
        let (times, actors) = (column(&events, |event| event.at.0), column(&events, |event| event.actor.as_deref()));
        let (correlations, causations) = (column(&events, |event| event.correlation), column(&events, |event| event.causation));
        let data = column(&events, |event| &*event.data);
        let leaves: Vec<&[u8]> = looked.leaves.iter().map(|leaf| leaf.0.as_slice()).collect();
        let insert_streams: Parameters<'_, 2> = [&new_numbers, &new_names];
        let insert_events: Parameters<'_, 11> = [&positions, &streams, &versions, &ids, &kinds, &times, &actors, &correlations, &causations, &data, &leaves];
        let (size, frontier) = (to_i64(looked.tree.size()), looked.tree.to_bytes());
        let (head, said) = (to_i64(looked.position.0), looked.position.0.to_string());
        let news: Parameters<'_, 1> = [&said];
        let ahead: Parameters<'_, 5> = [&head, &looked.at.0, &looked.last_stream, &size, &frontier];
        let inserted = async { if new_names.is_empty() { Ok(0) } else { client.execute(&statements.insert_streams, &insert_streams).await } };
        let ended = async {
            let (notified, committed) = futures_util::future::join(client.execute(&statements.notify, &news), client.batch_execute("commit")).await;
            notified.and(committed)
        };
        let (inserted, written, advanced, ended) =
            join4(inserted, client.execute(&statements.insert_events, &insert_events), client.execute(&statements.advance, &ahead), ended).await;
        inserted.and(written).and(advanced).and(ended.map(|()| 0))?;
        Ok(())
    }
}

fn column<'a, T>(events: &[&'a StoredEvent], value: impl Fn(&'a StoredEvent) -> T) -> Vec<T> {
    events.iter().map(|event| value(event)).collect()
}

/// What the log has of a batch's ids and streams, and what is added to it.
struct Looked {
    position: Position,
    at: Timestamp,
    last_stream: i64,
    tree: Frontier,
    known: HashMap<Uuid, StoredEvent>,
    streams: HashMap<String, StreamState>,
    written: Vec<StoredEvent>,
    /// Of what is written.
    leaves: Vec<Hash>,
}

struct StreamState {
    number: i64,
    version: u64,
    is_new: bool,
}

impl Looked {
    /// Each draft's outcome, in order; a draft sees those before it.
    fn admit(&mut self, drafts: &[Draft], now: Timestamp) -> Vec<Outcome> {
        drafts.iter().map(|draft| self.admit_one(draft, now)).collect()
    }

    fn admit_one(&mut self, draft: &Draft, now: Timestamp) -> Outcome {
        let known = draft.events.iter().filter_map(|event| self.known.get(&event.id).cloned()).collect();
        if let Some(outcome) = draft.repeated(known) {
            return outcome;
        }
        let name = &draft.events[0].stream;
        let version = self.streams.get(name).map_or(0, |stream| stream.version);
        if version != draft.expected {
            return Err(NotWritten::Conflict(version));
        }
        let mut draft = draft.clone();
        draft.place(&mut self.position, &mut self.at, now);
        let stream = self.streams.entry(name.clone()).or_insert_with(|| {
            self.last_stream += 1;
            StreamState { number: self.last_stream, version: 0, is_new: true }
        });
        stream.version += draft.events.len() as u64;
        self.known.extend(draft.events.iter().map(|event| (event.id, event.clone())));
        for event in &draft.events {
            let leaf = Hash::of_leaf(event);
            self.tree.push(leaf);
            self.leaves.push(leaf);
        }
        self.written.extend(draft.events.iter().cloned());
        Ok(draft.events)
    }
}
