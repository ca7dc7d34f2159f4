//! Of those who have a store one folds, and whoever was overtaken writes nothing.

use entrenous::cli::new_id;
use entrenous::domain::event::Position;
use entrenous::read_store::{Checkpoint, OpenError, ReadStore, Rows, StoreError};
use futures_util::future::join_all;

use super::{LOG, at, lead, open, person, user};
use crate::support::inside::{Back, Place};
use crate::support::postgres;
use crate::support::waiting::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_one_node_s() {
    let place = Place::new(Back::Sqlite, Back::Sqlite).await;
    let store = open(&place, LOG).await;
    assert!(matches!(ReadStore::open(&place.views(0), LOG).await, Err(OpenError::InUse { .. })), "its lock is the lease");
    let (one, two) = (new_id(), new_id());
    assert!(store.try_lead(one).await.expect("answered").is_some() && store.try_lead(two).await.expect("answered").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_share_a_store_one_folds_and_one_who_was_overtaken_writes_nothing() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let (here, there) = (open(&place, LOG).await, open(&place, LOG).await);
    let (one, two) = (new_id(), new_id());
    let first = lead(&here, one).await;
    assert!(there.try_lead(two).await.expect("answered").is_none());
    first.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    first.renew().await.expect("held");

    // As if it had said nothing for long enough.
    let operator = postgres::connect(&place.url()).await;
    operator.execute("update entrenous_views.projector set seen = seen - interval '4 seconds'", &[]).await.expect("changed");
    let second = there.try_lead(two).await.expect("answered").expect("it is free");
    let late = first.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert!(matches!(first.renew().await, Err(StoreError::Fenced)));
    assert_eq!(there.checkpoint().await.expect("answered"), at(1));
    assert!(there.user(&user("bob")).await.expect("answered").is_none());
    first.release().await;
    assert!(here.try_lead(one).await.expect("answered").is_none(), "one who was overtaken releases nothing");
    second.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await.expect("written");
    let mut seen = here.checkpoint_watch();
    tokio::time::timeout(PATIENCE, seen.wait_for(|checkpoint| *checkpoint == at(2))).await.expect("told").expect("open");

    second.release().await;
    let third = here.try_lead(one).await.expect("answered").expect("it was released");
    drop(third);
    lead(&there, two).await.release().await;
}

/// An erasure of somebody who wrote much takes longer than a leader may be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_middle_of_a_long_write_leads() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let (here, there) = (open(&place, LOG).await, open(&place, LOG).await);
    let (lease, other) = (lead(&here, new_id()).await, new_id());
    let operator = postgres::connect(&place.url()).await;
    operator.batch_execute("update entrenous_views.projector set seen = seen - interval '4 seconds'").await.expect("changed");
    operator.batch_execute("begin; lock table entrenous_views.messages in access exclusive mode").await.expect("locked");
    let writing = tokio::spawn(async move {
        let written = lease.apply(Rows { erased: vec![(user("ann"), Position(1))], ..Rows::default() }, at(1)).await;
        (lease, written)
    });
    let looking = postgres::connect(&place.url()).await;
    let not_granted = "select count(*) from pg_locks join pg_database on oid = database where datname = current_database() and not granted";
    until("it writes", async || looking.query_one(not_granted, &[]).await.expect("a count").get::<_, i64>(0) > 0).await;
    // What is known of its last sign of life is old, and it cannot be asked: its row is locked.
    assert!(there.try_lead(other).await.expect("answered at once").is_none());
    let moment = "select clock_timestamp()::text";
    let before: String = looking.query_one(moment, &[]).await.expect("a moment").get(0);
    operator.batch_execute("commit").await.expect("let go");
    let (lease, written) = writing.await.expect("written");
    written.expect("written");
    let seen = looking.query_one("select seen > $1::text::timestamptz from entrenous_views.projector", &[&before]).await.expect("read");
    assert!(seen.get::<_, bool>(0), "it is seen when it is done, not when it began");
    lease.renew().await.expect("held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_open_a_new_store_at_once_share_it() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let stores = join_all((0..5).map(|_| open(&place, LOG))).await;
    let leases = join_all(stores.iter().map(|store| async { store.try_lead(new_id()).await.expect("answered") })).await;
    assert_eq!(leases.iter().flatten().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_other_folds_keeps_a_new_node_out() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let lease = lead(&store, new_id()).await;
    postgres::connect(&place.url()).await.execute("update entrenous_views.checkpoints set version = 99", &[]).await.expect("changed");
    lease.renew().await.expect("held");
    assert!(matches!(ReadStore::open(&place.views(0), LOG).await, Err(OpenError::InUse { .. })));
    lease.release().await;
    open(&place, LOG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_led_in_the_tables_before_leads_no_more_in_those_made_anew() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let asleep = lead(&store, new_id()).await;
    asleep.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    let operator = postgres::connect(&place.url()).await;
    let sleep = "update entrenous_views.projector set seen = seen - interval '4 seconds'; update entrenous_views.checkpoints set version = 99";
    operator.batch_execute(sleep).await.expect("changed");
    let anew = open(&place, LOG).await;
    let lease = lead(&anew, new_id()).await;
    let late = asleep.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert_eq!(anew.checkpoint().await.expect("answered"), Checkpoint::default());
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");

    // A server whose clock went back is no reason to wait for who is gone.
    operator.batch_execute("update entrenous_views.projector set seen = seen + interval '1 hour'").await.expect("changed");
    lead(&open(&place, LOG).await, new_id()).await;
}
