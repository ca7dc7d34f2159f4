//! The service under load, as a process of its own, beside bare SQLite doing the same writes:
//! durable sends, and list and history pages, as stored messages grow. See `docs/performance.md`.
//!
//! `cargo bench --bench service -- [MESSAGES…]`: the numbers of stored messages, 1000 and 100000 by default.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it measures, and prints what it measured"
)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use entrenous::app::catching_up;
use entrenous::cli::{new_id, now};
use entrenous::domain::community::UserRegistered;
use entrenous::domain::conversation::{ConversationEvent, MessageSent};
use entrenous::domain::event::{Event, Metadata, Stream};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::profile::{Name, Profile};
use entrenous::domain::text::MessageText;
use entrenous::event_log::{Append, EventLog};
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use uuid::Uuid;

use support::{LOADED, Service, load, user};

const USERS: usize = 5_000;
/// Users whose lists and histories are read.
const LISTED: usize = 20;
const TEXT: &str = "Un message comme on en envoie tous les jours, ni long ni court.";

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 100_000];
    }
    println!(
        "| stored messages | start, s | sends/s | p50, ms | p99, ms | new document each, sends/s | bare SQLite/s | lists/s | p99, ms | histories/s | p99, ms | resident, MiB | an idle subscriber, KiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for messages in sizes {
        let folder = tempfile::tempdir().expect("a folder");
        seed(folder.path(), messages).await;
        let bare = bare_sqlite(&folder.path().join("bare.db"));
        let started = Instant::now();
        let service = Service::start(USERS, &["--data".as_ref(), folder.path().as_os_str()]);
        let start = started.elapsed().as_secs_f64();
        let idle = idle_subscriber_kib(&service).await;
        let lists = load(&service, |n| (user(n % LISTED), json!({ "query": LIST }))).await;
        let histories = load(&service, |n| {
            let with = user(partner(n % LISTED, 0));
            (user(n % LISTED), json!({ "query": HISTORY, "variables": { "with": with } }))
        })
        .await;
        let sends = load(&service, |n| {
            let (from, to) = pair(n);
            (from, json!({ "query": SEND, "variables": { "input": { "to": to, "text": TEXT, "messageId": new_id() } } }))
        })
        .await;
        let new_documents = load(&service, |n| {
            let (from, to) = pair(n);
            let input = format!("{{ to: \"{to}\", text: \"{TEXT}\", messageId: \"{}\" }}", new_id());
            (from, json!({ "query": SEND.replace("($input: SendMessageInput!)", "").replace("$input", &input) }))
        })
        .await;
        println!(
            "| {messages} | {start:.2} | {:.0} | {:.1} | {:.1} | {:.0} | {bare:.0} | {:.0} | {:.1} | {:.0} | {:.1} | {} | {idle:.1} |",
            sends.rate,
            sends.p50,
            sends.p99,
            new_documents.rate,
            lists.rate,
            lists.p99,
            histories.rate,
            histories.p99,
            service.resident_kib() / 1_024
        );
    }
}

const LIST: &str =
    "{ conversations(first: 50) { edges { node { id blocked unreadCount lastMessageAt contact { id name avatarUrl } lastMessage { id text } } } } }";
const HISTORY: &str = "query($with: ID!) { conversation(with: $with) { messages(last: 50) { edges { node { id text sentAt mine } } } } }";
const SEND: &str = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id sentAt } userErrors { code } } }";

/// Who sends to whom: ever new pairs.
fn pair(n: usize) -> (String, String) {
    let (from, round) = (n % USERS, n / USERS);
    (user(from), user(partner(from, round % 50)))
}

/// What each of a thousand users who follow their inbox adds to the service's memory while nothing happens.
async fn idle_subscriber_kib(service: &Service) -> f64 {
    const IDLE: usize = 1_000;
    const INBOX: &str = "subscription { inbox { __typename ... on MessageAdded { cursor message { id text } } ... on CaughtUp { cursor } } }";
    let before = service.resident_kib();
    let mut sockets = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        let mut request = format!("ws://{}/graphql", service.address).into_client_request().expect("an address");
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a protocol"));
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a socket");
        let init = json!({ "type": "connection_init", "payload": { "token": service.tokens[&user(n)] } });
        socket.send(Message::text(init.to_string())).await.expect("sent");
        let subscribe = json!({ "id": "inbox", "type": "subscribe", "payload": { "query": INBOX } });
        socket.send(Message::text(subscribe.to_string())).await.expect("sent");
        while !socket.next().await.expect("open").expect("a message").into_text().expect("text").contains("CaughtUp") {}
        sockets.push(socket);
    }
    (service.resident_kib() - before) as f64 / IDLE as f64
}

/// Each user has fifty contacts or so: near ones, the same from both sides for the even steps.
fn partner(user: usize, step: usize) -> usize {
    (user ^ (step + 1)) % USERS
}

/// Registered users, and messages spread over their conversations, in the log and in the views.
async fn seed(folder: &Path, messages: usize) {
    let log = EventLog::open(&StoreUrl::Sqlite(folder.join("events.db")), None, Arc::new(now)).await.expect("a log");
    let metadata = Metadata { actor: None, correlation: new_id(), causation: new_id() };
    let registered = (0..USERS).map(|n| {
        let profile = Profile { name: Name::from_stored(format!("User {n}")), picture: None };
        (new_id(), Event::from(UserRegistered { user: UserId::from_stored(user(n)), profile }))
    });
    log.append(Append { stream: Stream::Community, expected: 0, metadata: metadata.clone(), events: registered.collect() }).await.expect("registered");
    // These hold a full list, whatever the size; their histories are longer where there are more messages.
    let pairs: Vec<(usize, usize)> = (0..LISTED).flat_map(|user| (0..50).map(move |step| (user, partner(user, step)))).filter(|(a, b)| a < b).collect();
    let mut versions = vec![0; pairs.len()];
    let mut written = 0;
    while written < messages {
        let mut appends = Vec::new();
        for (pair, (a, b)) in pairs.iter().enumerate() {
            let count = (messages - written).min(if written < pairs.len() { 1 } else { 10 });
            written += count;
            appends.push(log.append(some_messages(*a, *b, &mut versions[pair], count, &metadata)));
        }
        for outcome in futures_util::future::join_all(appends).await {
            outcome.expect("appended");
        }
    }
    let store = ReadStore::open(&StoreUrl::Sqlite(folder.join("views.db")), log.id()).await.expect("views");
    catching_up::catch_up(&log, &store, new_id()).await.expect("caught up");
    log.close().await;
}

fn some_messages(a: usize, b: usize, version: &mut u64, count: usize, metadata: &Metadata) -> Append {
    let (sender, recipient) = (UserId::from_stored(user(b)), UserId::from_stored(user(a)));
    let stream = Stream::Conversation(ConversationId::between(&sender, &recipient));
    let expected = *version;
    let events = (0..count).map(|_| {
        *version += 1;
        let id = new_id();
        let text = MessageText::from_stored(TEXT);
        let message = MessageSent { id: MessageId(id), sender: sender.clone(), recipient: recipient.clone(), text, number: *version, sender_number: *version };
        (id, Event::from(ConversationEvent::MessageSent(message)))
    });
    let events = events.collect();
    Append { stream, expected, metadata: metadata.clone(), events }
}

/// The writes of a send in one SQLite file, 33 to a flush, by one thread that does nothing else.
fn bare_sqlite(path: &Path) -> f64 {
    let mut connection = rusqlite::Connection::open(path).expect("a file");
    connection.pragma_update(None, "journal_mode", "wal").expect("set");
    connection.pragma_update(None, "synchronous", "full").expect("set");
    let tables = "
        create table events (position integer primary key, stream integer, version integer, id blob, data text);
        create unique index events_by_stream on events (stream, version);
        create unique index events_by_id on events (id);
        create table conversations (owner integer, contact integer, last_at integer, unread integer, primary key (owner, contact)) without rowid;
        create index conversations_listed on conversations (owner, last_at, contact);
        create table messages (conversation integer, number integer, id blob, text text, primary key (conversation, number)) without rowid;
        create unique index messages_by_id on messages (id);
        create table checkpoint (position integer)";
    connection.execute_batch(tables).expect("made");
    let (started, mut position) = (Instant::now(), 0_i64);
    while started.elapsed() < LOADED {
        let transaction = connection.transaction().expect("begun");
        for _ in 0..33 {
            position += 1;
            let (id, pair) = (Uuid::now_v7(), position.wrapping_mul(2_654_435_761) % 125_000);
            let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
                transaction.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).expect("written")
            };
            run("insert into events values (?1, ?2, ?1, ?3, ?4)", &[&position, &pair, &id, &TEXT]);
            run("insert into messages values (?1, ?2, ?3, ?4)", &[&pair, &position, &id, &TEXT]);
            for (owner, contact) in [(pair, pair + 1), (pair + 1, pair)] {
                let upsert = "insert into conversations values (?1, ?2, ?3, 1) on conflict do update set last_at = excluded.last_at, unread = unread + 1";
                run(upsert, &[&owner, &contact, &position]);
            }
        }
        transaction.execute("update checkpoint set position = ?1", [position]).expect("written");
        transaction.commit().expect("flushed");
    }
    position as f64 / started.elapsed().as_secs_f64()
}
