//! What an auditor sees of the log (A2): any part of it, from either end, live, and as lines that become a log again.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use entrenous::audit::lines;
use entrenous::domain::event::{Position, Timestamp};
use entrenous::domain::ids::UserId;
use entrenous::event_log::selection::Selection;
use entrenous::event_log::{EventLog, StoredEvent};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::community::community;
use crate::support::inside::{Back, Inside, Place};
use crate::support::process::{BINARY, run};
use crate::support::socket::Socket;
use crate::support::{Server, nodes};

async fn all(log: &EventLog) -> Vec<StoredEvent> {
    log.read_all_stored(Position(0), 1_000_000).await.expect("read")
}

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

const EVENTS: &str = "query($filter: EventFilter, $first: Int, $after: String, $last: Int, $before: String) {
    events(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { id position stream version type at actor correlationId causationId data stored cursor } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }";

#[tokio::test]
async fn a2_an_auditor_pages_through_the_log() {
    let inside = Inside::start().await;
    community(&inside).await;
    let auditor = inside.sign_in("eve").await;
    let known = all(inside.app.log()).await;
    let id = |event: &StoredEvent| event.id.to_string();
    for (filter, wanted) in [
        (json!({}), known.iter().map(id).collect::<Vec<_>>()),
        (json!({ "user": "eve", "types": ["MessageSent", "MessagesRead"] }), {
            let selection =
                Selection { user: UserId::parse("eve").ok(), types: vec!["MessageSent".to_owned(), "MessagesRead".to_owned()], ..Selection::default() };
            known.iter().filter(|event| selection.takes(event)).map(id).collect()
        }),
    ] {
        assert!(wanted.len() > 5);
        for (count, place, cursor, more) in [("first", "after", "endCursor", "hasNextPage"), ("last", "before", "startCursor", "hasPreviousPage")] {
            let (mut found, mut at) = (Vec::new(), Value::Null);
            loop {
                let page = inside.ask(&auditor, EVENTS, json!({ "filter": filter, count: 4, place: at })).await["events"].take();
                let ids: Vec<_> = nodes(&page).iter().map(|node| node["id"].as_str().expect("an id").to_owned()).collect();
                if count == "first" {
                    found.extend(ids);
                } else {
                    found.splice(0..0, ids).for_each(drop);
                }
                at = page["pageInfo"][cursor].clone();
                if page["pageInfo"][more] == false {
                    break;
                }
            }
            assert_eq!(found, wanted, "{count} of {filter}");
        }
    }
    let first = inside.ask(&auditor, EVENTS, json!({ "first": 1 })).await["events"]["edges"][0]["node"].take();
    let event = &known[0];
    assert_eq!((&first["position"], &first["version"], &first["type"]), (&json!("1"), &json!("1"), &json!(event.kind)));
    assert_eq!((&first["stored"], &first["at"], &first["actor"]), (&json!(event.data), &json!(event.at.to_string()), &json!(event.actor)));
    for wrong in [json!({ "stream": "rooms-1" }), json!({ "fromPosition": "one" }), json!({ "user": "no body" })] {
        let query = format!("{{ events(filter: {}) {{ edges {{ cursor }} }} }}", wrong.to_string().replace("{\"", "{").replace("\":", ":"));
        let refused = inside.respond(&auditor, &query).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn a2_an_auditor_follows_the_log() {
    let inside = Inside::start().await;
    let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
    inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "avant" }), "message { id }").await;
    let first = inside.ask(&ann, EVENTS, json!({ "first": 1 })).await["events"]["edges"][0]["cursor"].take();
    let follow = "subscription($after: String) { eventLog(after: $after, filter: { types: [\"MessageSent\"] }) { type data cursor } }";
    let mut since = Box::pin(inside.follow(&ann, follow, json!({ "after": first })));
    let mut live = Box::pin(inside.follow(&ann, follow, json!({})));
    assert!(since.next().await.expect("told")["eventLog"]["data"].as_str().is_some_and(|data| data.contains("avant")));
    assert!(futures_util::poll!(live.next()).is_pending(), "it begins now");
    inside.mutate(&bob, "markAsRead", json!({ "with": "ann" }), "conversation { id }").await;
    inside.mutate(&bob, "sendMessage", json!({ "to": "ann", "text": "apres" }), "message { id }").await;
    for events in [&mut since, &mut live] {
        assert!(events.next().await.expect("told")["eventLog"]["data"].as_str().is_some_and(|data| data.contains("apres")));
    }
}

#[tokio::test]
async fn b6_only_an_auditor_sees_the_log() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    for query in ["{ events { edges { cursor } } }", "{ events(first: 1, filter: { user: \"alice\" }) { edges { cursor } } }"] {
        let answer = alice.request(query, json!({})).await.body;
        assert_eq!((&answer["errors"][0]["extensions"]["code"], &answer["data"]), (&json!("FORBIDDEN"), &Value::Null), "{answer}");
    }
    let admin = server.admin();
    assert_eq!(admin.request("{ events { edges { cursor } } }", json!({})).await.code(), "FORBIDDEN", "another role");
    for person in [&alice, &admin] {
        let mut socket = Socket::signed_in(&server, person).await;
        socket.subscribe("log", "subscription { eventLog { data } }", json!({})).await;
        let refused = socket.hear().await.expect("an answer");
        assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("FORBIDDEN")), "{refused}");
    }
}

/// Runs the binary; its exit code and what it printed.
fn code_and_output(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("it runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

#[tokio::test]
async fn a2_the_command_line_selects_events_and_says_by_its_code_what_came_of_it() {
    let mut server = Server::start();
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
        let (code, out) = code_and_output(&[&["events", "--data", &data], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}");
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let of = |wanted: &dyn Fn(&Value) -> bool| all.iter().filter(|event| wanted(event)).cloned().collect::<Vec<_>>();
    assert_eq!(selected(&["--stream", &stream]), of(&|event| event["stream"] == stream.as_str()));
    assert_eq!(selected(&["--from", &from, "--to", &to]), all[1..=3]);
    let at = |event: &Value| text(event, "at");
    assert_eq!(selected(&["--since", &since, "--until", &until]), of(&|event| at(event) >= since && at(event) < until));
    assert_eq!(selected(&["--type", "MessageSent", "--user", "carol"]).len(), 1);

    for (arguments, code) in [
        (["verify", "--data", &data].as_slice(), 0),
        (&["projections", "verify", "--data", &data], 0),
        (&["erase", "nobody", "--data", &data], 1),
        (&["events", "--stream", "nothing-like-it", "--data", &data], 2),
        (&["events", "--whatever"], 2),
    ] {
        assert_eq!(code_and_output(arguments).0, Some(code), "{arguments:?}");
    }
    server.stop();
    let sql =
        |file: &str, statement: &str| rusqlite::Connection::open(server.file(file)).and_then(|connection| connection.execute_batch(statement)).expect("done");
    sql("views.db", "update conversations set read = 0, received = received + 1 where owner = 'alice'");
    assert_eq!(code_and_output(&["projections", "verify", "--data", &data]).0, Some(1));
    sql("events.db", "update events set actor = 'mallory' where position = 4");
    assert_eq!(code_and_output(&["verify", "--data", &data]).0, Some(1));
}

fn export(url: &str, more: &[&str]) -> String {
    let (ok, out, error) = run(&[&["events", "--log", url], more].concat());
    assert!(ok && error.is_empty(), "{error}");
    out
}

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

#[tokio::test]
async fn a2_a_replay_names_the_event_behind_each_fact() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let seen = alice.sent(&bob, "un").await;
    bob.block(&alice).await;
    let withheld = alice.sent(&bob, "deux").await;
    bob.unblock(&alice).await;
    bob.read(&alice).await;
    bob.delete(&alice).await;
    let events = server.event_lines();
    let at = |kind: &str, n: usize| events.iter().filter(|event| event["type"] == kind).nth(n).expect("an event").clone();
    let replay = |more: &[&str]| {
        let (ok, out, error) = run(&[&["replay", "--data", server.data().to_str().expect("UTF-8"), "--user", "bob", "--why"], more].concat());
        assert!(ok, "{error}");
        serde_json::from_str::<Value>(&out).expect("JSON")
    };
    let before = |event: &Value| (event["position"].as_u64().expect("a position") - 1).to_string();

    let blocked = replay(&["--at", &before(&at("UserUnblocked", 0))]);
    let row = &blocked["conversations"][0];
    assert_eq!((&row["blocked"], &row["unreadCount"], &row["lastMessage"]["id"]), (&json!(true), &json!(1), &json!(seen)));
    let block = at("UserBlocked", 0);
    assert_eq!(
        (&row["why"]["blocked"]["id"], &row["why"]["blocked"]["actor"], &row["why"]["blocked"]["position"]),
        (&block["id"], &json!("bob"), &block["position"])
    );
    assert_eq!(row["why"]["name"]["id"], at("UserRegistered", 0)["id"]);
    assert_eq!(row["why"]["lastMessage"]["id"], json!(seen));

    let unblock = at("UserUnblocked", 0);
    let unblocked = replay(&["--at", unblock["at"].as_str().expect("an instant"), "--with", "alice"]);
    let messages = &unblocked["conversation"]["messages"];
    assert_eq!((&messages[0]["id"], &messages[0]["why"]["id"]), (&json!(seen), &json!(seen)));
    assert_eq!((&messages[1]["id"], &messages[1]["why"]["id"]), (&json!(withheld), &unblock["id"]), "it surfaced by the unblock");
    assert_eq!(unblocked["conversation"]["unreadCount"], 2);

    let now = replay(&[]);
    assert_eq!(now["conversations"], json!([]));
    let deleted = replay(&["--with", "alice"]);
    assert_eq!((&deleted["conversation"], &deleted["why"]["listed"]["id"]), (&Value::Null, &at("ConversationDeleted", 0)["id"]));
    assert_eq!(deleted["why"]["unreadCount"]["id"], at("MessagesRead", 0)["id"]);

    for (more, said) in [
        (&["--at", "1"][..], "bob was not registered then"),
        (&["--with", "carol"], "carol was not registered then"),
        (&["--at", "hier"], "neither a position nor an instant"),
    ] {
        let (ok, out, error) = run(&[&["replay", "--data", server.data().to_str().expect("UTF-8"), "--user", "bob"], more].concat());
        assert!(!ok && out.is_empty() && error.contains(said), "{error}");
    }
}

/// As in KurrentDB, where one node's clock is ahead of another's.
#[tokio::test]
async fn a2_a_replay_has_all_up_to_an_instant_where_times_go_back_between_streams() {
    let server = Server::start();
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await;
    alice.sent(&bob, "un").await;
    alice.sent(&cleo, "deux").await;
    let mut lines: Vec<String> = export(&format!("sqlite:{}", server.file("events.db").display()), &[]).lines().map(str::to_owned).collect();
    let at = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["at"].as_str().expect("an instant").to_owned();
    let (ahead, until) = (at(&lines[3]), at(&lines[4]));
    lines[3] = lines[3].replace(&ahead, "2999-01-01T00:00:00Z");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, log) = (folder.path().join("export.jsonl"), format!("sqlite:{}", folder.path().join("new.db").display()));
    fs::write(&file, lines.join("\n")).expect("written");
    let keys = format!("sqlite:{}", server.file("events.keys").display());
    let there = ["--log", &log, "--keys", &keys];
    let (ok, _, error) = run(&[&["import", file.to_str().expect("UTF-8")], &there[..]].concat());
    assert!(ok, "{error}");
    for (at, seen) in [(&*until, &["cleo"][..]), ("4", &["bob"]), ("2999-01-01T00:00:00Z", &["bob", "cleo"])] {
        let (ok, out, error) = run(&[&["replay", "--user", "alice", "--at", at], &there[..]].concat());
        assert!(ok, "{error}");
        let replayed: Value = serde_json::from_str(&out).expect("JSON");
        let mut contacts: Vec<_> = replayed["conversations"].as_array().expect("a list").iter().map(|row| row["contact"]["id"].as_str()).collect();
        contacts.sort_unstable();
        assert_eq!(contacts, seen.iter().copied().map(Some).collect::<Vec<_>>(), "{at}");
    }
}

#[tokio::test]
async fn a2_what_could_not_be_folded_is_said_after_what_could() {
    let mut server = Server::start();
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await;
    alice.sent(&bob, "un").await;
    alice.sent(&cleo, "deux").await;
    server.stop();
    let break_event = |position: u64| {
        let log = rusqlite::Connection::open(server.file("events.db")).expect("a log");
        assert_eq!(log.execute("update events set data = '[]' where position = ?1", [position]).expect("written"), 1);
    };
    let data = server.data().to_str().expect("UTF-8");
    break_event(4);
    for command in [&["replay", "--user", "alice"][..], &["export-user", "alice"]] {
        let (ok, out, error) = run(&[command, &["--data", data]].concat());
        let seen: Value = serde_json::from_str(&out).expect("JSON");
        let contacts: Vec<_> = seen["conversations"].as_array().expect("a list").iter().map(|row| &row["contact"]["id"]).collect();
        assert_eq!(contacts, ["cleo"], "{command:?}");
        assert!(!ok && error.contains("conversation-") && error.contains("position 4") && error.contains("MessageSent"), "{command:?}: {error}");
    }
    let (ok, out, error) = run(&["replay", "--user", "alice", "--at", "3", "--data", data]);
    assert!(ok && error.is_empty(), "it was broken later: {out}{error}");
    break_event(1);
    let (ok, out, error) = run(&["export-user", "alice", "--data", data]);
    assert!(!ok && out.is_empty() && error.contains("community/1"), "{error}");
}
