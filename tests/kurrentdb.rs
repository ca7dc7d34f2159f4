//! What can happen to the log in KurrentDB, and only to it: answers that never come, leaders elsewhere,
//! subscriptions that end, a node that dies. The contract of every log is in `event_log.rs`.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use entrenous::domain::conversation::ConversationEvent;
use entrenous::domain::event::{Event, Position};
use entrenous::domain::ids::UserId;
use entrenous::event_log::{AppendError, EventLog, LogError, OpenError};
use entrenous::storage::StoreUrl;
use kurrent_peer::{End, Fault, Peer};
use tempfile::TempDir;
use uuid::Uuid;

use crate::event_log::{append, message, since, stream};
use crate::support::waiting::PATIENCE;

/// A peer, and a place for the keys of its log.
struct Kurrent {
    peer: Peer,
    folder: TempDir,
}

impl Deref for Kurrent {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

async fn open(kurrent: &Kurrent) -> EventLog {
    open_with_keys(&kurrent.url(), kurrent.folder.path()).await.expect("a log")
}

async fn open_with_keys(url: &str, folder: &Path) -> Result<EventLog, OpenError> {
    let keys = StoreUrl::Sqlite(folder.join("events.keys"));
    EventLog::open(&StoreUrl::Kurrent(url.to_owned()), Some(&keys), Arc::new(entrenous::cli::now)).await
}

/// Starts and ends with a runtime of its own, which must not be done on another.
fn peer() -> Kurrent {
    Kurrent { peer: std::thread::spawn(Peer::start).join().expect("a peer"), folder: tempfile::tempdir().expect("a folder") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_is_lost_is_found_out_and_is_there_once() {
    let peer = peer();
    let log = open(&peer).await;
    let faults = [Fault::AbortedBefore, Fault::AbortedAfter, Fault::NotLeader, Fault::HangsAfter];
    for (n, fault) in faults.into_iter().enumerate() {
        let n = n as u64;
        // The claim of an id, then an event that needs none.
        peer.fail([fault]);
        let recorded = log.append(append(stream(1), 2 * n, vec![message(u128::from(2 * n), 2 * n + 1)])).await.expect("an outcome");
        assert_eq!(recorded[0].version, 2 * n + 1, "{fault:?}");
        let block = ConversationEvent::UserBlocked { blocker: UserId::from_stored("alice"), blocked: UserId::from_stored("bob") };
        peer.fail([fault]);
        let block = vec![(Uuid::from_u128(1_000 + u128::from(n)), Event::Conversation(block))];
        let recorded = log.append(append(stream(1), 2 * n + 1, block)).await.expect("an outcome");
        assert_eq!(recorded[0].version, 2 * n + 2, "{fault:?}");
    }
    let events = since(&log, Position(0)).await;
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

/// Whoever waits for an event waits for its place in the log, or for a later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_database_does_not_say_where_an_event_is_nobody_looks_for_it_too_early() {
    let peer = peer();
    let log = open(&peer).await;
    peer.withhold_positions();
    let two = vec![message(1, 1), message(2, 2)];
    let recorded = log.append(append(stream(1), 0, two)).await.expect("appended");
    let there = since(&log, Position(0)).await;
    assert_eq!(there.len(), 2);
    let is_not_too_early = |at: Position, id: Uuid| there.iter().any(|event| event.id == id && at >= event.position && at.0 < u64::MAX);
    assert!(recorded.iter().all(|event| is_not_too_early(event.position, event.id)), "{recorded:?}, {there:?}");
    let again = log.find(Uuid::from_u128(1)).await.expect("answered").expect("there");
    assert!(is_not_too_early(again.position, again.id), "{again:?}");
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_and_followers_go_on_after_the_node_died() {
    let mut peer = peer();
    let log = open(&peer).await;
    let mut follow = log.follow(Position(0));
    for round in 0..3u64 {
        let appending = log.clone();
        let writing = tokio::spawn(async move {
            for n in round * 20..round * 20 + 20 {
                appending.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("an outcome");
            }
        });
        let mut seen = 0;
        while seen < 5 {
            seen += tokio::time::timeout(PATIENCE, follow.next(5)).await.expect("in time").expect("events").len();
        }
        peer = tokio::task::spawn_blocking(move || {
            peer.peer.restart();
            peer
        })
        .await
        .expect("restarted");
        tokio::time::timeout(PATIENCE, writing).await.expect("in time").expect("no wrong answer");
        while seen < 20 {
            let events = async {
                loop {
                    // A read may meet the node while it is away.
                    if let Ok(events) = follow.next(20).await {
                        return events;
                    }
                }
            };
            seen += tokio::time::timeout(PATIENCE, events).await.expect("in time").len();
        }
    }
    assert_eq!(since(&log, Position(0)).await.len(), 60);
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

/// Runs a test in a process of its own, where it is true: the threads that a subscription never leaves end with it.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "ENTRENOUS_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("a program");
    let output = std::process::Command::new(program).args(["--exact", &format!("kurrentdb::{test}")]).env(ALONE, "1").output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_end_are_made_again_and_nothing_is_missed() {
    if !is_alone("subscriptions_that_end_are_made_again_and_nothing_is_missed") {
        return;
    }
    let peer = peer();
    let log = open(&peer).await;
    let mut follow = log.follow(Position(0));
    for n in 0..12u64 {
        // One that ends cleanly never comes back from its client: it is given up, a few times at most.
        if n % 3 == 2 {
            peer.end_subscriptions(if n % 2 == 0 { End::Clean } else { End::TooSlow });
        }
        log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
        let events = tokio::time::timeout(PATIENCE, follow.next(5)).await.expect("in time").expect("events");
        assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [n + 1]);
    }
    assert!(peer.subscriptions() < 20, "they do not spin");
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_s_appends_are_heard_of_when_the_subscription_is_dead() {
    if !is_alone("another_s_appends_are_heard_of_when_the_subscription_is_dead") {
        return;
    }
    let peer = peer();
    let (one, other) = (open(&peer).await, open(&peer).await);
    for n in 0..3u64 {
        peer.end_subscriptions(End::Clean);
        let mut follow = other.follow(other.latest().await.expect("read"));
        one.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
        let events = tokio::time::timeout(PATIENCE, follow.next(5)).await.expect("in time").expect("events");
        assert_eq!(events[0].version, n + 1);
    }
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

/// A node that died between the claim of an id and its message left a claim: the same message can still be
/// sent, and the id is nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_claimed_for_a_message_that_never_came_is_kept_for_it() {
    let peer = peer();
    let log = open(&peer).await;
    log.append(append(stream(1), 0, vec![message(1, 1)])).await.expect("appended");
    // The claim is made, then the stream turns out to be at another version.
    let conflict = log.append(append(stream(1), 0, vec![message(2, 1)])).await;
    assert!(matches!(conflict, Err(AppendError::Conflict { actual: 1 })), "{conflict:?}");
    let elsewhere = log.append(append(stream(2), 0, vec![message(2, 1)])).await;
    assert!(matches!(elsewhere, Err(AppendError::IdTaken(None))), "{elsewhere:?}");
    let sent = log.append(append(stream(1), 1, vec![message(2, 2)])).await.expect("appended");
    assert_eq!(log.find(sent[0].id).await.expect("read").as_ref(), sent.first());
    assert_eq!(peer.streams().keys().filter(|name| name.starts_with("message-")).count(), 2);
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_follower_is_named_the_leader_is_found() {
    let peer = peer();
    let log = open_with_keys(&peer.follower_url(), peer.folder.path()).await.expect("a log");
    let mut follow = log.follow(Position(0));
    for n in 0..3 {
        log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
        let events = tokio::time::timeout(PATIENCE, follow.next(5)).await.expect("in time").expect("events");
        assert_eq!(events[0].version, n + 1);
    }
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_where_nothing_is_is_nobody_s() {
    let peer = peer();
    let log = open(&peer).await;
    let there = log.append(append(stream(1), 0, vec![message(1, 1)])).await.expect("appended")[0].position;
    for nowhere in [there.0 - 1, there.0 + 1, u64::MAX - 1] {
        assert_eq!(log.at(Position(nowhere)).await.expect("answered"), None);
    }
    assert!(matches!(log.read_all(Position(there.0 + 1), 5).await, Err(LogError::Read(_))));
    assert_eq!(log.at(there).await.expect("answered").map(|event| event.position), Some(there));
    tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_at_the_start_is_said_so() {
    let url = {
        let peer = peer();
        let url = peer.url();
        tokio::task::spawn_blocking(move || drop(peer)).await.expect("ended");
        url
    };
    let folder = tempfile::tempdir().expect("a folder");
    let refused = open_with_keys(&url, folder.path()).await.err().expect("refused");
    assert!(refused.to_string().contains("cannot be reached"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_here_has_its_keys_elsewhere_and_knows_which() {
    let peer = peer();
    let url = StoreUrl::Kurrent(peer.url());
    let without = EventLog::open(&url, None, Arc::new(entrenous::cli::now)).await.err().expect("refused");
    assert!(matches!(without, OpenError::NoKeys { .. }) && without.to_string().contains("--keys"), "{without}");
    open(&peer).await.close().await;
    let folder = tempfile::tempdir().expect("a folder");
    let others = open_with_keys(&peer.url(), folder.path()).await.err().expect("refused");
    assert!(matches!(others, OpenError::OtherKeys { .. }), "{others}");
    open(&peer).await.close().await;
}
