//! The contract's objects. Each holds rows that were read for its viewer and nothing else's.

#![expect(clippy::unused_async, reason = "every resolver is asynchronous, says its macro")]

use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::resolver_utils::enum_value;
use async_graphql::{Context, Enum, ID, InputValueError, InputValueResult, Interface, Object, Result, Scalar, ScalarType, Value};
use jiff::Timestamp as Instant;

use super::connection::{MessageConnection, MessageRun, PageArguments};
use super::cursors::MessageNumber;
use super::errors::{TopLevel, internal};
use super::json::Json;
use super::ready::{Ready, perhaps, within};
use super::section::ChatSection;
use super::session::Session;
use crate::domain::conversation::Side;
use crate::domain::event::Timestamp;
use crate::domain::ids::{ConversationId, UserId};
use crate::projections::messages::MessageRow;
use crate::read_store::{Run, UserView};

/// A count as GraphQL's `Int`.
pub(super) fn int(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(super) struct DateTime(pub Timestamp);

/// An instant in UTC, as RFC 3339 with microseconds: `2026-01-31T12:34:56.123456Z`.
#[Scalar(specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Ok(Self(Timestamp(text.parse::<Instant>().map_err(InputValueError::custom)?.as_microsecond()))),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// Anything with an id of its own.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID"))]
pub(super) enum Node {
    User(User),
    Conversation(Conversation),
    Message(Message),
    ChatSection(ChatSection),
}

/// A registered user, as the viewer sees them.
#[derive(Clone)]
pub(super) struct User {
    session: Arc<Session>,
    view: Arc<UserView>,
}

impl User {
    pub(super) fn of(session: &Arc<Session>, view: Arc<UserView>) -> Self {
        Self { session: Arc::clone(session), view }
    }

    fn is_viewer(&self) -> bool {
        self.view.id == *self.session.viewer.id()
    }

    fn picture(&self) -> &str {
        let picture = self.view.user.profile.picture.as_ref();
        picture.map_or(self.session.default_avatar(), |picture| picture.as_str())
    }

    fn takes_messages(&self) -> bool {
        !self.is_viewer() && side(&self.view).can_message(self.view.user.contactable)
    }

    fn listed(&self) -> Option<Conversation> {
        Conversation::listed(&self.session, Arc::clone(&self.view))
    }
}

impl Ready for User {
    fn write(&self, field: &Field, json: &mut Json) -> Option<()> {
        let user = &self.view.user;
        match field.name.node.as_str() {
            "id" => json.value(self.view.id.as_str()),
            "name" => json.value(self.session.answer(user.profile.name.as_str()).ok()?),
            "avatarUrl" => json.value(self.session.answer(self.picture()).ok()?),
            "contactable" => json.value(&user.contactable),
            "erased" => json.value(&user.erased),
            "canMessage" => json.value(&self.takes_messages()),
            "blocked" => json.value(&side(&self.view).is_blocking()),
            "conversation" => perhaps(self.listed(), field, json)?,
            _ => return None,
        }
        Some(())
    }
}

/// A registered user, as the viewer sees them.
#[Object]
impl User {
    /// The `sub` of the user's token.
    async fn id(&self) -> ID {
        self.view.id.as_str().into()
    }

    async fn name(&self) -> Result<&str> {
        self.session.answer(self.view.user.profile.name.as_str())
    }

    /// The user's picture, or the service's default image.
    async fn avatar_url(&self) -> Result<&str> {
        self.session.answer(self.picture())
    }

    /// Whether other users may write to them first.
    async fn contactable(&self) -> bool {
        self.view.user.contactable
    }

    /// Whether what they wrote and were called is gone.
    async fn erased(&self) -> bool {
        self.view.user.erased
    }

    /// Whether the viewer may write to them: whether to show the 'send a message' button.
    async fn can_message(&self) -> bool {
        self.takes_messages()
    }

    /// Whether the viewer blocks them.
    async fn blocked(&self) -> bool {
        side(&self.view).is_blocking()
    }

    /// The conversation in the viewer's list, if it stands there.
    async fn conversation(&self) -> Option<Conversation> {
        self.listed()
    }
}

fn side(view: &UserView) -> Side {
    view.conversation.as_ref().map(|row| row.side).unwrap_or_default()
}

/// What the viewer can do with a row of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum ConversationAction {
    Block,
    Unblock,
    MarkAsRead,
    Delete,
}

/// A conversation, as the viewer has it.
#[derive(Clone)]
pub(super) struct Conversation {
    session: Arc<Session>,
    view: Arc<UserView>,
}

impl Conversation {
    /// The conversation of the viewer's list; none where it does not stand there.
    pub(super) fn listed(session: &Arc<Session>, view: Arc<UserView>) -> Option<Self> {
        side(&view).is_listed().then(|| Self { session: Arc::clone(session), view })
    }

    /// The conversation of the viewer's list, or an empty one that can be written into (D2).
    pub(super) fn listed_or_empty(session: &Arc<Session>, view: Arc<UserView>) -> Self {
        Self { session: Arc::clone(session), view }
    }

    pub(super) fn key(&self) -> ConversationId {
        let known = self.view.conversation.as_ref().map(|row| row.id);
        known.unwrap_or_else(|| ConversationId::between(self.session.viewer.id(), &self.view.id))
    }

    pub(super) fn is_blocked(&self) -> bool {
        side(&self.view).is_blocking()
    }

    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.view.conversation.as_ref().filter(|row| row.side.is_listed())?.last_at
    }

    /// How many messages the viewer may see.
    fn visible(&self) -> u64 {
        let side = side(&self.view);
        if side.is_listed() { side.last_visible() } else { 0 }
    }

    fn unread(&self) -> i32 {
        let side = side(&self.view);
        int(if side.is_listed() { side.unread() } else { 0 })
    }

    fn last(&self) -> Option<Message> {
        let row = self.view.last_message.clone()?;
        Some(Message { session: Arc::clone(&self.session), contact: Some(Arc::clone(&self.view)), row })
    }

    fn possible_actions(&self) -> impl Iterator<Item = ConversationAction> + use<> {
        let side = side(&self.view);
        let block = if side.is_blocking() { ConversationAction::Unblock } else { ConversationAction::Block };
        let read = (side.is_listed() && self.view.shows_badge && side.unread() > 0).then_some(ConversationAction::MarkAsRead);
        let delete = side.is_listed().then_some(ConversationAction::Delete);
        [Some(block), read, delete].into_iter().flatten()
    }
}

impl Ready for Conversation {
    fn write(&self, field: &Field, json: &mut Json) -> Option<()> {
        match field.name.node.as_str() {
            "id" => json.value(&conversation_node_id(self.key())),
            "contact" => within(&User::of(&self.session, Arc::clone(&self.view)), field, json)?,
            "blocked" => json.value(&self.is_blocked()),
            "unreadCount" => json.value(&self.unread()),
            "lastMessage" => perhaps(self.last(), field, json)?,
            "lastMessageAt" => json.value(&self.last_at().map(|at| at.to_string())),
            "actions" => json.value(&Value::List(self.possible_actions().map(enum_value).collect())),
            _ => return None,
        }
        Some(())
    }
}

/// A conversation's global id: no user id has a `/`, so neither can be taken for the other.
pub(super) fn conversation_node_id(id: ConversationId) -> String {
    format!("{CONVERSATION_PREFIX}{id}")
}

pub(super) const CONVERSATION_PREFIX: &str = "conversation/";

/// A conversation, as the viewer has it.
#[Object]
impl Conversation {
    async fn id(&self) -> ID {
        conversation_node_id(self.key()).into()
    }

    /// The other user.
    async fn contact(&self) -> User {
        User::of(&self.session, Arc::clone(&self.view))
    }

    /// Whether the viewer blocks the contact: the row is greyed and last in the list.
    async fn blocked(&self) -> bool {
        self.is_blocked()
    }

    /// The badge: messages of the contact that the viewer may see and has not read.
    async fn unread_count(&self) -> i32 {
        self.unread()
    }

    /// The last message that the viewer may see.
    async fn last_message(&self) -> Option<Message> {
        self.last()
    }

    async fn last_message_at(&self) -> Option<DateTime> {
        self.last_at().map(DateTime)
    }

    /// What the viewer can do with this row now.
    async fn actions(&self) -> Vec<ConversationAction> {
        self.possible_actions().collect()
    }

    /// The messages that the viewer may see, the oldest first: `last: 50` is the newest page.
    async fn messages(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<MessageConnection> {
        let slice = PageArguments { first, after, last, before }.slice::<MessageNumber>()?;
        let run = MessageRun::of(&slice, self.visible());
        let wanted = Run { conversation: self.key(), from: run.from, to: run.to };
        let rows = if run.is_empty() { vec![] } else { self.session.messages.load(wanted).await.top_level(&self.session)? };
        self.session.learn_me_for(context.look_ahead().field("edges").field("node")).await?;
        let message = |row| Message { session: Arc::clone(&self.session), contact: Some(Arc::clone(&self.view)), row };
        Ok(MessageConnection::of(rows.into_iter().map(message).collect(), run))
    }
}

/// A message that the viewer may see.
#[derive(Clone)]
pub(super) struct Message {
    session: Arc<Session>,
    /// The other user, where they were read with the message.
    contact: Option<Arc<UserView>>,
    row: MessageRow,
}

impl Message {
    pub(super) fn of(session: &Arc<Session>, contact: Option<Arc<UserView>>, row: MessageRow) -> Self {
        Self { session: Arc::clone(session), contact, row }
    }

    fn is_mine(&self) -> bool {
        self.row.sender == *self.session.viewer.id()
    }
}

impl Ready for Message {
    fn write(&self, field: &Field, json: &mut Json) -> Option<()> {
        match field.name.node.as_str() {
            "id" => json.value(&self.row.id.to_string()),
            "sender" => {
                let view = if self.is_mine() { self.session.known_me() } else { self.contact.clone() };
                within(&User::of(&self.session, view?), field, json)?;
            }
            "text" => json.value(self.session.answer(self.row.text.as_str()).ok()?),
            "sentAt" => json.value(&self.row.sent_at.to_string()),
            "mine" => json.value(&self.is_mine()),
            _ => return None,
        }
        Some(())
    }
}

/// A message that the viewer may see.
#[Object]
impl Message {
    /// The UUID that its sender chose, or that the service made.
    async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    async fn sender(&self) -> Result<User> {
        let view = match &self.contact {
            _ if self.is_mine() => self.session.me().await?,
            Some(contact) => Arc::clone(contact),
            None => load_view(&self.session, &self.row.sender).await?,
        };
        Ok(User::of(&self.session, view))
    }

    async fn text(&self) -> Result<&str> {
        self.session.answer(self.row.text.as_str())
    }

    /// Never changes, nor does the order of messages.
    async fn sent_at(&self) -> DateTime {
        DateTime(self.row.sent_at)
    }

    /// Whether the viewer sent it.
    async fn mine(&self) -> bool {
        self.is_mine()
    }
}

/// A registered user's view.
pub(super) async fn load_view(session: &Session, id: &UserId) -> Result<Arc<UserView>> {
    let view = session.app.user(&session.viewer, id).await.top_level(session)?;
    view.map(Arc::new).ok_or_else(|| internal("a user of a conversation has no profile", session))
}
