//! Who is asking: signed tokens (JWT). An algorithm belongs to a key, never to a token: what the
//! token's header says can only choose among the keys that were configured.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::app::access::{Identity, Roles};
use crate::domain::event::Timestamp;
use crate::domain::ids::UserId;
use crate::graphql::Language;

/// A shorter secret can be guessed (RFC 7518 §3.2).
pub const SHORTEST_SECRET_BYTES: usize = 32;
/// Accepted tokens that are remembered, some hundred bytes each.
const REMEMBERED: usize = 8_192;

/// Why a key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("a token secret has at least {SHORTEST_SECRET_BYTES} bytes")]
    ShortSecret,
    #[error("the public key is no PEM of an RSA, P-256 or Ed25519 key")]
    UnknownPem,
    #[error("the JWKS file cannot be read: {0}")]
    Jwks(String),
    #[error("the JWKS file has no RSA, P-256 or Ed25519 key for signatures")]
    EmptyJwks,
}

/// Why a token is not accepted. Never quotes the token.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unauthenticated {
    #[error("sign in: send your token as `Authorization: Bearer …`")]
    Missing,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's signature does not match")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Immature,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's `sub` is no user id")]
    Subject,
}

impl Unauthenticated {
    /// For whoever sent the token.
    #[must_use]
    pub fn message(self, language: Language) -> String {
        match language {
            Language::English => self.to_string(),
            Language::French => self.in_french().to_owned(),
        }
    }

    fn in_french(self) -> &'static str {
        match self {
            Self::Missing => "connectez-vous : envoyez votre jeton par `Authorization: Bearer …`",
            Self::Malformed => "le jeton est mal formé",
            Self::Signature => "la signature du jeton ne correspond pas",
            Self::Expired => "le jeton a expiré",
            Self::Immature => "le jeton n'est pas encore valide",
            Self::Issuer => "le jeton vient d'un autre émetteur",
            Self::Audience => "le jeton est destiné à un autre service",
            Self::Subject => "le `sub` du jeton n'est pas un identifiant d'utilisateur",
        }
    }
}

/// A key with the one algorithm it is for.
struct Key {
    id: Option<String>,
    decoding: DecodingKey,
    validation: Validation,
}

/// Checks tokens against the configured keys and claims.
pub struct Verifier {
    keys: Vec<Key>,
    /// Whose tokens were accepted, by the token's hash. A client sends the same one with each request.
    accepted: Cache<[u8; 32], Arc<Identity>>,
}

/// What a token must say beside being signed.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub issuer: Option<String>,
    pub audience: Option<String>,
    /// How many seconds clocks may differ.
    pub leeway: u64,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    name: Value,
    #[serde(default)]
    picture: Value,
    #[serde(default)]
    role: Value,
    #[serde(default)]
    roles: Value,
    #[serde(default)]
    exp: Value,
}

impl Verifier {
    /// HS256 with a secret.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn secret(secret: &[u8], expected: &Expected) -> Result<Self, KeyError> {
        if secret.len() < SHORTEST_SECRET_BYTES {
            return Err(KeyError::ShortSecret);
        }
        Ok(Self::of(vec![Key::new(None, DecodingKey::from_secret(secret), Algorithm::HS256, expected)]))
    }

    /// RS256, ES256 or EdDSA, by the kind of the key.
    ///
    /// # Errors
    /// When the PEM holds no such key.
    pub fn public_key(pem: &[u8], expected: &Expected) -> Result<Self, KeyError> {
        let key = DecodingKey::from_rsa_pem(pem)
            .map(|key| (key, Algorithm::RS256))
            .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256)))
            .or_else(|_| DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA)));
        let (key, algorithm) = key.map_err(|_| KeyError::UnknownPem)?;
        Ok(Self::of(vec![Key::new(None, key, algorithm, expected)]))
    }

    /// The public keys of a JWKS (RFC 7517); others in it are passed over.
    ///
    /// # Errors
    /// When it is no JWKS or has no usable key.
    pub fn jwks(json: &[u8], expected: &Expected) -> Result<Self, KeyError> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|error| KeyError::Jwks(error.to_string()))?;
        let keys: Vec<Key> = set
            .keys
            .iter()
            .filter(|jwk| !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)))
            .filter_map(|jwk| {
                let algorithm = match &jwk.algorithm {
                    AlgorithmParameters::RSA(_) => Algorithm::RS256,
                    AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
                    AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
                    _ => return None,
                };
                let decoding = DecodingKey::from_jwk(jwk).ok()?;
                Some(Key::new(jwk.common.key_id.clone(), decoding, algorithm, expected))
            })
            .collect();
        if keys.is_empty() { Err(KeyError::EmptyJwks) } else { Ok(Self::of(keys)) }
    }

    fn of(keys: Vec<Key>) -> Self {
        Self { keys, accepted: Cache::new(REMEMBERED) }
    }

    /// Verifies a token and reads who it is for.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(&self, token: &str) -> Result<Arc<Identity>, Unauthenticated> {
        let hash = Sha256::digest(token).into();
        let now = jsonwebtoken::get_current_timestamp();
        // One that has ended since is looked at anew, to be told so.
        if let Some(known) = self.accepted.get(&hash).filter(|known| is_accepted_at(known, now)) {
            return Ok(known);
        }
        let identity = Arc::new(self.verify_anew(token)?);
        self.accepted.insert(hash, Arc::clone(&identity));
        Ok(identity)
    }

    fn verify_anew(&self, token: &str) -> Result<Identity, Unauthenticated> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unauthenticated::Malformed)?;
        // Extensions that must be understood, and are not (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(Unauthenticated::Malformed);
        }
        let mut refusal = Unauthenticated::Signature;
        for key in self.keys.iter().filter(|key| key.may_have_signed(&header)) {
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation) {
                Ok(data) => return data.claims.identity(key.validation.leeway),
                Err(error) => refusal = reason(error.kind()),
            }
        }
        Err(refusal)
    }

    /// Verifies the token of a request's headers.
    ///
    /// # Errors
    /// Why there is none, or it is not accepted.
    pub fn verify_headers(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Unauthenticated> {
        let value = headers.get(header::AUTHORIZATION).ok_or(Unauthenticated::Missing)?;
        self.verify(bearer(value.to_str().map_err(|_| Unauthenticated::Malformed)?).ok_or(Unauthenticated::Missing)?)
    }
}

/// Whether a token that was accepted still is, at an instant in seconds since 1970.
fn is_accepted_at(identity: &Identity, now: u64) -> bool {
    identity.expires.is_none_or(|expires| i64::try_from(now).is_ok_and(|now| now.saturating_mul(1_000_000) < expires.0))
}

/// The token of `Bearer …`.
#[must_use]
pub fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Key {
    fn new(id: Option<String>, decoding: DecodingKey, algorithm: Algorithm, expected: &Expected) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = expected.leeway;
        // Not on or after `exp` (RFC 7519 §4.1.4).
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.validate_nbf = true;
        validation.validate_aud = expected.audience.is_some();
        validation.required_spec_claims = HashSet::new();
        if let Some(issuer) = &expected.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = &expected.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        Self { id, decoding, validation }
    }

    fn may_have_signed(&self, header: &Header) -> bool {
        let same_id = match (&self.id, &header.kid) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        };
        same_id && self.validation.algorithms.contains(&header.alg)
    }
}

fn reason(kind: &ErrorKind) -> Unauthenticated {
    match kind {
        ErrorKind::ExpiredSignature => Unauthenticated::Expired,
        ErrorKind::ImmatureSignature => Unauthenticated::Immature,
        ErrorKind::InvalidIssuer => Unauthenticated::Issuer,
        ErrorKind::InvalidAudience => Unauthenticated::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Unauthenticated::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Unauthenticated::Audience,
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Unauthenticated::Signature,
        _ => Unauthenticated::Malformed,
    }
}

impl Claims {
    fn identity(self, leeway: u64) -> Result<Identity, Unauthenticated> {
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let has = |role: &str| names(&self.role, role) || names(&self.roles, role);
        let roles = Roles { admin: has("admin"), auditor: has("auditor") };
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an instant beyond the range is as good as its end")]
        let expires = self.exp.as_f64().map(|seconds| Timestamp(((seconds + leeway as f64) * 1e6) as i64));
        Ok(Identity { id: UserId::parse(&self.sub).map_err(|_| Unauthenticated::Subject)?, name: text(self.name), picture: text(self.picture), roles, expires })
    }
}

/// Whether a role claim, a string or a list of them, names a role.
fn names(claim: &Value, role: &str) -> bool {
    match claim {
        Value::String(named) => named == role,
        Value::Array(named) => named.iter().any(|named| named == role),
        _ => false,
    }
}

/// Signs tokens with a secret: for the command line, and for development mode.
pub struct TokenSigner {
    key: EncodingKey,
}

/// Whom a token is made for.
#[derive(Clone, Debug, Serialize)]
pub struct TokenClaims<'a> {
    pub sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub roles: &'a [&'a str],
    /// Seconds since 1970.
    pub iat: i64,
    pub exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<&'a str>,
}

impl TokenSigner {
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self { key: EncodingKey::from_secret(secret) }
    }

    /// # Panics
    /// Never: claims are always JSON.
    #[must_use]
    pub fn sign(&self, claims: &TokenClaims<'_>) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.key).expect("claims are always JSON")
    }
}
