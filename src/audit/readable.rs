//! Whether this version can read the whole of a log, before it serves it.

use crate::app::parking::entity;
use crate::domain::event::Position;
use crate::event_log::{EventLog, LogError, StoredEvent, Undecodable};
use crate::read_store::ParkedEntity;

/// Events read at once.
const WINDOW: usize = 4_096;

/// Events that cannot be read.
#[derive(Debug, Default)]
pub struct Unreadable {
    pub count: u64,
    /// The first, and why.
    pub first: Option<(StoredEvent, String)>,
}

/// The first of the newest events that is sealed under a key that the key store does not have, if any is: the store is older
/// than the log then. Of what is parked already nothing is said.
///
/// # Errors
/// When the log or its keys cannot be read at all.
pub async fn sealed_for_good(log: &EventLog, parked: &[ParkedEntity]) -> Result<Option<StoredEvent>, LogError> {
    let newest = log.decode_each(log.read_before_stored(None, WINDOW).await?).await?;
    let mut sealed = newest.into_iter().filter_map(Result::err).filter(Undecodable::lacks_its_key).map(|undecodable| *undecodable.event);
    Ok(sealed.find(|event| !parked.iter().any(|parked| is_of(parked, event))))
}

/// Whether an event is parked, or would be.
fn is_of(parked: &ParkedEntity, event: &StoredEvent) -> bool {
    parked.entity == entity(&event.stream, event.version) && parked.version <= event.version
}

/// Reads a log from its beginning; of what is parked already, only what came before. What is sealed is not looked into.
///
/// # Errors
/// When the log cannot be read at all.
pub async fn unreadable(log: &EventLog, parked: &[ParkedEntity]) -> Result<Unreadable, LogError> {
    let (mut found, mut after) = (Unreadable::default(), Position(0));
    loop {
        let events = log.read_all_stored(after, WINDOW).await?;
        let Some(last) = events.last() else { return Ok(found) };
        after = last.position;
        for event in events {
            let Err(error) = event.check() else { continue };
            if !parked.iter().any(|parked| is_of(parked, &event)) {
                found.count += 1;
                found.first.get_or_insert((event, error.to_string()));
            }
        }
    }
}
