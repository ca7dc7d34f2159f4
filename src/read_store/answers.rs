//! What queries ask for and answer: rows as a viewer sees them, and parts of lists.

use crate::domain::conversation::Side;
use crate::domain::event::{Position, Timestamp};
use crate::domain::ids::{ConversationId, UserId};
use crate::domain::user::User;
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;
use crate::projections::users::UserRow;

/// A user as a viewer sees them, with what the viewer has of their conversation.
#[derive(Clone, Debug)]
pub struct UserView {
    pub id: UserId,
    pub user: User,
    /// Listed or not.
    pub conversation: Option<ConversationView>,
    /// The last message that the viewer may see; none where the conversation is not listed.
    pub last_message: Option<MessageRow>,
    /// Whether the list template shows a badge (C2).
    pub shows_badge: bool,
    /// Up to where nothing that the user wrote is left; 0 where they were never erased.
    pub erased_at: Position,
}

/// A conversation as one of its two users has it.
#[derive(Clone, Copy, Debug)]
pub struct ConversationView {
    pub id: ConversationId,
    pub side: Side,
    /// The last message that the user may see.
    pub last_at: Option<Timestamp>,
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
    pub(super) fn of<K>(mut rows: Vec<T>, slice: &Slice<K>) -> Self {
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
