//! Keys in a PostgreSQL schema of their own, shared by any number of nodes.

use deadpool_postgres::{Pool, PoolError};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{Key, StoredKey};
use crate::event_log::{LogError, OpenError};
use crate::postgres::{self, Server};

mod embedded {
    refinery::embed_migrations!("migrations/keys");
}

const CONNECTIONS: usize = 4;

/// Nodes that open a store at once migrate it one after the other. Held until the connection ends.
const LOCK_MIGRATIONS: &str = "select pg_advisory_lock(hashtextextended('entrenous_keys', 0))";
const IS_THERE: &str = "select to_regclass('entrenous_keys.keys') is not null";
const CREATE: &str = "insert into store (only_one, id) values (1, $1) on conflict do nothing";
const ID: &str = "select id from store";
const ALL: &str = "select id, owner, key from keys";
const FIND: &str = "select id, owner, key from keys where id = any($1)";
const IN_USE: &str = "select id, owner, key from keys where owner = any($1) and key is not null";
const ADD: &str = "insert into keys (id, owner, key) select * from unnest($1::text[], $2::text[], $3::bytea[]) on conflict do nothing";
const BEGIN: &str = "update erasures set begun = true where owner = $1";
const BEGUN: &str = "select begun from erasures where owner = $1";
const TOLD: &str = "update erasures set begun = false, told = true where owner = $1";
const DESTROY: &str = "update keys set key = null where owner = $1 and key is not null";
const REQUEST: &str = "insert into erasures (owner) values ($1) on conflict (owner) do update set told = false";
const REQUESTED: &str = "select owner, told from erasures order by owner";
const DONE: &str = "delete from erasures where owner = $1 and told";

#[derive(Clone)]
pub(super) struct PostgresKeys {
    id: Uuid,
    pool: Pool,
}

impl PostgresKeys {
    #[expect(clippy::disallowed_methods, reason = "a store's id must be random")]
    pub(super) async fn open(url: &str) -> Result<Self, OpenError> {
        let server = server(url)?;
        let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
        let mut client = server.connect().await.map_err(unreachable)?;
        client.execute(LOCK_MIGRATIONS, &[]).await.map_err(unreachable)?;
        client.batch_execute("create schema if not exists entrenous_keys").await.map_err(unreachable)?;
        let migrated = embedded::migrations::runner().run_async(&mut client).await;
        let place = || format!("the schema entrenous_keys of {}", server.place);
        migrated.map_err(|error| OpenError::Damaged { place: place(), detail: format!("its migrations do not match: {error}") })?;
        client.execute(CREATE, &[&Uuid::new_v4()]).await.map_err(unreachable)?;
        let id = client.query_one(ID, &[]).await.map_err(unreachable)?.get(0);
        Ok(Self { id, pool: server.pool(CONNECTIONS) })
    }

    pub(super) async fn is_there(url: &str) -> Result<bool, OpenError> {
        let server = server(url)?;
        let client = server.connect().await.map_err(|error| server.unreachable(&error))?;
        Ok(client.query_one(IS_THERE, &[]).await.map_err(|error| server.unreachable(&error))?.get(0))
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) async fn all(&self) -> Result<Vec<StoredKey>, OpenError> {
        let unreachable = |error: LogError| OpenError::Unreachable { place: "the key store".to_owned(), reason: error.to_string() };
        Ok(self.query(ALL, &[]).await.map_err(unreachable)?.iter().map(stored).collect())
    }

    pub(super) async fn find(&self, names: Vec<String>) -> Result<Vec<StoredKey>, LogError> {
        Ok(self.query(FIND, &[&names]).await?.iter().map(stored).collect())
    }

    /// The keys that the owners have then: these, or those that others made meanwhile.
    pub(super) async fn add(&self, made: Vec<(String, Key)>) -> Result<Vec<StoredKey>, LogError> {
        let owners: Vec<String> = made.iter().map(|(owner, _)| owner.clone()).collect();
        self.copy(made.into_iter().map(|(owner, key)| StoredKey { name: key.name().to_owned(), owner, secret: Some(key.secret.to_vec()) }).collect()).await?;
        Ok(self.query(IN_USE, &[&owners]).await?.iter().map(stored).collect())
    }

    pub(super) async fn copy(&self, keys: Vec<StoredKey>) -> Result<(), LogError> {
        let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
        let owners: Vec<&str> = keys.iter().map(|key| &*key.owner).collect();
        let secrets: Vec<Option<&[u8]>> = keys.iter().map(|key| key.secret.as_deref()).collect();
        self.query(ADD, &[&names, &owners, &secrets]).await.map(|_| ())
    }

    pub(super) async fn begin_erasure(&self, owner: String) -> Result<bool, LogError> {
        let mut client = self.pool.get().await.map_err(unavailable)?;
        let begin = async {
            let transaction = client.transaction().await?;
            transaction.execute(REQUEST, &[&owner]).await?;
            if transaction.execute(DESTROY, &[&owner]).await? > 0 {
                transaction.execute(BEGIN, &[&owner]).await?;
            }
            let is_begun = transaction.query_one(BEGUN, &[&owner]).await?.get(0);
            transaction.commit().await?;
            client.batch_execute("vacuum keys").await?;
            Ok(is_begun)
        };
        begin.await.map_err(|error: tokio_postgres::Error| failed(&error))
    }

    pub(super) async fn request(&self, owner: String) -> Result<(), LogError> {
        self.query(REQUEST, &[&owner]).await.map(|_| ())
    }

    pub(super) async fn requested(&self) -> Result<Vec<(String, bool)>, LogError> {
        Ok(self.query(REQUESTED, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    pub(super) async fn erasure_is_told(&self, owner: String) -> Result<(), LogError> {
        self.query(TOLD, &[&owner]).await.map(|_| ())
    }

    pub(super) async fn erasure_is_done(&self, owner: String) -> Result<(), LogError> {
        self.query(DONE, &[&owner]).await.map(|_| ())
    }

    async fn query(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, LogError> {
        let client = self.pool.get().await.map_err(unavailable)?;
        client.query(sql, parameters).await.map_err(|error| failed(&error))
    }
}

fn server(url: &str) -> Result<Server, OpenError> {
    Ok(Server::new(url)?.with_settings("entrenous keys", &["search_path=entrenous_keys", "statement_timeout=20s"]))
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
