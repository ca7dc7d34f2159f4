//! Keys in a file of their own. Several processes may have it open. What is destroyed is overwritten.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{Key, StoredErasure, StoredKey};
use crate::event_log::{LogError, OpenError};
use crate::sqlite::{self, place};

mod embedded {
    refinery::embed_migrations!("migrations/keys");
}

/// `pragma application_id` of a key store: "ENTK".
const APPLICATION: i64 = 0x454e_544b;
const PATIENCE: Duration = Duration::from_secs(5);

const CREATE: &str = "insert into store (only_one, id) values (1, ?1) on conflict do nothing";
const ID: &str = "select id from store";
const ALL: &str = "select id, owner, key from keys";
const FIND: &str = "select id, owner, key from keys where id = ?1";
const IN_USE: &str = "select id, owner, key from keys where owner = ?1 and key is not null";
const ADD: &str = "insert into keys (id, owner, key)
    select ?1, ?2, ?3 where not exists (select 1 from erasures where owner = ?2 and not told) on conflict do nothing";
const TAKE_IN: &str = "insert into keys (id, owner, key) values (?1, ?2, ?3) on conflict do nothing";
const DESTROYED: &str = "update keys set key = null where id = ?1 and key is not null";
const BEGIN: &str = "update erasures set attempt = ?2 where owner = ?1 and not told";
const BEGUN: &str = "update erasures set begun = true where owner = ?1";
const IS_BEGUN: &str = "select begun from erasures where owner = ?1";
const TOLD: &str = "update erasures set begun = false, told = true where owner = ?1 and attempt = ?2 and not told";
const DESTROY: &str = "update keys set key = null where owner = ?1 and key is not null";
const REQUEST: &str = "insert into erasures (owner) values (?1) on conflict (owner) do update set told = false";
const FORGET_NOTES: &str = "delete from erasures where attempt is null";
const NOTE: &str = "insert into erasures (owner, begun) values (?1, ?2) on conflict (owner) do update set begun = begun or excluded.begun, told = false";
/// All columns that there are: a store of an older version, which is only read, lacks some.
const REQUESTED: &str = "select * from erasures order by owner";
const DONE: &str = "delete from erasures where owner = ?1 and told";
const WITHDRAW: &str = "delete from erasures where owner = ?1 and attempt is ?2";
/// So that no page keeps what was moved out of another.
const ANEW: &str = "vacuum";

#[derive(Clone)]
pub(super) struct SqliteKeys {
    id: Uuid,
    connection: Arc<Mutex<Connection>>,
}

impl SqliteKeys {
    /// Opens the store, or makes a new one.
    #[expect(clippy::disallowed_methods, reason = "a store's id must be random")]
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let sqlite_error = OpenError::sqlite(path);
        if !check(path)? {
            // For its owner alone, from the first byte on.
            drop(fs::File::options().create(true).append(true).mode(0o600).open(path).map_err(OpenError::io(path))?);
        }
        let mut connection = connect(path).map_err(&sqlite_error)?;
        connection.pragma_update(None, "application_id", APPLICATION).map_err(&sqlite_error)?;
        sqlite::migrate(embedded::migrations::runner(), &mut connection, path)?;
        connection.execute(CREATE, [Uuid::new_v4()]).map_err(&sqlite_error)?;
        Self::of(connection).map_err(&sqlite_error)
    }

    /// Opens the store as it is, of this version or an older one; none where there is none.
    pub(super) fn open_existing(path: &Path) -> Result<Option<Self>, OpenError> {
        if !check(path)? {
            return Ok(None);
        }
        connect(path).and_then(Self::of).map(Some).map_err(OpenError::sqlite(path))
    }

    fn of(connection: Connection) -> Result<Self, rusqlite::Error> {
        let id = connection.query_row(ID, [], |row| row.get(0))?;
        Ok(Self { id, connection: Arc::new(Mutex::new(connection)) })
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) async fn all(&self) -> Result<Vec<StoredKey>, OpenError> {
        let found = self.run(|connection| connection.prepare_cached(ALL)?.query_map([], stored)?.collect()).await;
        found.map_err(|error| OpenError::Unreachable { place: "the key store".to_owned(), reason: error.to_string() })
    }

    pub(super) async fn find(&self, names: Vec<String>) -> Result<Vec<StoredKey>, LogError> {
        let find = move |connection: &mut Connection| {
            let mut found = Vec::new();
            for name in &names {
                found.extend(connection.prepare_cached(FIND)?.query_row([name], stored).optional()?);
            }
            Ok(found)
        };
        self.run(find).await
    }

    /// The keys that the owners have then: these, or those that others made meanwhile. None for whoever is being erased.
    pub(super) async fn add(&self, made: Vec<(String, Key)>) -> Result<Vec<StoredKey>, LogError> {
        let add = move |connection: &mut Connection| {
            let transaction = sqlite::begin(connection)?;
            let mut in_use = Vec::new();
            for (owner, key) in &made {
                transaction.prepare_cached(ADD)?.execute(params![key.name(), owner, key.secret])?;
                in_use.extend(transaction.prepare_cached(IN_USE)?.query_row([owner], stored).optional()?);
            }
            transaction.commit()?;
            Ok(in_use)
        };
        self.run(add).await
    }

    /// Takes keys and what is noted in, and destroys here what was destroyed there.
    pub(super) async fn copy(&self, keys: Vec<StoredKey>, noted: Vec<StoredErasure>) -> Result<(), LogError> {
        let copy = move |connection: &mut Connection| {
            let transaction = sqlite::begin(connection)?;
            let mut destroyed = 0;
            // First, so that whoever came back has no other in use.
            for StoredKey { name, .. } in keys.iter().filter(|key| key.secret.is_none()) {
                destroyed += transaction.prepare_cached(DESTROYED)?.execute([name])?;
            }
            for StoredKey { name, owner, secret } in &keys {
                transaction.prepare_cached(TAKE_IN)?.execute(params![name, owner, secret])?;
            }
            // Of a copy before: the source may tell of them by now.
            transaction.execute(FORGET_NOTES, [])?;
            for StoredErasure { owner, is_begun, .. } in &noted {
                transaction.prepare_cached(NOTE)?.execute(params![owner, is_begun])?;
            }
            transaction.commit()?;
            if destroyed > 0 { connection.execute_batch(ANEW) } else { Ok(()) }
        };
        self.run(copy).await
    }

    pub(super) async fn begin_erasure(&self, owner: String, attempt: Uuid, is_asked_anew: bool) -> Result<Option<bool>, LogError> {
        let begin = move |connection: &mut Connection| {
            let transaction = sqlite::begin(connection)?;
            if is_asked_anew {
                transaction.execute(REQUEST, [&owner])?;
            }
            if transaction.execute(BEGIN, params![owner, attempt])? == 0 {
                return Ok(None);
            }
            if transaction.execute(DESTROY, [&owner])? > 0 {
                transaction.execute(BEGUN, [&owner])?;
            }
            let is_begun = transaction.query_row(IS_BEGUN, [&owner], |row| row.get(0))?;
            transaction.commit()?;
            Ok(Some(is_begun))
        };
        self.run(begin).await
    }

    pub(super) async fn request(&self, owner: String) -> Result<(), LogError> {
        self.run(move |connection| connection.execute(REQUEST, [owner]).map(|_| ())).await
    }

    pub(super) async fn requested(&self) -> Result<Vec<StoredErasure>, LogError> {
        self.run(|connection| connection.prepare_cached(REQUESTED)?.query_map([], stored_erasure)?.collect()).await
    }

    pub(super) async fn erasure_is_told(&self, owner: String, attempt: Uuid) -> Result<(), LogError> {
        self.run(move |connection| connection.execute(TOLD, params![owner, attempt]).map(|_| ())).await
    }

    pub(super) async fn erasure_is_done(&self, owner: String) -> Result<(), LogError> {
        let done = move |connection: &mut Connection| {
            connection.execute_batch(ANEW)?;
            connection.execute(DONE, [owner]).map(|_| ())
        };
        self.run(done).await
    }

    pub(super) async fn withdraw(&self, owner: String, attempt: Option<Uuid>) -> Result<(), LogError> {
        self.run(move |connection| connection.execute(WITHDRAW, params![owner, attempt]).map(|_| ())).await
    }

    /// On a thread that may wait for the disk.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static) -> Result<T, LogError> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))).await;
        let done = done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        done.map_err(|error| LogError::Unavailable(format!("its keys: {error}").into()))
    }
}

/// Whether there is a store, and one that this version knows. Changes nothing.
fn check(path: &Path) -> Result<bool, OpenError> {
    match sqlite::inspect(path)? {
        None => return Ok(false),
        Some(found) if found.application != APPLICATION => return Err(OpenError::Foreign { place: place(path), what: "a key store" }),
        Some(_) => {}
    }
    OpenError::unless_known(&embedded::migrations::runner(), sqlite::format(path)?, || place(path))?;
    Ok(true)
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    for (pragma, value) in [("journal_mode", "truncate"), ("synchronous", "extra"), ("secure_delete", "on"), ("temp_store", "memory")] {
        connection.pragma_update(None, pragma, value)?;
    }
    Ok(connection)
}

fn stored(row: &Row<'_>) -> Result<StoredKey, rusqlite::Error> {
    Ok(StoredKey { name: row.get(0)?, owner: row.get(1)?, secret: row.get(2)? })
}

fn stored_erasure(row: &Row<'_>) -> Result<StoredErasure, rusqlite::Error> {
    Ok(StoredErasure {
        owner: row.get("owner")?,
        is_begun: row.get("begun").unwrap_or_default(),
        is_told: row.get("told").unwrap_or_default(),
        attempt: row.get("attempt").unwrap_or_default(),
    })
}
