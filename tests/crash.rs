//! `kill -9` under load: what was acknowledged is there, once, in both histories in one order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::Mutex;

use crate::support::process::run;
use crate::support::waiting::Tally;
use crate::support::{Person, Server, nodes};

const SENDERS: usize = 64;
const ROUNDS: usize = 10;
/// How many sends are acknowledged before each kill.
const BEFORE_A_KILL: u64 = 300;

/// Every message of a conversation as one of its users has it: ids and senders, the oldest first.
pub async fn whole_history(person: &Person, contact: &str) -> Vec<(String, String)> {
    let (mut cursor, mut all) = (json!(null), Vec::new());
    loop {
        let query = "query($with: ID!, $after: String) { conversation(with: $with) { messages(first: 100, after: $after) { edges { node { id sender { id } } } pageInfo { hasNextPage endCursor } } } }";
        let data = person.ask_with(query, json!({ "with": contact, "after": cursor })).await;
        let page = &data["conversation"]["messages"];
        if page.is_null() {
            return all;
        }
        let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        all.extend(nodes(page).iter().map(|node| (text(&node["id"]), text(&node["sender"]["id"]))));
        if page["pageInfo"]["hasNextPage"] == false {
            return all;
        }
        cursor = page["pageInfo"]["endCursor"].clone();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_64_senders_ten_times_nothing_acknowledged_is_lost() {
    let mut server = Server::start();
    let ids: Vec<String> = (0..SENDERS).map(|n| format!("user{n}")).collect();
    let people = |server: &Server| ids.iter().map(|id| server.person(id)).collect::<Vec<_>>();
    for person in people(&server) {
        person.ask("{ me { id } }").await;
    }
    let acknowledged = Arc::new(Mutex::new(HashSet::new()));
    for round in 0..ROUNDS {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Tally::new());
        let senders: Vec<_> = people(&server)
            .into_iter()
            .enumerate()
            .map(|(n, person)| {
                let (stop, count, acknowledged) = (Arc::clone(&stop), count.clone(), Arc::clone(&acknowledged));
                // Each writes to a neighbour who writes back, so that both sides race.
                let contact = format!("user{}", n ^ 1);
                tokio::spawn(async move {
                    let query = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id } userErrors { code } } }";
                    while !stop.load(Ordering::Relaxed) {
                        let id = entrenous::cli::new_id().to_string();
                        let Some(reply) = person.try_request(query, json!({ "input": { "to": contact, "text": "salut", "messageId": id } })).await else {
                            break;
                        };
                        assert_eq!(reply.body["data"]["sendMessage"]["message"]["id"], id.as_str(), "{}", reply.body);
                        acknowledged.lock().await.insert(id);
                        count.add_one();
                    }
                })
            })
            .collect();
        count.reaches(BEFORE_A_KILL).await;
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.await.expect("no wrong answer");
        }
        server = server.again();
        verify(&server, &people(&server), &*acknowledged.lock().await, round).await;
    }
}

async fn verify(server: &Server, people: &[Person], acknowledged: &HashSet<String>, round: usize) {
    let mut stored = Vec::new();
    for pair in people.chunks(2) {
        let [one, other] = pair else { panic!("pairs") };
        let (hers, his) = (whole_history(one, &other.id).await, whole_history(other, &one.id).await);
        assert_eq!(hers, his, "one order");
        for (person, contact) in [(one, other), (other, one)] {
            let unread = hers.iter().filter(|(_, sender)| *sender == contact.id).count();
            if !hers.is_empty() {
                assert_eq!(person.badge(contact).await, i64::try_from(unread).expect("a count"), "round {round}");
            }
        }
        stored.extend(hers.into_iter().map(|(id, _)| id));
    }
    let unique: HashSet<String> = stored.iter().cloned().collect();
    assert_eq!(unique.len(), stored.len(), "each once");
    assert!(acknowledged.is_subset(&unique), "round {round}: nothing acknowledged is lost");
    assert_eq!(server.events(), SENDERS + stored.len(), "and the log has no more");
}

/// As an operator's shell does, or a backup: whoever opens and closes a file must not take the write-ahead log from the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_into_the_files_takes_nothing_from_them() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let mut sent = Vec::new();
    for round in 0..2 {
        for file in ["events.db", "views.db", "events.keys"] {
            let text = format!("{round} {file}");
            server.person("alice").sent(&bob, &text).await;
            let looking = rusqlite::Connection::open(server.file(file)).expect("opened");
            let tables: i64 = looking.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).expect("counted");
            assert!(tables > 0);
            drop(looking);
            sent.push(text);
        }
        server.person("alice").sent(&bob, "après").await;
        sent.push("après".to_owned());
        server.kill();
        server = server.again();
        assert_eq!(server.person("bob").history(&alice).await.expect("a history"), sent);
    }
}

/// Views are written without flushes. What the system was given outlives the process; in another run of the machine nobody knows
/// what of it reached the disk, so they are made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_were_written_when_the_machine_went_down_are_made_anew() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.kill();
    let current = |server: &Server| std::fs::read_link(server.file("views.db")).expect("a link");
    let note = |server: &Server, number: u32| server.file(&format!("views.db.{number}.unflushed"));
    assert!(note(&server, 1).exists());
    // Torn pages can look right.
    let views = rusqlite::Connection::open(server.file("views.db.1")).expect("views");
    views.execute("update messages set text = 'torn'", []).expect("changed");
    drop(views);

    server = server.again();
    assert_eq!(current(&server).to_str(), Some("views.db.1"), "the machine is the same: they are folded on");
    assert_eq!(server.person("bob").history(&alice).await.expect("a history"), ["torn"]);
    server.kill();
    std::fs::write(note(&server, 1), "another run of the machine").expect("written");
    server = server.again();
    assert_eq!(server.person("bob").history(&alice).await.expect("a history"), ["salut"]);
    assert_eq!(current(&server).to_str(), Some("views.db.2"));

    server.person("alice").sent(&bob, "après").await;
    server.stop();
    assert!(!note(&server, 2).exists() && std::fs::metadata(server.file("views.db.2-wal")).map_or(0, |log| log.len()) == 0, "all is on the disk");
    server = server.again();
    assert_eq!(current(&server).to_str(), Some("views.db.2"));
    assert_eq!(server.person("bob").history(&alice).await.expect("a history"), ["salut", "après"]);
}

/// Such views would be made anew from a log that lost what they say, and nobody would hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_are_to_be_made_anew_say_first_what_the_log_lost() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    server.stop();
    let older = std::fs::read(server.file("events.db")).expect("a log");
    server = server.again();
    server.person("alice").sent(&bob, "salut").await;
    server.kill();
    std::fs::write(server.file("views.db.1.unflushed"), "another run of the machine").expect("written");
    for rest in ["events.db-wal", "events.db-shm"] {
        std::fs::remove_file(server.file(rest)).expect("it was left");
    }
    std::fs::write(server.file("events.db"), older).expect("restored");
    let data = server.data().to_str().expect("UTF-8").to_owned();
    for _ in 0..2 {
        let (ok, _, told) = run(&["serve", "--listen", "127.0.0.1:0", "--data", &data]);
        assert!(!ok && told.contains("events that this event log does not have"), "{told}");
    }
    std::fs::remove_file(server.file("views.db")).expect("the operator accepts it");
    server = server.again();
    assert_eq!(server.person("bob").history(&alice).await, None);
}
