//! Folds batches of events into the rows of a read store, under its lease, and says what open clients are told.

use quick_cache::unsync::Cache;

use super::feed::Hub;
use super::folding::{Folding, touched};
use super::projector::who_is_concerned;
use crate::domain::event::{Event, RecordedEvent};
use crate::domain::ids::UserId;
use crate::projections::Projection;
use crate::projections::conversations::{ConversationRow, Conversations, InboxChange};
use crate::projections::messages::Messages;
use crate::projections::section::Section;
use crate::projections::users::Users;
use crate::read_store::{Checkpoint, InboxItem, ItemChange, Lease, ReadStore, Rows, StoreError};

/// Rows of conversations kept in memory between batches: two each, of some hundred bytes.
const KEPT: usize = 20_000;

/// Folds and writes, for as long as the lease holds. After a failure its rows are not known, and it is dropped.
pub(super) struct Folder<'a> {
    lease: &'a Lease,
    store: &'a ReadStore,
    hub: &'a Hub,
    /// What was read or written last: nobody else writes.
    kept: Cache<(UserId, UserId), ConversationRow>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(lease: &'a Lease, store: &'a ReadStore, hub: &'a Hub) -> Self {
        Self { lease, store, hub, kept: Cache::new(KEPT) }
    }

    /// Folds a batch that ends with the checkpoint. Returns what watched users are told.
    pub(super) async fn fold(&mut self, events: &[RecordedEvent], checkpoint: Checkpoint) -> Result<Vec<(UserId, InboxItem)>, StoreError> {
        let (loaded, kept) = self.load(events).await?;
        let keyed = |row: ConversationRow| ((row.owner.clone(), row.contact.clone()), row);
        let mut users = Folding::<Users>::from(loaded.users.into_iter().map(|row| (row.id.clone(), row)));
        let mut conversations = Folding::<Conversations>::from(loaded.conversations.into_iter().chain(kept).map(keyed));
        let mut messages = Folding::<Messages>::from([]);
        let mut section = Folding::<Section>::from(loaded.section.map(|row| ((), row)));
        let mut told = Vec::new();
        for event in events {
            users.fold(event);
            section.fold(event);
            messages.fold(event);
            conversations.fold(event);
            told.extend(conversation_items(event, &conversations, &messages, self.hub));
        }
        let rows = Rows {
            users: users.into_changed(),
            conversations: conversations.into_changed(),
            messages: messages.into_changed(),
            section: section.into_changed().pop(),
        };
        for row in self.lease.apply(rows, checkpoint).await?.conversations {
            self.kept.insert((row.owner.clone(), row.contact.clone()), row);
        }
        told.extend(profile_and_section_items(self.store, events, self.hub).await?);
        told.sort_by_key(|(_, item)| item.position);
        Ok(told)
    }

    /// The rows that the events touch: those read from the store, and those kept of conversations.
    async fn load(&mut self, events: &[RecordedEvent]) -> Result<(Rows, Vec<ConversationRow>), StoreError> {
        let mut touched = touched(events);
        let mut kept = Vec::new();
        touched.conversations.retain(|key| {
            let row = self.kept.get(key).cloned();
            let is_missing = row.is_none();
            kept.extend(row);
            is_missing
        });
        Ok((self.lease.load(touched).await?, kept))
    }
}

fn conversation_items(recorded: &RecordedEvent, conversations: &Folding<Conversations>, messages: &Folding<Messages>, hub: &Hub) -> Vec<(UserId, InboxItem)> {
    let Event::Conversation(event) = &recorded.event else { return vec![] };
    let watched = Conversations::touched(recorded).into_iter().filter(|(owner, _)| hub.is_watched(owner));
    watched
        .filter_map(|key| {
            let row = conversations.row(&key)?;
            let (owner, contact) = key;
            let change = match InboxChange::of(&owner, &row.side, event)? {
                InboxChange::MessageAdded => {
                    let message = Messages::touched(recorded).first().and_then(|key| messages.row(key))?;
                    ItemChange::MessageAdded { contact, message: Box::new(message.clone()) }
                }
                InboxChange::ConversationChanged => ItemChange::ConversationChanged { contact },
                InboxChange::ConversationRemoved => ItemChange::ConversationRemoved { contact },
                InboxChange::ContactChanged => ItemChange::ContactChanged { user: contact },
            };
            Some((owner, InboxItem { position: recorded.position, change }))
        })
        .collect()
}

async fn profile_and_section_items(store: &ReadStore, events: &[RecordedEvent], hub: &Hub) -> Result<Vec<(UserId, InboxItem)>, StoreError> {
    let mut told = Vec::new();
    for recorded in events {
        let change = match &recorded.event {
            Event::User(event) => ItemChange::ContactChanged { user: event.user().clone() },
            Event::Section(_) => ItemChange::SectionChanged,
            Event::Community(_) | Event::Conversation(_) => continue,
        };
        let item = InboxItem { position: recorded.position, change };
        told.extend(who_is_concerned(store, recorded, hub).await?.into_iter().map(|viewer| (viewer, item.clone())));
    }
    Ok(told)
}
