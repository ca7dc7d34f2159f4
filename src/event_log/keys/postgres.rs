//! Keys in a PostgreSQL schema of their own, shared by any number of nodes.

use deadpool_postgres::{Pool, PoolError};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::{Key, StoredErasure, StoredKey};
use crate::event_log::{LogError, OpenError};
use crate::postgres::{self, Server};

mod embedded {
    refinery::embed_migrations!("migrations/keys");
}

const CONNECTIONS: usize = 4;
/// Whoever is cut off or frozen while they hold what others wait for loses it soon.
const SETTINGS: [&str; 5] =
    ["search_path=entrenous_keys", "statement_timeout=20s", "lock_timeout=5s", "idle_in_transaction_session_timeout=2s", "synchronous_commit=on"];

/// Nodes that open a store at once migrate it one after the other. Held until the connection ends.
const LOCK_MIGRATIONS: &str = "select pg_advisory_lock(hashtextextended('entrenous_keys', 0))";
const IS_THERE: &str = "select to_regclass('entrenous_keys.keys') is not null";
const FORMAT: &str = "select coalesce(max(version), 0)::bigint from refinery_schema_history";
const CREATE: &str = "insert into store (only_one, id) values (1, $1) on conflict do nothing";
const ID: &str = "select id from store";
const ALL: &str = "select id, owner, key from keys";
const FIND: &str = "select id, owner, key from keys where id = any($1)";
const IN_USE: &str = "select id, owner, key from keys where owner = any($1) and key is not null";
/// Keys are made together with others, and destroyed alone: each sees what the other did. In a statement of its own, before
/// what is looked at.
const LOCK_MAKING: &str = "select pg_advisory_xact_lock_shared(hashtextextended('entrenous_keys_made', 0))";
const LOCK_DESTROYING: &str = "select pg_advisory_xact_lock(hashtextextended('entrenous_keys_made', 0))";
const ADD: &str = "insert into keys (id, owner, key)
    select made.id, made.owner, made.key from unnest($1::text[], $2::text[], $3::bytea[]) as made (id, owner, key)
    where not exists (select from erasures where erasures.owner = made.owner and not told) on conflict do nothing";
const TAKE_IN: &str = "insert into keys (id, owner, key)
    select taken.id, taken.owner, taken.key from unnest($1::text[], $2::text[], $3::bytea[]) as taken (id, owner, key) on conflict do nothing";
const DESTROYED: &str = "update keys set key = null where id = any($1) and key is not null";
const BEGIN: &str = "update erasures set attempt = $2 where owner = $1 and not told";
const BEGUN: &str = "update erasures set begun = true where owner = $1";
const IS_BEGUN: &str = "select begun from erasures where owner = $1";
const TOLD: &str = "update erasures set begun = false, told = true where owner = $1 and attempt = $2 and not told";
const DESTROY: &str = "update keys set key = null where owner = $1 and key is not null";
const REQUEST: &str = "insert into erasures (owner) values ($1) on conflict (owner) do update set told = false";
const FORGET_NOTES: &str = "delete from erasures where attempt is null";
const NOTE: &str = "insert into erasures (owner, begun) select unnest($1::text[]), unnest($2::boolean[])
    on conflict (owner) do update set begun = erasures.begun or excluded.begun, told = false";
/// All columns that there are: a store of an older version, which is only read, lacks some.
const REQUESTED: &str = "select * from erasures order by owner";
const DONE: &str = "delete from erasures where owner = $1 and told";
const WITHDRAW: &str = "delete from erasures where owner = $1 and attempt is not distinct from $2";
const ANEW: &str = "vacuum keys";

#[derive(Clone)]
pub(super) struct PostgresKeys {
    id: Uuid,
    pool: Pool,
}

impl PostgresKeys {
    /// Opens the store, or makes a new one.
    #[expect(clippy::disallowed_methods, reason = "a store's id must be random")]
    pub(super) async fn open(url: &str) -> Result<Self, OpenError> {
        let server = server(url)?;
        let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
        let mut client = server.connect().await.map_err(unreachable)?;
        client.batch_execute("set lock_timeout = 0").await.map_err(unreachable)?;
        client.execute(LOCK_MIGRATIONS, &[]).await.map_err(unreachable)?;
        if !check(&client, &server).await? {
            client.batch_execute("create schema if not exists entrenous_keys").await.map_err(unreachable)?;
        }
        let migrated = embedded::migrations::runner().run_async(&mut client).await;
        migrated.map_err(|error| Server::not_migrated(place(&server), &error))?;
        client.execute(CREATE, &[&Uuid::new_v4()]).await.map_err(unreachable)?;
        Self::of(&server, &client).await
    }

    /// Opens the store as it is, of this version or an older one; none where there is none.
    pub(super) async fn open_existing(url: &str) -> Result<Option<Self>, OpenError> {
        let server = server(url)?;
        let client = server.connect().await.map_err(|error| server.unreachable(&error))?;
        if check(&client, &server).await? { Self::of(&server, &client).await.map(Some) } else { Ok(None) }
    }

    async fn of(server: &Server, client: &Client) -> Result<Self, OpenError> {
        let id = client.query_one(ID, &[]).await.map_err(|error| server.unreachable(&error))?.get(0);
        Ok(Self { id, pool: server.pool(CONNECTIONS) })
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) async fn all(&self) -> Result<Vec<StoredKey>, OpenError> {
        let unreachable = |error: LogError| OpenError::Unreachable { place: "the key store".to_owned(), reason: error.to_string() };
        Ok(self.query(ALL, &[]).await.map_err(unreachable)?.iter().map(stored).collect())
    }

    pub(super) async fn find(&self, names: Vec<String>) -> Result<Vec<StoredKey>, LogError> {
        let found = match self.query(FIND, &[&names]).await {
            // The connection may have been lost: once more, on another.
            Err(LogError::Unavailable(_)) => self.query(FIND, &[&names]).await,
            found => found,
        };
        Ok(found?.iter().map(stored).collect())
    }

    /// The keys that the owners have then: these, or those that others made meanwhile. None for whoever is being erased.
    pub(super) async fn add(&self, made: Vec<(String, Key)>) -> Result<Vec<StoredKey>, LogError> {
        match self.try_add(&made).await {
            // Made or not, it can be done again, on another connection.
            Err(LogError::Unavailable(_)) => self.try_add(&made).await,
            outcome => outcome,
        }
    }

    async fn try_add(&self, made: &[(String, Key)]) -> Result<Vec<StoredKey>, LogError> {
        let names: Vec<&str> = made.iter().map(|(_, key)| key.name()).collect();
        let owners: Vec<&str> = made.iter().map(|(owner, _)| &**owner).collect();
        let secrets: Vec<&[u8]> = made.iter().map(|(_, key)| key.secret.as_slice()).collect();
        let mut client = self.pool.get().await.map_err(unavailable)?;
        let add = async {
            let transaction = begin(&mut client).await?;
            transaction.execute(LOCK_MAKING, &[]).await?;
            transaction.execute(ADD, &[&names, &owners, &secrets]).await?;
            let in_use = transaction.query(IN_USE, &[&owners]).await?;
            transaction.commit().await?;
            Ok(in_use.iter().map(stored).collect())
        };
        add.await.map_err(|error: tokio_postgres::Error| failed(&error))
    }

    /// Takes keys and what is noted in, and destroys here what was destroyed there.
    pub(super) async fn copy(&self, keys: Vec<StoredKey>, noted: Vec<StoredErasure>) -> Result<(), LogError> {
        let destroyed: Vec<&str> = keys.iter().filter(|key| key.secret.is_none()).map(|key| &*key.name).collect();
        if !destroyed.is_empty() {
            let client = self.pool.get().await.map_err(unavailable)?;
            let ended = async { if client.execute(DESTROYED, &[&destroyed]).await? > 0 { client.batch_execute(ANEW).await } else { Ok(()) } };
            ended.await.map_err(|error: tokio_postgres::Error| failed(&error))?;
        }
        let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
        let owners: Vec<&str> = keys.iter().map(|key| &*key.owner).collect();
        let secrets: Vec<Option<&[u8]>> = keys.iter().map(|key| key.secret.as_deref()).collect();
        self.query(TAKE_IN, &[&names, &owners, &secrets]).await?;
        // Of a copy before: the source may tell of them by now.
        self.query(FORGET_NOTES, &[]).await?;
        let (erased, begun): (Vec<&str>, Vec<bool>) = noted.iter().map(|noted| (&*noted.owner, noted.is_begun)).unzip();
        self.query(NOTE, &[&erased, &begun]).await.map(|_| ())
    }

    pub(super) async fn begin_erasure(&self, owner: String, attempt: Uuid, is_asked_anew: bool) -> Result<Option<bool>, LogError> {
        let mut client = self.pool.get().await.map_err(unavailable)?;
        let begin = async {
            let transaction = begin(&mut client).await?;
            transaction.execute(LOCK_DESTROYING, &[]).await?;
            if is_asked_anew {
                transaction.execute(REQUEST, &[&owner]).await?;
            }
            if transaction.execute(BEGIN, &[&owner, &attempt]).await? == 0 {
                return Ok(None);
            }
            if transaction.execute(DESTROY, &[&owner]).await? > 0 {
                transaction.execute(BEGUN, &[&owner]).await?;
            }
            let is_begun = transaction.query_one(IS_BEGUN, &[&owner]).await?.get(0);
            transaction.commit().await?;
            Ok(Some(is_begun))
        };
        begin.await.map_err(|error: tokio_postgres::Error| failed(&error))
    }

    pub(super) async fn request(&self, owner: String) -> Result<(), LogError> {
        self.query(REQUEST, &[&owner]).await.map(|_| ())
    }

    pub(super) async fn requested(&self) -> Result<Vec<StoredErasure>, LogError> {
        Ok(self.query(REQUESTED, &[]).await?.iter().map(stored_erasure).collect())
    }

    pub(super) async fn erasure_is_told(&self, owner: String, attempt: Uuid) -> Result<(), LogError> {
        self.query(TOLD, &[&owner, &attempt]).await.map(|_| ())
    }

    pub(super) async fn erasure_is_done(&self, owner: String) -> Result<(), LogError> {
        self.query(ANEW, &[]).await?;
        self.query(DONE, &[&owner]).await.map(|_| ())
    }

    pub(super) async fn withdraw(&self, owner: String, attempt: Option<Uuid>) -> Result<(), LogError> {
        self.query(WITHDRAW, &[&owner, &attempt]).await.map(|_| ())
    }

    async fn query(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, LogError> {
        let client = self.pool.get().await.map_err(unavailable)?;
        client.query(sql, parameters).await.map_err(|error| failed(&error))
    }
}

/// Whatever the server's default: what is looked at after a lock is granted is what others did before.
async fn begin(client: &mut Client) -> Result<Transaction<'_>, tokio_postgres::Error> {
    client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await
}

fn server(url: &str) -> Result<Server, OpenError> {
    Ok(Server::new(url)?.with_settings("entrenous keys", &SETTINGS))
}

fn place(server: &Server) -> String {
    format!("the schema entrenous_keys of {}", server.place)
}

/// Whether there is a store, and one that this version knows. Changes nothing.
async fn check(client: &Client, server: &Server) -> Result<bool, OpenError> {
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    if !client.query_one(IS_THERE, &[]).await.map_err(unreachable)?.get::<_, bool>(0) {
        return Ok(false);
    }
    let found = client.query_one(FORMAT, &[]).await.map_err(unreachable)?.get(0);
    OpenError::unless_known(&embedded::migrations::runner(), found, || place(server))?;
    Ok(true)
}

fn unavailable(error: PoolError) -> LogError {
    match error {
        PoolError::Backend(error) => failed(&error),
        error => LogError::Unavailable(format!("its keys: {error}").into()),
    }
}

fn failed(error: &tokio_postgres::Error) -> LogError {
    LogError::Unavailable(format!("its keys: {}", postgres::reason(error)).into())
}

fn stored(row: &Row) -> StoredKey {
    StoredKey { name: row.get(0), owner: row.get(1), secret: row.get(2) }
}

fn stored_erasure(row: &Row) -> StoredErasure {
    StoredErasure {
        owner: row.get("owner"),
        is_begun: row.try_get("begun").unwrap_or_default(),
        is_told: row.try_get("told").unwrap_or_default(),
        attempt: row.try_get("attempt").unwrap_or_default(),
    }
}
