//! Entities whose events cannot be folded. Each is parked from the first such event on: it is not folded any further
//! until a retry succeeds, and everything else goes on.

use std::collections::HashMap;

use uuid::Uuid;

use super::folding::Unfoldable;
use crate::domain::event::{Position, RecordedEvent, Stream};
use crate::event_log::Undecodable;
use crate::read_store::ParkedEntity;

/// What is parked, and since which version of its stream.
#[derive(Debug, Default)]
pub struct Parking {
    since: HashMap<String, u64>,
    /// Parked, and not stored yet.
    unstored: Vec<ParkedEntity>,
}

impl Parking {
    /// What a store has of it.
    pub(super) fn of(stored: &[ParkedEntity]) -> Self {
        Self { since: stored.iter().map(|parked| (parked.entity.clone(), parked.version)).collect(), unstored: Vec::new() }
    }

    /// The events that can be folded as far as is known: without those that cannot be read, which park their
    /// entities, and without those of what is parked.
    pub fn without_unreadable(&mut self, read: Vec<Result<RecordedEvent, Undecodable>>) -> Vec<RecordedEvent> {
        let mut admitted = Vec::with_capacity(read.len());
        for event in read {
            match event {
                Ok(event) => admitted.push(event),
                Err(Undecodable { event, reason, .. }) => self.park_at(event.stream, event.version, event.position, event.id, reason.to_string()),
            }
        }
        if !self.since.is_empty() {
            admitted.retain(|event| self.admits(event));
        }
        admitted
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// Whether an event's entity is not parked before it.
    #[must_use]
    pub fn admits(&self, event: &RecordedEvent) -> bool {
        self.since.is_empty() || self.since.get(&entity(&event.stream.to_string(), event.version)).is_none_or(|since| event.version < *since)
    }

    /// From this event on.
    pub fn park(&mut self, event: &RecordedEvent, reason: Unfoldable) {
        self.park_at(event.stream.to_string(), event.version, event.position, event.id, reason.to_string());
    }

    fn park_at(&mut self, stream: String, version: u64, position: Position, event: Uuid, reason: String) {
        let entity = entity(&stream, version);
        if self.since.get(&entity).is_some_and(|since| *since <= version) {
            return;
        }
        self.since.insert(entity.clone(), version);
        self.unstored.push(ParkedEntity { entity, stream, version, position, event, reason, is_retried: false });
    }

    /// It is folded again.
    pub(super) fn free(&mut self, entity: &str) {
        self.since.remove(entity);
    }

    /// What was parked and is not taken to be stored.
    #[must_use]
    pub fn unstored(&self) -> &[ParkedEntity] {
        &self.unstored
    }

    /// What was parked since, to be stored.
    pub(super) fn take_unstored(&mut self) -> Vec<ParkedEntity> {
        std::mem::take(&mut self.unstored)
    }
}

/// What stands still when an event of a stream cannot be folded: the community's are each a user's.
#[must_use]
pub fn entity(stream: &str, version: u64) -> String {
    if stream == Stream::Community.to_string() { format!("{stream}/{version}") } else { stream.to_owned() }
}
