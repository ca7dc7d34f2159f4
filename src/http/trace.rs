//! Spans of requests, for a collector of traces. A request that belongs to a trace goes on with it (W3C
//! Trace Context).

use axum::http::HeaderMap;
use opentelemetry_http::HeaderExtractor;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// The span of one request over a transport.
pub(super) fn of_request(headers: &HeaderMap, transport: &'static str, id: Uuid) -> Span {
    let span = tracing::debug_span!("request", otel.kind = "server", transport, request = %id);
    if !span.is_disabled() {
        let parent = opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(headers)));
        let _no_collector = span.set_parent(parent);
    }
    span
}

/// The span of one operation of a socket.
pub(super) fn of_operation(id: Uuid) -> Span {
    tracing::debug_span!("request", otel.kind = "server", transport = "websocket", request = %id)
}
