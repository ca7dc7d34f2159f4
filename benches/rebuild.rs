//! Views made anew from logs of several lengths, in a file and in PostgreSQL, beside a scan of the same log in the
//! same run; the log verified; and what a send pays for evidence. See `docs/performance.md`.
//!
//! `cargo bench --bench rebuild -- [EVENTS…] [postgres://…]`: 100000, 1000000 and 2000000 events by default. In the
//! database a schema is made and dropped.

#![expect(clippy::print_stdout, clippy::disallowed_methods, clippy::cast_precision_loss, reason = "it measures, and prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use entrenous::audit::checkpoint::origin;
use entrenous::audit::rebuild::{Options, rebuild};
use entrenous::audit::verify::verify;
use entrenous::audit::views::Extent;
use entrenous::cli::{new_id, now};
use entrenous::domain::community::UserRegistered;
use entrenous::domain::conversation::{ConversationEvent, MessageSent};
use entrenous::domain::event::{Event, Metadata, Position, Stream, Timestamp};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::profile::{Name, Profile};
use entrenous::domain::text::MessageText;
use entrenous::event_log::codec::encode;
use entrenous::event_log::keys::Key;
use entrenous::event_log::merkle::{Frontier, Hash};
use entrenous::event_log::{Append, EventLog, StoredEvent};
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;

/// The service's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: usize = 5_000;
const PAIRS: usize = 50_000;
/// Events of one append: messages, and that they were read.
const TOGETHER: usize = 5;
const TEXT: &str = "Un message comme on en envoie tous les jours, ni long ni court.";
const DEFAULT_MEMORY: usize = 256 << 20;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 2_000_000];
    }
    let database = std::env::args().find(|argument| argument.starts_with("postgres"));
    println!("| events | scan, events/s | scan and decode | verify | rebuild in a file | with 32 MiB | rebuild in PostgreSQL | most resident, MiB |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let evidence = cost_of_evidence();
    for events in sizes {
        let folder = tempfile::tempdir().expect("a folder");
        let log = seed(folder.path(), events).await;
        let count = log.head().0 as f64;
        let scan = rate(count, read(&log, false)).await;
        let decode = rate(count, read(&log, true)).await;
        let verified = async {
            assert!(verify(&log, &origin(log.id()), &[], |_| {}).await.expect("read").findings.is_empty());
        };
        let verified = rate(count, verified).await;
        let frugal = rate(count, Box::pin(make(&log, &StoreUrl::Sqlite(folder.path().join("frugal.db")), 32 << 20))).await;
        let most_resident = most_resident_mib();
        let file = rate(count, Box::pin(make(&log, &StoreUrl::Sqlite(folder.path().join("views.db")), DEFAULT_MEMORY))).await;
        let server = match &database {
            Some(url) => {
                drop_views(url).await;
                let rate = rate(count, Box::pin(make(&log, &StoreUrl::Postgres(url.clone()), DEFAULT_MEMORY))).await;
                drop_views(url).await;
                format!("{rate:.0}")
            }
            None => "-".to_owned(),
        };
        println!("| {count} | {scan:.0} | {decode:.0} | {verified:.0} | {file:.0} | {frugal:.0} | {server} | {most_resident} |");
    }
    println!("\nA message sealed and written as JSON: {:.2} µs. Its leaf, put into the tree: {:.2} µs.", evidence.0, evidence.1);
}

/// What a send pays for being sealed, and for its place in the tree: microseconds each, medians.
fn cost_of_evidence() -> (f64, f64) {
    const TIMES: usize = 50_000;
    let key = Key::new([7; 32]);
    let (sender, recipient) = (UserId::from_stored("user1"), UserId::from_stored("user2"));
    let mut costs = (vec![], vec![]);
    let mut tree = Frontier::default();
    for _ in 0..9 {
        let events: Vec<_> = (0..TIMES)
            .map(|n| {
                let (id, text) = (new_id(), MessageText::from_stored(TEXT));
                let number = n as u64 + 1;
                let (sender, recipient) = (sender.clone(), recipient.clone());
                (id, Event::from(ConversationEvent::MessageSent(MessageSent { id: MessageId(id), sender, recipient, text, number, sender_number: number })))
            })
            .collect();
        let started = Instant::now();
        let encoded: Vec<_> = events.iter().map(|(id, event)| (*id, encode(event, *id, Some(&key)))).collect();
        costs.0.push(started.elapsed().as_secs_f64() * 1e6 / TIMES as f64);
        let stored: Vec<_> = encoded.into_iter().map(|(id, (kind, data))| stored_event(id, kind, data)).collect();
        let started = Instant::now();
        tree.extend(stored.iter().map(Hash::of_leaf));
        costs.1.push(started.elapsed().as_secs_f64() * 1e6 / TIMES as f64);
    }
    (median(costs.0), median(costs.1))
}

fn stored_event(id: uuid::Uuid, kind: &str, data: String) -> StoredEvent {
    let (stream, actor) = (format!("conversation-{id}"), Some("user1".to_owned()));
    StoredEvent { position: Position(1), stream, version: 1, id, kind: kind.to_owned(), at: Timestamp(1), actor, correlation: id, causation: id, data }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Events a second.
async fn rate(events: f64, work: impl Future<Output = ()>) -> f64 {
    let started = Instant::now();
    work.await;
    events / started.elapsed().as_secs_f64()
}

async fn read(log: &EventLog, decoded: bool) {
    let mut after = Position(0);
    loop {
        let last = if decoded {
            log.read_all(after, 4_096).await.expect("read").last().map(|event| event.position)
        } else {
            log.read_all_stored(after, 4_096).await.expect("read").last().map(|event| event.position)
        };
        let Some(last) = last else { break };
        after = last;
    }
}

/// From nothing to the current ones, indexes and all.
async fn make(log: &EventLog, views: &StoreUrl, memory: usize) {
    let options = Options { memory, compared: Extent::Nothing, switches: true };
    rebuild(log, views, new_id(), options, |_| {}).await.expect("rebuilt");
}

async fn drop_views(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a server");
    tokio::spawn(connection);
    client.batch_execute("drop schema if exists entrenous_views cascade").await.expect("dropped");
    ReadStore::drop_others(&StoreUrl::Postgres(url.to_owned())).await.expect("dropped");
}

/// The most memory that this process had so far; the log's pages in the page cache aside.
fn most_resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

/// A community that talks: conversations in turn, a few messages each, then read.
async fn seed(folder: &Path, events: usize) -> EventLog {
    let log = EventLog::open(&StoreUrl::Sqlite(folder.join("events.db")), None, Arc::new(now)).await.expect("a log");
    let metadata = Metadata { actor: None, correlation: new_id(), causation: new_id() };
    let user = |n: usize| UserId::from_stored(format!("user{n}"));
    let registered = (0..USERS).map(|n| {
        let profile = Profile { name: Name::from_stored(format!("User {n}")), picture: None };
        (new_id(), Event::from(UserRegistered { user: user(n), profile }))
    });
    log.append(Append { stream: Stream::Community, expected: 0, metadata: metadata.clone(), events: registered.collect() }).await.expect("registered");
    let mut counts = vec![(0, 0); PAIRS];
    let mut written = 0;
    while written < events {
        let appends = (0..1_000).map(|n| {
            let turn = written / TOGETHER + n;
            let pair = turn.wrapping_mul(2_654_435_761) % PAIRS;
            let (sender, recipient) = (user(pair % USERS), user((pair % USERS + 1 + pair / USERS) % USERS));
            let (messages, appended) = &mut counts[pair];
            let expected = *appended;
            let mut events: Vec<_> = (1..TOGETHER)
                .map(|_| {
                    *messages += 1;
                    let (id, text) = (new_id(), MessageText::from_stored(TEXT));
                    let message = MessageSent {
                        id: MessageId(id),
                        sender: sender.clone(),
                        recipient: recipient.clone(),
                        text,
                        number: *messages,
                        sender_number: *messages,
                    };
                    (id, Event::from(ConversationEvent::MessageSent(message)))
                })
                .collect();
            let read = ConversationEvent::MessagesRead { reader: recipient.clone(), contact: sender.clone(), received: *messages };
            events.push((new_id(), Event::from(read)));
            *appended += events.len() as u64;
            log.append(Append { stream: Stream::Conversation(ConversationId::between(&sender, &recipient)), expected, metadata: metadata.clone(), events })
        });
        let appends: Vec<_> = appends.collect();
        written += appends.len() * TOGETHER;
        for outcome in futures_util::future::join_all(appends).await {
            outcome.expect("appended");
        }
    }
    log
}
