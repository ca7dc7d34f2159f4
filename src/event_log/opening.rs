//! Opening a log: which adapter, which keys, and whether this version can read it.

use super::keys::Keyring;
use super::kurrentdb::KurrentEventLog;
use super::postgres::PostgresEventLog;
use super::sqlite::SqliteEventLog;
use super::{Clock, EventLog, Kept, LogError, OpenError, answer, codec, end_of};
use crate::domain::event::Position;
use crate::storage::StoreUrl;

/// Where the keys of a log are unless told otherwise: in a file beside its own, or in the same database. None for KurrentDB.
#[must_use]
pub fn keys_beside(log: &StoreUrl) -> Option<StoreUrl> {
    match log {
        StoreUrl::Sqlite(path) => Some(StoreUrl::Sqlite(path.with_extension("keys"))),
        StoreUrl::Postgres(_) => Some(log.clone()),
        StoreUrl::Kurrent(_) => None,
    }
}

impl EventLog {
    /// Opens the log and its key store, or makes new ones where there are none. `keys`: where they are not beside the log.
    ///
    /// # Errors
    /// When they cannot be reached, another process holds the log, one is damaged, foreign, or of a newer version, or the
    /// keys are another log's. Nothing was changed then.
    pub async fn open(url: &StoreUrl, keys: Option<&StoreUrl>, clock: Clock) -> Result<Self, OpenError> {
        let keys_url = keys.cloned().or_else(|| keys_beside(url)).ok_or_else(|| OpenError::NoKeys { place: url.to_string() })?;
        let kept = match url {
            StoreUrl::Sqlite(path) => Kept::Sqlite(SqliteEventLog::open(path, clock)?),
            StoreUrl::Postgres(url) => Kept::Postgres(PostgresEventLog::open(url, clock).await?),
            StoreUrl::Kurrent(url) => Kept::Kurrent(KurrentEventLog::open(url, clock).await?),
        };
        let opened_at = end_of(&kept);
        let unanswered = |error: LogError| OpenError::Unreachable { place: url.to_string(), reason: error.to_string() };
        let others = || OpenError::OtherKeys { place: keys_url.to_string(), log: url.to_string() };
        // None are made where those that the log has are missing: they may be put back.
        if let Some(bound) = answer!(&kept, log => log.bound_keys()).map_err(unanswered)?
            && Keyring::open_existing(&keys_url).await?.id() != Some(bound)
        {
            return Err(others());
        }
        let keys = Keyring::open(&keys_url).await?;
        let bound = answer!(&kept, log => log.bind_keys(keys.id().unwrap_or_default())).map_err(unanswered)?;
        if keys.id() != Some(bound) {
            return Err(others());
        }
        Ok(Self { kept, keys, opened_at })
    }

    /// Opens a log that others may be writing: it can be read and followed, not appended to. Without its keys, what people
    /// wrote stays sealed.
    ///
    /// # Errors
    /// When there is none, it cannot be reached, or it is damaged, foreign, or of a newer version.
    pub async fn open_read_only(url: &StoreUrl, keys: Option<&StoreUrl>) -> Result<Self, OpenError> {
        let kept = match url {
            StoreUrl::Sqlite(path) => Kept::Sqlite(SqliteEventLog::open_read_only(path)?),
            StoreUrl::Postgres(url) => Kept::Postgres(PostgresEventLog::open_read_only(url).await?),
            StoreUrl::Kurrent(url) => Kept::Kurrent(KurrentEventLog::open_read_only(url).await?),
        };
        let opened_at = end_of(&kept);
        let keys = match keys.cloned().or_else(|| keys_beside(url)) {
            Some(keys) => Keyring::open_existing(&keys).await?,
            None => Keyring::none(),
        };
        Ok(Self { kept, keys, opened_at })
    }

    /// Where it ended when it was opened, before its keys were read: what was destroyed of them later, the events after it tell.
    #[must_use]
    pub fn opened_at(&self) -> Position {
        self.opened_at
    }

    /// Whether the keys at hand are its own. A log that has had none yet has all of what there is.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn has_its_keys(&self) -> Result<bool, LogError> {
        let bound = answer!(&self.kept, log => log.bound_keys())?;
        Ok(bound.is_none_or(|bound| self.keys.id() == Some(bound)))
    }

    /// The keys of what people wrote in it.
    #[must_use]
    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// Whether opening makes a new log, as far as can be seen without opening it.
    ///
    /// # Errors
    /// When the file is damaged, foreign, or of a newer version.
    pub fn is_new(url: &StoreUrl) -> Result<bool, OpenError> {
        match url {
            StoreUrl::Sqlite(path) => SqliteEventLog::is_new(path),
            StoreUrl::Postgres(_) | StoreUrl::Kurrent(_) => Ok(false),
        }
    }

    /// Whether this version has read all of the log before, or what it reads as.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn was_read_by_this_version(&self) -> Result<bool, LogError> {
        let reader = answer!(&self.kept, log => log.reader())?;
        Ok(reader.is_some_and(|reader| reader == codec::identity()))
    }

    /// Notes that this version reads the log from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn note_reader(&self) -> Result<(), LogError> {
        if self.was_read_by_this_version().await? {
            return Ok(());
        }
        answer!(&self.kept, log => log.note_reader(&codec::identity()))
    }
}
