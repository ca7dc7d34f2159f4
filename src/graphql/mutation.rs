//! What a viewer can do. One input and one payload a mutation; a payload has the changed nodes in
//! full, or says in `userErrors` why nothing changed.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use futures_util::future::BoxFuture;

use super::errors::{TopLevel, UserError, UserErrorCode, or_refused};
use super::ready::Row;
use super::section::ChatSection;
use super::session::Session;
use super::types::{Conversation, Message, User, conversation_node_id, int, load_view};
use crate::app::AppError;
use crate::app::community::{NewUser, ProfileChange, SectionChange};
use crate::domain::ids::UserId;
use crate::metrics::{METRICS, RATE_LIMITED};
use crate::read_store::UserView;

/// A message to send.
#[derive(InputObject)]
pub(super) struct SendMessageInput {
    to: ID,
    text: String,
    /// A UUID that the client chose: with it a retry is safe. A message has it in lower case.
    message_id: Option<ID>,
}

/// What became of a message.
#[derive(Default, SimpleObject)]
pub(super) struct SendMessagePayload {
    message: Option<Row<Message>>,
    conversation: Option<Conversation>,
    user_errors: Vec<UserError>,
}

/// With whom to open a conversation.
#[derive(InputObject)]
pub(super) struct OpenConversationInput {
    with: ID,
}

/// The opened conversation.
#[derive(Default, SimpleObject)]
pub(super) struct OpenConversationPayload {
    conversation: Option<Conversation>,
    user_errors: Vec<UserError>,
}

/// What to mark as read.
#[derive(InputObject)]
pub(super) struct MarkAsReadInput {
    with: ID,
    /// A message's id; without it, up to the latest visible.
    up_to: Option<ID>,
}

/// The conversation with its new badge.
#[derive(Default, SimpleObject)]
pub(super) struct MarkAsReadPayload {
    conversation: Option<Conversation>,
    user_errors: Vec<UserError>,
}

/// With whom to delete the conversation.
#[derive(InputObject)]
pub(super) struct DeleteConversationInput {
    with: ID,
}

/// What to know of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum DeleteWarning {
    /// The contact is blocked, and there is no row to unblock from until the conversation is opened again.
    CannotUnblockWhileDeleted,
}

/// What was deleted.
#[derive(Default, SimpleObject)]
pub(super) struct DeleteConversationPayload {
    deleted_conversation_id: Option<ID>,
    warning: Option<DeleteWarning>,
    user_errors: Vec<UserError>,
}

/// Whom to block.
#[derive(InputObject)]
pub(super) struct BlockUserInput {
    user_id: ID,
}

/// The blocked user.
#[derive(Default, SimpleObject)]
pub(super) struct BlockUserPayload {
    user: Option<User>,
    conversation: Option<Conversation>,
    user_errors: Vec<UserError>,
}

/// Whom to unblock.
#[derive(InputObject)]
pub(super) struct UnblockUserInput {
    user_id: ID,
}

/// The unblocked user, and what appeared.
#[derive(Default, SimpleObject)]
pub(super) struct UnblockUserPayload {
    user: Option<User>,
    conversation: Option<Conversation>,
    /// How many withheld messages appeared.
    revealed_count: Option<i32>,
    user_errors: Vec<UserError>,
}

/// Whether other users may write first.
#[derive(InputObject)]
pub(super) struct ToggleContactableInput {
    contactable: bool,
}

/// The viewer with the new setting.
#[derive(Default, SimpleObject)]
pub(super) struct ToggleContactablePayload {
    user: Option<User>,
    user_errors: Vec<UserError>,
}

/// What is not given stays as it is.
#[derive(InputObject)]
pub(super) struct UpdateProfileInput {
    name: Option<String>,
    /// An http or https URL; null: back to the default image.
    avatar_url: MaybeUndefined<String>,
}

/// The viewer with the new profile.
#[derive(Default, SimpleObject)]
pub(super) struct UpdateProfilePayload {
    user: Option<User>,
    user_errors: Vec<UserError>,
}

/// What is not given stays as it is.
#[derive(InputObject)]
pub(super) struct ConfigureChatSectionInput {
    title: Option<String>,
    list_template: Option<i32>,
    detail_template: Option<i32>,
}

/// The section as it is designed now.
#[derive(Default, SimpleObject)]
pub(super) struct ConfigureChatSectionPayload {
    chat_section: Option<ChatSection>,
    user_errors: Vec<UserError>,
}

/// Whom to erase.
#[derive(InputObject)]
pub(super) struct EraseUserInput {
    user_id: ID,
}

/// What is left of them.
#[derive(Default, SimpleObject)]
pub(super) struct EraseUserPayload {
    user: Option<User>,
    user_errors: Vec<UserError>,
}

/// Whom to register.
#[derive(InputObject)]
pub(super) struct RegisterUsersInput {
    users: Vec<NewUserInput>,
}

/// A user to register.
#[derive(InputObject)]
pub(super) struct NewUserInput {
    id: ID,
    name: String,
    avatar_url: Option<String>,
}

/// The registered users.
#[derive(Default, SimpleObject)]
pub(super) struct RegisterUsersPayload {
    users: Option<Vec<User>>,
    user_errors: Vec<UserError>,
}

pub struct Mutation;

/// What a viewer can do. A payload has the changed nodes in full, or says in `userErrors` why nothing changed.
#[Object]
impl Mutation {
    /// Sends a message. The same `messageId`, recipient and text again gives the first result.
    async fn send_message(&self, context: &Context<'_>, input: SendMessageInput) -> Result<SendMessagePayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let id = input.message_id.as_ref().map(|id| id.as_str());
        let sent = counted("sendMessage", session.app.send_message(&session.viewer, &input.to, &input.text, id)).await;
        Ok(match or_refused(sent, session)? {
            Ok(row) => {
                // Most clients ask for the message alone: the row costs a read.
                let contact = if context.look_ahead().field("conversation").exists() {
                    Some(load_view(session, &UserId::from_stored(input.to.as_str())).await?)
                } else {
                    None
                };
                SendMessagePayload {
                    message: Some(Row(Message::of(session, contact.clone(), row))),
                    conversation: contact.and_then(|contact| Conversation::listed(session, contact)),
                    user_errors: vec![],
                }
            }
            Err(refused) => SendMessagePayload {
                user_errors: vec![refused.about(|code| match code {
                    UserErrorCode::TextEmpty
                    | UserErrorCode::TextTooLong
                    | UserErrorCode::TextHasEmoji
                    | UserErrorCode::TextHasUrl
                    | UserErrorCode::TextHasControlCharacter => "text",
                    UserErrorCode::MessageIdReused | UserErrorCode::InvalidInput => "messageId",
                    UserErrorCode::Oneself
                    | UserErrorCode::UserNotFound
                    | UserErrorCode::NotContactable
                    | UserErrorCode::ContactBlocked
                    | UserErrorCode::ConversationNotFound
                    | UserErrorCode::ConversationDeleted
                    | UserErrorCode::MessageNotFound
                    | UserErrorCode::UserLimitReached => "to",
                })],
                ..Default::default()
            },
        })
    }

    /// What the 'send a message' button does: brings a deleted conversation back whole, or gives an
    /// empty one to write into.
    async fn open_conversation(&self, context: &Context<'_>, input: OpenConversationInput) -> Result<OpenConversationPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let opened = counted("openConversation", session.app.open_conversation(&session.viewer, &input.with)).await;
        Ok(match or_refused(opened, session)? {
            Ok(contact) => {
                let conversation = Conversation::listed_or_empty(session, load_view(session, &contact).await?);
                OpenConversationPayload { conversation: Some(conversation), user_errors: vec![] }
            }
            Err(refused) => OpenConversationPayload { user_errors: vec![refused.about(|_| "with")], ..Default::default() },
        })
    }

    /// Clears the badge, up to a message or to the latest visible. The contact cannot see it.
    async fn mark_as_read(&self, context: &Context<'_>, input: MarkAsReadInput) -> Result<MarkAsReadPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let up_to = input.up_to.as_ref().map(|id| id.as_str());
        let read = counted("markAsRead", session.app.mark_as_read(&session.viewer, &input.with, up_to)).await;
        Ok(match or_refused(read, session)? {
            Ok(contact) => MarkAsReadPayload { conversation: Conversation::listed(session, load_view(session, &contact).await?), user_errors: vec![] },
            Err(refused) => MarkAsReadPayload {
                user_errors: vec![refused.about(|code| if code == UserErrorCode::MessageNotFound { "upTo" } else { "with" })],
                ..Default::default()
            },
        })
    }

    /// Removes the conversation from the viewer's list and history. It is untouched for the contact.
    async fn delete_conversation(&self, context: &Context<'_>, input: DeleteConversationInput) -> Result<DeleteConversationPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let deleted = counted("deleteConversation", session.app.delete_conversation(&session.viewer, &input.with)).await;
        Ok(match or_refused(deleted, session)? {
            Ok((conversation, done)) => DeleteConversationPayload {
                deleted_conversation_id: Some(conversation_node_id(conversation).into()),
                warning: done.deleted_while_blocking().then_some(DeleteWarning::CannotUnblockWhileDeleted),
                user_errors: vec![],
            },
            Err(refused) => DeleteConversationPayload { user_errors: vec![refused.about(|_| "with")], ..Default::default() },
        })
    }

    /// Blocks a user: their messages are withheld from now on. They cannot notice.
    async fn block_user(&self, context: &Context<'_>, input: BlockUserInput) -> Result<BlockUserPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let blocked = counted("blockUser", session.app.block_user(&session.viewer, &input.user_id)).await;
        Ok(match or_refused(blocked, session)? {
            Ok(contact) => {
                let (user, conversation) = user_and_conversation(session, load_view(session, &contact).await?);
                BlockUserPayload { user: Some(user), conversation, user_errors: vec![] }
            }
            Err(refused) => BlockUserPayload { user_errors: vec![refused.about(|_| "userId")], ..Default::default() },
        })
    }

    /// Unblocks a user: what was withheld appears in its place.
    async fn unblock_user(&self, context: &Context<'_>, input: UnblockUserInput) -> Result<UnblockUserPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let unblocked = counted("unblockUser", session.app.unblock_user(&session.viewer, &input.user_id)).await;
        Ok(match or_refused(unblocked, session)? {
            Ok((contact, done)) => {
                let (user, conversation) = user_and_conversation(session, load_view(session, &contact).await?);
                UnblockUserPayload { user: Some(user), conversation, revealed_count: Some(int(done.revealed())), user_errors: vec![] }
            }
            Err(refused) => UnblockUserPayload { user_errors: vec![refused.about(|_| "userId")], ..Default::default() },
        })
    }

    /// Whether other users may write to the viewer first.
    async fn toggle_contactable(&self, context: &Context<'_>, input: ToggleContactableInput) -> Result<ToggleContactablePayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let toggled = counted("toggleContactable", session.app.toggle_contactable(&session.viewer, input.contactable)).await;
        Ok(match or_refused(toggled, session)? {
            Ok(()) => ToggleContactablePayload { user: Some(User::of(session, session.me().await?)), user_errors: vec![] },
            Err(refused) => ToggleContactablePayload { user_errors: vec![refused], ..Default::default() },
        })
    }

    /// Changes the viewer's name or picture.
    async fn update_profile(&self, context: &Context<'_>, input: UpdateProfileInput) -> Result<UpdateProfilePayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let picture = match input.avatar_url {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(url) => Some(Some(url)),
        };
        let updated = counted("updateProfile", session.app.update_profile(&session.viewer, ProfileChange { name: input.name, picture })).await;
        Ok(match or_refused(updated, session)? {
            Ok(()) => UpdateProfilePayload { user: Some(User::of(session, session.me().await?)), user_errors: vec![] },
            Err(refused) => UpdateProfilePayload { user_errors: vec![refused], ..Default::default() },
        })
    }

    /// Designs the chat section. Administrators only.
    async fn configure_chat_section(&self, context: &Context<'_>, input: ConfigureChatSectionInput) -> Result<ConfigureChatSectionPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let change =
            SectionChange { title: input.title, list_template: input.list_template.map(Into::into), detail_template: input.detail_template.map(Into::into) };
        let configured = counted("configureChatSection", session.app.configure_chat_section(&session.viewer.administrator().top_level(session)?, change)).await;
        Ok(match or_refused(configured, session)? {
            Ok(section) => ConfigureChatSectionPayload { chat_section: Some(section.into()), user_errors: vec![] },
            Err(refused) => ConfigureChatSectionPayload { user_errors: vec![refused], ..Default::default() },
        })
    }

    /// Registers users ahead of their first sign-in, all or none. Administrators only.
    async fn register_users(&self, context: &Context<'_>, input: RegisterUsersInput) -> Result<RegisterUsersPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let users = input.users.into_iter().map(|user| NewUser { id: user.id.0, name: user.name, picture: user.avatar_url }).collect();
        let registered = counted("registerUsers", session.app.register_users(&session.viewer.administrator().top_level(session)?, users)).await;
        Ok(match or_refused(registered, session)? {
            Ok(ids) => {
                let mut users = Vec::new();
                if context.look_ahead().field("users").exists() {
                    for id in ids {
                        users.push(User::of(session, load_view(session, &id).await?));
                    }
                }
                RegisterUsersPayload { users: Some(users), user_errors: vec![] }
            }
            Err(refused) => RegisterUsersPayload { user_errors: vec![refused.about(|_| "users")], ..Default::default() },
        })
    }

    /// Erases what a person wrote and was called, for good: from the log, its copies and every screen. Administrators only.
    async fn erase_user(&self, context: &Context<'_>, input: EraseUserInput) -> Result<EraseUserPayload> {
        let session = &Session::of(context).with_nothing_remembered();
        let erased = counted("eraseUser", session.app.erase_user(&session.viewer.administrator().top_level(session)?, &input.user_id)).await;
        Ok(match or_refused(erased, session)? {
            Ok(id) => EraseUserPayload { user: Some(User::of(session, load_view(session, &id).await?)), user_errors: vec![] },
            Err(refused) => EraseUserPayload { user_errors: vec![refused.about(|_| "userId")], ..Default::default() },
        })
    }
}

/// Runs a command and counts what became of it.
fn counted<'a, T: 'a>(command: &'static str, run: impl Future<Output = Result<T, AppError>> + Send + 'a) -> impl Future<Output = Result<T, AppError>> + 'a {
    let run: BoxFuture<'a, _> = Box::pin(run);
    let outcome = |error: &AppError| match error {
        AppError::Refused(_) => "refused",
        AppError::RateLimited { .. } => RATE_LIMITED,
        AppError::Unavailable(_) => "unavailable",
    };
    METRICS.count_command(command, run, outcome)
}

fn user_and_conversation(session: &Arc<Session>, view: Arc<UserView>) -> (User, Option<Conversation>) {
    (User::of(session, Arc::clone(&view)), Conversation::listed(session, view))
}
