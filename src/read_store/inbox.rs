//! What a viewer's open clients are told, and what one missed that comes back after a while.

use rusqlite::{Connection, OptionalExtension, params};

use super::queries;
use super::rows::{conversation_row, message_row, section_row};
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
pub(super) fn missed(connection: &mut Connection, viewer: &UserId, after: Position, limit: usize) -> Result<Missed, rusqlite::Error> {
    let moment = connection.transaction()?;
    let up_to: Position = moment.prepare_cached(queries::CHECKPOINT)?.query_row([], |row| row.get(0).map(Position))?;
    let mut items = Vec::new();
    let rows: Vec<(ConversationRow, Position)> = moment
        .prepare_cached(queries::CHANGED_SINCE)?
        .query_map(params![viewer.as_str(), after.0], |row| Ok((conversation_row(row, 0)?, Position(row.get(queries::COLUMNS_OF_CONVERSATION)?))))?
        .collect::<Result<_, _>>()?;
    for (row, contact_changed) in &rows {
        if row.changed > after {
            items.extend(shape_items(row, after));
            if row.side.is_listed() && !newer_messages(&moment, row, after, limit, &mut items)? {
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
    let own_changed = moment.prepare_cached(queries::USER_CHANGED)?.query_row([viewer.as_str()], |row| row.get(0).map(Position)).optional()?;
    items.extend(own_changed.filter(|changed| *changed > after).map(|changed| contact_item(changed, viewer)));
    let section = moment.prepare_cached(queries::SECTION)?.query_row([], section_row).optional()?;
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
fn newer_messages(moment: &Connection, row: &ConversationRow, after: Position, limit: usize, items: &mut Vec<InboxItem>) -> Result<bool, rusqlite::Error> {
    let mut look = FIRST_LOOK;
    loop {
        let newest: Vec<MessageRow> = moment
            .prepare_cached(queries::NEWEST_MESSAGES)?
            .query_map(params![row.conversation.0, row.side.last_visible(), look as u64], |row| message_row(row, 0))?
            .collect::<Result<_, _>>()?;
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
