//! Several nodes on one log and one read store: killed, frozen, cut off from the database, and still one
//! service.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrenous::domain::event::Position;
use entrenous::event_log::EventLog;
use entrenous::storage::StoreUrl;
use serde_json::json;
use tokio::sync::Mutex;

use crate::crash::whole_history;
use crate::event_log::since;
use crate::support::inside::dump;
use crate::support::postgres::{Database, Postgres, connect};
use crate::support::socket::Socket;
use crate::support::waiting::{PATIENCE, Tally, until};
use crate::support::{Person, Server};

/// How long a client waits for a node before it asks another.
const IMPATIENCE: Duration = Duration::from_secs(2);
const SENDERS: usize = 16;

/// Nodes that may be down, as clients know them.
type Addresses = Arc<Mutex<Vec<Person>>>;

/// Sends through whichever node answers, under the same id until one does.
async fn send(addresses: &Addresses, first: usize, contact: &str, id: &str) {
    let query = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id } userErrors { code } } }";
    let input = json!({ "input": { "to": contact, "text": "salut", "messageId": id } });
    for attempt in first.. {
        let person = {
            let addresses = addresses.lock().await;
            addresses[attempt % addresses.len()].clone()
        };
        let Ok(Some(reply)) = tokio::time::timeout(IMPATIENCE, person.try_request(query, input.clone())).await else { continue };
        if reply.code() == "UNAVAILABLE" {
            continue;
        }
        assert_eq!(reply.body["data"]["sendMessage"]["message"]["id"], id, "{}", reply.body);
        return;
    }
}

/// Pairs who write to each other through any node, until told to stop.
struct Load {
    addresses: Vec<Addresses>,
    stop: Arc<AtomicBool>,
    sent: Tally,
    senders: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

fn user(n: usize) -> String {
    format!("user{n}")
}

impl Load {
    async fn start(nodes: &[Server]) -> Self {
        let addresses: Vec<Addresses> = (0..SENDERS).map(|n| Arc::new(Mutex::new(nodes.iter().map(|node| node.person(&user(n))).collect()))).collect();
        for n in 0..SENDERS {
            nodes[n % nodes.len()].person(&user(n)).ask("{ me { id } }").await;
        }
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Tally::new());
        let sender = |n: usize| {
            let (addresses, stop, sent) = (Arc::clone(&addresses[n]), Arc::clone(&stop), sent.clone());
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = entrenous::cli::new_id().to_string();
                    send(&addresses, n + ids.len(), &user(n ^ 1), &id).await;
                    sent.add_one();
                    ids.push(id);
                }
                ids
            })
        };
        let senders = (0..SENDERS).map(sender).collect();
        Self { addresses, stop, sent, senders }
    }

    /// A node is somewhere else now.
    async fn moved(&self, node: usize, server: &Server) {
        for (n, addresses) in self.addresses.iter().enumerate() {
            addresses.lock().await[node] = server.person(&user(n));
        }
    }

    async fn end(self) -> HashSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent = HashSet::new();
        for sender in self.senders {
            sent.extend(tokio::time::timeout(PATIENCE, sender).await.expect("in time").expect("no wrong answer"));
        }
        sent
    }
}

/// Every node tells the same, and no more nor less than what was sent; the log is sound.
async fn verify(nodes: &[Server], log: &str, sent: &HashSet<String>) {
    let mut stored: HashMap<String, usize> = HashMap::new();
    for n in (0..SENDERS).step_by(2) {
        let mut as_told = HashSet::new();
        for node in nodes {
            let (one, other) = (node.person(&user(n)), node.person(&user(n + 1)));
            let (hers, his) = (whole_history(&one, &other.id).await, whole_history(&other, &one.id).await);
            assert_eq!(hers, his, "one order");
            for (person, contact) in [(&one, &other), (&other, &one)] {
                let unread = hers.iter().filter(|(_, sender)| *sender == contact.id).count();
                assert_eq!(person.badge(contact).await, i64::try_from(unread).expect("a count"));
            }
            as_told.insert(hers);
        }
        assert_eq!(as_told.len(), 1, "every node tells the same");
        for (id, _) in as_told.into_iter().flatten() {
            *stored.entry(id).or_default() += 1;
        }
    }
    assert!(stored.values().all(|times| *times == 1), "each once");
    assert_eq!(stored.into_keys().collect::<HashSet<_>>(), *sent, "nothing is lost, nothing is made up");
    let log = EventLog::open_read_only(&StoreUrl::Postgres(log.to_owned()), None).await.expect("the log");
    let events = since(&log, Position(0)).await;
    assert!(events.iter().zip(1..).all(|(event, position)| event.position == Position(position)), "no hole");
    assert_eq!(events.len(), SENDERS + sent.len(), "each registered once, each message once");
}

async fn leader(database: &tokio_postgres::Client) -> Option<uuid::Uuid> {
    database.query_one("select node from entrenous_views.projector", &[]).await.expect("a row").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_frozen_nodes_lose_and_repeat_nothing() {
    let database = Database::create().await;
    let url = database.url();
    let mut nodes: Vec<Server> = (0..3).map(|_| Server::start_node(&url, Some(&url))).collect();
    let load = Load::start(&nodes).await;
    let operator = database.client().await;
    for round in 0..4 {
        load.sent.grows_by(100).await;
        let led_by = leader(&operator).await;
        let victim = round % nodes.len();
        if round % 2 == 0 {
            nodes[victim].kill();
            load.sent.grows_by(150).await;
            let restarted = nodes.remove(victim).again();
            nodes.insert(victim, restarted);
            load.moved(victim, &nodes[victim]).await;
        } else {
            nodes[victim].signal("STOP");
            load.sent.grows_by(150).await;
            nodes[victim].signal("CONT");
        }
        load.sent.grows_by(100).await;
        assert!(leader(&operator).await.is_some(), "somebody leads after {led_by:?}");
    }
    let sent = load.end().await;
    verify(&nodes, &url, &sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_leads_within_seconds_when_the_leader_is_killed_or_frozen() {
    let database = Database::create().await;
    let url = database.url();
    let mut nodes = vec![Server::start_node(&url, Some(&url))];
    let operator = database.client().await;
    let [alice, bob] = nodes[0].people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    nodes.push(Server::start_node(&url, Some(&url)));
    for (round, signal) in ["STOP", "KILL"].into_iter().enumerate() {
        // The older one leads; it is frozen, then the other killed.
        let before = leader(&operator).await.expect("a leader");
        nodes[round].signal(signal);
        let other = &nodes[1 - round];
        let text = format!("after {signal}");
        other.person("alice").sent(&other.person("bob"), &text).await;
        assert_ne!(leader(&operator).await, Some(before));
        assert_eq!(other.person("bob").history(&other.person("alice")).await.expect("a history").last(), Some(&text));
        if signal == "STOP" {
            nodes[round].signal("CONT");
            let back = nodes[round].person("bob");
            until("what was frozen shows what it missed", async || back.history(&nodes[0].person("alice")).await.is_some_and(|texts| texts.contains(&text)))
                .await;
        }
    }
    nodes[0].stop();
    assert_eq!(leader(&operator).await, None, "who stops lets others lead at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_and_frozen_loses_and_repeats_nothing() {
    let database = Arc::new(tokio::task::spawn_blocking(Postgres::private_server).await.expect("a server"));
    let url = database.url();
    let nodes: Vec<Server> = (0..2).map(|_| Server::start_node(&url, Some(&url))).collect();
    let load = Load::start(&nodes).await;
    for round in 0..4 {
        load.sent.grows_by(100).await;
        let victim = Arc::clone(&database);
        let hurt = move || {
            if round % 2 == 0 {
                victim.stop_immediate();
                victim.start();
            } else {
                victim.freeze();
                std::thread::park_timeout(Duration::from_secs(3));
                victim.thaw();
            }
        };
        tokio::task::spawn_blocking(hurt).await.expect("hurt and healed");
        load.sent.grows_by(100).await;
    }
    let sent = load.end().await;
    verify(&nodes, &url, &sent).await;
    for node in &nodes {
        let log = node.log();
        let said = |what: &str| log.matches(what).count();
        assert_eq!(said("the views wait for their stores"), said("the views follow the log again"), "an outage is told when it begins and when it ends: {log}");
    }
}

/// What an open client is told on a node other than the one that did it, in order, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_tells_its_own_clients() {
    let database = Database::create().await;
    let url = database.url();
    let nodes = [Server::start_node(&url, Some(&url)), Server::start_node(&url, Some(&url))];
    let [alice, bob] = nodes[0].people(["alice", "bob"]).await;
    for (here, there) in [(0, 1), (1, 0)] {
        let mut device = Socket::inbox(&nodes[here], &nodes[here].person("bob")).await;
        let (alice, bob) = (nodes[there].person(&alice.id), nodes[there].person(&bob.id));
        for n in 0..30 {
            let id = alice.sent(&bob, &n.to_string()).await;
            let told = device.event().await;
            assert_eq!((&told["__typename"], &told["message"]["id"]), (&json!("MessageAdded"), &json!(id)), "{told}");
        }
        bob.read(&alice).await;
        assert_eq!(device.event().await["__typename"], "ConversationChanged");
        bob.block(&alice).await;
        assert_eq!(device.event().await["__typename"], "ConversationChanged");
        alice.sent(&bob, "withheld").await;
        alice.mutate("updateProfile", json!({ "name": format!("Alice {here}") }), "user { id }").await;
        assert_eq!(device.event().await["__typename"], "ContactChanged", "and nothing of what is withheld (S4)");
        for n in 0..40 {
            alice.sent(&bob, &format!("withheld, too: {n}")).await;
        }
        bob.unblock(&alice).await;
        assert_eq!(device.event().await["__typename"], "ConversationChanged", "one for all that surfaced (B3)");
        let newcomer = nodes[there].person(&format!("newcomer{here}"));
        let first = newcomer.sent(&bob, "hello").await;
        assert_eq!(device.event().await["message"]["id"], first, "that somebody is registered is no change of a contact");
        nodes[there].admin().templates(2, 2).await;
        assert_eq!(device.event().await["__typename"], "ChatSectionChanged");
        nodes[there].admin().templates(1, 1).await;
        assert_eq!(device.event().await["__typename"], "ChatSectionChanged");
        bob.delete(&alice).await;
        assert_eq!(device.event().await["__typename"], "ConversationRemoved");
    }
}

/// B6: what the contact does for themselves at one node does not keep a sender at another waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_a_send_never_conflicts_with_what_the_contact_did_at_another_node() {
    let database = Database::create().await;
    let url = database.url();
    let nodes = [Server::start_node(&url, Some(&url)), Server::start_node(&url, Some(&url))];
    let [alice, bob] = nodes[0].people(["alice", "bob"]).await;
    for (here, there) in [(0, 1), (1, 0)] {
        let (alice, bob) = (nodes[here].person(&alice.id), nodes[there].person(&bob.id));
        let heard = async || {
            let head = nodes[there].metric("entrenous_log_position").await;
            until("hear", async || nodes[here].metric("entrenous_projection_position").await >= head).await;
        };
        alice.sent(&bob, "first").await;
        let before = nodes[here].metric("entrenous_conflicts_total").await;
        for n in 0..5 {
            bob.read(&alice).await;
            heard().await;
            alice.sent(&bob, &format!("read {n}")).await;
            bob.block(&alice).await;
            heard().await;
            alice.sent(&bob, &format!("blocked {n}")).await;
            bob.unblock(&alice).await;
            bob.delete(&alice).await;
            bob.open(&alice).await;
            heard().await;
            alice.sent(&bob, &format!("deleted and reopened {n}")).await;
        }
        assert!(nodes[here].metric("entrenous_conflicts_total").await < before + 0.5);
    }
}

/// U5 over nodes: many newcomers at once, at each, and no more than fit are let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u5_the_limit_holds_however_many_register_at_several_nodes_at_once() {
    let database = Database::create().await;
    let url = database.url();
    let nodes: Vec<Server> = (0..2).map(|_| Server::start_node_with(&url, Some(&url), &["--user-limit", "10"])).collect();
    let newcomers = (0..40).map(|n| {
        let person = nodes[n % 2].person(&format!("newcomer{n}"));
        async move { person.request("{ me { id } }", json!({})).await }
    });
    let replies = futures_util::future::join_all(newcomers).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 10);
    assert!(replies.iter().all(|reply| reply.status == 200 || (reply.status == 403 && reply.code() == "USER_LIMIT_REACHED")), "{replies:?}");
    assert_eq!(connect(&url).await.query_one("select head from entrenous_log.log", &[]).await.expect("a head").get::<_, i64>(0), 10);
}

/// Nodes with views of their own show the same, and each other's writes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_views_of_their_own_show_what_another_answered() {
    let database = Database::create().await;
    let url = database.url();
    let nodes = [Server::start_node(&url, None), Server::start_node(&url, None)];
    let [alice, bob] = nodes[0].people(["alice", "bob"]).await;
    for n in 0..50 {
        let (here, there) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        here.person(&alice.id).sent(&bob, &n.to_string()).await;
        let texts = there.person(&bob.id).history(&alice).await.expect("a history");
        assert_eq!(texts.last(), Some(&n.to_string()));
        assert_eq!(there.person(&bob.id).badge(&alice).await, i64::try_from(n).expect("few") + 1);
    }
    let views = |node: &Server| StoreUrl::Sqlite(node.file("views.db"));
    assert_eq!(dump(&views(&nodes[0])).await, dump(&views(&nodes[1])).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_twice_stops_at_once_though_its_database_does_not_answer() {
    let database = Arc::new(tokio::task::spawn_blocking(Postgres::private_server).await.expect("a server"));
    let url = database.url();
    let mut node = Server::start_node(&url, Some(&url));
    let [alice, bob] = node.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    let frozen = Arc::clone(&database);
    tokio::task::spawn_blocking(move || frozen.freeze()).await.expect("frozen");
    let ready = tokio::time::timeout(PATIENCE, reqwest::get(format!("{}/health/ready", node.url))).await.expect("in time").expect("answered");
    assert_eq!(ready.status(), 503, "whoever asks whether it can serve does not wait for the database");
    let query = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let waiting = tokio::spawn(async move { alice.try_request(query, json!({ "input": { "to": "bob", "text": "encore" } })).await });
    node.signal("TERM");
    until("it is told", async || node.log().contains("stopping")).await;
    node.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || node.wait()).await.expect("an end");
    assert_eq!(ended.code(), Some(1), "what was under way was cut off");
    assert!(waiting.await.expect("no panic").is_none(), "it was not answered");
    tokio::task::spawn_blocking(move || database.thaw()).await.expect("thawed");
}
