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
use uuid::Uuid;

use super::answer::request_id_header;
use super::authentication::Unauthenticated;
use super::quotas::Place;
use super::{FAR, Service, no_store, time_until};
use crate::domain::event::Timestamp;
use crate::graphql::{Code, Language, Operation, Response, Session};
use crate::metrics::METRICS;

/// How often something is sent over a quiet stream, so that what lies between keeps it open.
const KEEP_ALIVE: Duration = Duration::from_secs(12);
/// Nothing, for programs; that the stream is open, for browsers.
const COMMENT: &str = ":\n\n";
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// The stream of an operation's responses.
pub(super) fn open(service: &Service, operation: Operation, session: Arc<Session>, expires: Option<Timestamp>, place: Option<Place>, id: Uuid) -> HttpResponse {
    METRICS.count_operation("sse");
    let connection = Connection {
        language: session.language(),
        expires: Instant::now() + expires.map_or(FAR, |expires| time_until(expires, service.0.app.now())),
        stopping: service.0.stopping.clone(),
        responses: service.0.executor.stream(operation, session),
        is_over: false,
        _place: place,
        _held_open: service.0.open.upgrade(),
    };
    let parts = stream::unfold(connection, |mut connection| async { connection.next().await.map(|part| (part, connection)) });
    into_response(stream::once(async { COMMENT.to_owned() }).chain(parts), id)
}

/// The stream of an operation that is not executed.
pub(super) fn refused(response: &Response, id: Uuid) -> HttpResponse {
    into_response(stream::iter([last(response)]), id)
}

fn into_response(parts: impl Stream<Item = String> + Send + 'static, id: Uuid) -> HttpResponse {
    let media_type = (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    let body = Body::from_stream(parts.map(|part| Ok::<_, Infallible>(Bytes::from(part))));
    ([media_type, no_store(), unbuffered, request_id_header(id)], body).into_response()
}

struct Connection {
    language: Language,
    /// When the token ends.
    expires: Instant,
    stopping: watch::Receiver<bool>,
    responses: BoxStream<'static, Response>,
    is_over: bool,
    _place: Option<Place>,
    /// So that stopping waits.
    _held_open: Option<mpsc::Sender<()>>,
}

impl Connection {
    /// What is to be sent next; none at the end. A service that stops breaks the stream off, so that the
    /// client comes back.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        tokio::select! {
            _sender_gone_means_stop = self.stopping.wait_for(|stop| *stop) => None,
            () = sleep_until(self.expires) => {
                self.is_over = true;
                let message = Unauthenticated::Expired.message(self.language);
                Some(last(&Code::Unauthenticated.response(&message)))
            }
            response = self.responses.next() => Some(response.map_or_else(|| {
                self.is_over = true;
                COMPLETE.to_owned()
            }, |response| next(&response))),
            () = sleep(KEEP_ALIVE) => Some(COMMENT.to_owned()),
        }
    }
}

fn next(response: &Response) -> String {
    if let Some(code) = response.codes().next() {
        METRICS.count_rejection(code);
    }
    format!("event: next\ndata: {}\n\n", serde_json::to_string(response).expect("a response is always JSON"))
}

fn last(response: &Response) -> String {
    next(response) + COMPLETE
}
