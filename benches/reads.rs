//! Lists and histories from views in PostgreSQL, beside `PostGraphile` on the same server and the very same tables:
//! 200,000 conversations and 2,000,000 messages. See `docs/performance.md`.
//!
//! `POSTGRAPHILE=FOLDER cargo bench --bench reads -- postgres://…`: the address of a server where databases may be
//! made, and a copy of `benches/postgraphile` where `npm install` was run. Without the folder, the service alone.

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
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entrenous::cli::{new_id, now};
use entrenous::event_log::EventLog;
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use support::{Client, Measured, Service, load, load_at, user};

/// A power of two: contacts are found by flipping bits, so that both have each other.
const USERS: usize = 8_192;
const CONTACTS: usize = 50;
/// The contact of each user with whom the conversation is long; the others have a message each.
const LONG: usize = 1;
const LONG_MESSAGES: usize = 440;

/// What the projections would have made, were these the events.
const FILL: &str = "
    set search_path = entrenous_views;
    insert into users
    select 'user' || n, 'User ' || n, null, 1, 0, n + 1, 0, convert_to('user ' || lpad(n::text, 6, '0'), 'UTF8'), 'user ' || n, 0, 0
    from generate_series(0, $users - 1) n;
    create temporary table pairs as
    select a, a # step as b, md5(a || ' ' || (a # step))::uuid as id, case when step = $long then $long_messages else 1 end as messages,
        1700000000000000 + (hashint4(a # (step << 16)) & 1048575)::bigint * 1000000 as at
    from generate_series(0, $users - 1) a, generate_series(1, $contacts) step where a < a # step;
    insert into conversations
    select 'user' || owner, 'user' || contact, id, messages, sent, messages - sent, (messages - sent) / 2, null, 'listed', at + messages, at + messages, 1, 0, 0, '', 0
    from (select a as owner, b as contact, id, messages, (messages + 1) / 2 as sent, at from pairs
        union all select b, a, id, messages, messages / 2, at from pairs) sides;
    insert into messages (conversation, number, sender_number, id, sender, text, sent_at, position)
    select id, n, (n + 1) / 2, gen_random_uuid(), 'user' || case when n % 2 = 1 then a else b end, $text, at + n, 1
    from pairs, generate_series(1, messages) n;
    analyze";
const TEXT: &str = "'Un message comme on en envoie tous les jours, ni long ni court.'";
/// What `PostGraphile` has no tables for.
const COMPUTED: &str = "
    set search_path = entrenous_views;
    create function conversations_last_message(c conversations) returns messages stable language sql as $$
        select m from entrenous_views.messages m where m.conversation = c.conversation and m.number = c.sent + coalesce(c.blocked_at, c.received) $$;
    create function conversations_unread(c conversations) returns bigint stable language sql as $$
        select coalesce(c.blocked_at, c.received) - c.read $$;
    comment on table conversations is '@foreignKey (contact) references users (id)|@fieldName contactUser'";

const LIST: &str =
    "{ conversations(first: 50) { edges { node { id blocked unreadCount lastMessageAt contact { id name avatarUrl } lastMessage { id text } } } } }";
const HISTORY: &str = "query($with: ID!) { conversation(with: $with) { messages(last: 50) { edges { node { id text sentAt mine } } } } }";
const PEER_LIST: &str = "query($owner: String!) { rows: allConversations(condition: { owner: $owner, listing: \"listed\" }, orderBy: [BLOCKED_ASC, LAST_AT_ASC, CONVERSATION_ASC], first: 50) {
    nodes { conversation blocked unread lastAt contactUser { id name picture } lastMessage { id text } } } }";
const PEER_HISTORY: &str = "query($conversation: UUID!) { allMessages(condition: { conversation: $conversation }, orderBy: [NUMBER_DESC], first: 50) {
    nodes { id text sentAt sender } } }";

#[tokio::main(worker_threads = 2)]
async fn main() {
    let Some(server) = std::env::args().find(|argument| argument.starts_with("postgres")) else {
        println!("an address is needed: cargo bench --bench reads -- postgres://user@host:port/database");
        return;
    };
    let name = format!("bench_{}", new_id().simple());
    execute(&server, &format!("create database {name}")).await;
    let url = format!("{}/{name}", server.rsplit_once('/').expect("a database in the address").0);
    let conversations = fill(&url).await;
    println!("| | lists/s | p50, ms | p99, ms | histories/s | p50, ms | p99, ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(USERS, &["--data", folder.path().to_str().expect("UTF-8"), "--log", &url, "--views", &url]);
    let lists = load(&service, |n| (user(scattered(n)), json!({ "query": LIST }))).await;
    let histories = load(&service, |n| {
        let (from, with) = (scattered(n), scattered(n) ^ LONG);
        (user(from), json!({ "query": HISTORY, "variables": { "with": user(with) } }))
    })
    .await;
    print_row("Entrenous", &lists, &histories);
    drop(service);
    if let Ok(folder) = std::env::var("POSTGRAPHILE") {
        execute(&url, COMPUTED).await;
        let peer = PostGraphile::start(Path::new(&folder), &url).await;
        let lists = load_at(&peer.address, |n| (String::new(), json!({ "query": PEER_LIST, "variables": { "owner": user(scattered(n)) } }))).await;
        let histories = load_at(&peer.address, move |n| {
            let low = scattered(n) & !LONG;
            (String::new(), json!({ "query": PEER_HISTORY, "variables": { "conversation": conversations[low] } }))
        })
        .await;
        print_row("PostGraphile", &lists, &histories);
    }
    execute(&server, &format!("drop database {name} with (force)")).await;
}

fn print_row(name: &str, lists: &Measured, histories: &Measured) {
    println!("| {name} | {:.0} | {:.1} | {:.1} | {:.0} | {:.1} | {:.1} |", lists.rate, lists.p50, lists.p99, histories.rate, histories.p50, histories.p99);
}

/// All users, in no order.
fn scattered(n: usize) -> usize {
    n.wrapping_mul(2_654_435_761) % USERS
}

async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a server");
    tokio::spawn(connection);
    client.batch_execute(sql).await.expect("done");
}

/// The tables as the service makes them, with rows. Returns the long conversations' ids, by their lower user.
async fn fill(url: &str) -> Arc<Vec<String>> {
    let kept = StoreUrl::Postgres(url.to_owned());
    let log = EventLog::open(&kept, None, Arc::new(now)).await.expect("a log");
    drop(ReadStore::open(&kept, log.id()).await.expect("views"));
    log.close().await;
    let numbers = [("$users", USERS), ("$contacts", CONTACTS), ("$long_messages", LONG_MESSAGES), ("$long", LONG)];
    let sql = numbers.iter().fold(FILL.replace("$text", TEXT), |sql, (name, number)| sql.replace(name, &number.to_string()));
    execute(url, &sql).await;
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a server");
    tokio::spawn(connection);
    let mut ids = vec![String::new(); USERS];
    let those = "select substr(owner, 5)::bigint, conversation::text from entrenous_views.conversations where version > 1";
    for row in client.query(those, &[]).await.expect("rows") {
        ids[usize::try_from(row.get::<_, i64>(0)).expect("a user")] = row.get(1);
    }
    let counts = client.query_one("select (select count(*) from entrenous_views.conversations) / 2, (select count(*) from entrenous_views.messages)", &[]);
    let counts = counts.await.expect("counts");
    println!("{} conversations, {} messages\n", counts.get::<_, i64>(0), counts.get::<_, i64>(1));
    Arc::new(ids)
}

/// The peer, as a process.
struct PostGraphile {
    child: Child,
    address: String,
}

impl PostGraphile {
    async fn start(folder: &Path, url: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let bin = folder.join("node_modules/.bin");
        let mut command = Command::new(bin.join("postgraphile"));
        command
            .current_dir(folder)
            .args(["--config", "graphile.config.js"])
            .env("DATABASE_URL", url)
            .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()))
            .env("PORT", port.to_string())
            .env("NODE_ENV", "production");
        let child = command.stdout(Stdio::null()).spawn().expect("PostGraphile starts");
        let peer = Self { child, address: format!("127.0.0.1:{port}") };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(&peer.address).await.is_err() {
            assert!(started.elapsed() < Duration::from_mins(1), "PostGraphile does not listen");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let answer = peer.first_answer().await;
        let rows = answer["data"]["rows"]["nodes"].as_array().expect("rows");
        assert!(rows.len() == 50 && rows[0]["lastMessage"]["text"].is_string() && rows[0]["contactUser"]["name"].is_string(), "{answer}");
        peer
    }

    async fn first_answer(&self) -> Value {
        let mut client = Client::connect(&self.address).await;
        client.ask("", &json!({ "query": PEER_LIST, "variables": { "owner": user(7) } }).to_string()).await;
        serde_json::from_slice(&client.body).expect("JSON")
    }
}

impl Drop for PostGraphile {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
