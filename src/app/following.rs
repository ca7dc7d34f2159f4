//! What all who follow the log have in common: in what steps they read it, what they trust of the views, and why they stop.

use std::time::Duration;

use thiserror::Error;

use crate::domain::event::Position;
use crate::event_log::{EventLog, LogError, StoredEvent};
use crate::read_store::{Checkpoint, Lease, StoreError};

/// The most events of one batch.
pub(super) const BATCH: usize = 4_096;
/// How often a leader says that it is there, and an observer asks whether it still is, while nothing happens.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);

/// Why the views stopped following the log.
#[derive(Debug, Error)]
pub enum ProjectorError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The last event that the views know is not in the log: it lost some, or went another way.
    #[error("the views were made from events that the log does not have (position {0}): restore that log, or delete the views to accept the log as it is")]
    Diverged(Position),
}

impl ProjectorError {
    /// Whether it may be otherwise in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Log(LogError::Unavailable(_)) | Self::Store(StoreError::Unavailable(_) | StoreError::NoRoom | StoreError::Fenced))
    }
}

pub(super) fn at(event: &StoredEvent) -> Checkpoint {
    Checkpoint { position: event.position, event: event.id }
}

/// The store's checkpoint, if the log still has the event that it names.
pub(super) async fn trusted_checkpoint(log: &EventLog, lease: &Lease) -> Result<Checkpoint, ProjectorError> {
    let checkpoint = lease.checkpoint().await?;
    if is_known(log, checkpoint).await? { Ok(checkpoint) } else { Err(ProjectorError::Diverged(checkpoint.position)) }
}

/// Whether the log has the last event that somebody folded.
///
/// # Errors
/// When the log cannot be read.
pub async fn is_known(log: &EventLog, checkpoint: Checkpoint) -> Result<bool, LogError> {
    Ok(checkpoint.position == Position(0) || log.at(checkpoint.position).await?.is_some_and(|event| event.id == checkpoint.event))
}
