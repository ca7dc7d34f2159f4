//! The contract of the read store: disposable, never wrong.

use std::fs;

use entrenous::read_store::{ReadStore, Slice, Take};
use serde_json::json;

use crate::support::inside::{Inside, dump};
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
    server.signal("TERM");
    assert!(server.wait().success());
    let rows = dump(&server.file("views.db"));
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
        server.signal("TERM");
        assert!(server.wait().success());
        assert_eq!(dump(&server.file("views.db")), rows, "{damage}");
    }
}

#[tokio::test]
async fn rows_of_another_log_are_made_anew() {
    let (here, elsewhere) = (Inside::start().await, Inside::start().await);
    let viewer = here.sign_in("alice").await;
    here.sign_in("bob").await;
    let path = elsewhere.folder().join("copy.db");
    fs::copy(here.views(), &path).expect("copied");
    let wal = |path: &std::path::Path| format!("{}-wal", path.display());
    fs::copy(wal(&here.views()), wal(&path)).expect("copied");
    let log = elsewhere.app.log();
    let store = ReadStore::open(&path, log.id(), log.head()).expect("views");
    let page = store.directory(viewer.id(), "", Slice { after: None, before: None, take: Take::First(10) }).await.expect("read");
    assert!(page.rows.is_empty(), "nobody of the other log");
}
