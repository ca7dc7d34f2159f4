//! Whoever writes, reads or folds while somebody is erased.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use entrenous::app::access::Viewer;
use entrenous::app::{App, Settings, Sources, progress, projector};
use entrenous::cli::{new_id, now};
use entrenous::domain::conversation::ConversationEvent;
use entrenous::domain::event::{Event, Position, RecordedEvent};
use entrenous::domain::user::UserEvent;
use entrenous::event_log::EventLog;
use entrenous::read_store::ReadStore;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::inside::{Back, Inside, Place};
use crate::support::postgres;
use crate::support::waiting::{PATIENCE, Tally, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_read_its_keys_before_an_erasure_hears_of_it_all_the_same() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Postgres).await);
    let here = Inside::at(&place).await;
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
        let inside = Inside::at(&Arc::new(Place::new(back, back).await)).await;
        let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
        let send = async |text: &str| {
            inside.respond(&ann, &format!("mutation {{ sendMessage(input: {{ to: \"bob\", text: \"{text}\" }}) {{ message {{ text }} }} }}")).await
        };
        send("un chrysanthème").await;
        inside.app.log().keys().begin_erasure(ann.id(), new_id()).await.expect("begun");
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

/// Several processes may have the same erasure in hand: only the last tells of it, whose event is the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_overtaken_ends_no_erasure() {
    for back in [Back::Sqlite, Back::Postgres] {
        let inside = Inside::at(&Arc::new(Place::new(back, back).await)).await;
        let ann = inside.sign_in("ann").await;
        let keys = inside.app.log().keys();
        let is_told = async || keys.requested_erasures().await.expect("read").iter().all(|requested| requested.is_told);
        let [first, second, third] = [new_id(), new_id(), new_id()];
        assert!(keys.begin_erasure(ann.id(), first).await.expect("begun"), "{back:?}");
        assert_eq!(keys.go_on_with_erasure(ann.id(), second).await.expect("begun"), Some(true), "{back:?}");
        keys.erasure_is_told(ann.id(), first).await.expect("said");
        assert!(!is_told().await, "{back:?}: another has it in hand");
        keys.erasure_is_told(ann.id(), second).await.expect("said");
        assert!(is_told().await, "{back:?}");
        assert_eq!(keys.go_on_with_erasure(ann.id(), third).await.expect("seen"), None, "{back:?}: what she writes now is hers");
        assert!(!keys.begin_erasure(ann.id(), third).await.expect("begun"), "{back:?}: asked for again, with nothing of hers");
        keys.erasure_is_told(ann.id(), second).await.expect("said");
        assert!(!is_told().await, "{back:?}: that was another one");
    }
}

/// Else a key that is made in the same instant would be seen by neither: not destroyed, and made though an erasure is noted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_destroyed_while_others_are_made() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Postgres).await);
    let inside = Arc::new(Inside::at(&place).await);
    let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
    inside.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await;
    // Her next key is made when the operator lets it be.
    let operator = postgres::connect(&place.url()).await;
    let gate = "
        create function gate() returns trigger language plpgsql as $$ begin
            perform set_config('lock_timeout', '0', true);
            perform pg_advisory_xact_lock(7);
            return new;
        end $$;
        create trigger gate after insert on entrenous_keys.keys for each row execute function gate();
        select pg_advisory_lock(7)";
    operator.batch_execute(gate).await.expect("held up");
    let until_waiting = async |many: i64| {
        let waiting = "select count(*) from pg_locks join pg_stat_activity using (pid)
            where locktype = 'advisory' and not granted and application_name = 'entrenous keys' and datname = current_database()";
        until("they wait", async || operator.query_one(waiting, &[]).await.expect("a count").get::<_, i64>(0) == many).await;
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
    assert_eq!(left_of_what_is_older(&events(&inside).await), [""; 0]);
}

/// Somebody who writes all the while is erased by one event: what is older is gone, and what they send after the answer stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_without_pause_is_erased_at_once() {
    for back in [Back::Sqlite, Back::Postgres] {
        let node = Inside::at(&Arc::new(Place::new(back, back).await)).await;
        let (events, sent) = erased_while_writing(vec![Arc::new(node)]).await;
        assert_eq!(events.iter().filter(|event| is_erasure(event)).count(), ERASURES, "{back:?}");
        let last = events.iter().rposition(is_erasure).expect("an erasure");
        let whole = texts(&events[last..]).iter().filter(|text| text.starts_with(&format!("after {ERASURES}"))).count();
        assert_eq!(whole as u64, sent, "{back:?}");
    }
}

/// The same by two nodes at once, which make an event each at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_erase_somebody_leave_nothing_of_what_is_older() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Postgres).await);
    let mut nodes = Vec::new();
    for node in 0..2 {
        nodes.push(Arc::new(Inside::start_node(Arc::clone(&place), node, entrenous::graphql::Options::default()).await));
    }
    let (events, _) = erased_while_writing(nodes).await;
    let erasures = events.iter().filter(|event| is_erasure(event)).count();
    assert!((ERASURES..=2 * ERASURES).contains(&erasures), "{erasures}");
}

const ERASURES: usize = 4;
/// Messages between two erasures.
const MESSAGES: u64 = 12;

/// Has every node erase somebody at once, again and again, while they write through all of them. Returns what the log has in the
/// end, and how many messages were sent after the last answer.
async fn erased_while_writing(nodes: Vec<Arc<Inside>>) -> (Vec<RecordedEvent>, u64) {
    let [ann, bob] = [nodes[0].sign_in("ann").await, nodes[0].sign_in("bob").await];
    let answered = Arc::new(AtomicUsize::new(0));
    let sent: [Tally; ERASURES + 1] = std::array::from_fn(|_| Tally::new());
    let mut writing = JoinSet::new();
    for writer in 0..3 {
        let (node, ann, answered, sent) = (Arc::clone(&nodes[writer % nodes.len()]), ann.clone(), Arc::clone(&answered), sent.clone());
        writing.spawn(async move {
            while sent[ERASURES].count() < MESSAGES {
                let after = answered.load(Ordering::SeqCst);
                let mutation = format!("mutation {{ sendMessage(input: {{ to: \"bob\", text: \"after {after}, {writer}\" }}) {{ message {{ id }} }} }}");
                if node.respond(&ann, &mutation).await["data"]["sendMessage"]["message"].is_object() {
                    sent[after].add_one();
                }
            }
        });
    }
    let erasing = async {
        for (erasure, sent) in sent.iter().take(ERASURES).enumerate() {
            sent.reaches(MESSAGES).await;
            let erase = async |node: &Arc<Inside>| node.mutate(&bob, "eraseUser", json!({ "userId": "ann" }), "user { erased }").await["user"]["erased"].take();
            assert!(join_all(nodes.iter().map(erase)).await.iter().all(|erased| *erased == true));
            answered.store(erasure + 1, Ordering::SeqCst);
        }
        while let Some(written) = writing.join_next().await {
            written.expect("written");
        }
    };
    tokio::time::timeout(PATIENCE, erasing).await.expect("erased and written");
    let events = events(&nodes[0]).await;
    assert_eq!(left_of_what_is_older(&events), [""; 0]);
    (events, sent[ERASURES].count())
}

fn is_erasure(event: &RecordedEvent) -> bool {
    matches!(event.event, Event::User(UserEvent::UserErased { .. }))
}

/// The texts that can be read though an erasure came after them.
fn left_of_what_is_older(events: &[RecordedEvent]) -> Vec<String> {
    let last = events.iter().rposition(is_erasure).expect("an erasure");
    let mut texts = texts(&events[..last]);
    texts.retain(|text| text != "This message was erased.");
    texts
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
