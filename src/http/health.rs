//! Whether the service lives, whether it can serve, and what it measures of itself.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::Service;
use super::authentication::Unauthenticated;
use super::peer::Peer;
use crate::metrics::METRICS;

/// How long the log may take to answer, and the views may stand still while there is something to show.
const STANDSTILL: Duration = Duration::from_secs(2);

/// The process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// The log can be read, and the views follow it: they have reached its head, or are going on.
pub(super) async fn ready(State(service): State<Service>) -> (StatusCode, &'static str) {
    let app = &service.0.app;
    if !matches!(tokio::time::timeout(STANDSTILL, app.log_answers()).await, Ok(Ok(()))) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the event log cannot be read\n");
    }
    let before = app.applied();
    match tokio::time::timeout(STANDSTILL, app.views_reach_head()).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "the views no longer follow the log\n"),
        Err(_) if app.applied() > before => (StatusCode::OK, "ready, the views are catching up\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the views are behind the log and stand still\n"),
    }
}

/// For Prometheus. Counts of what others do would tell somebody that they are blocked, so they are for
/// tokens of an operator, and in development mode for this machine.
pub(super) async fn metrics(State(service): State<Service>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    let in_development = service.0.development.is_some() && is_local(peer, &headers);
    if !in_development {
        match service.0.verifier.verify_headers(&headers) {
            Ok(identity) if identity.roles.admin || identity.roles.auditor => {}
            Err(why) if why != Unauthenticated::Expired && !service.forgives(peer) => {
                return (StatusCode::TOO_MANY_REQUESTS, "too many requests from here have no token that is accepted\n").into_response();
            }
            Ok(_) | Err(_) => return (StatusCode::FORBIDDEN, "measures are for a token with the role admin or auditor\n").into_response(),
        }
    }
    // What cannot be looked at keeps its last value: the others are wanted then, above all.
    let _looked = tokio::time::timeout(STANDSTILL, service.0.app.measure()).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], METRICS.text()).into_response()
}

/// Whether a request was made on this machine, as far as it tells.
fn is_local(peer: Peer, headers: &HeaderMap) -> bool {
    let forwarded = ["forwarded", "via", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    peer.direct.is_loopback() && !forwarded && host.is_some_and(super::pages::is_loopback_host)
}
