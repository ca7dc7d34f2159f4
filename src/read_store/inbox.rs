//! What a viewer's open clients are told, and what one missed that comes back after a while.

use super::reader::{Reader, Value};
use super::{StoreError, queries, reads, rows};
use crate::domain::event::Position;
use crate::domain::ids::UserId;
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;

/// One thing that a viewer is told; at most one an event.
#[derive(Clone, Debug, PartialEq)]
pub struct InboxItem {
    pub position: Position,
    pub change: ItemChange,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ItemChange {
    MessageAdded {
        contact: UserId,
        message: Box<MessageRow>,
    },
    ConversationChanged {
        contact: UserId,
    },
    ConversationRemoved {
        contact: UserId,
    },
    /// A contact's profile, the viewer's own, or whom the viewer blocks without a row in the list.
    ContactChanged {
        user: UserId,
    },
    SectionChanged,
}

/// What happened since a position.
#[derive(Clone, Debug)]
pub enum Missed {
    /// All of it in order, up to where the store stands.
    Items { items: Vec<InboxItem>, up_to: Position },
    /// More than may be caught up with.
    TooMuch { up_to: Position },
}

/// The first look at a conversation's newest messages; most who come back missed few.
const FIRST_LOOK: usize = 32;

/// Reads what `viewer` missed since `after`, at most `limit` items, all at one moment.
pub(super) async fn missed(reader: &mut impl Reader, viewer: &UserId, after: Position, limit: usize) -> Result<Missed, StoreError> {
    let checkpoint = reads::checkpoint(reader).await?;
    let up_to = checkpoint.position;
    let mut items = Vec::new();
    let rows = reader.query(queries::CHANGED_SINCE, &[Value::Text(viewer.as_str()), Value::number(after.0)], rows::changed_conversation).await?;
    for (row, contact_changed) in &rows {
        if row.changed > after {
            items.extend(shape_items(row, after));
            if row.side.is_listed() && !newer_messages(reader, row, after, limit, &mut items).await? {
                return Ok(Missed::TooMuch { up_to });
            }
        }
        if *contact_changed > after && row.side.is_listed() {
            items.push(contact_item(*contact_changed, &row.contact));
        }
        if items.len() > limit {
            return Ok(Missed::TooMuch { up_to });
        }
    }
    let own_changed = reader.query_first(queries::USER_CHANGED, &[Value::Text(viewer.as_str())], rows::only_position).await?;
    items.extend(own_changed.filter(|changed| *changed > after).map(|changed| contact_item(changed, viewer)));
    let section = reads::section(reader).await?;
    items.extend(section.filter(|section| section.changed > after).map(|section| InboxItem { position: section.changed, change: ItemChange::SectionChanged }));
    items.sort_by_key(|item| item.position);
    Ok(Missed::Items { items, up_to })
}

fn contact_item(position: Position, user: &UserId) -> InboxItem {
    InboxItem { position, change: ItemChange::ContactChanged { user: user.clone() } }
}

/// What became of the row itself: gone, also where it came back since, or other than by messages alone. Who
/// was not told that it went could keep a history that lacks what was not told while it was away.
fn shape_items(row: &ConversationRow, after: Position) -> impl Iterator<Item = InboxItem> {
    let contact = || row.contact.clone();
    let removed = (row.removed > after).then(|| InboxItem { position: row.removed, change: ItemChange::ConversationRemoved { contact: contact() } });
    let reshaped = if row.reshaped <= after {
        None
    } else if row.side.is_listed() {
        Some(InboxItem { position: row.reshaped, change: ItemChange::ConversationChanged { contact: contact() } })
    } else if row.reshaped > row.removed {
        Some(contact_item(row.reshaped, &row.contact))
    } else {
        None
    };
    removed.into_iter().chain(reshaped)
}

/// Adds the visible messages after a position; false when there are more than `limit`.
async fn newer_messages(
    reader: &mut impl Reader,
    row: &ConversationRow,
    after: Position,
    limit: usize,
    items: &mut Vec<InboxItem>,
) -> Result<bool, StoreError> {
    let mut look = FIRST_LOOK;
    loop {
        let parameters = [Value::Uuid(row.conversation.0), Value::number(row.side.last_visible()), Value::number(look as u64)];
        let newest = reader.query(queries::NEWEST_MESSAGES, &parameters, rows::message).await?;
        let seen = newest.len();
        let newer: Vec<MessageRow> = newest.into_iter().take_while(|message| message.position > after).collect();
        if newer.len() < seen || seen < look {
            items.extend(newer.into_iter().map(|message| InboxItem {
                position: message.position,
                change: ItemChange::MessageAdded { contact: row.contact.clone(), message: Box::new(message) },
            }));
            return Ok(true);
        }
        if look > limit {
            return Ok(false);
        }
        look = limit.saturating_add(1);
    }
}
