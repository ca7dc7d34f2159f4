//! Signed statements of how far a log was and what it then held, as
//! [checkpoints](https://github.com/C2SP/C2SP/blob/main/tlog-checkpoint.md) of transparency logs: text with the
//! log's name, the number of events, the root of their Merkle tree, and an Ed25519 signature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::event_log::merkle::Hash;

/// What separates a signed note's text from its signatures.
const DASH: &str = "\u{2014} ";
/// The algorithm's number in signed notes.
const ED25519: u8 = 1;
/// The namespace of logs' public names; a log's id itself is a secret of the service.
const NAMES: Uuid = Uuid::from_u128(0x6bd1_5c0e_2d5f_4f3b_9a86_7e41_0c2d_f95b);

/// The name that a log has in its checkpoints.
#[must_use]
pub fn origin(log: Uuid) -> String {
    format!("entrenous/{}", Uuid::new_v5(&NAMES, log.as_bytes()))
}

/// How far a log was, and what it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)
    }
}

/// Why a text is no checkpoint, or not of whom it should be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CheckpointError {
    #[error("it is not a checkpoint")]
    Malformed,
    #[error("it is not signed by this key")]
    NotSigned,
    #[error("its signature does not fit: it was changed, or made by another key")]
    BadSignature,
}

/// What signs checkpoints.
pub struct CheckpointSigner(SigningKey);

/// What verifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointVerifier(VerifyingKey);

/// A key as text that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it is not a checkpoint verifier key, such as entrenous+01234567+AbCd…=")]
pub struct BadKey;

/// The name of the service's keys.
const KEY_NAME: &str = "entrenous";

impl CheckpointSigner {
    /// From 32 secret bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    #[must_use]
    pub fn verifier(&self) -> CheckpointVerifier {
        CheckpointVerifier(self.0.verifying_key())
    }

    /// The signed checkpoint.
    #[must_use]
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.to_string();
        let signature = [&self.verifier().key_hash()[..], &self.0.sign(text.as_bytes()).to_bytes()].concat();
        format!("{text}\n{DASH}{KEY_NAME} {}\n", STANDARD.encode(signature))
    }
}

impl CheckpointVerifier {
    fn key_hash(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(KEY_NAME).chain_update([b'\n', ED25519]).chain_update(self.0.as_bytes()).finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The checkpoint that a signed text states. Signatures of others do not matter.
    ///
    /// # Errors
    /// When it is none, or not signed with this key.
    pub fn open(&self, signed: &str) -> Result<Checkpoint, CheckpointError> {
        let (text, signatures) = signed.rsplit_once("\n\n").ok_or(CheckpointError::Malformed)?;
        let text = format!("{text}\n");
        let own = signatures.lines().find_map(|line| {
            let bytes = STANDARD.decode(line.strip_prefix(DASH)?.strip_prefix(KEY_NAME)?.strip_prefix(' ')?).ok()?;
            let (hash, signature) = bytes.split_first_chunk::<4>()?;
            (*hash == self.key_hash()).then(|| signature.to_vec())
        });
        let signature = own.ok_or(CheckpointError::NotSigned)?;
        let signature = Signature::from_slice(&signature).map_err(|_| CheckpointError::BadSignature)?;
        self.0.verify_strict(text.as_bytes(), &signature).map_err(|_| CheckpointError::BadSignature)?;
        let mut lines = text.lines();
        let mut next = || lines.next().ok_or(CheckpointError::Malformed);
        let (origin, size, root) = (next()?.to_owned(), next()?, next()?);
        let size = size.parse().map_err(|_| CheckpointError::Malformed)?;
        Ok(Checkpoint { origin, size, root: Hash::from_base64(root).ok_or(CheckpointError::Malformed)? })
    }
}

impl fmt::Display for CheckpointVerifier {
    /// The form of signed notes: name, hash and key, with plus signs between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519][..], self.0.as_bytes()].concat();
        write!(f, "{KEY_NAME}+{:08x}+{}", u32::from_be_bytes(self.key_hash()), STANDARD.encode(key))
    }
}

impl FromStr for CheckpointVerifier {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, hash, key) = (parts.next().ok_or(BadKey)?, parts.next().ok_or(BadKey)?, parts.next().ok_or(BadKey)?);
        let key = STANDARD.decode(key).map_err(|_| BadKey)?;
        let key: [u8; 32] = key.strip_prefix(&[ED25519]).and_then(|key| key.try_into().ok()).ok_or(BadKey)?;
        let verifier = Self(VerifyingKey::from_bytes(&key).map_err(|_| BadKey)?);
        let is_its_hash = u32::from_str_radix(hash, 16) == Ok(u32::from_be_bytes(verifier.key_hash()));
        if name == KEY_NAME && is_its_hash { Ok(verifier) } else { Err(BadKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_opened_by_its_key_alone_and_only_as_it_was_signed() {
        let (own, other) = (CheckpointSigner::new(&[7; 32]), CheckpointSigner::new(&[8; 32]));
        let checkpoint = Checkpoint { origin: origin(Uuid::from_u128(1)), size: 42, root: Hash([3; 32]) };
        let signed = own.sign(&checkpoint);
        assert_eq!(own.verifier().open(&signed), Ok(checkpoint.clone()));
        assert_eq!(other.verifier().open(&signed), Err(CheckpointError::NotSigned));
        assert_eq!(own.verifier().open(&signed.replace("\n42\n", "\n43\n")), Err(CheckpointError::BadSignature));
        assert_eq!(own.verifier().open(&checkpoint.to_string()), Err(CheckpointError::Malformed));
        let both = format!("{signed}{}", other.sign(&checkpoint).split_once("\n\n").expect("a signature").1);
        assert_eq!((own.verifier().open(&both), other.verifier().open(&both)), (Ok(checkpoint.clone()), Ok(checkpoint)));
    }

    #[test]
    fn a_verifier_key_is_read_back() {
        let key = CheckpointSigner::new(&[7; 32]).verifier();
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        for wrong in ["", "entrenous", "entrenous+00000000+AbCd", &key.to_string().replace("entrenous", "other"), &key.to_string()[..40]] {
            assert_eq!(wrong.parse::<CheckpointVerifier>(), Err(BadKey), "{wrong}");
        }
    }
}
