//! What queries are written on, once for every store: statements with parameters, rows with columns.

use std::fmt::Display;

use thiserror::Error;
use uuid::Uuid;

use super::StoreError;

/// A statement's parameter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Integer(i64),
    Text(&'a str),
    TextOrNull(Option<&'a str>),
    Uuid(Uuid),
    BytesOrNull(Option<&'a [u8]>),
}

impl Value<'_> {
    /// Numbers of rows and messages; none is ever too large.
    pub(super) fn number(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A stored value is none that the code could have written.
#[derive(Debug, Error)]
#[error("column {column} cannot be read: {reason}")]
pub(super) struct Unreadable {
    pub column: usize,
    pub reason: String,
}

impl Unreadable {
    pub(super) fn new(column: usize, reason: impl Display) -> Self {
        Self { column, reason: reason.to_string() }
    }
}

/// One row of an answer; columns are counted from 0.
pub(super) trait Columns {
    fn integer(&self, column: usize) -> Result<i64, Unreadable>;
    fn integer_or_null(&self, column: usize) -> Result<Option<i64>, Unreadable>;
    fn text(&self, column: usize) -> Result<&str, Unreadable>;
    fn text_or_null(&self, column: usize) -> Result<Option<&str>, Unreadable>;
    fn uuid(&self, column: usize) -> Result<Uuid, Unreadable>;
    fn uuid_or_null(&self, column: usize) -> Result<Option<Uuid>, Unreadable>;
    fn bytes(&self, column: usize) -> Result<&[u8], Unreadable>;

    fn number(&self, column: usize) -> Result<u64, Unreadable> {
        u64::try_from(self.integer(column)?).map_err(|error| Unreadable::new(column, error))
    }

    fn number_or_null(&self, column: usize) -> Result<Option<u64>, Unreadable> {
        let number = |integer| u64::try_from(integer).map_err(|error| Unreadable::new(column, error));
        self.integer_or_null(column)?.map(number).transpose()
    }
}

/// Makes a value of a row.
pub(super) type Read<T> = fn(&dyn Columns) -> Result<T, Unreadable>;

/// A connection that reads.
pub(super) trait Reader: Send {
    /// All rows of a statement.
    fn query<T: Send>(&mut self, sql: &'static str, parameters: &[Value<'_>], read: Read<T>) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;

    /// The rows of one statement for each of several sets of parameters, asked for at once.
    fn query_each<T: Send>(
        &mut self,
        sql: &'static str,
        parameters: &[Vec<Value<'_>>],
        read: Read<T>,
    ) -> impl Future<Output = Result<Vec<Vec<T>>, StoreError>> + Send;

    /// The first row of a statement, if there is one.
    fn query_first<T: Send>(
        &mut self,
        sql: &'static str,
        parameters: &[Value<'_>],
        read: Read<T>,
    ) -> impl Future<Output = Result<Option<T>, StoreError>> + Send {
        async move { Ok(self.query(sql, parameters, read).await?.into_iter().next()) }
    }
}

/// Whether several statements must see the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Each,
    Same,
}
