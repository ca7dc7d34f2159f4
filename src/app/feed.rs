//! What open clients are told: live items pushed by the projector, and on return everything missed,
//! with no gap and nothing twice across the hand-over.
//!
//! A subscription watches first and reads after, then drops what it read already. One that is too slow
//! for its queue is not skipped over: it reads what it missed like one that comes back.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::access::Viewer;
use super::{App, AppError};
use crate::domain::conversation::ConversationEvent;
use crate::domain::event::{Event, Position, RecordedEvent};
use crate::domain::ids::UserId;
use crate::metrics::{Held, METRICS};
use crate::read_store::{InboxItem, ItemChange, Missed, ReadStore, StoreError};

/// Items that may wait for one subscription.
const WAITING: usize = 256;

/// Who listens, by user.
#[derive(Default)]
pub(super) struct Hub {
    listeners: Mutex<HashMap<UserId, Vec<mpsc::Sender<Arc<InboxItem>>>>>,
}

impl Hub {
    fn listen(&self, user: &UserId) -> mpsc::Receiver<Arc<InboxItem>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut listeners = self.lock();
        let own = listeners.entry(user.clone()).or_default();
        own.retain(|listener| !listener.is_closed());
        own.push(sender);
        receiver
    }

    /// Forgets listeners that are gone.
    fn sweep(&self, user: &UserId) {
        let mut listeners = self.lock();
        if let Some(own) = listeners.get_mut(user) {
            own.retain(|listener| !listener.is_closed());
            if own.is_empty() {
                listeners.remove(user);
            }
        }
    }

    pub(super) fn is_watched(&self, user: &UserId) -> bool {
        self.lock().contains_key(user)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn watched(&self) -> Vec<UserId> {
        self.lock().keys().cloned().collect()
    }

    /// Lets the listeners of some users go: each comes back and reads what it missed.
    pub(super) fn wake(&self, users: &HashSet<UserId>) {
        let mut listeners = self.lock();
        for user in users {
            listeners.remove(user);
        }
    }

    /// A listener whose queue is full is let go: it comes back and reads what it missed.
    pub(super) fn publish(&self, told: Vec<(UserId, InboxItem)>) {
        let mut listeners = self.lock();
        for (user, item) in told {
            let Entry::Occupied(mut own) = listeners.entry(user) else { continue };
            let item = Arc::new(item);
            own.get_mut().retain(|listener| hand_over(listener, &item));
            if own.get().is_empty() {
                own.remove();
            }
        }
    }

    /// Whose open clients an event may concern: a message its two users, what somebody does for themselves nobody
    /// else (B6), a profile its user and those in whose lists they stand, the section everybody.
    pub(super) async fn who_is_concerned(&self, store: &ReadStore, recorded: &RecordedEvent) -> Result<Vec<UserId>, StoreError> {
        if self.is_empty() {
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
            Event::Section(_) => self.watched(),
            Event::Community(_) => vec![],
        };
        Ok(everybody.into_iter().filter(|viewer| self.is_watched(viewer)).collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, Vec<mpsc::Sender<Arc<InboxItem>>>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a listener is still one.
fn hand_over(listener: &mpsc::Sender<Arc<InboxItem>>, item: &Arc<InboxItem>) -> bool {
    match listener.try_send(Arc::clone(item)) {
        Ok(()) => {
            METRICS.inbox_items.inc();
            true
        }
        Err(mpsc::error::TrySendError::Full(_)) => {
            METRICS.inbox_dropped.inc();
            false
        }
        Err(mpsc::error::TrySendError::Closed(_)) => false,
    }
}

/// One thing that a subscription says. Each has its position, to resume after.
#[derive(Clone, Debug)]
pub enum Told {
    Item(InboxItem),
    /// All that was missed has been told: live from here.
    CaughtUp(Position),
    /// Too much was missed, the cursor means nothing here, or the viewer was erased: query afresh. Live from here.
    ResetRequired(Position),
}

impl Told {
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Item(item) => item.position,
            Self::CaughtUp(position) | Self::ResetRequired(position) => *position,
        }
    }
}

/// Removes a subscription's listener from the hub when it ends, however it ends.
struct Subscription {
    live: mpsc::Receiver<Arc<InboxItem>>,
    hub: Arc<Hub>,
    user: UserId,
    _counted: Held,
}

impl Subscription {
    fn start(app: &App, viewer: &Viewer) -> Self {
        let (hub, user) = (Arc::clone(&app.0.hub), viewer.id().clone());
        Self { live: hub.listen(&user), hub, user, _counted: Held::one(&METRICS.subscriptions) }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.live.close();
        self.hub.sweep(&self.user);
    }
}

impl App {
    /// Everything that concerns the viewer after a cursor, then live; live from now on without one.
    /// Ends only after an error.
    pub fn inbox(&self, viewer: &Viewer, after: Option<&str>) -> impl Stream<Item = Result<Told, AppError>> + Send + use<> {
        let start = match after {
            None => Start::Now,
            Some(cursor) => self.0.cursors.open(viewer.id(), cursor).map_or(Start::Nowhere, Start::After),
        };
        let reader = InboxReader::new(self.clone(), viewer.clone(), start);
        futures_util::stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(told) => Some((Ok(told), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The cursor to resume after something that was told.
    #[must_use]
    pub fn inbox_cursor(&self, viewer: &Viewer, position: Position) -> String {
        let [.., a, b, c, d] = *self.new_id().as_bytes();
        self.0.cursors.seal(viewer.id(), position, [a, b, c, d])
    }
}

/// From where a subscription begins, or begins again.
#[derive(Clone, Copy)]
enum Start {
    Now,
    After(Position),
    /// A cursor that is not valid here.
    Nowhere,
    /// After what was told before the queue overflowed.
    Again(Position),
}

/// One subscription's state between two items.
struct InboxReader {
    app: App,
    viewer: Viewer,
    subscription: Subscription,
    /// Set while what was missed has yet to be read.
    start: Option<Start>,
    pending: VecDeque<Told>,
    /// The position of the last thing told.
    told: Position,
    /// Live items up to here were read from the store already.
    read_to: Position,
}

impl InboxReader {
    fn new(app: App, viewer: Viewer, start: Start) -> Self {
        let subscription = Subscription::start(&app, &viewer);
        Self { app, viewer, subscription, start: Some(start), pending: VecDeque::new(), told: Position(0), read_to: Position(0) }
    }

    async fn next(&mut self) -> Result<Told, AppError> {
        loop {
            if let Some(told) = self.pending.pop_front() {
                self.told = told.position();
                return Ok(told);
            }
            self.pending = VecDeque::new();
            if let Some(start) = self.start.take() {
                // In a box, which is not there while nothing is told; nor is the queue.
                Box::pin(self.begin(start)).await?;
                continue;
            }
            match self.subscription.live.recv().await {
                // What was folded late may be older than what this client was told last: it is told the newer position.
                Some(item) if item.change == ItemChange::EverythingChanged => {
                    let position = item.position.max(self.read_to).max(self.told);
                    self.pending.extend([Told::ResetRequired(position), Told::CaughtUp(position)]);
                }
                // What a node that took over folds again was told already.
                Some(item) if item.position <= self.read_to.max(self.told) => {}
                Some(item) => self.pending.push_back(Told::Item(Arc::unwrap_or_clone(item))),
                None => {
                    self.subscription = Subscription::start(&self.app, &self.viewer);
                    self.start = Some(Start::Again(self.told));
                }
            }
        }
    }

    /// Reads what was missed. A batch that was being folded when the subscription began may not know of
    /// it, so first everything that was in the log by then must be in the views.
    async fn begin(&mut self, start: Start) -> Result<(), AppError> {
        let inner = &self.app.0;
        let now = self.app.views_reach_head().await?;
        let missed = match start {
            Start::After(position) | Start::Again(position) if position <= now => {
                inner.store.missed(self.viewer.id(), position, inner.settings.resume_limit).await?
            }
            Start::Now => Missed::Items { items: vec![], up_to: now },
            Start::After(_) | Start::Again(_) | Start::Nowhere => Missed::Everything { up_to: now },
        };
        let (caught_up, up_to) = match missed {
            Missed::Items { items, up_to } => {
                self.pending.extend(items.into_iter().map(Told::Item));
                (!matches!(start, Start::Again(_)), up_to)
            }
            Missed::Everything { up_to } => {
                self.pending.push_back(Told::ResetRequired(up_to));
                (true, up_to)
            }
        };
        if caught_up {
            self.pending.push_back(Told::CaughtUp(up_to));
        }
        self.read_to = up_to;
        Ok(())
    }
}
