//! The event log in a PostgreSQL schema, shared by any number of nodes. Each has one writer; they take
//! turns by a lock on one row, so positions are dense and in the order of the commits.

mod writer;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Pool, PoolError};
use tokio::sync::watch;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::merkle::{Frontier, Hash};
use super::orders::{Draft, Orders, Outcome, orders};
use super::recent::Recent;
use super::{Clock, LogError, OpenError, StoredEvent, advance, kept_frontier, select_events, to_i64, without_holes};
use crate::domain::event::{Position, Stream, Timestamp};
use crate::postgres::{self, Looking, Server};
use writer::Writer;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

const SCHEMA: &str = "entrenous_log";
const CHANNEL: &str = "entrenous_log";
/// How often the head is looked at, in case a notification was lost.
const NOW_AND_THEN: Duration = Duration::from_secs(2);
/// Nodes that open a log at once migrate it one after the other. Held until the connection ends.
const LOCK_MIGRATIONS: &str = "select pg_advisory_lock(hashtextextended('entrenous_log', 0))";
const HAS_TABLES: &str = "select to_regclass('entrenous_log.refinery_schema_history') is not null";
const FORMAT: &str = "select coalesce(max(version), 0)::bigint from entrenous_log.refinery_schema_history";
const CREATE: &str = "insert into log (only_one, id, epoch, streams, head, at) values (1, $1, 0, 0, 0, 0) on conflict do nothing";
const ID: &str = "select id from log";
const HEAD: &str = "select head from log";
const READER: &str = "select reader from log";
const NOTE_READER: &str = "update log set reader = $1";
const BIND_KEYS: &str = "update log set keys = $1 where keys is null";
const KEYS: &str = "select keys from log";
const TREE: &str = "select tree_size, frontier from log";
const LEAVES: &str = "select hash from events where position > $1 order by position limit $2";

const READ_ALL: &str = select_events!("events e join streams s on s.number = e.stream where e.position > $1 order by e.position limit $2");
const READ_STREAM: &str = select_events!("streams s join events e on e.stream = s.number where s.name = $1 and e.version > $2 order by e.version limit $3");
const FIND: &str = select_events!("events e join streams s on s.number = e.stream where e.id = any($1)");
const AT: &str = select_events!("events e join streams s on s.number = e.stream where e.position = $1");

/// The log in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct PostgresEventLog {
    id: Uuid,
    pool: Pool,
    pub(super) orders: Orders,
    head: Arc<watch::Sender<Position>>,
    recent: Arc<Recent>,
    _looking: Arc<Looking>,
}

impl PostgresEventLog {
    /// Opens the log, or makes a new one; other nodes may have it open.
    ///
    /// # Errors
    /// When it cannot be reached, or is of a newer version.
    #[expect(clippy::disallowed_methods, reason = "the ids of a log and of a node must be random: a log's is also the secret of cursors")]
    pub(super) async fn open(url: &str, clock: Clock) -> Result<Self, OpenError> {
        let server = server(url)?;
        let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
        let mut client = server.connect().await.map_err(unreachable)?;
        client.execute(LOCK_MIGRATIONS, &[]).await.map_err(unreachable)?;
        if has_tables(&client, &server).await? {
            check_format(&client, &server).await?;
        } else {
            client.batch_execute(&format!("create schema if not exists {SCHEMA}")).await.map_err(unreachable)?;
        }
        let migrated = embedded::migrations::runner().run_async(&mut client).await;
        migrated.map_err(|error| Server::not_migrated(place(&server), &error))?;
        client.execute(CREATE, &[&Uuid::new_v4()]).await.map_err(unreachable)?;
        let (orders, waiting) = orders();
        let log = Self::reading(&server, &client, orders).await?;
        tokio::spawn(Writer::new(&server, Uuid::new_v4(), clock, Arc::clone(&log.head), Arc::clone(&log.recent)).run(waiting));
        Ok(log)
    }

    pub(super) async fn open_read_only(url: &str) -> Result<Self, OpenError> {
        let server = server(url)?;
        let client = server.connect().await.map_err(|error| server.unreachable(&error))?;
        if !has_tables(&client, &server).await? {
            return Err(OpenError::Unreachable { place: place(&server), reason: "there is no event log here yet".to_owned() });
        }
        check_format(&client, &server).await?;
        Self::reading(&server, &client, Orders::none()).await
    }

    async fn reading(server: &Server, client: &Client, orders: Orders) -> Result<Self, OpenError> {
        let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
        let id = client.query_one(ID, &[]).await.map_err(unreachable)?.get(0);
        let head = Arc::new(watch::channel(position(&client.query_one(HEAD, &[]).await.map_err(unreachable)?, 0)).0);
        let (known, noted) = (Arc::clone(&head), Arc::clone(&head));
        let is_known = Arc::new(move |position| Position(position) <= *noted.borrow());
        let looking = postgres::look_when_notified(
            server.clone(),
            CHANNEL,
            is_known,
            NOW_AND_THEN,
            || {},
            move |client| {
                let known = Arc::clone(&known);
                Box::pin(async move {
                    advance(&known, position(&client.query_one(HEAD, &[]).await?, 0));
                    Ok(())
                })
            },
        );
        Ok(Self { id, pool: server.pool(postgres::CONNECTIONS), orders, head, recent: Arc::default(), _looking: Arc::new(looking) })
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn head_watch(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// # Errors
    /// When it cannot be read, or ends before what was known of it.
    pub(super) async fn latest(&self) -> Result<Position, LogError> {
        let known = *self.head.borrow();
        let found = self.read(HEAD, &[]).await?;
        let latest = found.first().map(|row| position(row, 0)).unwrap_or_default();
        if latest < known {
            return Err(LogError::Shortened { known, found: latest });
        }
        advance(&self.head, latest);
        Ok(latest)
    }

    pub(super) fn forget_recent(&self) {
        self.recent.clear();
    }

    pub(super) async fn write(&self, draft: Draft) -> Outcome {
        self.orders.write(draft).await
    }

    pub(super) async fn reader(&self) -> Result<Option<String>, LogError> {
        Ok(self.read(READER, &[]).await?.first().and_then(|row| row.get(0)))
    }

    pub(super) async fn note_reader(&self, reader: &str) -> Result<(), LogError> {
        self.read(NOTE_READER, &[&reader]).await.map(|_| ())
    }

    /// The key store that the log has, this one where it had none.
    pub(super) async fn bind_keys(&self, keys: Uuid) -> Result<Uuid, LogError> {
        self.read(BIND_KEYS, &[&keys]).await?;
        self.bound_keys().await?.ok_or_else(|| LogError::Read("it has no row of its own".into()))
    }

    /// The key store that the log has; none where it has had none yet.
    pub(super) async fn bound_keys(&self) -> Result<Option<Uuid>, LogError> {
        Ok(self.read(KEYS, &[]).await?.first().and_then(|row| row.get(0)))
    }

    pub(super) async fn close(&self) {
        self.orders.close().await;
    }

    pub(super) async fn read_all_stored(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        if let Some(recent) = self.recent.after(after, limit) {
            return Ok(recent);
        }
        let found = self.read(READ_ALL, &[&to_i64(after.0), &to_i64(limit as u64)]).await?;
        without_holes(after, found.iter().map(stored_event).collect())
    }

    pub(super) async fn read_stream_stored(&self, stream: &Stream, after: u64, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        let found = self.read(READ_STREAM, &[&stream.to_string(), &to_i64(after), &to_i64(limit as u64)]).await?;
        Ok(found.iter().map(stored_event).collect())
    }

    pub(super) async fn find_stored(&self, id: Uuid) -> Result<Option<StoredEvent>, LogError> {
        Ok(self.read(FIND, &[&[id].as_slice()]).await?.first().map(stored_event))
    }

    pub(super) async fn at(&self, position: Position) -> Result<Option<StoredEvent>, LogError> {
        Ok(self.read(AT, &[&to_i64(position.0)]).await?.first().map(stored_event))
    }

    pub(super) async fn kept_tree(&self) -> Result<Frontier, LogError> {
        let found = self.read(TREE, &[]).await?;
        let row = found.first().ok_or_else(|| LogError::Read("it has no row of its own".into()))?;
        kept_frontier(row.get::<_, i64>(0).cast_unsigned(), row.get(1))
    }

    pub(super) async fn kept_leaves(&self, after: Position, limit: usize) -> Result<Vec<Option<Hash>>, LogError> {
        let found = self.read(LEAVES, &[&to_i64(after.0), &to_i64(limit as u64)]).await?;
        // A leaf of another length is none that was ever kept, and so equals none.
        Ok(found.iter().map(|row| row.get::<_, Option<&[u8]>>(0).map(|hash| Hash(hash.try_into().unwrap_or_default()))).collect())
    }

    /// A connection that turns out to be lost is replaced once.
    async fn read(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, LogError> {
        match self.read_once(sql, parameters).await {
            Err(LogError::Unavailable(_)) => self.read_once(sql, parameters).await,
            answer => answer,
        }
    }

    async fn read_once(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, LogError> {
        let client = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(&error),
            error => LogError::Unavailable(error.to_string().into()),
        })?;
        let statement = client.prepare_cached(sql).await.map_err(|error| failed(&error))?;
        client.query(&statement, parameters).await.map_err(|error| failed(&error))
    }
}

fn server(url: &str) -> Result<Server, OpenError> {
    Ok(Server::new(url)?.with_settings("entrenous log", &[postgres::PLANNED_ONCE, "search_path=entrenous_log", "statement_timeout=60s"]))
}

fn place(server: &Server) -> String {
    format!("the schema {SCHEMA} of {}", server.place)
}

async fn has_tables(client: &Client, server: &Server) -> Result<bool, OpenError> {
    Ok(client.query_one(HAS_TABLES, &[]).await.map_err(|error| server.unreachable(&error))?.get(0))
}

async fn check_format(client: &Client, server: &Server) -> Result<(), OpenError> {
    let found = client.query_one(FORMAT, &[]).await.map_err(|error| server.unreachable(&error))?.get(0);
    OpenError::unless_known(&embedded::migrations::runner(), found, || place(server))
}

fn failed(error: &tokio_postgres::Error) -> LogError {
    let reason = postgres::reason(error).into();
    if postgres::is_passing(error) { LogError::Unavailable(reason) } else { LogError::Read(reason) }
}

fn position(row: &Row, column: usize) -> Position {
    Position(row.get::<_, i64>(column).cast_unsigned())
}

fn stored_event(row: &Row) -> StoredEvent {
    StoredEvent {
        position: position(row, 0),
        stream: row.get(1),
        version: row.get::<_, i64>(2).cast_unsigned(),
        id: row.get(3),
        kind: row.get(4),
        at: Timestamp(row.get(5)),
        actor: row.get(6),
        correlation: row.get(7),
        causation: row.get(8),
        data: row.get(9),
    }
}
