//! Folds batches of events into the rows of a read store, under its lease, and says what open clients are told.

use quick_cache::unsync::Cache;

use super::feed::Hub;
use super::folding::{Tables, touched};
use super::parking::Parking;
use crate::domain::event::{Event, RecordedEvent};
use crate::domain::ids::UserId;
use crate::domain::user::UserEvent;
use crate::projections::Projection;
use crate::projections::conversations::{ConversationRow, Conversations, InboxChange};
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

/// What the views show now.
pub(super) struct Folded {
    pub(super) events: Vec<RecordedEvent>,
    /// What watched users are told.
    pub(super) told: Vec<(UserId, InboxItem)>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(lease: &'a Lease, store: &'a ReadStore, hub: &'a Hub) -> Self {
        Self { lease, store, hub, kept: Cache::new(KEPT) }
    }

    /// Folds the events of a batch up to the checkpoint.
    pub(super) async fn fold(&mut self, mut events: Vec<RecordedEvent>, checkpoint: Checkpoint, parking: &mut Parking) -> Result<Folded, StoreError> {
        let mut tables = self.load(&events).await?;
        let mut told = Vec::new();
        events.retain(|event| {
            if !parking.admits(event) {
                return false;
            }
            match tables.fold(event) {
                Ok(()) => told.extend(conversation_items(event, &tables, self.hub)),
                Err(reason) => parking.park(event, reason),
            }
            parking.admits(event)
        });
        self.write(Rows { parked: parking.take_unstored(), ..tables.take_changed() }, checkpoint).await?;
        told.extend(profile_and_section_items(self.store, &events, self.hub).await?);
        told.sort_by_key(|(_, item)| item.position);
        Ok(Folded { events, told })
    }

    async fn write(&mut self, rows: Rows, checkpoint: Checkpoint) -> Result<(), StoreError> {
        for row in self.lease.apply(rows, checkpoint).await?.conversations {
            self.kept.insert((row.owner.clone(), row.contact.clone()), row);
        }
        Ok(())
    }

    /// The rows that the events touch: those read from the store, and those kept of conversations.
    async fn load(&mut self, events: &[RecordedEvent]) -> Result<Tables, StoreError> {
        let mut touched = touched(events);
        let mut kept = Vec::new();
        touched.conversations.retain(|key| {
            let row = self.kept.get(key).cloned();
            let is_missing = row.is_none();
            kept.extend(row);
            is_missing
        });
        let mut tables = Tables::empty();
        tables.extend(self.lease.load(touched).await?);
        tables.extend(Rows { conversations: kept, ..Rows::default() });
        Ok(tables)
    }
}

fn conversation_items(recorded: &RecordedEvent, tables: &Tables, hub: &Hub) -> Vec<(UserId, InboxItem)> {
    let Event::Conversation(event) = &recorded.event else { return vec![] };
    let watched = Conversations::touched(recorded).into_iter().filter(|(owner, _)| hub.is_watched(owner));
    watched
        .filter_map(|key| {
            let row = tables.conversations.row(&key)?;
            let (owner, contact) = key;
            let change = match InboxChange::of(&owner, &row.side, event)? {
                InboxChange::MessageAdded => {
                    let message = tables.messages.last()?;
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
        if matches!(recorded.event, Event::Community(_) | Event::Conversation(_)) {
            continue;
        }
        for viewer in hub.who_is_concerned(store, recorded).await? {
            let change = match &recorded.event {
                // What they wrote is another text now.
                Event::User(UserEvent::UserErased { user }) if *user == viewer => ItemChange::EverythingChanged,
                Event::User(UserEvent::UserErased { user }) => ItemChange::ConversationChanged { contact: user.clone() },
                Event::User(event) => ItemChange::ContactChanged { user: event.user().clone() },
                Event::Section(_) => ItemChange::SectionChanged,
                Event::Community(_) | Event::Conversation(_) => continue,
            };
            told.push((viewer, InboxItem { position: recorded.position, change }));
        }
    }
    Ok(told)
}
