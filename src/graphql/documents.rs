//! Documents, parsed and validated once and kept: a repeated operation costs neither. Those that the
//! operator trusts are kept for ever, under the ids that clients know them by.

use std::collections::HashMap;
use std::sync::Arc;

use apollo_compiler::Node;
use apollo_compiler::executable::{ExecutableDocument, Operation};
use apollo_compiler::validation::Valid;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::contract::Contract;
use super::errors::Code;
use super::limits::{Limits, MAX_DOCUMENT_BYTES, check_document};
use super::response::Response;
use crate::domain::ids::UserId;
use crate::metrics::METRICS;

/// What kept documents may take in memory, about.
const KEPT_BYTES: u64 = 16 << 20;
/// What a parsed document takes, about: for each byte of its text, and for each field.
const BYTES_OF_A_BYTE: usize = 16;
const BYTES_OF_A_FIELD: usize = 512;
/// Documents that the cache is laid out for.
const KEPT: usize = 1_000;
/// How many times somebody sent a document with its hash is remembered, in some 50 bytes each.
const SENT: usize = 65_536;

type Hash = [u8; 32];

/// How an id says that it is a hash.
const HASH_PREFIX: &str = "sha256:";

/// A valid document.
pub(super) struct Document {
    pub executable: Valid<ExecutableDocument>,
    hash: Hash,
    /// What it takes in memory, about.
    bytes: usize,
}

impl Document {
    /// The operation that a request asks for.
    ///
    /// # Errors
    /// When it names none of several, or one that is not there.
    pub(super) fn operation(&self, name: Option<&str>) -> Result<&Node<Operation>, Box<Response>> {
        let found = self.executable.operations.get(name);
        found.map_err(|_| Box::new(Code::ValidationFailed.response("the document has no operation of this name, or several and none is named")))
    }
}

/// How a request says which document it means.
#[derive(Clone, Debug, Default)]
pub struct DocumentReference {
    pub text: Option<String>,
    /// `documentId`, or the hash of an automatic persisted query.
    pub id: Option<String>,
}

/// Documents by id, as `relay-compiler` and `graphql-codegen` write them.
#[derive(Clone, Debug, Default)]
pub struct TrustedDocuments {
    pub documents: HashMap<String, String>,
    /// Nothing else is executed.
    pub only: bool,
}

/// A trusted document that the schema refuses.
#[derive(Debug, Error)]
#[error("the trusted document {id} is not valid: {reason}")]
pub struct InvalidTrusted {
    pub id: String,
    pub reason: String,
}

/// Every document that is known.
pub(super) struct Documents {
    contract: Arc<Contract>,
    limits: Limits,
    kept: Cache<Hash, Arc<Document>, Bytes>,
    /// Who sent which document along with its hash: for them alone the hash stands for it. Whether it stands for one that
    /// others sent would tell what they do (B6).
    sent: Cache<u128, ()>,
    trusted: HashMap<String, Arc<Document>>,
    trusted_texts: HashMap<Hash, Arc<Document>>,
    only_trusted: bool,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Hash, Arc<Document>> for Bytes {
    fn weight(&self, _: &Hash, document: &Arc<Document>) -> u64 {
        document.bytes as u64
    }
}

impl Documents {
    /// # Errors
    /// When a trusted document is not valid.
    pub(super) fn new(contract: Arc<Contract>, limits: Limits, trusted: TrustedDocuments) -> Result<Self, InvalidTrusted> {
        // A part of the cache holds several of the largest documents, however many cores there are.
        let kept = OptionsBuilder::new().shards(4).estimated_items_capacity(KEPT).weight_capacity(KEPT_BYTES).build().expect("every option is set");
        let mut documents = Self {
            contract,
            limits,
            kept: Cache::with_options(kept, Bytes, DefaultHashBuilder::default(), DefaultLifecycle::default()),
            sent: Cache::new(SENT),
            trusted: HashMap::new(),
            trusted_texts: HashMap::new(),
            only_trusted: trusted.only,
        };
        for (id, text) in trusted.documents {
            let hash = Sha256::digest(&text).into();
            let document = documents.validated(&text, hash).map_err(|response| InvalidTrusted { id: id.clone(), reason: response.first_message() })?;
            let document = Arc::new(document);
            documents.trusted_texts.insert(hash, Arc::clone(&document));
            documents.trusted.insert(id, document);
        }
        Ok(documents)
    }

    /// The document that a user's request means.
    ///
    /// # Errors
    /// The response to give: it is unknown, not trusted, not GraphQL, too large or not valid.
    pub(super) fn find(&self, reference: &DocumentReference, user: &UserId) -> Result<Arc<Document>, Box<Response>> {
        let named = reference.id.as_deref().and_then(|id| self.named(id, user));
        let Some(text) = &reference.text else {
            return named.ok_or_else(|| Box::new(Code::PersistedQueryNotFound.response("PersistedQueryNotFound")));
        };
        let hash: Hash = Sha256::digest(text).into();
        let trusted = self.trusted_texts.get(&hash);
        if self.only_trusted && trusted.is_none() {
            return Err(Box::new(Code::Forbidden.response("only trusted documents are executed here")));
        }
        let is_of_text = |id: &str| hash_of_hex(id) == Some(hash) || named.as_ref().is_some_and(|named| named.hash == hash);
        if reference.id.as_deref().is_some_and(|id| !is_of_text(id)) {
            return Err(Box::new(Code::BadUserInput.response("the id is not this document's")));
        }
        let document = if let Some(known) = trusted.cloned().or_else(|| self.kept.get(&hash)) {
            known
        } else {
            let document = Arc::new(self.validated(text, hash)?);
            self.kept.insert(hash, Arc::clone(&document));
            document
        };
        if reference.id.is_some() {
            self.sent.insert(sent_by(user, &hash), ());
        }
        Ok(document)
    }

    /// The document that goes by an id for a user.
    fn named(&self, id: &str, user: &UserId) -> Option<Arc<Document>> {
        let trusted = self.trusted.get(id).or_else(|| self.trusted.get(id.strip_prefix(HASH_PREFIX)?));
        trusted.cloned().or_else(|| {
            let hash = hash_of_hex(id)?;
            let kept = || self.sent.get(&sent_by(user, &hash)).and_then(|()| self.kept.get(&hash));
            self.trusted_texts.get(&hash).cloned().or_else(|| if self.only_trusted { None } else { kept() })
        })
    }

    fn validated(&self, text: &str, hash: Hash) -> Result<Document, Box<Response>> {
        if text.len() > MAX_DOCUMENT_BYTES {
            let message = format!("the document is longer than {MAX_DOCUMENT_BYTES} bytes: send values as variables");
            return Err(Box::new(Code::QueryTooComplex.response(&message)));
        }
        METRICS.documents_parsed.inc();
        let parsed = Contract::parse(text)?;
        let fields = check_document(&self.limits, &parsed).map_err(|(code, message)| Box::new(code.response(&message)))?;
        let executable = self.contract.validate(&parsed)?;
        Ok(Document { executable, hash, bytes: text.len() * BYTES_OF_A_BYTE + fields * BYTES_OF_A_FIELD })
    }
}

/// A document of a user, in few bytes.
fn sent_by(user: &UserId, document: &Hash) -> u128 {
    let digest = Sha256::new_with_prefix(document).chain_update(user.as_str()).finalize();
    u128::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

fn hash_of_hex(id: &str) -> Option<Hash> {
    let hex = id.strip_prefix(HASH_PREFIX).unwrap_or(id);
    let mut hash = [0; 32];
    let digits = hex.as_bytes();
    if digits.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}
