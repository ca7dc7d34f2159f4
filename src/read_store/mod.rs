//! The disposable port: the folds' rows and the checkpoint they stand at, written together; and the
//! queries that screens are made of. Losing it loses nothing: it is folded again from the log.
//!
//! Refuses rows made from another log, for they may be all that is left of it. Rows made by other folds, or
//! damaged, are made anew.

mod generations;
mod inbox;
mod parked;
mod postgres;
mod queries;
mod reader;
mod reads;
mod rows;
pub mod snapshot;
mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::event::{Position, Timestamp};
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::projections;
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::storage::StoreUrl;

pub use crate::storage::OpenError;
pub use inbox::{InboxItem, ItemChange, Missed};
pub use parked::ParkedEntity;
use postgres::{PostgresHold, PostgresLease, PostgresReadStore};
use reader::{Columns, Moment, Unreadable};
use sqlite::{SqliteLease, SqliteReadStore};

/// Why the read store cannot answer.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    #[error("the read store failed: {0}")]
    Failed(Arc<str>),
    /// It cannot be reached now; it may be later.
    #[error("the read store cannot be reached: {0}")]
    Unavailable(Arc<str>),
    /// Another node leads the projections. Nothing was written.
    #[error("another node leads the projections of the read store")]
    Fenced,
}

impl From<Unreadable> for StoreError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Failed(unreadable.to_string().into())
    }
}

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
    /// Whose messages are to be overwritten: those that are stored, before the ones above.
    pub erased: Vec<UserId>,
    /// What stands still from now on, or otherwise than before.
    pub parked: Vec<ParkedEntity>,
    /// Entities that do so no longer.
    pub healed: Vec<String>,
}

/// A user as a viewer sees them, with the viewer's row of their conversation.
#[derive(Clone, Debug)]
pub struct UserView {
    pub user: UserRow,
    /// Listed or not.
    pub conversation: Option<ConversationRow>,
    /// The last message that the viewer may see; none where the conversation is not listed.
    pub last_message: Option<MessageRow>,
    /// Whether the list template shows a badge (C2).
    pub shows_badge: bool,
}

/// What a decision between two users is made from.
#[derive(Clone, Debug)]
pub struct Relation {
    /// The contact, if registered.
    pub contact: Option<UserRow>,
    /// The owner's row, and the contact's; both or none, at the same version of the stream.
    pub own: Option<ConversationRow>,
    pub theirs: Option<ConversationRow>,
}

/// What a registration is decided from.
#[derive(Clone, Debug)]
pub struct Members {
    /// The version of the community's stream that the directory has reached: its head count.
    pub count: u64,
    /// Those of the asked-for who are registered.
    pub registered: Vec<UserId>,
}

/// The oldest or the newest first; blocked rows last in both (L2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    OldestFirst,
    NewestFirst,
}

/// A row's place in a conversation list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListKey {
    pub blocked: bool,
    pub last_at: Timestamp,
    pub conversation: ConversationId,
}

/// A user's place in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryKey {
    pub sort_key: Vec<u8>,
    pub id: UserId,
}

/// The totals of a viewer's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub conversations: u64,
    pub unread: u64,
}

/// A part of a list between two keys, taken from its start or its end.
#[derive(Clone, Debug)]
pub struct Slice<K> {
    pub after: Option<K>,
    pub before: Option<K>,
    pub take: Take,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    First(usize),
    Last(usize),
}

impl Take {
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::First(count) | Self::Last(count) => count,
        }
    }
}

/// Rows in the list's order, and whether there are more on either side.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub has_next: bool,
    pub has_previous: bool,
}

impl<T> Page<T> {
    #[must_use]
    pub fn empty() -> Self {
        Self { rows: vec![], has_next: false, has_previous: false }
    }

    /// From rows read in the slice's direction, one more than asked for where there are more.
    fn of<K>(mut rows: Vec<T>, slice: &Slice<K>) -> Self {
        let more = rows.len() > slice.take.count();
        rows.truncate(slice.take.count());
        match slice.take {
            Take::First(_) => Self { rows, has_next: more, has_previous: slice.after.is_some() },
            Take::Last(_) => {
                rows.reverse();
                Self { rows, has_next: slice.before.is_some(), has_previous: more }
            }
        }
    }
}

/// A run of a conversation's messages, by number, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub conversation: ConversationId,
    pub from: u64,
    pub to: u64,
}

/// A message that a viewer may see, and with whom.
#[derive(Clone, Debug)]
pub struct MessageView {
    pub message: MessageRow,
    pub contact: UserId,
}

/// Where every projection of the store stands: the last event folded, by its position and its id, so that
/// a log that went another way from there is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub position: Position,
    /// Nil before the first event.
    pub event: Uuid,
}

/// What a store says of one projection's rows.
struct StoredCheckpoint {
    projection: String,
    log: Uuid,
    position: Position,
    version: u64,
    sql: String,
}

impl StoredCheckpoint {
    fn read(row: &dyn Columns) -> Result<Self, Unreadable> {
        Ok(Self {
            projection: row.text(0)?.to_owned(),
            log: row.uuid(1)?,
            position: Position(row.number(2)?),
            version: row.number(4)?,
            sql: row.text(5)?.to_owned(),
        })
    }
}

/// Whether rows were made by the projections of this version.
fn are_of_these_shapes(found: &[StoredCheckpoint]) -> bool {
    let mut shapes = projections::ALL;
    shapes.sort_by_key(|shape| shape.name);
    found.len() == shapes.len()
        && found.iter().zip(shapes).all(|(found, shape)| found.projection == shape.name && found.version == u64::from(shape.version) && found.sql == shape.sql)
}

/// The read store, wherever it is kept. Cheap to clone.
#[derive(Clone)]
pub struct ReadStore {
    url: StoreUrl,
    kept: Kept,
    calls: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Kept {
    Sqlite(SqliteReadStore),
    Postgres(Box<PostgresReadStore>),
}

/// Runs a query on whichever store it is, on one connection. A connection that turns out to be lost is
/// replaced once: nothing is changed by a query.
macro_rules! read {
    ($store:expr, $moment:expr, $reader:ident => $query:expr) => {{
        $store.calls.fetch_add(1, Ordering::Relaxed);
        match &$store.kept {
            Kept::Sqlite(store) => {
                let $reader = &mut store.reader($moment)?;
                $query.await
            }
            Kept::Postgres(store) => {
                let mut connection = store.reader($moment).await?;
                let $reader = &mut connection;
                match $query.await {
                    Err(StoreError::Unavailable(_)) => {
                        let mut connection = store.reader($moment).await?;
                        let $reader = &mut connection;
                        let answer = $query.await;
                        connection.end().await;
                        answer
                    }
                    answer => {
                        connection.end().await;
                        answer
                    }
                }
            }
        }
    }};
}

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

    /// Whether there are rows that were made from events. What cannot be read has none.
    pub async fn has_rows(url: &StoreUrl) -> bool {
        match url {
            StoreUrl::Sqlite(path) => SqliteReadStore::has_rows(path),
            StoreUrl::Postgres(url) => PostgresReadStore::has_rows(url).await,
            StoreUrl::Kurrent(_) => false,
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
            _ => Err(StoreError::Failed("it was built elsewhere".into())),
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

    /// Whether several nodes may have it open.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.kept, Kept::Postgres(_))
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// How many queries were answered since the start.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How far the log is folded, as far as is known here.
    #[must_use]
    pub fn checkpoint_watch(&self) -> watch::Receiver<Checkpoint> {
        match &self.kept {
            Kept::Sqlite(store) => store.checkpoint_watch(),
            Kept::Postgres(store) => store.checkpoint_watch(),
        }
    }

    /// Becomes the one node that folds, unless another is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn try_lead(&self, node: Uuid) -> Result<Option<Lease>, StoreError> {
        match &self.kept {
            Kept::Sqlite(store) => Ok(Some(Lease(Held::Sqlite(store.lead()?)))),
            Kept::Postgres(store) => Ok(store.try_lead(node).await?.map(|lease| Lease(Held::Postgres(Box::new(lease))))),
        }
    }

    /// How far the log is folded.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        read!(self, Moment::Each, reader => reads::checkpoint(reader))
    }

    /// A user as `viewer` sees them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn view(&self, viewer: &UserId, user: &UserId) -> Result<Option<UserView>, StoreError> {
        read!(self, Moment::Each, reader => reads::view(reader, viewer, user))
    }

    /// A part of the viewer's conversation list.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, viewer: &UserId, order: ListOrder, slice: Slice<ListKey>) -> Result<Page<UserView>, StoreError> {
        read!(self, Moment::Each, reader => reads::list(reader, viewer, order, &slice))
    }

    /// The totals of the viewer's list.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn totals(&self, viewer: &UserId) -> Result<Totals, StoreError> {
        read!(self, Moment::Each, reader => reads::totals(reader, viewer))
    }

    /// A part of the directory without the viewer; `search` as [`crate::domain::collation::searchable`] made it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn directory(&self, viewer: &UserId, search: &str, slice: Slice<DirectoryKey>) -> Result<Page<UserView>, StoreError> {
        read!(self, Moment::Each, reader => reads::directory(reader, viewer, search, &slice))
    }

    /// Several runs of messages at once, each in order. Whether the asker may see them is theirs to know.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn messages(&self, runs: Vec<Run>) -> Result<Vec<Vec<MessageRow>>, StoreError> {
        read!(self, Moment::Each, reader => reads::messages(reader, &runs))
    }

    /// Any message, whoever may see it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
        read!(self, Moment::Each, reader => reads::message(reader, id))
    }

    /// A message that `viewer` may see.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn visible_message(&self, viewer: &UserId, id: MessageId) -> Result<Option<MessageView>, StoreError> {
        read!(self, Moment::Each, reader => reads::visible_message(reader, viewer, id))
    }

    /// With whom a conversation of the viewer's list is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn contact_of(&self, viewer: &UserId, conversation: ConversationId) -> Result<Option<UserId>, StoreError> {
        read!(self, Moment::Each, reader => reads::contact_of(reader, viewer, conversation))
    }

    /// The section as configured; none while nobody did.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn section(&self) -> Result<Option<SectionRow>, StoreError> {
        read!(self, Moment::Each, reader => reads::section(reader))
    }

    /// A registered user.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn user(&self, id: &UserId) -> Result<Option<UserRow>, StoreError> {
        read!(self, Moment::Each, reader => reads::user(reader, id))
    }

    /// What a decision of `owner` about `contact` is made from.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn relation(&self, owner: &UserId, contact: &UserId) -> Result<Relation, StoreError> {
        read!(self, Moment::Each, reader => reads::relation(reader, owner, contact))
    }

    /// The head count, and which of some users are registered, at one moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn members(&self, asked: Vec<UserId>) -> Result<Members, StoreError> {
        read!(self, Moment::Same, reader => reads::members(reader, &asked))
    }

    /// Whose lists a user stands in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn listed_by(&self, user: &UserId) -> Result<Vec<UserId>, StoreError> {
        read!(self, Moment::Each, reader => reads::listed_by(reader, user))
    }

    /// What `viewer` is to be told of what happened since, at most `limit` items, all at one moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn missed(&self, viewer: &UserId, after: Position, limit: usize) -> Result<Missed, StoreError> {
        read!(self, Moment::Same, reader => inbox::missed(reader, viewer, after, limit))
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

/// The right to fold: one node at a time has it for a store.
pub struct Lease(Held);

enum Held {
    Sqlite(SqliteLease),
    Postgres(Box<PostgresLease>),
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
        match &self.0 {
            Held::Sqlite(lease) => lease.apply(rows, checkpoint).await,
            Held::Postgres(lease) => lease.apply(rows, checkpoint).await,
        }
    }

    /// The same for very many rows, best in the order of their keys.
    ///
    /// # Errors
    /// As for [`Lease::apply`].
    pub async fn apply_many(&self, rows: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        match &self.0 {
            Held::Sqlite(lease) => lease.apply(rows, checkpoint).await,
            Held::Postgres(lease) => lease.apply_many(rows, checkpoint).await,
        }
    }

    /// Whether another generation of the store is the current one now.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        match &self.0 {
            Held::Sqlite(lease) => lease.is_superseded(),
            Held::Postgres(_) => false,
        }
    }

    /// Says that the holder is still there.
    ///
    /// # Errors
    /// When the store fails, or another node has the lease.
    pub async fn renew(&self) -> Result<(), StoreError> {
        match &self.0 {
            Held::Sqlite(_) => Ok(()),
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
            Held::Sqlite(_) => {}
            Held::Postgres(lease) => lease.release().await,
        }
    }
}
