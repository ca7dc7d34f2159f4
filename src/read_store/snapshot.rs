//! A read store looked at from outside, as it is at one moment: beside whoever folds, changing nothing. For
//! operators and auditors, who compare rows as they are stored.

use std::fmt;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};
use tokio_postgres::Client;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::generations::Generations;
use super::{OpenError, ParkedEntity, StoreError, postgres, queries};
use crate::domain::event::Position;
use crate::postgres::Server;
use crate::projections::{ALL, Shape};
use crate::sqlite;
use crate::storage::StoreUrl;

/// A stored value, the same whatever stores it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Null,
    Integer(i64),
    Text(String),
    /// A UUID, too.
    Bytes(Vec<u8>),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Integer(integer) => integer.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bytes(bytes) => match Uuid::from_slice(bytes) {
                Ok(uuid) => uuid.fmt(f),
                Err(_) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            },
        }
    }
}

/// A row by its columns' names, in their order.
pub type StoredRow = Vec<(String, Cell)>;

/// Where a projection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionState {
    pub name: String,
    /// The log that its rows were made from.
    pub log: Uuid,
    pub position: Position,
    /// The last event that was folded; nil before the first.
    pub event: Uuid,
    pub version: i64,
    /// Its table's definition.
    pub sql: String,
}

impl ProjectionState {
    /// The same projection of this version of the service, if it has it.
    #[must_use]
    pub fn shape(&self) -> Option<&'static Shape> {
        const SHAPES: &[Shape] = &ALL;
        SHAPES.iter().find(|shape| shape.name == self.name && i64::from(shape.version) == self.version && shape.sql == self.sql)
    }

    /// Whether this version of the service has the same projection.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.shape().is_some()
    }
}

/// The rows of one moment.
pub struct Snapshot(Held);

enum Held {
    Sqlite(Connection),
    Postgres(Client),
}

impl Snapshot {
    /// # Errors
    /// When there is no read store, or it cannot be reached.
    pub async fn open(url: &StoreUrl) -> Result<Self, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => open_file(path).map(|connection| Self(Held::Sqlite(connection))),
            StoreUrl::Postgres(url) => Self::open_schema(url, postgres::SCHEMA).await,
            StoreUrl::Kurrent(_) => Err(OpenError::Foreign { place: url.to_string(), what: "a read store" }),
        }
    }

    /// The generation that is built beside the current one.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached.
    pub async fn of_next(url: &StoreUrl) -> Result<Self, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => open_file(&Generations::at(path).next()).map(|connection| Self(Held::Sqlite(connection))),
            StoreUrl::Postgres(url) => Self::open_schema(url, postgres::NEXT).await,
            StoreUrl::Kurrent(_) => Err(OpenError::Foreign { place: url.to_string(), what: "a read store" }),
        }
    }

    async fn open_schema(url: &str, schema: &str) -> Result<Self, OpenError> {
        let server = Server::new(url)?.with_settings("entrenous auditor", &[&format!("search_path={schema}")]);
        let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
        let client = server.connect().await.map_err(unreachable)?;
        if !client.query_one(postgres::HAS_TABLES, &[]).await.map_err(unreachable)?.get::<_, bool>(0) {
            return Err(OpenError::Unreachable { place: server.place.to_string(), reason: "there are no views here yet".to_owned() });
        }
        client.batch_execute(postgres::BEGIN_MOMENT).await.map_err(unreachable)?;
        Ok(Self(Held::Postgres(client)))
    }

    /// Every projection that has rows, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn projections(&self) -> Result<Vec<ProjectionState>, StoreError> {
        let rows = self.query(queries::CHECKPOINTS, &[]).await?;
        let state = |row: StoredRow| match <[Cell; 6]>::try_from(row.into_iter().map(|(_, cell)| cell).collect::<Vec<_>>()) {
            Ok([Cell::Text(name), Cell::Bytes(log), Cell::Integer(position), Cell::Bytes(event), Cell::Integer(version), Cell::Text(sql)]) => {
                let uuid = |bytes: Vec<u8>| Uuid::from_slice(&bytes).unwrap_or_default();
                Ok(ProjectionState { name, log: uuid(log), position: Position(position.unsigned_abs()), event: uuid(event), version, sql })
            }
            _ => Err(StoreError::Failed("a checkpoint is not as the service writes it".into())),
        };
        rows.into_iter().map(state).collect()
    }

    /// What cannot be folded, by its position.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn parked(&self) -> Result<Vec<ParkedEntity>, StoreError> {
        let rows = self.query(queries::PARKED, &[]).await?;
        let parked = |row: StoredRow| match <[Cell; 7]>::try_from(row.into_iter().map(|(_, cell)| cell).collect::<Vec<_>>()) {
            Ok(
                [
                    Cell::Text(entity),
                    Cell::Text(stream),
                    Cell::Integer(version),
                    Cell::Integer(position),
                    Cell::Bytes(event),
                    Cell::Text(reason),
                    Cell::Integer(retried),
                ],
            ) => {
                let event = Uuid::from_slice(&event).unwrap_or_default();
                let (version, position) = (version.unsigned_abs(), Position(position.unsigned_abs()));
                Ok(ParkedEntity { entity, stream, version, position, event, reason, is_retried: retried != 0 })
            }
            _ => Err(StoreError::Failed("what is parked is not as the service writes it".into())),
        };
        rows.into_iter().map(parked).collect()
    }

    /// The rows of a projection after a key, in the order of their keys, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn rows(&self, shape: &Shape, after: Option<&[Cell]>, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let (table, keys) = (shape.name, shape.key.join(", "));
        let places = (1..=shape.key.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let from = after.map(|_| format!("where ({keys}) > ({places})")).unwrap_or_default();
        self.query(&format!("select * from {table} {from} order by {keys} limit {limit}"), after.unwrap_or_default()).await
    }

    /// How many rows a projection has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count(&self, shape: &Shape) -> Result<u64, StoreError> {
        let rows = self.query(&format!("select count(*) from {}", shape.name), &[]).await?;
        match rows.first().and_then(|row| row.first()) {
            Some((_, Cell::Integer(count))) => Ok(count.unsigned_abs()),
            _ => Err(StoreError::Failed("a count is no number".into())),
        }
    }

    /// The key of the row after so many, in the order of the keys.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn key_at(&self, shape: &Shape, place: u64) -> Result<Option<Vec<Cell>>, StoreError> {
        let (table, keys) = (shape.name, shape.key.join(", "));
        let rows = self.query(&format!("select {keys} from {table} order by {keys} limit 1 offset {place}"), &[]).await?;
        Ok(rows.into_iter().next().map(|row| row.into_iter().map(|(_, cell)| cell).collect()))
    }

    async fn query(&self, sql: &str, parameters: &[Cell]) -> Result<Vec<StoredRow>, StoreError> {
        match &self.0 {
            Held::Sqlite(connection) => query_file(connection, sql, parameters).map_err(|error| StoreError::Failed(error.to_string().into())),
            Held::Postgres(client) => {
                let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|cell| cell as &(dyn ToSql + Sync)).collect();
                let rows = client.query(sql, &parameters).await.map_err(|error| StoreError::Failed(crate::postgres::reason(&error).into()))?;
                rows.iter().map(stored_row).collect()
            }
        }
    }
}

fn open_file(path: &Path) -> Result<Connection, OpenError> {
    let sqlite_error = OpenError::sqlite(path);
    if !path.exists() {
        return Err(sqlite::nothing_here(path, "there are no views here yet"));
    }
    let connection = sqlite::open_reader(path).map_err(&sqlite_error)?;
    connection.execute_batch("begin").map_err(&sqlite_error)?;
    Ok(connection)
}

fn query_file(connection: &Connection, sql: &str, parameters: &[Cell]) -> Result<Vec<StoredRow>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let names: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
    let cell = |value: ValueRef<'_>| match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(integer) => Cell::Integer(integer),
        ValueRef::Real(real) => Cell::Text(real.to_string()),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    };
    let rows = statement
        .query_map(params_from_iter(parameters), |row| names.iter().enumerate().map(|(n, name)| Ok((name.clone(), cell(row.get_ref(n)?)))).collect())?;
    rows.collect()
}

impl rusqlite::ToSql for Cell {
    fn to_sql(&self) -> Result<rusqlite::types::ToSqlOutput<'_>, rusqlite::Error> {
        Ok(match self {
            Self::Null => rusqlite::types::Null.into(),
            Self::Integer(integer) => (*integer).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Bytes(bytes) => bytes.as_slice().into(),
        })
    }
}

impl ToSql for Cell {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(integer) => integer.to_sql_checked(kind, out),
            Self::Text(text) => text.to_sql_checked(kind, out),
            Self::Bytes(bytes) if *kind == Type::UUID => Uuid::from_slice(bytes)?.to_sql_checked(kind, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn stored_row(row: &tokio_postgres::Row) -> Result<StoredRow, StoreError> {
    let cell = |n: usize, kind: &Type| -> Result<Cell, tokio_postgres::Error> {
        Ok(match *kind {
            Type::INT8 => row.try_get::<_, Option<i64>>(n)?.map(Cell::Integer),
            Type::UUID => row.try_get::<_, Option<Uuid>>(n)?.map(|uuid| Cell::Bytes(uuid.as_bytes().to_vec())),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(n)?.map(Cell::Bytes),
            _ => row.try_get::<_, Option<String>>(n)?.map(Cell::Text),
        }
        .unwrap_or(Cell::Null))
    };
    let named = |(n, column): (usize, &tokio_postgres::Column)| Ok((column.name().to_owned(), cell(n, column.type_())?));
    let row: Result<StoredRow, tokio_postgres::Error> = row.columns().iter().enumerate().map(named).collect();
    row.map_err(|error| StoreError::Failed(crate::postgres::reason(&error).into()))
}
