//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>): POST for everything, GET
//! for queries and subscriptions, and the doors to the other transports.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts as _, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response as HttpResponse};
use tracing::Instrument as _;
use uuid::Uuid;

use super::answer::Answer;
use super::authentication::Unauthenticated;
use super::negotiation::{self, Accepted, MediaType};
use super::parameters::{self, Asked};
use super::peer::Peer;
use super::sign_in::{NotSignedIn, sign_in_as};
use super::unread::{Need, TooMuchUnread};
use super::{Service, body, graphql_sse, graphql_ws, request_id, trace};
use crate::app::access::{Identity, Viewer};
use crate::domain::Refusal;
use crate::graphql::{Call, Code, Language, Operation, OperationType, Response, Session, pause_before_refusal};
use crate::metrics::METRICS;

/// Every method of `/graphql`.
pub(super) async fn graphql(State(service): State<Service>, request: axum::extract::Request) -> HttpResponse {
    let (mut parts, body) = request.into_parts();
    let is_upgrade = parts.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if parts.method == Method::GET && is_upgrade {
        let language = negotiation::language(&parts.headers);
        return match WebSocketUpgrade::from_request_parts(&mut parts, &service).await {
            Ok(upgrade) => graphql_ws::upgrade(service, upgrade, language, Peer::of(&parts.extensions)),
            Err(rejection) => rejection.into_response(),
        };
    }
    let id = request_id(&parts.headers, &service.0.app);
    match Exchange::begin(&service, &parts, id) {
        Ok(exchange) => {
            let served = exchange.serve(&parts, body).instrument(trace::of_request(&parts.headers, "http", id)).await;
            served.unwrap_or_else(|answer| answer.into_response(id))
        }
        Err(answer) => answer.into_response(id),
    }
}

/// One request, as far as its headers tell.
struct Exchange<'a> {
    service: &'a Service,
    id: Uuid,
    headers: &'a HeaderMap,
    peer: Peer,
    accepted: Accepted,
    language: Language,
}

/// Who asks what.
struct Question {
    viewer: Viewer,
    identity: Arc<Identity>,
    asked: Asked,
}

impl<'a> Exchange<'a> {
    fn begin(service: &'a Service, parts: &'a Parts, id: Uuid) -> Result<Self, Answer> {
        let headers = &parts.headers;
        if !matches!(parts.method, Method::GET | Method::POST) {
            let media_type = negotiation::accepted(headers).map_or(MediaType::Json, Accepted::for_errors);
            let refusal = Answer::refuse(media_type, StatusCode::METHOD_NOT_ALLOWED, Code::BadUserInput, "use GET or POST");
            return Err(refusal.with_allow("GET, POST"));
        }
        let accepted = negotiation::accepted(headers).ok_or_else(Answer::not_acceptable)?;
        Ok(Self { service, id, headers, peer: Peer::of(&parts.extensions), accepted, language: negotiation::language(headers) })
    }

    async fn serve(&self, parts: &Parts, body: Body) -> Result<HttpResponse, Answer> {
        let question = match parts.method {
            Method::GET => self.get(parts.uri.query().unwrap_or_default()).await?,
            _ => self.post(body).await?,
        };
        let is_get = parts.method == Method::GET;
        match self.accepted {
            Accepted::Json(media_type) => {
                let user = question.viewer.id().clone();
                let (answer, need) = self.answer(question, media_type, is_get).await?;
                answer
                    .held_for(self.service, &user, need, self.id)
                    .map_err(|TooMuchUnread| self.refuse(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, TooMuchUnread::MESSAGE))
            }
            Accepted::EventStream => self.stream(question, is_get),
        }
    }

    fn refuse(&self, status: StatusCode, code: Code, message: &str) -> Answer {
        Answer::refuse(self.accepted.for_errors(), status, code, message)
    }

    /// Whose the token is, before anything of the body is read.
    fn verify(&self) -> Result<Arc<Identity>, Answer> {
        self.service.0.verifier.verify_headers(self.headers).map_err(|why| {
            if why == Unauthenticated::Expired || self.service.forgives(self.peer) {
                self.refuse(StatusCode::UNAUTHORIZED, Code::Unauthenticated, &why.message(self.language))
            } else {
                self.refuse(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, "too many requests from here have no token that is accepted")
            }
        })
    }

    async fn sign_in(&self, identity: &Identity) -> Result<Viewer, Answer> {
        sign_in_as(self.service, identity, self.id).await.map_err(|why| match why {
            NotSignedIn::PlanIsFull => self.refuse(StatusCode::FORBIDDEN, Code::UserLimitReached, &self.language.refusal(Refusal::UserLimitReached)),
            NotSignedIn::Unavailable => self.refuse(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, self.language.unavailable()),
        })
    }

    async fn post(&self, body: Body) -> Result<Question, Answer> {
        if !negotiation::is_json(self.headers) {
            return Err(self.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::BadUserInput, "send `Content-Type: application/json` in UTF-8"));
        }
        if negotiation::is_packed(self.headers) {
            return Err(self.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::BadUserInput, "send the body as it is, without `Content-Encoding`"));
        }
        let identity = self.verify()?;
        let max = self.service.0.limits.body;
        let body = body::read(body, max).await.map_err(|unread| self.refuse(unread.status(), Code::BadUserInput, &unread.to_string()))?;
        let viewer = Box::pin(self.sign_in(&identity)).await?;
        let asked = parameters::of_body(&body, self.service.0.limits.batch);
        let asked = asked.map_err(|what| self.refuse(StatusCode::BAD_REQUEST, Code::BadUserInput, &what))?;
        Ok(Question { viewer, identity, asked })
    }

    async fn get(&self, query: &str) -> Result<Question, Answer> {
        let identity = self.verify()?;
        let viewer = self.sign_in(&identity).await?;
        let call = parameters::of_query(query).map_err(|what| self.refuse(StatusCode::BAD_REQUEST, Code::BadUserInput, what))?;
        Ok(Question { viewer, identity, asked: Asked::One(Box::new(call)) })
    }

    fn session(&self, viewer: Viewer) -> Arc<Session> {
        Session::new(self.service.0.app.clone(), viewer, self.language, Arc::clone(&self.service.0.default_avatar))
    }

    /// One response, or one for each operation of a batch.
    async fn answer(&self, question: Question, media_type: MediaType, is_get: bool) -> Result<(Answer, Need), Answer> {
        let Question { viewer, asked, .. } = question;
        match asked {
            Asked::One(call) => {
                let operation = match self.service.0.executor.prepare(&call, viewer.id()) {
                    Ok(operation) => operation,
                    Err(response) => return Ok((Answer::of(media_type, *response), Need::Refusable)),
                };
                drop(call);
                self.admit(&operation, is_get)?;
                let need = Need::of(operation.kind());
                Ok((Answer::of(media_type, self.execute(operation, self.session(viewer)).await), need))
            }
            Asked::Batch(calls) => Ok((Answer::batch(media_type, Box::pin(self.batch(calls, &viewer)).await), Need::Owed)),
        }
    }

    async fn execute(&self, operation: Operation, session: Arc<Session>) -> Response {
        METRICS.count_operation("http");
        self.service.0.executor.execute(operation, session).await
    }

    /// What an operation needs of its request.
    fn admit(&self, operation: &Operation, is_get: bool) -> Result<(), Answer> {
        match operation.kind() {
            OperationType::Mutation if is_get => {
                Err(self.refuse(StatusCode::METHOD_NOT_ALLOWED, Code::BadUserInput, "a mutation needs POST").with_allow("POST"))
            }
            OperationType::Subscription if self.accepted != Accepted::EventStream => {
                let message = "a subscription needs a WebSocket, or `Accept: text/event-stream`";
                Err(self.refuse(StatusCode::BAD_REQUEST, Code::BadUserInput, message))
            }
            OperationType::Query | OperationType::Mutation | OperationType::Subscription => Ok(()),
        }
    }

    /// One after the other. What they cost together is limited like one operation, and so is what they answer.
    async fn batch(&self, calls: Vec<Call>, viewer: &Viewer) -> Vec<Response> {
        let executor = &self.service.0.executor;
        let mut prepared = Vec::with_capacity(calls.len());
        let mut left = executor.complexity_limit();
        for call in calls {
            let operation = executor.prepare(&call, viewer.id()).and_then(|operation| match left.checked_sub(operation.cost()) {
                _ if operation.kind() == OperationType::Subscription => Err(Box::new(Code::BadUserInput.response("a batch holds no subscription"))),
                Some(rest) => {
                    left = rest;
                    Ok(operation)
                }
                None => Err(Box::new(Code::QueryTooComplex.response("the operations of the batch together cost too much"))),
            });
            prepared.push(operation);
        }
        let session = self.session(viewer.clone());
        let mut responses = Vec::with_capacity(prepared.len());
        let mut lacks_room = false;
        for operation in prepared {
            responses.push(match operation {
                Ok(operation) => {
                    METRICS.count_operation("http");
                    executor.try_execute(operation, session.with_nothing_remembered()).await.unwrap_or_else(|refusal| {
                        lacks_room = true;
                        refusal
                    })
                }
                Err(response) => *response,
            });
        }
        if lacks_room {
            pause_before_refusal().await;
        }
        responses
    }

    /// An event stream. What is not executed is told there too: a browser shows a program no refusal's body.
    fn stream(&self, question: Question, is_get: bool) -> Result<HttpResponse, Answer> {
        let Question { viewer, identity, asked } = question;
        let Asked::One(call) = asked else {
            return Err(self.refuse(StatusCode::BAD_REQUEST, Code::BadUserInput, "send one operation a stream"));
        };
        let operation = match self.service.0.executor.prepare(&call, viewer.id()) {
            Ok(operation) => operation,
            Err(response) => return Ok(graphql_sse::refused(&response, self.id)),
        };
        self.admit(&operation, is_get)?;
        let place = match operation.kind() {
            OperationType::Subscription => Some(
                self.service
                    .0
                    .subscriptions
                    .take(viewer.id())
                    .ok_or_else(|| self.refuse(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, "too many subscriptions of this user are open"))?,
            ),
            OperationType::Query | OperationType::Mutation => None,
        };
        Ok(graphql_sse::open(self.service, operation, self.session(viewer), identity.expires, place, self.id))
    }
}
