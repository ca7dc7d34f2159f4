//! One author's key: what it seals, and the name that it is known by. Opens nothing that was sealed elsewhere.

use std::sync::Arc;

use aes_gcm_siv::aead::{Aead as _, OsRng, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// One author's key.
#[derive(Clone)]
pub struct Key {
    pub(super) name: Arc<str>,
    pub(super) secret: [u8; 32],
}

impl Key {
    /// A key from its 32 bytes.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        let name = Sha256::new().chain_update("entrenous key\0").chain_update(secret).finalize();
        Self { name: URL_SAFE_NO_PAD.encode(&name[..9]).into(), secret }
    }

    /// What events name it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn generate() -> Self {
        Self::new(Aes256GcmSiv::generate_key(OsRng).into())
    }

    /// Seals a text for its place: the event, and the field in it. The same again gives the same, so that an append that
    /// is made again is known; the cipher (AES-GCM-SIV, RFC 8452) is made to bear that.
    #[must_use]
    pub(in crate::event_log) fn seal(&self, event: Uuid, field: &str, text: &str) -> String {
        let payload = Payload { msg: text.as_bytes(), aad: &aad(event, field) };
        let sealed = self.cipher().encrypt(&nonce(event), payload).expect("a text is shorter than 64 GiB");
        STANDARD_NO_PAD.encode(sealed)
    }

    /// None where it was not sealed so, under this key.
    #[must_use]
    pub(in crate::event_log) fn open(&self, event: Uuid, field: &str, sealed: &str) -> Option<String> {
        let sealed = STANDARD_NO_PAD.decode(sealed).ok()?;
        let opened = self.cipher().decrypt(&nonce(event), Payload { msg: &sealed, aad: &aad(event, field) }).ok()?;
        String::from_utf8(opened).ok()
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new(&self.secret.into())
    }
}

/// 96 bits of the event's id, those of chance among them.
fn nonce(event: Uuid) -> Nonce {
    let [_, _, _, _, nonce @ ..] = event.into_bytes();
    nonce.into()
}

fn aad(event: Uuid, field: &str) -> Vec<u8> {
    [event.as_bytes(), field.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_opens_only_where_it_was_sealed_and_under_its_key() {
        let (key, event) = (Key::new([7; 32]), Uuid::from_u128(42));
        let sealed = key.seal(event, "text", "à demain");
        assert_eq!(key.open(event, "text", &sealed).as_deref(), Some("à demain"));
        assert_eq!(key.seal(event, "text", "à demain"), sealed, "the same again");
        assert_ne!(key.seal(Uuid::from_u128(43), "text", "à demain"), sealed);
        assert_eq!(key.open(Uuid::from_u128(43), "text", &sealed), None);
        assert_eq!(key.open(event, "name", &sealed), None);
        assert_eq!(Key::new([8; 32]).open(event, "text", &sealed), None);
        assert_eq!(key.open(event, "text", "no base64!"), None);
        let mut bytes = STANDARD_NO_PAD.decode(&sealed).expect("base64");
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(key.open(event, "text", &STANDARD_NO_PAD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn a_key_has_a_name_of_its_own_that_does_not_show_it() {
        let (one, other) = (Key::generate(), Key::generate());
        assert_ne!(one.name(), other.name());
        assert_eq!(Key::new(one.secret).name(), one.name());
        assert_eq!(Key::new([0; 32]).name(), "4J8aU7v-JKXt");
    }
}
