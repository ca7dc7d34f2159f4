//! Relay connections: arguments, edges, page info (<https://relay.dev/graphql/connections.htm>).

use async_graphql::connection::PageInfo;
use async_graphql::parser::types::Field;
use async_graphql::{ComplexObject, Result, SimpleObject};

use std::sync::Arc;

use super::cursors::{Cursor, MessageNumber};
use super::errors::{TopLevel, bad_input};
use super::json::Json;
use super::ready::{Ready, Rows, within};
use super::session::Session;
use super::types::{Conversation, Message, User};
use crate::domain::event::Timestamp;
use crate::read_store::{DirectoryKey, ListKey, Page, Slice, Take, UserView};

/// The rows of a page when neither `first` nor `last` is given.
const DEFAULT_ROWS: i32 = 50;
/// The most rows of a page.
const MAX_ROWS: i32 = 100;

/// The four arguments of a connection, as they were given.
pub(super) struct PageArguments {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
}

impl PageArguments {
    /// What is asked for.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for both `first` and `last`, a number out of range, or a malformed cursor.
    pub(super) fn slice<K: Cursor>(self) -> Result<Slice<K>> {
        let rows = |name: &str, rows: i32| match usize::try_from(rows) {
            Ok(count) if rows <= MAX_ROWS => Ok(count),
            _ => Err(bad_input(format!("`{name}` must be between 0 and {MAX_ROWS}, not {rows}"))),
        };
        let take = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(bad_input("give `first` or `last`, not both")),
            (None, Some(last)) => Take::Last(rows("last", last)?),
            (first, None) => Take::First(rows("first", first.unwrap_or(DEFAULT_ROWS))?),
        };
        let place = |name: &str, cursor: Option<String>| {
            cursor.map(|cursor| K::decode(&cursor).ok_or_else(|| bad_input(format!("`{name}` is not a cursor of this list")))).transpose()
        };
        Ok(Slice { after: place("after", self.after)?, before: place("before", self.before)?, take })
    }
}

/// How many rows a page has at most, by its arguments.
pub(super) fn page_rows(first: Option<i64>, last: Option<i64>) -> usize {
    let rows = first.or(last).unwrap_or(DEFAULT_ROWS.into()).clamp(1, MAX_ROWS.into());
    usize::try_from(rows).expect("clamped")
}

fn page_info(has_previous_page: bool, has_next_page: bool, start_cursor: Option<&String>, end_cursor: Option<&String>) -> PageInfo {
    PageInfo { has_previous_page, has_next_page, start_cursor: start_cursor.cloned(), end_cursor: end_cursor.cloned() }
}

/// A part of the user directory.
#[derive(SimpleObject)]
pub(super) struct UserConnection {
    edges: Rows<UserEdge>,
    page_info: PageInfo,
}

/// A user at their place in the directory.
#[derive(SimpleObject)]
pub(super) struct UserEdge {
    cursor: String,
    node: User,
}

impl UserConnection {
    pub(super) fn of(session: &Arc<Session>, page: Page<(DirectoryKey, UserView)>) -> Self {
        let edge = |(key, view): (DirectoryKey, UserView)| UserEdge { cursor: key.encode(), node: User::of(session, Arc::new(view)) };
        let edges: Vec<_> = page.rows.into_iter().map(edge).collect();
        let page_info = page_info(page.has_previous, page.has_next, edges.first().map(|edge| &edge.cursor), edges.last().map(|edge| &edge.cursor));
        Self { edges: Rows(edges), page_info }
    }
}

/// A part of the viewer's conversation list.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct ConversationConnection {
    edges: Rows<ConversationEdge>,
    page_info: PageInfo,
    #[graphql(skip)]
    totals: Totals,
}

/// A conversation at its place in the list.
#[derive(SimpleObject)]
pub(super) struct ConversationEdge {
    cursor: String,
    node: Conversation,
}

/// Both totals are read together, and only when one is asked for.
struct Totals {
    session: Arc<Session>,
    read: tokio::sync::OnceCell<crate::read_store::Totals>,
}

impl Totals {
    async fn get(&self) -> Result<crate::read_store::Totals> {
        let session = &self.session;
        self.read.get_or_try_init(|| async { session.app.totals(&session.viewer).await.top_level(session) }).await.copied()
    }
}

#[ComplexObject]
impl ConversationConnection {
    /// How many conversations the whole list has.
    async fn total_count(&self) -> Result<i32> {
        Ok(super::types::int(self.totals.get().await?.conversations))
    }

    /// All the viewer's visible unread messages.
    async fn unread_count(&self) -> Result<i32> {
        Ok(super::types::int(self.totals.get().await?.unread))
    }
}

impl ConversationConnection {
    pub(super) fn of(session: &Arc<Session>, page: Page<UserView>) -> Self {
        let edge = |view: UserView| {
            let conversation = Conversation::listed(session, Arc::new(view))?;
            let key = ListKey { blocked: conversation.is_blocked(), last_at: conversation.last_at().unwrap_or(Timestamp(0)), conversation: conversation.key() };
            Some(ConversationEdge { cursor: key.encode(), node: conversation })
        };
        let edges: Vec<_> = page.rows.into_iter().filter_map(edge).collect();
        let page_info = page_info(page.has_previous, page.has_next, edges.first().map(|edge| &edge.cursor), edges.last().map(|edge| &edge.cursor));
        let totals = Totals { session: Arc::clone(session), read: tokio::sync::OnceCell::new() };
        Self { edges: Rows(edges), page_info, totals }
    }
}

/// A part of a conversation's history, the oldest first.
#[derive(SimpleObject)]
pub(super) struct MessageConnection {
    edges: Rows<MessageEdge>,
    page_info: PageInfo,
}

/// A message at its place in the history.
#[derive(SimpleObject)]
pub(super) struct MessageEdge {
    cursor: String,
    node: Message,
}

impl MessageConnection {
    /// From the messages of a run, in order.
    pub(super) fn of(messages: Vec<Message>, run: MessageRun) -> Self {
        let MessageRun { from, has_previous, has_next, .. } = run;
        let edges: Vec<_> = messages.into_iter().zip(from..).map(|(node, number)| MessageEdge { cursor: MessageNumber(number).encode(), node }).collect();
        let page_info = page_info(has_previous, has_next, edges.first().map(|edge| &edge.cursor), edges.last().map(|edge| &edge.cursor));
        Self { edges: Rows(edges), page_info }
    }
}

macro_rules! ready_edges {
    ($($edge:ty),+) => {
        $(impl Ready for $edge {
            fn write(&self, field: &Field, json: &mut Json) -> Option<()> {
                match field.name.node.as_str() {
                    "cursor" => json.value(&*self.cursor),
                    "node" => within(&self.node, field, json)?,
                    _ => return None,
                }
                Some(())
            }
        })+
    };
}
ready_edges!(UserEdge, ConversationEdge, MessageEdge);

/// Which messages a slice asks for, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageRun {
    pub from: u64,
    pub to: u64,
    has_previous: bool,
    has_next: bool,
}

impl MessageRun {
    /// Of the messages numbered 1 to `visible`. Whether there are more is told as of every connection: in the direction of the count
    /// up to the slice's other place, and backwards wherever it begins at one.
    pub(super) fn of(slice: &Slice<MessageNumber>, visible: u64) -> Self {
        let low = slice.after.map_or(1, |after| after.0.saturating_add(1));
        let high = slice.before.map_or(visible, |before| before.0.saturating_sub(1).min(visible));
        match slice.take {
            Take::First(count) => {
                let to = high.min(low.saturating_add(count as u64).saturating_sub(1));
                Self { from: low, to, has_previous: slice.after.is_some(), has_next: to < high }
            }
            Take::Last(count) => {
                let from = low.max((high + 1).saturating_sub(count as u64));
                Self { from, to: high, has_previous: from > low, has_next: slice.before.is_some() }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.from > self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_history_is_a_run_of_numbers() {
        let run = |after: Option<u64>, before: Option<u64>, take| {
            let run = MessageRun::of(&Slice { after: after.map(MessageNumber), before: before.map(MessageNumber), take }, 10);
            (run.from, run.to)
        };
        assert_eq!(run(None, None, Take::First(3)), (1, 3));
        assert_eq!(run(Some(3), None, Take::First(3)), (4, 6));
        assert_eq!(run(Some(8), None, Take::First(3)), (9, 10));
        assert_eq!(run(None, None, Take::Last(3)), (8, 10));
        assert_eq!(run(None, Some(8), Take::Last(3)), (5, 7));
        assert_eq!(run(None, Some(2), Take::Last(3)), (1, 1));
        assert_eq!(run(Some(2), Some(5), Take::First(9)), (3, 4));
        assert!(MessageRun::of(&Slice { after: Some(MessageNumber(u64::MAX)), before: None, take: Take::First(3) }, 10).is_empty());
        assert!(MessageRun::of(&Slice { after: None, before: None, take: Take::First(0) }, 10).is_empty());
        assert!(MessageRun::of(&Slice { after: None, before: None, take: Take::Last(0) }, 10).is_empty());
        assert!(MessageRun::of(&Slice { after: None, before: None, take: Take::Last(5) }, 0).is_empty());
    }
}
