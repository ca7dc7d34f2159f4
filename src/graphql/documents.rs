//! Documents, parsed and validated once and kept: a repeated operation costs neither. Those that the
//! operator trusts are kept for ever, under the ids that clients know them by.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use apollo_compiler::Node;
use apollo_compiler::executable::{ExecutableDocument, Operation};
use apollo_compiler::validation::Valid;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::contract::Contract;
use super::errors::Code;
use super::limits::{Limits, MAX_DOCUMENT_BYTES, check_document};
use super::response::Response;
use crate::metrics::METRICS;

/// What kept documents may take in memory, about.
const KEPT_BYTES: u64 = 16 << 20;
/// What a parsed document takes, about: for each byte of its text, and for each field.
const BYTES_OF_A_BYTE: usize = 16;
const BYTES_OF_A_FIELD: usize = 512;
/// Documents that the cache is laid out for.
const KEPT: usize = 1_000;

type Hash = [u8; 32];

/// A valid document.
pub(super) struct Document {
    pub executable: Valid<ExecutableDocument>,
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
    trusted: HashMap<String, Arc<Document>>,
    trusted_texts: HashSet<Hash>,
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
        let mut documents = Self {
            contract,
            limits,
            kept: Cache::with_weighter(KEPT, KEPT_BYTES, Bytes),
            trusted: HashMap::new(),
            trusted_texts: HashSet::new(),
            only_trusted: trusted.only,
        };
        for (id, text) in trusted.documents {
            let document = documents.validated(&text).map_err(|response| InvalidTrusted { id: id.clone(), reason: response.first_message() })?;
            documents.trusted_texts.insert(Sha256::digest(&text).into());
            documents.trusted.insert(id, Arc::new(document));
        }
        Ok(documents)
    }

    /// The document that a request means.
    ///
    /// # Errors
    /// The response to give: it is unknown, not trusted, not GraphQL, too large or not valid.
    pub(super) fn find(&self, reference: &DocumentReference) -> Result<Arc<Document>, Box<Response>> {
        let id = reference.id.as_deref().map(|id| id.strip_prefix("sha256:").unwrap_or(id));
        if let Some(trusted) = id.and_then(|id| self.trusted.get(id)) {
            return Ok(Arc::clone(trusted));
        }
        let Some(text) = &reference.text else {
            let kept = id.and_then(hash_of_hex).filter(|_| !self.only_trusted).and_then(|hash| self.kept.get(&hash));
            return kept.ok_or_else(|| Box::new(Code::PersistedQueryNotFound.response("PersistedQueryNotFound")));
        };
        let hash: Hash = Sha256::digest(text).into();
        if self.only_trusted && !self.trusted_texts.contains(&hash) {
            return Err(Box::new(Code::Forbidden.response("only trusted documents are executed here")));
        }
        if id.is_some_and(|id| hash_of_hex(id) != Some(hash)) {
            return Err(Box::new(Code::BadUserInput.response("the id is not the SHA-256 of the document")));
        }
        if let Some(kept) = self.kept.get(&hash) {
            return Ok(kept);
        }
        let document = Arc::new(self.validated(text)?);
        self.kept.insert(hash, Arc::clone(&document));
        Ok(document)
    }

    fn validated(&self, text: &str) -> Result<Document, Box<Response>> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(Box::new(Code::QueryTooComplex.response("the document is longer than 64 KiB: send values as variables")));
        }
        METRICS.documents_parsed.inc();
        let parsed = Contract::parse(text)?;
        let fields = check_document(&self.limits, &parsed).map_err(|(code, message)| Box::new(code.response(&message)))?;
        let executable = self.contract.validate(&parsed)?;
        Ok(Document { executable, bytes: text.len() * BYTES_OF_A_BYTE + fields * BYTES_OF_A_FIELD })
    }
}

fn hash_of_hex(hex: &str) -> Option<Hash> {
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
