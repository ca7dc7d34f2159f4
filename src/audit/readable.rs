//! Whether this version can read the whole of a log, before it serves it.

use crate::app::parking::entity;
use crate::domain::event::Position;
use crate::event_log::{EventLog, LogError, StoredEvent};
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
            let is_known = |parked: &ParkedEntity| parked.entity == entity(&event.stream, event.version) && parked.version <= event.version;
            if !parked.iter().any(is_known) {
                found.count += 1;
                found.first.get_or_insert((event, error.to_string()));
            }
        }
    }
}
