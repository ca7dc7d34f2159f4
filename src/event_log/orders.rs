//! What a writer is asked for, whatever it writes to: drafts that wait, taken a batch at a time, each
//! answered by itself; and the rules by which one is admitted.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::copy::{CopyError, not_written};
use super::keys::Key;
use super::{Append, LogError, StoredEvent, codec};
use crate::domain::event::{Event, Position, Timestamp};
use crate::domain::ids::UserId;
use crate::metrics::{METRICS, Timer};

/// The most drafts of one batch.
const BATCH: usize = 512;
/// Drafts that may wait for the writer; more wait outside.
const WAITING: usize = 1_024;
/// From so many orders on, a batch waits for more.
const SEVERAL: usize = 4;
/// With so many it waits no longer.
const MANY: usize = 48;
/// How long a batch waits at a time.
const PAUSE: Duration = Duration::from_micros(400);
/// How often a batch waits at most.
const PAUSES: usize = 3;

/// Events to write together to one stream. Positions are the writer's to give.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The version of the stream that they come after.
    pub(super) expected: u64,
    /// At least one, of one stream, with their versions.
    pub(super) events: Vec<StoredEvent>,
    pub(super) times: Times,
}

/// Whose times events have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// The writer's, later than all before.
    OfWriting,
    /// Their own, as another log had them.
    Kept,
}

/// What became of a draft.
pub(super) type Outcome = Result<Vec<StoredEvent>, NotWritten>;

/// Why nothing of a draft was written.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// The stream is at another version.
    Conflict(u64),
    /// Another event has one of the ids: it is given, but where KurrentDB has a claim whose event never came.
    IdTaken(Option<Box<StoredEvent>>),
    Log(LogError),
}

impl Draft {
    /// What an append asks for, with its authors' keys.
    pub(super) fn new(append: &Append, keys: &HashMap<UserId, Key>) -> Self {
        let stored = |((id, event), version): (&(Uuid, Event), u64)| {
            let (kind, data) = codec::encode(event, *id, codec::author(event).and_then(|author| keys.get(author)));
            StoredEvent {
                position: Position(0),
                stream: append.stream.to_string(),
                version,
                id: *id,
                kind: kind.to_owned(),
                at: Timestamp(0),
                actor: append.metadata.actor.as_ref().map(UserId::to_string),
                correlation: append.metadata.correlation,
                causation: append.metadata.causation,
                data,
            }
        };
        Self { expected: append.expected, events: append.events.iter().zip(append.expected + 1..).map(stored).collect(), times: Times::OfWriting }
    }

    /// Events of another log, each stream's neighbours together.
    pub(super) fn of_stored(events: Vec<StoredEvent>) -> Vec<Self> {
        let mut drafts: Vec<Self> = Vec::new();
        for event in events {
            match drafts.last_mut() {
                Some(draft) if draft.events[0].stream == event.stream => draft.events.push(event),
                _ => drafts.push(Self { expected: event.version.saturating_sub(1), events: vec![event], times: Times::Kept }),
            }
        }
        drafts
    }

    /// Gives the events the positions after the last one, and their times.
    pub(super) fn place(&mut self, position: &mut Position, at: &mut Timestamp, now: Timestamp) {
        for event in &mut self.events {
            position.0 += 1;
            event.position = *position;
            if self.times == Times::OfWriting {
                event.at = Timestamp(now.0.max(at.0 + 1));
            }
            *at = event.at.max(*at);
        }
    }

    /// What becomes of a draft some of whose ids are known already: ids are looked at before versions, for a
    /// repeated append is known by its ids however far its stream went on. None where no id is known.
    pub(super) fn repeated(&self, known: Vec<StoredEvent>) -> Option<Outcome> {
        let first = known.first()?;
        let is_same = |(known, draft): (&StoredEvent, &StoredEvent)| {
            (&known.stream, known.version, &known.kind, &known.data) == (&draft.stream, draft.version, &draft.kind, &draft.data)
        };
        let same = known.len() == self.events.len() && known.iter().zip(&self.events).all(is_same);
        Some(if same { Ok(known) } else { Err(NotWritten::IdTaken(Some(Box::new(first.clone())))) })
    }
}

/// A writer as those see it who ask. Cheap to clone; none for a log that is only read.
#[derive(Clone)]
pub(super) struct Orders {
    drafts: Option<mpsc::Sender<Order>>,
    /// Tells when the writer has ended.
    ended: watch::Receiver<bool>,
}

enum Order {
    Write(Draft, oneshot::Sender<Outcome>),
    Close,
}

/// The writer's end. The log is closed when it is dropped.
pub(super) struct Waiting {
    drafts: mpsc::Receiver<Order>,
    ended: watch::Sender<bool>,
    closing: bool,
}

/// A place to order, and the place to take the orders.
pub(super) fn orders() -> (Orders, Waiting) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let (end, ended) = watch::channel(false);
    (Orders { drafts: Some(sender), ended }, Waiting { drafts: receiver, ended: end, closing: false })
}

impl Orders {
    /// No writer at all.
    pub(super) fn none() -> Self {
        Self { drafts: None, ended: watch::channel(true).1 }
    }

    /// Writes events as another log had them, in their order.
    pub(super) async fn import(&self, events: Vec<StoredEvent>) -> Result<(), CopyError> {
        let mut ordered = Vec::new();
        for draft in Draft::of_stored(events) {
            let first = draft.events[0].clone();
            ordered.push((first, self.order(draft).await.map_err(CopyError::Log)?));
        }
        for (first, answered) in ordered {
            match answered.await.unwrap_or_else(|_| Err(NotWritten::Log(stopped()))) {
                Ok(_) => {}
                Err(NotWritten::Conflict(version)) => return Err(not_written(&first, &format!("the stream is at version {version}"))),
                Err(NotWritten::IdTaken(_)) => return Err(not_written(&first, "the id is taken")),
                Err(NotWritten::Log(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) async fn write(&self, draft: Draft) -> Outcome {
        let answered = self.order(draft).await.map_err(NotWritten::Log)?;
        answered.await.unwrap_or_else(|_| Err(NotWritten::Log(stopped())))
    }

    /// Gives a draft to the writer, which takes them in the order that they come.
    async fn order(&self, draft: Draft) -> Result<oneshot::Receiver<Outcome>, LogError> {
        let drafts = self.drafts.as_ref().ok_or_else(stopped)?;
        let (answer, answered) = oneshot::channel();
        drafts.send(Order::Write(draft, answer)).await.map_err(|_| stopped())?;
        Ok(answered)
    }

    /// Lets what waits be written, and comes back when the writer has ended.
    pub(super) async fn close(&self) {
        if let Some(drafts) = &self.drafts {
            let _already_closed = drafts.send(Order::Close).await;
            self.ended().await;
        }
    }

    /// Comes back when there is no writer any more.
    pub(super) async fn ended(&self) {
        let mut ended = self.ended.clone();
        let _writer_gone = ended.wait_for(|ended| *ended).await;
    }
}

fn stopped() -> LogError {
    LogError::Stopped("it takes no more events".into())
}

impl Waiting {
    /// What waits, at least one draft; none when the log is to be closed.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        while !self.closing {
            let mut orders = Vec::with_capacity(BATCH);
            if self.drafts.recv_many(&mut orders, BATCH).await == 0 {
                return None;
            }
            self.gather(&mut orders).await;
            if let Some(batch) = self.batch(orders) {
                return Some(batch);
            }
        }
        None
    }

    /// Lets all who were woken together with the first order, before it is written alone.
    async fn gather(&mut self, orders: &mut Vec<Order>) {
        let mut before = 0;
        while before < orders.len() && orders.len() < BATCH {
            before = orders.len();
            tokio::task::yield_now().await;
            self.take_what_waits(orders);
        }
    }

    /// Waits a moment for more where several came at once, and again as long as more come: a commit costs as much as many
    /// events. One who is alone is not kept waiting.
    fn linger(&mut self, orders: &mut Vec<Order>) {
        for _ in 0..PAUSES {
            let before = orders.len();
            if !(SEVERAL..MANY).contains(&before) {
                return;
            }
            thread::sleep(PAUSE);
            self.take_what_waits(orders);
            if orders.len() == before {
                return;
            }
        }
    }

    fn take_what_waits(&mut self, orders: &mut Vec<Order>) {
        while let Some(order) = (orders.len() < BATCH).then(|| self.drafts.try_recv().ok()).flatten() {
            orders.push(order);
        }
    }

    /// The same, on a thread of its own.
    pub(super) fn blocking_next(&mut self) -> Option<Batch> {
        while !self.closing {
            let mut orders = Vec::with_capacity(BATCH);
            if self.drafts.blocking_recv_many(&mut orders, BATCH) == 0 {
                return None;
            }
            self.linger(&mut orders);
            if let Some(batch) = self.batch(orders) {
                return Some(batch);
            }
        }
        None
    }

    fn batch(&mut self, orders: Vec<Order>) -> Option<Batch> {
        let mut batch = Batch { drafts: Vec::with_capacity(orders.len()), answers: Vec::with_capacity(orders.len()), timer: Timer::start() };
        for order in orders {
            match order {
                Order::Write(draft, answer) => {
                    batch.drafts.push(draft);
                    batch.answers.push(answer);
                }
                Order::Close => self.closing = true,
            }
        }
        (!batch.drafts.is_empty()).then_some(batch)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.ended.send_replace(true);
    }
}

/// Drafts that are written together, and who waits for what becomes of them.
pub(super) struct Batch {
    pub(super) drafts: Vec<Draft>,
    answers: Vec<oneshot::Sender<Outcome>>,
    timer: Timer,
}

impl Batch {
    /// Each draft's outcome, in order.
    pub(super) fn answer(self, outcomes: Vec<Outcome>) {
        METRICS.append_time.observe(self.timer.seconds());
        METRICS.append_batch.observe(f64::from(u32::try_from(self.answers.len()).unwrap_or(u32::MAX)));
        for (answer, outcome) in self.answers.into_iter().zip(outcomes) {
            let _asker_left = answer.send(outcome);
        }
    }

    /// Nothing can be written any more.
    pub(super) fn fail(self, error: &LogError) {
        for answer in self.answers {
            let _asker_left = answer.send(Err(NotWritten::Log(error.clone())));
        }
    }
}
