//! A GraphQL response on its way out: status, headers, body.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use uuid::Uuid;

use super::negotiation::MediaType;
use super::unread::{Need, TooMuchUnread};
use super::{REQUEST_ID, Service, no_store};
use crate::domain::ids::UserId;
use crate::graphql::{Code, Response};
use crate::metrics::METRICS;

/// After how many seconds to come back to a service that could not do something.
const PAUSE_SECONDS: u64 = 1;

pub(super) struct Answer {
    status: StatusCode,
    media_type: MediaType,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
}

enum Body {
    One(Box<Response>),
    Batch(Vec<Response>),
}

impl Answer {
    /// What came of an operation, with the status that the media type asks for.
    pub(super) fn of(media_type: MediaType, response: Response) -> Self {
        let has = |code: Code| response.codes().any(|found| found == code.as_str());
        let status = if response.has_no_data() && has(Code::Unavailable) {
            StatusCode::SERVICE_UNAVAILABLE
        } else if response.is_refusal() && has(Code::RateLimited) {
            StatusCode::TOO_MANY_REQUESTS
        } else if response.is_refusal() && has(Code::Internal) {
            StatusCode::INTERNAL_SERVER_ERROR
        } else if response.is_refusal() && media_type == MediaType::GraphqlResponse {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        let mut headers = Vec::new();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.push((header::RETRY_AFTER, response.retry_after_seconds().unwrap_or(PAUSE_SECONDS).into()));
        }
        Self { status, media_type, headers, body: Body::One(Box::new(response)) }
    }

    pub(super) fn batch(media_type: MediaType, responses: Vec<Response>) -> Self {
        Self { status: StatusCode::OK, media_type, headers: Vec::new(), body: Body::Batch(responses) }
    }

    pub(super) fn refuse(media_type: MediaType, status: StatusCode, code: Code, message: &str) -> Self {
        let mut headers = Vec::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.push((header::RETRY_AFTER, PAUSE_SECONDS.into()));
        }
        Self { status, media_type, headers, body: Body::One(Box::new(code.response(message))) }
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "accept application/graphql-response+json, application/json or text/event-stream";
        Self::refuse(MediaType::Json, StatusCode::NOT_ACCEPTABLE, Code::BadUserInput, message)
    }

    pub(super) fn with_allow(mut self, methods: &'static str) -> Self {
        self.headers.push((header::ALLOW, HeaderValue::from_static(methods)));
        self
    }

    /// What was executed for somebody. It counts for them until they have read it.
    pub(super) fn held_for(self, service: &Service, user: &UserId, need: Need, id: Uuid) -> Result<HttpResponse, TooMuchUnread> {
        let held = service.counted_bytes(user, self.to_json(), need)?;
        Ok(self.with_body(held, id))
    }

    /// What nothing was executed for.
    pub(super) fn into_response(self, id: Uuid) -> HttpResponse {
        let body = self.to_json().into();
        self.with_body(body, id)
    }

    fn to_json(&self) -> Vec<u8> {
        match &self.body {
            Body::One(response) => response.to_json(),
            Body::Batch(responses) => Response::list_to_json(responses),
        }
    }

    fn with_body(self, body: Bytes, id: Uuid) -> HttpResponse {
        let responses = match &self.body {
            Body::One(response) => std::slice::from_ref(&**response),
            Body::Batch(responses) => responses,
        };
        for code in responses.iter().filter_map(|response| response.codes().next()) {
            METRICS.count_rejection(code);
            if self.status != StatusCode::OK {
                tracing::info!(request = %id, status = self.status.as_u16(), code, "refused");
            }
        }
        let mut headers = HeaderMap::from_iter(self.headers);
        headers.extend([no_store(), (header::CONTENT_TYPE, self.media_type.content_type()), request_id_header(id)]);
        (self.status, headers, body).into_response()
    }
}

/// The request's id, which is in the service's log where something failed.
pub(super) fn request_id_header(id: Uuid) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::from_str(&id.to_string()).expect("a UUID is visible ASCII");
    (HeaderName::from_static(REQUEST_ID), value)
}
