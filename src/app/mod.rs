//! The use cases: what a signed-in user, an administrator or an auditor can do. Everything here goes
//! through the two ports; nothing knows of GraphQL or HTTP.
//!
//! | what | file |
//! | --- | --- |
//! | who may do what | [`access`] |
//! | commands: load, decide, append, retry a conflict | on conversations [`submit`], [`standing`], [`user_ids`]; on users and the section [`community`] |
//! | how much one user may have at once, and how often | [`quota`], [`rate`] |
//! | a person is erased | [`erasing`] |
//! | queries | [`ask`], on views that are new enough [`latest`]; of the log itself [`events`] |
//! | the log folded into the read store | [`projector`], [`following`], [`progress`], [`folder`], [`folding`]; a long stretch of it [`catching_up`], [`bulk`]; what cannot be folded [`parking`], [`healing`] |
//! | what open clients are told, and resume | [`feed`], by a [`cursor`] |

pub mod access;
pub mod ask;
mod bulk;
pub mod catching_up;
pub mod community;
mod cursor;
pub mod erasing;
pub mod events;
pub mod feed;
mod folder;
pub mod folding;
pub mod following;
mod healing;
mod latest;
pub mod parking;
pub mod progress;
pub mod projector;
pub(crate) mod quota;
pub(crate) mod rate;
mod standing;
pub mod submit;
mod user_ids;

use std::collections::HashSet;
use std::sync::{Arc, RwLock};

use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use tracing::{Instrument as _, debug_span};
use uuid::Uuid;

use crate::domain::Refusal;
use crate::domain::event::{Position, Timestamp};
use crate::domain::ids::{ConversationId, UserId};
use crate::event_log::{AppendError, Clock, EventLog, LogError};
use crate::metrics::METRICS;
use crate::read_store::{ReadStore, StoreError};
use cursor::CursorKey;
use feed::Hub;
use latest::Latest;
use progress::Progress;
use quota::Quota;
use rate::Rate;
use standing::Standing;
use user_ids::UserIds;

/// Locks that keep commands on one conversation in turn; two conversations rarely share one.
const STRIPES: usize = 1_024;
/// Commands under way at once, whoever still waits for their answers.
const COMMANDS: usize = 4_096;
/// How many of those may be of one user.
const COMMANDS_OF_USER: usize = 1_024;
/// Conversations whose decision state is kept in memory, about 200 bytes each.
const STANDINGS: usize = 65_536;

/// What comes from outside and no rule may make up.
#[derive(Clone)]
pub struct Sources {
    pub clock: Clock,
    /// Ids that grow with time (UUID v7), so that they are cheap to store.
    pub uuid: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

/// What an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many users may be registered (U5).
    pub user_limit: u64,
    /// Sends a second and user, with a burst of five times that; 0: unlimited.
    pub send_rate: u32,
    /// How many items a client may have missed and still be caught up with.
    pub resume_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { user_limit: 5_000, send_rate: 20, resume_limit: 1_000 }
    }
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

pub(crate) struct Inner {
    log: EventLog,
    store: ReadStore,
    sources: Sources,
    settings: Settings,
    progress: Progress,
    latest: Latest,
    hub: Arc<Hub>,
    cursors: CursorKey,
    send_rate: Rate<UserId>,
    /// Users known to be registered; nobody ever ceases to be.
    known: RwLock<HashSet<UserId>>,
    user_ids: UserIds,
    commands: Arc<Semaphore>,
    commands_of_user: Arc<Quota>,
    registering: Mutex<()>,
    erasing: Mutex<()>,
    stripes: Vec<Mutex<()>>,
    standings: quick_cache::sync::Cache<ConversationId, Standing>,
}

/// Why a use case did not do what was asked.
#[derive(Debug, Error)]
pub enum AppError {
    /// A rule of the product says no: an answer for the person.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The user sends faster than allowed.
    #[error("too many messages: try again in {retry_after_seconds} s")]
    RateLimited { retry_after_seconds: u64 },
    /// The service cannot do it now. The reason is for its operator.
    #[error("the service is not available")]
    Unavailable(#[source] Fault),
}

/// What is broken, for the operator's eyes.
#[derive(Clone, Debug, Error)]
pub enum Fault {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the views no longer follow the log")]
    Stalled,
    #[error("as many commands wait for the log as may")]
    Full,
    #[error("former views, which hold what was erased, could not be removed: {0}")]
    FormerViews(Arc<str>),
    #[error("a stream was always ahead of the decision")]
    Contended,
    #[error("the views of this user stand still: see `entrenous projections status`")]
    StandsStill,
    #[error("the log holds an event that its command did not make")]
    Unexpected,
}

impl From<Fault> for AppError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault)
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Fault::from(error).into()
    }
}

impl From<LogError> for AppError {
    fn from(error: LogError) -> Self {
        Fault::from(error).into()
    }
}

/// How an append that may not be repeated as it stands failed.
fn final_append_error(error: AppendError) -> Fault {
    match error {
        AppendError::Log(error) => error.into(),
        AppendError::Conflict { .. } => Fault::Contended,
        AppendError::IdTaken(_) => Fault::Unexpected,
    }
}

impl App {
    /// Puts the service together around its two stores. The projector is started apart, see [`projector::run`].
    #[must_use]
    pub fn new(log: EventLog, store: ReadStore, progress: Progress, sources: Sources, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            cursors: CursorKey::of(log.id()),
            log,
            store,
            sources,
            settings,
            progress,
            latest: Latest::default(),
            hub: Arc::default(),
            send_rate: Rate::new(settings.send_rate),
            known: RwLock::default(),
            user_ids: UserIds::default(),
            commands: Arc::new(Semaphore::new(COMMANDS)),
            commands_of_user: Quota::new(COMMANDS_OF_USER),
            registering: Mutex::default(),
            erasing: Mutex::default(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            standings: quick_cache::sync::Cache::new(STANDINGS),
        }))
    }

    /// The read store, for what measures it.
    #[must_use]
    pub fn store(&self) -> &ReadStore {
        &self.0.store
    }

    /// How far the views follow the log.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.0.progress.applied()
    }

    /// Waits until the views show everything that is in the log now, whoever appended it. Returns up to where that is.
    ///
    /// # Errors
    /// When they no longer follow it, or the log cannot say.
    pub async fn views_reach_head(&self) -> Result<Position, Fault> {
        let latest = if self.0.log.is_shared() { self.0.latest.position(&self.0.log).await? } else { self.0.log.head() };
        self.0.progress.reached(latest).await?;
        Ok(latest)
    }

    /// Waits until the views show whatever a client can know of: all that they ever showed, and where the
    /// views are this node's own but the log is not, all that is in the log. So what a mutation answered on
    /// one node is in every query on another, and no client has to carry a position about
    /// (`docs/decisions/0018-several-nodes.md`). For the beginning of every operation.
    ///
    /// # Errors
    /// When the service cannot know.
    pub async fn views_are_current(&self) -> Result<(), AppError> {
        let has_own_views = self.0.log.is_shared() && !self.0.store.is_shared();
        let current = if has_own_views { self.views_reach_head().await.map(|_| ()) } else { self.0.progress.as_shown_before().await };
        current.map_err(AppError::from)
    }

    /// The views, once they show all that a client of this process was answered for.
    async fn views(&self) -> Result<&ReadStore, AppError> {
        self.0.progress.up_to_date().instrument(debug_span!("project")).await?;
        Ok(&self.0.store)
    }

    /// Whether the log can be read.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn log_answers(&self) -> Result<(), Fault> {
        self.0.log.at(self.0.log.latest().await?).await?;
        Ok(())
    }

    /// Brings the measures up to date that are looked at, not counted.
    ///
    /// # Errors
    /// When the views do not say how much of them is parked.
    pub async fn measure(&self) -> Result<(), Fault> {
        let (head, applied) = (self.0.log.head().0, self.applied().0);
        METRICS.log_position.set(head.cast_signed());
        METRICS.views_position.set(applied.cast_signed());
        METRICS.views_lag.set(head.saturating_sub(applied).cast_signed());
        METRICS.projection_parked.set(self.0.store.count_parked().await?.cast_signed());
        Ok(())
    }

    #[must_use]
    pub fn log(&self) -> &EventLog {
        &self.0.log
    }

    /// A new id that grows with time.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        (self.0.sources.uuid)()
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0.sources.clock)()
    }
}
