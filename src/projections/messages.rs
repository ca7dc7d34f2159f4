//! The histories (S6): a row a message, written once, whoever may see it. Who may is the window of
//! their side of the conversation, never a flag here.

use super::{Projection, Shape};
use crate::domain::conversation::{ConversationEvent, Place};
use crate::domain::event::{Event, Position, RecordedEvent, Stream, Timestamp};
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::domain::text::MessageText;

pub struct Messages;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    pub conversation: ConversationId,
    /// Its place in the conversation, from 1.
    pub number: u64,
    /// Its place among its sender's own in the conversation, from 1.
    pub sender_number: u64,
    pub id: MessageId,
    pub sender: UserId,
    pub text: MessageText,
    pub sent_at: Timestamp,
    pub position: Position,
}

impl MessageRow {
    /// Where it stands for one of the two users.
    #[must_use]
    pub fn place_for(&self, viewer: &UserId) -> Place {
        let received = if self.sender == *viewer { self.number - self.sender_number } else { self.sender_number };
        Place { number: self.number, received }
    }
}

impl Projection for Messages {
    type Key = (ConversationId, u64);
    type Row = MessageRow;

    const SHAPE: Shape = Shape { name: "messages", version: 1, key: &["conversation", "number"], sql: include_str!("../../projections/messages.sql") };

    fn touched(recorded: &RecordedEvent) -> Vec<Self::Key> {
        match (&recorded.event, &recorded.stream) {
            (Event::Conversation(ConversationEvent::MessageSent(message)), Stream::Conversation(id)) => vec![(*id, message.number)],
            _ => vec![],
        }
    }

    fn is_next(row: Option<&MessageRow>, _: &RecordedEvent) -> bool {
        row.is_none()
    }

    fn evolve(&(conversation, number): &Self::Key, row: Option<MessageRow>, recorded: &RecordedEvent) -> Option<MessageRow> {
        let Event::Conversation(ConversationEvent::MessageSent(message)) = &recorded.event else { return row };
        Some(MessageRow {
            conversation,
            number,
            sender_number: message.sender_number,
            id: message.id,
            sender: message.sender.clone(),
            text: message.text.clone(),
            sent_at: recorded.at,
            position: recorded.position,
        })
    }
}
