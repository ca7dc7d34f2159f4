//! A log moves between back ends: nothing is lost, nothing is told otherwise, and it can be done twice.

use std::sync::Arc;

use entrenous::cli::new_id;
use entrenous::domain::event::{Event, Position, Stream};
use entrenous::domain::ids::UserId;
use entrenous::domain::user::UserEvent;
use entrenous::event_log::copy::{CopyError, copy, import};
use entrenous::event_log::{EventLog, StoredEvent};
use entrenous::storage::StoreUrl;
use uuid::Uuid;

use crate::event_log::{append, message, stream};
use crate::support::Server;
use crate::support::inside::{Back, Place};
use crate::support::process::run;

async fn open(place: &Place) -> EventLog {
    EventLog::open(&place.log(), place.keys().as_ref(), Arc::new(entrenous::cli::now)).await.expect("a log")
}

/// Streams that take turns, some events together.
async fn fill(log: &EventLog, rounds: std::ops::Range<u64>) {
    for round in rounds {
        for n in 0..7u128 {
            let events = vec![message(n << 64 | u128::from(2 * round), 2 * round + 1), message(n << 64 | u128::from(2 * round + 1), 2 * round + 2)];
            log.append(append(stream(n), 2 * round, events)).await.expect("appended");
        }
    }
}

async fn all(log: &EventLog) -> Vec<StoredEvent> {
    log.read_all_stored(Position(0), 1_000_000).await.expect("read")
}

/// An event without its position.
fn as_anywhere(events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    let mut events: Vec<_> = events.into_iter().map(|event| StoredEvent { position: Position(0), ..event }).collect();
    events.sort_by(|a, b| (&a.stream, a.version).cmp(&(&b.stream, b.version)));
    events
}

/// A round is 14 events.
async fn a_copy_is_the_same_and_is_continued(from: Back, to: Back, rounds: u64) {
    let (here, there) = (Place::new(from, Back::Sqlite).await, Place::new(to, Back::Sqlite).await);
    let (source, target) = (open(&here).await, open(&there).await);
    fill(&source, 0..rounds).await;
    let mut told = Vec::new();
    let first = copy(&source, &target, |copied| told.push(copied)).await.expect("copied");
    assert_eq!((first.events, first.written), (14 * rounds, 14 * rounds));
    assert_eq!((told.len() as u64, told.last()), ((14 * rounds).div_ceil(2_000), Some(&first)), "once a window");
    assert_eq!(as_anywhere(all(&source).await), as_anywhere(all(&target).await));
    fill(&source, rounds..rounds + 10).await;
    let more = copy(&source, &target, |_| {}).await.expect("continued");
    assert_eq!((more.events, more.written), (14 * rounds + 140, 140));
    assert_eq!(copy(&source, &target, |_| {}).await.expect("again").written, 0);
    assert_eq!(as_anywhere(all(&source).await), as_anywhere(all(&target).await));
    assert_ne!(source.id(), target.id(), "it is another log: checkpoints and cursors of the first mean nothing in it");
    fill(&target, rounds + 10..rounds + 11).await;
    let refused = copy(&source, &target, |_| {}).await;
    assert!(matches!(refused, Err(CopyError::Differs { version, .. }) if version == 2 * rounds + 21), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_file_to_postgresql() {
    a_copy_is_the_same_and_is_continued(Back::Sqlite, Back::Postgres, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_postgresql_to_a_file() {
    a_copy_is_the_same_and_is_continued(Back::Postgres, Back::Sqlite, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_postgresql_to_kurrentdb() {
    a_copy_is_the_same_and_is_continued(Back::Postgres, Back::Kurrent, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_kurrentdb_to_a_file() {
    a_copy_is_the_same_and_is_continued(Back::Kurrent, Back::Sqlite, 10).await;
}

/// KurrentDB is given streams beside each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_and_after_an_erasure_does_so_in_kurrentdb() {
    let (here, there) = (Place::new(Back::Sqlite, Back::Sqlite).await, Place::new(Back::Kurrent, Back::Sqlite).await);
    let (source, target) = (open(&here).await, open(&there).await);
    let alice = UserId::from_stored("alice");
    let erased = Event::User(UserEvent::UserErased { user: alice.clone() });
    for (stream, expected, event) in
        [(stream(1), 0, message(1, 1)), (Stream::User(alice), 0, (Uuid::from_u128(2), erased)), (stream(1), 1, message(3, 2)), (stream(2), 0, message(4, 1))]
    {
        source.append(append(stream, expected, vec![event])).await.expect("appended");
    }
    copy(&source, &target, |_| {}).await.expect("copied");
    let copied = all(&target).await;
    let kinds: Vec<_> = copied.iter().map(|event| &*event.kind).collect();
    assert_eq!(kinds, ["MessageSent", "UserErased", "MessageSent", "MessageSent"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_other_events_is_left_as_it_is() {
    let (here, there) = (Place::new(Back::Sqlite, Back::Sqlite).await, Place::new(Back::Sqlite, Back::Sqlite).await);
    let (source, target) = (open(&here).await, open(&there).await);
    fill(&source, 0..3).await;
    target.append(append(stream(1), 0, vec![message(77, 1)])).await.expect("appended");
    let before = all(&target).await;
    let refused = copy(&source, &target, |_| {}).await;
    assert!(matches!(refused, Err(CopyError::Differs { version: 1, .. })), "{refused:?}");
    assert_eq!(all(&target).await, before);
    assert!(matches!(copy(&source, &source, |_| {}).await, Err(CopyError::Itself)));
}

/// What was erased since the last copy is erased in the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_made_again_destroys_the_keys_that_were() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un secret").await;
    let from = format!("sqlite:{}", server.file("events.db").display());
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("sqlite:{}", folder.path().join("events.db").display());
    let place = Place::new(Back::Postgres, Back::Postgres).await;
    let postgres = place.url();
    let clear = |log: &str| {
        let (ok, out, error) = run(&["events", "--open", "--log", log]);
        assert!(ok, "{error}");
        out.contains("un secret")
    };
    for to in [&file, &postgres] {
        let (ok, _, error) = run(&["copy", "--from", &from, "--to", to]);
        assert!(ok && clear(to), "{error}");
    }
    server.admin().mutate("eraseUser", serde_json::json!({ "userId": "alice" }), "user { erased }").await;
    for to in [&file, &postgres] {
        let (ok, _, error) = run(&["copy", "--from", &from, "--to", to]);
        assert!(ok && !clear(to), "{error}");
    }
    // Who comes back has another key, and keeps it wherever it is copied to.
    alice.mutate("updateProfile", serde_json::json!({ "name": "Rose" }), "user { name }").await;
    alice.sent(&bob, "un secret de plus").await;
    let last = format!("sqlite:{}", folder.path().join("last.db").display());
    for (from, to) in [(&from, &postgres), (&postgres, &last)] {
        let (ok, _, error) = run(&["copy", "--from", from, "--to", to]);
        assert!(ok && clear(to), "{error}");
    }
}

/// What the source's log does not tell of yet is ended where it is copied to; a key that cannot be taken in is not passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_under_way_is_copied_and_a_key_that_is_not_is_told() {
    for back in [Back::Sqlite, Back::Postgres] {
        let (here, there) = (Place::new(Back::Sqlite, Back::Sqlite).await, Place::new(back, back).await);
        let (source, target) = (open(&here).await, open(&there).await);
        let alice = UserId::parse("alice").expect("an id");
        fill(&source, 0..1).await;
        let attempt = new_id();
        source.keys().begin_erasure(&alice, attempt).await.expect("begun");
        copy(&source, &target, |_| {}).await.expect("copied");
        let noted = target.keys().requested_erasures().await.expect("read");
        assert!(matches!(noted.as_slice(), [noted] if noted.user == alice && !noted.is_told), "{back:?}: {noted:?}");
        // Told of at the source, it is no longer to be done in the copy: she may have come back.
        source.keys().erasure_is_told(&alice, attempt).await.expect("told");
        copy(&source, &target, |_| {}).await.expect("copied again");
        assert_eq!(target.keys().go_on_with_erasure(&alice, new_id()).await.expect("seen"), None, "{back:?}");

        let (other, used) = (Place::new(Back::Sqlite, Back::Sqlite).await, Place::new(back, back).await);
        let (source, target) = (open(&other).await, open(&used).await);
        fill(&source, 0..1).await;
        target.is_ready_for(&alice).await.expect("a key of her own there");
        let refused = copy(&source, &target, |_| {}).await;
        assert!(matches!(refused, Err(CopyError::Keys { lacking: 1 })), "{back:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_is_no_json_is_refused_by_kurrentdb_and_copied_anywhere_else() {
    let (here, there) = (Place::new(Back::Sqlite, Back::Sqlite).await, Place::new(Back::Kurrent, Back::Sqlite).await);
    let source = open(&here).await;
    fill(&source, 0..1).await;
    source.close().await;
    drop(source);
    let file = here.folder().join("events.db");
    for (n, data) in ["{\"user\":", "", " {} "].into_iter().enumerate() {
        let changed = rusqlite::Connection::open(&file).expect("a file").execute("update events set data = ?1 where position = 3", [data]);
        assert_eq!(changed.expect("changed"), 1);
        let source = EventLog::open_read_only(&here.log(), None).await.expect("a log");
        let target = open(&there).await;
        let refused = copy(&source, &target, |_| {}).await.expect_err("refused").to_string();
        assert!(refused.contains("could not be written") && refused.contains("not JSON"), "{data:?}: {refused}");
        assert!(all(&target).await.is_empty(), "{data:?}: nothing is written");
        let elsewhere = StoreUrl::Sqlite(here.folder().join(format!("{n}.db")));
        let target = EventLog::open(&elsewhere, None, Arc::new(entrenous::cli::now)).await.expect("a log");
        import(source.whole(), &target, |_| {}).await.expect("copied");
        assert_eq!(as_anywhere(all(&target).await), as_anywhere(all(&source).await));
    }
}

/// By the command line, while the service runs: the copied log serves the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_moves_to_postgresql() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    for n in 0..20 {
        alice.sent(&bob, &n.to_string()).await;
    }
    let there = Place::new(Back::Postgres, Back::Postgres).await;
    let from = format!("sqlite:{}", server.file("events.db").display());
    let to = there.url();
    let (ok, output, error) = run(&["copy", "--from", &from, "--to", &to]);
    assert!(ok && output == "22 events are the same in both logs; 22 of them were written now.\n", "{output}{error}");
    assert_eq!(error, "", "a bar is for terminals");
    let (ok, output, _) = run(&["copy", "--from", &from, "--to", &to]);
    assert!(ok && output.contains("; 0 of them"), "{output}");
    let moved = Server::start_node(&to, Some(&to));
    assert_eq!(moved.person("bob").history(&alice).await, bob.history(&alice).await);
    assert_eq!(moved.person("bob").badge(&alice).await, 20);
    let (ok, _, error) = run(&["copy", "--from", &to, "--to", &format!("sqlite:{}", server.file("events.db").display())]);
    assert!(!ok && error.contains("in use by another process"), "{error}");
}
