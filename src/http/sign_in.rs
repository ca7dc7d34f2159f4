//! From a token to somebody who may ask.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::Service;
use crate::app::AppError;
use crate::app::access::{Identity, Viewer, is_plan_full};

/// How long a sign-in may wait, for views that do not show the newcomer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why somebody whose token is accepted could not be signed in.
pub(super) enum NotSignedIn {
    PlanIsFull,
    Unavailable,
}

/// Signs in whoever a verified token is for.
pub(super) async fn sign_in_as(service: &Service, identity: &Identity, id: Uuid) -> Result<Viewer, NotSignedIn> {
    let Ok(signed_in) = timeout(PATIENCE, service.0.app.sign_in(identity, id)).await else {
        tracing::error!(request = %id, "a sign-in took too long");
        return Err(NotSignedIn::Unavailable);
    };
    match signed_in {
        Ok(viewer) => Ok(viewer),
        Err(error) if is_plan_full(&error) => Err(NotSignedIn::PlanIsFull),
        Err(AppError::Unavailable(fault)) => {
            tracing::error!(request = %id, %fault, "a sign-in failed");
            Err(NotSignedIn::Unavailable)
        }
        Err(AppError::Refused(_) | AppError::RateLimited { .. }) => Err(NotSignedIn::Unavailable),
    }
}
