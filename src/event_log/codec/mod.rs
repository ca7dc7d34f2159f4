//! Stored names and shapes of events: the only place that knows them, and the only one that may ever
//! know old ones. One golden file a shape under `tests/golden/`; none is ever edited.
//!
//! | | |
//! | --- | --- |
//! | how an event is written and read in its present shape | here |
//! | the types, the numbers of their shapes, and the steps from older ones | [`shapes`] |
//! | what is sealed under its author's key | [`personal`] |

mod personal;
mod shapes;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
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
use crate::event_log::keys::{Key, Unlocked};
use personal::{NAME, Opened, PERSONAL, PICTURE, Personal, TEXT};
use shapes::{
    CONTACTABLE_CHANGED, CONVERSATION_DELETED, CONVERSATION_REOPENED, MESSAGES_READ, PROFILE_UPDATED, SEALED, SECTION_CONFIGURED, USER_BLOCKED,
    USER_REGISTERED, USER_UNBLOCKED, first, is_first, upcast,
};
pub(super) use shapes::{MESSAGE_SENT, USER_ERASED};

/// Why a stored event cannot be read. Never quotes the data.
#[derive(Debug, Error)]
pub enum DecodeError {
    #[error("this version does not know the event type {0:?}")]
    UnknownType(String),
    #[error("its data does not have the shape of {kind} (line {line}, column {column})")]
    Shape { kind: &'static str, line: usize, column: usize },
    #[error("its data has a template that does not exist")]
    Template,
    #[error("this version does not know shape {shape} of {kind}")]
    Newer { kind: &'static str, shape: u8 },
    /// By the key's name.
    #[error("the key {0} that opens it is not in the key store")]
    NoKey(String),
    #[error("what is sealed in it was not sealed so")]
    Sealed,
}

#[derive(Serialize, Deserialize)]
struct StoredProfile<'a> {
    #[serde(default = "first", skip_serializing_if = "is_first")]
    shape: u8,
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
struct StoredUser<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct StoredMessage<'a> {
    #[serde(default = "first", skip_serializing_if = "is_first")]
    shape: u8,
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

/// Whose the texts, names and pictures in an event are; nobody's where it has none.
#[must_use]
pub fn author(event: &Event) -> Option<&UserId> {
    match event {
        Event::Community(event) => Some(&event.user),
        Event::User(UserEvent::ProfileUpdated { user, .. }) => Some(user),
        Event::Conversation(ConversationEvent::MessageSent(message)) => Some(&message.sender),
        Event::User(_) | Event::Conversation(_) | Event::Section(_) => None,
    }
}

/// The event's stored name and its data as JSON. A message's id is its event's, so it is not in the data.
///
/// # Panics
/// When an event that has an author comes without their key.
#[must_use]
pub fn encode(event: &Event, id: Uuid, key: Option<&Key>) -> (&'static str, String) {
    let key = || key.expect("an event with an author is encoded with their key");
    let user_id = |user: &UserId| json(&StoredUser { user: user.as_str().into() });
    match event {
        Event::Community(UserRegistered { user, profile }) => (USER_REGISTERED, json(&stored_profile(user, profile, id, key()))),
        Event::User(UserEvent::ContactableChanged { user, contactable }) => {
            (CONTACTABLE_CHANGED, json(&StoredContactable { user: user.as_str().into(), contactable: *contactable }))
        }
        Event::User(UserEvent::ProfileUpdated { user, profile }) => (PROFILE_UPDATED, json(&stored_profile(user, profile, id, key()))),
        Event::User(UserEvent::UserErased { user }) => (USER_ERASED, user_id(user)),
        Event::Conversation(ConversationEvent::MessageSent(message)) => (
            MESSAGE_SENT,
            json(&StoredMessage {
                shape: SEALED,
                sender: message.sender.as_str().into(),
                recipient: message.recipient.as_str().into(),
                text: Personal::seal(key(), id, TEXT, message.text.as_str()),
                number: message.number,
                sender_number: message.sender_number,
            }),
        ),
        Event::Conversation(event) => encode_impersonal(event),
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

fn encode_impersonal(event: &ConversationEvent) -> (&'static str, String) {
    let owned = |owner: &UserId, contact: &UserId| json(&StoredOwnership { owner: owner.as_str().into(), contact: contact.as_str().into() });
    let block = |blocker: &UserId, blocked: &UserId| json(&StoredBlock { blocker: blocker.as_str().into(), blocked: blocked.as_str().into() });
    match event {
        ConversationEvent::MessageSent(_) => unreachable!("a message has an author"),
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

fn stored_profile<'a>(user: &'a UserId, profile: &'a Profile, id: Uuid, key: &'a Key) -> StoredProfile<'a> {
    StoredProfile {
        shape: SEALED,
        user: user.as_str().into(),
        name: Personal::seal(key, id, NAME, profile.name.as_str()),
        picture: profile.picture.as_ref().map(|picture| Personal::seal(key, id, PICTURE, picture.as_str())),
    }
}

/// Reads an event back.
///
/// # Errors
/// When this version knows no such type or shape, the data has another, or its key is not known.
pub fn decode(kind: &str, data: &str, id: Uuid, keys: impl Fn(&str) -> Unlocked) -> Result<Event, DecodeError> {
    let user = |id: Cow<'_, str>| UserId::from_stored(&*id);
    let data = &*upcast(kind, data)?;
    Ok(match kind {
        MESSAGE_SENT => {
            let stored: StoredMessage<'_> = parse(MESSAGE_SENT, data)?;
            Event::Conversation(ConversationEvent::MessageSent(MessageSent {
                id: MessageId(id),
                sender: user(stored.sender),
                recipient: user(stored.recipient),
                text: match stored.text.open(&keys, id, TEXT)? {
                    Opened::Text(text) => MessageText::from_stored(&*text),
                    Opened::Erased => MessageText::erased(),
                },
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
            let (user, profile) = profile(&parse(USER_REGISTERED, data)?, id, &keys)?;
            Event::Community(UserRegistered { user, profile })
        }
        PROFILE_UPDATED => {
            let (user, profile) = profile(&parse(PROFILE_UPDATED, data)?, id, &keys)?;
            Event::User(UserEvent::ProfileUpdated { user, profile })
        }
        USER_ERASED => {
            let stored: StoredUser<'_> = parse(USER_ERASED, data)?;
            Event::User(UserEvent::UserErased { user: user(stored.user) })
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
        _ => unreachable!("its shape is known"),
    })
}

fn parse<'a, T: Deserialize<'a>>(kind: &'static str, data: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(data).map_err(|error| DecodeError::Shape { kind, line: error.line(), column: error.column() })
}

fn profile(stored: &StoredProfile<'_>, id: Uuid, keys: &impl Fn(&str) -> Unlocked) -> Result<(UserId, Profile), DecodeError> {
    let user = UserId::from_stored(&*stored.user);
    let Opened::Text(name) = stored.name.open(keys, id, NAME)? else { return Ok((user, Profile::erased())) };
    let picture = match stored.picture.as_ref().map(|picture| picture.open(keys, id, PICTURE)).transpose()? {
        Some(Opened::Text(picture)) => Some(Picture::from_stored(&*picture)),
        Some(Opened::Erased) | None => None,
    };
    Ok((user, Profile { name: Name::from_stored(&*name), picture }))
}

/// What tells a version that reads events otherwise: the hash of these very files.
#[must_use]
pub fn identity() -> String {
    const SOURCES: [&str; 3] = [include_str!("mod.rs"), include_str!("personal.rs"), include_str!("shapes.rs")];
    format!("{:x}", Sha256::digest(SOURCES.concat()))
}

/// The data with what can be opened in clear, for auditors to read: null where it was erased. What cannot be read stays as it is.
#[must_use]
pub fn reveal(data: &str, id: Uuid, keys: impl Fn(&str) -> Unlocked) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(data) else { return data.to_owned() };
    for field in PERSONAL {
        let Some(stored) = fields.get_mut(field) else { continue };
        let opened = Personal::deserialize(&*stored).ok().and_then(|personal| match personal.open(&keys, id, field) {
            Ok(Opened::Text(text)) => Some(text.into_owned().into()),
            Ok(Opened::Erased) => Some(Value::Null),
            Err(_) => None,
        });
        if let Some(opened) = opened {
            *stored = opened;
        }
    }
    fields.remove("shape");
    Value::Object(fields).to_string()
}
