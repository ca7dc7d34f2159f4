//! What open clients are told.

#![expect(clippy::unused_async, reason = "every resolver is asynchronous, says its macro")]

use std::sync::Arc;

use async_graphql::{Context, Error, ID, Result, SimpleObject, Subscription, Union};
use futures_util::{Stream, StreamExt as _, stream};

use super::audit::{EventFilter, LoggedEvent};
use super::cursors::Cursor as _;
use super::errors::{TopLevel, bad_input};
use super::follow::Delivered;
use super::ready::Row;
use super::section::ChatSection;
use super::session::Session;
use super::types::{Conversation, Message, User, conversation_node_id, load_view};
use crate::app::feed::Told;
use crate::domain::event::Position;
use crate::domain::ids::ConversationId;
use crate::domain::text::MessageText;
use crate::read_store::ItemChange;

/// A message came, or was sent from another of the viewer's devices.
#[derive(SimpleObject)]
pub(super) struct MessageAdded {
    message: Row<Message>,
    conversation: Row<Conversation>,
    cursor: String,
}

/// A row of the list changed otherwise than by a message alone. After an unblock or a reopening its
/// history has more than before; when the contact was erased, other texts.
#[derive(SimpleObject)]
pub(super) struct ConversationChanged {
    conversation: Row<Conversation>,
    cursor: String,
}

/// The viewer deleted a conversation, here or on another device.
#[derive(SimpleObject)]
pub(super) struct ConversationRemoved {
    conversation_id: ID,
    contact: User,
    cursor: String,
}

/// The back office changed the section.
#[derive(SimpleObject)]
pub(super) struct ChatSectionChanged {
    chat_section: ChatSection,
    cursor: String,
}

/// The profile of a contact or of the viewer changed, or whether the viewer blocks somebody who has
/// no row in the list.
#[derive(SimpleObject)]
pub(super) struct ContactChanged {
    contact: User,
    cursor: String,
}

/// Everything missed has been told: from here on it is live.
#[derive(SimpleObject)]
pub(super) struct CaughtUp {
    cursor: String,
}

/// Too much was missed, the cursor is not valid any more, or the viewer was erased, whose texts are
/// others everywhere: query afresh. What follows is live.
#[derive(SimpleObject)]
pub(super) struct ResetRequired {
    cursor: String,
}

/// One thing that the viewer is told. Each has the cursor to resume after.
#[derive(Union)]
pub(super) enum InboxEvent {
    MessageAdded(MessageAdded),
    ConversationChanged(ConversationChanged),
    ConversationRemoved(ConversationRemoved),
    ChatSectionChanged(ChatSectionChanged),
    ContactChanged(ContactChanged),
    CaughtUp(CaughtUp),
    ResetRequired(ResetRequired),
}

pub struct Subscription;

/// What a viewer can follow.
#[Subscription]
impl Subscription {
    /// What concerns the viewer. With the last cursor seen, everything since comes first; then
    /// `CaughtUp`, then live.
    async fn inbox(
        &self,
        context: &Context<'_>,
        #[expect(unused_variables, reason = "who follows has looked at it")] after: Option<String>,
    ) -> impl Stream<Item = Result<InboxEvent>> + use<> {
        let session = Arc::clone(Session::of(context));
        let delivered = Arc::clone(context.data_unchecked::<Arc<Delivered>>());
        stream::once(async move {
            let said = match delivered.take(&session)? {
                Ok(told) => event(&session, told).await,
                Err(error) => Err(error),
            };
            if said.is_err() {
                delivered.fail();
            }
            said.transpose()
        })
        .filter_map(std::future::ready)
    }

    /// For the role `auditor`: the events of the log, or those wanted, as they are appended. With the cursor of an
    /// event, all since come first.
    async fn event_log(
        &self,
        context: &Context<'_>,
        filter: Option<EventFilter>,
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<LoggedEvent>> + use<>> {
        let session = Arc::clone(Session::of(context));
        let auditor = session.viewer.auditor().top_level(&session)?;
        let selection = filter.unwrap_or_default().selection()?;
        let after = after.map(|cursor| Position::decode(&cursor).ok_or_else(|| bad_input("`after` is not a cursor of this log"))).transpose()?;
        let events = session.app.event_log(&auditor, selection, after);
        Ok(until_it_fails(events.map(move |event| event.top_level(&session).map(LoggedEvent))))
    }
}

/// Ends after an error.
fn until_it_fails<T>(items: impl Stream<Item = Result<T>>) -> impl Stream<Item = Result<T>> {
    items.scan(false, |failed, item| {
        let over = std::mem::replace(failed, item.is_err());
        std::future::ready((!over).then_some(item))
    })
}

/// What is told, as it is now. None where it is so no more: another event that says so follows.
async fn event(session: &Arc<Session>, told: Told) -> Result<Option<InboxEvent>, Error> {
    let cursor = session.app.inbox_cursor(&session.viewer, told.position());
    let change = match told {
        Told::CaughtUp(_) => return Ok(Some(InboxEvent::CaughtUp(CaughtUp { cursor }))),
        Told::ResetRequired(_) => return Ok(Some(InboxEvent::ResetRequired(ResetRequired { cursor }))),
        Told::Item(item) => item.change,
    };
    Ok(match change {
        ItemChange::MessageAdded { contact, mut message } => {
            let view = load_view(session, &contact).await?;
            // It waited for this client while its sender was erased.
            if message.sender == contact && message.position < view.erased_at {
                message.text = MessageText::erased();
            }
            let message = Row(Message::of(session, Some(Arc::clone(&view)), *message));
            let conversation = Conversation::listed(session, view).map(Row);
            conversation.map(|conversation| InboxEvent::MessageAdded(MessageAdded { message, conversation, cursor }))
        }
        ItemChange::ConversationChanged { contact } => {
            let conversation = Conversation::listed(session, load_view(session, &contact).await?).map(Row);
            conversation.map(|conversation| InboxEvent::ConversationChanged(ConversationChanged { conversation, cursor }))
        }
        ItemChange::ConversationRemoved { contact } => {
            let conversation_id = conversation_node_id(ConversationId::between(session.viewer.id(), &contact)).into();
            let contact = User::of(session, load_view(session, &contact).await?);
            Some(InboxEvent::ConversationRemoved(ConversationRemoved { conversation_id, contact, cursor }))
        }
        ItemChange::ContactChanged { user } => {
            let contact = User::of(session, load_view(session, &user).await?);
            Some(InboxEvent::ContactChanged(ContactChanged { contact, cursor }))
        }
        // The inbox tells it as [`Told::ResetRequired`].
        ItemChange::EverythingChanged => None,
        ItemChange::SectionChanged => {
            let chat_section = session.app.chat_section().await.top_level(session)?.into();
            Some(InboxEvent::ChatSectionChanged(ChatSectionChanged { chat_section, cursor }))
        }
    })
}
