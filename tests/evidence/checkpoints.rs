//! What a checkpoint tells that somebody else has, where nothing else does.

use std::sync::Arc;

use entrenous::audit::verify::Finding;
use entrenous::domain::event::Position;
use entrenous::event_log::EventLog;
use entrenous::event_log::merkle::{Frontier, Hash};
use serde_json::json;

use super::{checkpoint, findings, log_with_a_past};
use crate::support::inside::{Back, Inside, Place, sqlite};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_kurrentdb_is_found_by_a_checkpoint() {
    let place = Arc::new(Place::new(Back::Kurrent, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    assert_eq!(findings(&place.log(), &checkpoints).await, [""; 0]);
    place.peer().tamper("conversation-", |data| {
        let text = String::from_utf8(data.clone()).expect("JSON").replace("\"senderNumber\":8", "\"senderNumber\":9");
        *data = text.into_bytes();
    });
    assert_eq!(findings(&place.log(), &checkpoints[..1]).await, [""; 0], "it was after the first");
    assert!(findings(&place.log(), &checkpoints).await[0].contains("not those of the checkpoint"));
}

/// Whoever can write the file can make its hashes and its tree anew. A checkpoint that somebody else has still tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_who_makes_all_hashes_anew_is_found_by_a_checkpoint() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let file = place.folder().join("events.db");
    let connection = rusqlite::Connection::open(&file).expect("a file");
    connection.execute("update events set data = replace(data, '\"senderNumber\":4', '\"senderNumber\":5')", []).expect("changed");
    let log = EventLog::open_read_only(&place.log(), place.keys().as_ref()).await.expect("a log");
    let mut tree = Frontier::default();
    for event in log.read_all_stored(Position(0), 100_000).await.expect("read") {
        let leaf = Hash::of_leaf(&event);
        tree.push(leaf);
        connection.execute("update events set hash = ?1 where position = ?2", rusqlite::params![leaf.0, event.position.0]).expect("changed");
    }
    connection.execute("update merkle set size = 0, frontier = x''", []).expect("changed");
    drop((connection, log));
    // The service itself makes the tree again.
    let inside = Inside::at(&place).await;
    let ann = inside.sign_in("ann").await;
    inside.mutate(&ann, "toggleContactable", json!({ "contactable": true }), "user { id }").await;
    assert_eq!(findings(&place.log(), &[]).await, [""; 0], "nothing in the file tells");
    assert_eq!(findings(&place.log(), &checkpoints[..1]).await, [""; 0], "it was after the first");
    assert_eq!(findings(&place.log(), &checkpoints).await, [Finding::OtherThanCheckpoint { size: tree.size() }.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_file_put_back_is_found_by_a_checkpoint() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let file = place.folder().join("events.db");
    let older = place.folder().join("older.db");
    // As a backup is made: what the file has beside it (its WAL) comes along.
    let backup = rusqlite::Connection::open(&file).expect("a file");
    backup.execute("vacuum into ?1", [older.to_str().expect("UTF-8")]).expect("copied");
    drop(backup);
    let inside = Inside::at(&place).await;
    let bob = inside.sign_in("bob").await;
    inside.mutate(&bob, "sendMessage", json!({ "to": "ann", "text": "encore" }), "message { id }").await;
    let newest = checkpoint(inside.app.log()).await;
    assert_eq!(findings(&sqlite(&older), &checkpoints).await, [""; 0], "by itself it is what it was");
    let found = findings(&sqlite(&older), std::slice::from_ref(&newest)).await;
    assert_eq!(found, [Finding::BeforeCheckpoint { size: newest.size, found: newest.size - 1 }.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_of_the_events_wherever_they_are() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let source = EventLog::open_read_only(&place.log(), place.keys().as_ref()).await.expect("a log");
    let other = Place::new(Back::Postgres, Back::Sqlite).await;
    let target = EventLog::open(&other.log(), other.keys().as_ref(), Arc::new(entrenous::cli::now)).await.expect("a log");
    entrenous::event_log::copy::copy(&source, &target, |_| {}).await.expect("copied");
    let copied = checkpoint(&target).await;
    assert_eq!((copied.size, copied.root), (checkpoints[1].size, checkpoints[1].root));
    assert_ne!(copied.origin, checkpoints[1].origin, "it is another log");
}
