//! Events that cannot be read or folded: what they belong to stands still, everything else goes on, and a retry
//! after a fix makes it as if nothing had been.

use std::sync::Arc;

use entrenous::audit::parked::parked;
use entrenous::audit::rebuild::{Options, rebuild};
use entrenous::audit::replay::replay;
use entrenous::audit::views::{Extent, compare};
use entrenous::cli::new_id;
use entrenous::domain::event::Position;
use entrenous::domain::ids::{ConversationId, UserId};
use entrenous::event_log::{EventLog, StoredEvent};
use entrenous::read_store::{ParkedEntity, ReadStore};
use entrenous::storage::StoreUrl;
use serde_json::json;

use crate::support::Server;
use crate::support::community::community;
use crate::support::inside::{Back, Inside, Place, dump};
use crate::support::process::run;
use crate::support::socket::Socket;
use crate::support::tampering::tamper_with_views;
use crate::support::waiting::found;

/// Writes other data into a stored event of a log in a file.
fn set_data(log: &StoreUrl, event: &StoredEvent, data: &str) {
    let StoreUrl::Sqlite(path) = log else { panic!("only a file is written to") };
    let changed = rusqlite::Connection::open(path).expect("a log").execute("update events set data = ?1 where id = ?2", (data, event.id));
    assert_eq!(changed.expect("written"), 1);
}

fn pair(one: &str, other: &str) -> String {
    let user = |id: &str| UserId::parse(id).expect("an id");
    format!("conversation-{}", ConversationId::between(&user(one), &user(other)))
}

async fn forget(views: &StoreUrl) {
    match views {
        StoreUrl::Sqlite(path) => std::fs::remove_file(path).expect("there were views"),
        StoreUrl::Postgres(_) => tamper_with_views(views, "drop schema entrenous_views cascade").await,
        StoreUrl::Kurrent(_) => unreachable!("it keeps no rows"),
    }
}

fn entities(parked: &[ParkedEntity]) -> Vec<(&str, u64)> {
    let mut entities: Vec<_> = parked.iter().map(|parked| (parked.entity.as_str(), parked.version)).collect();
    entities.sort_unstable();
    entities
}

async fn poison_parks_its_entity_alone(back: Back) {
    let place = Arc::new(Place::new(Back::Sqlite, back).await);
    let start = || Inside::at(&place);
    let views = place.views(0);
    let inside = start().await;
    community(&inside).await;
    let right = dump(&views).await;
    let written = inside.app.log().clone();
    let events = written.read_all_stored(Position(0), 1_000).await.expect("read");
    inside.stop().await;
    written.close().await;

    // One that is no event, one that does not follow on the others, and the registration of somebody.
    let (with_bob, with_cid) = (pair("ann", "bob"), pair("ann", "cid"));
    let find = |stream: &str, version: u64| events.iter().find(|event| event.stream == stream && event.version == version).expect("an event").clone();
    let poisoned = [find(&with_bob, 2), find(&with_cid, 2), find("community", 5)];
    set_data(&place.log(), &poisoned[0], "{\"text\":\"secret");
    set_data(&place.log(), &poisoned[1], &poisoned[1].data.replace("\"number\":2", "\"number\":9"));
    set_data(&place.log(), &poisoned[2], "{\"user\":5}");
    forget(&views).await;

    let inside = start().await;
    let log = inside.app.log().clone();
    let found = parked(&views).await.expect("read");
    let mut expected = vec![(with_bob.as_str(), 2), (with_cid.as_str(), 2), ("community/5", 5), ("user-eve", 1)];
    expected.sort_unstable();
    assert_eq!(entities(&found), expected, "{back:?}");
    assert!(found.iter().all(|parked| !parked.reason.contains("secret") && !parked.is_retried), "{found:?}");
    assert!(found.windows(2).all(|two| two[0].position <= two[1].position), "{found:?}");
    // Everything else goes on, and what stands still shows what there was before.
    let ann = inside.sign_in("ann").await;
    let sent = inside.mutate(&ann, "sendMessage", json!({ "to": "dan", "text": "et toi ?" }), "message { text }").await;
    assert_eq!(sent["message"]["text"], "et toi ?", "{back:?}");
    let history = |with: &str| format!("{{ conversation(with: \"{with}\") {{ messages {{ edges {{ node {{ text }} }} }} }} }}");
    for (with, count) in [("bob", 1), ("cid", 1), ("dan", 4)] {
        let answer = inside.ask(&ann, &history(with), json!({})).await;
        assert_eq!(answer["conversation"]["messages"]["edges"].as_array().map(Vec::len), Some(count), "{with}, {back:?}");
    }
    let refused = inside.respond(&ann, "mutation { sendMessage(input: { to: \"bob\", text: \"perdu ?\" }) { message { id } } }").await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{refused}");
    // Who registers now is counted after the one that stands still.
    inside.sign_in("fay").await;
    assert_eq!(compare(&log, &views, new_id(), |_| {}).await.expect("compared").differences, [], "{back:?}");
    let seen = replay(&log, UserId::parse("ann").expect("an id"), None, false, |_| {}).await.expect("replayed");
    assert_eq!(seen.conversation(&UserId::parse("cid").expect("an id")).expect("listed").messages.len(), 1);

    // Views that are made anew, in bulk, park the same; and what is tried too early stays parked.
    let options = Options { memory: 1 << 20, compared: Extent::Everything, switches: true };
    let rebuilt = rebuild(&log, &views, new_id(), options, |_| {}).await.expect("rebuilt");
    assert_eq!(rebuilt.compared.expect("compared").differences, [], "{back:?}");
    assert_eq!(entities(&parked(&views).await.expect("read")), expected, "{back:?}");
    settled(&views, Some("community/5"), 4).await;
    assert_eq!(entities(&parked(&views).await.expect("read")), expected, "{back:?}");

    for event in &poisoned {
        set_data(&place.log(), event, &event.data);
    }
    settled(&views, Some(&with_cid), 3).await;
    settled(&views, None, 0).await;
    inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "retrouvé" }), "message { id }").await;
    assert_eq!(compare(&log, &views, new_id(), |_| {}).await.expect("compared").differences, [], "{back:?}");
    let rows = inside.rows().await;
    let untouched = right.iter().filter(|row| row.contains("\"bob\"") && row.starts_with("messages"));
    assert!(untouched.clone().count() > 3 && untouched.into_iter().all(|row| rows.contains(row)), "{back:?}");
    inside.stop().await;
}

/// Asks for another attempt, and waits until so many are parked and none is asked for any more.
async fn settled(views: &StoreUrl, entity: Option<&str>, left: usize) {
    ReadStore::request_retry(views, entity).await.expect("asked");
    let tried = async || Some(parked(views).await.expect("read")).filter(|parked| !parked.iter().any(|parked| parked.is_retried));
    let parked = found("it is tried again", tried).await;
    assert_eq!(parked.len(), left, "{parked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_parks_its_entity_alone_in_a_file() {
    poison_parks_its_entity_alone(Back::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_parks_its_entity_alone_in_postgresql() {
    poison_parks_its_entity_alone(Back::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_is_told_and_retried_by_the_command_line() {
    let mut server = Server::start();
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await;
    alice.sent(&bob, "salut").await;
    alice.sent(&cleo, "bonjour").await;
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let projections = |arguments: &[&str]| run(&[&["projections"], arguments, &["--data", &data]].concat());
    let (ok, out, error) = projections(&["retry"]);
    assert!(ok && out == "nothing is parked\n", "{out}{error}");
    server.stop();

    let log = StoreUrl::Sqlite(server.file("events.db"));
    let read = EventLog::open_read_only(&log, None).await.expect("a log");
    let greeting = read.read_all_stored(Position(3), 1).await.expect("read").remove(0);
    let with_bob = pair("alice", "bob");
    assert_eq!(greeting.stream, with_bob);
    for is_running in [false, true] {
        set_data(&log, &greeting, "[]");
        let (ok, _, error) = projections(&["rebuild"]);
        assert!(ok, "{error}");
        server = server.again();
        if is_running {
            assert!((server.metric("entrenous_projection_parked").await - 1.0).abs() < f64::EPSILON);
        } else {
            server.kill();
        }
        let (ok, out, error) = projections(&["status"]);
        let line = out.lines().find(|line| line.starts_with("parked: ")).unwrap_or_else(|| panic!("{out}{error}"));
        assert!(ok && line.contains(&with_bob) && line.contains("position 4") && line.contains("MessageSent"), "{line}");
        let (ok, _, error) = projections(&["retry", "user-bob"]);
        assert!(!ok && error.contains("user-bob is not parked"), "{error}");
        let (ok, out, error) = projections(&["retry"]);
        assert!(!ok && out.contains(&with_bob) && error.contains("1 of 1 cannot be folded yet"), "{out}{error}");
        set_data(&log, &greeting, &greeting.data);
        let mut inbox = None;
        if is_running {
            let mut told = Socket::inbox(&server, &server.person("alice")).await;
            server.person("alice").sent(&server.person("cleo"), "plus tard").await;
            assert_eq!(told.event().await["__typename"], "MessageAdded");
            inbox = Some(told);
        }
        let (ok, out, error) = projections(&["retry", &with_bob]);
        assert!(ok && out == "1 folded again\n", "{out}{error}");
        if let Some(mut told) = inbox {
            // What is there now is older than what was told.
            for expected in ["ResetRequired", "CaughtUp"] {
                assert_eq!(told.event().await["__typename"], expected);
            }
        }
        let (ok, out, error) = projections(&["verify"]);
        assert!(ok && out.contains(if is_running { "3 of messages" } else { "2 of messages" }), "{out}{error}");
        if is_running {
            assert!(server.metric("entrenous_projection_parked").await.abs() < f64::EPSILON);
            let alice = server.person("alice");
            let bob = server.person("bob");
            alice.sent(&bob, "encore").await;
            assert_eq!(bob.history(&alice).await.expect("a history"), ["salut", "encore"]);
        }
    }
}

/// Who was erased and came back: a retry of what is older leaves what they wrote since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_erases_only_what_came_before_the_erasure() {
    for back in [Back::Sqlite, Back::Postgres] {
        let place = Arc::new(Place::new(Back::Sqlite, back).await);
        let views = place.views(0);
        let inside = Inside::at(&place).await;
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        inside.mutate(&ann, "updateProfile", json!({ "name": "Philomène" }), "user { name }").await;
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "avant" }), "message { id }").await;
        inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "après" }), "message { id }").await;
        let log = inside.app.log().clone();
        let profile = log.read_stream_stored(&"user-ann".parse().expect("a stream"), 0, 1).await.expect("read").remove(0);
        inside.stop().await;
        log.close().await;
        drop(log);
        set_data(&place.log(), &profile, "{\"name\":5}");
        forget(&views).await;

        let inside = Inside::at(&place).await;
        assert_eq!(entities(&parked(&views).await.expect("read")), [("user-ann", 1)], "{back:?}");
        set_data(&place.log(), &profile, &profile.data);
        settled(&views, None, 0).await;
        let history = "{ conversation(with: \"ann\") { messages { edges { node { text } } } } }";
        let texts = inside.ask(&bob, history, json!({})).await["conversation"]["messages"]["edges"].take();
        assert_eq!(texts[1]["node"]["text"], "après", "{back:?}: {texts}");
        assert_eq!(compare(inside.app.log(), &views, new_id(), |_| {}).await.expect("compared").differences, [], "{back:?}");
        inside.stop().await;
    }
}
