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
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::app::App;
use crate::graphql::Schema;
use authentication::{TokenSigner, Verifier};

/// The longest request body, in bytes. The longest message takes 8,000; the rest is for documents and bulk registration.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long a connection may be silent before a request's head has come, and then its body.
const HEADER_PATIENCE: Duration = Duration::from_secs(30);
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
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
pub async fn serve(listener: TcpListener, app: App, settings: Settings, stop: watch::Receiver<bool>) -> std::io::Result<()> {
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
    let graceful = GracefulShutdown::new();
    accept(listener, router(service), &graceful, stop).await?;
    let drained = async {
        graceful.shutdown().await;
        drop(open);
        let _none_left = all_closed.recv().await;
    };
    if timeout(DRAIN_PATIENCE, drained).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    Ok(())
}

/// Takes connections until told to stop. A client that does not ask within a while is let go.
async fn accept(listener: TcpListener, router: Router, graceful: &GracefulShutdown, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    loop {
        let socket = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away");
            continue;
        }
        let connection = http.serve_connection_with_upgrades(TokioIo::new(socket), TowerToHyperService::new(router.clone())).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

/// Whether the listener will take the next connection: this one went away, or too many are open.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let too_many_open = matches!(error.raw_os_error(), Some(23 | 24));
    too_many_open || matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
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
