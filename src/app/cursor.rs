//! Inbox cursors: a position of one log, for one user, enciphered with a pinch of salt. A position in
//! clear would let anybody count what others do, and so guess at a block; even to see that two cursors
//! are the same would tell that nobody did anything. See `docs/decisions/0005-opaque-cursors.md`.

use aes::Aes128;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::event::Position;
use crate::domain::ids::UserId;

/// The namespace of the tags that bind a cursor to its user.
const TAGS: Uuid = Uuid::from_u128(0x1f5c_6e0a_94d7_4d43_8b7e_2c8f_a1b0_57d6);

/// Makes and reads the cursors of one log.
pub(super) struct CursorKey {
    cipher: Aes128,
}

impl CursorKey {
    /// A log's id is random and never leaves the service, so it serves as the secret.
    pub(super) fn of(log: Uuid) -> Self {
        let secret = Uuid::new_v5(&log, b"cursor");
        Self { cipher: Aes128::new(secret.as_bytes().into()) }
    }

    /// `salt` is new each time, so that no two cursors look the same.
    pub(super) fn seal(&self, user: &UserId, position: Position, salt: [u8; 4]) -> String {
        let mut block = [0; 16];
        block[..4].copy_from_slice(&tag(user));
        block[4..8].copy_from_slice(&salt);
        block[8..].copy_from_slice(&position.0.to_be_bytes());
        let mut block = block.into();
        self.cipher.encrypt_block(&mut block);
        URL_SAFE_NO_PAD.encode(block)
    }

    /// None for anything that this log never gave this user.
    pub(super) fn open(&self, user: &UserId, cursor: &str) -> Option<Position> {
        let sealed: [u8; 16] = URL_SAFE_NO_PAD.decode(cursor).ok()?.try_into().ok()?;
        let mut block = sealed.into();
        self.cipher.decrypt_block(&mut block);
        let position = block[8..].try_into().expect("8 of 16 bytes");
        (block[..4] == tag(user)).then_some(Position(u64::from_be_bytes(position)))
    }
}

fn tag(user: &UserId) -> [u8; 4] {
    let id = Uuid::new_v5(&TAGS, user.as_str().as_bytes());
    id.as_bytes()[..4].try_into().expect("4 of 16 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_only_by_its_user_in_its_log() {
        let (here, elsewhere) = (CursorKey::of(Uuid::from_u128(1)), CursorKey::of(Uuid::from_u128(2)));
        let (alice, bob) = (UserId::from_stored("alice"), UserId::from_stored("bob"));
        let cursor = here.seal(&alice, Position(42), [7; 4]);
        assert_eq!(here.open(&alice, &cursor), Some(Position(42)));
        assert_eq!(here.open(&bob, &cursor), None);
        assert_eq!(elsewhere.open(&alice, &cursor), None);
        for wrong in ["", "42", "AAAAAAAAAAAAAAAAAAAAAA", "é"] {
            assert_eq!(here.open(&alice, wrong), None);
        }
    }

    #[test]
    fn b6_a_cursor_does_not_show_how_much_happened_nor_that_nothing_did() {
        let key = CursorKey::of(Uuid::from_u128(1));
        let alice = UserId::from_stored("alice");
        let first = key.seal(&alice, Position(1), [1; 4]);
        for (position, salt) in [(1, [2; 4]), (2, [1; 4]), (2, [2; 4])] {
            let other = key.seal(&alice, Position(position), salt);
            let same = first.bytes().zip(other.bytes()).filter(|(a, b)| a == b).count();
            assert!(same < first.len() / 2, "{first} {other}");
        }
    }
}
