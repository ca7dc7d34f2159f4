//! The edge: HTTP and WebSocket, authentication, the GraphQL transports, health and the pages that
//! the service itself shows.
//!
//! | what | file |
//! | --- | --- |
//! | who asks | [`authentication`], [`sign_in`]; from where [`peer`], [`trace`] |
//! | GraphQL over HTTP | [`graphql_http`], [`parameters`], [`negotiation`], [`body`], [`answer`] |
//! | subscriptions | [`graphql_sse`], [`graphql_ws`] |
//! | clients that take too long | [`patience`]; what they leave unread [`unread`] |
//! | pages and files | [`pages`], [`client`], [`health`] |

pub mod authentication;
mod answer;
mod body;
mod client;
mod graphql_http;
mod graphql_sse;
mod graphql_ws;
mod health;
mod negotiation;
mod pages;
mod parameters;
mod patience;
mod peer;
mod sign_in;
mod trace;
mod unread;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use axum::routing::{any, get, post};
use futures_util::pin_mut;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tower::ServiceExt as _;
use tower_http::cors::CorsLayer;
use uuid::Uuid;

use crate::app::App;
use crate::app::quota::Quota;
use crate::app::rate::Rate;
use crate::domain::event::Timestamp;
use crate::graphql::Executor;
use authentication::{TokenSigner, Verifier};
use patience::Patient;
use peer::Peer;
pub use peer::Proxies;

/// How long a connection may be silent before a request's head has come.
const HEADER_PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Tokens a second from one address that may be wrong, with a burst of five times that; above it they are not told apart.
const FAILURES: u32 = 50;
/// The header of a request's id, both ways.
const REQUEST_ID: &str = "x-request-id";
/// How long a browser may remember that a page of another origin may ask.
const PREFLIGHT_LASTS: Duration = Duration::from_hours(1);
/// The instant of a token without an end: a year from now will do.
const FAR: Duration = Duration::from_hours(365 * 24);
/// How long a stopping service waits for requests and sockets to end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

struct Shared {
    app: App,
    executor: Arc<Executor>,
    limits: Limits,
    sockets: Arc<Quota>,
    subscriptions: Arc<Quota>,
    /// Bytes of answers that their users have yet to read.
    unread: Arc<Quota>,
    verifier: Verifier,
    /// Whose tokens were not accepted, by where they came from ([`Peer::network`]).
    failures: Rate<IpAddr>,
    /// Where the default image is, for front ends on other origins too.
    default_avatar: Arc<str>,
    /// Development mode: a sign-in by name, and GraphiQL.
    development: Option<TokenSigner>,
    /// Whose pages may ask, and embed the client.
    origins: Vec<HeaderValue>,
    stopping: watch::Receiver<bool>,
    /// Held by each connection and each open socket, so that stopping can wait for them.
    open: mpsc::WeakSender<()>,
}

impl Service {
    /// Whether another token that is not accepted may be told so from there. It takes nothing from those that are.
    fn forgives(&self, peer: Peer) -> bool {
        self.0.failures.take(&peer.network(), 1, self.0.app.now()).is_ok()
    }
}

/// What an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest request body or socket message, in bytes. The longest message takes 8,000; the rest is
    /// for documents and bulk registration.
    pub body: usize,
    /// The most operations of one request; with 1, arrays are refused.
    pub batch: usize,
    /// The most sockets of one user.
    pub sockets: usize,
    /// The most subscriptions of one user.
    pub subscriptions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 1 << 20, batch: 1, sockets: 100, subscriptions: 200 }
    }
}

/// What the edge needs to know.
pub struct Settings {
    pub verifier: Verifier,
    pub executor: Executor,
    pub limits: Limits,
    /// Origins whose pages may ask, such as `https://app.example.com`.
    pub origins: Vec<HeaderValue>,
    /// Whose word is taken for where a request came from.
    pub proxies: Proxies,
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
        executor: Arc::new(settings.executor),
        limits: settings.limits,
        sockets: Quota::new(settings.limits.sockets),
        subscriptions: Quota::new(settings.limits.subscriptions),
        unread: Quota::new(unread::UNREAD),
        verifier: settings.verifier,
        failures: Rate::new(FAILURES),
        default_avatar: format!("{}{}", settings.public_url.trim_end_matches('/'), pages::DEFAULT_AVATAR_PATH).into(),
        development: settings.development,
        origins: settings.origins,
        stopping: stop.clone(),
        open: open.downgrade(),
    }));
    accept(listener, router(service), settings.proxies.into(), &open, stop).await?;
    drop(open);
    if timeout(DRAIN_PATIENCE, all_closed.recv()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    Ok(())
}

/// Takes connections until told to stop. A client that does not ask within a while is let go.
async fn accept(listener: TcpListener, router: Router, proxies: Arc<Proxies>, open: &mpsc::Sender<()>, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    loop {
        let (socket, peer) = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_of_the_listener(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away");
            continue;
        }
        let service = router.clone().map_request(beside(Arc::clone(&proxies), peer.ip()));
        let connection = http.serve_connection(TokioIo::new(Patient::new(socket)), TowerToHyperService::new(service)).with_upgrades();
        let (held_open, mut stop) = (open.clone(), stop.clone());
        tokio::spawn(async move {
            let _held_open = held_open;
            pin_mut!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = told_to_stop(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    let _sender_gone_means_stop = stopping.wait_for(|stop| *stop).await;
}

/// Puts who asked beside a request.
fn beside<B>(proxies: Arc<Proxies>, direct: IpAddr) -> impl Fn(Request<B>) -> Request<B> + Clone {
    move |mut request| {
        let peer = proxies.peer(direct, request.headers());
        request.extensions_mut().insert(peer);
        request
    }
}

/// Whether the listener is none any more. Anything else is of one connection, or of a system that has no room for it now.
fn is_of_the_listener(error: &std::io::Error) -> bool {
    const EBADF: i32 = 9;
    const EINVAL: i32 = 22;
    matches!(error.raw_os_error(), Some(EBADF | EINVAL))
}

fn router(service: Service) -> Router {
    let origins = service.0.origins.clone();
    let development = service.0.development.is_some();
    let mut router = Router::new()
        .route("/graphql", any(graphql_http::graphql))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route(pages::DEFAULT_AVATAR_PATH, get(pages::default_avatar))
        .route("/", get(client::page))
        .route("/client/{file}", get(client::file));
    if development {
        router = router.route("/graphiql", get(pages::graphiql)).route("/sign-in", post(pages::sign_in));
    }
    if !origins.is_empty() {
        router = router.layer(cross_origin(origins));
    }
    router.with_state(service)
}

/// Lets pages of other origins ask. No cookie says who somebody is, so none is allowed along.
fn cross_origin(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::ACCEPT_LANGUAGE, header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static(REQUEST_ID)])
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static(REQUEST_ID)])
        .max_age(PREFLIGHT_LASTS)
}

/// The id that ties a request to what it led to: the caller's, if it is a UUID, or a new one.
fn request_id(headers: &HeaderMap, app: &App) -> Uuid {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).and_then(|id| Uuid::try_parse(id).ok());
    given.unwrap_or_else(|| app.new_id())
}

/// How long until an instant.
fn time_until(instant: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(instant.0.saturating_sub(now.0)).unwrap_or(0)).min(FAR)
}

fn no_store() -> (header::HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
