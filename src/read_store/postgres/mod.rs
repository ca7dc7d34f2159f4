//! The read store in a PostgreSQL schema, shared by any number of nodes. One of them folds, under a lease:
//! a row whose epoch grows with every holder, and which every write checks in its own transaction.
//!
//! | | |
//! | --- | --- |
//! | the store, its generations and how one follows another | here |
//! | how tables are made | [`tables`] |
//! | what is read | [`reader`] |
//! | what is folded and written | [`lease`] |

mod lease;
mod reader;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Pool, PoolError};
use tokio::sync::watch;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::reader::{Moment, Reader as _, Value};
use super::{Checkpoint, OpenError, StoreError, queries, rows};
use crate::domain::event::Position;
use crate::postgres::{self, Looking, Server};
use crate::projections;
use crate::storage::Backoff;
pub(super) use lease::PostgresLease;
pub(super) use reader::PostgresReader;
use tables::{prepare_next, prepare_tables, views_of};

/// The tables that are current, those being built beside them, and those before.
pub(in crate::read_store) const SCHEMA: &str = "entrenous_views";
pub(in crate::read_store) const NEXT: &str = "entrenous_views_next";
const OLD: &str = "entrenous_views_old";
const CHANNEL: &str = "entrenous_views";
/// How often the checkpoint is looked at, in case a notification was lost.
const NOW_AND_THEN: Duration = Duration::from_secs(1);
/// Nodes that open a store at once make its tables one after the other.
const LOCK_TABLES: &str = "select pg_advisory_xact_lock(hashtextextended('entrenous_views', 0))";
/// Whoever builds holds this as long as it is connected; whoever drops, in its transaction.
const BUILD: &str = "select pg_try_advisory_lock(hashtextextended('entrenous_views_next', 0))";
const TRY_BUILD: &str = "select pg_try_advisory_xact_lock(hashtextextended('entrenous_views_next', 0))";
pub(in crate::read_store) const HAS_TABLES: &str = "select to_regclass('checkpoints') is not null";
const PREPARED: &str = "comment on schema entrenous_views_next is 'prepared'";
/// Begins a moment in which several statements see the same rows. The lock on `projector`, which [`HOLD`] takes first, makes it
/// wait for a switch to other tables before its snapshot is taken.
pub(in crate::read_store) const BEGIN_MOMENT: &str = "begin isolation level repeatable read read only; lock table projector in access share mode";
/// No statement is in the middle of the current tables, and none begins, until the transaction ends.
const HOLD: &str = "
    lock table entrenous_views.projector, entrenous_views.checkpoints, entrenous_views.users, entrenous_views.conversations,
        entrenous_views.messages, entrenous_views.section, entrenous_views.parked in access exclusive mode";
/// Whoever leads finds itself fenced, and leads anew in the new tables.
const FENCE_ALL: &str = "
    update entrenous_views_next.projector
    set node = null, epoch = greatest(epoch, coalesce((select max(epoch) from entrenous_views.projector), 0)) + 1";
const MAKE_OLD: &str = "drop schema if exists entrenous_views_old cascade; alter schema entrenous_views rename to entrenous_views_old";
const MAKE_CURRENT: &str = "alter schema entrenous_views_next rename to entrenous_views; comment on schema entrenous_views is null";
const FENCED: &str = "EN001";

/// A holder that was not seen for three seconds is gone, or frozen and will find itself fenced. One that was seen in the
/// future was seen before the server's clock went back.
macro_rules! is_seen {
    () => {
        "seen between clock_timestamp() - interval '3 seconds' and clock_timestamp() + interval '3 seconds'"
    };
}
use is_seen;

const IS_LED: &str = concat!("select exists (select from projector where node is not null and ", is_seen!(), ")");
const IS_LED_ELSEWHERE: &str = concat!("select 1::bigint from projector where node is not null and node <> $1 and ", is_seen!());

/// The read store in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(in crate::read_store) struct PostgresReadStore {
    server: Server,
    pool: Pool,
    checkpoint: Arc<watch::Sender<Checkpoint>>,
    _looking: Arc<Looking>,
    /// What is built here is nobody else's to build or to drop while this connection lives.
    #[expect(dead_code, reason = "it is only held")]
    building: Option<Arc<Client>>,
}

impl PostgresReadStore {
    pub(in crate::read_store) async fn open(url: &str, log: Uuid) -> Result<Self, OpenError> {
        let server = views_of(url, SCHEMA, "30s")?;
        prepare_tables(&server, log).await?;
        Ok(Self::of(server))
    }

    /// The next generation, as far as it was built: without its indexes until it is finished.
    pub(in crate::read_store) async fn build(url: &str, log: Uuid) -> Result<Self, OpenError> {
        let server = views_of(url, NEXT, "0")?;
        let building = server.connect().await.map_err(|error| server.unreachable(&error))?;
        if !building.query_one(BUILD, &[]).await.map_err(|error| server.unreachable(&error))?.get::<_, bool>(0) {
            return Err(is_being_built(&server));
        }
        prepare_next(&server, log).await?;
        Ok(Self { building: Some(Arc::new(building)), ..Self::of(server) })
    }

    fn of(server: Server) -> Self {
        let checkpoint = Arc::new(watch::channel(Checkpoint::default()).0);
        let (known, noted, doubted) = (Arc::clone(&checkpoint), Arc::clone(&checkpoint), Arc::clone(&checkpoint));
        // A server that crashed may come back without the last commits.
        let doubt = move || {
            doubted.send_replace(Checkpoint::default());
        };
        let is_known = Arc::new(move |position| Position(position) == noted.borrow().position);
        let looking = postgres::look_when_notified(server.clone(), CHANNEL, is_known, NOW_AND_THEN, doubt, move |client| {
            let known = Arc::clone(&known);
            Box::pin(async move {
                let row = client.query_one(queries::CHECKPOINT, &[]).await?;
                let found = Checkpoint { position: Position(row.get::<_, i64>(0).cast_unsigned()), event: row.get(1) };
                known.send_if_modified(|known| std::mem::replace(known, found) != found);
                Ok(())
            })
        });
        Self { pool: server.pool(postgres::CONNECTIONS), server, checkpoint, _looking: Arc::new(looking), building: None }
    }

    /// Makes the indexes of the tables that were built, as far as there are none.
    pub(in crate::read_store) async fn finish(&self) -> Result<(), StoreError> {
        let client = self.server.connect().await.map_err(|error| failed(&error))?;
        let mut sql = String::new();
        for shape in projections::ALL {
            sql += &shape.indexes();
        }
        client.batch_execute(&format!("{sql} analyze users, conversations, messages; {PREPARED}")).await.map_err(|error| failed(&error))
    }

    /// Keeps everybody else from the current tables until it is dropped, or switched.
    pub(in crate::read_store) async fn hold(&self) -> Result<PostgresHold, StoreError> {
        let server = self.server.with_settings("entrenous switch", &["lock_timeout=1s", "idle_in_transaction_session_timeout=10s"]);
        let client = server.connect().await.map_err(|error| failed(&error))?;
        let failed = |error: tokio_postgres::Error| failed(&error);
        let mut backoff = Backoff::new();
        let mut attempts = 0;
        loop {
            client.batch_execute("begin").await.map_err(failed)?;
            if client.query_one("select to_regclass('entrenous_views.checkpoints') is null", &[]).await.map_err(failed)?.get(0) {
                return Ok(PostgresHold { client, position: None });
            }
            match client.batch_execute(HOLD).await {
                Ok(()) => break,
                // Somebody reads for long: nobody is to wait behind us meanwhile.
                Err(error) if is_in_the_way(&error) && attempts < HOLD_ATTEMPTS => {
                    client.batch_execute("rollback").await.map_err(failed)?;
                    attempts += 1;
                    backoff.wait().await;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let row = client.query_one("select max(position) from entrenous_views.checkpoints", &[]).await.map_err(failed)?;
        Ok(PostgresHold { client, position: row.get::<_, Option<i64>>(0).map(|position| Position(position.cast_unsigned())) })
    }

    /// Removes every generation but the current one. Returns how many there were.
    pub(in crate::read_store) async fn drop_others(url: &str) -> Result<usize, OpenError> {
        let server = views_of(url, NEXT, "0")?.with_settings("entrenous views", &["lock_timeout=5s"]);
        let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
        let mut client = server.connect().await.map_err(unreachable)?;
        let transaction = client.transaction().await.map_err(unreachable)?;
        if !transaction.query_one(TRY_BUILD, &[]).await.map_err(unreachable)?.get::<_, bool>(0) {
            return Err(is_being_built(&server));
        }
        transaction.execute(LOCK_TABLES, &[]).await.map_err(unreachable)?;
        let mut dropped = 0;
        for schema in [NEXT, OLD] {
            let is_there = transaction.query_one("select to_regnamespace($1) is not null", &[&schema]).await.map_err(unreachable)?;
            dropped += usize::from(is_there.get::<_, bool>(0));
            transaction.batch_execute(&format!("drop schema if exists {schema} cascade")).await.map_err(unreachable)?;
        }
        transaction.commit().await.map_err(unreachable)?;
        Ok(dropped)
    }

    /// Asks whoever folds.
    pub(in crate::read_store) async fn request_retry(url: &str, entity: Option<&str>) -> Result<u64, OpenError> {
        let server = views_of(url, SCHEMA, "30s")?;
        let client = server.connect().await.map_err(|error| server.unreachable(&error))?;
        client.execute(queries::RETRY, &[&entity]).await.map_err(|error| server.unreachable(&error))
    }

    pub(in crate::read_store) async fn last_folded(url: &str) -> Checkpoint {
        let found = async {
            let client = views_of(url, SCHEMA, "30s").ok()?.connect().await.ok()?;
            client.query_one(queries::CHECKPOINT, &[]).await.ok()
        };
        found.await.map(|row| Checkpoint { position: Position(row.get::<_, i64>(0).cast_unsigned()), event: row.get(1) }).unwrap_or_default()
    }

    /// Removes from the pages what was erased, on a connection of its own: it takes as long as the tables are large, and a
    /// lease that was not renewed meanwhile would be another's.
    pub(in crate::read_store) async fn clean(&self) -> Result<(), StoreError> {
        let server = self.server.with_settings("entrenous cleaner", &["statement_timeout=0"]);
        let client = server.connect().await.map_err(|error| failed(&error))?;
        // Statistics hold frequent values.
        client.batch_execute("vacuum (analyze) messages, users").await.map_err(|error| failed(&error))
    }

    pub(in crate::read_store) fn checkpoint_watch(&self) -> watch::Receiver<Checkpoint> {
        self.checkpoint.subscribe()
    }

    pub(in crate::read_store) async fn reader(&self, moment: Moment) -> Result<PostgresReader, StoreError> {
        let client = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(&error),
            error => StoreError::Unavailable(error.to_string().into()),
        })?;
        PostgresReader::begin(client, moment).await
    }

    pub(in crate::read_store) async fn try_lead(&self, node: Uuid) -> Result<Option<PostgresLease>, StoreError> {
        let mut reader = self.reader(Moment::Each).await?;
        if reader.query_first(IS_LED_ELSEWHERE, &[Value::Uuid(node)], rows::number).await?.is_some() {
            return Ok(None);
        }
        // What a crash of the server takes is folded again, so a commit need not wait for the disk. A holder that
        // goes silent in the middle of a transaction loses it, and with it the locks. An erasure takes as long as somebody wrote much.
        let settings = [postgres::PLANNED_ONCE, "synchronous_commit=off", "idle_in_transaction_session_timeout=2s", "lock_timeout=5s", "statement_timeout=0"];
        let (client, ended) = self.server.with_settings("entrenous projector", &settings).connect_until().await.map_err(|error| failed(&error))?;
        PostgresLease::take(client, ended, node, Arc::clone(&self.checkpoint)).await
    }
}

/// How many times the current tables are asked for before somebody who reads for long is in the way.
const HOLD_ATTEMPTS: usize = 60;

/// The current tables, held.
pub(in crate::read_store) struct PostgresHold {
    client: Client,
    /// How far they are folded; none where there are none.
    pub(in crate::read_store) position: Option<Position>,
}

impl PostgresHold {
    /// Makes what was built beside the current tables, in one transaction.
    pub(in crate::read_store) async fn switch(self) -> Result<(), StoreError> {
        let old = if self.position.is_some() { format!("{FENCE_ALL}; {MAKE_OLD};") } else { format!("drop schema if exists {SCHEMA};") };
        let switched = self.client.batch_execute(&format!("{old} {MAKE_CURRENT}; notify {CHANNEL}; commit")).await;
        switched.map_err(|error| failed(&error))
    }
}

/// Whether somebody has a table for longer than we wait, or waits for us.
fn is_in_the_way(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED))
}

fn is_being_built(server: &Server) -> OpenError {
    OpenError::InUse { place: format!("the schema {NEXT} of {}", server.place), holder: "a rebuild".to_owned() }
}

fn failed(error: &tokio_postgres::Error) -> StoreError {
    let reason = postgres::reason(error).into();
    if error.code().map(SqlState::code) == Some(FENCED) {
        StoreError::Fenced
    } else if postgres::is_passing(error) {
        StoreError::Unavailable(reason)
    } else {
        StoreError::Failed(reason)
    }
}
