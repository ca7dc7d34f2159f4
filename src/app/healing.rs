//! Another attempt at what is parked: the rest of its stream is folded, up to where the views stand.

use std::collections::HashSet;

use super::folding::{Tables, touched};
use super::following::{BATCH, ProjectorError};
use super::parking::Parking;
use crate::domain::event::Stream;
use crate::domain::ids::UserId;
use crate::event_log::{EventLog, StoredEvent};
use crate::read_store::{Checkpoint, Lease, ParkedEntity, Rows};

/// Tries again whatever somebody asked for. Returns whose open clients it concerns.
pub(super) async fn heal_retried(log: &EventLog, lease: &Lease, checkpoint: Checkpoint, parking: &mut Parking) -> Result<HashSet<UserId>, ProjectorError> {
    let mut concerned = HashSet::new();
    for parked in lease.parked().await?.into_iter().filter(|parked| parked.is_retried) {
        concerned.extend(heal(log, lease, checkpoint, parking, parked).await?);
    }
    Ok(concerned)
}

/// What cannot be folded this time either stays parked.
async fn heal(
    log: &EventLog,
    lease: &Lease,
    checkpoint: Checkpoint,
    parking: &mut Parking,
    mut parked: ParkedEntity,
) -> Result<HashSet<UserId>, ProjectorError> {
    let mut concerned = HashSet::new();
    let Ok(stream) = parked.stream.parse::<Stream>() else {
        let parked = vec![ParkedEntity { is_retried: false, ..parked }];
        lease.apply(Rows { parked, ..Rows::default() }, checkpoint).await?;
        return Ok(concerned);
    };
    parking.free(&parked.entity);
    loop {
        let stored = rest_of(log, &stream, parked.version, checkpoint).await?;
        let Some(last) = stored.last().map(|event| event.version) else { break };
        let events = parking.without_unreadable(log.decode_each(stored).await?);
        let mut tables = Tables::empty();
        tables.extend(lease.load(touched(&events)).await?);
        for event in &events {
            if parking.admits(event)
                && let Err(reason) = tables.fold(event)
            {
                parking.park(event, reason);
            }
            concerned.extend(event.event.users().into_iter().cloned());
        }
        let again = parking.take_unstored();
        let is_parked_again = !again.is_empty();
        parked.version = last + 1;
        let rows = Rows { parked: if is_parked_again { again } else { vec![parked.clone()] }, ..tables.take_changed() };
        lease.apply(rows, checkpoint).await?;
        if is_parked_again {
            return Ok(concerned);
        }
        if stream == Stream::Community {
            break;
        }
    }
    lease.apply(Rows { healed: vec![parked.entity.clone()], ..Rows::default() }, checkpoint).await?;
    tracing::info!(entity = parked.entity, "what was parked is folded again");
    Ok(concerned)
}

/// The events of an entity from a version on, as far as the views are: of the community, that one alone.
async fn rest_of(log: &EventLog, stream: &Stream, version: u64, checkpoint: Checkpoint) -> Result<Vec<StoredEvent>, ProjectorError> {
    let most = if *stream == Stream::Community { 1 } else { BATCH };
    let mut events = log.read_stream_stored(stream, version.saturating_sub(1), most).await?;
    events.retain(|event| event.position <= checkpoint.position);
    Ok(events)
}
