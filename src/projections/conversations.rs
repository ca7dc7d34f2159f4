//! The conversation list (L): a row a user and contact, with the window and the badge of that user's
//! side. Also what decisions are made from, and what an open client is told.

use std::fmt;
use std::ops::RangeInclusive;

use super::{Projection, Shape};
use crate::domain::conversation::{ConversationEvent, Side};
use crate::domain::event::{Event, Position, RecordedEvent, Stream, Timestamp};
use crate::domain::ids::{ConversationId, UserId};

pub struct Conversations;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationRow {
    pub owner: UserId,
    pub contact: UserId,
    pub conversation: ConversationId,
    /// The version of the conversation's stream that the row has reached.
    pub version: u64,
    pub side: Side,
    /// When the last message was sent that the owner may see (L1). It stands still during a block (B2).
    pub last_at: Option<Timestamp>,
    /// When the last message was sent, withheld or not: `last_at` after an unblock (B3).
    pub latest_at: Option<Timestamp>,
    /// The last event that the owner could notice.
    pub changed: Position,
    /// The last of them that was no message: reading, blocking, unblocking, reopening.
    pub reshaped: Position,
    /// The last deletion by the owner.
    pub removed: Position,
    pub surfaced: Surfaced,
}

/// The messages that the owner's unblocks revealed, of which each was one change of the conversation (B3). In their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surfaced(Vec<RangeInclusive<u64>>);

/// How many unblocks are remembered. What an older one revealed is told message by message to a client that returns.
const SURFACED: usize = 64;

impl Surfaced {
    fn add(&mut self, numbers: RangeInclusive<u64>) {
        if self.0.len() >= SURFACED {
            self.0.remove(0);
        }
        self.0.push(numbers);
    }

    /// The messages up to a number that did not surface, as ranges, the newest first.
    pub fn others(&self, last: u64) -> impl Iterator<Item = RangeInclusive<u64>> {
        let ends = std::iter::once(last + 1).chain(self.0.iter().rev().map(|numbers| *numbers.start()));
        let starts = self.0.iter().rev().map(|numbers| *numbers.end()).chain(std::iter::once(0));
        starts.zip(ends).map(|(before, after)| before + 1..=after - 1).filter(|numbers| !numbers.is_empty())
    }
}

/// `4-9 12-12`, as the read stores have it.
impl fmt::Display for Surfaced {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(n, numbers)| {
            let space = if n == 0 { "" } else { " " };
            write!(formatter, "{space}{}-{}", numbers.start(), numbers.end())
        })
    }
}

impl Surfaced {
    /// What was stored; none where it is something else.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        let range = |range: &str| range.split_once('-').and_then(|(start, end)| Some(start.parse().ok()?..=end.parse().ok()?));
        text.split_whitespace().map(range).collect::<Option<_>>().map(Self)
    }
}

/// What an event of a conversation means to one of its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxChange {
    MessageAdded,
    ConversationChanged,
    ConversationRemoved,
    /// The owner blocked or unblocked somebody who has no row in their list.
    ContactChanged,
}

impl InboxChange {
    /// None where the owner must not, or need not, learn of it: what is withheld (S4), and what the
    /// contact does for themselves (B6). `side` is the owner's after the event.
    #[must_use]
    pub fn of(owner: &UserId, side: &Side, event: &ConversationEvent) -> Option<Self> {
        let own = event.actor_and_contact().0 == owner;
        match event {
            ConversationEvent::MessageSent(_) => (own || !side.is_blocking()).then_some(Self::MessageAdded),
            _ if !own => None,
            ConversationEvent::MessagesRead { .. } | ConversationEvent::ConversationReopened { .. } => Some(Self::ConversationChanged),
            ConversationEvent::ConversationDeleted { .. } => Some(Self::ConversationRemoved),
            ConversationEvent::UserBlocked { .. } | ConversationEvent::UserUnblocked { .. } => {
                Some(if side.is_listed() { Self::ConversationChanged } else { Self::ContactChanged })
            }
        }
    }
}

impl Projection for Conversations {
    type Key = (UserId, UserId);
    type Row = ConversationRow;

    const SHAPE: Shape = Shape { name: "conversations", version: 2, key: &["owner", "contact"], sql: include_str!("../../projections/conversations.sql") };

    /// Both rows, whoever acted: each knows the version of the stream.
    fn touched(recorded: &RecordedEvent) -> Vec<Self::Key> {
        let Event::Conversation(event) = &recorded.event else { return vec![] };
        let (actor, contact) = event.actor_and_contact();
        vec![(actor.clone(), contact.clone()), (contact.clone(), actor.clone())]
    }

    /// A message has the number after all that there are, and its sender's own likewise.
    fn is_next(row: Option<&ConversationRow>, recorded: &RecordedEvent) -> bool {
        let (version, side, owner) = row.map_or((0, Side::default(), None), |row| (row.version, row.side, Some(&row.owner)));
        let is_numbered = match &recorded.event {
            Event::Conversation(ConversationEvent::MessageSent(message)) => {
                let before = if owner == Some(&message.sender) { side.sent } else { side.received };
                (message.number, message.sender_number) == (side.sent + side.received + 1, before + 1)
            }
            _ => true,
        };
        recorded.version == version + 1 && is_numbered
    }

    fn evolve((owner, contact): &Self::Key, row: Option<ConversationRow>, recorded: &RecordedEvent) -> Option<ConversationRow> {
        let (Event::Conversation(event), Stream::Conversation(conversation)) = (&recorded.event, &recorded.stream) else {
            return row;
        };
        let mut row = row.unwrap_or_else(|| ConversationRow::new(owner, contact, *conversation));
        if matches!(event, ConversationEvent::UserUnblocked { blocker, .. } if blocker == owner) && row.side.withheld() > 0 {
            let last = row.side.last_visible();
            row.surfaced.add(last + 1..=last + row.side.withheld());
        }
        row.side.evolve(owner, event);
        row.version = recorded.version;
        if matches!(event, ConversationEvent::MessageSent(_)) {
            row.latest_at = Some(recorded.at);
        }
        if !row.side.is_blocking() {
            row.last_at = row.latest_at;
        }
        match InboxChange::of(owner, &row.side, event) {
            None => return Some(row),
            Some(InboxChange::MessageAdded) => {}
            Some(InboxChange::ConversationChanged | InboxChange::ContactChanged) => row.reshaped = recorded.position,
            Some(InboxChange::ConversationRemoved) => row.removed = recorded.position,
        }
        row.changed = recorded.position;
        Some(row)
    }
}

impl ConversationRow {
    fn new(owner: &UserId, contact: &UserId, conversation: ConversationId) -> Self {
        Self {
            owner: owner.clone(),
            contact: contact.clone(),
            conversation,
            version: 0,
            side: Side::default(),
            last_at: None,
            latest_at: None,
            changed: Position(0),
            reshaped: Position(0),
            removed: Position(0),
            surfaced: Surfaced::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surfaced_is_stored_and_what_did_not_is_between() {
        let mut surfaced = Surfaced::default();
        assert_eq!((surfaced.others(7).collect::<Vec<_>>(), surfaced.others(0).count()), (vec![1..=7], 0));
        for numbers in [1..=2, 3..=3, 6..=9] {
            surfaced.add(numbers);
        }
        assert_eq!(surfaced.to_string(), "1-2 3-3 6-9");
        assert_eq!(Surfaced::from_stored("1-2 3-3 6-9"), Some(surfaced.clone()));
        assert_eq!((Surfaced::from_stored(""), Surfaced::from_stored("1")), (Some(Surfaced::default()), None));
        assert_eq!(surfaced.others(12).collect::<Vec<_>>(), [10..=12, 4..=5]);
        assert_eq!(surfaced.others(9).collect::<Vec<_>>(), [4..=5]);
        (0..100).for_each(|n| surfaced.add(100 + 2 * n..=100 + 2 * n));
        assert_eq!(surfaced.0.len(), SURFACED);
    }
}
