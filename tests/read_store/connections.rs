//! Connections that are lost, left in the middle of a read, or ended with their server.

use std::sync::Arc;

use entrenous::cli::new_id;
use entrenous::domain::event::Position;
use entrenous::read_store::{Checkpoint, ReadStore, Rows, StoreError};
use entrenous::storage::StoreUrl;
use futures_util::future::join_all;

use super::{LOG, at, lead, open, person, user};
use crate::support::inside::{Back, Place};
use crate::support::postgres::{self, Postgres};
use crate::support::waiting::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_replaced_and_a_lost_lease_is_had_again() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let node = new_id();
    let lease = lead(&store, node).await;
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    let operator = postgres::connect(&place.url()).await;
    let all = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name like 'entrenous%'";
    for n in 0..5 {
        assert!(store.user(&user("ann")).await.expect("answered").is_some(), "{n}");
        operator.execute(all, &[]).await.expect("terminated");
    }
    tokio::time::timeout(PATIENCE, lease.lost()).await.expect("it is told");
    let late = lease.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert_eq!(store.checkpoint().await.expect("answered"), at(1), "what became of a batch is found out by the checkpoint");
    let again = store.try_lead(node).await.expect("answered").expect("it is its own");
    again.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_and_started_again_is_asked_again() {
    let server = Arc::new(tokio::task::spawn_blocking(Postgres::private_server).await.expect("a server"));
    let url = StoreUrl::Postgres(server.url());
    let store = ReadStore::open(&url, LOG).await.expect("views");
    let lease = lead(&store, new_id()).await;
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    // Views are not waited for on the disk; what is asked for explicitly is.
    postgres::connect(&server.url()).await.batch_execute("checkpoint").await.expect("flushed");
    let stopped = Arc::clone(&server);
    tokio::task::spawn_blocking(move || stopped.stop_immediate()).await.expect("stopped");
    let refused = store.user(&user("ann")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let started = Arc::clone(&server);
    tokio::task::spawn_blocking(move || started.start()).await.expect("started");
    assert!(store.user(&user("ann")).await.expect("answered").is_some());
    lead(&store, new_id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_nobody_waits_for_any_more_leaves_no_connection_in_the_past() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let lease = lead(&store, new_id()).await;
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    for _ in 0..50 {
        let viewer = user("ann");
        // Its connection is there at once: it is dropped while its transaction begins.
        let mut read = std::pin::pin!(store.missed(&viewer, Position(0), 10));
        assert!(futures_util::poll!(read.as_mut()).is_pending());
    }
    // Where one were in the past, its moment would begin here.
    join_all((0..50).map(|_| async { store.user(&user("ann")).await.expect("answered") })).await;
    lease.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await.expect("written");
    for found in join_all((0..50).map(|_| async { store.user(&user("bob")).await.expect("answered") })).await {
        assert!(found.is_some(), "what is written is read, whatever the connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_makes_doubt_of_how_far_the_views_are() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let lease = lead(&store, new_id()).await;
    let mut seen = store.checkpoint_watch();
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    let operator = postgres::connect(&place.url()).await;
    let listeners = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and query like 'select position%'";
    let mut doubted = Box::pin(seen.wait_for(|checkpoint| *checkpoint == Checkpoint::default()));
    let terminated = async {
        loop {
            operator.execute(listeners, &[]).await.expect("terminated");
        }
    };
    tokio::select! {
        outcome = tokio::time::timeout(PATIENCE, &mut doubted) => drop(outcome.expect("in time").expect("open")),
        () = terminated => {}
    }
    drop(doubted);
    tokio::time::timeout(PATIENCE, seen.wait_for(|checkpoint| *checkpoint == at(1))).await.expect("looked at again").expect("open");
}
