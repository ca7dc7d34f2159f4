//! What only the log in a file can do, and what can only happen to it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use entrenous::domain::event::Position;
use entrenous::event_log::{AppendError, EventLog};
use entrenous::storage::StoreUrl;
use tempfile::TempDir;

use crate::event_log::{append, message, stream};
use crate::support::waiting::{PATIENCE, until};

async fn open(folder: &TempDir) -> EventLog {
    EventLog::open(&StoreUrl::Sqlite(folder.path().join("events.db")), None, Arc::new(entrenous::cli::now)).await.expect("a log")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn another_process_reads_and_follows_beside_the_writer() {
    let folder = folder();
    let log = open(&folder).await;
    log.append(append(stream(1), 0, vec![message(1, 1)])).await.expect("appended");
    let reader = EventLog::open_read_only(&StoreUrl::Sqlite(folder.path().join("events.db")), None).await.expect("a reader");
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
    let _log = open(&folder).await;
    let second = EventLog::open(&StoreUrl::Sqlite(folder.path().join("events.db")), None, Arc::new(entrenous::cli::now)).await;
    let Err(error) = second else { panic!("two writers") };
    assert!(error.to_string().contains(&format!("in use by another process (process {})", std::process::id())), "{error}");
}

/// A log with some events, closed; its folder and its file.
async fn closed_log() -> (TempDir, std::path::PathBuf) {
    let folder = folder();
    let path = folder.path().join("events.db");
    let log = open(&folder).await;
    for n in 0..50 {
        log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
    }
    log.close().await;
    drop(log);
    // Whichever of its connections closes last, all is in the file then.
    let connection = rusqlite::Connection::open(&path).expect("a database");
    let is_busy = || connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0)).expect("an answer") != 0;
    until("all is in the file", async || !is_busy()).await;
    (folder, path)
}

/// Opening must fail and change no byte.
async fn refusal(path: &Path) -> String {
    let before = fs::read(path).expect("a file");
    let message = match EventLog::open(&StoreUrl::Sqlite(path.into()), None, Arc::new(entrenous::cli::now)).await {
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
        let message = refusal(&path).await;
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
        let log = EventLog::open(&StoreUrl::Sqlite(path.clone()), None, Arc::new(entrenous::cli::now)).await.expect("a log");
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
    let message = refusal(&path).await;
    assert!(message.contains("newer version of this service (format 99, this one knows "), "{message}");
    sql("pragma application_id = 7");
    assert!(refusal(&path).await.contains("is not an event log"));
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database at all, but long enough to have a header of one hundred bytes, which SQLite would read first").expect("written");
    assert!(refusal(&text).await.contains("no SQLite header"));
}
