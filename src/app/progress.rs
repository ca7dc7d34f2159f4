//! How far the views are: reported by the projector, waited for by everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use super::Fault;
use crate::domain::event::Position;
use crate::read_store::StoreError;

/// How far the views are.
#[derive(Clone)]
pub struct Progress {
    applied: watch::Receiver<Position>,
    /// The furthest that was ever reported: what clients may have seen.
    shown: Arc<AtomicU64>,
    /// The furthest that was answered for before the views showed it: what clients may look for.
    answered: Arc<AtomicU64>,
    has_room: Arc<AtomicBool>,
}

/// The other end of a [`Progress`], for the projector.
pub struct Reporter {
    applied: watch::Sender<Position>,
    shown: Arc<AtomicU64>,
    /// Whether the views' disk has any.
    has_room: Arc<AtomicBool>,
}

/// A report of how far the views are, beginning before the first event.
#[must_use]
pub fn progress() -> (Reporter, Progress) {
    let (sender, applied) = watch::channel(Position(0));
    let shown = Arc::new(AtomicU64::new(0));
    let has_room = Arc::new(AtomicBool::new(true));
    let reporter = Reporter { applied: sender, shown: Arc::clone(&shown), has_room: Arc::clone(&has_room) };
    (reporter, Progress { applied, shown, answered: Arc::default(), has_room })
}

impl Reporter {
    /// The views are at a position. A read store that crashed may be at an earlier one than before.
    pub(super) fn report(&self, position: Position) {
        self.shown.fetch_max(position.0, Ordering::Relaxed);
        self.has_room.store(true, Ordering::Release);
        self.applied.send_replace(position);
    }

    /// They stand still until there is room on their disk: nobody is to wait for that.
    pub(super) fn has_no_room(&self) {
        self.has_room.store(false, Ordering::Release);
        self.applied.send_modify(|_| {});
    }

    pub(super) fn applied(&self) -> Position {
        *self.applied.borrow()
    }

    /// How far they are is not known: a read store that went away may come back without its last commits.
    pub(super) fn doubt(&self) {
        self.applied.send_replace(Position(0));
    }
}

impl Progress {
    #[must_use]
    pub fn applied(&self) -> Position {
        *self.applied.borrow()
    }

    /// Waits until the views show an event. Not while they have no room for it.
    pub(super) async fn reached(&self, position: Position) -> Result<(), Fault> {
        let mut applied = self.applied.clone();
        let is_over = |applied: &Position| *applied >= position || !self.has_room.load(Ordering::Acquire);
        let applied = *applied.wait_for(is_over).await.map_err(|_| Fault::Stalled)?;
        if applied >= position { Ok(()) } else { Err(StoreError::NoRoom.into()) }
    }

    /// Waits until the views are within `most` positions of an event. From now on every query waits until they show it.
    pub(super) async fn answer_ahead(&self, position: Position, most: u64) -> Result<(), Fault> {
        self.answered.fetch_max(position.0, Ordering::Release);
        self.reached(Position(position.0.saturating_sub(most))).await
    }

    /// Waits until the views show whatever was answered for, and what they have shown before.
    pub(super) async fn up_to_date(&self) -> Result<(), Fault> {
        let known = self.answered.load(Ordering::Acquire).max(self.shown.load(Ordering::Relaxed));
        self.reached(Position(known)).await
    }

    /// Waits until the views show what they have shown before.
    pub(super) async fn as_shown_before(&self) -> Result<(), Fault> {
        self.reached(Position(self.shown.load(Ordering::Relaxed))).await
    }
}
