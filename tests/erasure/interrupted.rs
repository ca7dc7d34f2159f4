//! What a crash or a rebuild leaves of an erasure is ended.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use entrenous::app::catching_up::fold_up_to;
use entrenous::audit::rebuild::{Options, rebuild};
use entrenous::audit::views::Extent;
use entrenous::cli::new_id;
use entrenous::domain::event::Position;
use entrenous::domain::ids::UserId;
use entrenous::event_log::keys::RequestedErasure;
use entrenous::read_store::ReadStore;
use serde_json::json;

use super::{WORDS, told_by};
use crate::support::Server;
use crate::support::inside::{Back, Inside, Place};
use crate::support::process::run;
use crate::support::waiting::{Tally, until};

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

/// Has the service end what is noted, and waits until it has.
async fn ends_erasures(inside: &Inside) {
    let keys = inside.app.log().keys();
    let (end, ending) = tokio::sync::watch::channel(false);
    let erasing = tokio::spawn(inside.app.clone().erase_when_asked(ending));
    until("no erasure is left to be ended", async || keys.requested_erasures().await.expect("read").is_empty()).await;
    end.send_replace(true);
    erasing.await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_before_are_gone_once_the_rebuild_that_has_them_is_over() {
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(Back::Sqlite, back).await);
        let inside = Inside::at(&place).await;
        let ann = inside.sign_in("ann").await;
        let rebuild = ReadStore::build(&place.views(0), inside.app.log().id()).await.expect("a generation");
        let lease = rebuild.try_lead(new_id()).await.expect("a lease").expect("nobody else's");
        let erased = inside.mutate(&ann, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
        assert_eq!(erased["user"]["erased"], true, "{back:?}");
        let noted = inside.app.log().keys().requested_erasures().await.expect("read");
        assert!(matches!(noted.as_slice(), [RequestedErasure { user, is_told: true, .. }] if user == ann.id()), "{back:?}: {noted:?}");
        let events = inside.app.log().latest().await.expect("a head");
        // Who comes back meanwhile keeps what they write.
        inside.mutate(&ann, "updateProfile", json!({ "name": "Rose" }), "user { name }").await;
        lease.release().await;
        drop(rebuild);
        ends_erasures(&inside).await;
        assert_eq!(inside.ask(&ann, "{ me { name } }", json!({})).await["me"]["name"], "Rose", "{back:?}");
        assert_eq!(inside.app.log().latest().await.expect("a head").0, events.0 + 1, "once is enough, {back:?}");
        assert_eq!(ReadStore::drop_others(&place.views(0)).await.expect("dropped"), 0, "{back:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_a_crash_cut_short_is_ended_at_the_next_start() {
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(back, back).await);
        let inside = Inside::at(&place).await;
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        inside.mutate(&ann, "updateProfile", json!({ "name": "Philomène" }), "user { name }").await;
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "un chrysanthème" }), "message { id }").await;
        let id = UserId::parse("ann").expect("an id");
        assert!(inside.app.log().keys().begin_erasure(&id, new_id()).await.expect("begun"), "{back:?}");
        let log = inside.app.log().clone();
        inside.stop().await;
        log.close().await;

        let inside = Inside::at(&place).await;
        ends_erasures(&inside).await;
        let seen = inside.ask(&bob, "{ user(id: \"ann\") { name erased } }", json!({})).await;
        assert_eq!(seen["user"], json!({ "name": "Deleted user", "erased": true }), "{back:?}");
        let rows = inside.rows().await;
        assert_eq!(WORDS.iter().find(|word| rows.iter().any(|row| row.contains(**word))), None, "{back:?}");
        inside.stop().await;
    }
}

/// A log that was restored may not know whom the key store was told to forget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_of_nobody_that_was_begun_is_let_go() {
    for back in [Back::Sqlite, Back::Postgres] {
        let inside = Inside::at(&Arc::new(Place::new(back, back).await)).await;
        inside.app.log().keys().begin_erasure(&UserId::parse("ann").expect("an id"), new_id()).await.expect("begun");
        ends_erasures(&inside).await;
        assert_eq!(inside.sign_in("ann").await.id().as_str(), "ann", "{back:?}");
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
        let count = Tally::new();
        let counted = count.clone();
        let erasing = tokio::spawn(async move {
            let mut done = Vec::new();
            for id in newcomers {
                let Some(reply) = admin.try_request("mutation($id: ID!) { eraseUser(input: { userId: $id }) { user { erased } } }", json!({ "id": id })).await
                else {
                    break;
                };
                assert_eq!(reply.body["data"]["eraseUser"]["user"]["erased"], true, "{}", reply.body);
                done.push(id);
                counted.add_one();
            }
            done
        });
        count.reaches(3 + round).await;
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
    let unended = || keys.query_row("select count(*) from erasures", [], |row| row.get::<_, i64>(0)).expect("counted");
    until("what was cut short is ended", async || unended() == 0).await;
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

/// What could not be written anew when somebody was erased, for want of room say, is after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_an_erasure_left_are_written_anew_after_a_restart() {
    let mut server = Server::start();
    let [_alice] = server.people(["alice"]).await;
    server.stop();
    let views = rusqlite::Connection::open(fs::canonicalize(server.file("views.db")).expect("a file")).expect("views");
    let flags = || -> i64 { views.pragma_query_value(None, "user_version", |row| row.get(0)).expect("flags") };
    views.execute_batch("create table freed (word); insert into freed values ('chrysanthème'); drop table freed").expect("written");
    views.pragma_update(None, "user_version", flags() | 2).expect("written");
    assert!(!told_by(server.data()).is_empty(), "a page that is free keeps its bytes");
    server = server.again();
    until("they are written anew", async || flags() & 2 == 0).await;
    assert_eq!(told_by(server.data()), [""; 0]);
}

/// A generation that is being filled has a rollback journal, whose pages are in clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rebuild_that_was_killed_left_is_gone_on_with_or_erased() {
    for is_erased in [false, true] {
        let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
        let inside = Inside::at(&place).await;
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
