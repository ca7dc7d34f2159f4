//! Documents, parsed and validated once and kept: a repeated operation costs neither. Those that the
//! operator trusts are kept for ever, under the ids that clients know them by.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition};
use async_graphql::parser::{Error as SyntaxError, parse_query};
use async_graphql::{Positioned, Request, ServerError, ValidationMode, ValidationResult, async_trait};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::errors::{Code, Response};
use super::escapes;
use super::limits::{Limits, MAX_DOCUMENT_BYTES, check_document};
use super::{Schema, build};
use crate::metrics::METRICS;

/// What kept documents may take in memory, about.
const KEPT_BYTES: u64 = 16 << 20;
/// What a parsed document takes, about: for each byte of its text, and for each field.
const BYTES_OF_A_BYTE: usize = 16;
const BYTES_OF_A_FIELD: usize = 256;
/// Documents that the cache is laid out for.
const KEPT: usize = 1_000;

type Hash = [u8; 32];

/// A valid document.
pub(super) struct Document {
    pub ast: ExecutableDocument,
    /// What it takes in memory, about.
    bytes: usize,
}

impl Document {
    /// The operation that a request asks for.
    ///
    /// # Errors
    /// When it names none of several, or one that is not there.
    pub(super) fn operation(&self, name: Option<&str>) -> Result<&Positioned<OperationDefinition>, Box<Response>> {
        let found = match (&self.ast.operations, name) {
            (DocumentOperations::Single(operation), None) => Some(operation),
            (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
            (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
            (DocumentOperations::Single(_), Some(_)) | (DocumentOperations::Multiple(_), None) => None,
        };
        found.ok_or_else(|| Box::new(Code::ValidationFailed.response("the document has no operation of this name, or several and none is named")))
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
    validator: Schema,
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
    pub(super) async fn new(limits: Limits, trusted: TrustedDocuments) -> Result<Self, InvalidTrusted> {
        let mut documents = Self {
            validator: build().validation_mode(ValidationMode::Strict).extension(ValidateOnly).finish(),
            limits,
            kept: Cache::with_weighter(KEPT, KEPT_BYTES, Bytes),
            trusted: HashMap::new(),
            trusted_texts: HashSet::new(),
            only_trusted: trusted.only,
        };
        for (id, text) in trusted.documents {
            let document = documents.validated(&text).await.map_err(|response| InvalidTrusted { id: id.clone(), reason: response.first_message() })?;
            documents.trusted_texts.insert(Sha256::digest(&text).into());
            documents.trusted.insert(id, Arc::new(document));
        }
        Ok(documents)
    }

    /// The document that a request means.
    ///
    /// # Errors
    /// The response to give: it is unknown, not trusted, not GraphQL, too large or not valid.
    pub(super) async fn find(&self, reference: &DocumentReference) -> Result<Arc<Document>, Box<Response>> {
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
        let document = Arc::new(self.validated(text).await?);
        self.kept.insert(hash, Arc::clone(&document));
        Ok(document)
    }

    async fn validated(&self, text: &str) -> Result<Document, Box<Response>> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(Box::new(Code::QueryTooComplex.response("the document is longer than 64 KiB: send values as variables")));
        }
        METRICS.documents_parsed.inc();
        let ast = parse_query(escapes::for_parser(text)).map_err(|error| Box::new(syntax_response(error)))?;
        let fields = check_document(&self.limits, &ast).map_err(|(code, message)| Box::new(code.response(&message)))?;
        let mut request = Request::new("");
        request.set_parsed_query(ast.clone());
        let errors = self.validator.execute(request).await.errors;
        if !errors.is_empty() {
            return Err(Box::new(Response::refused(errors, Code::ValidationFailed)));
        }
        Ok(Document { ast, bytes: text.len() * BYTES_OF_A_BYTE + fields * BYTES_OF_A_FIELD })
    }
}

fn hash_of_hex(hex: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// What is wrong with a document's syntax, in one line.
fn syntax_response(error: SyntaxError) -> Response {
    let reason = match &error {
        SyntaxError::Syntax { message, .. } => message.lines().last().unwrap_or_default().trim_start_matches([' ', '=']).to_owned(),
        other => other.to_string(),
    };
    let mut error = ServerError::from(error);
    let place = error.locations.first().map(|place| format!(" (line {}, column {})", place.line, place.column));
    error.message = format!("the document is not GraphQL{}: {reason}", place.unwrap_or_default());
    Response::refused(vec![error], Code::ParseFailed)
}

/// Ends every request after its validation: with no error where it is valid.
struct ValidateOnly;

impl ExtensionFactory for ValidateOnly {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for ValidateOnly {
    async fn validation(&self, context: &ExtensionContext<'_>, next: NextValidation<'_>) -> Result<ValidationResult, Vec<ServerError>> {
        next.run(context).await?;
        Err(vec![])
    }
}
