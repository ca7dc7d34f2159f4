//! The right to fold into a store, and the rows that go in and out by it.

use super::postgres::PostgresLease;
use super::sqlite::SqliteLease;
use super::{Checkpoint, ParkedEntity, StoreError};
use crate::domain::event::Position;
use crate::domain::ids::UserId;
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;

/// Keys of rows to load before a batch is folded. Messages are written once and never loaded.
#[derive(Debug, Default)]
pub struct Touched {
    pub users: Vec<UserId>,
    pub conversations: Vec<(UserId, UserId)>,
    pub section: bool,
}

impl Touched {
    fn is_nothing(&self) -> bool {
        self.users.is_empty() && self.conversations.is_empty() && !self.section
    }
}

/// Rows of every projection, and what the projections say of themselves.
#[derive(Debug, Default)]
pub struct Rows {
    pub users: Vec<UserRow>,
    pub conversations: Vec<ConversationRow>,
    pub messages: Vec<MessageRow>,
    pub section: Option<SectionRow>,
    /// Whose messages before a position are to be overwritten, where they are stored: those above are as they shall be.
    pub erased: Vec<(UserId, Position)>,
    /// What stands still from now on, or otherwise than before.
    pub parked: Vec<ParkedEntity>,
    /// Entities that do so no longer.
    pub healed: Vec<String>,
}

/// The right to fold: one node at a time has it for a store.
pub struct Lease(Held);

enum Held {
    Sqlite(SqliteLease),
    Postgres(Box<PostgresLease>),
}

impl From<SqliteLease> for Lease {
    fn from(lease: SqliteLease) -> Self {
        Self(Held::Sqlite(lease))
    }
}

impl From<PostgresLease> for Lease {
    fn from(lease: PostgresLease) -> Self {
        Self(Held::Postgres(Box::new(lease)))
    }
}

impl Lease {
    /// How far the log is folded.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        match &self.0 {
            Held::Sqlite(lease) => lease.checkpoint(),
            Held::Postgres(lease) => lease.checkpoint().await,
        }
    }

    /// What cannot be folded, by its position.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn parked(&self) -> Result<Vec<ParkedEntity>, StoreError> {
        match &self.0 {
            Held::Sqlite(lease) => lease.parked(),
            Held::Postgres(lease) => lease.parked().await,
        }
    }

    /// The rows there are for some keys, to fold on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(&self, touched: Touched) -> Result<Rows, StoreError> {
        if touched.is_nothing() {
            return Ok(Rows::default());
        }
        match &self.0 {
            Held::Sqlite(lease) => lease.load(touched).await,
            Held::Postgres(lease) => lease.load(touched).await,
        }
    }

    /// Writes changed rows, and that the log is folded up to `checkpoint`, in one transaction. Gives the rows back.
    ///
    /// # Errors
    /// When the store fails, or another node has the lease. Nothing was written then, or it cannot be known.
    pub async fn apply(&self, rows: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        tell_of_parked(match &self.0 {
            Held::Sqlite(lease) => lease.apply(rows, checkpoint).await,
            Held::Postgres(lease) => Box::pin(lease.apply(rows, checkpoint)).await,
        })
    }

    /// The same for very many rows, best in the order of their keys.
    ///
    /// # Errors
    /// As for [`Lease::apply`].
    pub async fn apply_many(&self, rows: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        tell_of_parked(match &self.0 {
            Held::Sqlite(lease) => lease.apply(rows, checkpoint).await,
            Held::Postgres(lease) => lease.apply_many(rows, checkpoint).await,
        })
    }

    /// Whether another generation of the store is the current one now.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        match &self.0 {
            Held::Sqlite(lease) => lease.is_superseded(),
            Held::Postgres(_) => false,
        }
    }

    /// Says that the holder is still there, and does what had to wait.
    ///
    /// # Errors
    /// When the store fails, or another node has the lease.
    pub async fn renew(&self) -> Result<(), StoreError> {
        match &self.0 {
            Held::Sqlite(lease) => lease.tidy().await,
            Held::Postgres(lease) => lease.renew().await,
        }
    }

    /// Comes back when the holder's connection is lost, and with it the lease.
    pub async fn lost(&self) {
        match &self.0 {
            Held::Sqlite(_) => std::future::pending().await,
            Held::Postgres(lease) => lease.lost().await,
        }
    }

    /// Lets another node have it at once.
    pub async fn release(self) {
        match self.0 {
            Held::Sqlite(lease) => lease.release().await,
            Held::Postgres(lease) => lease.release().await,
        }
    }
}

/// Tells of what was written as parked.
fn tell_of_parked(written: Result<Rows, StoreError>) -> Result<Rows, StoreError> {
    let rows = written?;
    rows.parked.iter().filter(|parked| !parked.is_retried).for_each(ParkedEntity::tell);
    Ok(rows)
}
