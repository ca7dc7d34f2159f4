//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>): POST for everything, GET
//! for queries, and the door to the WebSocket transport.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{Request, Response as GraphqlResponse, ServerError, Value, Variables};
use axum::body::Bytes;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use super::negotiation::{self, MediaType};
use super::{BODY_PATIENCE, MAX_BODY_BYTES, Service, graphql_ws, no_store, request_id};
use crate::app::AppError;
use crate::app::access::{Identity, Viewer, is_plan_full};
use crate::graphql::{self, Code, Session, codes_of};

/// Every method of `/graphql`.
pub(super) async fn graphql(State(service): State<Service>, request: axum::extract::Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let id = request_id(&parts.headers, &service.0.app);
    let is_upgrade = parts.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if parts.method == Method::GET && is_upgrade {
        return match WebSocketUpgrade::from_request_parts(&mut parts, &service).await {
            Ok(upgrade) => graphql_ws::upgrade(service, upgrade),
            Err(rejection) => rejection.into_response(),
        };
    }
    let answer = match parts.method {
        Method::POST => match timeout(BODY_PATIENCE, axum::body::to_bytes(body, MAX_BODY_BYTES)).await {
            Ok(Ok(body)) => post(&service, &parts.headers, &body, id).await,
            Ok(Err(_)) => {
                Answer::refuse(accepted_or_json(&parts.headers), StatusCode::PAYLOAD_TOO_LARGE, Code::BadUserInput, "the request is longer than 1 MiB")
            }
            Err(_) => Answer::refuse(accepted_or_json(&parts.headers), StatusCode::REQUEST_TIMEOUT, Code::BadUserInput, "the request did not end"),
        },
        Method::GET => {
            let query = RawQuery::from_request_parts(&mut parts, &()).await.map_or(None, |RawQuery(query)| query);
            get(&service, &parts.headers, query.as_deref().unwrap_or_default(), id).await
        }
        _ => Answer::refuse(accepted_or_json(&parts.headers), StatusCode::METHOD_NOT_ALLOWED, Code::BadUserInput, "use GET or POST").with_allow("GET, POST"),
    };
    answer.into_response(id)
}

fn accepted_or_json(headers: &HeaderMap) -> MediaType {
    negotiation::accepted(headers).unwrap_or(MediaType::Json)
}

/// A GraphQL request as it travels.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameters {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    #[expect(dead_code, reason = "must be a map when given; this service knows none")]
    extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The same in a query string, where maps are JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryString {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

impl Parameters {
    pub(super) fn into_request(self) -> Request {
        let mut request = Request::new(self.query);
        request.operation_name = self.operation_name;
        if let Some(variables) = self.variables {
            request.variables = Variables::from_json(serde_json::Value::Object(variables));
        }
        request
    }
}

async fn post(service: &Service, headers: &HeaderMap, body: &Bytes, id: Uuid) -> Answer {
    let Some(media_type) = negotiation::accepted(headers) else { return Answer::not_acceptable() };
    if !negotiation::is_json(headers) {
        return Answer::refuse(media_type, StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::BadUserInput, "send `Content-Type: application/json` in UTF-8");
    }
    let viewer = match sign_in(service, headers, id).await {
        Ok((viewer, _)) => viewer,
        Err(refusal) => return refusal.answer(media_type),
    };
    match parameters(body) {
        Ok(parameters) => execute(service, viewer, parameters, media_type, Allowed::QueriesAndMutations).await,
        Err(what) => Answer::refuse(media_type, StatusCode::BAD_REQUEST, Code::BadUserInput, &what),
    }
}

fn parameters(body: &[u8]) -> Result<Parameters, String> {
    let value: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("the request is not JSON: line {}, column {}", error.line(), error.column()))?;
    if value.is_array() {
        return Err("send one operation a request".into());
    }
    serde_json::from_value(value)
        .map_err(|_| "the request is not `{\"query\": string, \"variables\": object, \"operationName\": string, \"extensions\": object}`".into())
}

async fn get(service: &Service, headers: &HeaderMap, query: &str, id: Uuid) -> Answer {
    let Some(media_type) = negotiation::accepted(headers) else { return Answer::not_acceptable() };
    let viewer = match sign_in(service, headers, id).await {
        Ok((viewer, _)) => viewer,
        Err(refusal) => return refusal.answer(media_type),
    };
    match query_string(query) {
        Ok(parameters) => execute(service, viewer, parameters, media_type, Allowed::Queries).await,
        Err(what) => Answer::refuse(media_type, StatusCode::BAD_REQUEST, Code::BadUserInput, what),
    }
}

fn query_string(query: &str) -> Result<Parameters, &'static str> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build().map_err(|_| "the query string is malformed")?;
    let Query(given) = Query::<QueryString>::try_from_uri(&uri).map_err(|_| "the query string is malformed")?;
    let map = |json: Option<String>| json.filter(|json| !json.is_empty()).map(|json| serde_json::from_str(&json)).transpose();
    Ok(Parameters {
        query: given.query.ok_or("the query string has no `query`")?,
        operation_name: given.operation_name.filter(|name| !name.is_empty()),
        variables: map(given.variables).map_err(|_| "`variables` is not a JSON object")?,
        extensions: map(given.extensions).map_err(|_| "`extensions` is not a JSON object")?,
    })
}

/// Why somebody could not be signed in.
pub(super) enum SignInRefusal {
    Unauthenticated(super::authentication::Unauthenticated),
    PlanIsFull(String),
    Unavailable,
}

impl SignInRefusal {
    fn answer(self, media_type: MediaType) -> Answer {
        match self {
            Self::Unauthenticated(why) => {
                let mut answer = Answer::refuse(media_type, StatusCode::UNAUTHORIZED, Code::Unauthenticated, &why.to_string());
                answer.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                answer
            }
            Self::PlanIsFull(why) => Answer::refuse(media_type, StatusCode::FORBIDDEN, Code::UserLimitReached, &why),
            Self::Unavailable => {
                Answer::refuse(media_type, StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "the service cannot do this now: please try again")
            }
        }
    }
}

async fn sign_in(service: &Service, headers: &HeaderMap, id: Uuid) -> Result<(Viewer, Identity), SignInRefusal> {
    let identity = service.0.verifier.verify_headers(headers).map_err(SignInRefusal::Unauthenticated)?;
    sign_in_as(service, identity, id).await
}

/// Signs in whoever a verified token is for.
pub(super) async fn sign_in_as(service: &Service, identity: Identity, id: Uuid) -> Result<(Viewer, Identity), SignInRefusal> {
    match service.0.app.sign_in(&identity, id).await {
        Ok(viewer) => Ok((viewer, identity)),
        Err(error) if is_plan_full(&error) => Err(SignInRefusal::PlanIsFull(error.to_string())),
        Err(AppError::Unavailable(fault)) => {
            tracing::error!(request = %id, %fault, "a sign-in failed");
            Err(SignInRefusal::Unavailable)
        }
        Err(AppError::Refused(_) | AppError::RateLimited { .. }) => Err(SignInRefusal::Unavailable),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Queries,
    QueriesAndMutations,
}

async fn execute(service: &Service, viewer: Viewer, parameters: Parameters, media_type: MediaType, allowed: Allowed) -> Answer {
    let name = parameters.operation_name.clone();
    let mut request = match graphql::parse(parameters.into_request()) {
        Ok(request) => request,
        Err(response) => return Answer::of(media_type, *response),
    };
    let operation = request.parsed_query().ok().and_then(|document| operation_type(document, name.as_deref()));
    match operation {
        Some(OperationType::Mutation) if allowed == Allowed::Queries => {
            return Answer::refuse(media_type, StatusCode::METHOD_NOT_ALLOWED, Code::BadUserInput, "a mutation needs POST").with_allow("POST");
        }
        Some(OperationType::Subscription) => {
            return Answer::refuse(media_type, StatusCode::BAD_REQUEST, Code::BadUserInput, "a subscription needs the WebSocket transport");
        }
        _ => {}
    }
    let response = respond(service, viewer, request).await;
    Answer::of(media_type, response)
}

fn operation_type(document: &ExecutableDocument, name: Option<&str>) -> Option<OperationType> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(found, _)| found.is_some_and(|found| found.as_str() == name)),
        None => operations.next(),
    };
    found.map(|(_, operation)| operation.node.ty)
}

/// Executes a parsed query or mutation. A panic of a resolver is a masked error, told to the operator.
pub(super) async fn respond(service: &Service, viewer: Viewer, request: Request) -> GraphqlResponse {
    let id = viewer.request();
    let session = Session::new(service.0.app.clone(), viewer, Arc::clone(&service.0.default_avatar));
    let executed = AssertUnwindSafe(graphql::execute(&service.0.schema, request.data(session))).catch_unwind().await;
    executed.unwrap_or_else(|_| {
        tracing::error!(request = %id, "an operation panicked");
        Code::Internal.response("something went wrong in the service")
    })
}

/// A response on its way out.
struct Answer {
    status: StatusCode,
    media_type: MediaType,
    headers: HeaderMap,
    response: GraphqlResponse,
}

/// A response's entries; `data` only where something was executed.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
}

impl<'a> Body<'a> {
    pub(super) fn of(response: &'a GraphqlResponse) -> Self {
        Self { data: (!is_request_error(response)).then_some(&response.data), errors: &response.errors }
    }
}

/// Whether nothing was executed: there is no data, and what went wrong has no place in it.
pub(super) fn is_request_error(response: &GraphqlResponse) -> bool {
    response.data == Value::Null && !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty())
}

impl Answer {
    fn of(media_type: MediaType, response: GraphqlResponse) -> Self {
        let status = match media_type {
            MediaType::GraphqlResponse if is_request_error(&response) => StatusCode::BAD_REQUEST,
            MediaType::GraphqlResponse | MediaType::Json => StatusCode::OK,
        };
        let unavailable = response.data == Value::Null && codes_of(&response).any(|code| code == Code::Unavailable.as_str());
        let status = if unavailable { StatusCode::SERVICE_UNAVAILABLE } else { status };
        Self { status, media_type, headers: HeaderMap::new(), response }
    }

    fn refuse(media_type: MediaType, status: StatusCode, code: Code, message: &str) -> Self {
        Self { status, media_type, headers: HeaderMap::new(), response: code.response(message) }
    }

    fn not_acceptable() -> Self {
        Self::refuse(MediaType::Json, StatusCode::NOT_ACCEPTABLE, Code::BadUserInput, "accept application/graphql-response+json or application/json")
    }

    fn with_allow(mut self, methods: &'static str) -> Self {
        self.headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        self
    }

    fn into_response(self, id: Uuid) -> Response {
        if self.status != StatusCode::OK {
            let code = codes_of(&self.response).next().unwrap_or_default();
            tracing::info!(request = %id, status = self.status.as_u16(), code, "refused");
        }
        let body = serde_json::to_vec(&Body::of(&self.response)).expect("a response is always JSON");
        let mut headers = self.headers;
        headers.extend([no_store(), (header::CONTENT_TYPE, self.media_type.content_type())]);
        if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
            headers.insert("x-request-id", id);
        }
        (self.status, headers, body).into_response()
    }
}
