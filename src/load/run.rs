//! The load itself. *At full speed*: so many clients that each ask again as soon as they are answered. *Paced*: at a
//! rate, each operation at its appointed time whether those before it are answered or not, and measured from then; so
//! a service that stalls is seen to stall, which clients that wait for it would hide.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::LoadError;
use super::client::{Client, Inbox, Outcome};
use super::latencies::Latencies;

const LIST: &str =
    "{ conversations(first: 50) { edges { node { id blocked unreadCount lastMessageAt contact { id name avatarUrl } lastMessage { id text } } } } }";
const HISTORY: &str = "query($with: ID!) { conversation(with: $with) { messages(last: 50) { edges { node { id text sentAt mine } } } } }";
const SEND: &str = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id sentAt } userErrors { code } } }";
const TEXT: &str = "A message as one sends them every day, neither long nor short.";

/// Messages that are on their way to those who follow their inboxes, and how long those took that came.
#[derive(Clone, Default)]
struct Awaited {
    /// To whom each is on its way, and since when. Whoever sent it is told, too.
    due: Arc<Mutex<HashMap<String, (usize, Instant)>>>,
    delivered: Arc<Mutex<Latencies>>,
}

impl Awaited {
    /// Somebody's inbox told of a message.
    fn came(&self, id: &str, to: usize) {
        let mut due = lock(&self.due);
        if due.get(id).is_some_and(|(awaits, _)| *awaits == to)
            && let Some((_, since)) = due.remove(id)
        {
            lock(&self.delivered).record(since.elapsed());
        }
    }

    /// Waits for what was sent and is on its way.
    async fn all_delivered(&self, expected: usize) -> Result<(), LoadError> {
        let all = async {
            while lock(&self.delivered).count() < expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.map_err(|_| {
            let missing = expected - lock(&self.delivered).count();
            LoadError::Wrong(format!("{missing} of {expected} messages were not delivered"))
        })
    }
}

/// Whose lists are read, and how long those, and their histories, are made.
const READERS: usize = 20;
const ROWS: usize = 50;
/// Whose inboxes are followed while messages are delivered.
const FOLLOWERS: usize = 50;
/// How long the last deliveries may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection is kept on which nothing is asked; a service closes it some time.
const KEPT: Duration = Duration::from_secs(10);
/// Sockets that are opened at once.
const OPENED: usize = 50;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients at full speed.
    pub clients: usize,
    /// Pairs of users who write to each other in turn.
    pub pairs: usize,
    /// Messages a second, when paced.
    pub rate: u32,
    /// How long each figure is measured.
    pub duration: Duration,
    /// Sockets that follow an inbox in which nothing happens.
    pub idle: usize,
}

/// A service, and its users with a token each.
#[derive(Clone)]
pub struct Target {
    host: Arc<str>,
    users: Arc<[(String, String)]>,
    new_id: fn() -> Uuid,
}

/// What was measured. Milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub what: &'static str,
    pub count: usize,
    pub per_second: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
    /// Refused by a rule of the product.
    pub refused: u64,
    /// Refused because there was too much to do.
    pub shed: u64,
}

impl Target {
    /// `users`: two at least, ids and tokens.
    #[must_use]
    pub fn new(host: &str, users: Vec<(String, String)>, new_id: fn() -> Uuid) -> Self {
        Self { host: host.into(), users: users.into(), new_id }
    }

    /// Signs everybody in, which registers who is new. `told` hears how many.
    ///
    /// # Errors
    /// When the service cannot be reached, or refuses one of them.
    pub async fn register(&self, told: impl Fn(u64)) -> Result<(), LoadError> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..16 {
            let (target, next) = (self.clone(), Arc::clone(&next));
            clients.spawn(async move {
                let mut client = Client::connect(&target.host).await?;
                while let Some((_, token)) = target.users.get(next.fetch_add(1, Ordering::Relaxed)) {
                    while client.ask(token, r#"{"query":"{ me { id } }"}"#).await? == Outcome::Shed {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                Ok::<_, LoadError>(())
            });
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
            told(next.load(Ordering::Relaxed).min(self.users.len()) as u64);
        }
        Ok(())
    }

    /// Durable sends at full speed, pair after pair.
    ///
    /// # Errors
    /// [`LoadError`], here and below: the load could not be made.
    pub async fn sends(&self, plan: Plan) -> Result<Figure, LoadError> {
        let target = self.clone();
        self.at_full_speed("sends", plan, move |n| {
            let (from, to) = target.pair(n % plan.pairs);
            (from, target.send_to(to).1)
        })
        .await
    }

    /// Lists of fifty rows.
    ///
    /// # Errors
    /// As for [`Target::sends`].
    pub async fn lists(&self, plan: Plan) -> Result<Figure, LoadError> {
        let readers = self.readers();
        let operation = json!({ "query": LIST }).to_string();
        self.at_full_speed("lists", plan, move |n| (n % readers, operation.clone())).await
    }

    /// The newest fifty messages of a history.
    ///
    /// # Errors
    /// As for [`Target::sends`].
    pub async fn histories(&self, plan: Plan) -> Result<Figure, LoadError> {
        let (target, readers) = (self.clone(), self.readers());
        self.at_full_speed("histories", plan, move |n| {
            let with = &target.users[target.contact(n % readers, 0)].0;
            (n % readers, json!({ "query": HISTORY, "variables": { "with": with } }).to_string())
        })
        .await
    }

    /// Fills the lists and the histories that are read.
    ///
    /// # Errors
    /// As for [`Target::sends`].
    pub async fn fill(&self, told: impl Fn(u64)) -> Result<(), LoadError> {
        let mut client = Client::connect(&self.host).await?;
        for reader in 0..self.readers() {
            for step in 0..(ROWS.min(self.users.len() - 1) + ROWS) {
                // Each contact once, and the first fifty times more.
                let contact = self.contact(reader, if step < ROWS { step } else { 0 });
                while client.ask(&self.users[contact].1, &self.send_to(reader).1).await? == Outcome::Shed {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            told(reader as u64 + 1);
        }
        Ok(())
    }

    /// How many steps [`Target::fill`] has.
    #[must_use]
    pub fn readers(&self) -> usize {
        READERS.min(self.users.len())
    }

    /// Messages at a rate: how long after its time each was durable, and how long until its recipient's open inbox had it. `before`:
    /// how many were sent already, so that a load that goes on does so with other pairs.
    ///
    /// # Errors
    /// As for [`Target::sends`], or when one was not delivered.
    pub async fn deliveries(&self, plan: Plan, before: usize) -> Result<[Figure; 2], LoadError> {
        let followers = FOLLOWERS.min(self.users.len());
        let awaited = Awaited::default();
        let mut listening = self.follow_inboxes(followers, &awaited).await?;
        let started = Instant::now();
        let (answered, refusals) = self.send_on_time(plan, before, followers, &awaited).await?;
        let took = started.elapsed();
        tokio::select! {
            delivered = awaited.all_delivered(answered.count()) => delivered?,
            Some(ended) = listening.join_next() => {
                ended.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
            }
        }
        listening.abort_all();
        let delivered = lock(&awaited.delivered).clone();
        Ok([Figure::of("paced sends", answered, took, &refusals), Figure::of("deliveries", delivered, took, &refusals)])
    }

    /// The first users follow their inboxes, until what is returned is dropped.
    async fn follow_inboxes(&self, followers: usize, awaited: &Awaited) -> Result<JoinSet<Result<(), LoadError>>, LoadError> {
        let mut listening = JoinSet::new();
        for n in 0..followers {
            let mut inbox = Inbox::open(&self.host, &self.users[n].1).await?;
            let awaited = awaited.clone();
            listening.spawn(async move {
                loop {
                    let event = inbox.next().await?;
                    if let Some(id) = event["message"]["id"].as_str() {
                        awaited.came(id, n);
                    }
                }
            });
        }
        Ok(listening)
    }

    /// Sends to those who follow, each message at its time. How long after it each was answered.
    async fn send_on_time(&self, plan: Plan, before: usize, followers: usize, awaited: &Awaited) -> Result<(Latencies, Refusals), LoadError> {
        let (idle_clients, started) = (Arc::new(Mutex::new(Vec::<(Client, Instant)>::new())), Instant::now());
        let count = plan.rate as usize * usize::try_from(plan.duration.as_secs().max(1)).unwrap_or(1);
        let (mut answered, refusals) = (Latencies::default(), Refusals::default());
        let mut sending: JoinSet<Result<_, LoadError>> = JoinSet::new();
        let mut turns = turns(started, plan.rate, count);
        for n in 0..count {
            let Some(time) = turns.recv().await else { break };
            let (to, turn) = ((before + n) % followers, (before + n) / followers);
            // Those who send do not follow, as far as there are enough, and each writes to every follower in time.
            let senders = self.users.len() - followers;
            let from = if senders > followers { followers + (to + turn) % senders } else { self.contact(to, 0) };
            let (id, operation) = self.send_to(to);
            lock(&awaited.due).insert(id, (to, time));
            let (target, idle_clients) = (self.clone(), Arc::clone(&idle_clients));
            sending.spawn(async move {
                let waiting = lock(&idle_clients).pop().filter(|(_, since)| since.elapsed() < KEPT).map(|(client, _)| client);
                let mut client = match waiting {
                    Some(client) => client,
                    None => Client::connect(&target.host).await?,
                };
                let outcome = client.ask(&target.users[from].1, &operation).await?;
                lock(&idle_clients).push((client, Instant::now()));
                Ok((outcome, time.elapsed()))
            });
            while let Some(sent) = sending.try_join_next() {
                refusals.count_or_record(sent, &mut answered)?;
            }
        }
        while let Some(sent) = sending.join_next().await {
            refusals.count_or_record(sent, &mut answered)?;
        }
        Ok((answered, refusals))
    }

    /// Sockets that follow an inbox in which nothing happens. They are open while what is returned is held.
    ///
    /// # Errors
    /// As for [`Target::sends`].
    pub async fn idle(&self, plan: Plan, told: impl Fn(u64)) -> Result<Vec<Inbox>, LoadError> {
        let mut open = Vec::with_capacity(plan.idle);
        while open.len() < plan.idle {
            let some = (open.len()..plan.idle.min(open.len() + OPENED)).map(|n| Inbox::open(&self.host, &self.users[n % self.users.len()].1));
            for opened in futures_util::future::join_all(some).await {
                open.push(opened?);
            }
            told(open.len() as u64);
        }
        Ok(open)
    }

    async fn at_full_speed(
        &self,
        what: &'static str,
        plan: Plan,
        operation: impl Fn(usize) -> (usize, String) + Send + Sync + 'static,
    ) -> Result<Figure, LoadError> {
        let (next, refusals, operation) = (Arc::new(AtomicUsize::new(0)), Arc::new(Refusals::default()), Arc::new(operation));
        let started = Instant::now();
        let end = started + plan.duration;
        let mut clients = JoinSet::new();
        for _ in 0..plan.clients {
            let (target, next, refusals, operation) = (self.clone(), Arc::clone(&next), Arc::clone(&refusals), Arc::clone(&operation));
            clients.spawn(async move {
                let mut client = Client::connect(&target.host).await?;
                let mut latencies = Latencies::default();
                while Instant::now() < end {
                    let (user, operation) = operation(next.fetch_add(1, Ordering::Relaxed));
                    let asked = Instant::now();
                    match client.ask(&target.users[user].1, &operation).await? {
                        Outcome::Done => latencies.record(asked.elapsed()),
                        outcome => refusals.count(outcome),
                    }
                }
                Ok::<_, LoadError>(latencies)
            });
        }
        let mut latencies = Latencies::default();
        while let Some(client) = clients.join_next().await {
            latencies.extend(client.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?);
        }
        Ok(Figure::of(what, latencies, started.elapsed(), &refusals))
    }

    /// A message's id, and the operation that sends it.
    fn send_to(&self, to: usize) -> (String, String) {
        let id = (self.new_id)().to_string();
        let input = json!({ "to": self.users[to].0, "text": TEXT, "messageId": id });
        (id, json!({ "query": SEND, "variables": { "input": input } }).to_string())
    }

    /// Two users, other ones for each number as long as there are any.
    fn pair(&self, n: usize) -> (usize, usize) {
        let from = n % self.users.len();
        (from, self.contact(from, n / self.users.len()))
    }

    /// Somebody else.
    fn contact(&self, user: usize, step: usize) -> usize {
        (user + 1 + step % (self.users.len() - 1)) % self.users.len()
    }
}

/// Operations that were not done.
#[derive(Debug, Default)]
struct Refusals {
    refused: AtomicU64,
    shed: AtomicU64,
}

impl Refusals {
    fn count_or_record(&self, sent: Result<Result<(Outcome, Duration), LoadError>, JoinError>, answered: &mut Latencies) -> Result<(), LoadError> {
        match sent.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))? {
            (Outcome::Done, took) => answered.record(took),
            (outcome, _) => self.count(outcome),
        }
        Ok(())
    }

    fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Done => {}
            Outcome::Refused => _ = self.refused.fetch_add(1, Ordering::Relaxed),
            Outcome::Shed => _ = self.shed.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Figure {
    fn of(what: &'static str, latencies: Latencies, took: Duration, refusals: &Refusals) -> Self {
        let count = latencies.count();
        let [p50, p90, p99, max] = latencies.percentiles([50, 90, 99, 100]).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a count of operations is small")]
        let per_second = count as f64 / took.as_secs_f64();
        let [refused, shed] = [&refusals.refused, &refusals.shed].map(|count| count.load(Ordering::Relaxed));
        Self { what, count, per_second, p50, p90, p99, max, refused, shed }
    }
}

/// When each operation is due, told at that instant. By a thread of its own: the runtime's timers go by whole milliseconds,
/// which would be a good part of what is measured.
fn turns(started: Instant, rate: u32, count: usize) -> mpsc::UnboundedReceiver<Instant> {
    let (turn, turns) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for n in 0..count {
            let due = started + Duration::from_secs(1) * u32::try_from(n).unwrap_or(u32::MAX) / rate.max(1);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if turn.send(due).is_err() {
                return;
            }
        }
    });
    turns
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
