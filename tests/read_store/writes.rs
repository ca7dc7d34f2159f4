//! A batch is written whole or not at all, and rows are of one log and of the folds of today.

use entrenous::cli::new_id;
use entrenous::domain::ids::MessageId;
use entrenous::read_store::{Checkpoint, OpenError, Rows, StoreError};
use entrenous::storage::StoreUrl;
use uuid::Uuid;

use super::{BOTH, LOG, at, lead, message, open, person, try_open, user};
use crate::support::inside::{Back, Place};
use crate::support::postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_written_whole_with_its_checkpoint_or_not_at_all() {
    for back in BOTH {
        let place = Place::new(Back::Sqlite, back).await;
        let store = open(&place, LOG).await;
        let lease = lead(&store, new_id()).await;
        let written = lease.apply(Rows { users: vec![person("ann", 1)], messages: vec![message(1)], ..Rows::default() }, at(1)).await.expect("written");
        assert_eq!((written.users.len(), written.messages.len()), (1, 1), "the rows come back");
        // A message is written once: the second fails after the user was written.
        let twice = Rows { users: vec![person("bob", 2)], messages: vec![message(2), message(1)], ..Rows::default() };
        let failed = lease.apply(twice, at(3)).await;
        assert!(matches!(failed, Err(StoreError::Failed(_))), "{back:?}: {failed:?}");
        assert_eq!(store.checkpoint().await.expect("answered"), at(1), "{back:?}");
        assert!(store.user(&user("bob")).await.expect("answered").is_none(), "{back:?}");
        assert!(store.message(MessageId(Uuid::from_u128(2))).await.expect("answered").is_none(), "{back:?}");
        lease.apply(Rows { users: vec![person("bob", 2)], messages: vec![message(2)], ..Rows::default() }, at(2)).await.expect("written");
        lease.release().await;
        drop(store);
        let store = open(&place, LOG).await;
        assert_eq!(store.checkpoint().await.expect("answered"), at(2), "{back:?}");
        assert!(store.user(&user("bob")).await.expect("answered").is_some(), "{back:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_log_are_refused_and_of_other_folds_made_anew() {
    for back in BOTH {
        let place = Place::new(Back::Sqlite, back).await;
        let store = open(&place, LOG).await;
        let lease = lead(&store, new_id()).await;
        lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
        lease.release().await;
        drop(store);
        let refused = try_open(&place, Uuid::from_u128(0x2092)).await.err().expect("it is refused");
        assert!(matches!(refused, OpenError::Diverged { .. }), "{back:?}: {refused}");
        let store = open(&place, LOG).await;
        assert!(store.user(&user("ann")).await.expect("answered").is_some(), "{back:?}: a refusal changes nothing");
        drop(store);
        match place.views(0) {
            StoreUrl::Sqlite(path) => {
                let changed = rusqlite::Connection::open(path).expect("a file").execute("update checkpoints set version = 99 where projection = 'users'", []);
                assert_eq!(changed.expect("changed"), 1);
            }
            StoreUrl::Postgres(url) => {
                let operator = postgres::connect(&url).await;
                let changed = operator.execute("update entrenous_views.checkpoints set version = 99 where projection = 'users'", &[]).await;
                assert_eq!(changed.expect("changed"), 1);
            }
            StoreUrl::Kurrent(_) => unreachable!("it keeps no rows"),
        }
        let store = open(&place, LOG).await;
        assert_eq!(store.checkpoint().await.expect("answered"), Checkpoint::default(), "{back:?}");
        assert!(store.user(&user("ann")).await.expect("answered").is_none(), "{back:?}");
    }
}
