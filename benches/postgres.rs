//! Durable sends with the log and the views in PostgreSQL, beside `pgbench` committing one row at a time to
//! the same server. See `docs/performance.md`.
//!
//! `cargo bench --bench postgres -- postgres://…`: the address of a server where databases may be made.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it measures, and prints what it measured"
)]

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use entrenous::app::access::{Identity, Roles, Viewer};
use entrenous::app::{App, Settings, Sources, progress, projector};
use entrenous::cli::{new_id, now};
use entrenous::domain::conversation::{ConversationEvent, MessageSent};
use entrenous::domain::event::{Event, Metadata, Stream};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::text::MessageText;
use entrenous::event_log::{Append, EventLog};
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;
use tokio::sync::watch;

const USERS: usize = 2_000;
const LOADED: Duration = Duration::from_secs(8);
const TEXT: &str = "Un message comme on en envoie tous les jours, ni long ni court.";

#[tokio::main(worker_threads = 2)]
async fn main() {
    let Some(server) = std::env::args().find(|argument| argument.starts_with("postgres")) else {
        println!("an address is needed: cargo bench --bench postgres -- postgres://user@host:port/database");
        return;
    };
    let database = Database::create(&server).await;
    let bare = pgbench(&database.url);
    database.drop().await;
    println!("| clients | pgbench, rows/s (64 clients) | appends/s | sends/s | p50, ms | p99, ms | views lag p50, ms | p99, ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for clients in [64, 512] {
        let database = Database::create(&server).await;
        let appends = appends(&database.url, clients).await;
        database.drop().await;
        let database = Database::create(&server).await;
        let sends = sends(&database.url, clients).await;
        database.drop().await;
        println!(
            "| {clients} | {bare:.0} | {appends:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} |",
            sends.rate,
            at(&sends.times, 0.50),
            at(&sends.times, 0.99),
            at(&sends.lags, 0.50),
            at(&sends.lags, 0.99)
        );
    }
}

/// A database of its own for each measurement, dropped after it: what a server tidies up later would disturb the next.
struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    async fn create(server: &str) -> Self {
        let name = format!("bench_{}", new_id().simple());
        execute(server, &format!("create database {name}")).await;
        let (base, _) = server.rsplit_once('/').expect("a database in the address");
        Self { url: format!("{base}/{name}"), server: server.to_owned(), name }
    }

    async fn drop(self) {
        execute(&self.server, &format!("drop database {} with (force)", self.name)).await;
    }
}

async fn execute(server: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls).await.expect("a server");
    tokio::spawn(connection);
    client.batch_execute(sql).await.expect("done");
}

/// Rows a second that `pgbench` commits one by one, with 64 clients.
fn pgbench(url: &str) -> f64 {
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    script.write_all(format!("insert into rows (text) values ('{TEXT}');\n").as_bytes()).expect("written");
    let tables = "create table rows (id bigint generated always as identity primary key, at timestamptz not null default now(), text text not null)";
    let made = Command::new("psql").args([url, "-qc", tables]).status().expect("psql");
    assert!(made.success());
    let seconds = LOADED.as_secs().to_string();
    let output = Command::new("pgbench").args(["-n", "-M", "prepared", "-c", "64", "-j", "2", "-T", &seconds, "-f"]).arg(script.path()).arg(url).output();
    let output = String::from_utf8(output.expect("pgbench").stdout).expect("text");
    let line = output.lines().find_map(|line| line.strip_prefix("tps = ")).expect("a rate");
    line.split_whitespace().next().expect("a number").parse().expect("a number")
}

/// Each client does the next thing as soon as it is done with one, for a while: how many, and how long each took.
async fn load<F: Future<Output = ()> + Send>(clients: usize, work: impl Fn(usize) -> F + Send + Sync + 'static) -> (f64, Vec<Duration>) {
    let (stop, next, work) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(work));
    let started = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (stop, next, work) = (Arc::clone(&stop), Arc::clone(&next), Arc::clone(&work));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    work(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("a count")).await;
                    times.push(begun.elapsed());
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
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    (rate, times)
}

fn at(sorted: &[Duration], part: f64) -> f64 {
    sorted.get((sorted.len().saturating_sub(1) as f64 * part) as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// The log alone: one message to a new stream each.
async fn appends(url: &str, clients: usize) -> f64 {
    let log = EventLog::open(&StoreUrl::Postgres(url.to_owned()), None, Arc::new(now)).await.expect("a log");
    let metadata = Metadata { actor: Some(UserId::from_stored("alice")), correlation: new_id(), causation: new_id() };
    let appending = log.clone();
    let (rate, _) = load(clients, move |_| {
        let (log, metadata, id) = (appending.clone(), metadata.clone(), new_id());
        async move {
            let (sender, recipient) = (UserId::from_stored("alice"), UserId::from_stored("bob"));
            let message = MessageSent { id: MessageId(id), sender, recipient, text: MessageText::from_stored(TEXT), number: 1, sender_number: 1 };
            let events = vec![(id, Event::Conversation(ConversationEvent::MessageSent(message)))];
            log.append(Append { stream: Stream::Conversation(ConversationId(id)), expected: 0, metadata, events }).await.expect("appended");
        }
    })
    .await;
    log.close().await;
    rate
}

struct Sends {
    rate: f64,
    times: Vec<Duration>,
    /// How long after an event was durable the views showed it.
    lags: Vec<Duration>,
}

/// The whole command, from its text to its answer: decided, durable, and shown by the views.
async fn sends(url: &str, clients: usize) -> Sends {
    let url = StoreUrl::Postgres(url.to_owned());
    let log = EventLog::open(&url, None, Arc::new(now)).await.expect("a log");
    let store = ReadStore::open(&url, log.id()).await.expect("views");
    let (reporter, progress) = progress::progress();
    let sources = Sources { clock: Arc::new(now), uuid: Arc::new(new_id) };
    let app = App::new(log.clone(), store, progress, sources, Settings { user_limit: 1_000_000, send_rate: 0, ..Settings::default() });
    let (end, ending) = watch::channel(false);
    let projecting = tokio::spawn(projector::run(app.clone(), reporter, ending));
    let users = futures_util::future::join_all((0..USERS).map(|n| sign_in(&app, n))).await;
    let (sending, users) = (app.clone(), Arc::new(users));
    let lags = tokio::spawn(lags(app.clone()));
    let (rate, times) = load(clients, move |n| {
        let (app, users) = (sending.clone(), Arc::clone(&users));
        async move {
            let (from, step) = (n % USERS, n / USERS % 5);
            app.send_message(&users[from], &format!("user{}", (from ^ (step + 1)) % USERS), TEXT, None).await.expect("sent");
        }
    })
    .await;
    end.send_replace(true);
    let lags = lags.await.expect("measured");
    projecting.await.expect("ended").expect("no fault");
    log.close().await;
    Sends { rate, times, lags }
}

async fn sign_in(app: &App, n: usize) -> Viewer {
    let id = UserId::parse(&format!("user{n}")).expect("an id");
    let identity = Identity { id, name: Some(format!("User {n}")), picture: None, roles: Roles::default(), expires: None };
    app.sign_in(&identity, new_id()).await.expect("signed in")
}

/// Looks every millisecond how long ago the log was where the views are now.
async fn lags(app: App) -> Vec<Duration> {
    let (mut heads, mut lags) = (VecDeque::new(), Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let started = Instant::now();
    while started.elapsed() < LOADED {
        ticks.tick().await;
        heads.push_back((app.log().head(), Instant::now()));
        while heads.front().is_some_and(|(head, _)| *head <= app.applied()) {
            let (_, since) = heads.pop_front().expect("there is one");
            lags.push(since.elapsed());
        }
    }
    lags.sort_unstable();
    lags
}
