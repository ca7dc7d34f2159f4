//! Reads: a connection for one query, or for several at one moment.

use deadpool_postgres::Object;
use futures_util::future::join_all;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{BEGIN_MOMENT, failed};
use crate::read_store::StoreError;
use crate::read_store::reader::{Columns, Moment, Read, Reader, Unreadable, Value};

/// A connection for a query or several.
pub(in crate::read_store) struct PostgresReader {
    /// None once it was given back.
    client: Option<Object>,
    moment: Moment,
}

impl PostgresReader {
    /// Begins the moment. A call that is dropped meanwhile leaves a connection that nobody gets.
    pub(super) async fn begin(client: Object, moment: Moment) -> Result<Self, StoreError> {
        let reader = Self { client: Some(client), moment };
        if moment == Moment::Same {
            reader.client().batch_execute(BEGIN_MOMENT).await.map_err(|error| failed(&error))?;
        }
        Ok(reader)
    }

    fn client(&self) -> &Object {
        self.client.as_ref().expect("it is given back at the end")
    }

    /// Ends the moment and gives the connection back.
    pub(in crate::read_store) async fn end(mut self) {
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
