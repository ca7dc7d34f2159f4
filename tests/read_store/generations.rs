//! Views that are made beside others are nobody else's, and those that somebody has open stay.

use entrenous::cli::new_id;
use entrenous::read_store::{OpenError, ReadStore};

use super::{LOG, lead, open, user};
use crate::support::inside::{Back, Place};
use crate::support::tampering::tamper_with_views;
use crate::support::waiting::found;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_somebody_builds_is_not_taken_over() {
    let place = Place::new(Back::Sqlite, Back::Sqlite).await;
    drop(open(&place, LOG).await);
    let building = ReadStore::build(&place.views(0), LOG).await.expect("a generation");
    building.finish().await.expect("indexed");
    tamper_with_views(&place.views(0), "update checkpoints set version = 99").await;
    let early = ReadStore::open(&place.views(0), LOG).await.map(|_| ());
    assert!(matches!(&early, Err(OpenError::InUse { place, .. }) if place.starts_with("the next generation of ")), "{early:?}");
    drop(building);
    open(&place, LOG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_somebody_has_open_are_not_removed() {
    let place = Place::new(Back::Sqlite, Back::Sqlite).await;
    let store = open(&place, LOG).await;
    let next = ReadStore::build(&place.views(0), LOG).await.expect("a generation");
    next.finish().await.expect("indexed");
    next.switch(&place.views(0), next.hold().await.expect("held")).await.expect("switched");
    drop(next);
    assert!(store.user(&user("ann")).await.expect("answered").is_none(), "it goes over when it leads again");
    // What built it lets go of it in a moment.
    let drop_others = async |still: fn(&str) -> bool| {
        let unless_still_held = async || match ReadStore::drop_others(&place.views(0)).await {
            Err(OpenError::InUse { holder, .. }) if still(&holder) => None,
            outcome => Some(outcome),
        };
        found("it is let go of", unless_still_held).await
    };
    let dropped = drop_others(|holder| holder.starts_with("process")).await;
    assert!(matches!(dropped, Err(OpenError::InUse { .. })), "{dropped:?}");
    lead(&store, new_id()).await;
    assert_eq!(drop_others(|_| true).await.expect("dropped"), 1);
}
