//! Follows the log, folds a batch in memory, writes each changed row once with the checkpoint, then
//! tells those who wait: commands for what they wrote, open clients for what concerns them.

use std::collections::HashMap;

use thiserror::Error;
use tokio::sync::watch;

use super::feed::Hub;
use super::{App, Fault};
use crate::domain::event::{Event, Position, RecordedEvent};
use crate::domain::ids::UserId;
use crate::event_log::{EventLog, LogError};
use crate::metrics::{METRICS, Timer};
use crate::projections::Projection;
use crate::projections::conversations::{Conversations, InboxChange};
use crate::projections::messages::Messages;
use crate::projections::section::Section;
use crate::projections::users::Users;
use crate::read_store::{Checkpoint, InboxItem, ItemChange, ReadStore, Rows, StoreError, Touched};

/// The most events of one batch.
const BATCH: usize = 4_096;

/// How far the views are.
#[derive(Clone)]
pub struct Progress(watch::Receiver<Position>);

/// The other end of a [`Progress`], for the projector.
pub struct Reporter(watch::Sender<Position>);

/// Why the views stopped following the log.
#[derive(Debug, Error)]
pub enum ProjectorError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The last event that the views know is not in the log: it lost some, or went another way.
    #[error("the views were made from events that the log does not have (position {0}): restore that log, or delete the views to accept the log as it is")]
    Diverged(Position),
}

/// A report of how far the views are, beginning at a checkpoint.
#[must_use]
pub fn progress(from: Checkpoint) -> (Reporter, Progress) {
    let (reporter, progress) = watch::channel(from.position);
    (Reporter(reporter), Progress(progress))
}

impl Progress {
    #[must_use]
    pub fn applied(&self) -> Position {
        *self.0.borrow()
    }

    /// Waits until the views show an event.
    pub(super) async fn reached(&self, position: Position) -> Result<(), Fault> {
        let mut applied = self.0.clone();
        applied.wait_for(|applied| *applied >= position).await.map_err(|_| Fault::Stalled)?;
        Ok(())
    }
}

/// Brings the views up to the log's head, before anybody is served.
///
/// # Errors
/// When the log cannot be read, is not the one that the views were made from, or the views cannot be written.
pub async fn catch_up(log: &EventLog, store: &ReadStore) -> Result<Checkpoint, ProjectorError> {
    let mut checkpoint = store.checkpoint().await?;
    if checkpoint.position > Position(0) {
        let known = log.read_all(Position(checkpoint.position.0 - 1), 1).await?;
        if known.first().is_none_or(|event| event.id != checkpoint.event) {
            return Err(ProjectorError::Diverged(checkpoint.position));
        }
    }
    loop {
        let events = log.read_all(checkpoint.position, BATCH).await?;
        let Some(last) = events.last() else { return Ok(checkpoint) };
        checkpoint = Checkpoint { position: last.position, event: last.id };
        project(store, &events, checkpoint, &Hub::default()).await?;
    }
}

/// Follows the log for ever.
///
/// # Errors
/// When the log cannot be read or the views cannot be written; whoever waits is told.
pub async fn run(app: App, from: Checkpoint, reporter: Reporter) -> Result<(), ProjectorError> {
    let (store, hub) = (&app.0.store, &app.0.hub);
    let mut follow = app.0.log.follow(from.position);
    METRICS.views_progress_at.set(app.now().0.div_euclid(1_000_000));
    loop {
        let events = follow.next(BATCH).await?;
        let Some(last) = events.last() else { continue };
        let checkpoint = Checkpoint { position: last.position, event: last.id };
        let timer = Timer::start();
        let told = project(store, &events, checkpoint, hub).await?;
        METRICS.fold_time.observe(timer.seconds());
        METRICS.fold_batch.observe(f64::from(u32::try_from(events.len()).unwrap_or(u32::MAX)));
        METRICS.views_progress_at.set(app.now().0.div_euclid(1_000_000));
        // First whoever waits for an answer, then who is told of it: S4, that somebody is told must not show in
        // how long the answer took.
        reporter.0.send_replace(checkpoint.position);
        tokio::task::yield_now().await;
        hub.publish(told);
    }
}

/// Folds a batch and writes it. Returns what watched users are told.
async fn project(store: &ReadStore, events: &[RecordedEvent], checkpoint: Checkpoint, hub: &Hub) -> Result<Vec<(UserId, InboxItem)>, StoreError> {
    let loaded = store.load(touched(events)).await?;
    let mut users = Folding::<Users>::from(loaded.users.into_iter().map(|row| (row.id.clone(), row)));
    let mut conversations = Folding::<Conversations>::from(loaded.conversations.into_iter().map(|row| ((row.owner.clone(), row.contact.clone()), row)));
    let mut messages = Folding::<Messages>::from([]);
    let mut section = Folding::<Section>::from(loaded.section.map(|row| ((), row)));
    let mut told = Vec::new();
    for event in events {
        users.fold(event);
        section.fold(event);
        messages.fold(event);
        conversations.fold(event);
        told.extend(conversation_items(event, &conversations, &messages, hub));
    }
    let rows = Rows {
        users: users.into_changed(),
        conversations: conversations.into_changed(),
        messages: messages.into_changed(),
        section: section.into_changed().pop(),
    };
    store.apply(rows, checkpoint).await?;
    told.extend(profile_and_section_items(store, events, hub).await?);
    told.sort_by_key(|(_, item)| item.position);
    Ok(told)
}

fn touched(events: &[RecordedEvent]) -> Touched {
    let mut touched = Touched::default();
    for event in events {
        touched.users.extend(Users::touched(event));
        touched.conversations.extend(Conversations::touched(event));
        touched.section |= !Section::touched(event).is_empty();
    }
    touched.users.sort_unstable();
    touched.users.dedup();
    touched.conversations.sort_unstable();
    touched.conversations.dedup();
    touched
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

/// A profile concerns its user and those in whose lists they stand; the section concerns everybody.
async fn profile_and_section_items(store: &ReadStore, events: &[RecordedEvent], hub: &Hub) -> Result<Vec<(UserId, InboxItem)>, StoreError> {
    let mut told = Vec::new();
    if hub.is_empty() {
        return Ok(told);
    }
    for recorded in events {
        let item = |change| InboxItem { position: recorded.position, change };
        match &recorded.event {
            Event::User(_) => {
                for user in Users::touched(recorded) {
                    let concerned = store.listed_by(&user).await?.into_iter().chain([user.clone()]).filter(|viewer| hub.is_watched(viewer));
                    told.extend(concerned.map(|viewer| (viewer, item(ItemChange::ContactChanged { user: user.clone() }))));
                }
            }
            Event::Section(_) => told.extend(hub.watched().into_iter().map(|viewer| (viewer, item(ItemChange::SectionChanged)))),
            Event::Community(_) | Event::Conversation(_) => {}
        }
    }
    Ok(told)
}

/// One projection's rows of a batch: loaded once, folded in memory, each changed one written once.
struct Folding<P: Projection> {
    rows: HashMap<P::Key, P::Row>,
    /// Keys of changed rows, in the order of their first change.
    changed: Vec<P::Key>,
    is_changed: std::collections::HashSet<P::Key>,
}

impl<P: Projection> Folding<P> {
    fn from(rows: impl IntoIterator<Item = (P::Key, P::Row)>) -> Self {
        Self { rows: rows.into_iter().collect(), changed: Vec::new(), is_changed: std::collections::HashSet::new() }
    }

    fn fold(&mut self, event: &RecordedEvent) {
        for key in P::touched(event) {
            let row = self.rows.remove(&key);
            if let Some(row) = P::evolve(&key, row, event) {
                self.rows.insert(key.clone(), row);
            }
            if self.is_changed.insert(key.clone()) {
                self.changed.push(key);
            }
        }
    }

    fn row(&self, key: &P::Key) -> Option<&P::Row> {
        self.rows.get(key)
    }

    fn into_changed(mut self) -> Vec<P::Row> {
        self.changed.iter().filter_map(|key| self.rows.remove(key)).collect()
    }
}
