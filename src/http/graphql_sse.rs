//! GraphQL over server-sent events, distinct connections mode
//! (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>): a stream for each operation. A
//! stream ends with the token that opened it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response as HttpResponse};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument as _;
use uuid::Uuid;

use super::answer::request_id_header;
use super::authentication::Unauthenticated;
use super::unread::{Need, TooMuchUnread};
use super::{FAR, Service, no_store, time_until, told_to_stop};
use crate::app::quota::Place;
use crate::domain::event::Timestamp;
use crate::domain::ids::UserId;
use crate::graphql::{Code, Language, Operation, Response, Session};
use crate::metrics::METRICS;

/// Parts that wait for the client to read; then its operation waits.
const WAITING: usize = 8;
/// How often something is sent over a quiet stream, so that what lies between keeps it open.
const KEEP_ALIVE: Duration = Duration::from_secs(12);
/// Nothing, for programs; that the stream is open, for browsers.
const COMMENT: &str = ":\n\n";
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// The stream of an operation's responses.
pub(super) fn open(service: &Service, operation: Operation, session: Arc<Session>, expires: Option<Timestamp>, place: Option<Place>, id: Uuid) -> HttpResponse {
    METRICS.count_operation("sse");
    let (parts, body) = mpsc::channel(WAITING);
    let connection = Connection {
        language: session.language(),
        user: session.viewer_id().clone(),
        need: Need::of(operation.kind()),
        service: service.clone(),
        expires: Instant::now() + expires.map_or(FAR, |expires| time_until(expires, service.0.app.now())),
        stopping: service.0.stopping.clone(),
        responses: service.0.executor.stream(operation, session),
        parts,
        _place: place,
        _held_open: service.0.open.upgrade(),
    };
    // A task of its own: whether or not its client reads, a stream ends when it has to.
    tokio::spawn(connection.run().in_current_span());
    into_response(stream::unfold(body, |mut body| async { body.recv().await.map(|part| (part, body)) }), id)
}

/// The stream of an operation that is not executed.
pub(super) fn refused(response: &Response, id: Uuid) -> HttpResponse {
    into_response(stream::iter([last(response).into()]), id)
}

fn into_response(parts: impl Stream<Item = Bytes> + Send + 'static, id: Uuid) -> HttpResponse {
    let media_type = (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    let body = Body::from_stream(parts.map(Ok::<_, Infallible>));
    ([media_type, no_store(), unbuffered, request_id_header(id)], body).into_response()
}

struct Connection {
    service: Service,
    user: UserId,
    need: Need,
    language: Language,
    /// When the token ends.
    expires: Instant,
    stopping: watch::Receiver<bool>,
    responses: BoxStream<'static, Response>,
    parts: mpsc::Sender<Bytes>,
    _place: Option<Place>,
    /// So that stopping waits.
    _held_open: Option<mpsc::Sender<()>>,
}

impl Connection {
    /// Until the operation, the token, the service or the client's connection ends. A service that stops
    /// breaks the stream off, so that the client comes back.
    async fn run(mut self) {
        let mut part = COMMENT.to_owned();
        let mut is_over = false;
        loop {
            let (held, is_last) = match self.service.counted_bytes(&self.user, part.into_bytes(), self.need) {
                Ok(held) => (held, is_over),
                Err(TooMuchUnread) => (last(&Code::RateLimited.response(TooMuchUnread::MESSAGE)).into(), true),
            };
            is_over = is_last;
            let is_told = tokio::select! {
                told = self.parts.send(held) => told.is_ok(),
                () = told_to_stop(&mut self.stopping) => false,
                () = sleep_until(self.expires), if !is_over => false,
            };
            if is_over || !is_told {
                return;
            }
            (part, is_over) = tokio::select! {
                () = told_to_stop(&mut self.stopping) => return,
                () = self.parts.closed() => return,
                () = sleep_until(self.expires) => {
                    let message = Unauthenticated::Expired.message(self.language);
                    (last(&Code::Unauthenticated.response(&message)), true)
                }
                response = self.responses.next() => response.map_or_else(|| (COMPLETE.to_owned(), true), |response| (next(&response), false)),
                () = sleep(KEEP_ALIVE) => (COMMENT.to_owned(), false),
            };
        }
    }
}

fn next(response: &Response) -> String {
    if let Some(code) = response.codes().next() {
        METRICS.count_rejection(code);
    }
    format!("event: next\ndata: {}\n\n", String::from_utf8_lossy(&response.to_json()))
}

fn last(response: &Response) -> String {
    next(response) + COMPLETE
}
