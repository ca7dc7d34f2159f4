//! Folds a long stretch of the log with nobody watching: rows stay in memory and are written seldom, in the order
//! of their keys. For views that are made anew, and for those that are far behind.

use super::folding::{Folding, touched};
use crate::domain::event::RecordedEvent;
use crate::projections::Projection as _;
use crate::projections::conversations::{ConversationRow, Conversations};
use crate::projections::messages::{MessageRow, Messages};
use crate::projections::section::Section;
use crate::projections::users::{UserRow, Users};
use crate::read_store::{Checkpoint, Lease, Rows, StoreError};

/// An estimate of what a row takes in memory, its key and its place in a map included, in bytes.
const BYTES_OF_A_ROW: usize = 600;
const BYTES_OF_A_MESSAGE: usize = size_of::<MessageRow>() + 64;

/// Folds and writes, for as long as the lease holds. After a failure its rows are not known, and it is dropped.
pub(super) struct Bulk<'a> {
    lease: &'a Lease,
    /// Bytes of rows in memory, about.
    limit: usize,
    users: Folding<Users>,
    conversations: Folding<Conversations>,
    section: Folding<Section>,
    messages: Vec<MessageRow>,
    bytes_of_messages: usize,
    /// Whether every row that the store has is in memory.
    has_all: bool,
    /// The last event folded; none while all is written.
    unwritten: Option<Checkpoint>,
}

impl<'a> Bulk<'a> {
    /// `memory`: bytes. `is_empty`: whether the store has no rows yet.
    pub(super) fn new(lease: &'a Lease, memory: usize, is_empty: bool) -> Self {
        Self {
            lease,
            limit: memory,
            users: Folding::from([]),
            conversations: Folding::from([]),
            section: Folding::from([]),
            messages: Vec::new(),
            bytes_of_messages: 0,
            has_all: is_empty,
            unwritten: None,
        }
    }

    /// Folds events; writes when there is too much in memory.
    pub(super) async fn fold(&mut self, events: &[RecordedEvent]) -> Result<(), StoreError> {
        let Some(last) = events.last() else { return Ok(()) };
        if !self.has_all {
            self.load(events).await?;
        }
        for event in events {
            self.users.fold(event);
            self.conversations.fold(event);
            self.section.fold(event);
            self.add_messages(event);
        }
        self.unwritten = Some(Checkpoint { position: last.position, event: last.id });
        if self.bytes() > self.limit {
            self.write().await?;
        }
        Ok(())
    }

    fn add_messages(&mut self, event: &RecordedEvent) {
        for key in Messages::touched(event) {
            if let Some(message) = Messages::evolve(&key, None, event) {
                self.bytes_of_messages += BYTES_OF_A_MESSAGE + message.text.as_str().len();
                self.messages.push(message);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.bytes_of_messages + self.bytes_of_rows()
    }

    fn bytes_of_rows(&self) -> usize {
        (self.users.len() + self.conversations.len()) * BYTES_OF_A_ROW
    }

    async fn load(&mut self, events: &[RecordedEvent]) -> Result<(), StoreError> {
        let mut touched = touched(events);
        touched.users.retain(|key| !self.users.contains(key));
        touched.conversations.retain(|key| !self.conversations.contains(key));
        touched.section &= !self.section.contains(&());
        let loaded = self.lease.load(touched).await?;
        self.users.extend(loaded.users.into_iter().map(|row: UserRow| (row.id.clone(), row)));
        self.conversations.extend(loaded.conversations.into_iter().map(|row: ConversationRow| ((row.owner.clone(), row.contact.clone()), row)));
        self.section.extend(loaded.section.map(|row| ((), row)));
        Ok(())
    }

    /// Writes what was folded.
    pub(super) async fn write(&mut self) -> Result<(), StoreError> {
        let Some(checkpoint) = self.unwritten.take() else {
            return self.lease.renew().await;
        };
        let mut rows = Rows {
            users: self.users.take_changed(),
            conversations: self.conversations.take_changed(),
            messages: std::mem::take(&mut self.messages),
            section: self.section.take_changed().pop(),
        };
        rows.users.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        rows.conversations.sort_unstable_by(|a, b| (&a.owner, &a.contact).cmp(&(&b.owner, &b.contact)));
        rows.messages.sort_unstable_by_key(|row| (row.conversation, row.number));
        self.bytes_of_messages = 0;
        self.lease.apply_many(rows, checkpoint).await?;
        if self.bytes_of_rows() > self.limit / 2 {
            (self.users, self.conversations, self.section) = (Folding::from([]), Folding::from([]), Folding::from([]));
            self.has_all = false;
        }
        Ok(())
    }
}
