//! Whether the service lives, and whether it can serve.

use axum::extract::State;
use axum::http::StatusCode;

use super::Service;

/// The process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// The views have reached what was in the log when asked, within a second.
pub(super) async fn ready(State(service): State<Service>) -> (StatusCode, &'static str) {
    let patience = std::time::Duration::from_secs(1);
    match tokio::time::timeout(patience, service.0.app.views_reach_head()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "the views no longer follow the log\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the views are behind the log\n"),
    }
}
