//! The edge: HTTP and WebSocket, authentication, the GraphQL transports, health and the pages that
//! the service itself shows.

pub mod authentication;
mod graphql_http;
mod graphql_ws;
mod health;
mod negotiation;
mod pages;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::routing::{any, get, post};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::app::App;
use crate::graphql::Schema;
use authentication::{TokenSigner, Verifier};

/// The longest request body, in bytes. The longest message takes 8,000; the rest is for documents and bulk registration.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long a stopping service waits for requests and sockets to end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

struct Shared {
    app: App,
    schema: Schema,
    verifier: Verifier,
    /// Where the default image is, for front ends on other origins too.
    default_avatar: Arc<str>,
    /// Development mode: a sign-in by name, and GraphiQL.
    development: Option<TokenSigner>,
    stopping: watch::Receiver<bool>,
    /// Held by each open socket, so that stopping can wait for them.
    open: mpsc::WeakSender<()>,
}

/// What the edge needs to know.
pub struct Settings {
    pub verifier: Verifier,
    /// Set in development mode.
    pub development: Option<TokenSigner>,
    /// `https://chat.example.com`, or empty: then the default image's address is relative.
    pub public_url: String,
}

/// Serves until `stop` is true, then drains: requests are answered, sockets closed as going away.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, app: App, settings: Settings, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let (open, mut all_closed) = mpsc::channel(1);
    let service = Service(Arc::new(Shared {
        app,
        schema: crate::graphql::schema(),
        verifier: settings.verifier,
        default_avatar: format!("{}{}", settings.public_url.trim_end_matches('/'), pages::DEFAULT_AVATAR_PATH).into(),
        development: settings.development,
        stopping: stop.clone(),
        open: open.downgrade(),
    }));
    let stopped = {
        let mut stop = stop.clone();
        async move {
            let _sender_gone_means_stop = stop.wait_for(|stop| *stop).await;
        }
    };
    let serving = axum::serve(listener, router(service)).with_graceful_shutdown(stopped);
    let drained = async {
        let result = serving.await;
        drop(open);
        let _none_left = all_closed.recv().await;
        result
    };
    let too_long = async {
        let _sender_gone_means_stop = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(DRAIN_PATIENCE).await;
    };
    tokio::select! {
        result = drained => result,
        () = too_long => {
            tracing::warn!("some connections did not end in time");
            Ok(())
        }
    }
}

fn router(service: Service) -> Router {
    let development = service.0.development.is_some();
    let mut router = Router::new()
        .route("/graphql", any(graphql_http::graphql))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route(pages::DEFAULT_AVATAR_PATH, get(pages::default_avatar))
        .route("/", get(pages::home));
    if development {
        router = router.route("/graphiql", get(pages::graphiql)).route("/sign-in", post(pages::sign_in));
    }
    router.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(service)
}

/// The id that ties a request to what it led to: the caller's, if it is a UUID, or a new one.
fn request_id(headers: &HeaderMap, app: &App) -> Uuid {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok()).and_then(|id| Uuid::try_parse(id).ok());
    given.unwrap_or_else(|| app.new_id())
}

fn no_store() -> (header::HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
