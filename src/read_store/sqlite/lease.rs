//! What is folded and written. The file's lock is the lease, so nothing is checked.

use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, params};

use super::reader::query;
use super::writer::{STAINED, Stain, Writer, flag};
use super::{Generation, SqliteReadStore, failed};
use crate::domain::event::Timestamp;
use crate::domain::profile::Picture;
use crate::domain::text::MessageText;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::read_store::reader::Value;
use crate::read_store::{Checkpoint, ParkedEntity, Rows, StoreError, Touched, queries, rows};
use crate::sqlite;

/// The right to fold into a generation.
pub(in crate::read_store) struct SqliteLease {
    pub(super) store: SqliteReadStore,
    pub(super) generation: Arc<Generation>,
}

impl SqliteLease {
    pub(in crate::read_store) fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        self.generation.checkpoint()
    }

    pub(in crate::read_store) fn parked(&self) -> Result<Vec<ParkedEntity>, StoreError> {
        let connection = self.generation.readers.lend().map_err(failed)?;
        query(&connection, queries::PARKED, &[], ParkedEntity::read)
    }

    /// Whether another generation became the current one.
    pub(in crate::read_store) fn is_superseded(&self) -> bool {
        self.store.newer_than(&self.generation).is_some()
    }

    /// Reads go to the generation from when it shows whatever was shown before.
    pub(super) fn show(&self, checkpoint: Checkpoint) {
        let is_shown = || Arc::ptr_eq(&self.store.shown(), &self.generation);
        if !is_shown() {
            if checkpoint.position < self.store.checkpoint.borrow().position {
                return;
            }
            *self.store.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.generation);
        }
        self.store.checkpoint.send_replace(checkpoint);
    }

    /// The rows there are for some keys, for the projector to fold on.
    pub(in crate::read_store) async fn load(&self, touched: Touched) -> Result<Rows, StoreError> {
        let load = move |writer: &mut Writer| {
            // One transaction: each begins with locks and a look at the write-ahead log.
            let connection = writer.connection.unchecked_transaction().map_err(failed)?;
            let mut found = Rows::default();
            for id in &touched.users {
                found.users.extend(query(&connection, queries::USER, &[Value::Text(id.as_str())], rows::user)?);
            }
            for (owner, contact) in &touched.conversations {
                let parameters = [Value::Text(owner.as_str()), Value::Text(contact.as_str())];
                found.conversations.extend(query(&connection, queries::CONVERSATION, &parameters, rows::conversation)?);
            }
            if touched.section {
                found.section = query(&connection, queries::SECTION, &[], rows::section)?.pop();
            }
            Ok(found)
        };
        self.generation.write(load).await
    }

    /// What could not be done at once after an erasure. Called now and then.
    pub(in crate::read_store) async fn tidy(&self) -> Result<(), StoreError> {
        // Nobody else writes, so the lock is free.
        if self.generation.writer.try_lock().is_ok_and(|writer| writer.stain == Stain::None) {
            return Ok(());
        }
        let generations = self.store.generations.clone();
        let tidy = move |writer: &mut Writer| {
            writer.scrub(generations.as_ref());
            Ok(())
        };
        self.generation.write(tidy).await
    }

    /// Leaves the file whole by itself and on the disk, so that the next start has nothing to fold.
    pub(in crate::read_store) async fn release(self) {
        // Nobody folds on from the ones before.
        if self.is_superseded() {
            return;
        }
        match self.generation.write(|writer| writer.settle().map_err(failed)).await {
            Ok(true) => {}
            Ok(false) => tracing::info!("somebody reads the views, which are not all on the disk: should the machine go down now, they are made anew"),
            Err(error) => tracing::warn!(%error, "the views could not be folded and flushed"),
        }
    }

    /// Writes changed rows, and that the log is folded up to `checkpoint`, in one transaction.
    pub(in crate::read_store) async fn apply(&self, rows: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        let generations = self.store.generations.clone();
        let write = move |writer: &mut Writer| {
            // What is built is flushed: it becomes current at once.
            if generations.is_some() {
                writer.stop_flushing().map_err(failed)?;
            }
            write_all(&writer.connection, &rows, checkpoint).map_err(failed)?;
            if !rows.erased.is_empty() {
                writer.stain = Stain::File;
                writer.scrub(generations.as_ref());
            }
            if let Err(error) = writer.wal.tend(&writer.connection) {
                tracing::warn!(%error, "the views could not be folded into their file");
            }
            Ok(rows)
        };
        let written = self.generation.write(write).await?;
        self.show(checkpoint);
        Ok(written)
    }
}

fn write_all(connection: &Connection, rows: &Rows, checkpoint: Checkpoint) -> Result<(), rusqlite::Error> {
    let transaction = sqlite::begin(connection)?;
    write_rows(&transaction, rows)?;
    transaction.prepare_cached(queries::ADVANCE)?.execute(params![checkpoint.position.0, checkpoint.event])?;
    if !rows.erased.is_empty() {
        flag(&transaction, STAINED)?;
    }
    transaction.commit()
}

fn write_rows(connection: &Connection, changed: &Rows) -> Result<(), rusqlite::Error> {
    let mut user = connection.prepare_cached(queries::UPSERT_USER)?;
    for UserRow { id, user: state, member, version, sort_key, search_name, changed, erased_at } in &changed.users {
        let picture = state.profile.picture.as_ref().map(Picture::as_str);
        user.execute(params![
            id.as_str(),
            state.profile.name.as_str(),
            picture,
            state.contactable,
            state.erased,
            member,
            version,
            sort_key,
            search_name,
            changed.0,
            erased_at.0
        ])?;
    }
    let mut conversation = connection.prepare_cached(queries::UPSERT_CONVERSATION)?;
    for row in &changed.conversations {
        let (side, at) = (&row.side, |at: Option<Timestamp>| at.map(|at| at.0));
        conversation.execute(params![
            row.owner.as_str(),
            row.contact.as_str(),
            row.conversation.0,
            row.version,
            side.sent,
            side.received,
            side.read,
            side.blocked_at,
            rows::listing_name(side.listing),
            at(row.last_at),
            at(row.latest_at),
            row.changed.0,
            row.reshaped.0,
            row.removed.0,
            row.surfaced.to_string(),
            side.is_blocking(),
        ])?;
    }
    for (user, at) in &changed.erased {
        connection.prepare_cached(queries::ERASE_MESSAGES)?.execute(params![MessageText::erased().as_str(), user.as_str(), at.0])?;
    }
    let mut message = connection.prepare_cached(queries::INSERT_MESSAGE)?;
    for row in &changed.messages {
        let MessageRow { conversation, number, sender_number, id, sender, text, sent_at, position } = row;
        message.execute(params![conversation.0, number, sender_number, id.0, sender.as_str(), text.as_str(), sent_at.0, position.0])?;
    }
    if let Some(SectionRow { section, version, changed }) = &changed.section {
        let templates = (section.list_template.number(), section.detail_template.number());
        connection.prepare_cached(queries::UPSERT_SECTION)?.execute(params![section.title.as_str(), templates.0, templates.1, version, changed.0])?;
    }
    for ParkedEntity { entity, stream, version, position, event, reason, is_retried } in &changed.parked {
        connection.prepare_cached(queries::PARK)?.execute(params![entity, stream, version, position.0, event, reason, is_retried])?;
    }
    for entity in &changed.healed {
        connection.prepare_cached(queries::HEAL)?.execute([entity])?;
    }
    Ok(())
}
