//! The read store under the service: disposable, never wrong.

use std::fs;

use serde_json::json;

use crate::support::inside::{Inside, dump_file};
use crate::support::process::run;
use crate::support::{Server, nodes};

#[tokio::test]
async fn a_list_of_fifty_costs_a_constant_number_of_calls() {
    let inside = Inside::start().await;
    let me = inside.sign_in("me").await;
    let calls_of = async |query: &str| {
        let before = inside.app.store().calls();
        let data = inside.ask(&me, query, json!({})).await;
        (inside.app.store().calls() - before, data)
    };
    let list = "{ conversations(first: 50) { totalCount unreadCount edges { node {
        id contact { name avatarUrl canMessage conversation { id } } blocked unreadCount lastMessage { text sender { name } } actions
        messages(last: 3) { edges { node { text mine sender { name } } } }
    } } } }";
    let directory = "{ users(first: 50) { edges { node { name canMessage blocked conversation { unreadCount lastMessage { text sender { name } } messages(last: 3) { edges { node { text } } } } } } } }";
    let mut costs = Vec::new();
    for contacts in [2, 50] {
        for n in 0..contacts {
            let contact = inside.sign_in(&format!("contact{n}")).await;
            for (from, to) in [(&contact, &me), (&me, &contact)] {
                let input = json!({ "to": to.id().as_str(), "text": "salut" });
                inside.mutate(from, "sendMessage", input, "message { id }").await;
            }
        }
        let (list_calls, data) = calls_of(list).await;
        assert_eq!(nodes(&data["conversations"]).len(), contacts);
        let (directory_calls, _) = calls_of(directory).await;
        costs.push((list_calls, directory_calls));
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[1].0 <= 4 && costs[1].1 <= 3, "{costs:?}");
}

#[tokio::test]
async fn a1_without_its_file_the_same_answers_come_from_the_log() {
    let mut server = Server::start();
    let [alice, bob, carol] = server.people(["alice", "bob", "carol"]).await;
    alice.sent(&bob, "un").await;
    bob.block(&alice).await;
    alice.sent(&bob, "deux").await;
    carol.sent(&bob, "trois").await;
    bob.delete(&carol).await;
    let answers = async |server: &Server| {
        let mut answers = Vec::new();
        for person in ["alice", "bob", "carol"].map(|id| server.person(id)) {
            answers.push((person.list().await, person.ask("{ users { edges { cursor node { id canMessage blocked } } } }").await));
        }
        answers
    };
    let before = answers(&server).await;
    server.stop();
    let rows = dump_file(&server.file("views.db"));
    for damage in ["missing", "damaged", "foreign projection"] {
        match damage {
            "missing" => fs::remove_file(server.file("views.db")).expect("removed"),
            "damaged" => fs::write(server.file("views.db"), [7; 10_000]).expect("written"),
            _ => {
                let connection = rusqlite::Connection::open(server.file("views.db")).expect("views");
                connection.execute_batch("update checkpoints set version = 99; delete from messages").expect("changed");
            }
        }
        server = server.again();
        assert_eq!(answers(&server).await, before, "{damage}");
        server.stop();
        assert_eq!(dump_file(&server.file("views.db")), rows, "{damage}");
    }
}

/// A service that had a conversation and was stopped; with its data in one file each.
async fn stopped() -> Server {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.stop();
    server
}

/// Starting must fail, say what to do, and change neither the log nor a row.
fn refused(server: &Server) {
    let state = || (fs::read(server.file("events.db")).ok(), dump_file(&server.file("views.db")));
    let before = state();
    let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", server.data().to_str().expect("UTF-8")]);
    assert!(!ok && error.contains("events that") && error.contains("does not have") && error.contains("delete"), "{error}");
    let after = state();
    assert!(after.0 == before.0, "the log changed");
    assert_eq!(after.1, before.1);
}

/// What is made of a log without its keys is empty: no command may take that for the truth.
#[tokio::test]
async fn a3_without_the_keys_of_the_log_nothing_is_made_of_it() {
    let (here, elsewhere) = (stopped().await, stopped().await);
    let data = here.data().to_str().expect("UTF-8").to_owned();
    let other = format!("sqlite:{}", elsewhere.file("events.keys").display());
    let nowhere = format!("sqlite:{}", here.file("event.keys").display());
    let before = dump_file(&here.file("views.db"));
    for keys in [&other, &nowhere] {
        for command in
            [&["projections", "rebuild"] as &[&str], &["projections", "verify"], &["export-user", "alice"], &["replay", "--user", "alice"], &["events"]]
        {
            let (ok, out, error) = run(&[command, &["--data", &data, "--keys", keys]].concat());
            assert!(!ok && out.is_empty() && error.contains("does not hold the keys of"), "{command:?} {keys}: {out}{error}");
        }
    }
    let to = tempfile::tempdir().expect("a folder");
    let (from, to) = (format!("sqlite:{}", here.file("events.db").display()), format!("sqlite:{}", to.path().join("copy.db").display()));
    let (ok, _, error) = run(&["copy", "--from", &from, "--from-keys", &nowhere, "--to", &to]);
    assert!(!ok && error.contains("--from-keys"), "{error}");
    assert_eq!(dump_file(&here.file("views.db")), before);
    assert!(!here.file("event.keys").exists(), "none is made");
    let (ok, out, error) = run(&["export-user", "alice", "--data", &data]);
    assert!(ok && out.contains("alice"), "{error}");
}

#[tokio::test]
async fn a_log_that_lost_what_the_views_know_is_refused_until_the_views_are_deleted() {
    let (here, elsewhere) = (stopped().await, stopped().await);
    let log = fs::read(here.file("events.db")).expect("a log");
    fs::remove_file(here.file("events.db")).expect("removed");
    refused(&here);
    fs::write(here.file("events.db"), "").expect("written");
    refused(&here);
    let keys = fs::read(here.file("events.keys")).expect("keys");
    fs::copy(elsewhere.file("events.db"), here.file("events.db")).expect("copied");
    let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", here.data().to_str().expect("UTF-8")]);
    assert!(!ok && error.contains("events.keys does not hold the keys of") && error.contains("--keys"), "{error}");
    fs::copy(elsewhere.file("events.keys"), here.file("events.keys")).expect("copied");
    refused(&here);
    fs::write(here.file("events.db"), log).expect("written");
    fs::write(here.file("events.keys"), keys).expect("written");
    let edit = |statement: &str| {
        let connection = rusqlite::Connection::open(here.file("events.db")).expect("a log");
        connection.execute_batch(statement).expect("edited");
    };
    edit("update events set id = x'00112233445566778899aabbccddeeff' where position = 3");
    refused(&here);
    edit("delete from events where position = 3");
    refused(&here);
    fs::remove_file(here.file("views.db")).expect("removed");
    let here = here.again();
    assert!(here.person("bob").list().await.is_empty(), "what the log still says");
    assert_eq!(here.events(), 2);
}
