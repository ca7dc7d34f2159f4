//! Stored names and shapes of events: the only place that knows them, and the only one that may ever
//! know old ones. One golden file a shape under `tests/golden/`; none is ever edited.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::domain::community::UserRegistered;
use crate::domain::conversation::{ConversationEvent, MessageSent};
use crate::domain::event::Event;
use crate::domain::ids::{MessageId, UserId};
use crate::domain::profile::{Name, Picture, Profile};
use crate::domain::section::{ChatSection, SectionConfigured, Title};
use crate::domain::text::MessageText;
use crate::domain::user::UserEvent;

/// Why a stored event cannot be read. Never quotes the data.
#[derive(Debug, Error)]
pub enum DecodeError {
    #[error("this version does not know the event type {0:?}")]
    UnknownType(String),
    #[error("its data does not have the shape of {kind} (line {line}, column {column})")]
    Shape { kind: &'static str, line: usize, column: usize },
    #[error("its data has a template that does not exist")]
    Template,
}

/// What a person wrote or is called. The one type that every text, name and picture passes through,
/// so that they can be stored otherwise than in clear without anything else knowing.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Personal<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Personal<'a> {
    fn seal(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    fn open(&self) -> &str {
        &self.0
    }
}

const USER_REGISTERED: &str = "UserRegistered";
const CONTACTABLE_CHANGED: &str = "ContactableChanged";
const PROFILE_UPDATED: &str = "ProfileUpdated";
pub(super) const MESSAGE_SENT: &str = "MessageSent";
const MESSAGES_READ: &str = "MessagesRead";
const CONVERSATION_DELETED: &str = "ConversationDeleted";
const CONVERSATION_REOPENED: &str = "ConversationReopened";
const USER_BLOCKED: &str = "UserBlocked";
const USER_UNBLOCKED: &str = "UserUnblocked";
const SECTION_CONFIGURED: &str = "SectionConfigured";

#[derive(Serialize, Deserialize)]
struct StoredProfile<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    name: Personal<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    picture: Option<Personal<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredContactable<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    contactable: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredMessage<'a> {
    #[serde(borrow)]
    sender: Cow<'a, str>,
    #[serde(borrow)]
    recipient: Cow<'a, str>,
    #[serde(borrow)]
    text: Personal<'a>,
    number: u64,
    #[serde(rename = "senderNumber")]
    sender_number: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredReading<'a> {
    #[serde(borrow)]
    reader: Cow<'a, str>,
    #[serde(borrow)]
    contact: Cow<'a, str>,
    received: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredOwnership<'a> {
    #[serde(borrow)]
    owner: Cow<'a, str>,
    #[serde(borrow)]
    contact: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct StoredBlock<'a> {
    #[serde(borrow)]
    blocker: Cow<'a, str>,
    #[serde(borrow)]
    blocked: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct StoredSection<'a> {
    #[serde(borrow)]
    title: Cow<'a, str>,
    #[serde(rename = "listTemplate")]
    list_template: u8,
    #[serde(rename = "detailTemplate")]
    detail_template: u8,
}

/// The event's stored name and its data as JSON. A message's id is its event's, so it is not in the data.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, String) {
    match event {
        Event::Community(UserRegistered { user, profile }) => (USER_REGISTERED, json(&stored_profile(user, profile))),
        Event::User(UserEvent::ContactableChanged { user, contactable }) => {
            (CONTACTABLE_CHANGED, json(&StoredContactable { user: user.as_str().into(), contactable: *contactable }))
        }
        Event::User(UserEvent::ProfileUpdated { user, profile }) => (PROFILE_UPDATED, json(&stored_profile(user, profile))),
        Event::Conversation(event) => encode_conversation(event),
        Event::Section(SectionConfigured { section }) => (
            SECTION_CONFIGURED,
            json(&StoredSection {
                title: section.title.as_str().into(),
                list_template: section.list_template.number(),
                detail_template: section.detail_template.number(),
            }),
        ),
    }
}

fn encode_conversation(event: &ConversationEvent) -> (&'static str, String) {
    let owned = |owner: &UserId, contact: &UserId| json(&StoredOwnership { owner: owner.as_str().into(), contact: contact.as_str().into() });
    let block = |blocker: &UserId, blocked: &UserId| json(&StoredBlock { blocker: blocker.as_str().into(), blocked: blocked.as_str().into() });
    match event {
        ConversationEvent::MessageSent(message) => (
            MESSAGE_SENT,
            json(&StoredMessage {
                sender: message.sender.as_str().into(),
                recipient: message.recipient.as_str().into(),
                text: Personal::seal(message.text.as_str()),
                number: message.number,
                sender_number: message.sender_number,
            }),
        ),
        ConversationEvent::MessagesRead { reader, contact, received } => {
            (MESSAGES_READ, json(&StoredReading { reader: reader.as_str().into(), contact: contact.as_str().into(), received: *received }))
        }
        ConversationEvent::ConversationDeleted { owner, contact } => (CONVERSATION_DELETED, owned(owner, contact)),
        ConversationEvent::ConversationReopened { owner, contact } => (CONVERSATION_REOPENED, owned(owner, contact)),
        ConversationEvent::UserBlocked { blocker, blocked } => (USER_BLOCKED, block(blocker, blocked)),
        ConversationEvent::UserUnblocked { blocker, blocked } => (USER_UNBLOCKED, block(blocker, blocked)),
    }
}

fn json(stored: &impl Serialize) -> String {
    serde_json::to_string(stored).expect("strings and numbers are always JSON")
}

fn stored_profile<'a>(user: &'a UserId, profile: &'a Profile) -> StoredProfile<'a> {
    StoredProfile {
        user: user.as_str().into(),
        name: Personal::seal(profile.name.as_str()),
        picture: profile.picture.as_ref().map(|picture| Personal::seal(picture.as_str())),
    }
}

/// Reads an event back.
///
/// # Errors
/// When this version knows no such type, or the data has another shape.
pub fn decode(kind: &str, data: &str, id: Uuid) -> Result<Event, DecodeError> {
    let user = |id: Cow<'_, str>| UserId::from_stored(&*id);
    Ok(match kind {
        MESSAGE_SENT => {
            let stored: StoredMessage<'_> = parse(MESSAGE_SENT, data)?;
            Event::Conversation(ConversationEvent::MessageSent(MessageSent {
                id: MessageId(id),
                sender: user(stored.sender),
                recipient: user(stored.recipient),
                text: MessageText::from_stored(stored.text.open()),
                number: stored.number,
                sender_number: stored.sender_number,
            }))
        }
        MESSAGES_READ => {
            let stored: StoredReading<'_> = parse(MESSAGES_READ, data)?;
            Event::Conversation(ConversationEvent::MessagesRead { reader: user(stored.reader), contact: user(stored.contact), received: stored.received })
        }
        CONVERSATION_DELETED => {
            let stored: StoredOwnership<'_> = parse(CONVERSATION_DELETED, data)?;
            Event::Conversation(ConversationEvent::ConversationDeleted { owner: user(stored.owner), contact: user(stored.contact) })
        }
        CONVERSATION_REOPENED => {
            let stored: StoredOwnership<'_> = parse(CONVERSATION_REOPENED, data)?;
            Event::Conversation(ConversationEvent::ConversationReopened { owner: user(stored.owner), contact: user(stored.contact) })
        }
        USER_BLOCKED => {
            let stored: StoredBlock<'_> = parse(USER_BLOCKED, data)?;
            Event::Conversation(ConversationEvent::UserBlocked { blocker: user(stored.blocker), blocked: user(stored.blocked) })
        }
        USER_UNBLOCKED => {
            let stored: StoredBlock<'_> = parse(USER_UNBLOCKED, data)?;
            Event::Conversation(ConversationEvent::UserUnblocked { blocker: user(stored.blocker), blocked: user(stored.blocked) })
        }
        USER_REGISTERED => {
            let (user, profile) = profile(&parse(USER_REGISTERED, data)?);
            Event::Community(UserRegistered { user, profile })
        }
        PROFILE_UPDATED => {
            let (user, profile) = profile(&parse(PROFILE_UPDATED, data)?);
            Event::User(UserEvent::ProfileUpdated { user, profile })
        }
        CONTACTABLE_CHANGED => {
            let stored: StoredContactable<'_> = parse(CONTACTABLE_CHANGED, data)?;
            Event::User(UserEvent::ContactableChanged { user: user(stored.user), contactable: stored.contactable })
        }
        SECTION_CONFIGURED => {
            let stored: StoredSection<'_> = parse(SECTION_CONFIGURED, data)?;
            let template = |number: u8| i64::from(number);
            Event::Section(SectionConfigured {
                section: ChatSection {
                    title: Title::from_stored(&*stored.title),
                    list_template: template(stored.list_template).try_into().map_err(|_| DecodeError::Template)?,
                    detail_template: template(stored.detail_template).try_into().map_err(|_| DecodeError::Template)?,
                },
            })
        }
        unknown => return Err(DecodeError::UnknownType(unknown.to_owned())),
    })
}

fn parse<'a, T: Deserialize<'a>>(kind: &'static str, data: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(data).map_err(|error| DecodeError::Shape { kind, line: error.line(), column: error.column() })
}

fn profile(stored: &StoredProfile<'_>) -> (UserId, Profile) {
    let picture = stored.picture.as_ref().map(|picture| Picture::from_stored(picture.open()));
    (UserId::from_stored(&*stored.user), Profile { name: Name::from_stored(stored.name.open()), picture })
}
