//! What the service itself shows beside the client: the default image, and in development mode a sign-in by name and
//! GraphiQL.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::authentication::{TokenClaims, TokenSigner};
use super::parameters::Members;
use super::{Service, body, negotiation, no_store};
use crate::domain::collation::searchable;
use crate::domain::event::Timestamp;
use crate::domain::ids::UserId;

pub(super) const DEFAULT_AVATAR_PATH: &str = "/avatar.svg";
const DEFAULT_AVATAR: &str = include_str!("avatar.svg");
const GRAPHIQL_SIGN_IN: &str = include_str!("graphiql_sign_in.html");
const GRAPHIQL: &str = include_str!("graphiql.html");

/// The longest sign-in by name, in bytes.
const LONGEST_SIGN_IN: usize = 8 << 10;
/// How long a token of the sign-in by name lasts, in seconds.
const DEVELOPMENT_TOKEN_SECONDS: i64 = 12 * 3_600;
const NO_SCRIPTS: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

pub(super) async fn default_avatar() -> impl IntoResponse {
    let day = HeaderValue::from_static("public, max-age=86400");
    ([(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml")), (header::CACHE_CONTROL, day)], DEFAULT_AVATAR)
}

#[derive(Deserialize)]
pub(super) struct As {
    #[serde(rename = "as")]
    name: Option<String>,
}

/// GraphiQL, signed in by name.
pub(super) async fn graphiql(State(service): State<Service>, headers: HeaderMap, Query(As { name }): Query<As>) -> Response {
    let Some(name) = name.filter(|name| !name.trim().is_empty()) else {
        return page_with_policy(GRAPHIQL_SIGN_IN.to_owned(), NO_SCRIPTS).into_response();
    };
    let Some(signed_in) = sign_in_by_name(&service, &headers, &name) else { return not_here() };
    let nonce = service.0.app.new_id().simple().to_string();
    let script_string = |text: &str| serde_json::to_string(text).unwrap_or_default().replace('<', "\\u003c");
    let page = GRAPHIQL.replace("{{nonce}}", &nonce).replace("{{token}}", &script_string(&signed_in.token)).replace("{{name}}", &script_string(&name));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}' https://unpkg.com; style-src 'unsafe-inline' https://unpkg.com; font-src data: https://unpkg.com; \
         img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    page_with_policy(page, &policy).into_response()
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignedIn {
    user_id: String,
    token: String,
    /// Seconds since 1970.
    expires_at: i64,
}

/// The sign-in by name: a token for whoever says their name.
pub(super) async fn sign_in(State(service): State<Service>, headers: HeaderMap, body: Body) -> Response {
    // Only a page from here may send JSON without being asked about it.
    if !negotiation::is_json(&headers) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`\n").into_response();
    }
    let body = match body::read(body, LONGEST_SIGN_IN).await {
        Ok(body) => body,
        Err(unread) => return (unread.status(), format!("{unread}\n")).into_response(),
    };
    let Ok(Members(SignIn { name })) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "send `{\"name\": \"...\"}`\n").into_response();
    };
    match sign_in_by_name(&service, &headers, &name) {
        Some(signed_in) => ([no_store()], Json(signed_in)).into_response(),
        None => not_here(),
    }
}

/// None outside development mode, for a name without a letter or digit, and for a page that reached
/// this loopback address by another name: such a page is not from here.
fn sign_in_by_name(service: &Service, headers: &HeaderMap, name: &str) -> Option<SignedIn> {
    let signer = service.0.development.as_ref()?;
    let host = headers.get(header::HOST)?.to_str().ok()?;
    is_loopback_host(host).then_some(())?;
    token_for_name(signer, name, service.0.app.now())
}

pub(super) fn is_loopback_host(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn token_for_name(signer: &TokenSigner, name: &str, now: Timestamp) -> Option<SignedIn> {
    let id = id_of_name(name)?;
    let iat = now.0.div_euclid(1_000_000);
    let exp = iat + DEVELOPMENT_TOKEN_SECONDS;
    let token = signer.sign(&TokenClaims { sub: id.as_str(), name: Some(name.trim()), roles: &["admin", "auditor"], iat, exp, iss: None, aud: None });
    Some(SignedIn { user_id: id.to_string(), token, expires_at: exp })
}

/// `Jean Dupont` is `jean-dupont`.
fn id_of_name(name: &str) -> Option<UserId> {
    let folded: String = searchable(name.trim()).chars().map(|c| if c.is_ascii_alphanumeric() || "._:@|".contains(c) { c } else { '-' }).collect();
    let id: String = folded.trim_matches('-').chars().take(UserId::MAX_LENGTH).collect();
    UserId::parse(&id).ok()
}

pub(super) fn page_with_policy(page: String, policy: &str) -> impl IntoResponse {
    let policy = HeaderValue::from_str(policy).expect("a policy is plain text");
    ([no_store(), (header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"))], Html(page))
}

fn not_here() -> Response {
    (StatusCode::BAD_REQUEST, "give a name with a letter or a digit, at the loopback address that the service prints\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_an_id() {
        let id = |name| id_of_name(name).map(|id| id.to_string());
        assert_eq!(id("Jean Dupont").as_deref(), Some("jean-dupont"));
        assert_eq!(id(" Zoë ").as_deref(), Some("zoe"));
        assert_eq!(id("李"), None);
        assert_eq!(id(""), None);
    }

    #[test]
    fn only_this_machine_signs_in_by_name() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8080", "10.0.0.1:8080", "localhost.evil:80"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
