//! Everything between two users: messages (S), the list (L), blocks (B), deletion and reopening (D).
//!
//! Visibility is a window, not a flag. Each side counts the contact's messages; a block remembers how
//! many there were, and what comes after is withheld. Who blocks cannot send, so a side always sees an
//! unbroken run of messages from the first: block, unblock and surfacing never rewrite anything.

use super::Refusal;
use super::ids::{MessageId, UserId};
use super::text::MessageText;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationEvent {
    MessageSent(MessageSent),
    /// `received`: how many of the contact's messages are read now, from the first.
    MessagesRead {
        reader: UserId,
        contact: UserId,
        received: u64,
    },
    ConversationDeleted {
        owner: UserId,
        contact: UserId,
    },
    ConversationReopened {
        owner: UserId,
        contact: UserId,
    },
    UserBlocked {
        blocker: UserId,
        blocked: UserId,
    },
    UserUnblocked {
        blocker: UserId,
        blocked: UserId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSent {
    pub id: MessageId,
    pub sender: UserId,
    pub recipient: UserId,
    pub text: MessageText,
    /// Its place in the conversation, from 1.
    pub number: u64,
    /// Its place among its sender's own in the conversation, from 1.
    pub sender_number: u64,
}

impl ConversationEvent {
    /// Who acted, and the other.
    #[must_use]
    pub fn actor_and_contact(&self) -> (&UserId, &UserId) {
        match self {
            Self::MessageSent(MessageSent { sender, recipient, .. }) => (sender, recipient),
            Self::MessagesRead { reader, contact, .. } => (reader, contact),
            Self::ConversationDeleted { owner, contact } | Self::ConversationReopened { owner, contact } => (owner, contact),
            Self::UserBlocked { blocker, blocked } | Self::UserUnblocked { blocker, blocked } => (blocker, blocked),
        }
    }
}

/// Whether the conversation stands in its owner's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    #[default]
    Absent,
    Listed,
    Deleted,
    /// No row to unblock from, until it is reopened (D4).
    DeletedWhileBlocked,
}

/// A conversation as one of its two users has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// The owner's own messages.
    pub sent: u64,
    /// The contact's messages, the withheld ones too.
    pub received: u64,
    /// How many of the contact's messages the owner has read, from the first.
    pub read: u64,
    /// While the owner blocks the contact: what `received` was when the block began.
    pub blocked_at: Option<u64>,
    pub listing: Listing,
}

impl Side {
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listing == Listing::Listed
    }

    /// Whether the owner blocks the contact.
    #[must_use]
    pub fn is_blocking(&self) -> bool {
        self.blocked_at.is_some()
    }

    /// The contact's messages that the owner may see.
    #[must_use]
    pub fn visible_received(&self) -> u64 {
        self.blocked_at.unwrap_or(self.received)
    }

    /// The number of the last message that the owner may see; all before it are visible too.
    #[must_use]
    pub fn last_visible(&self) -> u64 {
        self.sent + self.visible_received()
    }

    /// The contact's messages that the owner may not see until they unblock (B1).
    #[must_use]
    pub fn withheld(&self) -> u64 {
        self.received - self.visible_received()
    }

    /// The badge (L3).
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.visible_received().saturating_sub(self.read)
    }

    /// U7: whether the owner may write to the contact. The contact's own block plays no part.
    #[must_use]
    pub fn can_message(&self, contact_is_contactable: bool) -> bool {
        !self.is_blocking() && (contact_is_contactable || self.is_listed())
    }

    /// What an event of the conversation changes for `owner`. What the contact does for themselves
    /// (reading, deleting, blocking) changes nothing here (B6).
    pub fn evolve(&mut self, owner: &UserId, event: &ConversationEvent) {
        let own = event.actor_and_contact().0 == owner;
        match event {
            ConversationEvent::MessageSent(_) if own => {
                self.sent += 1;
                self.listing = Listing::Listed;
            }
            ConversationEvent::MessageSent(_) => {
                self.received += 1;
                if !self.is_blocking() {
                    self.listing = Listing::Listed;
                }
            }
            ConversationEvent::MessagesRead { received, .. } if own => self.read = *received,
            ConversationEvent::ConversationDeleted { .. } if own => {
                self.read = self.visible_received();
                self.listing = if self.is_blocking() { Listing::DeletedWhileBlocked } else { Listing::Deleted };
            }
            ConversationEvent::ConversationReopened { .. } if own => self.listing = Listing::Listed,
            ConversationEvent::UserBlocked { .. } if own => self.blocked_at = Some(self.received),
            ConversationEvent::UserUnblocked { .. } if own => {
                if self.withheld() > 0 {
                    self.listing = Listing::Listed;
                }
                self.blocked_at = None;
            }
            ConversationEvent::MessagesRead { .. }
            | ConversationEvent::ConversationDeleted { .. }
            | ConversationEvent::ConversationReopened { .. }
            | ConversationEvent::UserBlocked { .. }
            | ConversationEvent::UserUnblocked { .. } => {}
        }
    }
}

/// What a user asks of their conversation with a contact.
#[derive(Clone, Debug)]
pub enum ConversationCommand {
    /// `contactable`: the recipient's switch (U6).
    Send {
        id: MessageId,
        text: MessageText,
        contactable: bool,
    },
    Open {
        contactable: bool,
    },
    MarkAsRead {
        up_to: UpTo,
    },
    Delete,
    Block,
    Unblock,
}

/// How far `MarkAsRead` goes.
#[derive(Clone, Copy, Debug)]
pub enum UpTo {
    LatestVisible,
    Message(Place),
    /// A message id that means nothing in this conversation.
    Nothing,
}

/// Where a message stands in its conversation, for one of its users.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its number in the conversation.
    pub number: u64,
    /// How many of the contact's messages there were up to it.
    pub received: u64,
}

/// Decides for `owner`, whose side of the conversation with `contact` is given.
///
/// # Errors
/// The first refusal in the order of S8; text, `SELF` and `USER_NOT_FOUND` come before.
pub fn decide(side: &Side, owner: &UserId, contact: &UserId, command: ConversationCommand) -> Result<Vec<ConversationEvent>, Refusal> {
    let (me, them) = (|| owner.clone(), || contact.clone());
    Ok(match command {
        ConversationCommand::Send { id, text, contactable } => {
            may_message(side, contactable)?;
            vec![ConversationEvent::MessageSent(MessageSent {
                id,
                sender: me(),
                recipient: them(),
                text,
                number: side.sent + side.received + 1,
                sender_number: side.sent + 1,
            })]
        }
        ConversationCommand::Open { contactable } => match side.listing {
            Listing::Listed => vec![],
            Listing::DeletedWhileBlocked if side.is_blocking() => {
                vec![ConversationEvent::ConversationReopened { owner: me(), contact: them() }]
            }
            Listing::Absent | Listing::Deleted | Listing::DeletedWhileBlocked => {
                may_message(side, contactable)?;
                match side.last_visible() {
                    0 => vec![],
                    _ => vec![ConversationEvent::ConversationReopened { owner: me(), contact: them() }],
                }
            }
        },
        ConversationCommand::MarkAsRead { up_to } => {
            must_be_listed(side)?;
            let received = match up_to {
                UpTo::LatestVisible => side.visible_received(),
                UpTo::Message(place) if place.number <= side.last_visible() => place.received,
                UpTo::Message(_) | UpTo::Nothing => return Err(Refusal::MessageNotFound),
            };
            if received > side.read { vec![ConversationEvent::MessagesRead { reader: me(), contact: them(), received }] } else { vec![] }
        }
        ConversationCommand::Delete => {
            must_be_listed(side)?;
            vec![ConversationEvent::ConversationDeleted { owner: me(), contact: them() }]
        }
        ConversationCommand::Block if side.is_blocking() => vec![],
        ConversationCommand::Block => vec![ConversationEvent::UserBlocked { blocker: me(), blocked: them() }],
        ConversationCommand::Unblock if !side.is_blocking() => vec![],
        ConversationCommand::Unblock if side.listing == Listing::DeletedWhileBlocked => {
            return Err(Refusal::ConversationDeleted);
        }
        ConversationCommand::Unblock => vec![ConversationEvent::UserUnblocked { blocker: me(), blocked: them() }],
    })
}

fn may_message(side: &Side, contactable: bool) -> Result<(), Refusal> {
    if side.is_blocking() {
        Err(Refusal::ContactBlocked)
    } else if side.can_message(contactable) {
        Ok(())
    } else {
        Err(Refusal::NotContactable)
    }
}

fn must_be_listed(side: &Side) -> Result<(), Refusal> {
    if side.is_listed() { Ok(()) } else { Err(Refusal::ConversationNotFound) }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
