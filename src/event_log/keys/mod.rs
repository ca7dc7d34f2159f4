//! The keys that what people write is sealed under, each author's own, kept apart from the log: with its key destroyed,
//! a text is gone from every copy of the log, and the log stays as it is.
//!
//! A key is known by a name that is made from it, which stays when the key is destroyed: so what was erased is told from
//! what has lost its keys.

mod key;
mod postgres;
mod sqlite;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use super::{LogError, OpenError};
use crate::domain::ids::UserId;
use crate::storage::StoreUrl;
pub use key::Key;
use postgres::PostgresKeys;
use sqlite::SqliteKeys;

/// Keys that are made, or looked for, at once.
const TOGETHER: usize = 1_000;
/// How long whoever is being erased waits with writing until the log tells of it: the first wait, and how many, each twice as long
/// as the one before.
const WAIT: Duration = Duration::from_millis(5);
const WAITS: u32 = 8;

/// What is known of a key that an event names.
#[derive(Clone)]
pub enum Unlocked {
    Key(Key),
    /// Its owner was erased.
    Destroyed,
    /// It is in no key store that is known here.
    Unknown,
}

/// What a store has of a key.
struct StoredKey {
    name: String,
    owner: String,
    /// None: destroyed.
    secret: Option<Vec<u8>>,
}

/// What a store has of an erasure.
struct StoredErasure {
    owner: String,
    /// Their key is destroyed, and the log may not say so yet.
    is_begun: bool,
    is_told: bool,
    attempt: Option<Uuid>,
}

#[derive(Clone)]
enum KeyStore {
    Sqlite(SqliteKeys),
    Postgres(PostgresKeys),
}

/// Asks the same of whichever store it is. In a box: keys that are known, nearly all, are not asked for.
macro_rules! kept {
    ($store:expr, $kept:ident => $call:expr) => {
        match $store {
            KeyStore::Sqlite($kept) => Box::pin($call).await,
            KeyStore::Postgres($kept) => Box::pin($call).await,
        }
    };
}

/// An erasure that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedErasure {
    pub user: UserId,
    /// The log tells of it: what is left is in pages and in former views.
    pub is_told: bool,
    /// Who has it in hand; none while nobody began.
    pub attempt: Option<Uuid>,
}

/// The keys, and the store that they are kept in. Cheap to clone.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    store: Option<KeyStore>,
    known: RwLock<Known>,
}

/// Every key that was read or made.
#[derive(Default)]
struct Known {
    by_name: HashMap<Arc<str>, Option<Key>>,
    in_use: HashMap<UserId, Key>,
    /// How often keys were forgotten: what the store was asked for before may have been destroyed since.
    forgotten: u64,
}

impl Known {
    fn add(&mut self, found: Vec<StoredKey>) {
        for StoredKey { name, owner, secret } in found {
            let Some(secret) = secret else {
                self.by_name.insert(name.into(), None);
                continue;
            };
            // One that was damaged is as good as none.
            let Some(key) = <[u8; 32]>::try_from(secret).ok().map(Key::new).filter(|key| *key.name == *name) else { continue };
            self.by_name.insert(Arc::clone(&key.name), Some(key.clone()));
            self.in_use.insert(UserId::from_stored(owner), key);
        }
    }
}

impl Keyring {
    /// No keys: what is sealed stays so.
    #[must_use]
    pub fn none() -> Self {
        Self::of(None, Known::default())
    }

    fn of(store: Option<KeyStore>, known: Known) -> Self {
        Self(Arc::new(Inner { store, known: RwLock::new(known) }))
    }

    /// Opens the store, or makes a new one.
    ///
    /// # Errors
    /// When it cannot be reached, or is damaged, foreign, or of a newer version.
    pub async fn open(url: &StoreUrl) -> Result<Self, OpenError> {
        let store = match url {
            StoreUrl::Sqlite(path) => KeyStore::Sqlite(SqliteKeys::open(path)?),
            StoreUrl::Postgres(url) => KeyStore::Postgres(PostgresKeys::open(url).await?),
            StoreUrl::Kurrent(_) => return Err(OpenError::Foreign { place: url.to_string(), what: "a key store" }),
        };
        Self::holding(store).await
    }

    /// Opens the store where there is one, without changing it.
    ///
    /// # Errors
    /// As for [`Keyring::open`].
    pub async fn open_existing(url: &StoreUrl) -> Result<Self, OpenError> {
        let store = match url {
            StoreUrl::Sqlite(path) => SqliteKeys::open_existing(path)?.map(KeyStore::Sqlite),
            StoreUrl::Postgres(url) => PostgresKeys::open_existing(url).await?.map(KeyStore::Postgres),
            StoreUrl::Kurrent(_) => None,
        };
        match store {
            Some(store) => Self::holding(store).await,
            None => Ok(Self::none()),
        }
    }

    async fn holding(store: KeyStore) -> Result<Self, OpenError> {
        let mut known = Known::default();
        known.add(kept!(&store, store => store.all())?);
        Ok(Self::of(Some(store), known))
    }

    /// Names the store to the log that it belongs to; none without a store.
    pub(super) fn id(&self) -> Option<Uuid> {
        self.0.store.as_ref().map(|store| match store {
            KeyStore::Sqlite(store) => store.id(),
            KeyStore::Postgres(store) => store.id(),
        })
    }

    /// What is known here of a key, by its name.
    #[must_use]
    pub fn unlocked(&self, name: &str) -> Unlocked {
        let known = self.read();
        match known.by_name.get(name) {
            Some(Some(key)) => Unlocked::Key(key.clone()),
            Some(None) => Unlocked::Destroyed,
            None => Unlocked::Unknown,
        }
    }

    /// The keys of authors, made where they have none. Whoever is being erased is given none until the log tells of it: what they
    /// write is older than the event under the key that is gone, or newer under the next one.
    ///
    /// # Errors
    /// When the store fails, or an erasure takes long.
    pub(super) async fn of_authors(&self, authors: &[&UserId]) -> Result<HashMap<UserId, Key>, LogError> {
        let mut found = HashMap::with_capacity(authors.len());
        let mut missing = self.known_of(authors, &mut found);
        let mut waits = (0..WAITS).map(|wait| WAIT * 2_u32.pow(wait));
        while !missing.is_empty() {
            self.make_for(&missing).await?;
            missing = self.known_of(&missing, &mut found);
            if !missing.is_empty() {
                sleep(waits.next().ok_or(LogError::BeingErased)?).await;
            }
        }
        Ok(found)
    }

    async fn make_for(&self, authors: &[&UserId]) -> Result<(), LogError> {
        let store = self.store()?;
        for some in authors.chunks(TOGETHER) {
            self.learn(|| async {
                let made = some.iter().map(|owner| (owner.to_string(), Key::generate())).collect();
                kept!(store, store => store.add(made))
            })
            .await?;
        }
        Ok(())
    }

    /// Those that have no key yet, each once.
    fn known_of<'a>(&self, authors: &[&'a UserId], found: &mut HashMap<UserId, Key>) -> Vec<&'a UserId> {
        let known = self.read();
        let mut missing = Vec::new();
        for author in authors {
            match known.in_use.get(*author) {
                Some(key) => {
                    found.insert((*author).clone(), key.clone());
                }
                None => missing.push(*author),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Reads keys that others made or destroyed since.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn look_up(&self, names: Vec<String>) -> Result<(), LogError> {
        let Some(store) = &self.0.store else { return Ok(()) };
        for some in names.chunks(TOGETHER) {
            self.learn(|| async { kept!(store, store => store.find(some.to_vec())) }).await?;
        }
        Ok(())
    }

    /// Takes in what the store says. It is asked again where keys were forgotten meanwhile: one of them may be what it said.
    async fn learn<A: Future<Output = Result<Vec<StoredKey>, LogError>>>(&self, ask: impl Fn() -> A) -> Result<(), LogError> {
        loop {
            let forgotten = self.read().forgotten;
            let found = ask().await?;
            let mut known = self.write();
            if known.forgotten == forgotten {
                known.add(found);
                return Ok(());
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody is being erased and destroys their key, in the store and here. Returns whether there was anything
    /// of theirs since an erasure was last told of, be it before a crash. Whoever began before is overtaken.
    ///
    /// # Errors
    /// When the store fails: it may be destroyed.
    pub async fn begin_erasure(&self, owner: &UserId, attempt: Uuid) -> Result<bool, LogError> {
        Ok(self.destroy(owner, attempt, true).await?.unwrap_or_default())
    }

    /// The same for an erasure that is noted; none where the log tells of it by now.
    ///
    /// # Errors
    /// When the store fails: it may be destroyed.
    pub async fn go_on_with_erasure(&self, owner: &UserId, attempt: Uuid) -> Result<Option<bool>, LogError> {
        self.destroy(owner, attempt, false).await
    }

    async fn destroy(&self, owner: &UserId, attempt: Uuid, is_asked_anew: bool) -> Result<Option<bool>, LogError> {
        let store = self.store()?;
        self.forget(owner);
        let was_there = kept!(store, store => store.begin_erasure(owner.to_string(), attempt, is_asked_anew));
        // Whoever wrote meanwhile was given the old one again.
        self.forget(owner);
        was_there
    }

    /// Forgets an author's key, which may have been destroyed elsewhere.
    pub(super) fn forget(&self, owner: &UserId) {
        let mut known = self.write();
        known.forgotten += 1;
        if let Some(key) = known.in_use.remove(owner) {
            known.by_name.remove(&key.name);
        }
    }

    /// Asks whoever has the log to erase somebody.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn request_erasure(&self, owner: &UserId) -> Result<(), LogError> {
        let store = self.store()?;
        kept!(store, store => store.request(owner.to_string()))
    }

    /// The erasures that were asked for and are not done.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn requested_erasures(&self) -> Result<Vec<RequestedErasure>, LogError> {
        let Some(store) = &self.0.store else { return Ok(vec![]) };
        let requested = kept!(store, store => store.requested())?;
        let requested = requested.into_iter();
        Ok(requested.map(|StoredErasure { owner, is_told, attempt, .. }| RequestedErasure { user: UserId::from_stored(owner), is_told, attempt }).collect())
    }

    /// Notes that the log has the event of this attempt, unless another attempt took over: that one notes it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn erasure_is_told(&self, owner: &UserId, attempt: Uuid) -> Result<(), LogError> {
        let store = self.store()?;
        kept!(store, store => store.erasure_is_told(owner.to_string(), attempt))
    }

    /// Writes the store's pages anew, so that none keeps the key, and takes the note off, unless the erasure was asked for again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn erasure_is_done(&self, owner: &UserId) -> Result<(), LogError> {
        let store = self.store()?;
        kept!(store, store => store.erasure_is_done(owner.to_string()))
    }

    /// An erasure that was asked for is of nobody, unless somebody has it in hand meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw_erasure(&self, requested: &RequestedErasure) -> Result<(), LogError> {
        let store = self.store()?;
        kept!(store, store => store.withdraw(requested.user.to_string(), requested.attempt))
    }

    fn store(&self) -> Result<&KeyStore, LogError> {
        self.0.store.as_ref().ok_or_else(|| LogError::Read("its key store is not at hand: name it with --keys".into()))
    }

    /// Takes in every key of another store, the destroyed ones too, and the erasures that its log does not tell of yet, for a copy
    /// of its log. Returns how many keys are not here afterwards as they are there: their owners have others here.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn take_in(&self, other: &Self) -> Result<usize, LogError> {
        let (Some(store), Some(from)) = (&self.0.store, &other.0.store) else { return Ok(0) };
        let unreadable = |error: OpenError| LogError::Read(error.to_string().into());
        // What is noted afterwards: of whom it is so has no later key among those.
        let keys = kept!(from, from => from.all()).map_err(unreadable)?;
        let mut noted = kept!(from, from => from.requested())?;
        noted.retain(|noted| !noted.is_told);
        let wanted: Vec<(String, bool)> = keys.iter().map(|key| (key.name.clone(), key.secret.is_some())).collect();
        kept!(store, store => store.copy(keys, noted))?;
        let all = kept!(store, store => store.all()).map_err(unreadable)?;
        let there: HashMap<&str, bool> = all.iter().map(|key| (&*key.name, key.secret.is_some())).collect();
        let lacking = wanted.iter().filter(|(name, is_whole)| there.get(&**name) != Some(is_whole)).count();
        self.write().add(all);
        Ok(lacking)
    }
}
