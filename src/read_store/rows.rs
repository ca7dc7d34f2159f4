//! How each projection's rows are read back, from whichever store.

use super::reader::{Columns, Unreadable};
use super::{Checkpoint, ConversationView, DirectoryKey, MessageView, Relation, Totals, UserView, queries};
use crate::domain::conversation::{Listing, Side};
use crate::domain::event::{Position, Timestamp};
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::domain::profile::{Name, Picture, Profile};
use crate::domain::section::{ChatSection, DetailTemplate, ListTemplate, Title};
use crate::domain::text::MessageText;
use crate::domain::user::User;
use crate::projections::conversations::{ConversationRow, Surfaced};
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;

pub(super) fn listing_name(listing: Listing) -> &'static str {
    match listing {
        Listing::Absent => "absent",
        Listing::Listed => "listed",
        Listing::Deleted => "deleted",
        Listing::DeletedWhileBlocked => "deleted_while_blocked",
    }
}

fn listing(row: &dyn Columns, column: usize) -> Result<Listing, Unreadable> {
    match row.text(column)? {
        "absent" => Ok(Listing::Absent),
        "listed" => Ok(Listing::Listed),
        "deleted" => Ok(Listing::Deleted),
        "deleted_while_blocked" => Ok(Listing::DeletedWhileBlocked),
        _ => Err(Unreadable::new(column, "no such listing")),
    }
}

fn user_id(row: &dyn Columns, column: usize) -> Result<UserId, Unreadable> {
    row.text(column).map(UserId::from_stored)
}

fn position(row: &dyn Columns, column: usize) -> Result<Position, Unreadable> {
    row.number(column).map(Position)
}

fn list_template(row: &dyn Columns, column: usize) -> Result<ListTemplate, Unreadable> {
    ListTemplate::try_from(row.integer(column)?).map_err(|error| Unreadable::new(column, error))
}

/// A user's state, in the columns after the id.
fn user_state(row: &dyn Columns) -> Result<User, Unreadable> {
    let profile = Profile { name: Name::from_stored(row.text(1)?), picture: row.text_or_null(2)?.map(Picture::from_stored) };
    Ok(User { profile, contactable: row.integer(3)? != 0, erased: row.integer(4)? != 0 })
}

/// A side of a conversation, in five columns.
fn side(row: &dyn Columns, from: usize) -> Result<Side, Unreadable> {
    Ok(Side {
        sent: row.number(from)?,
        received: row.number(from + 1)?,
        read: row.number(from + 2)?,
        blocked_at: row.number_or_null(from + 3)?,
        listing: listing(row, from + 4)?,
    })
}

fn message_row(row: &dyn Columns, from: usize) -> Result<MessageRow, Unreadable> {
    Ok(MessageRow {
        conversation: ConversationId(row.uuid(from)?),
        number: row.number(from + 1)?,
        sender_number: row.number(from + 2)?,
        id: MessageId(row.uuid(from + 3)?),
        sender: user_id(row, from + 4)?,
        text: MessageText::from_stored(row.text(from + 5)?),
        sent_at: Timestamp(row.integer(from + 6)?),
        position: position(row, from + 7)?,
    })
}

pub(super) fn user(row: &dyn Columns) -> Result<UserRow, Unreadable> {
    Ok(UserRow {
        id: user_id(row, 0)?,
        user: user_state(row)?,
        member: row.number(5)?,
        version: row.number(6)?,
        sort_key: row.bytes(7)?.to_vec(),
        search_name: row.text(8)?.to_owned(),
        changed: position(row, 9)?,
        erased_at: position(row, 10)?,
    })
}

fn conversation_row(row: &dyn Columns, from: usize) -> Result<ConversationRow, Unreadable> {
    Ok(ConversationRow {
        owner: user_id(row, from)?,
        contact: user_id(row, from + 1)?,
        conversation: ConversationId(row.uuid(from + 2)?),
        version: row.number(from + 3)?,
        side: side(row, from + 4)?,
        last_at: row.integer_or_null(from + 9)?.map(Timestamp),
        latest_at: row.integer_or_null(from + 10)?.map(Timestamp),
        changed: position(row, from + 11)?,
        reshaped: position(row, from + 12)?,
        removed: position(row, from + 13)?,
        surfaced: Surfaced::from_stored(row.text(from + 14)?).ok_or_else(|| Unreadable::new(from + 14, "no ranges of numbers"))?,
    })
}

pub(super) fn conversation(row: &dyn Columns) -> Result<ConversationRow, Unreadable> {
    conversation_row(row, 0)
}

pub(super) fn relation(row: &dyn Columns) -> Result<Relation, Unreadable> {
    let side = |from: usize| row.text_or_null(from)?.is_some().then(|| conversation_row(row, from)).transpose();
    let (own, theirs) = (queries::COLUMNS_OF_USER, queries::COLUMNS_OF_USER + queries::COLUMNS_OF_CONVERSATION);
    Ok(Relation { contact: Some(user(row)?), own: side(own)?, theirs: side(theirs)? })
}

/// A conversation's row, when the contact's changed last, and when the contact was erased.
pub(super) fn changed_conversation(row: &dyn Columns) -> Result<(ConversationRow, Position, Position), Unreadable> {
    let of_contact = queries::COLUMNS_OF_CONVERSATION;
    Ok((conversation(row)?, position(row, of_contact)?, position(row, of_contact + 1)?))
}

pub(super) fn message(row: &dyn Columns) -> Result<MessageRow, Unreadable> {
    message_row(row, 0)
}

pub(super) fn message_view(row: &dyn Columns) -> Result<MessageView, Unreadable> {
    Ok(MessageView { message: message_row(row, 0)?, contact: user_id(row, queries::COLUMNS_OF_MESSAGE)? })
}

pub(super) fn section(row: &dyn Columns) -> Result<SectionRow, Unreadable> {
    let section = ChatSection {
        title: Title::from_stored(row.text(0)?),
        list_template: list_template(row, 1)?,
        detail_template: DetailTemplate::try_from(row.integer(2)?).map_err(|error| Unreadable::new(2, error))?,
    };
    Ok(SectionRow { section, version: row.number(3)?, changed: position(row, 4)? })
}

pub(super) fn user_view(row: &dyn Columns) -> Result<UserView, Unreadable> {
    let conversation = |id| Ok(ConversationView { id: ConversationId(id), side: side(row, 6)?, last_at: row.integer_or_null(11)?.map(Timestamp) });
    let message_at = 12;
    let last_message = if row.uuid_or_null(message_at)?.is_none() { None } else { Some(message_row(row, message_at)?) };
    Ok(UserView {
        id: user_id(row, 0)?,
        user: user_state(row)?,
        conversation: row.uuid_or_null(5)?.map(conversation).transpose()?,
        last_message,
        shows_badge: list_template(row, queries::COLUMNS_OF_VIEW - 2)?.shows_unread_badge(),
        erased_at: position(row, queries::COLUMNS_OF_VIEW - 1)?,
    })
}

/// A user of the directory, and their place in it.
pub(super) fn directory_entry(row: &dyn Columns) -> Result<(DirectoryKey, UserView), Unreadable> {
    let view = user_view(row)?;
    Ok((DirectoryKey { sort_key: row.bytes(queries::COLUMNS_OF_VIEW)?.to_vec(), id: view.id.clone() }, view))
}

pub(super) fn totals(row: &dyn Columns) -> Result<Totals, Unreadable> {
    Ok(Totals { conversations: row.number(0)?, unread: row.number(1)? })
}

pub(super) fn checkpoint(row: &dyn Columns) -> Result<Checkpoint, Unreadable> {
    Ok(Checkpoint { position: position(row, 0)?, event: row.uuid(1)? })
}

/// A row's only column: a user.
pub(super) fn id(row: &dyn Columns) -> Result<UserId, Unreadable> {
    user_id(row, 0)
}

/// A row's only column: a number.
pub(super) fn number(row: &dyn Columns) -> Result<u64, Unreadable> {
    row.number(0)
}

/// A row's two columns: positions.
pub(super) fn two_positions(row: &dyn Columns) -> Result<(Position, Position), Unreadable> {
    Ok((position(row, 0)?, position(row, 1)?))
}
