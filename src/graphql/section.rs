//! The chat section: how a front end has to look.

use async_graphql::{Enum, ID, Object, SimpleObject};

use crate::domain::section;

/// The shape of the other user's photo in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PhotoShape {
    Square,
    Round,
    None,
}

/// The shape of a message's bubble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum BubbleShape {
    Square,
}

/// How the conversation list looks.
#[derive(SimpleObject)]
pub(super) struct ListTemplate {
    /// 1, 2 or 3.
    number: i32,
    shows_avatar: bool,
    shows_unread_badge: bool,
}

/// How a conversation looks.
#[derive(SimpleObject)]
pub(super) struct DetailTemplate {
    /// 1, 2 or 3.
    number: i32,
    photo: PhotoShape,
    bubble: BubbleShape,
}

/// The section's global id: no user id has a `/`.
pub(super) const CHAT_SECTION_ID: &str = "chat-section/1";

/// The chat section as the back office designed it.
#[derive(Clone)]
pub(super) struct ChatSection {
    section: section::ChatSection,
}

impl From<section::ChatSection> for ChatSection {
    fn from(section: section::ChatSection) -> Self {
        Self { section }
    }
}

/// The chat section as the back office designed it. There is one.
#[Object]
impl ChatSection {
    pub(super) async fn id(&self) -> ID {
        CHAT_SECTION_ID.into()
    }

    /// The header's title.
    async fn title(&self) -> &str {
        self.section.title.as_str()
    }

    async fn list_template(&self) -> ListTemplate {
        let template = self.section.list_template;
        ListTemplate { number: template.number().into(), shows_avatar: template.shows_avatar(), shows_unread_badge: template.shows_unread_badge() }
    }

    async fn detail_template(&self) -> DetailTemplate {
        let template = self.section.detail_template;
        let photo = match template {
            section::DetailTemplate::One => PhotoShape::Square,
            section::DetailTemplate::Two => PhotoShape::Round,
            section::DetailTemplate::Three => PhotoShape::None,
        };
        DetailTemplate { number: template.number().into(), photo, bubble: BubbleShape::Square }
    }
}
