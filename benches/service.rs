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

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use entrenous::app::projector;
use entrenous::cli::{new_id, now};
use entrenous::domain::community::UserRegistered;
use entrenous::domain::conversation::{ConversationEvent, MessageSent};
use entrenous::domain::event::{Event, Metadata, Stream};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::profile::{Name, Profile};
use entrenous::domain::text::MessageText;
use entrenous::event_log::{Append, EventLog};
use entrenous::http::authentication::{TokenClaims, TokenSigner};
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use uuid::Uuid;

const USERS: usize = 5_000;
/// Users whose lists and histories are read.
const LISTED: usize = 20;
const CLIENTS: usize = 64;
const SECRET: &str = "a secret of at least thirty-two bytes";
const TEXT: &str = "Un message comme on en envoie tous les jours, ni long ni court.";
const LOADED: Duration = Duration::from_secs(6);

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
        let service = Service::start(folder.path());
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

fn user(n: usize) -> String {
    format!("user{n}")
}

/// Each user has fifty contacts or so: near ones, the same from both sides for the even steps.
fn partner(user: usize, step: usize) -> usize {
    (user ^ (step + 1)) % USERS
}

/// Registered users, and messages spread over their conversations, in the log and in the views.
async fn seed(folder: &Path, messages: usize) {
    let log = EventLog::open(&StoreUrl::Sqlite(folder.join("events.db")), Arc::new(now)).await.expect("a log");
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
    projector::catch_up(&log, &store, new_id()).await.expect("caught up");
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

struct Service {
    child: Child,
    address: String,
    tokens: Arc<HashMap<String, String>>,
}

impl Service {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_entrenous"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--send-rate", "0", "--user-limit", "100000", "--token-secret", SECRET, "--data"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the service starts");
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut greeting).expect("a greeting");
        let address = greeting.split_whitespace().find_map(|word| word.strip_prefix("http://")).expect("an address").trim_end_matches([',', '.']).to_owned();
        let (signer, iat) = (TokenSigner::new(SECRET.as_bytes()), now().0 / 1_000_000);
        let token = |sub: &str| signer.sign(&TokenClaims { sub, name: None, roles: &[], iat, exp: iat + 3_600, iss: None, aud: None });
        let tokens = Arc::new((0..USERS).map(user).map(|user| (user.clone(), token(&user))).collect());
        Self { child, address, tokens }
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What a load measured; times in milliseconds.
struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Clients that each ask again as soon as they are answered.
async fn load(service: &Service, request: impl Fn(usize) -> (String, Value) + Send + Sync + 'static) -> Measured {
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let request = Arc::new(request);
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stop, next, request, address, tokens) =
                (Arc::clone(&stop), Arc::clone(&next), Arc::clone(&request), service.address.clone(), Arc::clone(&service.tokens));
            tokio::spawn(async move {
                let mut client = Client::connect(&address, tokens).await;
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let n = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("a count");
                    let (user, body) = request(n);
                    let body = body.to_string();
                    let asked = Instant::now();
                    client.ask(&user, &body).await;
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(LOADED).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.expect("no wrong answer"));
    }
    let elapsed = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    Measured { rate: times.len() as f64 / elapsed, p50: at(0.50), p99: at(0.99) }
}

/// The least that speaks HTTP/1.1, so that the load costs the service's cores little.
struct Client {
    stream: tokio::io::BufReader<TcpStream>,
    tokens: Arc<HashMap<String, String>>,
    body: Vec<u8>,
}

impl Client {
    async fn connect(address: &str, tokens: Arc<HashMap<String, String>>) -> Self {
        let stream = TcpStream::connect(address).await.expect("a socket");
        stream.set_nodelay(true).expect("set");
        Self { stream: tokio::io::BufReader::new(stream), tokens, body: Vec::new() }
    }

    async fn ask(&mut self, user: &str, body: &str) {
        let token = &self.tokens[user];
        let length = body.len();
        let request = format!(
            "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).await.expect("sent");
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).await.expect("a header");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).await.expect("a body");
        let wrong = self.body.windows(8).any(|part| part == b"\"errors\"") || self.body.windows(6).any(|part| part == b"\"code\"");
        assert!(!wrong, "{}", String::from_utf8_lossy(&self.body));
    }
}
