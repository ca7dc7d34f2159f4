//! What a viewer can ask.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result};

use super::audit::{EventFilter, LoggedEventConnection};
use super::connection::{ConversationConnection, PageArguments, UserConnection};
use super::errors::{TopLevel, UserError};
use super::section::{CHAT_SECTION_ID, ChatSection};
use super::session::Session;
use super::types::{CONVERSATION_PREFIX, Conversation, Message, Node, User, load_view};
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::domain::text::MessageText;
use crate::read_store::{ListOrder, UserView};

/// The order of the conversation list. Blocked rows are last in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum ConversationOrder {
    OldestFirst,
    NewestFirst,
}

/// What somebody may do beside chatting, as their token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum Role {
    /// Designs the chat section, registers and erases users.
    Admin,
    /// Reads the event log.
    Auditor,
}

pub struct Query;

/// What a viewer can ask.
#[Object]
impl Query {
    /// Who is signed in.
    async fn me(&self, context: &Context<'_>) -> Result<User> {
        let session = Session::of(context);
        Ok(User::of(session, session.me().await?))
    }

    /// The viewer's roles.
    async fn roles(&self, context: &Context<'_>) -> Vec<Role> {
        let viewer = &Session::of(context).viewer;
        [viewer.administrator().is_ok().then_some(Role::Admin), viewer.auditor().is_ok().then_some(Role::Auditor)].into_iter().flatten().collect()
    }

    /// What would be wrong with a message of this text: empty where nothing would. For a composer, before anything is sent.
    async fn check_text(&self, context: &Context<'_>, text: String) -> Vec<UserError> {
        let session = Session::of(context);
        MessageText::parse(&text).err().map(|refusal| UserError::of_text(refusal.into(), session.language)).into_iter().collect()
    }

    /// A user's profile; null where nobody has that id.
    async fn user(&self, context: &Context<'_>, id: ID) -> Result<Option<User>> {
        let session = Session::of(context);
        Ok(find_user(session, &id).await?.map(|view| User::of(session, view)))
    }

    /// Everybody but the viewer, by name. `search`: a part of a name, without regard to case or accents.
    async fn users(
        &self,
        context: &Context<'_>,
        search: Option<String>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<UserConnection> {
        let session = Session::of(context);
        let slice = PageArguments { first, after, last, before }.slice()?;
        let page = session.app.users(&session.viewer, search.as_deref(), slice).await.top_level(session)?;
        Ok(UserConnection::of(session, page))
    }

    /// The viewer's conversation list.
    async fn conversations(
        &self,
        context: &Context<'_>,
        #[graphql(default_with = "Some(ConversationOrder::OldestFirst)")] order: Option<ConversationOrder>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<ConversationConnection> {
        let session = Session::of(context);
        let slice = PageArguments { first, after, last, before }.slice()?;
        let order = match order {
            Some(ConversationOrder::OldestFirst) | None => ListOrder::OldestFirst,
            Some(ConversationOrder::NewestFirst) => ListOrder::NewestFirst,
        };
        let page = session.app.conversations(&session.viewer, order, slice).await.top_level(session)?;
        session.learn_me_for(context.look_ahead().field("edges").field("node").field("lastMessage")).await?;
        Ok(ConversationConnection::of(session, page))
    }

    /// The conversation with a user; null where there is none, or the viewer deleted it.
    async fn conversation(&self, context: &Context<'_>, with: ID) -> Result<Option<Conversation>> {
        let session = Session::of(context);
        Ok(find_user(session, &with).await?.and_then(|view| Conversation::listed(session, view)))
    }

    /// The chat section as the back office designed it.
    async fn chat_section(&self, context: &Context<'_>) -> Result<ChatSection> {
        let session = Session::of(context);
        chat_section(session).await
    }

    /// For the role `auditor`: the event log, or a part of it.
    async fn events(
        &self,
        context: &Context<'_>,
        filter: Option<EventFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<LoggedEventConnection> {
        let session = Session::of(context);
        let auditor = session.viewer.auditor().top_level(session)?;
        let slice = PageArguments { first, after, last, before }.slice()?;
        let selection = filter.unwrap_or_default().selection()?;
        Ok(session.app.events(&auditor, selection, slice).await.top_level(session)?.into())
    }

    /// A user, a conversation, a message or the chat section by its id; null for an id that means nothing to the viewer.
    async fn node(&self, context: &Context<'_>, id: ID) -> Result<Option<Node>> {
        let session = Session::of(context);
        if id.as_str() == CHAT_SECTION_ID {
            return Ok(Some(Node::ChatSection(chat_section(session).await?)));
        }
        if let Some(id) = id.strip_prefix(CONVERSATION_PREFIX) {
            return Ok(find_conversation(session, id).await?.map(Node::Conversation));
        }
        if let Some(view) = find_user(session, &id).await? {
            return Ok(Some(Node::User(User::of(session, view))));
        }
        Ok(find_message(session, &id).await?.map(Node::Message))
    }
}

async fn chat_section(session: &Session) -> Result<ChatSection> {
    Ok(session.app.chat_section().await.top_level(session)?.into())
}

async fn find_user(session: &Session, id: &str) -> Result<Option<Arc<UserView>>> {
    let Ok(id) = UserId::parse(id) else { return Ok(None) };
    Ok(session.app.user(&session.viewer, &id).await.top_level(session)?.map(Arc::new))
}

async fn find_conversation(session: &Arc<Session>, id: &str) -> Result<Option<Conversation>> {
    let Some(id) = ConversationId::parse(id) else { return Ok(None) };
    let contact = session.app.contact_of(&session.viewer, id).await.top_level(session)?;
    let Some(contact) = contact else { return Ok(None) };
    Ok(Conversation::listed(session, load_view(session, &contact).await?))
}

async fn find_message(session: &Arc<Session>, id: &str) -> Result<Option<Message>> {
    let Ok(id) = MessageId::parse(id) else { return Ok(None) };
    let found = session.app.message(&session.viewer, id).await.top_level(session)?;
    let Some(found) = found else { return Ok(None) };
    let contact = load_view(session, &found.contact).await?;
    Ok(Some(Message::of(session, Some(contact), found.message)))
}
