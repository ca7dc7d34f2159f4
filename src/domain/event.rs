//! All events, the streams they are appended to, and what the log knows of one it recorded.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use super::community::UserRegistered;
use super::conversation::ConversationEvent;
use super::ids::{ConversationId, UserId};
use super::section::SectionConfigured;
use super::user::UserEvent;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Community(UserRegistered),
    User(UserEvent),
    Conversation(ConversationEvent),
    Section(SectionConfigured),
}

impl Event {
    /// Whom it concerns; who acted is the first.
    #[must_use]
    pub fn users(&self) -> Vec<&UserId> {
        match self {
            Self::Community(event) => vec![&event.user],
            Self::User(event) => vec![event.user()],
            Self::Conversation(event) => {
                let (actor, contact) = event.actor_and_contact();
                vec![actor, contact]
            }
            Self::Section(_) => vec![],
        }
    }
}

impl From<UserRegistered> for Event {
    fn from(event: UserRegistered) -> Self {
        Self::Community(event)
    }
}

impl From<UserEvent> for Event {
    fn from(event: UserEvent) -> Self {
        Self::User(event)
    }
}

impl From<ConversationEvent> for Event {
    fn from(event: ConversationEvent) -> Self {
        Self::Conversation(event)
    }
}

impl From<SectionConfigured> for Event {
    fn from(event: SectionConfigured) -> Self {
        Self::Section(event)
    }
}

/// A place in the log; 0 is before the first. In SQLite and PostgreSQL they are dense, from 1 on; in KurrentDB they have gaps, so they are
/// compared, and not counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An instant in UTC: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    /// RFC 3339 with microseconds: `2026-01-31T12:34:56.123456Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

/// Who did it, and in the course of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The user who acted; none where the service did.
    pub actor: Option<UserId>,
    /// The request that everything it led to has in common.
    pub correlation: Uuid,
    /// The command that led to the event.
    pub causation: Uuid,
}

/// An event as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    pub position: Position,
    pub stream: Stream,
    /// Its place in its stream, from 1.
    pub version: u64,
    pub id: Uuid,
    /// When it was appended: later than that of every event before it, whatever the clock did.
    pub at: Timestamp,
    pub metadata: Metadata,
    pub event: Event,
}

/// A stream: the events of one consistency boundary, numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Every registration; its version is the head count.
    Community,
    /// What one user says of themselves.
    User(UserId),
    /// Everything between two users.
    Conversation(ConversationId),
    /// The back office's section.
    Section,
}

impl fmt::Display for Stream {
    /// `category` or `category-id`: a category has no hyphen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Community => f.write_str("community"),
            Self::User(id) => write!(f, "user-{id}"),
            Self::Conversation(id) => write!(f, "conversation-{id}"),
            Self::Section => f.write_str("section"),
        }
    }
}

/// The name is none of this service's streams.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no stream of this service")]
pub struct UnknownStream(String);

impl FromStr for Stream {
    type Err = UnknownStream;

    fn from_str(name: &str) -> Result<Self, UnknownStream> {
        let unknown = || UnknownStream(name.to_owned());
        match name.split_once('-') {
            None if name == "community" => Ok(Self::Community),
            None if name == "section" => Ok(Self::Section),
            Some(("user", id)) => UserId::parse(id).map(Self::User).map_err(|_| unknown()),
            Some(("conversation", id)) => ConversationId::parse(id).map(Self::Conversation).ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_found_by_its_name() {
        let alice = UserId::from_stored("auth0|a-b");
        let pair = ConversationId::between(&alice, &UserId::from_stored("bob"));
        for stream in [Stream::Community, Stream::Section, Stream::User(alice), Stream::Conversation(pair)] {
            assert_eq!(stream.to_string().parse(), Ok(stream));
        }
        for wrong in ["", "user", "user-", "conversation-x", "community-1"] {
            assert!(wrong.parse::<Stream>().is_err(), "{wrong:?}");
        }
    }
}
