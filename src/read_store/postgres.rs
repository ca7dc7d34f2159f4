//! The read store in a PostgreSQL schema, shared by any number of nodes. One of them folds, under a lease:
//! a row whose epoch grows with every holder, and which every write checks in its own transaction.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use futures_util::future::{join, join_all, join3, join5, try_join3};
use tokio::sync::watch;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::reader::{Columns, Moment, Read, Reader, Unreadable, Value};
use super::{Checkpoint, OpenError, Rows, StoreError, StoredCheckpoint, Touched, queries, rows};
use crate::domain::event::Position;
use crate::domain::ids::UserId;
use crate::postgres::{self, Ended, Looking, Parameters, Server};
use crate::projections;
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;

const SCHEMA: &str = "entrenous_views";
const CHANNEL: &str = "entrenous_views";
/// How often the checkpoint is looked at, in case a notification was lost.
const NOW_AND_THEN: Duration = Duration::from_secs(1);
/// Nodes that open a store at once make its tables one after the other.
const LOCK_TABLES: &str = "select pg_advisory_xact_lock(hashtextextended('entrenous_views', 0))";
pub(super) const HAS_TABLES: &str = "select to_regclass('entrenous_views.checkpoints') is not null";
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
        let server = Server::new(url)?.with_settings("entrenous views", &["search_path=entrenous_views", "statement_timeout=30s"]);
        prepare_tables(&server, log).await?;
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
        Ok(Self { pool: server.pool(postgres::CONNECTIONS), server, checkpoint, _looking: Arc::new(looking) })
    }

    pub(super) async fn has_rows(url: &str) -> bool {
        let found = async {
            let client = Server::new(url).ok()?.with_settings("entrenous views", &["search_path=entrenous_views"]).connect().await.ok()?;
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

/// Makes the tables where there are none, and anew where they are of other projections and nobody folds them.
async fn prepare_tables(server: &Server, log: Uuid) -> Result<(), OpenError> {
    let place = || format!("the schema {SCHEMA} of {}", server.place);
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    let mut client = server.connect().await.map_err(unreachable)?;
    let transaction = client.transaction().await.map_err(unreachable)?;
    transaction.execute(LOCK_TABLES, &[]).await.map_err(unreachable)?;
    if transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0) {
        let stored = transaction.query(queries::CHECKPOINTS, &[]).await.map_err(unreachable)?;
        let stored: Result<Vec<StoredCheckpoint>, Unreadable> = stored.iter().map(|row| StoredCheckpoint::read(row)).collect();
        let stored = stored.map_err(|error| OpenError::Damaged { place: place(), detail: error.to_string() })?;
        if stored.iter().any(|stored| stored.log != log) {
            return Err(OpenError::Diverged { place: place() });
        }
        if super::are_of_these_shapes(&stored) {
            return Ok(());
        }
        if transaction.query_one(IS_LED, &[]).await.map_err(unreachable)?.get(0) {
            return Err(OpenError::InUse { place: place(), holder: "a node of another version, whose projections differ".to_owned() });
        }
        tracing::info!(place = %place(), "the views are made anew from the log: the projections have changed");
        transaction.batch_execute(&format!("drop schema {SCHEMA} cascade")).await.map_err(unreachable)?;
    }
    transaction.batch_execute(&format!("create schema if not exists {SCHEMA}")).await.map_err(unreachable)?;
    transaction.batch_execute(&adapted(queries::CHECKPOINTS_TABLE)).await.map_err(unreachable)?;
    transaction.batch_execute(PROJECTOR).await.map_err(unreachable)?;
    for shape in projections::ALL {
        transaction.batch_execute(&adapted(shape.sql)).await.map_err(unreachable)?;
        let version = i64::from(shape.version);
        transaction.execute(queries::INSERT_CHECKPOINT, &[&shape.name, &log, &Uuid::nil(), &version, &shape.sql]).await.map_err(unreachable)?;
    }
    transaction.commit().await.map_err(unreachable)
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
            messages: vec![],
            section: section.as_ref().map(|row| rows::section(row)).transpose()?,
        })
    }

    /// Everything goes to the server at once. It is the fence that makes the rest, and the commit, come to
    /// nothing where the lease is another's.
    pub(super) async fn apply(&self, changed: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
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

    async fn write_users(&self, users: &[UserRow]) -> Result<(), tokio_postgres::Error> {
        if users.is_empty() {
            return Ok(());
        }
        let each = Each(users);
        let (ids, names) = (each.of(|row| row.id.as_str()), each.of(|row| row.user.profile.name.as_str()));
        let pictures = each.of(|row| row.user.profile.picture.as_ref().map(crate::domain::profile::Picture::as_str));
        let (contactable, members, versions) =
            (each.of(|row| i64::from(row.user.contactable)), each.of(|row| integer(row.member)), each.of(|row| integer(row.version)));
        let (sort_keys, search_names, changed) = (each.of(|row| &*row.sort_key), each.of(|row| &*row.search_name), each.of(|row| integer(row.changed.0)));
        let columns: Parameters<'_, 9> = [&ids, &names, &pictures, &contactable, &members, &versions, &sort_keys, &search_names, &changed];
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
