//! Two kinds of no. What a rule of the product refuses is data: `userErrors`. What the caller's
//! program did wrong, or the service cannot do now, is a top-level error with a code.

use async_graphql::{Enum, Error, ErrorExtensions as _, Response, ServerError, SimpleObject, Value};

use super::session::Session;
use crate::app::AppError;
use crate::app::access::Forbidden;
use crate::domain::Refusal;
use crate::domain::text::TextRefusal;

/// `extensions.code` of a top-level error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    ParseFailed,
    ValidationFailed,
    Unauthenticated,
    Forbidden,
    BadUserInput,
    QueryTooComplex,
    RateLimited,
    UserLimitReached,
    Unavailable,
    Internal,
}

impl Code {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::QueryTooComplex => "QUERY_TOO_COMPLEX",
            Self::RateLimited => "RATE_LIMITED",
            Self::UserLimitReached => "USER_LIMIT_REACHED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// A top-level error with this code, before anything was executed.
    #[must_use]
    pub fn response(self, message: &str) -> Response {
        Response::from_errors(vec![self.mark(ServerError::new(message, None))])
    }

    fn mark(self, mut error: ServerError) -> ServerError {
        error.extensions.get_or_insert_with(Default::default).set("code", self.as_str());
        error
    }

    fn error(self, message: impl Into<String>) -> Error {
        Error::new(message).extend_with(|_, extensions| extensions.set("code", self.as_str()))
    }
}

/// The codes of a response's errors.
pub fn codes_of(response: &Response) -> impl Iterator<Item = &str> {
    response.errors.iter().filter_map(|error| match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Some(code.as_str()),
        _ => None,
    })
}

pub(super) fn bad_input(message: impl Into<String>) -> Error {
    Code::BadUserInput.error(message)
}

/// A fault of this service: told to its operator, masked for the client.
pub(super) fn internal(what: &str) -> Error {
    tracing::error!(what, "an operation failed");
    Code::Internal.error("something went wrong in the service")
}

/// The most errors of a response: a document of many faults must not make a long answer.
const MAX_ERRORS: usize = 20;

/// Gives the executor's own errors their codes: without a path the operation was not valid, with one
/// a value has not the shape that its field asks for.
pub(super) fn mark_unmarked(response: &mut Response) {
    response.errors.truncate(MAX_ERRORS);
    for error in &mut response.errors {
        if error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some()) {
            continue;
        }
        let code = match error.message.as_str() {
            "Query is too complex." | "Query is nested too deep." => Code::QueryTooComplex,
            _ if error.path.is_empty() => Code::ValidationFailed,
            _ => Code::BadUserInput,
        };
        error.extensions.get_or_insert_with(Default::default).set("code", code.as_str());
    }
}

/// Turns what a use case could not do into a top-level error.
pub(super) trait TopLevel<T> {
    fn top_level(self, session: &Session) -> Result<T, Error>;
}

impl<T> TopLevel<T> for Result<T, Forbidden> {
    fn top_level(self, _: &Session) -> Result<T, Error> {
        self.map_err(|forbidden| Code::Forbidden.error(forbidden.to_string()))
    }
}

impl<T> TopLevel<T> for Result<T, AppError> {
    fn top_level(self, session: &Session) -> Result<T, Error> {
        self.map_err(|error| match error {
            AppError::RateLimited { retry_after_seconds } => {
                Code::RateLimited.error(error.to_string()).extend_with(|_, extensions| extensions.set("retryAfter", retry_after_seconds))
            }
            AppError::Unavailable(fault) => {
                tracing::error!(request = %session.viewer.request(), %fault, "an operation failed");
                Code::Unavailable.error("the service cannot do this now: please try again")
            }
            AppError::Refused(refusal) => Code::BadUserInput.error(refusal.to_string()),
        })
    }
}

/// Turns a refusal into data: the payload's errors.
pub(super) fn or_refused<T>(result: Result<T, AppError>, session: &Session) -> Result<Result<T, UserError>, Error> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(AppError::Refused(refusal)) => Ok(Err(refusal.into())),
        Err(error) => Err(error).top_level(session),
    }
}

/// Why a rule of the product refused a command.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct UserError {
    code: UserErrorCode,
    /// For the person.
    message: String,
    /// The path of the input that it is about.
    field: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum UserErrorCode {
    TextEmpty,
    TextTooLong,
    TextHasEmoji,
    TextHasUrl,
    TextHasControlCharacter,
    #[graphql(name = "SELF")]
    Oneself,
    UserNotFound,
    NotContactable,
    ContactBlocked,
    ConversationNotFound,
    ConversationDeleted,
    MessageNotFound,
    MessageIdReused,
    UserLimitReached,
    InvalidInput,
}

impl From<Refusal> for UserError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Text(TextRefusal::Empty) => UserErrorCode::TextEmpty,
            Refusal::Text(TextRefusal::TooLong) => UserErrorCode::TextTooLong,
            Refusal::Text(TextRefusal::HasEmoji) => UserErrorCode::TextHasEmoji,
            Refusal::Text(TextRefusal::HasUrl) => UserErrorCode::TextHasUrl,
            Refusal::Text(TextRefusal::HasControlCharacter) => UserErrorCode::TextHasControlCharacter,
            Refusal::Oneself => UserErrorCode::Oneself,
            Refusal::UserNotFound => UserErrorCode::UserNotFound,
            Refusal::NotContactable => UserErrorCode::NotContactable,
            Refusal::ContactBlocked => UserErrorCode::ContactBlocked,
            Refusal::ConversationNotFound => UserErrorCode::ConversationNotFound,
            Refusal::ConversationDeleted => UserErrorCode::ConversationDeleted,
            Refusal::MessageNotFound => UserErrorCode::MessageNotFound,
            Refusal::MessageIdReused => UserErrorCode::MessageIdReused,
            Refusal::UserLimitReached => UserErrorCode::UserLimitReached,
            Refusal::InvalidInput(_) => UserErrorCode::InvalidInput,
        };
        Self { code, message: refusal.to_string(), field: None }
    }
}

impl UserError {
    /// Says which input it is about.
    pub(super) fn about(mut self, fields: impl Fn(UserErrorCode) -> Option<&'static str>) -> Self {
        self.field = fields(self.code).map(|field| vec!["input".to_owned(), field.to_owned()]);
        self
    }
}
