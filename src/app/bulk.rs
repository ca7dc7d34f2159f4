//! Folds a long stretch of the log with nobody watching: rows stay in memory and are written seldom, in the order
//! of their keys, while what follows is folded. For views that are made anew, and for those that are far behind.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};

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
    /// The write that is under way. It begins when it is waited for the first time.
    writing: Option<BoxFuture<'a, Result<(), StoreError>>>,
}

impl<'a> Bulk<'a> {
    /// `memory`: bytes. `is_empty`: whether the store has no rows yet.
    pub(super) fn new(lease: &'a Lease, memory: usize, is_empty: bool) -> Self {
        Self { lease, limit: memory, tables: Tables::empty(), bytes_of_messages: 0, has_all: is_empty, unwritten: None, writing: None }
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
        // As much again may be under way.
        if self.bytes() > self.limit / 2 {
            self.begin_write(parking).await?;
        }
        Ok(())
    }

    /// Waits for something else, and lets the write go on meanwhile.
    pub(super) async fn while_writing<T>(&mut self, other: impl Future<Output = T> + Send) -> Result<T, StoreError> {
        let Some(writing) = self.writing.take() else { return Ok(other.await) };
        match select(Box::pin(other), writing).await {
            Either::Left((other, writing)) => {
                self.writing = Some(writing);
                Ok(other)
            }
            Either::Right((written, other)) => {
                written?;
                Ok(other.await)
            }
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    fn bytes(&self) -> usize {
        self.bytes_of_messages + self.bytes_of_rows()
    }

    fn bytes_of_rows(&self) -> usize {
        (self.tables.users.len() + self.tables.conversations.len()) * BYTES_OF_A_ROW
    }

    async fn load(&mut self, events: &[RecordedEvent]) -> Result<(), StoreError> {
        if let Some(writing) = self.writing.take() {
            writing.await?;
        }
        let mut touched = touched(events);
        touched.users.retain(|key| !self.tables.users.contains(key));
        touched.conversations.retain(|key| !self.tables.conversations.contains(key));
        touched.section &= !self.tables.section.contains(&());
        self.tables.extend(self.lease.load(touched).await?);
        Ok(())
    }

    /// Writes what was folded, all of it.
    pub(super) async fn write(&mut self, parking: &mut Parking) -> Result<(), StoreError> {
        self.begin_write(parking).await?;
        match self.writing.take() {
            Some(writing) => writing.await,
            None => self.lease.renew().await,
        }
    }

    /// Begins to write what was folded, once what was begun before is written.
    async fn begin_write(&mut self, parking: &mut Parking) -> Result<(), StoreError> {
        if let Some(writing) = self.writing.take() {
            writing.await?;
        }
        let Some(checkpoint) = self.unwritten.take() else { return Ok(()) };
        let mut rows = self.tables.take_changed();
        rows.parked = parking.take_unstored();
        self.bytes_of_messages = 0;
        if self.bytes_of_rows() > self.limit / 2 {
            self.tables = Tables::empty();
            self.has_all = false;
        }
        let lease = self.lease;
        let write = async move {
            rows.users.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            rows.conversations.sort_unstable_by(|a, b| (&a.owner, &a.contact).cmp(&(&b.owner, &b.contact)));
            rows.messages.sort_unstable_by_key(|row| (row.conversation, row.number));
            lease.apply_many(rows, checkpoint).await.map(drop)
        };
        self.writing = Some(write.boxed());
        Ok(())
    }
}
