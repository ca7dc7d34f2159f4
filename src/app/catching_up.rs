//! Views that are brought up to the log, once, by whoever is not the service: to compare with, to rebuild, to mend. What the
//! service does first where it is far behind is the same.

use tokio::time::Instant;

use super::bulk::Bulk;
use super::following::{BATCH, HEARTBEAT, ProjectorError, at, trusted_checkpoint};
use super::healing::heal_retried;
use super::parking::Parking;
use crate::domain::event::Position;
use crate::event_log::{EventLog, LogError};
use crate::read_store::{Checkpoint, Lease, ReadStore, StoreError};

/// Bytes of rows in memory while views that are far behind catch up, unless told otherwise; about.
pub const MEMORY: usize = 64 << 20;

/// Brings the views up to the log's head, once.
///
/// # Errors
/// When the log cannot be read, is not the one that the views were made from, or the views cannot be written.
pub async fn catch_up(log: &EventLog, store: &ReadStore, node: uuid::Uuid) -> Result<Checkpoint, ProjectorError> {
    fold_up_to(log, store, node, Position(u64::MAX), MEMORY, |_| {}).await
}

/// Tries what is parked again where somebody asked for it, and folds nothing else.
///
/// # Errors
/// As for [`catch_up`].
pub async fn heal_asked(log: &EventLog, store: &ReadStore, node: uuid::Uuid) -> Result<(), ProjectorError> {
    let lease = store.try_lead(node).await?.ok_or(StoreError::Fenced)?;
    let checkpoint = trusted_checkpoint(log, &lease).await?;
    Box::pin(heal_retried(log, &lease, checkpoint, &mut Parking::of(&lease.parked().await?))).await?;
    lease.release().await;
    Ok(())
}

/// Brings the views up to a position, and no further, with so many bytes of rows in memory, about. `told` hears of
/// every batch.
///
/// # Errors
/// As for [`catch_up`].
pub async fn fold_up_to(
    log: &EventLog,
    store: &ReadStore,
    node: uuid::Uuid,
    last: Position,
    memory: usize,
    told: impl FnMut(Position),
) -> Result<Checkpoint, ProjectorError> {
    let lease = store.try_lead(node).await?.ok_or(StoreError::Fenced)?;
    let checkpoint = trusted_checkpoint(log, &lease).await?;
    let mut parking = Parking::of(&lease.parked().await?);
    Box::pin(heal_retried(log, &lease, checkpoint, &mut parking)).await?;
    let checkpoint = fold_far(log, &lease, checkpoint, last, memory, &mut parking, told).await?;
    lease.release().await;
    Ok(checkpoint)
}

/// Folds a long stretch of the log; the next part is read meanwhile.
pub(super) async fn fold_far(
    log: &EventLog,
    lease: &Lease,
    mut checkpoint: Checkpoint,
    last: Position,
    memory: usize,
    parking: &mut Parking,
    mut told: impl FnMut(Position),
) -> Result<Checkpoint, ProjectorError> {
    let read = |after: Position| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut events = log.read_all_stored(after, BATCH).await?;
            events.retain(|event| event.position <= last);
            Ok::<_, LogError>((events.last().map(at), log.decode_each(events).await?))
        })
    };
    let mut bulk = Bulk::new(lease, memory, checkpoint == Checkpoint::default());
    let mut renewed = Instant::now();
    let mut reading = read(checkpoint.position);
    loop {
        let (newest, events) = bulk.while_writing(reading).await?.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        let Some(newest) = newest else { break };
        checkpoint = newest;
        reading = read(checkpoint.position);
        bulk.fold(&parking.without_unreadable(events), checkpoint, parking).await?;
        if renewed.elapsed() > HEARTBEAT && !bulk.is_writing() {
            lease.renew().await?;
            renewed = Instant::now();
        }
        told(checkpoint.position);
    }
    bulk.write(parking).await?;
    Ok(checkpoint)
}
