//! Tampering is evident: whatever is changed, dropped, moved or taken back in a log is found, on every back end.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use entrenous::audit::checkpoint::{Checkpoint, CheckpointSigner, origin};
use entrenous::audit::lines::{self, Export};
use entrenous::audit::statement::{self, Proven, Statement};
use entrenous::audit::verify::{Agreement, Finding, verify};
use entrenous::domain::event::{Position, Timestamp};
use entrenous::event_log::EventLog;
use entrenous::event_log::merkle::{Frontier, Hash};
use entrenous::storage::StoreUrl;
use serde_json::{Value, json};

use crate::support::Server;
use crate::support::community::community;
use crate::support::inside::{Back, Inside, Place, sqlite};
use crate::support::postgres;
use crate::support::process::{BINARY, run};
use crate::support::tampering::{no_tree, tamper_with_log};

const KEY: [u8; 32] = [7; 32];

fn signer() -> CheckpointSigner {
    CheckpointSigner::new(&KEY)
}

async fn checkpoint(log: &EventLog) -> Checkpoint {
    signer().verifier().open(&statement::checkpoint(log, &signer()).await.expect("signed")).expect("its own")
}

/// What is found; one finding where the log cannot even be read.
async fn findings(url: &StoreUrl, checkpoints: &[Checkpoint]) -> Vec<String> {
    let log = match EventLog::open_read_only(url, None).await {
        Ok(log) => log,
        Err(error) => return vec![error.to_string()],
    };
    match verify(&log, &origin(log.id()), checkpoints, |_| {}).await {
        Ok(verified) => verified.findings.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// A log with a past, and a checkpoint from the middle of it and from its end.
async fn log_with_a_past(place: &Arc<Place>) -> Vec<Checkpoint> {
    let inside = Inside::at(place).await;
    community(&inside).await;
    let earlier = checkpoint(inside.app.log()).await;
    let ann = inside.sign_in("ann").await;
    for n in 0..5 {
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": format!("après {n}") }), "message { id }").await;
    }
    let later = checkpoint(inside.app.log()).await;
    let verified = verify(inside.app.log(), &later.origin, &[earlier.clone(), later.clone()], |_| {}).await.expect("read");
    assert_eq!((verified.findings.as_slice(), verified.without_leaf), (&[][..], 0));
    assert_eq!(verified.agreements, [Some(Agreement::Extended), Some(Agreement::Equal)]);
    inside.app.log().close().await;
    vec![earlier, later]
}

/// One change each; `$n` is an event's position.
const CHANGES: [&str; 15] = [
    "update events set version = version + 1000 where position = $n",
    "update events set type = 'MessagesRead' where position = $n and type <> 'MessagesRead'",
    "update events set type = type || ' ' where position = $n",
    "update events set at = at + 1 where position = $n",
    "update events set at = -at where position = $n",
    "update events set actor = 'mallory' where position = $n",
    "update events set actor = null where position = $n and actor is not null",
    "update events set data = replace(data, 'a', 'b') where position = $n",
    "update events set data = data || ' ' where position = $n",
    "update events set stream = (select min(number) from streams) where position = $n and version > 5",
    "update streams set name = name || '0' where number = (select stream from events where position = $n)",
    "update events set position = position + 100000 where position = $n",
    "delete from events where position = $n",
    "delete from events where position >= $n",
    "update events set hash = null, data = data || ' ' where position = $n",
];

/// What only one kind of database says so, and two events that change places.
const OF_SQLITE: [&str; 5] = [
    "update events set id = randomblob(16) where position = $n",
    "update events set correlation = randomblob(16) where position = $n",
    "update events set causation = randomblob(16) where position = $n",
    "update events set hash = randomblob(32) where position = $n",
    "update events set position = -1 where position = $n; update events set position = $n where position = $n + 1; update events set position = $n + 1 where position = -1",
];
const OF_POSTGRES: [&str; 5] = [
    "update events set id = gen_random_uuid() where position = $n",
    "update events set correlation = gen_random_uuid() where position = $n",
    "update events set causation = gen_random_uuid() where position = $n",
    "update events set hash = decode(repeat('00', 32), 'hex') where position = $n",
    "update events set position = -1 where position = $n; update events set position = $n where position = $n + 1; update events set position = $n + 1 where position = -1",
];

fn changes(own: [&'static str; 5], n: u64) -> impl Iterator<Item = String> {
    CHANGES.into_iter().chain(own).map(move |change| change.replace("$n", &n.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_file_is_found() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let (whole, copy) = (place.folder().join("events.db"), place.folder().join("copy.db"));
    let tampered = |sql: &str| {
        for suffix in ["", "-wal", "-shm"] {
            drop(fs::remove_file(place.folder().join(format!("copy.db{suffix}"))));
        }
        fs::copy(&whole, &copy).expect("copied");
        let connection = rusqlite::Connection::open(&copy).expect("a file");
        connection.execute_batch(sql).expect(sql);
        connection.total_changes()
    };
    tampered("");
    assert_eq!(findings(&sqlite(&copy), &checkpoints).await, [""; 0]);
    let mut tried = 0;
    for n in [1, 2, 17, 40, checkpoints[0].size, checkpoints[1].size - 1] {
        for change in changes(OF_SQLITE, n) {
            if tampered(&change) > 0 {
                tried += 1;
                assert_ne!(findings(&sqlite(&copy), &[]).await, [""; 0], "without a checkpoint: {change}");
            }
        }
    }
    assert!(tried > 100, "{tried}");
    // Every byte of one event's data, in turn.
    let data: String =
        rusqlite::Connection::open(&whole).expect("a file").query_row("select data from events where position = 40", [], |row| row.get(0)).expect("data");
    for at in 0..data.len() {
        let mut bytes = data.clone().into_bytes();
        bytes[at] ^= 1;
        let bytes = String::from_utf8(bytes).unwrap_or_default().replace('\'', "''");
        tampered(&format!("update events set data = '{bytes}' where position = 40"));
        assert!(findings(&sqlite(&copy), &[]).await[0].contains("position 40"), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_in_postgresql_is_found() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let operator = postgres::connect(&place.url()).await;
    operator
        .batch_execute("set search_path = entrenous_log; create table saved as table events; create table saved_streams as table streams")
        .await
        .expect("saved");
    let restore = "truncate events; insert into events table saved; truncate streams; insert into streams table saved_streams";
    let mut tried = 0;
    for n in [1, 17, checkpoints[1].size - 1] {
        for change in changes(OF_POSTGRES, n) {
            let before = operator
                .query_one("select md5(string_agg(e::text, ',' order by position)) from events e", &[])
                .await
                .expect("a row")
                .get::<_, Option<String>>(0);
            operator.batch_execute(&change).await.expect(&change);
            let after = operator
                .query_one("select md5(string_agg(e::text, ',' order by position)) from events e", &[])
                .await
                .expect("a row")
                .get::<_, Option<String>>(0);
            if before != after || change.starts_with("update streams") {
                tried += 1;
                assert_ne!(findings(&place.log(), &[]).await, [""; 0], "without a checkpoint: {change}");
            }
            operator.batch_execute(restore).await.expect("restored");
        }
    }
    assert!(tried > 50, "{tried}");
    assert_eq!(findings(&place.log(), &checkpoints).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_kurrentdb_is_found_by_a_checkpoint() {
    let place = Arc::new(Place::new(Back::Kurrent, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    assert_eq!(findings(&place.log(), &checkpoints).await, [""; 0]);
    place.peer().tamper("conversation-", |data| {
        let text = String::from_utf8(data.clone()).expect("JSON").replace("\"senderNumber\":8", "\"senderNumber\":9");
        *data = text.into_bytes();
    });
    assert_eq!(findings(&place.log(), &checkpoints[..1]).await, [""; 0], "it was after the first");
    assert!(findings(&place.log(), &checkpoints).await[0].contains("not those of the checkpoint"));
}

/// Whoever can write the file can make its hashes and its tree anew. A checkpoint that somebody else has still tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_who_makes_all_hashes_anew_is_found_by_a_checkpoint() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let file = place.folder().join("events.db");
    let connection = rusqlite::Connection::open(&file).expect("a file");
    connection.execute("update events set data = replace(data, '\"senderNumber\":4', '\"senderNumber\":5')", []).expect("changed");
    let log = EventLog::open_read_only(&place.log(), place.keys().as_ref()).await.expect("a log");
    let mut tree = Frontier::default();
    for event in log.read_all_stored(Position(0), 100_000).await.expect("read") {
        let leaf = Hash::of_leaf(&event);
        tree.push(leaf);
        connection.execute("update events set hash = ?1 where position = ?2", rusqlite::params![leaf.0, event.position.0]).expect("changed");
    }
    connection.execute("update merkle set size = 0, frontier = x''", []).expect("changed");
    drop((connection, log));
    // The service itself makes the tree again.
    let inside = Inside::at(&place).await;
    let ann = inside.sign_in("ann").await;
    inside.mutate(&ann, "toggleContactable", json!({ "contactable": true }), "user { id }").await;
    assert_eq!(findings(&place.log(), &[]).await, [""; 0], "nothing in the file tells");
    assert_eq!(findings(&place.log(), &checkpoints[..1]).await, [""; 0], "it was after the first");
    assert_eq!(findings(&place.log(), &checkpoints).await, [Finding::OtherThanCheckpoint { size: tree.size() }.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_file_put_back_is_found_by_a_checkpoint() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let file = place.folder().join("events.db");
    let older = place.folder().join("older.db");
    // As a backup is made: what the file has beside it (its WAL) comes along.
    let backup = rusqlite::Connection::open(&file).expect("a file");
    backup.execute("vacuum into ?1", [older.to_str().expect("UTF-8")]).expect("copied");
    drop(backup);
    let inside = Inside::at(&place).await;
    let bob = inside.sign_in("bob").await;
    inside.mutate(&bob, "sendMessage", json!({ "to": "ann", "text": "encore" }), "message { id }").await;
    let newest = checkpoint(inside.app.log()).await;
    assert_eq!(findings(&sqlite(&older), &checkpoints).await, [""; 0], "by itself it is what it was");
    let found = findings(&sqlite(&older), std::slice::from_ref(&newest)).await;
    assert_eq!(found, [Finding::BeforeCheckpoint { size: newest.size, found: newest.size - 1 }.to_string()]);
}

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
            while log.latest().await.expect("a head").0 < EVENTS {
                assert_eq!(findings(&place.log(), &[checkpoint(&log).await]).await, [""; 0], "{back:?}");
            }
        };
        tokio::join!(appending, verifying);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_of_the_events_wherever_they_are() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let source = EventLog::open_read_only(&place.log(), place.keys().as_ref()).await.expect("a log");
    let other = Place::new(Back::Postgres, Back::Sqlite).await;
    let target = EventLog::open(&other.log(), other.keys().as_ref(), Arc::new(entrenous::cli::now)).await.expect("a log");
    entrenous::event_log::copy::copy(&source, &target, |_| {}).await.expect("copied");
    let copied = checkpoint(&target).await;
    assert_eq!((copied.size, copied.root), (checkpoints[1].size, checkpoints[1].root));
    assert_ne!(copied.origin, checkpoints[1].origin, "it is another log");
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

#[tokio::test]
async fn a_verdict_stands_though_nobody_reads_it() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    server.stop();
    let code = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--data").arg(server.data()).stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
        command.status().expect("it runs").code()
    };
    for (command, file, change) in [
        (&["projections", "verify"][..], "views.db", "update messages set text = 'autre chose'"),
        (&["verify"], "events.db", "update events set actor = 'mallory' where position = 3"),
    ] {
        assert_eq!(code(command), Some(0), "{command:?}");
        rusqlite::Connection::open(server.file(file)).expect("a file").execute_batch(change).expect("changed");
        assert_eq!(code(command), Some(1), "{command:?}");
    }
}

fn succeeds(arguments: &[&str]) -> String {
    let (ok, out, error) = run(arguments);
    assert!(ok && error.is_empty(), "{arguments:?}: {out}{error}");
    out
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_and_proofs_are_made_beside_the_service_and_checked_elsewhere() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let id = alice.sent(&bob, "un").await;
    let data = server.data().to_str().expect("UTF-8");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| write(elsewhere.path(), name, text);
    let early = file("early", &signer().verifier().to_string());
    let (ok, out, error) = run(&["prove", "--data", data, "--since", &early]);
    assert!(!ok && out.is_empty() && error.contains("the key that signed the checkpoint is not here"), "{error}");
    assert!(!server.file("checkpoint.key").exists(), "none is made for it");
    let (ok, verifier, told) = run(&["checkpoint", "--data", data, "--verifier"]);
    assert!(ok && told == format!("{}: a new key of checkpoints was made here\n", server.file("checkpoint.key").display()), "{told}");
    let verifier = verifier.trim();
    let first = file("first", &succeeds(&["checkpoint", "--data", data]));
    assert!(succeeds(&["verify", "--data", data, "--checkpoint", &first]).contains("(3 events): equal"));
    alice.sent(&bob, "deux").await;
    assert!(succeeds(&["verify", "--data", data, "--checkpoint", &first]).contains("(3 events): extended since"));

    let inclusion = file("inclusion", &succeeds(&["prove", "--data", data, "--event", &id]));
    let consistency = file("consistency", &succeeds(&["prove", "--data", data, "--since", &first]));
    let nowhere = elsewhere.path().join("nothing").to_str().expect("UTF-8").to_owned();
    assert!(succeeds(&["verify", "--data", &nowhere, "--verifier", verifier, "--proof", &inclusion]).contains(&id));
    assert!(succeeds(&["verify", "--data", &nowhere, "--verifier", verifier, "--proof", &consistency]).contains("of 4 events goes on from that of 3"));
    let export = file("export.jsonl", &succeeds(&["events", "--data", data]));
    assert!(succeeds(&["verify", "--data", &nowhere, "--verifier", verifier, "--export", &export, "--checkpoint", &first]).contains("extended since"));

    let fails = |arguments: &[&str], said: &str| {
        let (ok, out, error) = run(arguments);
        assert!(!ok && format!("{out}{error}").contains(said), "{arguments:?}: {out}{error}");
    };
    let text = fs::read_to_string(&inclusion).expect("a proof");
    let mut forged: Value = serde_json::from_str(&text).expect("JSON");
    forged["inclusion"]["event"]["data"]["text"] = json!("autre chose");
    let forged = file("forged", &forged.to_string());
    fails(&["verify", "--data", &nowhere, "--verifier", verifier, "--proof", &forged], "not the one of the proof");
    let lines = fs::read_to_string(&export).expect("an export");
    let altered = file("altered.jsonl", &lines.replace("\"senderNumber\":1", "\"senderNumber\":9"));
    fails(&["verify", "--data", &nowhere, "--verifier", verifier, "--export", &altered, "--checkpoint", &first], "DIFFERS");
    let signed = fs::read_to_string(&first).expect("a checkpoint");
    for (name, mailed) in [("longer", format!("{signed}\n\n")), ("returns", signed.replace('\n', "\r\n") + "\r\n")] {
        let mailed = file(name, &mailed);
        assert!(succeeds(&["verify", "--data", data, "--checkpoint", &mailed]).contains("(3 events): extended since"), "{name}");
        let proof = succeeds(&["prove", "--data", data, "--since", &mailed]);
        assert_eq!(proof, fs::read_to_string(&consistency).expect("a proof"), "{name}");
    }
    let other = file("other", &signed.replace("\n3\n", "\n4\n"));
    fails(&["verify", "--data", data, "--checkpoint", &other], "its signature does not fit");
    let stranger = CheckpointSigner::new(&[9; 32]).verifier().to_string();
    fails(&["verify", "--data", data, "--verifier", &stranger, "--checkpoint", &first], "not signed by this key");
    fails(&["verify", "--data", &nowhere, "--checkpoint", &first], "--verifier is needed");
    fails(&["prove", "--data", data, "--event", "01a21ad9-9555-76a1-b83a-20a968a79b5f"], "the log has no event");
    let mode = fs::metadata(server.file("checkpoint.key")).expect("the key").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);

    let proven = Statement::parse(&text).expect("a proof").check(&verifier.parse().expect("a key")).expect("proven");
    assert!(matches!(proven, Proven::Inclusion { event, checkpoint } if event.id.to_string() == id && checkpoint.size == 4));
}
