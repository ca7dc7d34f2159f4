//! Reads: a connection for one query, or for several at one moment. Its calls never wait.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use uuid::Uuid;

use super::failed;
use crate::read_store::StoreError;
use crate::read_store::reader::{Columns, Read, Reader, Unreadable, Value};
use crate::sqlite::{Lent, Readers};

/// A connection for a query or several.
pub(in crate::read_store) struct SqliteReader(pub(super) Lent<Arc<Readers>>);

impl Reader for SqliteReader {
    async fn query<T: Send>(&mut self, sql: &'static str, parameters: &[Value<'_>], read: Read<T>) -> Result<Vec<T>, StoreError> {
        query(&self.0, sql, parameters, read)
    }

    async fn query_each<T: Send>(&mut self, sql: &'static str, parameters: &[Vec<Value<'_>>], read: Read<T>) -> Result<Vec<Vec<T>>, StoreError> {
        parameters.iter().map(|parameters| query(&self.0, sql, parameters, read)).collect()
    }
}

pub(super) fn query<T>(connection: &Connection, sql: &'static str, parameters: &[Value<'_>], read: Read<T>) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut found = statement.query(params_from_iter(parameters)).map_err(failed)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        rows.push(read(row)?);
    }
    Ok(rows)
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        match self {
            Self::Integer(integer) => integer.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::TextOrNull(text) => text.to_sql(),
            Self::Uuid(uuid) => uuid.to_sql(),
            Self::BytesOrNull(bytes) => bytes.to_sql(),
        }
    }
}

fn value<'a>(row: &'a Row<'_>, column: usize) -> Result<ValueRef<'a>, Unreadable> {
    row.get_ref(column).map_err(|error| Unreadable::new(column, error))
}

impl Columns for Row<'_> {
    fn integer(&self, column: usize) -> Result<i64, Unreadable> {
        value(self, column)?.as_i64().map_err(|error| Unreadable::new(column, error))
    }

    fn integer_or_null(&self, column: usize) -> Result<Option<i64>, Unreadable> {
        value(self, column)?.as_i64_or_null().map_err(|error| Unreadable::new(column, error))
    }

    fn text(&self, column: usize) -> Result<&str, Unreadable> {
        value(self, column)?.as_str().map_err(|error| Unreadable::new(column, error))
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, Unreadable> {
        value(self, column)?.as_str_or_null().map_err(|error| Unreadable::new(column, error))
    }

    fn uuid(&self, column: usize) -> Result<Uuid, Unreadable> {
        Uuid::from_slice(self.bytes(column)?).map_err(|error| Unreadable::new(column, error))
    }

    fn uuid_or_null(&self, column: usize) -> Result<Option<Uuid>, Unreadable> {
        if value(self, column)? == ValueRef::Null { Ok(None) } else { self.uuid(column).map(Some) }
    }

    fn bytes(&self, column: usize) -> Result<&[u8], Unreadable> {
        value(self, column)?.as_blob().map_err(|error| Unreadable::new(column, error))
    }
}
