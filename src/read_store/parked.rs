//! Entities whose events cannot be folded: each stands still from the first of them on, and everything else goes on.

use uuid::Uuid;

use super::reader::{Columns, Unreadable};
use crate::domain::event::Position;

/// An entity that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEntity {
    /// Its stream. Of the community's, whose events are each a user's, with the version: `community/7`.
    pub entity: String,
    pub stream: String,
    /// The first event that is not folded: its version in the stream, its position and its id.
    pub version: u64,
    pub position: Position,
    pub event: Uuid,
    /// Never quotes the event's data.
    pub reason: String,
    /// Whether another attempt is asked for.
    pub is_retried: bool,
}

impl ParkedEntity {
    /// Says so to the operator. Once it is stored: who was overtaken meanwhile may have read rows that are further on.
    pub(super) fn tell(&self) {
        let Self { entity, version, position, reason, .. } = self;
        tracing::error!(entity, version, %position, reason, "an event cannot be folded: what it belongs to is parked, everything else goes on");
    }

    pub(super) fn read(row: &dyn Columns) -> Result<Self, Unreadable> {
        Ok(Self {
            entity: row.text(0)?.to_owned(),
            stream: row.text(1)?.to_owned(),
            version: row.number(2)?,
            position: Position(row.number(3)?),
            event: row.uuid(4)?,
            reason: row.text(5)?.to_owned(),
            is_retried: row.integer(6)? != 0,
        })
    }
}
