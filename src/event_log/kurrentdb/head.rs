//! Where the log ends, as far as this node knows. A subscription wakes those who wait for more; what it says
//! is read by nobody. It has a thread of its own: the client's never comes back when a subscription ends
//! cleanly, which would hold one of the service's own threads for ever. A thread that is held like that is
//! given up, once; from then on the log is looked at instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kurrentdb::{Error, Position as LogPosition, StreamPosition, SubscribeToAllOptions, Subscription, SubscriptionEvent, SubscriptionFilter};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection::Connection;
use super::{STREAMS, latest};
use crate::domain::event::Position;
use crate::event_log::advance;
use crate::storage::Backoff;

/// How often the log is looked at, in case the subscription is silent.
const NOW_AND_THEN: Duration = Duration::from_secs(1);
/// The same once there is no subscription any more.
const OFTEN: Duration = Duration::from_millis(50);
/// Subscriptions that may be given up: each keeps a core busy, where it ended cleanly.
const GIVEN_UP: u64 = 1;
/// Events that a filter passes over between two checkpoints, in steps of the database's own.
const CHECKPOINT_EVERY: u32 = 1_000;

/// The known end of the log.
pub(super) struct Head {
    position: Arc<watch::Sender<Position>>,
    looking: JoinHandle<()>,
    /// Which subscription is listened to; others end when they notice.
    subscription: Arc<AtomicU64>,
}

impl Drop for Head {
    fn drop(&mut self) {
        self.looking.abort();
        self.subscription.store(u64::MAX, Ordering::SeqCst);
    }
}

impl Head {
    pub(super) fn follow(connection: &Connection, from: Position) -> Self {
        let position = Arc::new(watch::channel(from).0);
        let subscription = Arc::new(AtomicU64::new(0));
        let looking = tokio::spawn(look(connection.clone(), Arc::clone(&position), Arc::clone(&subscription)));
        Self { position, looking, subscription }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    pub(super) fn advance(&self, to: Position) {
        advance(&self.position, to);
    }
}

/// Looks now and then, and begins another subscription where one has missed something twice running.
async fn look(connection: Connection, head: Arc<watch::Sender<Position>>, current: Arc<AtomicU64>) {
    let events = Arc::new(AtomicU64::new(0));
    let subscribe = |number| {
        let (connection, head, current, events) = (connection.clone(), Arc::clone(&head), Arc::clone(&current), Arc::clone(&events));
        let listen = move || listen(&connection, &head, number, &current, &events);
        thread::Builder::new().name("event-log-head".into()).spawn(listen).expect("a thread can be started");
    };
    subscribe(0);
    let mut missed = 0;
    loop {
        let number = current.load(Ordering::SeqCst);
        tokio::time::sleep(if number < GIVEN_UP { NOW_AND_THEN } else { OFTEN }).await;
        let events_before = events.load(Ordering::SeqCst);
        let Ok(latest) = latest(&connection).await else { continue };
        let is_news = latest > *head.borrow();
        advance(&head, latest);
        missed = if is_news && events.load(Ordering::SeqCst) == events_before { missed + 1 } else { 0 };
        if missed >= 2 && number < GIVEN_UP {
            missed = 0;
            current.store(number + 1, Ordering::SeqCst);
            tracing::warn!(place = connection.place(), "a subscription was silent and is given up");
            if number + 1 < GIVEN_UP {
                subscribe(number + 1);
            }
        }
    }
}

/// Subscribes again and again from what is known, until another subscription is the current one.
fn listen(connection: &Connection, head: &watch::Sender<Position>, number: u64, current: &AtomicU64, events: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let is_current = || current.load(Ordering::SeqCst) == number;
    runtime.block_on(async {
        let (mut backoff, mut redirected) = (Backoff::new(), None);
        while is_current() {
            if let Ok(client) = redirected.take().map_or_else(|| connection.client(), Ok) {
                let from = match *head.borrow() {
                    Position(0) => StreamPosition::Start,
                    Position(commit) => StreamPosition::Position(LogPosition { commit, prepare: commit }),
                };
                let filter = SubscriptionFilter::on_stream_name().regex(STREAMS).max(CHECKPOINT_EVERY);
                let options = SubscribeToAllOptions::default().position(from).filter(filter).requires_leader(true);
                let mut subscription = client.subscribe_to_all(&options).await;
                while let Some(event) = next_while(is_current, &mut subscription).await {
                    match event {
                        Ok(SubscriptionEvent::EventAppeared(event)) => {
                            events.fetch_add(1, Ordering::SeqCst);
                            backoff.reset();
                            advance(head, Position(event.get_original_event().position.commit));
                        }
                        Ok(_) => {}
                        Err(error) => {
                            tracing::debug!(%error, place = connection.place(), "a subscription ended");
                            // It goes to the leader by itself.
                            redirected = matches!(error, Error::NotLeaderException(_)).then(|| client.clone());
                            break;
                        }
                    }
                }
            }
            backoff.wait().await;
        }
    });
}

/// The next event; none once the subscription is not the current one any more. A call that is dropped would make the client
/// subscribe anew, so it is not while it is waited for.
async fn next_while(is_current: impl Fn() -> bool, subscription: &mut Subscription) -> Option<Result<SubscriptionEvent, Error>> {
    let next = subscription.next_subscription_event();
    tokio::pin!(next);
    while is_current() {
        if let Ok(event) = tokio::time::timeout(NOW_AND_THEN, &mut next).await {
            return Some(event);
        }
    }
    None
}
