//! The embedded read store's rows: how each is written and read back.

use rusqlite::{Connection, Row, params};

use super::{Rows, UserView, queries};
use crate::domain::conversation::{Listing, Side};
use crate::domain::event::{Position, Timestamp};
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::domain::profile::{Name, Picture, Profile};
use crate::domain::section::{ChatSection, DetailTemplate, ListTemplate, Title};
use crate::domain::text::MessageText;
use crate::domain::user::User;
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;

pub(super) fn write_rows(connection: &Connection, rows: &Rows) -> Result<(), rusqlite::Error> {
    let mut user = connection.prepare_cached(queries::UPSERT_USER)?;
    for UserRow { id, user: state, member, version, sort_key, search_name, changed } in &rows.users {
        let picture = state.profile.picture.as_ref().map(Picture::as_str);
        user.execute(params![id.as_str(), state.profile.name.as_str(), picture, state.contactable, member, version, sort_key, search_name, changed.0])?;
    }
    let mut conversation = connection.prepare_cached(queries::UPSERT_CONVERSATION)?;
    for row in &rows.conversations {
        let (side, at) = (&row.side, |at: Option<Timestamp>| at.map(|at| at.0));
        conversation.execute(params![
            row.owner.as_str(),
            row.contact.as_str(),
            row.conversation.0,
            row.version,
            side.sent,
            side.received,
            side.read,
            side.blocked_at,
            listing_name(side.listing),
            at(row.last_at),
            at(row.latest_at),
            row.changed.0,
            row.reshaped.0,
            row.removed.0,
            side.is_blocking(),
        ])?;
    }
    let mut message = connection.prepare_cached(queries::INSERT_MESSAGE)?;
    for row in &rows.messages {
        let MessageRow { conversation, number, sender_number, id, sender, text, sent_at, position } = row;
        message.execute(params![conversation.0, number, sender_number, id.0, sender.as_str(), text.as_str(), sent_at.0, position.0])?;
    }
    if let Some(SectionRow { section, version, changed }) = &rows.section {
        let templates = (section.list_template.number(), section.detail_template.number());
        connection.prepare_cached(queries::UPSERT_SECTION)?.execute(params![section.title.as_str(), templates.0, templates.1, version, changed.0])?;
    }
    Ok(())
}

fn listing_name(listing: Listing) -> &'static str {
    match listing {
        Listing::Absent => "absent",
        Listing::Listed => "listed",
        Listing::Deleted => "deleted",
        Listing::DeletedWhileBlocked => "deleted_while_blocked",
    }
}

fn listing(name: &str, column: usize) -> Result<Listing, rusqlite::Error> {
    match name {
        "absent" => Ok(Listing::Absent),
        "listed" => Ok(Listing::Listed),
        "deleted" => Ok(Listing::Deleted),
        "deleted_while_blocked" => Ok(Listing::DeletedWhileBlocked),
        _ => Err(meaningless(column, rusqlite::types::Type::Text)),
    }
}

fn meaningless(column: usize, kind: rusqlite::types::Type) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, "no such value".into())
}

pub(super) fn user_id(row: &Row<'_>, column: usize) -> Result<UserId, rusqlite::Error> {
    row.get_ref(column)?.as_str().map(UserId::from_stored).map_err(Into::into)
}

pub(super) fn user_row(row: &Row<'_>, from: usize) -> Result<UserRow, rusqlite::Error> {
    let name = Name::from_stored(row.get_ref(from + 1)?.as_str()?);
    let picture = row.get_ref(from + 2)?.as_str_or_null()?.map(Picture::from_stored);
    Ok(UserRow {
        id: user_id(row, from)?,
        user: User { profile: Profile { name, picture }, contactable: row.get(from + 3)? },
        member: row.get(from + 4)?,
        version: row.get(from + 5)?,
        sort_key: row.get(from + 6)?,
        search_name: row.get(from + 7)?,
        changed: Position(row.get(from + 8)?),
    })
}

pub(super) fn conversation_row(row: &Row<'_>, from: usize) -> Result<ConversationRow, rusqlite::Error> {
    let at = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(Timestamp));
    Ok(ConversationRow {
        owner: user_id(row, from)?,
        contact: user_id(row, from + 1)?,
        conversation: ConversationId(row.get(from + 2)?),
        version: row.get(from + 3)?,
        side: Side {
            sent: row.get(from + 4)?,
            received: row.get(from + 5)?,
            read: row.get(from + 6)?,
            blocked_at: row.get(from + 7)?,
            listing: listing(row.get_ref(from + 8)?.as_str()?, from + 8)?,
        },
        last_at: at(from + 9)?,
        latest_at: at(from + 10)?,
        changed: Position(row.get(from + 11)?),
        reshaped: Position(row.get(from + 12)?),
        removed: Position(row.get(from + 13)?),
    })
}

pub(super) fn message_row(row: &Row<'_>, from: usize) -> Result<MessageRow, rusqlite::Error> {
    Ok(MessageRow {
        conversation: ConversationId(row.get(from)?),
        number: row.get(from + 1)?,
        sender_number: row.get(from + 2)?,
        id: MessageId(row.get(from + 3)?),
        sender: user_id(row, from + 4)?,
        text: MessageText::from_stored(row.get_ref(from + 5)?.as_str()?),
        sent_at: Timestamp(row.get(from + 6)?),
        position: Position(row.get(from + 7)?),
    })
}

pub(super) fn section_row(row: &Row<'_>) -> Result<SectionRow, rusqlite::Error> {
    let template = |column| meaningless(column, rusqlite::types::Type::Integer);
    let section = ChatSection {
        title: Title::from_stored(row.get_ref(0)?.as_str()?),
        list_template: ListTemplate::try_from(row.get::<_, i64>(1)?).map_err(|_| template(1))?,
        detail_template: DetailTemplate::try_from(row.get::<_, i64>(2)?).map_err(|_| template(2))?,
    };
    Ok(SectionRow { section, version: row.get(3)?, changed: Position(row.get(4)?) })
}

pub(super) fn user_view(row: &Row<'_>) -> Result<UserView, rusqlite::Error> {
    let conversation_at = queries::COLUMNS_OF_USER;
    let message_at = conversation_at + queries::COLUMNS_OF_CONVERSATION;
    let template_at = message_at + queries::COLUMNS_OF_MESSAGE;
    let is_null = |column| row.get_ref(column).map(|value| value == rusqlite::types::ValueRef::Null);
    let conversation = if is_null(conversation_at)? { None } else { Some(conversation_row(row, conversation_at)?) };
    let last_message = if is_null(message_at)? { None } else { Some(message_row(row, message_at)?) };
    let list_template = ListTemplate::try_from(row.get::<_, i64>(template_at)?).map_err(|_| meaningless(template_at, rusqlite::types::Type::Integer))?;
    Ok(UserView { user: user_row(row, 0)?, conversation, last_message, shows_badge: list_template.shows_unread_badge() })
}
