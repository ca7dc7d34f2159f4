//! Lines that become the same log again, and what is no log.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use entrenous::audit::lines;
use entrenous::domain::event::{Position, Timestamp};
use entrenous::event_log::StoredEvent;
use serde_json::json;

use super::{all, export};
use crate::support::Server;
use crate::support::community::community;
use crate::support::inside::{Back, Inside, Place};
use crate::support::process::{BINARY, run};

/// With the keys of the log that was exported.
fn import(file: &Path, url: &str, from: &Place) -> (bool, String, String) {
    run(&["import", file.to_str().expect("UTF-8"), "--log", url, "--keys", &from.log_url().replace("events.db", "events.keys")])
}

async fn an_export_becomes_the_same_log(from: Back, to: Back) {
    let place = Arc::new(Place::new(from, Back::Sqlite).await);
    let inside = Inside::at(&place).await;
    community(&inside).await;
    let other = Place::new(to, Back::Sqlite).await;
    let (source, target) = (place.log_url(), other.log_url());
    let lines = export(&source, &[]);
    let file = place.folder().join("export.jsonl");
    fs::write(&file, &lines).expect("written");
    let count = lines.lines().count();
    let (ok, out, error) = import(&file, &target, &place);
    assert!(ok && out.contains(&format!("{count} events are in the log")) && out.contains(&format!("{count} of them")), "{out}{error}");
    assert!(error.is_empty(), "no progress where there is no terminal: {error}");
    assert_eq!(export(&target, &[]), lines, "byte by byte");
    let (ok, out, _) = import(&file, &target, &place);
    assert!(ok && out.contains("; 0 of them"), "{out}");
    let table = export(&target, &["--format", "table", "--user", "eve", "--type", "MessagesRead"]);
    assert_eq!(table.lines().count(), 1 + 2 * 3, "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_a_file_becomes_the_same_log_in_postgresql() {
    an_export_becomes_the_same_log(Back::Sqlite, Back::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_postgresql_becomes_the_same_log_in_a_file() {
    an_export_becomes_the_same_log(Back::Postgres, Back::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_log_is_not_imported() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let inside = Inside::at(&place).await;
    community(&inside).await;
    let mut bytes = Vec::new();
    lines::write(&mut bytes, &all(inside.app.log()).await).expect("written");
    let whole = String::from_utf8(bytes).expect("UTF-8");
    let lines: Vec<&str> = whole.lines().collect();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, target) = (folder.path().join("part.jsonl"), format!("sqlite:{}", folder.path().join("new.db").display()));
    let last = lines.len() - 1;
    for (what, text, said) in [
        ("an end", lines[7..].join("\n"), "a part of a stream cannot be imported"),
        ("a hole", [&lines[..3], &lines[4..]].concat().join("\n"), "a part of a stream cannot be imported"),
        ("twice", [&lines[..], &lines[last..]].concat().join("\n"), "is there twice"),
        ("another order", [&lines[1..2], &lines[..1], &lines[2..]].concat().join("\n"), "line 1"),
        ("no JSON", format!("{}\nwhat?", lines[0]), "line 2: it is not an event"),
        ("cut short", whole[..whole.len() - 30].to_owned(), &format!("line {}: it is not an event", lines.len())),
        ("nothing", String::new(), "has no events"),
        ("in clear", whole.replace("}\n", ",\"opened\":true}\n"), "line 1: what people wrote in it is in clear"),
    ] {
        fs::write(&file, text).expect("written");
        let (ok, _, error) = import(&file, &target, &place);
        assert!(!ok && error.contains(said), "{what}: {error}");
        assert!(!folder.path().join("new.db").exists(), "{what}: nothing is made");
    }
    fs::write(&file, &whole).expect("written");
    let (ok, out, error) = import(&file, &target, &place);
    assert!(ok, "{out}{error}");
    let other = whole.replace("\"senderNumber\":2", "\"senderNumber\":9");
    fs::write(&file, other).expect("written");
    let (ok, _, error) = import(&file, &target, &place);
    assert!(!ok && error.contains("differs"), "{error}");
    // What the log was earlier is a log.
    fs::write(&file, lines[..7].join("\n")).expect("written");
    let (ok, out, error) = import(&file, &format!("sqlite:{}", folder.path().join("earlier.db").display()), &place);
    assert!(ok && out.contains("7 events are in the log"), "{out}{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_not_imported_without_its_keys() {
    let start = || async {
        let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
        (Inside::at(&place).await, place)
    };
    let ((inside, place), (stranger, elsewhere)) = (start().await, start().await);
    community(&inside).await;
    let bob = inside.sign_in("bob").await;
    inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { id }").await;
    stranger.sign_in("ann").await;
    let (file, folder) = (place.folder().join("export.jsonl"), tempfile::tempdir().expect("a folder"));
    fs::write(&file, export(&place.log_url(), &[])).expect("written");
    let (log, keys) = (folder.path().join("new.db"), folder.path().join("new.keys"));
    let target = format!("sqlite:{}", log.display());
    let import = |more: &[&str]| run(&[&["import", file.to_str().expect("UTF-8"), "--log", &target], more].concat());
    let others = elsewhere.folder().join("events.keys");
    for (more, looked_into) in [(&[] as &[&str], &keys), (&["--keys", &format!("sqlite:{}", others.display())], &others)] {
        let (ok, _, error) = import(more);
        assert!(!ok && error.contains(&format!("not in the key store {}", looked_into.display())) && error.contains("--keys"), "{error}");
        assert!(!log.exists() && !keys.exists(), "nothing is made");
    }
    fs::copy(place.folder().join("events.keys"), &keys).expect("copied");
    let (ok, out, error) = import(&[]);
    assert!(ok, "{out}{error}");
    let opened = export(&target, &["--open"]);
    assert!(opened.contains("\"0 de bob\"") && !opened.contains("de ann"), "who was erased stays so: {opened}");
}

#[tokio::test]
async fn a_pipe_is_refused_where_a_file_is_read_twice() {
    let server = Server::start();
    server.people(["alice"]).await;
    let lines = export(&format!("sqlite:{}", server.file("events.db").display()), &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let target = format!("sqlite:{}", folder.path().join("new.db").display());
    for arguments in [&["import", "/dev/stdin", "--log", &target][..], &["verify", "--export", "/dev/stdin"]] {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(lines.as_bytes()).expect("there is room");
        drop(writer);
        let output = Command::new(BINARY).args(arguments).stdin(reader).output().expect("it runs");
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!output.status.success() && error.contains("it is read twice, and so has to be a regular file"), "{arguments:?}: {error}");
    }
    assert!(!folder.path().join("new.db").exists(), "nothing is made");
}

#[test]
fn data_that_is_not_what_it_should_be_is_exported_as_it_is() {
    let event = StoredEvent {
        position: Position(1),
        stream: "user-ann".to_owned(),
        version: 1,
        id: uuid::Uuid::from_u128(7),
        kind: "ProfileUpdated".to_owned(),
        at: Timestamp(1_700_000_000_000_001),
        actor: None,
        correlation: uuid::Uuid::from_u128(8),
        causation: uuid::Uuid::from_u128(9),
        data: String::new(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    for data in ["{\"user\":", "{\n}", " {} ", "{\"a\": 1.0}", "null", ""] {
        let events = [StoredEvent { data: data.to_owned(), ..event.clone() }];
        let mut bytes = Vec::new();
        lines::write(&mut bytes, &events).expect("written");
        assert_eq!(String::from_utf8_lossy(&bytes).lines().count(), 1, "{data:?}");
        let file = folder.path().join("one.jsonl");
        fs::write(&file, &bytes).expect("written");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = runtime.block_on(async {
            use entrenous::event_log::copy::Source as _;
            lines::Export::open(&file).expect("a file").next(10).await.expect("read")
        });
        assert_eq!(read, events);
    }
}
