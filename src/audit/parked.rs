//! What cannot be folded, and another attempt at it: made by this process where nobody folds, otherwise by whoever does.

use std::time::Duration;

use uuid::Uuid;

use super::views::ViewsError;
use crate::app::catching_up::heal_asked;
use crate::app::following::ProjectorError;
use crate::event_log::EventLog;
use crate::read_store::snapshot::Snapshot;
use crate::read_store::{OpenError, ParkedEntity, ReadStore, StoreError};
use crate::storage::StoreUrl;

/// How often it is looked whether another process has tried.
const PAUSE: Duration = Duration::from_millis(100);
/// How often at most.
const LOOKS: usize = 600;

/// What is parked in the views, by its position.
///
/// # Errors
/// When they cannot be read.
pub async fn parked(views: &StoreUrl) -> Result<Vec<ParkedEntity>, ViewsError> {
    Ok(Snapshot::open(views).await?.parked().await?)
}

/// Has one entity tried again, or all. Returns how many, and which of them are parked still.
///
/// # Errors
/// When the views cannot be read, are of another version, or nobody tries.
pub async fn retry(log: &EventLog, views: &StoreUrl, node: Uuid, entity: Option<&str>) -> Result<(u64, Vec<ParkedEntity>), ViewsError> {
    let states = Snapshot::open(views).await?.projections().await?;
    if let Some(other) = states.into_iter().find(|state| !state.is_current()) {
        return Err(ViewsError::OtherVersion(other.name));
    }
    if !ReadStore::is_usable(views, log.id()) {
        return Err(ViewsError::MadeAnew);
    }
    let asked = ReadStore::request_retry(views, entity).await?;
    for _ in 0..LOOKS {
        let is_asked_for = |parked: &ParkedEntity| entity.is_none_or(|entity| parked.entity == entity);
        let left: Vec<ParkedEntity> = parked(views).await?.into_iter().filter(is_asked_for).collect();
        if !left.iter().any(|parked| parked.is_retried) {
            return Ok((asked, left));
        }
        match ReadStore::open(views, log.id()).await {
            Ok(store) => match heal_asked(log, &store, node).await {
                Ok(()) => {}
                Err(ProjectorError::Store(StoreError::Fenced)) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            },
            Err(OpenError::InUse { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(ViewsError::NobodyTries)
}
