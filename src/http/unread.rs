//! Answers on their way. Until its client has read it, an answer is held in memory, and counts for its user: whoever asks for
//! much and reads nothing is given no more.

use axum::body::Bytes;

use super::Service;
use crate::app::quota::Place;
use crate::domain::ids::UserId;
use crate::graphql::OperationType;

/// The most of one user's answers that may be unread, in bytes.
pub(super) const UNREAD: usize = 32 << 20;
/// Shorter answers do not count.
const SHORT: usize = 4 << 10;

/// The user has too much unread.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooMuchUnread;

impl TooMuchUnread {
    pub(super) const MESSAGE: &str = "too much of what this user asked for is unread";
}

/// Whether an answer can be refused: nothing was changed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It can be asked for again.
    Refusable,
    /// What it tells of is done.
    Owed,
}

impl Need {
    pub(super) fn of(kind: OperationType) -> Self {
        if kind == OperationType::Mutation { Self::Owed } else { Self::Refusable }
    }
}

/// An answer's bytes, which count for as long as they are anywhere.
struct Held {
    bytes: Vec<u8>,
    _place: Option<Place>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Service {
    /// Room for an answer of so many bytes; nothing where it does not count.
    pub(super) fn room_for(&self, user: &UserId, bytes: usize, need: Need) -> Result<Option<Place>, TooMuchUnread> {
        match need {
            _ if bytes < SHORT => Ok(None),
            Need::Refusable => self.0.unread.take_many(user, bytes).map(Some).ok_or(TooMuchUnread),
            Need::Owed => Ok(Some(self.0.unread.take_anyway(user, bytes))),
        }
    }

    /// An answer that counts for its user until it is read.
    pub(super) fn counted_bytes(&self, user: &UserId, answer: Vec<u8>, need: Need) -> Result<Bytes, TooMuchUnread> {
        let place = self.room_for(user, answer.len(), need)?;
        Ok(if place.is_none() { answer.into() } else { Bytes::from_owner(Held { bytes: answer, _place: place }) })
    }
}
