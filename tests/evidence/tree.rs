//! The tree of the events: kept, made anew, and never ahead of what is stored.

use std::fs;
use std::sync::Arc;

use entrenous::audit::checkpoint::origin;
use entrenous::audit::lines::{self, Export};
use entrenous::audit::statement;
use entrenous::audit::verify::verify;
use entrenous::domain::event::{Position, Timestamp};
use entrenous::event_log::EventLog;
use serde_json::json;

use super::{checkpoint, findings, log_with_a_past, signer};
use crate::support::inside::{Back, Inside, Place};
use crate::support::tampering::{no_tree, tamper_with_log};
use crate::support::waiting::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_is_not_of_all_events_is_found_and_not_signed() {
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(back, Back::Sqlite).await);
        let last = log_with_a_past(&place).await[1].size;
        let tree = if back == Back::Sqlite { "merkle set size" } else { "log set tree_size" };
        // Each after those before it: what is found, and whether what is left is signed.
        for (change, found, is_signed) in [
            (format!("update events set hash = null where position = {last}"), &["its leaf was removed"][..], true),
            (
                format!("{}; update events set actor = 'mallory' where position = {last}", no_tree(back)),
                &["its leaf was removed", "the kept tree is of 0"],
                false,
            ),
            (format!("update {tree} = 1, frontier = (select hash from events where position = 1)"), &["its leaf was removed", "the kept tree is of 1"], false),
            (format!("delete from events where position = {last}"), &["the kept tree is of 1"], false),
        ] {
            tamper_with_log(&place.log(), &change).await;
            let findings = findings(&place.log(), &[]).await;
            assert_eq!(findings.len(), found.len(), "{change}: {findings:?}");
            assert!(findings.iter().zip(found).all(|(finding, told)| finding.contains(told)), "{change}: {findings:?}");
            let log = EventLog::open_read_only(&place.log(), None).await.expect("a log");
            let signed = statement::checkpoint(&log, &signer()).await.map_err(|error| error.to_string());
            assert!(if is_signed { signed.is_ok() } else { signed.is_err_and(|error| error.contains("`entrenous verify`")) }, "{change}, {back:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_appends_meanwhile_raises_no_alarm() {
    const EVENTS: u64 = 100;
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(back, Back::Sqlite).await);
        let inside = Inside::at(&place).await;
        let [ann, _bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        let log = EventLog::open_read_only(&place.log(), None).await.expect("a log");
        let appending = async {
            for n in 0..EVENTS {
                inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": n.to_string() }), "message { id }").await;
            }
        };
        let verifying = async {
            let mut verified = 0;
            while log.latest().await.expect("a head").0 < EVENTS {
                assert_eq!(findings(&place.log(), &[checkpoint(&log).await]).await, [""; 0], "{back:?}");
                verified += 1;
            }
            verified
        };
        let both = Box::pin(async { tokio::join!(appending, verifying) });
        let ((), verified) = tokio::time::timeout(PATIENCE, both).await.expect("appended and verified");
        assert!(verified > 0, "{back:?}");
    }
}

/// The tree of a log that an older version appended to is made when the log is first written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_from_before_the_tree_gets_one() {
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(back, Back::Sqlite).await);
        let checkpoints = log_with_a_past(&place).await;
        tamper_with_log(&place.log(), &format!("update events set hash = null; {}", no_tree(back))).await;
        assert_eq!(findings(&place.log(), &checkpoints).await, [""; 0], "{back:?}");
        let unwritten = EventLog::open_read_only(&place.log(), None).await.expect("a log");
        assert_eq!(checkpoint(&unwritten).await, checkpoints[1], "{back:?}");
        let inside = Inside::at(&place).await;
        let bob = inside.sign_in("bob").await;
        inside.mutate(&bob, "sendMessage", json!({ "to": "ann", "text": "encore" }), "message { id }").await;
        let log = inside.app.log();
        let verified = verify(log, &origin(log.id()), &checkpoints, |_| {}).await.expect("read");
        assert_eq!(verified.findings, [], "{back:?}");
        assert_eq!((verified.tree.size(), verified.without_leaf), (checkpoints[1].size + 1, checkpoints[1].size), "{back:?}");
        assert_eq!(checkpoint(log).await.root, verified.tree.root(), "{back:?}");
    }
}

/// A copy of a log in KurrentDB has its times, which grow along each stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_may_go_back_between_streams_where_leaves_speak_for_them_and_never_within_one() {
    const HOUR: i64 = 3_600_000_000;
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    log_with_a_past(&place).await;
    let log = EventLog::open_read_only(&place.log(), None).await.expect("a log");
    let events = log.read_all_stored(Position(0), 100_000).await.expect("read");
    let stream = events.last().expect("an event").stream.clone();
    let file = place.folder().join("export.jsonl");
    for back in [Back::Sqlite, Back::Postgres] {
        for (sign, is_sound) in [(1, true), (-1, false)] {
            let mut events = events.clone();
            events.iter_mut().filter(|event| event.stream == stream).for_each(|event| event.at = Timestamp(sign * event.at.0 - HOUR));
            let mut out = Vec::new();
            lines::write(&mut out, &events).expect("written");
            fs::write(&file, out).expect("written");
            let other = Place::new(back, Back::Sqlite).await;
            let target = EventLog::open(&other.log(), other.keys().as_ref(), Arc::new(entrenous::cli::now)).await.expect("a log");
            entrenous::event_log::copy::import(Export::open(&file).expect("a file"), &target, |_| {}).await.expect("imported");
            target.close().await;
            drop(target);
            let found = findings(&other.log(), &[]).await;
            assert!(found.is_empty() == is_sound && found.iter().all(|found| found.contains("not later than")), "{back:?}: {found:?}");
            tamper_with_log(&other.log(), &format!("update events set hash = null; {}", no_tree(back))).await;
            let found = findings(&other.log(), &[]).await;
            assert!(found.iter().any(|found| found.contains("not later than")), "without leaves: {back:?}: {found:?}");
        }
    }
}
