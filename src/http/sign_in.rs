//! From a token to somebody who may ask.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::timeout;
use uuid::Uuid;

use super::Service;
use super::authentication::Unauthenticated;
use crate::app::AppError;
use crate::app::access::{Identity, Viewer, is_plan_full};
use crate::graphql::{Code, Language};

/// How long a sign-in may wait, for views that do not show the newcomer.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Signs in whoever a verified token is for.
pub(super) async fn sign_in_as(service: &Service, identity: Arc<Identity>, language: Language, id: Uuid) -> Result<(Viewer, Arc<Identity>), SignInRefusal> {
    let Ok(signed_in) = timeout(PATIENCE, service.0.app.sign_in(&identity, id)).await else {
        tracing::error!(request = %id, "a sign-in took too long");
        return Err(SignInRefusal::Unavailable);
    };
    match signed_in {
        Ok(viewer) => Ok((viewer, identity)),
        Err(error) if is_plan_full(&error) => Err(SignInRefusal::PlanIsFull(language.app_error(&error))),
        Err(AppError::Unavailable(fault)) => {
            tracing::error!(request = %id, %fault, "a sign-in failed");
            Err(SignInRefusal::Unavailable)
        }
        Err(AppError::Refused(_) | AppError::RateLimited { .. }) => Err(SignInRefusal::Unavailable),
    }
}
