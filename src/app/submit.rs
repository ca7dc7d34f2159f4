//! Commands on conversations, and how any is done: load the state, decide, append, and answer once the views show it. A
//! conflict with another command is decided again and never seen outside.

use std::sync::Arc;

use tracing::{Instrument as _, debug_span};

use super::access::Viewer;
use super::standing::Known;
use super::{App, AppError, Fault, final_append_error};
use crate::domain::conversation::{self, ConversationCommand, ConversationEvent, MessageSent, Side, UpTo};
use crate::domain::event::{Event, Position, RecordedEvent, Stream};
use crate::domain::ids::{ConversationId, InvalidMessageId, MessageId, UserId};
use crate::domain::text::MessageText;
use crate::domain::user::User;
use crate::domain::{InvalidInput, Refusal};
use crate::event_log::{Append, AppendError};
use crate::projections::Projection;
use crate::projections::messages::{MessageRow, Messages};

/// How often a conflict is decided again. Every round somebody's command goes through.
pub(super) const ATTEMPTS: usize = 32;
/// How many events the views may lack of what a sender is answered for. It bounds how long a reader waits for them.
const ANSWERED_AHEAD: u64 = 256;

/// The answer to a conversation's command.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The viewer's side before the command.
    pub before: Side,
}

impl Done {
    /// How many messages an unblock revealed (B3).
    #[must_use]
    pub fn revealed(&self) -> u64 {
        self.before.withheld()
    }

    /// Whether a deletion left no row to unblock from (D4).
    #[must_use]
    pub fn deleted_while_blocking(&self) -> bool {
        self.before.is_blocking()
    }
}

impl App {
    /// Whether the viewer may send so many messages now.
    ///
    /// # Errors
    /// [`AppError::RateLimited`] when they send faster than allowed.
    pub fn admit_sends(&self, viewer: &Viewer, count: usize) -> Result<(), AppError> {
        self.0.send_rate.take(viewer.id(), count, self.now()).map_err(|retry_after_seconds| AppError::RateLimited { retry_after_seconds })
    }

    /// Sends a message (S). The same id, recipient and text again returns the first result.
    ///
    /// # Errors
    /// A refusal in the order of S8, or a fault.
    pub async fn send_message(&self, viewer: &Viewer, to: &str, text: &str, id: Option<&str>) -> Result<MessageRow, AppError> {
        let text = MessageText::parse(text).map_err(Refusal::from)?;
        let contact = other_user(viewer, to)?;
        let chosen = id.map(MessageId::parse).transpose().map_err(|InvalidMessageId| Refusal::from(InvalidInput::MessageId))?;
        let id = chosen.unwrap_or_else(|| MessageId(self.new_id()));
        let message = Message { id, text, is_chosen: chosen.is_some() };
        let (app, by, to, sent) = (self.clone(), viewer.clone(), contact.clone(), message.clone());
        match self.to_its_end(viewer, async move { app.append_message(&by, &to, &sent).await }).await {
            Ok(recorded) => self.shown(viewer, recorded).await,
            Err(AppError::Refused(refusal @ (Refusal::ContactBlocked | Refusal::NotContactable))) if chosen.is_some() => match self.0.log.find(id.0).await? {
                Some(first) => self.shown(viewer, self.same_message(first, viewer, &contact, &message).await?).await,
                None => Err(refusal.into()),
            },
            Err(error) => Err(error),
        }
    }

    async fn append_message(&self, viewer: &Viewer, contact: &UserId, message: &Message) -> Result<RecordedEvent, AppError> {
        let conversation = ConversationId::between(viewer.id(), contact);
        let command = self.new_id();
        // Not while it is their turn: others would wait, too.
        self.0.log.is_ready_for(viewer.id()).await?;
        let _turn = self.turn(conversation).await;
        for attempt in 0..ATTEMPTS {
            let Known { standing, contact: looked_up } = self.standing(viewer.id(), contact, conversation, attempt > 0).await?;
            self.names_nobody(message).await?;
            let side = standing.side_of(viewer.id(), contact);
            // Who stands in the list was registered and may be written to whatever the switch says.
            let contactable = side.is_listed()
                || match looked_up {
                    Some(user) => user.contactable,
                    None => self.registered(contact).await?.contactable,
                };
            let send = ConversationCommand::Send { id: message.id, text: message.text.clone(), contactable };
            let decision = conversation::decide(&side, viewer.id(), contact, send);
            if decision.is_err() && !self.is_latest(conversation, &standing).await? {
                continue;
            }
            let events = self.decided(decision).await?;
            let append = self.append(viewer, command, Stream::Conversation(conversation), standing.version, events, Some(message.id));
            match self.0.log.append(append).instrument(debug_span!("append")).await {
                Ok(recorded) => {
                    self.remember(viewer.id(), contact, conversation, standing, &recorded);
                    return recorded.into_iter().next().ok_or_else(|| Fault::Unexpected.into());
                }
                Err(AppendError::IdTaken(Some(first))) => return self.same_message(*first, viewer, contact, message).await,
                Err(AppendError::IdTaken(None)) => return Err(Refusal::MessageIdReused.into()),
                Err(AppendError::Conflict { .. }) => self.forget(conversation),
                Err(AppendError::Log(error)) => return Err(error.into()),
            }
        }
        Err(Fault::Contended.into())
    }

    /// A sent message's row, once the views are near. Where this process alone appends, whoever looks for the message waits
    /// for the views; elsewhere they show it before anybody is answered.
    async fn shown(&self, viewer: &Viewer, recorded: RecordedEvent) -> Result<MessageRow, AppError> {
        let most = if self.0.log.is_shared() { 0 } else { ANSWERED_AHEAD };
        self.0.progress.answer_ahead(recorded.position, most).instrument(debug_span!("project")).await?;
        let row = Messages::touched(&recorded).first().and_then(|key| Messages::evolve(key, None, &recorded));
        debug_assert!(row.as_ref().is_none_or(|row| row.sender == *viewer.id()));
        row.ok_or_else(|| Fault::Unexpected.into())
    }

    /// Waits until the views show an event, so that whatever the client asks next shows it too.
    async fn shown_up_to(&self, position: Position) -> Result<(), AppError> {
        Ok(self.0.progress.reached(position).instrument(debug_span!("project")).await?)
    }

    /// Opens the conversation (D2).
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn open_conversation(&self, viewer: &Viewer, with: &str) -> Result<UserId, AppError> {
        let contact = other_user(viewer, with)?;
        let contactable = self.registered(&contact).await?.contactable;
        self.command(viewer, &contact, ConversationCommand::Open { contactable }).await?;
        Ok(contact)
    }

    /// Marks as read, up to a message or to the latest visible (L3).
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn mark_as_read(&self, viewer: &Viewer, with: &str, up_to: Option<&str>) -> Result<UserId, AppError> {
        let contact = self.known_user(viewer, with).await?;
        let up_to = match up_to {
            None => UpTo::LatestVisible,
            Some(id) => {
                let conversation = ConversationId::between(viewer.id(), &contact);
                let message = match MessageId::parse(id) {
                    Ok(id) => self.views().await?.message(id).await?.filter(|message| message.conversation == conversation),
                    Err(InvalidMessageId) => None,
                };
                message.map_or(UpTo::Nothing, |message| UpTo::Message(message.place_for(viewer.id())))
            }
        };
        self.command(viewer, &contact, ConversationCommand::MarkAsRead { up_to }).await?;
        Ok(contact)
    }

    /// Deletes the conversation from the viewer's list (D1).
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn delete_conversation(&self, viewer: &Viewer, with: &str) -> Result<(ConversationId, Done), AppError> {
        let contact = self.known_user(viewer, with).await?;
        let done = self.command(viewer, &contact, ConversationCommand::Delete).await?;
        Ok((ConversationId::between(viewer.id(), &contact), done))
    }

    /// Blocks a user (B1).
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn block_user(&self, viewer: &Viewer, user: &str) -> Result<UserId, AppError> {
        let contact = self.known_user(viewer, user).await?;
        self.command(viewer, &contact, ConversationCommand::Block).await?;
        Ok(contact)
    }

    /// Unblocks a user (B3).
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn unblock_user(&self, viewer: &Viewer, user: &str) -> Result<(UserId, Done), AppError> {
        let contact = self.known_user(viewer, user).await?;
        let done = self.command(viewer, &contact, ConversationCommand::Unblock).await?;
        Ok((contact, done))
    }

    /// A command on the viewer's conversation with a registered contact.
    async fn command(&self, viewer: &Viewer, contact: &UserId, command: ConversationCommand) -> Result<Done, AppError> {
        let (app, by, contact) = (self.clone(), viewer.clone(), contact.clone());
        self.to_its_end(viewer, async move { app.decide_and_append(&by, &contact, &command).await }).await
    }

    async fn decide_and_append(&self, viewer: &Viewer, contact: &UserId, command: &ConversationCommand) -> Result<Done, AppError> {
        let conversation = ConversationId::between(viewer.id(), contact);
        let id = self.new_id();
        let turn = self.turn(conversation).await;
        for attempt in 0..ATTEMPTS {
            let Known { standing, .. } = self.standing(viewer.id(), contact, conversation, attempt > 0).await?;
            let side = standing.side_of(viewer.id(), contact);
            let decision = conversation::decide(&side, viewer.id(), contact, command.clone());
            let appends = decision.as_ref().is_ok_and(|events| !events.is_empty());
            if !appends && !self.is_latest(conversation, &standing).await? {
                continue;
            }
            let events = self.decided(decision).await?;
            let done = Done { before: side };
            if events.is_empty() {
                drop(turn);
                self.views_reach_head().await?;
                return Ok(done);
            }
            let append = self.append(viewer, id, Stream::Conversation(conversation), standing.version, events, None);
            match self.0.log.append(append).instrument(debug_span!("append")).await {
                Ok(recorded) => {
                    self.remember(viewer.id(), contact, conversation, standing, &recorded);
                    drop(turn);
                    self.shown_up_to(last_position(&recorded)).await?;
                    return Ok(done);
                }
                Err(AppendError::Conflict { .. }) => self.forget(conversation),
                Err(error) => return Err(final_append_error(error).into()),
            }
        }
        Err(Fault::Contended.into())
    }

    /// A refusal too is answered only when the views show why.
    async fn decided<T>(&self, decision: Result<T, Refusal>) -> Result<T, AppError> {
        if decision.is_err() {
            self.views_reach_head().await?;
        }
        Ok(decision?)
    }

    /// Appends what was decided on a version and waits for the views; false where the stream was at
    /// another version. Nothing to append is already so.
    pub(super) async fn append_or_conflict<E: Into<Event>>(
        &self,
        viewer: &Viewer,
        command: uuid::Uuid,
        stream: Stream,
        version: u64,
        events: Vec<E>,
    ) -> Result<bool, AppError> {
        if events.is_empty() {
            return Ok(true);
        }
        match self.0.log.append(self.append(viewer, command, stream, version, events, None)).instrument(debug_span!("append")).await {
            Ok(recorded) => {
                self.shown_up_to(last_position(&recorded)).await?;
                Ok(true)
            }
            Err(AppendError::Conflict { .. }) => Ok(false),
            Err(error) => Err(final_append_error(error).into()),
        }
    }

    fn append<E: Into<Event>>(&self, viewer: &Viewer, command: uuid::Uuid, stream: Stream, expected: u64, events: Vec<E>, id: Option<MessageId>) -> Append {
        let events = events.into_iter().map(|event| (id.map_or_else(|| self.new_id(), |id| id.0), event.into())).collect();
        Append { stream, expected, metadata: viewer.metadata(command), events }
    }

    async fn registered(&self, user: &UserId) -> Result<User, AppError> {
        Ok(self.0.store.user(user).await?.ok_or(Refusal::UserNotFound)?.user)
    }

    /// A new message must not take the id of a user: clients keep both in one store, by id.
    async fn names_nobody(&self, message: &Message) -> Result<(), AppError> {
        let is_taken = message.is_chosen && self.is_a_user(message.id).await? && self.0.log.find(message.id.0).await?.is_none();
        if is_taken { Err(Refusal::MessageIdReused.into()) } else { Ok(()) }
    }

    /// S5: the event that has a message's id already is the same message, or the id is reused. Of one whose sender was erased since
    /// nobody knows the text any more.
    async fn same_message(&self, first: RecordedEvent, viewer: &Viewer, contact: &UserId, message: &Message) -> Result<RecordedEvent, AppError> {
        let Event::Conversation(ConversationEvent::MessageSent(MessageSent { sender, recipient, text, .. })) = &first.event else {
            return Err(Refusal::MessageIdReused.into());
        };
        let is_same = sender == viewer.id()
            && recipient == contact
            && (*text == message.text || *text == MessageText::erased() && self.was_erased_since(sender, first.position).await?);
        if is_same { Ok(first) } else { Err(Refusal::MessageIdReused.into()) }
    }

    /// An erasure begins with the key.
    async fn was_erased_since(&self, user: &UserId, position: Position) -> Result<bool, AppError> {
        self.views_reach_head().await?;
        let is_told = self.0.store.user(user).await?.is_some_and(|user| user.erased_at > position);
        Ok(is_told || self.0.log.keys().requested_erasures().await?.iter().any(|requested| requested.user == *user))
    }

    /// Lets a command end even when nobody waits for its answer any more: a client that goes away between an
    /// append and its outcome must not leave the state in memory behind the log. While a log hangs, they are not to
    /// become ever more; nor are those of one user to leave no room for others.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        viewer: &Viewer,
        command: impl Future<Output = Result<T, AppError>> + Send + 'static,
    ) -> Result<T, AppError> {
        let share = self.0.commands_of_user.take(viewer.id()).ok_or(AppError::RateLimited { retry_after_seconds: 1 })?;
        let place = Arc::clone(&self.0.commands).try_acquire_owned().map_err(|_| Fault::Full)?;
        let to_its_end = async {
            let _place = (place, share);
            command.await
        };
        tokio::spawn(to_its_end.in_current_span()).await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Fault::Stalled.into()),
        })
    }

    /// The other user of a command: registered, and not the viewer.
    async fn known_user(&self, viewer: &Viewer, id: &str) -> Result<UserId, AppError> {
        let contact = other_user(viewer, id)?;
        self.registered(&contact).await?;
        Ok(contact)
    }
}

/// What is sent, under which id.
#[derive(Clone)]
struct Message {
    id: MessageId,
    text: MessageText,
    /// The id is the client's.
    is_chosen: bool,
}

/// An id that cannot be anybody's is nobody's.
fn other_user(viewer: &Viewer, id: &str) -> Result<UserId, Refusal> {
    if id == viewer.id().as_str() {
        return Err(Refusal::Oneself);
    }
    UserId::parse(id).map_err(|_| Refusal::UserNotFound)
}

fn last_position(recorded: &[RecordedEvent]) -> Position {
    recorded.last().map(|event| event.position).unwrap_or_default()
}
