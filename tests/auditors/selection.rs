//! Any part of the log, from either end, on every back end.

use std::sync::Arc;

use entrenous::domain::event::{Position, Timestamp};
use entrenous::domain::ids::UserId;
use entrenous::event_log::StoredEvent;
use entrenous::event_log::selection::Selection;
use serde_json::Value;

use super::all;
use crate::support::Server;
use crate::support::community::community;
use crate::support::inside::{Back, Inside, Place};
use crate::support::process::run;

/// Selections of every kind, alone and together.
fn selections(events: &[StoredEvent]) -> Vec<Selection> {
    let at = |n: usize| &events[n * events.len() / 10];
    let user = |id: &str| Some(UserId::parse(id).expect("an id"));
    let stream = |n: usize| Some(at(n).stream.parse().expect("a stream"));
    let types = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    vec![
        Selection::default(),
        Selection { stream: stream(5), ..Selection::default() },
        Selection { stream: stream(0), ..Selection::default() },
        Selection { stream: "user-nobody".parse().ok(), ..Selection::default() },
        Selection { types: types(&["MessagesRead", "UserBlocked"]), ..Selection::default() },
        Selection { user: user("eve"), ..Selection::default() },
        Selection { user: user("bob"), types: types(&["MessageSent"]), ..Selection::default() },
        Selection { positions: (Some(at(3).position), Some(at(6).position)), ..Selection::default() },
        Selection { positions: (Some(Position(at(3).position.0 + 1)), None), ..Selection::default() },
        Selection { stream: stream(5), positions: (Some(at(2).position), Some(at(8).position)), ..Selection::default() },
        Selection { times: (Some(at(2).at), Some(at(5).at)), ..Selection::default() },
        Selection { times: (Some(Timestamp(i64::MAX)), None), ..Selection::default() },
        Selection { user: user("ann"), times: (None, Some(at(7).at)), positions: (Some(at(1).position), None), ..Selection::default() },
    ]
}

async fn every_part_is_read_from_both_ends(back: Back) {
    let inside = Inside::at(&Arc::new(Place::new(back, Back::Sqlite).await)).await;
    community(&inside).await;
    let log = inside.app.log();
    let events = all(log).await;
    // A call to KurrentDB takes its client forty milliseconds.
    let pages: &[(usize, usize)] = if back == Back::Kurrent { &[(9, 40)] } else { &[(1, 7), (3, 7), (1_000, 1_000)] };
    for selection in selections(&events) {
        let wanted: Vec<_> = events.iter().filter(|event| selection.takes(event)).cloned().collect();
        for &(page, patience) in pages {
            let (mut found, mut after) = (Vec::new(), Position(0));
            loop {
                let mut walk = log.walk(selection.clone(), after).await.expect("read");
                let events = walk.next(page, patience).await.expect("read");
                found.extend(events);
                after = walk.looked().unwrap_or(after);
                if walk.is_over() {
                    break;
                }
            }
            assert_eq!(found, wanted, "{selection:?} by {page}");
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let mut walk = log.walk_back(selection.clone(), before).await.expect("read");
                found.extend(walk.next(page, patience).await.expect("read"));
                before = walk.looked().or(before);
                if walk.is_over() {
                    break;
                }
            }
            found.reverse();
            assert_eq!(found, wanted, "{selection:?} backwards by {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_every_part_is_read_from_both_ends_of_a_file() {
    every_part_is_read_from_both_ends(Back::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_every_part_is_read_from_both_ends_of_postgresql() {
    every_part_is_read_from_both_ends(Back::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_every_part_is_read_from_both_ends_of_kurrentdb() {
    every_part_is_read_from_both_ends(Back::Kurrent).await;
}

#[tokio::test]
async fn a2_the_command_line_selects_events() {
    let server = Server::start();
    let [alice, bob, carol] = server.people(["alice", "bob", "carol"]).await;
    alice.sent(&bob, "un").await;
    bob.sent(&alice, "deux").await;
    carol.sent(&alice, "trois").await;
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let all = server.event_lines();
    let text = |event: &Value, field: &str| event[field].as_str().expect("a text").to_owned();
    let last = all.last().expect("an event").clone();
    let stream = text(&last, "stream");
    let (from, to) = (all[1]["position"].to_string(), all[3]["position"].to_string());
    let (since, until) = (text(&all[2], "at"), text(&all[4], "at"));
    let selected = |arguments: &[&str]| -> Vec<Value> {
        let (ok, out, error) = run(&[&["events", "--data", &data], arguments].concat());
        assert!(ok, "{arguments:?}: {error}");
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let of = |wanted: &dyn Fn(&Value) -> bool| all.iter().filter(|event| wanted(event)).cloned().collect::<Vec<_>>();
    assert_eq!(selected(&["--stream", &stream]), of(&|event| event["stream"] == stream.as_str()));
    assert_eq!(selected(&["--from", &from, "--to", &to]), all[1..=3]);
    let at = |event: &Value| text(event, "at");
    assert_eq!(selected(&["--since", &since, "--until", &until]), of(&|event| at(event) >= since && at(event) < until));
    assert_eq!(selected(&["--type", "MessageSent", "--user", "carol"]).len(), 1);
}
