//! Page cursors: places in a list, opaque to clients. They hold nothing that their page does not show.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::event::{Position, Timestamp};
use crate::domain::ids::{ConversationId, UserId};
use crate::read_store::{DirectoryKey, ListKey};

/// A place that can be written as a cursor and read back.
pub(super) trait Cursor: Sized {
    /// The first byte, so that a cursor of another list is not one.
    const KIND: u8;

    fn write(&self, bytes: &mut Vec<u8>);

    fn read(bytes: &[u8]) -> Option<Self>;

    fn encode(&self) -> String {
        let mut bytes = vec![Self::KIND];
        self.write(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (kind, place) = bytes.split_first()?;
        if *kind == Self::KIND { Self::read(place) } else { None }
    }
}

impl Cursor for ListKey {
    const KIND: u8 = b'c';

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.blocked));
        bytes.extend(self.last_at.0.to_be_bytes());
        bytes.extend(self.conversation.0.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (blocked, rest) = bytes.split_first()?;
        let (at, conversation) = rest.split_first_chunk()?;
        Some(Self { blocked: *blocked == 1, last_at: Timestamp(i64::from_be_bytes(*at)), conversation: ConversationId(Uuid::from_slice(conversation).ok()?) })
    }
}

impl Cursor for DirectoryKey {
    const KIND: u8 = b'u';

    /// The id is last, and has no zero byte; the sort key may have.
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(&self.sort_key);
        bytes.push(0);
        bytes.extend(self.id.as_str().bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().rposition(|byte| *byte == 0)?;
        let id = UserId::parse(std::str::from_utf8(&bytes[end + 1..]).ok()?).ok()?;
        Some(Self { sort_key: bytes[..end].to_vec(), id })
    }
}

impl Cursor for Position {
    const KIND: u8 = b'e';

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

/// A message's number in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageNumber(pub u64);

impl Cursor for MessageNumber {
    const KIND: u8 = b'm';

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_alone() {
        let list = ListKey { blocked: true, last_at: Timestamp(-7), conversation: ConversationId(Uuid::from_u128(9)) };
        let directory = DirectoryKey { sort_key: vec![1, 0, 2], id: UserId::from_stored("auth0|1") };
        let message = MessageNumber(42);
        assert_eq!(ListKey::decode(&list.encode()), Some(list));
        assert_eq!(DirectoryKey::decode(&directory.encode()), Some(directory));
        assert_eq!(MessageNumber::decode(&message.encode()), Some(message));
        assert_eq!(ListKey::decode(&message.encode()), None);
        for wrong in ["", "bQ", "é", "bQAA", "====", &"A".repeat(10_000)] {
            assert_eq!(MessageNumber::decode(wrong), None, "{wrong}");
            assert_eq!(ListKey::decode(wrong), None, "{wrong}");
            assert_eq!(DirectoryKey::decode(wrong), None, "{wrong}");
        }
    }
}
