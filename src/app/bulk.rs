//! Folds a long stretch of the log with nobody watching: rows stay in memory and are written seldom, in the order
//! of their keys. For views that are made anew, and for those that are far behind.

use super::folding::{Tables, touched};
use super::parking::Parking;
use crate::domain::event::RecordedEvent;
use crate::projections::messages::MessageRow;
use crate::read_store::{Checkpoint, Lease, StoreError};

/// An estimate of what a row takes in memory, its key and its place in a map included, in bytes.
const BYTES_OF_A_ROW: usize = 600;
const BYTES_OF_A_MESSAGE: usize = size_of::<MessageRow>() + 64;

/// Folds and writes, for as long as the lease holds. After a failure its rows are not known, and it is dropped.
pub(super) struct Bulk<'a> {
    lease: &'a Lease,
    /// Bytes of rows in memory, about.
    limit: usize,
    tables: Tables,
    bytes_of_messages: usize,
    /// Whether every row that the store has is in memory.
    has_all: bool,
    /// The last event folded; none while all is written.
    unwritten: Option<Checkpoint>,
}

impl<'a> Bulk<'a> {
    /// `memory`: bytes. `is_empty`: whether the store has no rows yet.
    pub(super) fn new(lease: &'a Lease, memory: usize, is_empty: bool) -> Self {
        Self { lease, limit: memory, tables: Tables::empty(), bytes_of_messages: 0, has_all: is_empty, unwritten: None }
    }

    /// Folds events up to a checkpoint; writes when there is too much in memory.
    pub(super) async fn fold(&mut self, events: &[RecordedEvent], checkpoint: Checkpoint, parking: &mut Parking) -> Result<(), StoreError> {
        if !self.has_all {
            self.load(events).await?;
        }
        for event in events {
            if !parking.admits(event) {
                continue;
            }
            let messages = self.tables.messages.len();
            if let Err(reason) = self.tables.fold(event) {
                parking.park(event, reason);
            }
            let added = self.tables.messages[messages..].iter().map(|message| BYTES_OF_A_MESSAGE + message.text.as_str().len());
            self.bytes_of_messages += added.sum::<usize>();
        }
        self.unwritten = Some(checkpoint);
        if self.bytes() > self.limit {
            self.write(parking).await?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes_of_messages + self.bytes_of_rows()
    }

    fn bytes_of_rows(&self) -> usize {
        (self.tables.users.len() + self.tables.conversations.len()) * BYTES_OF_A_ROW
    }

    async fn load(&mut self, events: &[RecordedEvent]) -> Result<(), StoreError> {
        let mut touched = touched(events);
        touched.users.retain(|key| !self.tables.users.contains(key));
        touched.conversations.retain(|key| !self.tables.conversations.contains(key));
        touched.section &= !self.tables.section.contains(&());
        self.tables.extend(self.lease.load(touched).await?);
        Ok(())
    }

    /// Writes what was folded.
    pub(super) async fn write(&mut self, parking: &mut Parking) -> Result<(), StoreError> {
        let Some(checkpoint) = self.unwritten.take() else {
            return self.lease.renew().await;
        };
        let mut rows = self.tables.take_changed();
        rows.parked = parking.take_unstored();
        rows.users.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        rows.conversations.sort_unstable_by(|a, b| (&a.owner, &a.contact).cmp(&(&b.owner, &b.contact)));
        rows.messages.sort_unstable_by_key(|row| (row.conversation, row.number));
        self.bytes_of_messages = 0;
        self.lease.apply_many(rows, checkpoint).await?;
        if self.bytes_of_rows() > self.limit / 2 {
            self.tables = Tables::empty();
            self.has_all = false;
        }
        Ok(())
    }
}
