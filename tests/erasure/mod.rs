//! A person is forgotten: nothing that they wrote or were called is left, and whatever was proved stays proved.

mod interrupted;
mod meanwhile;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use entrenous::audit::rebuild::{Options, rebuild};
use entrenous::audit::views::{Extent, compare};
use entrenous::cli::new_id;
use entrenous::storage::StoreUrl;
use serde_json::json;

use crate::support::Server;
use crate::support::inside::{Back, Inside, Place};
use crate::support::postgres;
use crate::support::process::run;
use crate::support::waiting::until;

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
            server.stop();
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
        let inside = Inside::at(&place).await;
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
    server.stop();
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
async fn a_key_store_is_brought_up_to_date_by_whoever_writes_and_refused_where_it_is_newer() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.stop();
    let file = server.file("events.keys");
    let sql = |statements: &str| rusqlite::Connection::open(&file).and_then(|keys| keys.execute_batch(statements)).expect("done");
    let format = || -> i64 {
        let keys = rusqlite::Connection::open(&file).expect("a key store");
        keys.query_row("select max(version) from refinery_schema_history", [], |row| row.get(0)).expect("a version")
    };
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let present = format();
    sql("alter table erasures drop column begun; alter table erasures drop column told; alter table erasures drop column attempt;
        delete from refinery_schema_history where version > 1");
    let (ok, out, error) = run(&["events", "--open", "--data", &data]);
    assert!(ok && out.contains("salut") && format() == 1, "{error}");
    let copy = format!("sqlite:{}", server.file("copy.db").display());
    let (ok, _, error) = run(&["copy", "--from", &format!("sqlite:{}", server.file("events.db").display()), "--to", &copy]);
    assert!(ok && format() == 1, "it is only read: {error}");
    server = server.again();
    assert_eq!(format(), present);
    server.stop();
    sql(
        "insert into refinery_schema_history (version, name, applied_on, checksum) select 99, 'later', applied_on, checksum from refinery_schema_history limit 1",
    );
    for command in [["serve", "--listen", "127.0.0.1:0", "--data", &data].as_slice(), &["events", "--data", &data]] {
        let (ok, _, error) = run(command);
        assert!(!ok && error.contains("events.keys was written by a newer version of this service (format 99"), "{command:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_before_go_at_every_node_that_folds_the_erasure() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Sqlite).await);
    let here = Inside::at(&place).await;
    let there = Inside::start_node(Arc::clone(&place), 1, entrenous::graphql::Options::default()).await;
    let [ann, _bob] = [here.sign_in("ann").await, here.sign_in("bob").await];
    here.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "un chrysanthème" }), "message { id }").await;
    there.app.views_reach_head().await.expect("caught up");
    let options = Options { memory: 1 << 20, compared: Extent::Nothing, switches: true };
    rebuild(there.app.log(), &place.views(1), new_id(), options, |_| {}).await.expect("rebuilt");
    here.mutate(&ann, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
    until("no file tells of her", async || told_by(place.folder()).is_empty()).await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_older_than_the_log_are_noticed_before_anything_is_lost() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    server.stop();
    let older = fs::read(server.file("events.keys")).expect("keys");
    server = server.again();
    let [_cleo] = server.people(["cleo"]).await;
    server.stop();
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
