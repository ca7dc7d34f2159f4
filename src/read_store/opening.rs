//! Opening a store, and its generations: one is current, another may be built beside it and take its place.

use std::sync::Arc;

use uuid::Uuid;

use super::postgres::{PostgresHold, PostgresReadStore};
use super::sqlite::SqliteReadStore;
use super::{Checkpoint, Kept, OpenError, ReadStore, StoreError};
use crate::domain::event::Position;
use crate::storage::StoreUrl;

impl ReadStore {
    /// Opens the rows made from the log with this id, or begins anew where they are missing, damaged, or
    /// made by other folds.
    ///
    /// # Errors
    /// When the store cannot be reached, another process holds it, it is no read store, or it was made from another log.
    pub async fn open(url: &StoreUrl, log: Uuid) -> Result<Self, OpenError> {
        let kept = match url {
            StoreUrl::Sqlite(path) => Kept::Sqlite(SqliteReadStore::open(path, log)?),
            StoreUrl::Postgres(url) => Kept::Postgres(Box::new(PostgresReadStore::open(url, log).await?)),
            StoreUrl::Kurrent(_) => return Err(OpenError::Foreign { place: url.to_string(), what: "a read store" }),
        };
        Ok(Self { url: url.clone(), kept, calls: Arc::default() })
    }

    /// Up to where the log was folded into the rows that are there; 0 where there are none, or none that can be read.
    pub async fn last_folded(url: &StoreUrl) -> Checkpoint {
        match url {
            StoreUrl::Sqlite(path) => SqliteReadStore::last_folded(path),
            StoreUrl::Postgres(url) => PostgresReadStore::last_folded(url).await,
            StoreUrl::Kurrent(_) => Checkpoint::default(),
        }
    }

    /// Whether [`ReadStore::open`] goes on with the rows that are there, where it would make those in a file anew otherwise.
    #[must_use]
    pub fn is_usable(url: &StoreUrl, log: Uuid) -> bool {
        match url {
            StoreUrl::Sqlite(path) => SqliteReadStore::is_usable(path, log),
            StoreUrl::Postgres(_) | StoreUrl::Kurrent(_) => true,
        }
    }

    /// Opens the generation after the current one, to be built beside it: as far as it was built, or empty.
    ///
    /// # Errors
    /// When the store cannot be reached, or another process builds.
    pub async fn build(url: &StoreUrl, log: Uuid) -> Result<Self, OpenError> {
        let kept = match url {
            StoreUrl::Sqlite(path) => Kept::Sqlite(SqliteReadStore::build(path, log)?),
            StoreUrl::Postgres(url) => Kept::Postgres(Box::new(PostgresReadStore::build(url, log).await?)),
            StoreUrl::Kurrent(_) => return Err(OpenError::Foreign { place: url.to_string(), what: "a read store" }),
        };
        Ok(Self { url: url.clone(), kept, calls: Arc::default() })
    }

    /// Makes a built generation fit to be read: its indexes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(&self) -> Result<(), StoreError> {
        match &self.kept {
            Kept::Sqlite(store) => store.finish().await,
            Kept::Postgres(store) => store.finish().await,
        }
    }

    /// Keeps everybody from the current generation where they could not go over to this one by themselves.
    ///
    /// # Errors
    /// When the store fails, or is read for too long.
    pub async fn hold(&self) -> Result<Hold, StoreError> {
        match &self.kept {
            Kept::Sqlite(_) => Ok(Hold(None)),
            Kept::Postgres(store) => Ok(Hold(Some(store.hold().await?))),
        }
    }

    /// Makes a built and finished generation the current one. The one before is kept.
    ///
    /// # Errors
    /// When the store fails. On a lost connection it may have become current.
    pub async fn switch(&self, url: &StoreUrl, hold: Hold) -> Result<(), StoreError> {
        match (&self.kept, hold.0, url) {
            (Kept::Sqlite(store), _, StoreUrl::Sqlite(path)) => store.switch(path),
            (Kept::Postgres(_), Some(hold), _) => hold.switch().await,
            _ => Err(StoreError::Failed("the generation that was built is not of this address".into())),
        }
    }

    /// Removes every generation but the current one. Returns how many there were.
    ///
    /// # Errors
    /// When the store cannot be reached, or somebody builds.
    pub async fn drop_others(url: &StoreUrl) -> Result<usize, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => SqliteReadStore::drop_others(path),
            StoreUrl::Postgres(url) => PostgresReadStore::drop_others(url).await,
            StoreUrl::Kurrent(_) => Err(OpenError::Foreign { place: url.to_string(), what: "a read store" }),
        }
    }

    /// Asks for another attempt at what is parked, one entity or all of it; whoever folds makes it. Returns how many.
    ///
    /// # Errors
    /// When there is no store, or it cannot be reached.
    pub async fn request_retry(url: &StoreUrl, entity: Option<&str>) -> Result<u64, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => SqliteReadStore::request_retry(path, entity),
            StoreUrl::Postgres(url) => PostgresReadStore::request_retry(url, entity).await,
            StoreUrl::Kurrent(_) => Err(OpenError::Foreign { place: url.to_string(), what: "a read store" }),
        }
    }
}

/// The current generation, kept from everybody until this is dropped or switched.
pub struct Hold(Option<PostgresHold>);

impl Hold {
    /// How far it is folded; none where that does not matter.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.0.as_ref().and_then(|hold| hold.position)
    }
}
