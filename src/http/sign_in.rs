//! From a token to somebody who may ask.

use axum::http::{HeaderMap, StatusCode};
use uuid::Uuid;

use super::Service;
use super::authentication::Unauthenticated;
use crate::app::AppError;
use crate::app::access::{Identity, Viewer, is_plan_full};
use crate::graphql::{Code, Language};

/// Why somebody could not be signed in.
pub(super) enum SignInRefusal {
    Unauthenticated(Unauthenticated),
    /// What to tell the person.
    PlanIsFull(String),
    Unavailable,
}

impl SignInRefusal {
    pub(super) fn parts(&self, language: Language) -> (StatusCode, Code, String) {
        match self {
            Self::Unauthenticated(why) => (StatusCode::UNAUTHORIZED, Code::Unauthenticated, why.message(language)),
            Self::PlanIsFull(why) => (StatusCode::FORBIDDEN, Code::UserLimitReached, why.clone()),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, language.unavailable().to_owned()),
        }
    }
}

/// Signs in whoever the headers' token is for.
pub(super) async fn sign_in(service: &Service, headers: &HeaderMap, language: Language, id: Uuid) -> Result<(Viewer, Identity), SignInRefusal> {
    let identity = service.0.verifier.verify_headers(headers).map_err(SignInRefusal::Unauthenticated)?;
    sign_in_as(service, identity, language, id).await
}

/// Signs in whoever a verified token is for.
pub(super) async fn sign_in_as(service: &Service, identity: Identity, language: Language, id: Uuid) -> Result<(Viewer, Identity), SignInRefusal> {
    match service.0.app.sign_in(&identity, id).await {
        Ok(viewer) => Ok((viewer, identity)),
        Err(error) if is_plan_full(&error) => Err(SignInRefusal::PlanIsFull(language.app_error(&error))),
        Err(AppError::Unavailable(fault)) => {
            tracing::error!(request = %id, %fault, "a sign-in failed");
            Err(SignInRefusal::Unavailable)
        }
        Err(AppError::Refused(_) | AppError::RateLimited { .. }) => Err(SignInRefusal::Unavailable),
    }
}
