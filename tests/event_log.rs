//! The contract of the event log, against every adapter: the embedded one today.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use entrenous::domain::conversation::{ConversationEvent, MessageSent};
use entrenous::domain::event::{Event, Metadata, Position, Stream, Timestamp};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::text::MessageText;
use entrenous::event_log::{Append, AppendError, EventLog, OpenError};
use tempfile::TempDir;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

fn open(folder: &TempDir) -> EventLog {
    EventLog::open(&folder.path().join("events.db"), Arc::new(entrenous::cli::now)).expect("a log")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn message(id: u128, number: u64) -> (Uuid, Event) {
    let event = MessageSent {
        id: MessageId(Uuid::from_u128(id)),
        sender: UserId::from_stored("alice"),
        recipient: UserId::from_stored("bob"),
        text: MessageText::from_stored(format!("message {id} \"é\"")),
        number,
        sender_number: number,
    };
    (Uuid::from_u128(id), Event::Conversation(ConversationEvent::MessageSent(event)))
}

fn stream(n: u128) -> Stream {
    Stream::Conversation(ConversationId(Uuid::from_u128(n)))
}

fn append(stream: Stream, expected: u64, events: Vec<(Uuid, Event)>) -> Append {
    let metadata = Metadata { actor: Some(UserId::from_stored("alice")), correlation: Uuid::from_u128(1), causation: Uuid::from_u128(2) };
    Append { stream, expected, metadata, events }
}

#[tokio::test]
async fn what_is_appended_is_read_back_in_order() {
    let folder = folder();
    let log = open(&folder);
    let first = log.append(append(stream(1), 0, vec![message(10, 1), message(11, 2)])).await.expect("appended");
    let second = log.append(append(stream(2), 0, vec![message(20, 1)])).await.expect("appended");
    let third = log.append(append(stream(1), 2, vec![message(12, 3)])).await.expect("appended");
    let all = [first, second, third].concat();
    assert_eq!(all.iter().map(|event| (event.position.0, event.version)).collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 1), (4, 3)]);
    assert!(all.windows(2).all(|pair| pair[0].at < pair[1].at), "times grow with positions");
    assert_eq!(log.read_all(Position(0), 100).await.expect("read"), all);
    assert_eq!(log.read_all(Position(1), 2).await.expect("read"), all[1..3]);
    assert_eq!(log.read_stream(&stream(1), 1, 100).await.expect("read"), [all[1].clone(), all[3].clone()]);
    assert_eq!(log.read_stream(&stream(9), 0, 100).await.expect("read"), []);
    assert_eq!(log.find(Uuid::from_u128(20)).await.expect("read"), Some(all[2].clone()));
    assert_eq!(log.find(Uuid::from_u128(99)).await.expect("read"), None);
    assert_eq!(log.head(), Position(4));
}

#[tokio::test]
async fn a_wrong_expected_version_appends_nothing() {
    let folder = folder();
    let log = open(&folder);
    log.append(append(stream(1), 0, vec![message(10, 1)])).await.expect("appended");
    for expected in [0, 2, 7] {
        let conflict = log.append(append(stream(1), expected, vec![message(11, 2)])).await;
        assert!(matches!(conflict, Err(AppendError::Conflict { actual: 1 })), "{conflict:?}");
    }
    assert!(matches!(log.append(append(stream(2), 1, vec![message(11, 2)])).await, Err(AppendError::Conflict { actual: 0 })));
    assert_eq!(log.head(), Position(1));
}

#[tokio::test]
async fn the_same_append_again_returns_what_the_first_recorded() {
    let folder = folder();
    let log = open(&folder);
    let first = log.append(append(stream(1), 0, vec![message(10, 1), message(11, 2)])).await.expect("appended");
    log.append(append(stream(1), 2, vec![message(12, 3)])).await.expect("appended");
    assert_eq!(log.append(append(stream(1), 0, vec![message(10, 1), message(11, 2)])).await.expect("known"), first);
    drop(log);
    let folder_again = folder;
    let log = reopen(&folder_again).await;
    assert_eq!(log.append(append(stream(1), 0, vec![message(10, 1), message(11, 2)])).await.expect("known after a restart"), first);
    assert_eq!(log.head(), Position(3));
}

/// The writer of a dropped log lets go of its file a moment later.
async fn reopen(folder: &TempDir) -> EventLog {
    let attempt = async {
        loop {
            match EventLog::open(&folder.path().join("events.db"), Arc::new(entrenous::cli::now)) {
                Ok(log) => return log,
                Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, attempt).await.expect("the file is let go")
}

#[tokio::test]
async fn an_id_is_never_used_twice() {
    let folder = folder();
    let log = open(&folder);
    log.append(append(stream(1), 0, vec![message(10, 1)])).await.expect("appended");
    let other_data = (Uuid::from_u128(10), message(11, 1).1);
    for taken in [append(stream(2), 0, vec![message(10, 1)]), append(stream(1), 1, vec![message(10, 2)]), append(stream(1), 0, vec![other_data])] {
        let refused = log.append(taken).await;
        assert!(matches!(&refused, Err(AppendError::IdTaken(event)) if event.position == Position(1)), "{refused:?}");
    }
    let half_new = log.append(append(stream(1), 1, vec![message(12, 2), message(10, 3)])).await;
    assert!(matches!(half_new, Err(AppendError::IdTaken(_))), "{half_new:?}");
    assert_eq!(log.head(), Position(1), "all or nothing");
}

#[tokio::test]
async fn concurrent_appends_are_dense_and_lose_nothing() {
    let folder = folder();
    let log = open(&folder);
    let writers = (0..16u128).map(|writer| {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                let events = vec![message(writer * 1_000 + u128::from(n), n + 1)];
                log.append(append(stream(writer), n, events)).await.expect("appended");
            }
        })
    });
    for writer in writers {
        writer.await.expect("no panic");
    }
    let contenders = futures_util::future::join_all((0..32).map(|n| log.append(append(stream(99), 0, vec![message(90_000 + n, 1)])))).await;
    assert_eq!(contenders.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let events = log.read_all(Position(0), 1_000).await.expect("read");
    assert_eq!(events.len(), 401);
    assert!(events.iter().zip(1..).all(|(event, position)| event.position == Position(position)));
    assert_eq!(events.iter().map(|event| event.id).collect::<HashSet<_>>().len(), 401);
}

#[tokio::test]
async fn time_never_goes_back_whatever_the_clock_does() {
    let folder = folder();
    let clock = Arc::new(AtomicI64::new(1_000));
    let read = Arc::clone(&clock);
    let log = EventLog::open(&folder.path().join("events.db"), Arc::new(move || Timestamp(read.load(Ordering::SeqCst)))).expect("a log");
    let mut times = Vec::new();
    for (n, time) in (0..).zip([1_000, 5_000, 10, 10, 5_001, 9_000]) {
        clock.store(time, Ordering::SeqCst);
        times.push(log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended")[0].at.0);
    }
    assert_eq!(times, [1_000, 5_000, 5_001, 5_002, 5_003, 9_000]);
}

#[tokio::test]
async fn following_waits_and_misses_nothing() {
    let folder = folder();
    let log = open(&folder);
    log.append(append(stream(1), 0, vec![message(1, 1), message(2, 2)])).await.expect("appended");
    let mut follow = log.follow(Position(1));
    assert_eq!(follow.next(10).await.expect("events").len(), 1);
    let writing = tokio::spawn({
        let log = log.clone();
        async move {
            for n in 2..50 {
                log.append(append(stream(1), n, vec![message(u128::from(n) + 1, n + 1)])).await.expect("appended");
            }
        }
    });
    let mut positions = Vec::new();
    while positions.len() < 48 {
        positions.extend(tokio::time::timeout(PATIENCE, follow.next(7)).await.expect("in time").expect("events").iter().map(|event| event.position.0));
    }
    writing.await.expect("no panic");
    assert_eq!(positions, (3..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_process_reads_and_follows_beside_the_writer() {
    let folder = folder();
    let log = open(&folder);
    log.append(append(stream(1), 0, vec![message(1, 1)])).await.expect("appended");
    let reader = EventLog::open_read_only(&folder.path().join("events.db")).expect("a reader");
    assert_eq!((reader.id(), reader.head()), (log.id(), Position(1)));
    assert!(matches!(reader.append(append(stream(1), 1, vec![message(2, 2)])).await, Err(AppendError::Log(_))));
    let mut follow = reader.follow(Position(0));
    assert_eq!(follow.next(10).await.expect("events").len(), 1);
    for n in 1..20 {
        log.append(append(stream(1), n, vec![message(u128::from(n) + 1, n + 1)])).await.expect("appended");
        let events = tokio::time::timeout(PATIENCE, follow.next(10)).await.expect("woken").expect("events");
        assert_eq!(events[0].position.0, n + 1);
    }
}

#[tokio::test]
async fn one_process_at_a_time_writes() {
    let folder = folder();
    let _log = open(&folder);
    let second = EventLog::open(&folder.path().join("events.db"), Arc::new(entrenous::cli::now));
    let Err(error) = second else { panic!("two writers") };
    assert!(error.to_string().contains(&format!("in use by another process (process {})", std::process::id())), "{error}");
}

/// A log with some events, closed; its folder and its file.
async fn closed_log() -> (TempDir, std::path::PathBuf) {
    let folder = folder();
    let path = folder.path().join("events.db");
    let log = open(&folder);
    for n in 0..50 {
        log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
    }
    log.close().await;
    (folder, path)
}

/// Opening must fail and change no byte.
fn refusal(path: &Path) -> String {
    let before = fs::read(path).expect("a file");
    let message = match EventLog::open(path, Arc::new(entrenous::cli::now)) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    };
    assert_eq!(fs::read(path).expect("a file"), before);
    message
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let (_folder, path) = closed_log().await;
    let whole = fs::read(&path).expect("a file");
    let damages: [(&str, Vec<u8>); 5] = [
        ("no SQLite header", [b"garbage!".repeat(512), whole[4_096..].to_vec()].concat()),
        ("its end is missing", whole[..whole.len() - 4_096].to_vec()),
        ("too short", whole[..50].to_vec()),
        ("damaged", {
            let mut bytes = whole.clone();
            for page in 1..bytes.len() / 4_096 {
                bytes[page * 4_096..page * 4_096 + 64].fill(0xaa);
            }
            bytes
        }),
        ("damaged", vec![0; 8_192]),
    ];
    for (detail, bytes) in damages {
        fs::write(&path, bytes).expect("written");
        let message = refusal(&path);
        assert!(message.contains("damaged") && message.contains(detail), "{detail}: {message}");
    }
}

#[tokio::test]
async fn a_file_whose_making_was_cut_short_is_made_again() {
    let folder = folder();
    for application in [0, 0x454e_544c] {
        let path = folder.path().join(format!("{application}.db"));
        let connection = rusqlite::Connection::open(&path).expect("a file");
        connection.pragma_update(None, "journal_mode", "wal").expect("a header");
        connection.pragma_update(None, "application_id", application).expect("set");
        drop(connection);
        assert!(fs::metadata(&path).is_ok_and(|file| file.len() > 0));
        let log = EventLog::open(&path, Arc::new(entrenous::cli::now)).expect("a log");
        log.append(append(stream(1), 0, vec![message(10, 1)])).await.expect("appended");
    }
}

#[tokio::test]
async fn a_newer_or_foreign_file_is_refused_and_left_as_it_is() {
    let (folder, path) = closed_log().await;
    let sql = |statement: &str| {
        let connection = rusqlite::Connection::open(&path).expect("a database");
        connection.execute_batch(statement).expect("done");
        connection.pragma_update(None, "journal_mode", "delete").expect("done");
    };
    sql(
        "insert into refinery_schema_history (version, name, applied_on, checksum) select 99, 'later', applied_on, checksum from refinery_schema_history limit 1",
    );
    let message = refusal(&path);
    assert!(message.contains("newer version of this service (format 99, this one knows 1)"), "{message}");
    sql("pragma application_id = 7");
    assert!(refusal(&path).contains("is not an event log"));
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database at all, but long enough to have a header of one hundred bytes, which SQLite would read first").expect("written");
    assert!(refusal(&text).contains("no SQLite header"));
}
