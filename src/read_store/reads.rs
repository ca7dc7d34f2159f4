//! The queries that screens and decisions are made of, whatever the store.

use uuid::Uuid;

use super::reader::{Reader, Value};
use super::{
    Checkpoint, DirectoryKey, ListKey, ListOrder, Members, MessageView, Page, Relation, Run, Slice, StoreError, Take, Totals, UserView, queries, rows,
};
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;

pub(super) async fn checkpoint(reader: &mut impl Reader) -> Result<Checkpoint, StoreError> {
    Ok(reader.query_first(queries::CHECKPOINT, &[], rows::checkpoint).await?.unwrap_or_default())
}

pub(super) async fn view(reader: &mut impl Reader, viewer: &UserId, user: &UserId) -> Result<Option<UserView>, StoreError> {
    reader.query_first(queries::VIEW, &[Value::Text(viewer.as_str()), Value::Text(user.as_str())], rows::user_view).await
}

pub(super) async fn list(reader: &mut impl Reader, viewer: &UserId, order: ListOrder, slice: &Slice<ListKey>) -> Result<Page<UserView>, StoreError> {
    let descending = (order == ListOrder::NewestFirst) != matches!(slice.take, Take::Last(_));
    let sql = if descending { queries::LISTED_NEWEST_FIRST } else { queries::LISTED_OLDEST_FIRST };
    let mut rows = Vec::new();
    for blocked in if matches!(slice.take, Take::First(_)) { [false, true] } else { [true, false] } {
        let Some((low, high)) = group_bounds(blocked, order, slice) else { continue };
        let missing = slice.take.count() + 1 - rows.len();
        let parameters = [
            Value::Text(viewer.as_str()),
            Value::Integer(blocked.into()),
            Value::Integer(low.0),
            Value::Uuid(low.1),
            Value::Integer(high.0),
            Value::Uuid(high.1),
            Value::number(missing as u64),
        ];
        rows.extend(reader.query(sql, &parameters, rows::user_view).await?);
        if rows.len() > slice.take.count() {
            break;
        }
    }
    Ok(Page::of(rows, slice))
}

pub(super) async fn totals(reader: &mut impl Reader, viewer: &UserId) -> Result<Totals, StoreError> {
    Ok(reader.query_first(queries::TOTALS, &[Value::Text(viewer.as_str())], rows::totals).await?.unwrap_or_default())
}

pub(super) async fn directory(
    reader: &mut impl Reader,
    viewer: &UserId,
    search: &str,
    slice: &Slice<DirectoryKey>,
) -> Result<Page<(DirectoryKey, UserView)>, StoreError> {
    let pattern = format!("%{}%", search.replace('!', "!!").replace('%', "!%").replace('_', "!_"));
    let (sql, beyond, within) = match slice.take {
        Take::First(_) => (queries::DIRECTORY, place(slice.after.as_ref()), place(slice.before.as_ref())),
        Take::Last(_) => (queries::DIRECTORY_BACKWARDS, place(slice.before.as_ref()), place(slice.after.as_ref())),
    };
    let limit = Value::number(slice.take.count() as u64 + 1);
    let parameters = [Value::Text(viewer.as_str()), Value::Text(&pattern), beyond.0, beyond.1, within.0, within.1, limit];
    Ok(Page::of(reader.query(sql, &parameters, rows::directory_entry).await?, slice))
}

fn place(key: Option<&DirectoryKey>) -> (Value<'_>, Value<'_>) {
    (Value::BytesOrNull(key.map(|key| &*key.sort_key)), Value::TextOrNull(key.map(|key| key.id.as_str())))
}

pub(super) async fn messages(reader: &mut impl Reader, runs: &[Run]) -> Result<Vec<Vec<MessageRow>>, StoreError> {
    let parameters: Vec<_> = runs.iter().map(|run| vec![Value::Uuid(run.conversation.0), Value::number(run.from), Value::number(run.to)]).collect();
    reader.query_each(queries::MESSAGES, &parameters, rows::message).await
}

pub(super) async fn message(reader: &mut impl Reader, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
    reader.query_first(queries::MESSAGE, &[Value::Uuid(id.0)], rows::message).await
}

pub(super) async fn visible_message(reader: &mut impl Reader, viewer: &UserId, id: MessageId) -> Result<Option<MessageView>, StoreError> {
    reader.query_first(queries::VISIBLE_MESSAGE, &[Value::Text(viewer.as_str()), Value::Uuid(id.0)], rows::message_view).await
}

pub(super) async fn contact_of(reader: &mut impl Reader, viewer: &UserId, conversation: ConversationId) -> Result<Option<UserId>, StoreError> {
    reader.query_first(queries::CONTACT_OF, &[Value::Uuid(conversation.0), Value::Text(viewer.as_str())], rows::id).await
}

pub(super) async fn section(reader: &mut impl Reader) -> Result<Option<SectionRow>, StoreError> {
    reader.query_first(queries::SECTION, &[], rows::section).await
}

pub(super) async fn user(reader: &mut impl Reader, id: &UserId) -> Result<Option<UserRow>, StoreError> {
    reader.query_first(queries::USER, &[Value::Text(id.as_str())], rows::user).await
}

pub(super) async fn user_ids(reader: &mut impl Reader, after: &UserId, limit: u64) -> Result<Vec<UserId>, StoreError> {
    reader.query(queries::USER_IDS, &[Value::Text(after.as_str()), Value::number(limit)], rows::id).await
}

pub(super) async fn relation(reader: &mut impl Reader, owner: &UserId, contact: &UserId) -> Result<Relation, StoreError> {
    let found = reader.query_first(queries::RELATION, &[Value::Text(owner.as_str()), Value::Text(contact.as_str())], rows::relation).await?;
    Ok(found.unwrap_or(Relation { contact: None, own: None, theirs: None }))
}

pub(super) async fn members(reader: &mut impl Reader, asked: &[UserId]) -> Result<Members, StoreError> {
    let count = reader.query_first(queries::MEMBERS, &[], rows::number).await?.unwrap_or_default();
    let parameters: Vec<_> = asked.iter().map(|id| vec![Value::Text(id.as_str())]).collect();
    let registered = reader.query_each(queries::REGISTERED, &parameters, rows::id).await?.into_iter().flatten().collect();
    Ok(Members { count, registered })
}

pub(super) async fn listed_by(reader: &mut impl Reader, user: &UserId) -> Result<Vec<UserId>, StoreError> {
    reader.query(queries::LISTED_BY, &[Value::Text(user.as_str())], rows::id).await
}

pub(super) async fn count_parked(reader: &mut impl Reader) -> Result<u64, StoreError> {
    Ok(reader.query_first(queries::COUNT_PARKED, &[], rows::number).await?.unwrap_or_default())
}

/// Between which places of a list's blocked or other rows a slice lies; none where it has no part there.
fn group_bounds(blocked: bool, order: ListOrder, slice: &Slice<ListKey>) -> Option<((i64, Uuid), (i64, Uuid))> {
    let (lowest, highest) = ((i64::MIN, Uuid::nil()), (i64::MAX, Uuid::max()));
    let place = |key: ListKey| (key.last_at.0, key.conversation.0);
    // The blocked come after the others: a bound in the other group takes all of this one, or nothing.
    let after = match slice.after {
        Some(key) if key.blocked == blocked => Some(place(key)),
        Some(key) if key.blocked => return None,
        Some(_) | None => None,
    };
    let before = match slice.before {
        Some(key) if key.blocked == blocked => Some(place(key)),
        Some(key) if !key.blocked => return None,
        Some(_) | None => None,
    };
    Some(match order {
        ListOrder::OldestFirst => (after.unwrap_or(lowest), before.unwrap_or(highest)),
        ListOrder::NewestFirst => (before.unwrap_or(lowest), after.unwrap_or(highest)),
    })
}
