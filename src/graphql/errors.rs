//! Two kinds of no. What a rule of the product refuses is data: `userErrors`. What the caller's
//! program did wrong, or the service cannot do now, is a top-level error with a code.

use async_graphql::{Enum, Error, ErrorExtensions as _, Pos, ServerError, SimpleObject};

use super::messages::Language;
pub use super::response::Response;
use super::session::Session;
use crate::app::AppError;
use crate::app::access::Forbidden;
use crate::domain::text::TextRefusal;
use crate::domain::{InvalidInput, Refusal};

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
    PersistedQueryNotFound,
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
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// A response of one top-level error, where nothing was executed.
    #[must_use]
    pub fn response(self, message: &str) -> Response {
        Response::refused(vec![ServerError::new(message, None)], self)
    }

    fn error(self, message: impl Into<String>) -> Error {
        Error::new(message).extend_with(|_, extensions| extensions.set("code", self.as_str()))
    }
}

/// Gives an error its code, unless it has one.
pub(super) fn mark(error: &mut ServerError, code: Code) {
    let extensions = error.extensions.get_or_insert_with(Default::default);
    if extensions.get("code").is_none() {
        extensions.set("code", code.as_str());
    }
}

pub(super) fn bad_input(message: impl Into<String>) -> Error {
    Code::BadUserInput.error(message)
}

pub(super) fn too_long_an_answer() -> Error {
    Code::QueryTooComplex.error("the answer would be too long: ask for smaller pages")
}

/// A fault of this service: told to its operator, masked for the client.
pub(super) fn internal(what: &str, session: &Session) -> Error {
    tracing::error!(request = %session.viewer.request(), what, "an operation failed");
    masked(Code::Internal, session.language.internal(), session)
}

/// The response to what broke in the middle of an operation.
pub(super) fn broken(session: &Session, code: Code, message: &str) -> Response {
    Response::refused(vec![without_place(masked(code, message, session))], code)
}

/// An error of the whole operation.
pub(super) fn without_place(error: Error) -> ServerError {
    ServerError { locations: vec![], ..error.into_server_error(Pos::default()) }
}

/// An error that says no more than the request's id, which is in the service's log.
fn masked(code: Code, message: &str, session: &Session) -> Error {
    code.error(message).extend_with(|_, extensions| extensions.set("requestId", session.viewer.request().to_string()))
}

/// Turns what a use case could not do into a top-level error.
pub(super) trait TopLevel<T> {
    fn top_level(self, session: &Session) -> Result<T, Error>;
}

impl<T> TopLevel<T> for Result<T, Forbidden> {
    fn top_level(self, session: &Session) -> Result<T, Error> {
        self.map_err(|forbidden| Code::Forbidden.error(session.language.forbidden(forbidden)))
    }
}

impl<T> TopLevel<T> for Result<T, AppError> {
    fn top_level(self, session: &Session) -> Result<T, Error> {
        self.map_err(|error| {
            let message = session.language.app_error(&error);
            match error {
                AppError::RateLimited { retry_after_seconds } => {
                    Code::RateLimited.error(message).extend_with(|_, extensions| extensions.set("retryAfter", retry_after_seconds))
                }
                AppError::Unavailable(fault) => {
                    tracing::error!(request = %session.viewer.request(), %fault, "an operation failed");
                    masked(Code::Unavailable, &message, session)
                }
                AppError::Refused(_) => Code::BadUserInput.error(message),
            }
        })
    }
}

/// Turns a refusal into data: the payload's errors.
pub(super) fn or_refused<T>(result: Result<T, AppError>, session: &Session) -> Result<Result<T, UserError>, Error> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(AppError::Refused(refusal)) => Ok(Err(UserError::of(refusal, session.language))),
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

/// Which rule refused.
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

impl UserError {
    fn of(refusal: Refusal, language: Language) -> Self {
        Self { code: refusal.into(), message: language.refusal(refusal), field: invalid_field(refusal).map(of_input) }
    }

    /// Of a text that is no command's input yet.
    pub(super) fn of_text(refusal: Refusal, language: Language) -> Self {
        Self { field: Some(vec!["text".to_owned()]), ..Self::of(refusal, language) }
    }

    /// Says which input it is about.
    pub(super) fn about(mut self, field: impl Fn(UserErrorCode) -> &'static str) -> Self {
        self.field = Some(of_input(field(self.code)));
        self
    }
}

fn of_input(field: &str) -> Vec<String> {
    vec!["input".to_owned(), field.to_owned()]
}

/// The input that what is out of its range was given in.
fn invalid_field(refusal: Refusal) -> Option<&'static str> {
    let Refusal::InvalidInput(invalid) = refusal else { return None };
    match invalid {
        InvalidInput::MessageId => Some("messageId"),
        InvalidInput::Title => Some("title"),
        InvalidInput::ListTemplate => Some("listTemplate"),
        InvalidInput::DetailTemplate => Some("detailTemplate"),
        InvalidInput::Name | InvalidInput::NameOfErased => Some("name"),
        InvalidInput::Picture => Some("avatarUrl"),
        InvalidInput::UserId => Some("users"),
    }
}

impl From<Refusal> for UserErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Text(TextRefusal::Empty) => Self::TextEmpty,
            Refusal::Text(TextRefusal::TooLong) => Self::TextTooLong,
            Refusal::Text(TextRefusal::HasEmoji) => Self::TextHasEmoji,
            Refusal::Text(TextRefusal::HasUrl) => Self::TextHasUrl,
            Refusal::Text(TextRefusal::HasControlCharacter) => Self::TextHasControlCharacter,
            Refusal::Oneself => Self::Oneself,
            Refusal::UserNotFound => Self::UserNotFound,
            Refusal::NotContactable => Self::NotContactable,
            Refusal::ContactBlocked => Self::ContactBlocked,
            Refusal::ConversationNotFound => Self::ConversationNotFound,
            Refusal::ConversationDeleted => Self::ConversationDeleted,
            Refusal::MessageNotFound => Self::MessageNotFound,
            Refusal::MessageIdReused => Self::MessageIdReused,
            Refusal::UserLimitReached => Self::UserLimitReached,
            Refusal::InvalidInput(_) => Self::InvalidInput,
        }
    }
}
