//! Identifiers that cannot be wrong: parsed once at the edge, compared everywhere else.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

/// The namespace of conversation ids, so that they are this product's and no other's.
const CONVERSATIONS: Uuid = Uuid::from_u128(0x6f1d_8a52_3c0b_4e7e_9a46_5b1c_77d2_90e3);

/// Who a user is: the `sub` of the application's token (U1). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// The id is not 1 to 128 characters of `A-Z a-z 0-9 . _ : @ | -`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}", Self::WHAT_IS_RIGHT)]
pub struct InvalidUserId;

impl InvalidUserId {
    pub const WHAT_IS_RIGHT: &str = "a user id has 1 to 128 characters of A-Z a-z 0-9 . _ : @ | -";
}

impl UserId {
    /// The longest id, in characters.
    pub const MAX_LENGTH: usize = 128;

    /// Parses an id from outside.
    ///
    /// # Errors
    /// When it is empty, too long, or has a character that U1 does not allow.
    pub fn parse(id: &str) -> Result<Self, InvalidUserId> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._:@|-".contains(&c);
        if id.is_empty() || id.len() > Self::MAX_LENGTH || !id.bytes().all(allowed) {
            return Err(InvalidUserId);
        }
        Ok(Self(id.into()))
    }

    /// An id that was parsed before it was stored.
    #[must_use]
    pub fn from_stored(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A message's id, chosen by the client or made by the service (S5). It is also its event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub Uuid);

/// The id is not a UUID in its hyphenated form.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}", Self::WHAT_IS_RIGHT)]
pub struct InvalidMessageId;

impl InvalidMessageId {
    pub const WHAT_IS_RIGHT: &str = "a message id is a UUID such as 0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f";
}

impl MessageId {
    /// Parses the hyphenated form, in either case.
    ///
    /// # Errors
    /// When it has any other shape.
    pub fn parse(id: &str) -> Result<Self, InvalidMessageId> {
        hyphenated(id).map(Self).ok_or(InvalidMessageId)
    }
}

/// The form in which ids are given out.
fn hyphenated(id: &str) -> Option<Uuid> {
    if id.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(id).ok() } else { None }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A conversation's id: the same for both users, whoever wrote first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(pub Uuid);

impl ConversationId {
    /// Parses the hyphenated form, in either case.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        hyphenated(id).map(Self)
    }

    /// The conversation of two users: a UUID v5 of their sorted ids. The separator is no character of
    /// a user id, so two pairs never share a name.
    #[must_use]
    pub fn between(a: &UserId, b: &UserId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        Self(Uuid::new_v5(&CONVERSATIONS, format!("{low} {high}").as_bytes()))
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u1_a_user_id_has_1_to_128_characters_of_its_alphabet() {
        assert!(UserId::parse("auth0|5f7c.A_b:c@d-e").is_ok());
        assert!(UserId::parse(&"x".repeat(128)).is_ok());
        for wrong in ["", "a b", "é", "a/b", "a\0", "a\n", &"x".repeat(129)] {
            assert_eq!(UserId::parse(wrong), Err(InvalidUserId), "{wrong:?}");
        }
    }

    #[test]
    fn s5_a_message_id_is_a_hyphenated_uuid() {
        let id = "0192F0C1-5e2f-7cc3-98c4-dc0c0c07398f";
        assert_eq!(MessageId::parse(id).map(|id| id.to_string()), Ok(id.to_lowercase()));
        for wrong in ["", "42", "0192f0c15e2f7cc398c4dc0c0c07398f", "{0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f}"] {
            assert_eq!(MessageId::parse(wrong), Err(InvalidMessageId), "{wrong:?}");
        }
    }

    #[test]
    fn a_conversation_has_one_id_from_both_sides() {
        let id = |id| UserId::from_stored(id);
        let pair = ConversationId::between(&id("alice"), &id("bob"));
        assert_eq!(pair, ConversationId::between(&id("bob"), &id("alice")));
        assert_ne!(pair, ConversationId::between(&id("alice"), &id("bobby")));
    }
}
