//! The read store in a PostgreSQL schema, shared by any number of nodes. One of them folds, under a lease:
//! a row whose epoch grows with every holder, and which every write checks in its own transaction.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use futures_util::future::{join, join_all, join3, join5, try_join3};
use tokio::sync::watch;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row, Statement, Transaction};
use uuid::Uuid;

use super::reader::{Columns, Moment, Read, Reader, Unreadable, Value};
use super::{Checkpoint, OpenError, ParkedEntity, Rows, StoreError, StoredCheckpoint, Touched, queries, rows};
use crate::domain::event::Position;
use crate::domain::ids::UserId;
use crate::domain::text::MessageText;
use crate::postgres::{self, Ended, Looking, Parameters, Server};
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::projections::{self, Shape};
use crate::storage::Backoff;

/// The tables that are current, those being built beside them, and those before.
pub(super) const SCHEMA: &str = "entrenous_views";
pub(super) const NEXT: &str = "entrenous_views_next";
const OLD: &str = "entrenous_views_old";
const CHANNEL: &str = "entrenous_views";
/// How often the checkpoint is looked at, in case a notification was lost.
const NOW_AND_THEN: Duration = Duration::from_secs(1);
/// Nodes that open a store at once make its tables one after the other.
const LOCK_TABLES: &str = "select pg_advisory_xact_lock(hashtextextended('entrenous_views', 0))";
pub(super) const HAS_TABLES: &str = "select to_regclass('checkpoints') is not null";
/// Whether what was built beside is finished.
const IS_PREPARED: &str = "select obj_description(to_regnamespace('entrenous_views_next'), 'pg_namespace') is not distinct from 'prepared'";
const PREPARED: &str = "comment on schema entrenous_views_next is 'prepared'";
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
/// What there is beside the projections' own tables.
const PROJECTOR: &str = "
    create table projector (
        only_one bigint      not null primary key check (only_one = 1),
        epoch    bigint      not null,       -- grows with every holder of the lease
        node     uuid,                       -- the holder; null: nobody
        seen     timestamptz not null        -- when the holder last wrote or said that it is there
    );
    insert into projector (only_one, epoch, seen) values (1, 0, clock_timestamp());
    create function fence(mine bigint) returns void language plpgsql as $$
    begin
        update projector set seen = clock_timestamp() where epoch = mine;
        if not found then
            raise exception 'another node leads' using errcode = 'EN001';
        end if;
    end $$";
const FENCED: &str = "EN001";
/// A holder that was not seen for three seconds is gone, or frozen and will find itself fenced.
const LEAD: &str = "
    update projector set epoch = epoch + 1, node = $1, seen = clock_timestamp()
    where node is null or node = $1 or seen < clock_timestamp() - interval '3 seconds' returning epoch";
const IS_LED: &str = "select exists (select from projector where node is not null and seen >= clock_timestamp() - interval '3 seconds')";
const IS_LED_ELSEWHERE: &str = "
    select 1::bigint from projector where node is not null and node <> $1 and seen >= clock_timestamp() - interval '3 seconds'";
const FENCE: &str = "select fence($1)";
const RELEASE: &str = "update projector set node = null where epoch = $1";
/// Rows written at once, of many.
const CHUNK: usize = 10_000;
const NOTIFY: &str = "select pg_notify('entrenous_views', $1)";

/// The read store in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(super) struct PostgresReadStore {
    server: Server,
    pool: Pool,
    checkpoint: Arc<watch::Sender<Checkpoint>>,
    _looking: Arc<Looking>,
}

impl PostgresReadStore {
    pub(super) async fn open(url: &str, log: Uuid) -> Result<Self, OpenError> {
        let server = views_of(url, SCHEMA, "30s")?;
        prepare_tables(&server, log).await?;
        Ok(Self::of(server))
    }

    /// The next generation, as far as it was built: without its indexes until it is finished.
    pub(super) async fn build(url: &str, log: Uuid) -> Result<Self, OpenError> {
        let server = views_of(url, NEXT, "0")?;
        prepare_next(&server, log).await?;
        Ok(Self::of(server))
    }

    fn of(server: Server) -> Self {
        let checkpoint = Arc::new(watch::channel(Checkpoint::default()).0);
        let (known, noted) = (Arc::clone(&checkpoint), Arc::clone(&checkpoint));
        let is_known = Arc::new(move |position| Position(position) == noted.borrow().position);
        let looking = postgres::look_when_notified(server.clone(), CHANNEL, is_known, NOW_AND_THEN, move |client| {
            let known = Arc::clone(&known);
            Box::pin(async move {
                let row = client.query_one(queries::CHECKPOINT, &[]).await?;
                let found = Checkpoint { position: Position(row.get::<_, i64>(0).cast_unsigned()), event: row.get(1) };
                known.send_if_modified(|known| std::mem::replace(known, found) != found);
                Ok(())
            })
        });
        Self { pool: server.pool(postgres::CONNECTIONS), server, checkpoint, _looking: Arc::new(looking) }
    }

    /// Makes the indexes of the tables that were built, as far as there are none.
    pub(super) async fn finish(&self) -> Result<(), StoreError> {
        let client = self.server.connect().await.map_err(|error| failed(&error))?;
        let mut sql = String::new();
        for shape in projections::ALL {
            sql += &shape.indexes();
        }
        client.batch_execute(&format!("{sql} analyze users, conversations, messages; {PREPARED}")).await.map_err(|error| failed(&error))
    }

    /// Keeps everybody else from the current tables until it is dropped, or switched.
    pub(super) async fn hold(&self) -> Result<PostgresHold, StoreError> {
        let server = self.server.with_settings("entrenous switch", &["lock_timeout=1s"]);
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
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && attempts < HOLD_ATTEMPTS => {
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
    pub(super) async fn drop_others(url: &str) -> Result<usize, OpenError> {
        let server = views_of(url, NEXT, "0")?;
        let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
        let mut client = server.connect().await.map_err(unreachable)?;
        let transaction = client.transaction().await.map_err(unreachable)?;
        transaction.execute(LOCK_TABLES, &[]).await.map_err(unreachable)?;
        if transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0) && transaction.query_one(IS_LED, &[]).await.map_err(unreachable)?.get(0) {
            return Err(OpenError::InUse { place: format!("the schema {NEXT} of {}", server.place), holder: "a rebuild".to_owned() });
        }
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
    pub(super) async fn request_retry(url: &str, entity: Option<&str>) -> Result<u64, OpenError> {
        let server = views_of(url, SCHEMA, "30s")?;
        let client = server.connect().await.map_err(|error| server.unreachable(&error))?;
        client.execute(queries::RETRY, &[&entity]).await.map_err(|error| server.unreachable(&error))
    }

    pub(super) async fn has_rows(url: &str) -> bool {
        let found = async {
            let client = views_of(url, SCHEMA, "30s").ok()?.connect().await.ok()?;
            client.query_one(queries::CHECKPOINT, &[]).await.ok()
        };
        found.await.is_some_and(|row| row.get::<_, i64>(0) > 0)
    }

    pub(super) fn checkpoint_watch(&self) -> watch::Receiver<Checkpoint> {
        self.checkpoint.subscribe()
    }

    pub(super) async fn reader(&self, moment: Moment) -> Result<PostgresReader, StoreError> {
        let client = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(&error),
            error => StoreError::Unavailable(error.to_string().into()),
        })?;
        if moment == Moment::Same {
            client.batch_execute("begin isolation level repeatable read read only").await.map_err(|error| failed(&error))?;
        }
        Ok(PostgresReader { client: Some(client), moment })
    }

    pub(super) async fn try_lead(&self, node: Uuid) -> Result<Option<PostgresLease>, StoreError> {
        let mut reader = self.reader(Moment::Each).await?;
        if reader.query_first(IS_LED_ELSEWHERE, &[Value::Uuid(node)], rows::number).await?.is_some() {
            return Ok(None);
        }
        // What a crash of the server takes is folded again, so a commit need not wait for the disk. A holder that
        // goes silent in the middle of a transaction loses it, and with it the locks.
        let settings = [postgres::PLANNED_ONCE, "synchronous_commit=off", "idle_in_transaction_session_timeout=2s", "lock_timeout=5s"];
        let (client, ended) = self.server.with_settings("entrenous projector", &settings).connect_until().await.map_err(|error| failed(&error))?;
        let led = client.query_opt(LEAD, &[&node]).await.map_err(|error| failed(&error))?;
        let Some(led) = led else { return Ok(None) };
        let statements = Statements::prepare(&client).await.map_err(|error| failed(&error))?;
        Ok(Some(PostgresLease { epoch: led.get(0), client, ended, statements, checkpoint: Arc::clone(&self.checkpoint) }))
    }
}

/// How many times the current tables are asked for before somebody who reads for long is in the way.
const HOLD_ATTEMPTS: usize = 60;

/// The current tables, held.
pub(super) struct PostgresHold {
    client: Client,
    /// How far they are folded; none where there are none.
    pub(super) position: Option<Position>,
}

impl PostgresHold {
    /// Makes what was built beside the current tables, in one transaction.
    pub(super) async fn switch(self) -> Result<(), StoreError> {
        let old = if self.position.is_some() { format!("{FENCE_ALL}; {MAKE_OLD};") } else { format!("drop schema if exists {SCHEMA};") };
        let switched = self.client.batch_execute(&format!("{old} {MAKE_CURRENT}; notify {CHANNEL}; commit")).await;
        switched.map_err(|error| failed(&error))
    }
}

fn views_of(url: &str, schema: &str, statement_timeout: &str) -> Result<Server, OpenError> {
    let settings = [format!("search_path={schema}"), format!("statement_timeout={statement_timeout}")];
    Ok(Server::new(url)?.with_settings("entrenous views", &settings.each_ref().map(String::as_str)))
}

/// Makes the tables where there are none, and anew where they are of other projections and nobody folds them.
async fn prepare_tables(server: &Server, log: Uuid) -> Result<(), OpenError> {
    let place = || format!("the schema {SCHEMA} of {}", server.place);
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    let mut client = server.connect().await.map_err(unreachable)?;
    let transaction = client.transaction().await.map_err(unreachable)?;
    transaction.execute(LOCK_TABLES, &[]).await.map_err(unreachable)?;
    if transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0) {
        match are_usable(&transaction, server, &place(), log).await? {
            Usable::Yes => {
                transaction.batch_execute(&adapted(queries::PARKED_TABLE)).await.map_err(unreachable)?;
                return transaction.commit().await.map_err(unreachable);
            }
            Usable::OfAnotherLog => return Err(OpenError::Diverged { place: place() }),
            Usable::OfOtherProjections => {}
        }
        if transaction.query_one(IS_LED, &[]).await.map_err(unreachable)?.get(0) {
            return Err(OpenError::InUse { place: place(), holder: "a node of another version, whose projections differ".to_owned() });
        }
        transaction.batch_execute(MAKE_OLD).await.map_err(unreachable)?;
        if is_prepared(server, log).await? {
            transaction.batch_execute(MAKE_CURRENT).await.map_err(unreachable)?;
            return transaction.commit().await.map_err(unreachable);
        }
        tracing::info!(place = %place(), "the views are made anew from the log: the projections have changed");
    }
    create_tables(&transaction, SCHEMA, log, |shape| shape.sql.to_owned()).await.map_err(unreachable)?;
    transaction.commit().await.map_err(unreachable)
}

/// Makes the tables to build in, unless there are some to go on with.
async fn prepare_next(server: &Server, log: Uuid) -> Result<(), OpenError> {
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    let mut client = server.connect().await.map_err(unreachable)?;
    let transaction = client.transaction().await.map_err(unreachable)?;
    transaction.execute(LOCK_TABLES, &[]).await.map_err(unreachable)?;
    if transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0) {
        if matches!(are_usable(&transaction, server, NEXT, log).await?, Usable::Yes) {
            return Ok(());
        }
        transaction.batch_execute(&format!("drop schema {NEXT} cascade")).await.map_err(unreachable)?;
    }
    create_tables(&transaction, NEXT, log, Shape::table).await.map_err(unreachable)?;
    transaction.commit().await.map_err(unreachable)
}

/// Whether a generation was built to its end by these projections.
async fn is_prepared(server: &Server, log: Uuid) -> Result<bool, OpenError> {
    let next = server.with_settings("entrenous views", &[&format!("search_path={NEXT}")]);
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    let mut client = next.connect().await.map_err(unreachable)?;
    let transaction = client.transaction().await.map_err(unreachable)?;
    let is_there = transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0);
    Ok(is_there
        && transaction.query_one(IS_PREPARED, &[]).await.map_err(unreachable)?.get(0)
        && matches!(are_usable(&transaction, server, NEXT, log).await?, Usable::Yes))
}

enum Usable {
    Yes,
    OfOtherProjections,
    OfAnotherLog,
}

async fn are_usable(transaction: &Transaction<'_>, server: &Server, place: &str, log: Uuid) -> Result<Usable, OpenError> {
    let stored = transaction.query(queries::CHECKPOINTS, &[]).await.map_err(|error| server.unreachable(&error))?;
    let stored: Result<Vec<StoredCheckpoint>, Unreadable> = stored.iter().map(|row| StoredCheckpoint::read(row)).collect();
    let stored = stored.map_err(|error| OpenError::Damaged { place: place.to_owned(), detail: error.to_string() })?;
    Ok(if stored.iter().any(|stored| stored.log != log) {
        Usable::OfAnotherLog
    } else if super::are_of_these_shapes(&stored) {
        Usable::Yes
    } else {
        Usable::OfOtherProjections
    })
}

/// Makes a schema, which is the search path's, and the tables in it.
async fn create_tables(transaction: &Transaction<'_>, schema: &str, log: Uuid, with: impl Fn(&Shape) -> String) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(&format!("create schema if not exists {schema}")).await?;
    transaction.batch_execute(&adapted(queries::CHECKPOINTS_TABLE)).await?;
    transaction.batch_execute(&adapted(queries::PARKED_TABLE)).await?;
    transaction.batch_execute(PROJECTOR).await?;
    for shape in projections::ALL {
        transaction.batch_execute(&adapted(&with(&shape))).await?;
        let version = i64::from(shape.version);
        transaction.execute(queries::INSERT_CHECKPOINT, &[&shape.name, &log, &Uuid::nil(), &version, &shape.sql]).await?;
    }
    Ok(())
}

/// A projection's SQL in PostgreSQL's words. Texts sort by their bytes in either store.
fn adapted(sql: &str) -> String {
    let column = |line: &str| {
        let name_ends = line.trim_start().find(' ').map_or(0, |name| line.len() - line.trim_start().len() + name);
        let (name, rest) = line.split_at(name_ends);
        if rest.trim_start().starts_with("text") { format!("{name}{}", rest.replacen("text", "text collate \"C\"", 1)) } else { line.to_owned() }
    };
    sql.replace(") without rowid", ")").lines().map(column).collect::<Vec<_>>().join("\n")
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

/// A connection for a query or several.
pub(super) struct PostgresReader {
    /// None once it was given back.
    client: Option<Object>,
    moment: Moment,
}

impl PostgresReader {
    fn client(&self) -> &Object {
        self.client.as_ref().expect("it is given back at the end")
    }

    /// Ends the moment and gives the connection back.
    pub(super) async fn end(mut self) {
        if self.moment == Moment::Same && self.client().batch_execute("commit").await.is_ok() {
            self.moment = Moment::Each;
        }
    }
}

impl Drop for PostgresReader {
    /// A connection in the middle of a transaction is of no use to the next reader.
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|_| self.moment == Moment::Same) {
            drop(Object::take(client));
        }
    }
}

impl Reader for PostgresReader {
    async fn query<T: Send>(&mut self, sql: &'static str, parameters: &[Value<'_>], read: Read<T>) -> Result<Vec<T>, StoreError> {
        let client = self.client();
        let statement = client.prepare_cached(sql).await.map_err(|error| failed(&error))?;
        answer(client, &statement, parameters, read).await
    }

    async fn query_each<T: Send>(&mut self, sql: &'static str, parameters: &[Vec<Value<'_>>], read: Read<T>) -> Result<Vec<Vec<T>>, StoreError> {
        let client = self.client();
        let statement = client.prepare_cached(sql).await.map_err(|error| failed(&error))?;
        let answers = join_all(parameters.iter().map(|parameters| answer(client, &statement, parameters, read))).await;
        answers.into_iter().collect()
    }
}

async fn answer<T>(client: &Client, statement: &Statement, parameters: &[Value<'_>], read: Read<T>) -> Result<Vec<T>, StoreError> {
    let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let found = client.query(statement, &parameters).await.map_err(|error| failed(&error))?;
    found.iter().map(|row| read(row).map_err(StoreError::from)).collect()
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Integer(integer) => integer.to_sql_checked(kind, out),
            Self::Text(text) => text.to_sql_checked(kind, out),
            Self::TextOrNull(text) => text.to_sql_checked(kind, out),
            Self::Uuid(uuid) => uuid.to_sql_checked(kind, out),
            Self::BytesOrNull(bytes) => bytes.to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Columns for Row {
    fn integer(&self, column: usize) -> Result<i64, Unreadable> {
        self.try_get(column).map_err(|error| Unreadable::new(column, error))
    }

    fn integer_or_null(&self, column: usize) -> Result<Option<i64>, Unreadable> {
        self.try_get(column).map_err(|error| Unreadable::new(column, error))
    }

    fn text(&self, column: usize) -> Result<&str, Unreadable> {
        self.try_get(column).map_err(|error| Unreadable::new(column, error))
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, Unreadable> {
        self.try_get(column).map_err(|error| Unreadable::new(column, error))
    }

    fn uuid(&self, column: usize) -> Result<Uuid, Unreadable> {
        self.try_get(column).map_err(|error| Unreadable::new(column, error))
    }

    fn uuid_or_null(&self, column: usize) -> Result<Option<Uuid>, Unreadable> {
        self.try_get(column).map_err(|error| Unreadable::new(column, error))
    }

    fn bytes(&self, column: usize) -> Result<&[u8], Unreadable> {
        self.try_get(column).map_err(|error| Unreadable::new(column, error))
    }
}

/// The right to fold, and the connection that it is held by.
pub(super) struct PostgresLease {
    epoch: i64,
    client: Client,
    ended: Ended,
    statements: Statements,
    checkpoint: Arc<watch::Sender<Checkpoint>>,
}

/// What a lease's connection has prepared.
struct Statements {
    users: Statement,
    conversations: Statement,
    section: Statement,
    fence: Statement,
    upsert_users: Statement,
    upsert_conversations: Statement,
    insert_messages: Statement,
    upsert_section: Statement,
    advance: Statement,
    notify: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            users: client.prepare(queries::bulk::USERS).await?,
            conversations: client.prepare(queries::bulk::CONVERSATIONS).await?,
            section: client.prepare(queries::SECTION).await?,
            fence: client.prepare(FENCE).await?,
            upsert_users: client.prepare(queries::bulk::UPSERT_USERS).await?,
            upsert_conversations: client.prepare(queries::bulk::UPSERT_CONVERSATIONS).await?,
            insert_messages: client.prepare(queries::bulk::INSERT_MESSAGES).await?,
            upsert_section: client.prepare(queries::UPSERT_SECTION).await?,
            advance: client.prepare(queries::ADVANCE).await?,
            notify: client.prepare(NOTIFY).await?,
        })
    }
}

impl PostgresLease {
    pub(super) async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let row = self.client.query_one(queries::CHECKPOINT, &[]).await.map_err(|error| failed(&error))?;
        Ok(rows::checkpoint(&row)?)
    }

    pub(super) async fn load(&self, touched: Touched) -> Result<Rows, StoreError> {
        let (client, statements) = (&self.client, &self.statements);
        let users: Vec<&str> = touched.users.iter().map(UserId::as_str).collect();
        let (owners, contacts): (Vec<&str>, Vec<&str>) = touched.conversations.iter().map(|(owner, contact)| (owner.as_str(), contact.as_str())).unzip();
        let users = async { if users.is_empty() { Ok(vec![]) } else { client.query(&statements.users, &[&users]).await } };
        let conversations = async { if owners.is_empty() { Ok(vec![]) } else { client.query(&statements.conversations, &[&owners, &contacts]).await } };
        let section = async { if touched.section { client.query_opt(&statements.section, &[]).await } else { Ok(None) } };
        let (users, conversations, section) = try_join3(users, conversations, section).await.map_err(|error| failed(&error))?;
        Ok(Rows {
            users: users.iter().map(|row| rows::user(row)).collect::<Result<_, _>>()?,
            conversations: conversations.iter().map(|row| rows::conversation(row)).collect::<Result<_, _>>()?,
            section: section.as_ref().map(|row| rows::section(row)).transpose()?,
            ..Rows::default()
        })
    }

    pub(super) async fn parked(&self) -> Result<Vec<ParkedEntity>, StoreError> {
        let found = self.client.query(queries::PARKED, &[]).await.map_err(|error| failed(&error))?;
        found.iter().map(|row| ParkedEntity::read(row).map_err(StoreError::from)).collect()
    }

    async fn write_parked(&self, parked: &[ParkedEntity], healed: &[String]) -> Result<(), tokio_postgres::Error> {
        for ParkedEntity { entity, stream, version, position, event, reason, is_retried } in parked {
            let (version, position, is_retried) = (integer(*version), integer(position.0), i64::from(*is_retried));
            let columns: Parameters<'_, 7> = [entity, stream, &version, &position, event, reason, &is_retried];
            self.client.execute(queries::PARK, &columns).await?;
        }
        for entity in healed {
            self.client.execute(queries::HEAL, &[entity]).await?;
        }
        Ok(())
    }

    /// Everything goes to the server at once. It is the fence that makes the rest, and the commit, come to
    /// nothing where the lease is another's.
    pub(super) async fn apply(&self, changed: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        if !changed.parked.is_empty() || !changed.healed.is_empty() || !changed.erased.is_empty() {
            return self.apply_many(changed, checkpoint).await;
        }
        let (client, statements) = (&self.client, &self.statements);
        let begin = async {
            let opened = client.batch_execute("begin");
            let epoch: Parameters<'_, 1> = [&self.epoch];
            let fence = client.execute(&statements.fence, &epoch);
            let (opened, fence) = join(opened, fence).await;
            opened.and(fence.map(|_| ()))
        };
        let (position, said) = (integer(checkpoint.position.0), checkpoint.position.0.to_string());
        let news: Parameters<'_, 1> = [&said];
        let advance: Parameters<'_, 2> = [&position, &checkpoint.event];
        let end = async {
            let advanced = client.execute(&statements.advance, &advance);
            let notified = client.execute(&statements.notify, &news);
            let (advanced, notified, committed) = join3(advanced, notified, client.batch_execute("commit")).await;
            advanced.and(notified).and(committed)
        };
        let (fenced, users, conversations, messages, ended) = join5(
            begin,
            self.write_users(&changed.users),
            self.write_conversations(&changed.conversations),
            self.write_messages_and_section(&changed.messages, changed.section.as_ref()),
            end,
        )
        .await;
        fenced.and(users).and(conversations).and(messages).and(ended).map_err(|error| failed(&error))?;
        self.checkpoint.send_replace(checkpoint);
        Ok(changed)
    }

    /// The same for any number of rows, whose messages there are none of yet.
    pub(super) async fn apply_many(&self, changed: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        let written = async {
            self.client.batch_execute("begin").await?;
            self.client.execute(&self.statements.fence, &[&self.epoch]).await?;
            for user in &changed.erased {
                self.client.execute(queries::ERASE_MESSAGES, &[&MessageText::erased().as_str(), &user.as_str()]).await?;
            }
            self.copy_messages(&changed.messages).await?;
            for users in changed.users.chunks(CHUNK) {
                self.write_users(users).await?;
            }
            for conversations in changed.conversations.chunks(CHUNK) {
                self.write_conversations(conversations).await?;
            }
            self.write_messages_and_section(&[], changed.section.as_ref()).await?;
            self.write_parked(&changed.parked, &changed.healed).await?;
            self.client.execute(&self.statements.advance, &[&integer(checkpoint.position.0), &checkpoint.event]).await?;
            self.client.execute(&self.statements.notify, &[&checkpoint.position.0.to_string()]).await?;
            self.client.batch_execute("commit").await
        };
        written.await.map_err(|error: tokio_postgres::Error| failed(&error))?;
        if !changed.erased.is_empty() {
            // Its statistics hold frequent values.
            self.client.batch_execute("vacuum (analyze) messages, users").await.map_err(|error| failed(&error))?;
        }
        self.checkpoint.send_replace(checkpoint);
        Ok(changed)
    }

    async fn copy_messages(&self, messages: &[MessageRow]) -> Result<(), tokio_postgres::Error> {
        const TYPES: [Type; 8] = [Type::UUID, Type::INT8, Type::INT8, Type::UUID, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
        let writer = BinaryCopyInWriter::new(self.client.copy_in(queries::bulk::COPY_MESSAGES).await?, &TYPES);
        let mut writer = std::pin::pin!(writer);
        for row in messages {
            let (number, sender_number, position) = (integer(row.number), integer(row.sender_number), integer(row.position.0));
            let columns: Parameters<'_, 8> =
                [&row.conversation.0, &number, &sender_number, &row.id.0, &row.sender.as_str(), &row.text.as_str(), &row.sent_at.0, &position];
            writer.as_mut().write(&columns).await?;
        }
        writer.finish().await.map(|_| ())
    }

    async fn write_users(&self, users: &[UserRow]) -> Result<(), tokio_postgres::Error> {
        if users.is_empty() {
            return Ok(());
        }
        let each = Each(users);
        let (ids, names) = (each.of(|row| row.id.as_str()), each.of(|row| row.user.profile.name.as_str()));
        let pictures = each.of(|row| row.user.profile.picture.as_ref().map(crate::domain::profile::Picture::as_str));
        let (contactable, erased) = (each.of(|row| i64::from(row.user.contactable)), each.of(|row| i64::from(row.user.erased)));
        let (members, versions) = (each.of(|row| integer(row.member)), each.of(|row| integer(row.version)));
        let (sort_keys, search_names, changed) = (each.of(|row| &*row.sort_key), each.of(|row| &*row.search_name), each.of(|row| integer(row.changed.0)));
        let columns: Parameters<'_, 10> = [&ids, &names, &pictures, &contactable, &erased, &members, &versions, &sort_keys, &search_names, &changed];
        self.client.execute(&self.statements.upsert_users, &columns).await.map(|_| ())
    }

    async fn write_conversations(&self, conversations: &[ConversationRow]) -> Result<(), tokio_postgres::Error> {
        if conversations.is_empty() {
            return Ok(());
        }
        let each = Each(conversations);
        let (owners, contacts, ids) = (each.of(|row| row.owner.as_str()), each.of(|row| row.contact.as_str()), each.of(|row| row.conversation.0));
        let (versions, sent, received) =
            (each.of(|row| integer(row.version)), each.of(|row| integer(row.side.sent)), each.of(|row| integer(row.side.received)));
        let (read, blocked_at) = (each.of(|row| integer(row.side.read)), each.of(|row| row.side.blocked_at.map(integer)));
        let (listings, last_at) = (each.of(|row| rows::listing_name(row.side.listing)), each.of(|row| row.last_at.map(|at| at.0)));
        let (latest_at, changed) = (each.of(|row| row.latest_at.map(|at| at.0)), each.of(|row| integer(row.changed.0)));
        let (reshaped, removed) = (each.of(|row| integer(row.reshaped.0)), each.of(|row| integer(row.removed.0)));
        let blocked = each.of(|row| i64::from(row.side.is_blocking()));
        let columns: Parameters<'_, 15> = [
            &owners,
            &contacts,
            &ids,
            &versions,
            &sent,
            &received,
            &read,
            &blocked_at,
            &listings,
            &last_at,
            &latest_at,
            &changed,
            &reshaped,
            &removed,
            &blocked,
        ];
        self.client.execute(&self.statements.upsert_conversations, &columns).await.map(|_| ())
    }

    async fn write_messages_and_section(&self, messages: &[MessageRow], section: Option<&SectionRow>) -> Result<(), tokio_postgres::Error> {
        let each = Each(messages);
        let (conversations, numbers) = (each.of(|row| row.conversation.0), each.of(|row| integer(row.number)));
        let (sender_numbers, ids) = (each.of(|row| integer(row.sender_number)), each.of(|row| row.id.0));
        let (senders, texts) = (each.of(|row| row.sender.as_str()), each.of(|row| row.text.as_str()));
        let (times, positions) = (each.of(|row| row.sent_at.0), each.of(|row| integer(row.position.0)));
        let columns: Parameters<'_, 8> = [&conversations, &numbers, &sender_numbers, &ids, &senders, &texts, &times, &positions];
        let insert = async { if messages.is_empty() { Ok(0) } else { self.client.execute(&self.statements.insert_messages, &columns).await } };
        let upsert = async {
            let Some(SectionRow { section, version, changed }) = section else { return Ok(0) };
            let (list, detail) = (i64::from(section.list_template.number()), i64::from(section.detail_template.number()));
            let values: Parameters<'_, 5> = [&section.title.as_str(), &list, &detail, &integer(*version), &integer(changed.0)];
            self.client.execute(&self.statements.upsert_section, &values).await
        };
        let (inserted, upserted) = join(insert, upsert).await;
        inserted.and(upserted).map(|_| ())
    }

    pub(super) async fn renew(&self) -> Result<(), StoreError> {
        self.client.execute(&self.statements.fence, &[&self.epoch]).await.map(|_| ()).map_err(|error| failed(&error))
    }

    pub(super) async fn lost(&self) {
        self.ended.wait().await;
    }

    pub(super) async fn release(self) {
        if let Err(error) = self.client.execute(RELEASE, &[&self.epoch]).await {
            tracing::debug!(reason = postgres::reason(&error), "the lease was not released; it runs out by itself");
        }
    }
}

/// One column of some rows, as an array.
struct Each<'a, R>(&'a [R]);

impl<'a, R> Each<'a, R> {
    fn of<T>(&self, column: impl Fn(&'a R) -> T) -> Vec<T> {
        self.0.iter().map(column).collect()
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).expect("positions and counts grow by one")
}
