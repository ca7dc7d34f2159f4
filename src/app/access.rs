//! Who may do what: a permission is a handle, not an `if`. Whoever holds a [`Viewer`] is signed in and
//! registered; an [`Administrator`] or an [`Auditor`] can only be had from one with the role.

use std::sync::PoisonError;

use thiserror::Error;
use uuid::Uuid;

use super::{App, AppError};
use crate::domain::Refusal;
use crate::domain::event::{Metadata, Timestamp};
use crate::domain::ids::UserId;
use crate::domain::profile::{Name, Picture, Profile};

/// What a verified token says.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: UserId,
    pub name: Option<String>,
    pub picture: Option<String>,
    pub roles: Roles,
    /// When the token is accepted no more.
    pub expires: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub admin: bool,
    pub auditor: bool,
}

/// A registered user, in one request.
#[derive(Clone, Debug)]
pub struct Viewer {
    id: UserId,
    roles: Roles,
    request: Uuid,
}

/// A viewer with the role `admin`.
#[derive(Clone, Debug)]
pub struct Administrator(Viewer);

/// A viewer with the role `auditor`.
#[derive(Clone, Debug)]
pub struct Auditor(());

#[derive(Clone, Copy, Debug, Error)]
#[error("this needs the role {0}")]
pub struct Forbidden(pub &'static str);

impl Viewer {
    #[must_use]
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// # Errors
    /// Without the role `admin`.
    pub fn administrator(&self) -> Result<Administrator, Forbidden> {
        if self.roles.admin { Ok(Administrator(self.clone())) } else { Err(Forbidden("admin")) }
    }

    /// # Errors
    /// Without the role `auditor`.
    pub fn auditor(&self) -> Result<Auditor, Forbidden> {
        if self.roles.auditor { Ok(Auditor(())) } else { Err(Forbidden("auditor")) }
    }

    /// The request that the viewer makes.
    #[must_use]
    pub fn request(&self) -> Uuid {
        self.request
    }

    /// The same viewer in another request.
    #[must_use]
    pub fn in_request(&self, request: Uuid) -> Self {
        Self { request, ..self.clone() }
    }

    pub(super) fn metadata(&self, command: Uuid) -> Metadata {
        Metadata { actor: Some(self.id.clone()), correlation: self.request, causation: command }
    }
}

impl Administrator {
    #[must_use]
    pub fn viewer(&self) -> &Viewer {
        &self.0
    }
}

impl App {
    /// Signs a user in; the first time, registers them from their token's claims (U2).
    ///
    /// # Errors
    /// [`Refusal::UserLimitReached`] when the plan is full (U5), or a fault.
    pub async fn sign_in(&self, identity: &Identity, request: Uuid) -> Result<Viewer, AppError> {
        let viewer = Viewer { id: identity.id.clone(), roles: identity.roles, request };
        if self.0.known.read().unwrap_or_else(PoisonError::into_inner).contains(&identity.id) {
            return Ok(viewer);
        }
        if self.0.store.user(&identity.id).await?.is_none() {
            let picture = identity.picture.as_deref().and_then(|url| Picture::parse(url).ok());
            let profile = Profile { name: Name::from_claim(identity.name.as_deref(), &identity.id), picture };
            Box::pin(self.register(&viewer, vec![(identity.id.clone(), profile)])).await?;
        }
        self.0.known.write().unwrap_or_else(PoisonError::into_inner).insert(identity.id.clone());
        Ok(viewer)
    }
}

/// Whether a sign-in failed because the plan is full.
#[must_use]
pub fn is_plan_full(error: &AppError) -> bool {
    matches!(error, AppError::Refused(Refusal::UserLimitReached))
}
