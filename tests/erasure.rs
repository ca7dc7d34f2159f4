//! A person is forgotten: nothing that they wrote or were called is left, and whatever was proved stays proved.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use entrenous::app::access::Viewer;
use entrenous::app::catching_up::fold_up_to;
use entrenous::app::{App, Settings, Sources, progress, projector};
use entrenous::audit::rebuild::{Options, rebuild};
use entrenous::audit::views::{Extent, compare};
use entrenous::cli::{new_id, now};
use entrenous::domain::conversation::ConversationEvent;
use entrenous::domain::event::{Event, Position, RecordedEvent};
use entrenous::domain::ids::UserId;
use entrenous::domain::user::UserEvent;
use entrenous::event_log::EventLog;
use entrenous::event_log::keys::RequestedErasure;
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::support::Server;
use crate::support::inside::{Back, Inside, Place};
use crate::support::postgres;
use crate::support::process::run;

const WORDS: [&str; 4] = ["Philomène", "philomene", "chrysanthème", "portrait-de-famille"];

/// Which of the words stand in a file of a folder.
fn told_by(folder: &Path) -> Vec<String> {
    let mut told = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        let found = WORDS.iter().filter(|word| bytes.windows(word.len()).any(|window| window == word.as_bytes()));
        told.extend(found.map(|word| format!("{} in {}", word, entry.path().display())));
    }
    told
}

/// Leaves a file and its rollback journal as a kill in the middle of a commit does.
fn leave_half_written(file: &Path, changes: &str) {
    let mut journal = file.as_os_str().to_owned();
    journal.push("-journal");
    let dying = rusqlite::Connection::open(file).expect("a file");
    dying.execute_batch(&format!("pragma journal_mode = truncate; pragma cache_size = 1; begin; {changes}")).expect("written");
    let was_left = (fs::read(file).expect("pages"), fs::read(&journal).expect("a journal"));
    assert!(!was_left.1.is_empty());
    drop(dying);
    fs::write(file, was_left.0).expect("written");
    fs::write(&journal, was_left.1).expect("written");
}

/// Every row of every table of a database, and what the server remembers of their values.
async fn whole_database(url: &str) -> String {
    let client = postgres::connect(url).await;
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')";
    let mut whole = String::new();
    let tables = client.query(tables, &[]).await.expect("tables");
    for table in tables.iter().map(|row| row.get::<_, String>(0)).chain(["pg_stats".to_owned()]) {
        for row in client.query(&format!("select row::text from {table} row"), &[]).await.expect("rows") {
            whole.push_str(row.get(0));
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_in_no_file_and_every_proof_holds() {
    for is_running in [true, false] {
        let mut server = Server::start();
        let person = server.person_with("p1", &json!({ "name": "Philomène", "picture": "https://exemple.fr/portrait-de-famille.png" }));
        person.ask("{ me { id } }").await;
        let [bob, cleo] = server.people(["bob", "cleo"]).await;
        let id = person.sent(&bob, "un chrysanthème").await;
        bob.sent(&person, "merci").await;
        for n in 0..200 {
            person.sent(&cleo, &format!("chrysanthème {n}")).await;
        }
        let data = server.data().to_str().expect("UTF-8").to_owned();
        let elsewhere = tempfile::tempdir().expect("a folder");
        let keep = |name: &str, arguments: &[&str]| {
            let (ok, out, error) = run(&[arguments, &["--data", &data]].concat());
            assert!(ok, "{arguments:?}: {error}");
            let file = elsewhere.path().join(name);
            fs::write(&file, out).expect("written");
            file.to_str().expect("UTF-8").to_owned()
        };
        let checkpoint = keep("checkpoint", &["checkpoint"]);
        let proof = keep("proof", &["prove", "--event", &id]);
        keep("rebuilt", &["projections", "rebuild"]);
        if !is_running {
            server.signal("TERM");
            assert!(server.wait().success());
        }
        assert!(!told_by(server.data()).is_empty(), "they are in the views");

        let (ok, out, error) = run(&["erase", "p1", "--data", &data]);
        assert!(ok && out == "p1 is erased\n", "{out}{error}");
        assert_eq!(told_by(server.data()), [""; 0], "running: {is_running}");
        let (ok, _, error) = run(&["erase", "nobody", "--data", &data]);
        assert!(!ok && error.contains("nobody is not registered"), "{error}");
        keep("verified", &["verify", "--checkpoint", &checkpoint]);
        keep("proven", &["verify", "--proof", &proof]);
        keep("views", &["projections", "verify"]);

        if !is_running {
            server = server.again();
        }
        let (bob, cleo) = (server.person("bob"), server.person("cleo"));
        let attempt = bob.request("mutation { eraseUser(input: { userId: \"cleo\" }) { user { id } } }", json!({})).await;
        assert_eq!(attempt.code(), "FORBIDDEN");
        let person = server.person("p1");
        let seen = bob.ask("{ user(id: \"p1\") { name erased contactable avatarUrl } users { edges { node { id } } } }").await;
        assert_eq!((&seen["user"]["name"], &seen["user"]["erased"], &seen["user"]["contactable"]), (&json!("Deleted user"), &json!(true), &json!(false)));
        assert_eq!(seen["users"]["edges"], json!([{ "node": { "id": "cleo" } }]), "the directory has them no more");
        assert_eq!(bob.history(&person).await.expect("the row is kept"), ["This message was erased.", "merci"]);
        assert_eq!(cleo.history(&person).await.map(|history| history.iter().all(|text| text == "This message was erased.")), Some(true));
        // Who comes back writes under a new key.
        person.sent(&bob, "me revoici").await;
        assert_eq!(bob.history(&person).await.expect("a history").last().map(String::as_str), Some("me revoici"));
        assert!(server.log().is_empty() || !WORDS.iter().any(|word| server.log().contains(word)), "{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_erases_and_views_made_anew_are_the_same() {
    for (log, views) in [(Back::Sqlite, Back::Sqlite), (Back::Postgres, Back::Postgres), (Back::Kurrent, Back::Sqlite)] {
        let place = Arc::new(Place::new(log, views).await);
        let inside = Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await;
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        inside.mutate(&ann, "updateProfile", json!({ "name": "Philomène" }), "user { name }").await;
        for (from, to, text) in [(&ann, "bob", "un chrysanthème"), (&bob, "ann", "un lys")] {
            inside.mutate(from, "sendMessage", json!({ "to": to, "text": text }), "message { id }").await;
        }
        let views = place.views(0);
        let erased = inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { id name erased }").await;
        assert_eq!(erased["user"], json!({ "id": "ann", "name": "Deleted user", "erased": true }), "{log:?}");
        let events = inside.app.log().latest().await.expect("a head");
        inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { id }").await;
        assert_eq!(inside.app.log().latest().await.expect("a head"), events, "once is enough, {log:?}");
        let unknown = inside.mutate(&bob, "eraseUser", json!({ "userId": "nobody" }), "user { id }").await;
        assert_eq!(unknown["userErrors"][0]["code"], "USER_NOT_FOUND", "{log:?}");
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "me revoici" }), "message { id }").await;
        let rows = inside.rows().await;
        assert_eq!(WORDS.iter().find(|word| rows.iter().any(|row| row.contains(**word))), None, "{log:?}");
        let with = |text: &str| rows.iter().filter(|row| row.contains(text)).count();
        assert_eq!((with("un lys"), with("me revoici")), (1, 1), "what bob wrote is his, and what came after stays, {log:?}");
        if let StoreUrl::Postgres(url) = &views {
            let whole = whole_database(url).await;
            assert!(whole.contains("me revoici"));
            assert_eq!(WORDS.iter().find(|word| whole.contains(**word)), None, "in no table");
        }
        assert_eq!(compare(inside.app.log(), &views, new_id(), |_| {}).await.expect("compared").differences, [], "{log:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_given_their_data_without_what_was_withheld() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "visible").await;
    bob.sent(&alice, "deux").await;
    bob.block(&alice).await;
    alice.sent(&bob, "retenu").await;
    bob.delete(&alice).await;
    let export = |user: &str| {
        let (ok, out, error) = run(&["export-user", user, "--data", server.data().to_str().expect("UTF-8")]);
        assert!(ok, "{error}");
        serde_json::from_str::<serde_json::Value>(&out).expect("JSON")
    };
    let texts = |data: &serde_json::Value| -> Vec<String> {
        let messages = data["conversations"][0]["messages"].as_array().expect("messages").iter();
        messages.map(|message| message["text"].as_str().expect("a text").to_owned()).collect()
    };
    let bobs = export("bob");
    assert_eq!((&bobs["user"]["id"], &bobs["conversations"][0]["listed"]), (&json!("bob"), &json!(false)));
    assert_eq!(texts(&bobs), ["visible", "deux"]);
    assert_eq!(texts(&export("alice")), ["visible", "deux", "retenu"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_cannot_read_the_whole_log_does_not_serve_it() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.signal("TERM");
    assert!(server.wait().success());
    let connection = rusqlite::Connection::open(server.file("events.db")).expect("a log");
    // As a later version would write, and as after an upgrade.
    connection.execute_batch("update events set type = 'MessageEdited' where position = 3; update log set reader = 'another version'").expect("changed");
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", &data]);
    assert!(!ok && error.contains("cannot read 1 of the log's events") && error.contains("position 3") && error.contains("MessageEdited"), "{error}");
    assert!(error.contains("--accept-unreadable"), "{error}");
    // Nor does it fold it for an erasure, and leave a log that looks read.
    let (ok, _, error) = run(&["erase", "alice", "--data", &data]);
    assert!(!ok && error.contains("cannot read 1 of the log's events"), "{error}");
    let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", &data]);
    assert!(!ok && error.contains("cannot read 1 of the log's events"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_before_are_gone_once_the_rebuild_that_has_them_is_over() {
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(Back::Sqlite, back).await);
        let inside = Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await;
        let ann = inside.sign_in("ann").await;
        let rebuild = ReadStore::build(&place.views(0), inside.app.log().id()).await.expect("a generation");
        let lease = rebuild.try_lead(new_id()).await.expect("a lease").expect("nobody else's");
        let erased = inside.mutate(&ann, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
        assert_eq!(erased["user"]["erased"], true, "{back:?}");
        let keys = inside.app.log().keys().clone();
        assert_eq!(
            keys.requested_erasures().await.expect("read"),
            [RequestedErasure { user: UserId::parse("ann").expect("an id"), is_told: true }],
            "{back:?}"
        );
        let events = inside.app.log().latest().await.expect("a head");
        // Who comes back meanwhile keeps what they write.
        inside.mutate(&ann, "updateProfile", json!({ "name": "Rose" }), "user { name }").await;
        lease.release().await;
        drop(rebuild);
        let (end, ending) = tokio::sync::watch::channel(false);
        let erasing = tokio::spawn(inside.app.clone().erase_when_asked(ending));
        while !keys.requested_erasures().await.expect("read").is_empty() {
            tokio::task::yield_now().await;
        }
        end.send_replace(true);
        erasing.await.expect("ended");
        assert_eq!(inside.ask(&ann, "{ me { name } }", json!({})).await["me"]["name"], "Rose", "{back:?}");
        assert_eq!(inside.app.log().latest().await.expect("a head").0, events.0 + 1, "once is enough, {back:?}");
        assert_eq!(ReadStore::drop_others(&place.views(0)).await.expect("dropped"), 0, "{back:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_a_crash_cut_short_is_ended_at_the_next_start() {
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(back, back).await);
        let inside = Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await;
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        inside.mutate(&ann, "updateProfile", json!({ "name": "Philomène" }), "user { name }").await;
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "un chrysanthème" }), "message { id }").await;
        let id = UserId::parse("ann").expect("an id");
        assert!(inside.app.log().keys().begin_erasure(&id).await.expect("begun"), "{back:?}");
        let log = inside.app.log().clone();
        inside.stop().await;
        log.close().await;

        let inside = Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await;
        let (end, ending) = tokio::sync::watch::channel(false);
        let erasing = tokio::spawn(inside.app.clone().erase_when_asked(ending));
        let keys = inside.app.log().keys().clone();
        while !keys.requested_erasures().await.expect("read").is_empty() {
            tokio::task::yield_now().await;
        }
        end.send_replace(true);
        erasing.await.expect("ended");
        let seen = inside.ask(&bob, "{ user(id: \"ann\") { name erased } }", json!({})).await;
        assert_eq!(seen["user"], json!({ "name": "Deleted user", "erased": true }), "{back:?}");
        let rows = inside.rows().await;
        assert_eq!(WORDS.iter().find(|word| rows.iter().any(|row| row.contains(**word))), None, "{back:?}");
        inside.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_people_sign_up_and_are_erased_it_starts_and_forgets_them() {
    let mut server = Server::start();
    let mut erased = Vec::new();
    for round in 0..6 {
        let admin = server.admin();
        let newcomers: Vec<_> = (0..200).map(|n| format!("r{round}n{n}")).collect();
        let users: Vec<_> = newcomers.iter().map(|id| json!({ "id": id, "name": "Philomène" })).collect();
        admin.mutate("registerUsers", json!({ "users": users }), "users { id }").await;
        let signing_up: Vec<_> = (0..4)
            .map(|n| {
                let people: Vec<_> = (0..1_000).map(|m| server.person_with(&format!("r{round}s{n}x{m}"), &json!({ "name": "Philomène" }))).collect();
                tokio::spawn(async move {
                    for person in people {
                        if person.try_request("{ me { id } }", json!({})).await.is_none() {
                            return;
                        }
                    }
                })
            })
            .collect();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let erasing = tokio::spawn(async move {
            let mut done = Vec::new();
            for id in newcomers {
                let Some(reply) = admin.try_request("mutation($id: ID!) { eraseUser(input: { userId: $id }) { user { erased } } }", json!({ "id": id })).await
                else {
                    break;
                };
                assert_eq!(reply.body["data"]["eraseUser"]["user"]["erased"], true, "{}", reply.body);
                done.push(id);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            done
        });
        while count.load(Ordering::Relaxed) < 3 + round {
            tokio::task::yield_now().await;
        }
        server.kill();
        erased.extend(erasing.await.expect("right answers"));
        for sign_up in signing_up {
            sign_up.await.expect("right answers");
        }
        server = server.again();
    }
    let admin = server.admin();
    for id in &erased {
        let seen = admin.ask(&format!("{{ user(id: \"{id}\") {{ name erased }} }}")).await;
        assert_eq!(seen["user"], json!({ "name": "Deleted user", "erased": true }), "{id}");
    }
    // What the last kill cut short: until it is ended, the log says less than the views.
    let keys = rusqlite::Connection::open(server.file("events.keys")).expect("a key store");
    while keys.query_row("select count(*) from erasures", [], |row| row.get::<_, i64>(0)).expect("counted") > 0 {
        tokio::task::yield_now().await;
    }
    drop(keys);
    let data = server.data().to_str().expect("UTF-8");
    for arguments in [["verify", "--data", data].as_slice(), &["projections", "verify", "--data", data]] {
        let (ok, _, error) = run(arguments);
        assert!(ok, "{arguments:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_store_that_was_killed_while_it_was_written_opens_again() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.kill();
    let changes = "update keys set key = zeroblob(32);
        with recursive n(n) as (select 1 union all select n + 1 from n where n < 2000) insert into keys select n, n, zeroblob(32) from n";
    leave_half_written(&server.file("events.keys"), changes);

    let (ok, out, error) = run(&["events", "--open", "--data", server.data().to_str().expect("UTF-8")]);
    assert!(ok && out.contains("salut"), "{error}");
    let server = server.again();
    assert_eq!(server.person("bob").history(&server.person("alice")).await.expect("a history"), ["salut"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_store_is_brought_up_to_date_by_whoever_writes_and_refused_where_it_is_newer() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.signal("TERM");
    assert!(server.wait().success());
    let file = server.file("events.keys");
    let sql = |statements: &str| rusqlite::Connection::open(&file).and_then(|keys| keys.execute_batch(statements)).expect("done");
    let format = || -> i64 {
        let keys = rusqlite::Connection::open(&file).expect("a key store");
        keys.query_row("select max(version) from refinery_schema_history", [], |row| row.get(0)).expect("a version")
    };
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let present = format();
    sql("alter table erasures drop column begun; alter table erasures drop column told; delete from refinery_schema_history where version = 2");
    let (ok, out, error) = run(&["events", "--open", "--data", &data]);
    assert!(ok && out.contains("salut") && format() == 1, "{error}");
    server = server.again();
    assert_eq!(format(), present);
    server.signal("TERM");
    assert!(server.wait().success());
    sql(
        "insert into refinery_schema_history (version, name, applied_on, checksum) select 99, 'later', applied_on, checksum from refinery_schema_history limit 1",
    );
    for command in [["serve", "--listen", "127.0.0.1:0", "--data", &data].as_slice(), &["events", "--data", &data]] {
        let (ok, _, error) = run(command);
        assert!(!ok && error.contains("events.keys was written by a newer version of this service (format 99"), "{command:?}: {error}");
    }
}

/// What could not be written anew when somebody was erased, for want of room say, is after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_an_erasure_left_are_written_anew_after_a_restart() {
    let mut server = Server::start();
    let [_alice] = server.people(["alice"]).await;
    server.signal("TERM");
    assert!(server.wait().success());
    let views = rusqlite::Connection::open(fs::canonicalize(server.file("views.db")).expect("a file")).expect("views");
    let flags = || -> i64 { views.pragma_query_value(None, "user_version", |row| row.get(0)).expect("flags") };
    views.execute_batch("create table freed (word); insert into freed values ('chrysanthème'); drop table freed").expect("written");
    views.pragma_update(None, "user_version", flags() | 2).expect("written");
    assert!(!told_by(server.data()).is_empty(), "a page that is free keeps its bytes");
    server = server.again();
    while flags() & 2 != 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(told_by(server.data()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_before_go_at_every_node_that_folds_the_erasure() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Sqlite).await);
    let here = Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await;
    let there = Inside::start_node(Arc::clone(&place), 1, entrenous::graphql::Options::default()).await;
    let [ann, _bob] = [here.sign_in("ann").await, here.sign_in("bob").await];
    here.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "un chrysanthème" }), "message { id }").await;
    there.app.views_reach_head().await.expect("caught up");
    let options = Options { memory: 1 << 20, compared: Extent::Nothing, switches: true };
    rebuild(there.app.log(), &place.views(1), new_id(), options, |_| {}).await.expect("rebuilt");
    here.mutate(&ann, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
    while !told_by(place.folder()).is_empty() {
        tokio::task::yield_now().await;
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_older_than_the_log_are_noticed_before_anything_is_lost() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.signal("TERM");
    assert!(server.wait().success());
    let older = fs::read(server.file("events.keys")).expect("keys");
    server = server.again();
    let [_cleo] = server.people(["cleo"]).await;
    server.signal("TERM");
    assert!(server.wait().success());
    let newest = fs::read(server.file("events.keys")).expect("keys");
    fs::write(server.file("events.keys"), older).expect("restored");
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", &data]);
    assert!(!ok && error.contains("older than the log") && error.contains("--accept-unreadable"), "{error}");
    fs::write(server.file("events.keys"), newest).expect("restored");
    server = server.again();
    assert_eq!(server.person("cleo").ask("{ me { name } }").await["me"]["name"], "cleo");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_registered_again_has_a_name_and_whoever_signs_in_gives_one() {
    let server = Server::start();
    let admin = server.admin();
    let [bob] = server.people(["bob"]).await;
    let person = server.person_with("p1", &json!({ "name": "Philomène" }));
    let flower = person.sent(&bob, "un lys").await;
    bob.sent(&person, "merci").await;
    let seen = async |who: &str| bob.ask(&format!("{{ user(id: \"{who}\") {{ name erased contactable }} }}")).await["user"].clone();
    admin.mutate("eraseUser", json!({ "userId": "p1" }), "user { id }").await;
    person.ask("{ me { id } }").await;
    person.contactable(true).await;
    assert_eq!(seen("p1").await, json!({ "name": "Deleted user", "erased": true, "contactable": false }), "until they say who they are");
    // S5: what was sent again and again until there was an answer is still the same message.
    let retried = json!({ "to": "bob", "text": "un lys", "messageId": flower });
    assert_eq!(person.mutate("sendMessage", retried, "message { id text }").await["message"], json!({ "id": flower, "text": "This message was erased." }));
    assert_eq!(person.outcome("sendMessage", json!({ "to": "nobody", "text": "un lys", "messageId": flower })).await, "USER_NOT_FOUND");
    assert_eq!(bob.outcome("sendMessage", json!({ "to": "p1", "text": "un lys", "messageId": flower })).await, "MESSAGE_ID_REUSED");
    let nameless = json!({ "avatarUrl": "https://exemple.fr/p1.png" });
    assert_eq!(person.outcome("updateProfile", nameless.clone()).await, "INVALID_INPUT", "a picture is not who they are");
    let neutral = json!({ "avatarUrl": "https://exemple.fr/p1.png", "name": "Deleted user" });
    assert_eq!(person.outcome("updateProfile", neutral).await, "INVALID_INPUT");
    assert_eq!(seen("p1").await["erased"], true);
    let again = json!({ "users": [{ "id": "p1", "name": "Rose" }, { "id": "bob", "name": "not bob" }] });
    admin.mutate("registerUsers", again.clone(), "users { id }").await;
    assert_eq!(seen("p1").await, json!({ "name": "Rose", "erased": false, "contactable": false }));
    let events = server.events();
    admin.mutate("registerUsers", again, "users { id }").await;
    assert_eq!(server.events(), events, "who is registered stays as they are");
    person.contactable(true).await;
    assert_eq!(seen("p1").await["contactable"], true);
    assert_eq!(bob.history(&person).await.expect("a history"), ["This message was erased.", "merci"], "the conversation is the id's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_read_its_keys_before_an_erasure_hears_of_it_all_the_same() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Postgres).await);
    let here = Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await;
    let [ann, bob] = [here.sign_in("ann").await, here.sign_in("bob").await];
    here.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "un chrysanthème" }), "message { id }").await;
    let log = EventLog::open(&place.log(), place.keys().as_ref(), Arc::new(now)).await.expect("a log");
    here.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;

    // It begins where the views are: after the erasure.
    let store = ReadStore::open(&place.views(1), log.id()).await.expect("views");
    let (reporter, progress) = progress::progress();
    let late = App::new(log, store, progress, Sources { clock: Arc::new(now), uuid: Arc::new(new_id) }, Settings::default());
    let (end, ending) = tokio::sync::watch::channel(false);
    let projecting = tokio::spawn(projector::run(late.clone(), reporter, ending));
    late.views_reach_head().await.expect("caught up");
    late.send_message(&ann, "bob", "me revoici", None).await.expect("sent");
    let seen = here.ask(&bob, "{ conversation(with: \"ann\") { lastMessage { text } } }", json!({})).await;
    assert_eq!(seen["conversation"]["lastMessage"]["text"], "me revoici", "and not sealed under the key that is gone");
    end.send_replace(true);
    projecting.await.expect("ended").expect("well");
    here.stop().await;
}

/// Under a key that is made before the log tells of an erasure, what is older than the event would outlive it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_being_erased_writes_nothing_until_the_log_tells_of_it() {
    for back in [Back::Sqlite, Back::Postgres] {
        let inside = Inside::start_node(Arc::new(Place::new(back, back).await), 0, entrenous::graphql::Options::default()).await;
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        let send = async |text: &str| {
            inside.respond(&ann, &format!("mutation {{ sendMessage(input: {{ to: \"bob\", text: \"{text}\" }}) {{ message {{ text }} }} }}")).await
        };
        send("un chrysanthème").await;
        inside.app.log().keys().begin_erasure(ann.id()).await.expect("begun");
        assert_eq!(send("un lys").await["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{back:?}");
        let both = json!([{ "id": "cleo", "name": "Cléo" }, { "id": "dan", "name": "Dan" }]);
        let registered = inside.mutate(&bob, "registerUsers", json!({ "users": both }), "users { name }").await;
        assert_eq!(registered["users"], json!([{ "name": "Cléo" }, { "name": "Dan" }]), "{back:?}: others do");
        inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
        send("me revoici").await;
        assert_eq!(texts(&events(&inside).await), ["This message was erased.", "me revoici"], "{back:?}");
        inside.stop().await;
    }
}

/// Else a key that is made in the same instant would be seen by neither: not destroyed, and made though an erasure is noted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_destroyed_while_others_are_made() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Postgres).await);
    let inside = Arc::new(Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await);
    let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
    inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
    // Her next key is made when the operator lets it be.
    let operator = postgres::connect(&place.url()).await;
    let gate = "
        create function gate() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(7); return new; end $$;
        create trigger gate after insert on entrenous_keys.keys for each row execute function gate();
        select pg_advisory_lock(7)";
    operator.batch_execute(gate).await.expect("held up");
    let until_waiting = async |many: i64| {
        let waiting = "select count(*) from pg_locks join pg_stat_activity using (pid)
            where locktype = 'advisory' and not granted and application_name = 'entrenous keys' and datname = current_database()";
        let waits = async {
            while operator.query_one(waiting, &[]).await.expect("a count").get::<_, i64>(0) != many {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(8), waits).await.expect("they wait");
    };
    let run = |viewer: &Viewer, name: &'static str, input: serde_json::Value| {
        let (inside, viewer) = (Arc::clone(&inside), viewer.clone());
        tokio::spawn(async move { inside.mutate(&viewer, name, input, "__typename").await })
    };
    let sending = run(&ann, "sendMessage", json!({ "to": "bob", "text": "un lys" }));
    until_waiting(1).await;
    let erasing = run(&bob, "eraseUser", json!({ "userId": "ann" }));
    until_waiting(2).await;
    operator.batch_execute("select pg_advisory_unlock(7)").await.expect("let go");
    for done in [sending, erasing] {
        assert_eq!(done.await.expect("done")["userErrors"], json!([]));
    }
}

/// Somebody who writes all the while is erased by one event: what is older is gone, and what they send after the answer stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_without_pause_is_erased_at_once() {
    const ERASURES: usize = 4;
    for back in [Back::Sqlite, Back::Postgres] {
        let inside = Arc::new(Inside::start_node(Arc::new(Place::new(back, back).await), 0, entrenous::graphql::Options::default()).await);
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        let answered = Arc::new(AtomicUsize::new(0));
        let sent = Arc::new([const { AtomicUsize::new(0) }; ERASURES + 1]);
        let writing: Vec<_> = (0..3)
            .map(|writer| {
                let (inside, ann, answered, sent) = (Arc::clone(&inside), ann.clone(), Arc::clone(&answered), Arc::clone(&sent));
                tokio::spawn(async move {
                    while sent[ERASURES].load(Ordering::Relaxed) < 12 {
                        let after = answered.load(Ordering::SeqCst);
                        let mutation =
                            format!("mutation {{ sendMessage(input: {{ to: \"bob\", text: \"after {after}, {writer}\" }}) {{ message {{ id }} }} }}");
                        if inside.respond(&ann, &mutation).await["data"]["sendMessage"]["message"].is_object() {
                            sent[after].fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        for erasure in 0..ERASURES {
            while sent[erasure].load(Ordering::SeqCst) < 12 {
                tokio::task::yield_now().await;
            }
            assert_eq!(inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "userErrors { code }").await["userErrors"], json!([]));
            answered.store(erasure + 1, Ordering::SeqCst);
        }
        for writer in writing {
            writer.await.expect("written");
        }
        let events = events(&inside).await;
        let is_erasure = |event: &RecordedEvent| matches!(event.event, Event::User(UserEvent::UserErased { .. }));
        assert_eq!(events.iter().filter(|event| is_erasure(event)).count(), ERASURES, "{back:?}");
        let last = events.iter().rposition(is_erasure).expect("an erasure");
        assert!(texts(&events[..last]).iter().all(|text| text == "This message was erased."), "{back:?}");
        let whole = texts(&events[last..]).iter().filter(|text| text.starts_with(&format!("after {ERASURES}"))).count();
        assert_eq!(whole, sent[ERASURES].load(Ordering::SeqCst), "{back:?}");
    }
}

async fn events(inside: &Inside) -> Vec<RecordedEvent> {
    inside.app.log().read_all(Position(0), 100_000).await.expect("read")
}

/// What the messages among some events say, in order.
fn texts(events: &[RecordedEvent]) -> Vec<String> {
    let text = |event: &RecordedEvent| match &event.event {
        Event::Conversation(ConversationEvent::MessageSent(message)) => Some(message.text.as_str().to_owned()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

/// Whoever reads slowly is not told afterwards what was erased meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waits_for_a_client_is_erased_with_its_sender() {
    let inside = Inside::start().await;
    let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
    let mut inbox = Box::pin(inside.inbox(&bob));
    assert_eq!(inbox.next().await.expect("told")["__typename"], "CaughtUp");
    inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "un chrysanthème" }), "message { id }").await;
    inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
    // Who comes back, without a name or with one, is told of as anybody.
    inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "me revoici" }), "message { id }").await;
    inside.mutate(&ann, "updateProfile", json!({ "name": "Rose" }), "user { name }").await;
    inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "c'est moi" }), "message { id }").await;
    let mut texts = Vec::new();
    while texts.len() < 3 {
        let told = inbox.next().await.expect("told");
        texts.extend(told["message"]["text"].as_str().map(str::to_owned));
    }
    assert_eq!(texts, ["This message was erased.", "me revoici", "c'est moi"]);
}

/// A generation that is being filled has a rollback journal, whose pages are in clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rebuild_that_was_killed_left_is_gone_on_with_or_erased() {
    for is_erased in [false, true] {
        let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
        let inside = Inside::start_node(Arc::clone(&place), 0, entrenous::graphql::Options::default()).await;
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        for n in 0..200 {
            inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": format!("chrysanthème {n}") }), "message { id }").await;
        }
        let (log, views) = (inside.app.log().clone(), place.views(0));
        let next = ReadStore::build(&views, log.id()).await.expect("a generation");
        fold_up_to(&log, &next, new_id(), Position(100), 0, |_| {}).await.expect("folded");
        drop(next);
        leave_half_written(&place.folder().join("views0.db.2"), "update messages set text = text || hex(zeroblob(2000))");

        if is_erased {
            let erased = inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
            assert_eq!(erased["user"]["erased"], true);
            assert_eq!(told_by(place.folder()), [""; 0]);
        } else {
            let options = Options { memory: 64 << 20, compared: Extent::Everything, switches: false };
            let made = rebuild(&log, &views, new_id(), options, |_| {}).await.expect("rebuilt");
            assert!(made.from == Position(100) && made.compared.is_some_and(|compared| compared.differences.is_empty()), "{:?}", made.from);
        }
        inside.stop().await;
    }
}
