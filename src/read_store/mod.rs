//! The disposable port: the folds' rows and the checkpoint they stand at, written together; and the
//! queries that screens are made of. Losing it loses nothing: it is folded again from the log.
//!
//! Refuses rows made from another log, for they may be all that is left of it. Rows made by other folds, or
//! damaged, are made anew.
//!
//! | what | file |
//! | --- | --- |
//! | the adapters | [`sqlite`], [`postgres`]; opened [`opening`] |
//! | the SQL, once for both | [`queries`], [`rows`]; run by a [`reader`] |
//! | queries and their answers | [`reads`], [`answers`]; what somebody missed [`inbox`] |
//! | writing, by one node at a time | [`lease`]; what stands still [`parked`] |
//! | views that are made anew beside the present ones | [`generations`] |
//! | all rows at one moment, to compare them | [`snapshot`] |

mod answers;
mod generations;
mod inbox;
mod lease;
mod opening;
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

use crate::domain::event::Position;
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::projections;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::storage::StoreUrl;

pub use crate::storage::OpenError;
pub use answers::{ConversationView, DirectoryKey, ListKey, ListOrder, Members, MessageView, Page, Relation, Run, Slice, Take, Totals, UserView};
pub use inbox::{InboxItem, ItemChange, Missed};
pub use lease::{Lease, Rows, Touched};
pub use opening::Hold;
pub use parked::ParkedEntity;
use postgres::PostgresReadStore;
use reader::{Columns, Moment, Unreadable};
use sqlite::SqliteReadStore;

/// Why the read store cannot answer.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    #[error("the read store failed: {0}")]
    Failed(Arc<str>),
    /// It cannot be reached now; it may be later.
    #[error("the read store cannot be reached: {0}")]
    Unavailable(Arc<str>),
    /// Its disk is full. Nothing was written, and what is there can be read.
    #[error("the disk of the read store is full")]
    NoRoom,
    /// Another node leads the projections. Nothing was written.
    #[error("another node leads the projections of the read store")]
    Fenced,
}

impl From<Unreadable> for StoreError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Failed(unreadable.to_string().into())
    }
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
    version: u64,
    sql: String,
}

impl StoredCheckpoint {
    fn read(row: &dyn Columns) -> Result<Self, Unreadable> {
        Ok(Self { projection: row.text(0)?.to_owned(), log: row.uuid(1)?, version: row.number(4)?, sql: row.text(5)?.to_owned() })
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

/// Runs a query on whichever store it is, on one connection. What cannot be asked is asked once more, on another connection, for
/// one may turn out to be lost: nothing is changed by a query.
macro_rules! read {
    ($store:expr, $moment:expr, $reader:ident => $query:expr) => {{
        $store.calls.fetch_add(1, Ordering::Relaxed);
        match &$store.kept {
            Kept::Sqlite(store) => {
                let $reader = &mut store.reader($moment)?;
                $query.await
            }
            // In a box: otherwise the future of every caller would have room for it, also where the store is a file.
            Kept::Postgres(store) => {
                Box::pin(async {
                    let ask = || async {
                        let mut connection = store.reader($moment).await?;
                        let $reader = &mut connection;
                        let answer = $query.await;
                        connection.end().await;
                        answer
                    };
                    match ask().await {
                        Err(StoreError::Unavailable(_)) => ask().await,
                        answer => answer,
                    }
                })
                .await
            }
        }
    }};
}

impl ReadStore {
    /// Sees to it that no page holds bytes of what was erased, which nobody is shown any more. False where whoever folds has
    /// still to do it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn clean(&self) -> Result<bool, StoreError> {
        match &self.kept {
            Kept::Sqlite(store) => store.is_stained().map(|is_stained| !is_stained),
            Kept::Postgres(store) => Box::pin(store.clean()).await.map(|()| true),
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
            Kept::Sqlite(store) => Ok(Some(store.lead()?.into())),
            Kept::Postgres(store) => Ok(store.try_lead(node).await?.map(Lease::from)),
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
        read!(self, Moment::Same, reader => reads::list(reader, viewer, order, &slice))
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
    pub async fn directory(&self, viewer: &UserId, search: &str, slice: Slice<DirectoryKey>) -> Result<Page<(DirectoryKey, UserView)>, StoreError> {
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

    /// The ids of registered users after one, in order, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn user_ids(&self, after: &UserId, limit: u64) -> Result<Vec<UserId>, StoreError> {
        read!(self, Moment::Each, reader => reads::user_ids(reader, after, limit))
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

    /// How many entities stand still, since an event of theirs cannot be folded.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count_parked(&self) -> Result<u64, StoreError> {
        read!(self, Moment::Each, reader => reads::count_parked(reader))
    }

    /// What `viewer` is to be told of what happened since, at most `limit` items, all at one moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn missed(&self, viewer: &UserId, after: Position, limit: usize) -> Result<Missed, StoreError> {
        read!(self, Moment::Same, reader => inbox::missed(reader, viewer, after, limit))
    }
}
