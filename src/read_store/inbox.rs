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
    /// The viewer was erased: what they wrote is another text everywhere.
    EverythingChanged,
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
    /// More than may be caught up with, or the viewer was erased, whose texts are others everywhere.
    Everything { up_to: Position },
}

/// The first look at a conversation's newest messages; most who come back missed few.
const FIRST_LOOK: usize = 32;

/// Reads what `viewer` missed since `after`, at most `limit` items, all at one moment.
pub(super) async fn missed(reader: &mut impl Reader, viewer: &UserId, after: Position, limit: usize) -> Result<Missed, StoreError> {
    let checkpoint = reads::checkpoint(reader).await?;
    let up_to = checkpoint.position;
    let mut items = Vec::new();
    let rows = reader.query(queries::CHANGED_SINCE, &[Value::Text(viewer.as_str()), Value::number(after.0)], rows::changed_conversation).await?;
    for (row, contact_changed, contact_erased) in &rows {
        if row.changed > after {
            items.extend(shape_items(row, after));
            if row.side.is_listed() && !newer_messages(reader, row, after, limit, &mut items).await? {
                return Ok(Missed::Everything { up_to });
            }
        }
        if row.side.is_listed() {
            if *contact_erased > after {
                items.push(InboxItem { position: *contact_erased, change: ItemChange::ConversationChanged { contact: row.contact.clone() } });
            }
            if *contact_changed > after.max(*contact_erased) {
                items.push(contact_item(*contact_changed, &row.contact));
            }
        }
        if items.len() > limit {
            return Ok(Missed::Everything { up_to });
        }
    }
    if let Some((changed, erased)) = reader.query_first(queries::USER_CHANGED, &[Value::Text(viewer.as_str())], rows::two_positions).await? {
        if erased > after {
            return Ok(Missed::Everything { up_to });
        }
        items.extend((changed > after).then(|| contact_item(changed, viewer)));
    }
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

/// Adds the visible messages after a position; false when there are more than `limit`. Of those that an unblock revealed the
/// conversation's change tells (B3).
async fn newer_messages(
    reader: &mut impl Reader,
    row: &ConversationRow,
    after: Position,
    limit: usize,
    items: &mut Vec<InboxItem>,
) -> Result<bool, StoreError> {
    for numbers in row.surfaced.others(row.side.last_visible()) {
        let mut look = FIRST_LOOK;
        loop {
            let parameters = [Value::Uuid(row.conversation.0), Value::number(*numbers.end()), Value::number(look as u64)];
            let mut newer = reader.query(queries::NEWEST_MESSAGES, &parameters, rows::message).await?;
            newer.retain(|message| message.number >= *numbers.start());
            let seen = newer.len();
            newer.retain(|message| message.position > after);
            let is_new = newer.len() == seen;
            if is_new && seen == look {
                if look > limit {
                    return Ok(false);
                }
                look = limit.saturating_add(1);
                continue;
            }
            items.extend(newer.into_iter().map(|message| InboxItem {
                position: message.position,
                change: ItemChange::MessageAdded { contact: row.contact.clone(), message: Box::new(message) },
            }));
            if !is_new {
                return Ok(true);
            }
            break;
        }
    }
    Ok(true)
}
