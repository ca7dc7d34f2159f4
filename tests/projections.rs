//! What operators see of the views (A3): where they stand, and every row that is not what the log says.

use std::sync::Arc;

use entrenous::audit::views::{Compared, ViewsError, compare, status};
use entrenous::cli::new_id;
use entrenous::domain::event::Position;
use entrenous::storage::StoreUrl;
use serde_json::json;

use crate::support::Server;
use crate::support::community::community;
use crate::support::inside::{Back, Inside, Place, dump};
use crate::support::process::run;
use crate::support::tampering::tamper_with_views;

async fn every_row_is_compared_beside_the_service(back: Back) {
    let place = Arc::new(Place::new(Back::Sqlite, back).await);
    let inside = Inside::at(&place).await;
    community(&inside).await;
    let (log, views) = (inside.app.log(), place.views(0));
    let compared = async || -> Compared { compare(log, &views, new_id(), |_| {}).await.expect("compared") };
    let sound = compared().await;
    assert_eq!(sound.differences, []);
    assert_eq!(sound.position, log.head());
    let rows = dump(&views).await.len() - 4;
    assert_eq!(sound.rows.iter().map(|(_, rows)| *rows).sum::<u64>(), rows as u64, "all of them");

    for (sql, told) in [
        ("update messages set text = 'autre chose' where number = 1 and sender = 'ann'", "messages: stored: "),
        ("update users set search_name = 'x' where id = 'bob'", "users: stored: id=\"bob\""),
        ("update conversations set read = read + 1 where owner = 'ann' and contact = 'bob'", "conversations: stored: owner=\"ann\""),
        ("update conversations set blocked = 1 - blocked where owner = 'dan' and contact = 'ann'", "blocked="),
        ("update section set list_template = 3", "section: stored: "),
        ("delete from messages where sender = 'cid' and number = 1", "messages: missing: "),
        ("delete from users where id = 'eve'", "users: missing: id=\"eve\""),
    ] {
        tamper_with_views(&views, sql).await;
        let found = compared().await;
        assert!(found.differences.iter().any(|difference| difference.to_string().contains(told)), "{sql}: {:?}", found.differences);
        assert!(!found.is_equal());
    }
    let surplus = "insert into users select 'mallory', name, picture, contactable, erased, 99, version, sort_key, search_name, changed, erased_at from users where id = 'ann'";
    tamper_with_views(&views, surplus).await;
    let found = compared().await;
    assert!(found.differences.iter().any(|difference| difference.to_string().starts_with("users: not in the log: id=\"mallory\"")));

    tamper_with_views(&views, "update checkpoints set version = 99 where projection = 'users'").await;
    assert!(matches!(compare(log, &views, new_id(), |_| {}).await, Err(ViewsError::OtherVersion(name)) if name == "users"));
    let states = status(log, &views).await.expect("read");
    assert_eq!(states.iter().filter(|state| !state.is_current).map(|state| state.name.as_str()).collect::<Vec<_>>(), ["users"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_every_row_of_a_file_is_compared_beside_the_service() {
    every_row_is_compared_beside_the_service(Back::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_every_row_in_postgresql_is_compared_beside_the_service() {
    every_row_is_compared_beside_the_service(Back::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_what_is_not_folded_yet_is_told() {
    let mut inside = Inside::start().await;
    let ann = inside.sign_in("ann").await;
    inside.sign_in("bob").await;
    let folded = inside.app.log().head();
    let _held = inside.stall().await;
    let app = inside.app.clone();
    let sending = tokio::spawn(async move { app.send_message(&ann, "bob", "salut", None).await });
    let mut head = inside.app.log().head_watch();
    head.wait_for(|head| *head > folded).await.expect("appended");
    let states = status(inside.app.log(), &inside.views()).await.expect("read");
    assert_eq!(states.len(), 4);
    for state in states {
        assert_eq!((state.position, state.head, state.behind, state.is_current), (folded, Position(folded.0 + 1), 1, true));
        assert!(state.waiting_since.is_some_and(|since| since <= entrenous::cli::now()));
    }
    sending.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_the_command_line_tells_it_beside_the_service() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    let data = server.data().to_str().expect("UTF-8");
    let (ok, out, error) = run(&["projections", "status", "--data", data]);
    assert!(ok && error.is_empty() && out.lines().count() == 5, "{out}{error}");
    let fields: Vec<&str> = out.lines().nth(1).expect("a line").split_whitespace().collect();
    assert_eq!(fields[..6], ["conversations", "3", "3", "0", "0", "2"]);
    let (ok, out, error) = run(&["projections", "verify", "--data", data]);
    assert!(ok && error.is_empty() && out.contains("compared at position 3: 2 of users, 2 of conversations, 1 of messages, 0 of section"), "{out}{error}");
    tamper_with_views(&StoreUrl::Sqlite(server.file("views.db")), "update messages set text = 'adieu'").await;
    let (ok, out, error) = run(&["projections", "verify", "--data", data]);
    assert!(!ok && error.contains("not what the log says"), "{error}");
    assert!(out.contains("text=\"adieu\"") && out.contains("by the log: text=\"salut\""), "{out}");
    let (ok, _, error) = run(&["projections", "verify", "--data", "/nowhere"]);
    assert!(!ok && error.contains("there is no event log here yet"), "{error}");
    alice.mutate("sendMessage", json!({ "to": "bob", "text": "encore" }), "message { id }").await;
}

/// Decision 26: whoever sends does not wait for the views, and whoever looks does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_is_answered_when_it_is_durable_and_whoever_looks_waits_for_the_views() {
    let mut inside = Inside::start().await;
    let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
    let reporter = inside.stall().await;
    let sent = inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "salut" }), "message { id text }").await;
    assert_eq!(sent["message"]["text"], "salut", "the views stand still");
    let page = "edges { node { id text } }";
    let looks = [
        "{ conversations(first: 9) { edges { node { lastMessage { id } } } } }".to_owned(),
        format!("{{ conversation(with: \"ann\") {{ messages(last: 9) {{ {page} }} }} }}"),
        "{ conversations(first: 9) { totalCount unreadCount } }".to_owned(),
        "{ users(first: 9) { edges { node { conversation { id } } } } }".to_owned(),
        "{ user(id: \"ann\") { conversation { unreadCount } } }".to_owned(),
        format!("{{ node(id: {}) {{ id }} }}", sent["message"]["id"]),
        format!("mutation {{ markAsRead(input: {{ with: \"ann\", upTo: {} }}) {{ conversation {{ unreadCount }} }} }}", sent["message"]["id"]),
    ];
    let inside = Arc::new(inside);
    let looking: Vec<_> = looks
        .into_iter()
        .map(|look| {
            let (inside, bob) = (Arc::clone(&inside), bob.clone());
            tokio::spawn(async move { inside.ask(&bob, &look, json!({})).await })
        })
        .collect();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(looking.iter().all(|look| !look.is_finished()), "nobody is shown less than was answered for");
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let projecting = tokio::spawn(entrenous::app::projector::run(inside.app.clone(), reporter, stopping));
    let mut seen = Vec::new();
    for look in looking {
        seen.push(look.await.expect("an answer"));
    }
    assert_eq!(seen[0]["conversations"]["edges"][0]["node"]["lastMessage"]["id"], sent["message"]["id"]);
    assert_eq!(seen[1]["conversation"]["messages"]["edges"][0]["node"]["text"], "salut");
    assert_eq!(seen[2]["conversations"]["totalCount"], 1);
    assert!(seen[3]["users"]["edges"][0]["node"]["conversation"].is_object() && seen[4]["user"]["conversation"].is_object());
    assert_eq!(seen[5]["node"]["id"], sent["message"]["id"]);
    assert_eq!(seen[6]["markAsRead"]["conversation"]["unreadCount"], 0, "it was found");
    stop.send_replace(true);
    projecting.await.expect("no panic").expect("no fault");
}
