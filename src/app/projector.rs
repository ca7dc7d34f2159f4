//! Follows the log, folds a batch in memory, writes each changed row once with the checkpoint, then
//! tells those who wait: commands for what they wrote, open clients for what concerns them.
//!
//! Of the nodes that share a read store one *leads*: it folds and writes, under a lease. The others
//! *observe*: they read in the log what the leader has folded, and tell their own clients. When the leader
//! is gone another takes the lease, tells its clients what it has not yet, and folds on from the checkpoint.

use std::collections::HashSet;
use std::pin::pin;

use tokio::sync::watch;
use tokio::time::Instant;

use super::App;
use super::catching_up::{MEMORY, fold_far};
use super::folder::{Folded, Folder};
use super::following::{BATCH, HEARTBEAT, ProjectorError, at, trusted_checkpoint};
use super::healing::heal_retried;
use super::parking::Parking;
use super::progress::Reporter;
use crate::domain::event::Position;
use crate::domain::ids::UserId;
use crate::event_log::{Follow, StoredEvent};
use crate::metrics::{METRICS, Timer};
use crate::read_store::{Checkpoint, InboxItem, ItemChange, Lease, StoreError};
use crate::storage::Backoff;

/// So many positions behind, the log is folded in bulk. On KurrentDB these are bytes, and it is sooner.
const FAR: u64 = 4 * BATCH as u64;

/// Leads or observes, for ever; until told to stop.
///
/// # Errors
/// When the log cannot be read or the views cannot be written, and waiting does not help; whoever waits is told.
pub async fn run(app: App, reporter: Reporter, stop: watch::Receiver<bool>) -> Result<(), ProjectorError> {
    let node = app.new_id();
    // From where on this node must hear of erasures, whoever folds them: its keys were read there.
    let told = app.0.log.opened_at();
    let mut projector = Projector { app, reporter, told, knows_users: false, waits: false };
    let mut backoff = Backoff::new();
    loop {
        let before = projector.reporter.applied();
        let outcome = projector.take_a_turn(node, stop.clone()).await;
        if projector.reporter.applied() != before {
            backoff.reset();
        }
        match outcome {
            Ok(Turn::Stopped) => return Ok(()),
            Ok(Turn::Over) => {
                projector.goes_on();
                backoff.reset();
            }
            Err(ProjectorError::Store(StoreError::Fenced)) => tracing::warn!("another node leads the views now"),
            Err(error) if error.is_passing() => {
                match error {
                    ProjectorError::Store(StoreError::Unavailable(_)) => projector.reporter.doubt(),
                    ProjectorError::Store(StoreError::NoRoom) => projector.reporter.has_no_room(),
                    _ => {}
                }
                if !std::mem::replace(&mut projector.waits, true) {
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
    /// Whether it was said that the views wait for a store, and not yet that they go on.
    waits: bool,
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
        let (log, hub) = (&app.0.log, &app.0.hub);
        log.read_anew();
        let mut checkpoint = trusted_checkpoint(log, lease).await?;
        METRICS.projector_leads.set(1);
        let mut parking = Parking::of(&lease.parked().await?);
        let healed = heal_retried(log, lease, checkpoint, &mut parking).await?;
        app.0.user_ids.add_all(&healed);
        if log.latest().await?.0.saturating_sub(checkpoint.position.0) > FAR {
            checkpoint = fold_far(log, lease, checkpoint, Position(u64::MAX), MEMORY, &mut parking, |_| {}).await?;
        }
        self.tell_what_was_folded(checkpoint.position).await?;
        hub.publish(anew(healed, checkpoint.position));
        app.0.user_ids.rely(self.knows_users);
        let mut follow = log.follow(checkpoint.position);
        let folder = Folder::new(lease, &app.0.store, hub);
        let mut leading = Leading { app: &app, lease, checkpoint, parking, folder, renewed: Instant::now() };
        while let Some(events) = leading.next_events(&mut follow).await? {
            let mut told = leading.fold(events).await?;
            let position = leading.checkpoint.position;
            // Views that were made anew may begin before what was told already.
            told.retain(|(_, item)| item.position > self.told);
            // First whoever waits for an answer, then who is told of it: S4, that somebody is told must not show in
            // how long the answer took.
            self.report(position).await?;
            app.0.user_ids.rely(self.knows_users);
            tokio::task::yield_now().await;
            hub.publish(told);
            self.told = self.told.max(position);
        }
        Ok(Turn::Over)
    }

    /// Tells this node's clients what another folds, until it stands still.
    async fn observe(&mut self) -> Result<Turn, ProjectorError> {
        let store = self.app.0.store.clone();
        let mut folded = store.checkpoint_watch();
        self.tell_what_was_folded(store.checkpoint().await?.position).await?;
        loop {
            let applied = self.reporter.applied();
            // What was heard last may be older than what was just read. A server that may have lost commits is heard of as at 0.
            let is_news = |folded: &Checkpoint| folded.position > applied || folded.position == Position(0) && applied > Position(0);
            let moved = async { folded.wait_for(is_news).await.map(|folded| folded.position) };
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
                concerned.extend(hub.who_is_concerned(store, &event).await?);
            }
        }
        self.report(position).await?;
        tokio::task::yield_now().await;
        hub.wake(&concerned);
        self.told = self.told.max(position);
        Ok(())
    }

    /// Says once that an outage is over.
    fn goes_on(&mut self) {
        if std::mem::replace(&mut self.waits, false) {
            tracing::info!("the views follow the log again");
        }
    }

    /// Says how far the views are, upon which commands that wait are answered. Before it is said for the first time that they are past
    /// the log's opening, all users' ids are read: whoever is answered must find them known.
    async fn report(&mut self, position: Position) -> Result<(), StoreError> {
        if !self.knows_users && position >= self.app.0.log.opened_at() {
            self.app.learn_user_ids().await?;
            self.knows_users = true;
        }
        if position > self.reporter.applied() {
            self.goes_on();
        }
        METRICS.views_progress_at.set(self.app.now().0.div_euclid(1_000_000));
        self.reporter.report(position);
        Ok(())
    }
}

/// A node's turn to fold: what it knows of the views, which nobody else changes meanwhile.
struct Leading<'a> {
    app: &'a App,
    lease: &'a Lease,
    checkpoint: Checkpoint,
    parking: Parking,
    folder: Folder<'a>,
    /// When the lease was renewed last.
    renewed: Instant,
}

impl Leading<'_> {
    /// The next events, as soon as there are some; none where other views took the place of these.
    async fn next_events(&mut self, follow: &mut Follow) -> Result<Option<Vec<StoredEvent>>, ProjectorError> {
        let mut next = pin!(follow.next_stored(BATCH));
        loop {
            if self.lease.is_superseded() {
                return Ok(None);
            }
            if self.renewed.elapsed() > HEARTBEAT {
                self.beat().await?;
            }
            // A log that takes longer is waited for: asked anew each time, it would never answer.
            if let Ok(events) = tokio::time::timeout(HEARTBEAT, next.as_mut()).await {
                return Ok(Some(events?));
            }
        }
    }

    /// Renews the lease, and looks for what nobody tells of.
    async fn beat(&mut self) -> Result<(), ProjectorError> {
        let (app, lease) = (self.app, self.lease);
        self.renewed = Instant::now();
        lease.renew().await?;
        // A log that others have can lose events where nobody here looks for more.
        app.0.log.latest().await?;
        if !self.parking.is_empty() {
            let healed = heal_retried(&app.0.log, lease, self.checkpoint, &mut self.parking).await?;
            // Its rows were written beside those that are kept.
            self.folder = Folder::new(lease, &app.0.store, &app.0.hub);
            app.0.user_ids.add_all(&healed);
            app.0.hub.publish(anew(healed, self.checkpoint.position));
        }
        Ok(())
    }

    /// Folds a batch and writes its rows with the checkpoint. Returns what watched users are told.
    async fn fold(&mut self, events: Vec<StoredEvent>) -> Result<Vec<(UserId, InboxItem)>, ProjectorError> {
        let Some(last) = events.last() else { return Ok(vec![]) };
        self.checkpoint = at(last);
        let (timer, count) = (Timer::start(), events.len());
        let events = self.app.0.log.decode_each(events).await?;
        self.app.hear_of_users(events.iter().flatten());
        let events = self.parking.without_unreadable(events);
        let Folded { events, told } = self.folder.fold(events, self.checkpoint, &mut self.parking).await?;
        if self.app.0.log.is_shared() {
            self.app.hear_of_conversations(&events);
        }
        METRICS.fold_time.observe(timer.seconds());
        METRICS.fold_batch.observe(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        Ok(told)
    }
}

/// What was healed is of events that clients are past: they read everything again.
fn anew(healed: HashSet<UserId>, position: Position) -> Vec<(UserId, InboxItem)> {
    healed.into_iter().map(|user| (user, InboxItem { position, change: ItemChange::EverythingChanged })).collect()
}
