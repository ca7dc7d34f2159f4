//! Queries: what a viewer may see, and nothing else. Every answer is made for a [`Viewer`].

use super::access::Viewer;
use super::{App, AppError};
use crate::domain::collation::searchable;
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::domain::profile::Name;
use crate::domain::section::ChatSection;
use crate::projections::messages::MessageRow;
use crate::read_store::{DirectoryKey, ListKey, ListOrder, MessageView, Page, Run, Slice, Totals, UserView};

/// No name is longer once it is made searchable, so nobody is found by more; nor by a control character.
const LONGEST_SEARCH_BYTES: usize = 64 * Name::MAX_CHARACTERS;

impl App {
    /// A user as the viewer sees them; none where nobody has that id.
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn user(&self, viewer: &Viewer, id: &UserId) -> Result<Option<UserView>, AppError> {
        Ok(self.views().await?.view(viewer.id(), id).await?)
    }

    /// A part of the directory (U4). `search` is a part of a name, without regard to case or accents.
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn users(&self, viewer: &Viewer, search: Option<&str>, slice: Slice<DirectoryKey>) -> Result<Page<(DirectoryKey, UserView)>, AppError> {
        let search = search.unwrap_or_default().trim();
        // Looked at before anything is made of it.
        let part = if search.len() > LONGEST_SEARCH_BYTES { return Ok(Page::empty()) } else { searchable(search) };
        if part.len() > LONGEST_SEARCH_BYTES || part.chars().any(char::is_control) {
            return Ok(Page::empty());
        }
        Ok(self.views().await?.directory(viewer.id(), &part, slice).await?)
    }

    /// A part of the viewer's conversation list (L2).
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn conversations(&self, viewer: &Viewer, order: ListOrder, slice: Slice<ListKey>) -> Result<Page<UserView>, AppError> {
        Ok(self.views().await?.list(viewer.id(), order, slice).await?)
    }

    /// The totals of the viewer's list.
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn totals(&self, viewer: &Viewer) -> Result<Totals, AppError> {
        Ok(self.views().await?.totals(viewer.id()).await?)
    }

    /// Runs of messages of conversations that the viewer was shown; the asker keeps each within the
    /// window of its row.
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn messages(&self, runs: Vec<Run>) -> Result<Vec<Vec<MessageRow>>, AppError> {
        Ok(self.views().await?.messages(runs).await?)
    }

    /// A message by its id; none where the viewer may not see it.
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn message(&self, viewer: &Viewer, id: MessageId) -> Result<Option<MessageView>, AppError> {
        Ok(self.views().await?.visible_message(viewer.id(), id).await?)
    }

    /// The contact of a conversation by its id; none where it is not in the viewer's list.
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn contact_of(&self, viewer: &Viewer, conversation: ConversationId) -> Result<Option<UserId>, AppError> {
        Ok(self.views().await?.contact_of(viewer.id(), conversation).await?)
    }

    /// The section as it is designed now (C1).
    ///
    /// # Errors
    /// When the service cannot answer.
    pub async fn chat_section(&self) -> Result<ChatSection, AppError> {
        Ok(self.views().await?.section().await?.unwrap_or_default().section)
    }
}
