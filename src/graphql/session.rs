//! One request of one viewer: what its resolvers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::{Context, Lookahead, Result};
use tokio::sync::OnceCell;

use super::errors::TopLevel;
use super::loader::MessageLoader;
use super::messages::Language;
use crate::app::App;
use crate::app::access::Viewer;
use crate::domain::ids::UserId;
use crate::read_store::UserView;

/// Made anew for every request, and for every item of a subscription.
pub struct Session {
    pub(super) app: App,
    pub(super) viewer: Viewer,
    pub(super) language: Language,
    /// Where the default image is (U3).
    default_avatar: Arc<str>,
    pub(super) messages: MessageLoader,
    me: OnceCell<Arc<UserView>>,
    /// Bytes of text that the answer may still hold.
    budget: Arc<AtomicUsize>,
}

/// The most text of one answer, in bytes. Many aliases of long texts must not make an answer without end.
const ANSWER_BYTES: usize = 8 << 20;

impl Session {
    #[must_use]
    pub fn new(app: App, viewer: Viewer, language: Language, default_avatar: Arc<str>) -> Arc<Self> {
        Self::within(Arc::new(AtomicUsize::new(ANSWER_BYTES)), app, viewer, language, default_avatar)
    }

    fn within(budget: Arc<AtomicUsize>, app: App, viewer: Viewer, language: Language, default_avatar: Arc<str>) -> Arc<Self> {
        Arc::new(Self { messages: MessageLoader::new(app.clone()), app, viewer, language, default_avatar, me: OnceCell::new(), budget })
    }

    /// The same for another answer: an item of a subscription.
    pub(super) fn for_next_answer(&self) -> Arc<Self> {
        Self::new(self.app.clone(), self.viewer.clone(), self.language, Arc::clone(&self.default_avatar))
    }

    /// The same after something changed, or for the next of a batch: nothing remembered, and the same budget.
    #[must_use]
    pub fn with_nothing_remembered(&self) -> Arc<Self> {
        Self::within(Arc::clone(&self.budget), self.app.clone(), self.viewer.clone(), self.language, Arc::clone(&self.default_avatar))
    }

    /// A text on its way into the answer.
    ///
    /// # Errors
    /// `QUERY_TOO_COMPLEX` when the answer holds enough.
    pub(super) fn answer<'a>(&self, text: &'a str) -> Result<&'a str> {
        let left = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(text.len()));
        left.map(|_| text).map_err(|_| super::errors::too_long_an_answer())
    }

    /// How much the answer may still hold.
    pub(super) fn budget(&self) -> usize {
        self.budget.load(Ordering::Relaxed)
    }

    /// What was written meanwhile is not answered.
    pub(super) fn restore_budget(&self, left: usize) {
        self.budget.store(left, Ordering::Relaxed);
    }

    pub(super) fn of<'a>(context: &'a Context<'_>) -> &'a Arc<Self> {
        context.data_unchecked()
    }

    #[must_use]
    pub fn viewer_id(&self) -> &UserId {
        self.viewer.id()
    }

    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    pub(super) fn default_avatar(&self) -> &str {
        &self.default_avatar
    }

    /// The viewer's own view, read once.
    pub(super) async fn me(&self) -> Result<Arc<UserView>> {
        let load = async {
            let view = self.app.user(&self.viewer, self.viewer.id()).await.top_level(self)?;
            Ok::<_, async_graphql::Error>(Arc::new(view.ok_or_else(|| super::errors::internal("a signed-in user has no profile", self))?))
        };
        self.me.get_or_try_init(|| load).await.cloned()
    }

    /// The same where it was read already.
    pub(super) fn known_me(&self) -> Option<Arc<UserView>> {
        self.me.get().cloned()
    }

    /// Reads it ahead where it is asked who sent a message.
    pub(super) async fn learn_me_for(&self, of_a_message: Lookahead<'_>) -> Result<()> {
        if of_a_message.field("sender").exists() {
            self.me().await?;
        }
        Ok(())
    }
}
