//! Follows the log, folds a batch in memory, writes each changed row once with the checkpoint, then
//! tells those who wait: commands for what they wrote, open clients for what concerns them.
//!
//! Of the nodes that share a read store one *leads*: it folds and writes, under a lease. The others
//! *observe*: they read in the log what the leader has folded, and tell their own clients. When the leader
//! is gone another takes the lease, tells its clients what it has not yet, and folds on from the checkpoint.

use std::collections::HashSet;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use super::App;
use super::bulk::Bulk;
use super::feed::Hub;
use super::folder::{Folded, Folder};
use super::healing::heal_retried;
use super::parking::Parking;
use super::progress::Reporter;
use crate::domain::conversation::ConversationEvent;
use crate::domain::event::{Event, Position, RecordedEvent};
use crate::domain::ids::UserId;
use crate::event_log::{EventLog, LogError, StoredEvent};
use crate::metrics::{METRICS, Timer};
use crate::read_store::{Checkpoint, Lease, ReadStore, StoreError};
use crate::storage::Backoff;

/// The most events of one batch.
pub(super) const BATCH: usize = 4_096;
/// Bytes of rows in memory while views that are far behind catch up, unless told otherwise; about.
pub const MEMORY: usize = 64 << 20;
/// Events behind from which on it is far.
const FAR: u64 = 4 * BATCH as u64;
/// How often a leader says that it is there, and an observer asks whether it still is, while nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);

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

impl ProjectorError {
    /// Whether it may be otherwise in a moment.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Log(LogError::Unavailable(_)) | Self::Store(StoreError::Unavailable(_) | StoreError::NoRoom | StoreError::Fenced))
    }
}

/// Brings the views up to the log's head, once.
///
/// # Errors
/// When the log cannot be read, is not the one that the views were made from, or the views cannot be written.
pub async fn catch_up(log: &EventLog, store: &ReadStore, node: uuid::Uuid) -> Result<Checkpoint, ProjectorError> {
    fold_up_to(log, store, node, Position(u64::MAX), MEMORY, |_| {}).await
}

/// Brings the views up to a position, and no further, with so many bytes of rows in memory, about. `told` hears of
/// every batch.
///
/// # Errors
/// As for [`catch_up`].
pub async fn fold_up_to(
    log: &EventLog,
    store: &ReadStore,
    node: uuid::Uuid,
    last: Position,
    memory: usize,
    told: impl FnMut(Position),
) -> Result<Checkpoint, ProjectorError> {
    let lease = store.try_lead(node).await?.ok_or(StoreError::Fenced)?;
    let checkpoint = trusted_checkpoint(log, &lease).await?;
    let mut parking = Parking::of(&lease.parked().await?);
    Box::pin(heal_retried(log, &lease, checkpoint, &mut parking)).await?;
    let checkpoint = fold_far(log, &lease, checkpoint, last, memory, &mut parking, told).await?;
    lease.release().await;
    Ok(checkpoint)
}

/// Folds a long stretch of the log; the next part is read meanwhile.
async fn fold_far(
    log: &EventLog,
    lease: &Lease,
    mut checkpoint: Checkpoint,
    last: Position,
    memory: usize,
    parking: &mut Parking,
    mut told: impl FnMut(Position),
) -> Result<Checkpoint, ProjectorError> {
    let read = |after: Position| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut events = log.read_all_stored(after, BATCH).await?;
            events.retain(|event| event.position <= last);
            Ok::<_, LogError>((events.last().map(at), log.decode_each(events).await?))
        })
    };
    let mut bulk = Bulk::new(lease, memory, checkpoint == Checkpoint::default());
    let mut renewed = Timer::start();
    let mut reading = read(checkpoint.position);
    loop {
        let (newest, events) = bulk.while_writing(reading).await?.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        let Some(newest) = newest else { break };
        checkpoint = newest;
        reading = read(checkpoint.position);
        bulk.fold(&parking.admit(events), checkpoint, parking).await?;
        if renewed.seconds() > HEARTBEAT.as_secs_f64() && !bulk.is_writing() {
            lease.renew().await?;
            renewed = Timer::start();
        }
        told(checkpoint.position);
    }
    bulk.write(parking).await?;
    Ok(checkpoint)
}

/// Leads or observes, for ever; until told to stop.
///
/// # Errors
/// When the log cannot be read or the views cannot be written, and waiting does not help; whoever waits is told.
pub async fn run(app: App, reporter: Reporter, stop: watch::Receiver<bool>) -> Result<(), ProjectorError> {
    let node = app.new_id();
    // From where on this node must hear of erasures, whoever folds them: its keys were read there.
    let told = app.0.log.opened_at();
    let mut projector = Projector { app, reporter, told, knows_users: false };
    let mut backoff = Backoff::new();
    let mut is_well = true;
    loop {
        let before = projector.reporter.applied();
        let outcome = projector.take_a_turn(node, stop.clone()).await;
        if projector.reporter.applied() != before {
            backoff.reset();
        }
        match outcome {
            Ok(Turn::Stopped) => return Ok(()),
            Ok(Turn::Over) => {
                is_well = true;
                backoff.reset();
            }
            Err(ProjectorError::Store(StoreError::Fenced)) => tracing::warn!("another node leads the views now"),
            Err(error) if error.is_passing() => {
                match error {
                    ProjectorError::Store(StoreError::Unavailable(_)) => projector.reporter.doubt(),
                    ProjectorError::Store(StoreError::NoRoom) => projector.reporter.has_no_room(),
                    _ => {}
                }
                if std::mem::replace(&mut is_well, false) {
                    tracing::warn!(%error, "the views wait for their stores");
                }
                backoff.wait().await;
                if *stop.borrow() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

enum Turn {
    /// It may be another's turn.
    Over,
    Stopped,
}

struct Projector {
    app: App,
    reporter: Reporter,
    /// Up to where this node's clients were told.
    told: Position,
    /// Whether it knows the users' ids that the views had when the log was opened.
    knows_users: bool,
}

impl Projector {
    async fn take_a_turn(&mut self, node: uuid::Uuid, mut stop: watch::Receiver<bool>) -> Result<Turn, ProjectorError> {
        self.app.0.log.latest().await?;
        if let Some(lease) = self.app.0.store.try_lead(node).await? {
            return self.lead(lease, stop).await;
        }
        tokio::select! {
            outcome = self.observe() => outcome,
            _ = stop.wait_for(|stop| *stop) => Ok(Turn::Stopped),
        }
    }

    /// Folds and writes, as long as the lease holds.
    async fn lead(&mut self, lease: Lease, mut stop: watch::Receiver<bool>) -> Result<Turn, ProjectorError> {
        let outcome = tokio::select! {
            outcome = self.fold_on(&lease) => outcome,
            () = lease.lost() => Err(StoreError::Unavailable("the projector's connection was lost".into()).into()),
            _ = stop.wait_for(|stop| *stop) => Ok(Turn::Stopped),
        };
        METRICS.projector_leads.set(0);
        self.app.0.user_ids.rely(false);
        if !matches!(outcome, Err(ProjectorError::Store(_))) {
            lease.release().await;
        }
        outcome
    }

    async fn fold_on(&mut self, lease: &Lease) -> Result<Turn, ProjectorError> {
        let app = self.app.clone();
        let (log, store, hub) = (&app.0.log, &app.0.store, &app.0.hub);
        log.read_anew();
        let mut checkpoint = trusted_checkpoint(log, lease).await?;
        METRICS.projector_leads.set(1);
        let mut parking = Parking::of(&lease.parked().await?);
        app.0.user_ids.add_all(&heal_retried(log, lease, checkpoint, &mut parking).await?);
        if log.latest().await?.0.saturating_sub(checkpoint.position.0) > FAR {
            checkpoint = fold_far(log, lease, checkpoint, Position(u64::MAX), MEMORY, &mut parking, |_| {}).await?;
        }
        self.tell_what_was_folded(checkpoint.position).await?;
        app.0.user_ids.rely(self.knows_users);
        let mut follow = log.follow(checkpoint.position);
        let mut folder = Folder::new(lease, store, hub);
        let mut heard = Timer::start();
        loop {
            if lease.is_superseded() {
                return Ok(Turn::Over);
            }
            if heard.seconds() > HEARTBEAT.as_secs_f64() {
                heard = Timer::start();
                lease.renew().await?;
                // A log that others have can lose events where nobody here looks for more.
                log.latest().await?;
                if !parking.is_empty() {
                    let healed = heal_retried(log, lease, checkpoint, &mut parking).await?;
                    // Its rows were written beside those that are kept.
                    folder = Folder::new(lease, store, hub);
                    app.0.user_ids.add_all(&healed);
                    hub.wake(&healed);
                }
            }
            let Ok(events) = tokio::time::timeout(HEARTBEAT, follow.next_stored(BATCH)).await else { continue };
            let events = events?;
            let Some(last) = events.last() else { continue };
            checkpoint = at(last);
            let timer = Timer::start();
            let count = events.len();
            let events = log.decode_each(events).await?;
            app.hear_of_users(events.iter().flatten());
            let Folded { events, mut told } = folder.fold(parking.admit(events), checkpoint, &mut parking).await?;
            if log.is_shared() {
                app.hear_of_conversations(&events);
            }
            // Views that were made anew may begin before what was told already.
            told.retain(|(_, item)| item.position > self.told);
            METRICS.fold_time.observe(timer.seconds());
            METRICS.fold_batch.observe(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
            // First whoever waits for an answer, then who is told of it: S4, that somebody is told must not show in
            // how long the answer took.
            self.report(checkpoint.position).await?;
            app.0.user_ids.rely(self.knows_users);
            tokio::task::yield_now().await;
            hub.publish(told);
            self.told = self.told.max(checkpoint.position);
        }
    }

    /// Tells this node's clients what another folds, until it stands still.
    async fn observe(&mut self) -> Result<Turn, ProjectorError> {
        let store = self.app.0.store.clone();
        let mut folded = store.checkpoint_watch();
        self.tell_what_was_folded(store.checkpoint().await?.position).await?;
        loop {
            let applied = self.reporter.applied();
            let moved = async { folded.wait_for(|folded| folded.position != applied).await.map(|folded| folded.position) };
            let position = match tokio::time::timeout(HEARTBEAT, moved).await {
                Ok(Ok(position)) => position,
                Ok(Err(_)) => return Err(StoreError::Unavailable("the read store was closed".into()).into()),
                Err(_) => return Ok(Turn::Over),
            };
            self.tell_what_was_folded(position).await?;
        }
    }

    /// What another node folded since this one's clients were last told: who is concerned looks at the rows, like
    /// somebody who comes back. The rows may be further on than an event.
    async fn tell_what_was_folded(&mut self, position: Position) -> Result<(), ProjectorError> {
        let app = self.app.clone();
        let (log, store, hub) = (&app.0.log, &app.0.store, &app.0.hub);
        let mut concerned = HashSet::new();
        let mut reached = self.told;
        while reached < position {
            let events = log.read_all_stored(reached, BATCH).await?;
            let Some(last) = events.last() else { break };
            reached = last.position;
            // What cannot be read is no news.
            for event in log.decode_each(events).await?.into_iter().flatten().filter(|event| event.position <= position) {
                app.hear_of_users([&event]);
                app.hear_of_conversations([&event]);
                concerned.extend(who_is_concerned(store, &event, hub).await?);
            }
        }
        self.report(position).await?;
        tokio::task::yield_now().await;
        hub.wake(&concerned);
        self.told = self.told.max(position);
        Ok(())
    }

    /// Says to those who wait for it how far the views are. Whoever is told of it is told afterwards, and only then was.
    async fn report(&mut self, position: Position) -> Result<(), StoreError> {
        if !self.knows_users && position >= self.app.0.log.opened_at() {
            self.app.learn_user_ids().await?;
            self.knows_users = true;
        }
        METRICS.views_progress_at.set(self.app.now().0.div_euclid(1_000_000));
        self.reporter.report(position);
        Ok(())
    }
}

fn at(event: &StoredEvent) -> Checkpoint {
    Checkpoint { position: event.position, event: event.id }
}

/// The store's checkpoint, if the log still has the event that it names.
async fn trusted_checkpoint(log: &EventLog, lease: &Lease) -> Result<Checkpoint, ProjectorError> {
    let checkpoint = lease.checkpoint().await?;
    let is_known = checkpoint.position == Position(0) || log.at(checkpoint.position).await?.is_some_and(|event| event.id == checkpoint.event);
    if is_known { Ok(checkpoint) } else { Err(ProjectorError::Diverged(checkpoint.position)) }
}

/// Whose open clients an event may concern: a message its two users, what somebody does for themselves nobody
/// else (B6), a profile its user and those in whose lists they stand, the section everybody.
pub(super) async fn who_is_concerned(store: &ReadStore, recorded: &RecordedEvent, hub: &Hub) -> Result<Vec<UserId>, StoreError> {
    if hub.is_empty() {
        return Ok(vec![]);
    }
    let everybody = match &recorded.event {
        Event::Conversation(event) => {
            let (actor, contact) = event.actor_and_contact();
            let is_message = matches!(event, ConversationEvent::MessageSent(_));
            [Some(actor), is_message.then_some(contact)].into_iter().flatten().cloned().collect()
        }
        Event::User(event) => {
            let mut concerned = store.listed_by(event.user()).await?;
            concerned.push(event.user().clone());
            concerned
        }
        Event::Section(_) => hub.watched(),
        Event::Community(_) => vec![],
    };
    Ok(everybody.into_iter().filter(|viewer| hub.is_watched(viewer)).collect())
}
