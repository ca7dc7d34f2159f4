//! Views made anew while the service goes on (A3): what is answered stays right, the former views are kept until
//! told, and what was interrupted goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrenous::app::catching_up::fold_up_to;
use entrenous::audit::rebuild::{Options, Rebuilt, Step, rebuild};
use entrenous::audit::views::{Extent, ViewsError, compare};
use entrenous::cli::new_id;
use entrenous::domain::conversation::{ConversationEvent, MessageSent};
use entrenous::domain::event::{Event, Metadata, Position, Stream};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::text::MessageText;
use entrenous::event_log::{Append, EventLog};
use entrenous::read_store::{ListOrder, Missed, OpenError, ReadStore, Slice, Take};
use entrenous::storage::StoreUrl;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::community::community;
use crate::support::inside::{Back, Inside, Place, dump};
use crate::support::postgres::{self, Database};
use crate::support::process::run;
use crate::support::socket::Socket;
use crate::support::tampering::tamper_with_views;
use crate::support::waiting::{found, until};
use crate::support::{Person, Server};

const BOTH: [Back; 2] = [Back::Sqlite, Back::Postgres];
const WITH_ALL: Options = Options { memory: 64 << 20, compared: Extent::Everything, switches: true };

async fn rebuilt(log: &EventLog, views: &StoreUrl, options: Options) -> Rebuilt {
    rebuild(log, views, new_id(), options, |_| {}).await.expect("rebuilt")
}

/// How many generations there are beside the current one.
async fn others(views: &StoreUrl) -> usize {
    match views {
        StoreUrl::Sqlite(path) => {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let files = std::fs::read_dir(path.parent().expect("a folder")).expect("read").flatten();
            let is_generation = |file: &str| file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| rest.parse::<u64>().is_ok());
            files.filter(|file| file.file_name().to_str().is_some_and(is_generation)).count() - 1
        }
        StoreUrl::Postgres(url) => {
            let sql = "select count(*) from pg_namespace where nspname in ('entrenous_views_next', 'entrenous_views_old')";
            usize::try_from(postgres::connect(url).await.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0)).expect("few")
        }
        StoreUrl::Kurrent(_) => unreachable!("it keeps no rows"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_views_are_made_anew_beside_those_that_serve() {
    for back in BOTH {
        let place = Arc::new(Place::new(Back::Sqlite, back).await);
        let inside = Inside::at(&place).await;
        community(&inside).await;
        let ann = inside.sign_in("ann").await;
        let (log, views) = (inside.app.log().clone(), place.views(0));
        let right = dump(&views).await;
        tamper_with_views(&views, "update messages set text = 'faux'; delete from users where id = 'eve'").await;
        let made = rebuilt(&log, &views, WITH_ALL).await;
        let compared = made.compared.expect("compared");
        assert_eq!((made.from, made.to, compared.position), (Position(0), log.head(), log.head()), "{back:?}");
        assert!(compared.differences.iter().any(|difference| difference.to_string().contains("text=\"faux\"")), "{back:?}");
        assert!(compared.differences.iter().any(|difference| difference.to_string().starts_with("users: missing: id=\"eve\"")), "{back:?}");
        assert_eq!(dump(&views).await, right, "{back:?}");
        let history = "{ conversation(with: \"bob\") { messages(last: 1) { edges { node { text } } } } }";
        let newest = async || inside.ask(&ann, history, json!({})).await["conversation"]["messages"]["edges"][0]["node"]["text"].take();
        until("the service goes over to the right ones", async || newest().await == "2 de ann").await;
        // What happens from now on is in the new ones, which equal the log as ever.
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "après" }), "message { id }").await;
        assert_eq!(newest().await, "après", "{back:?}");
        assert_eq!(compare(&log, &views, new_id(), |_| {}).await.expect("compared").differences, [], "{back:?}");

        assert_eq!(others(&views).await, 1, "the former are kept, {back:?}");
        assert_eq!(rebuilt(&log, &views, WITH_ALL).await.compared.expect("compared").differences, [], "{back:?}");
        let unless_in_use = async || match ReadStore::drop_others(&views).await {
            Err(OpenError::InUse { .. }) => None,
            dropped => Some(dropped.expect("dropped")),
        };
        let dropped = found("the service goes over to the last one", unless_in_use).await;
        assert!(dropped >= 1 && others(&views).await == 0, "{back:?}");
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "encore" }), "message { id }").await;
        assert_eq!(compare(&log, &views, new_id(), |_| {}).await.expect("compared").differences, [], "{back:?}");
    }
}

/// Messages between many, more than are folded at once, without a service.
async fn long_log(log: &EventLog, messages: u64) {
    const PAIRS: u64 = 300;
    let user = |n: u64| UserId::parse(&format!("u{n}")).expect("an id");
    let mut pairs: Vec<(u64, Vec<Event>)> = (0..PAIRS).map(|_| (0, vec![])).collect();
    for n in 0..messages {
        let (from, to) = (user(n % PAIRS), user(n % PAIRS + 1_000));
        let pair = &mut pairs[usize::try_from(n % PAIRS).expect("few")];
        pair.0 += 1;
        let id = MessageId(Uuid::from_u128(u128::from(n) * 0x9e37_79b9_7f4a_7c15 + 1));
        let text = MessageText::from_stored(format!("message {n}"));
        pair.1.push(ConversationEvent::MessageSent(MessageSent { id, sender: from, recipient: to, text, number: pair.0, sender_number: pair.0 }).into());
    }
    for (n, (_, events)) in pairs.into_iter().enumerate() {
        let (from, to) = (user(n as u64), user(n as u64 + 1_000));
        let metadata = Metadata { actor: Some(from.clone()), correlation: new_id(), causation: new_id() };
        let id = |event: &Event| match event {
            Event::Conversation(ConversationEvent::MessageSent(message)) => message.id.0,
            _ => new_id(),
        };
        let events = events.into_iter().map(|event| (id(&event), event)).collect();
        let append = Append { stream: Stream::Conversation(ConversationId::between(&from, &to)), expected: 0, events, metadata };
        log.append(append).await.expect("appended");
    }
}

/// However little memory there is, and wherever it is interrupted, the rows are the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_what_was_interrupted_goes_on_and_memory_is_bounded() {
    for back in BOTH {
        let place = Place::new(Back::Sqlite, back).await;
        let log = EventLog::open(&place.log(), place.keys().as_ref(), Arc::new(entrenous::cli::now)).await.expect("a log");
        long_log(&log, 20_000).await;
        let (views, at_once) = (place.views(0), place.folder().join("at_once.db"));
        let at_once = StoreUrl::Sqlite(at_once);
        let store = ReadStore::open(&at_once, log.id()).await.expect("views");
        fold_up_to(&log, &store, new_id(), log.head(), 1 << 30, |_| {}).await.expect("folded");

        let frugal = Options { memory: 0, ..WITH_ALL };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let mut stop = Some(stop);
        let interrupted = rebuild(&log, &views, new_id(), frugal, move |step| {
            if matches!(step, Step::Folded(position) if position >= Position(9_000)) {
                let _only_once = stop.take().map(|stop| stop.send(()));
            }
        });
        tokio::select! {
            _ = interrupted => panic!("it was not interrupted"),
            _ = stopped => {}
        }
        assert!(ReadStore::last_folded(&views).await.position == Position(0), "nothing is current before the end, {back:?}");
        let once_it_can = async || match rebuild(&log, &views, new_id(), frugal, |_| {}).await {
            Err(ViewsError::IsBeingRebuilt | ViewsError::Open(OpenError::InUse { .. })) => None,
            made => Some(made.expect("rebuilt")),
        };
        let made = found("a write that was begun ends, and a lease of a process that is gone runs out", once_it_can).await;
        assert!(made.from >= Position(4_096) && made.to == log.head(), "{made:?}, {back:?}");
        assert_eq!(dump(&views).await, dump(&at_once).await, "{back:?}");
        drop(store);
    }
}

/// Whoever reads while tables are put in the place of others sees all that those hold, as whoever reads afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_what_is_asked_for_during_a_switch_is_answered_from_the_new_tables() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Postgres).await);
    let inside = Inside::at(&place).await;
    community(&inside).await;
    let (log, url) = (inside.app.log().clone(), place.views(0));
    inside.stop().await;
    let (ann, eve) = (UserId::parse("ann").expect("an id"), UserId::parse("eve").expect("an id"));
    let views = ReadStore::open(&url, log.id()).await.expect("views");
    let seen = views.checkpoint().await.expect("a checkpoint").position;
    let next = ReadStore::build(&url, log.id()).await.expect("built");
    let fold = async || fold_up_to(&log, &next, new_id(), Position(u64::MAX), 1 << 20, |_| {}).await.expect("folded");
    fold().await;
    next.finish().await.expect("finished");

    let hold = next.hold().await.expect("held");
    let (listed, viewer) = (views.clone(), eve.clone());
    let all = Slice { after: None, before: None, take: Take::First(50) };
    let listing = tokio::spawn(async move { listed.list(&viewer, ListOrder::NewestFirst, all).await.expect("listed") });
    let (missed, viewer) = (views.clone(), eve.clone());
    let missing = tokio::spawn(async move { missed.missed(&viewer, seen, 50).await.expect("told") });
    let StoreUrl::Postgres(server) = &url else { unreachable!("it is in PostgreSQL") };
    let client = postgres::connect(server).await;
    let waiting = "select count(*) from pg_locks join pg_database on oid = database where datname = current_database()
        and relation = 'entrenous_views.projector'::regclass and mode = 'AccessShareLock' and not granted";
    let both_wait = async {
        while client.query_one(waiting, &[]).await.expect("a count").get::<_, i64>(0) < 2 {
            tokio::task::yield_now().await;
        }
    };
    // Nobody holds the tables for longer than ten seconds.
    tokio::time::timeout(Duration::from_secs(8), both_wait).await.expect("they wait for the tables");
    let id = MessageId(new_id());
    let text = MessageText::from_stored("pendant".to_owned());
    let stream = Stream::Conversation(ConversationId::between(&ann, &eve));
    let expected = log.read_stream_stored(&stream, 0, 1_000).await.expect("read").len() as u64;
    let event = ConversationEvent::MessageSent(MessageSent { id, sender: ann.clone(), recipient: eve, text, number: 4, sender_number: 4 });
    let metadata = Metadata { actor: Some(ann), correlation: new_id(), causation: new_id() };
    log.append(Append { stream, expected, events: vec![(id.0, event.into())], metadata }).await.expect("appended");
    let reached = fold().await.position;
    next.switch(&url, hold).await.expect("switched");

    let listed = listing.await.expect("listed").rows;
    assert_eq!(listed[0].last_message.as_ref().map(|message| message.id), Some(id), "{listed:?}");
    let Missed::Items { items, up_to } = missing.await.expect("told") else { panic!("it is not too much") };
    assert_eq!((items.len(), up_to), (1, reached), "{items:?}");
    log.close().await;
}

/// A version with other projections finds the views that were prepared for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_what_was_prepared_is_used_where_projections_changed() {
    for back in BOTH {
        let place = Arc::new(Place::new(Back::Sqlite, back).await);
        let inside = Inside::at(&place).await;
        community(&inside).await;
        let (log, views) = (inside.app.log().clone(), place.views(0));
        let right = dump(&views).await;
        rebuilt(&log, &views, Options { switches: false, ..WITH_ALL }).await;
        inside.stop().await;
        log.close().await;
        drop(log);
        // What an older version would have left.
        tamper_with_views(&views, "update checkpoints set version = 99; update messages set text = 'autre forme'").await;
        let inside = Inside::at(&place).await;
        assert_eq!(dump(&views).await, right, "{back:?}");
        assert_eq!(others(&views).await, 1, "the former are kept, {back:?}");
        assert_eq!(compare(inside.app.log(), &views, new_id(), |_| {}).await.expect("compared").differences, [], "{back:?}");
    }
}

/// Sends and asks until told to stop: every answer must have all that was acknowledged.
async fn converse(from: Person, to: Person, over: Arc<AtomicBool>) -> usize {
    let mut sent = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let text = format!("{} {}", from.id, sent.len());
        from.sent(&to, &text).await;
        sent.push(text);
        let newest = sent.len().saturating_sub(20);
        let seen = to.history(&from).await.expect("listed");
        assert_eq!(&seen[seen.len() - (sent.len() - newest)..], &sent[newest..], "all that was acknowledged");
        assert_eq!(to.badge(&from).await, i64::try_from(sent.len()).expect("few"));
        assert!(from.contacts().await.contains(&to.id));
    }
    sent.len()
}

/// The messages of an inbox, until so many came.
async fn told(mut inbox: Socket, expected: impl Future<Output = usize>) -> Vec<String> {
    let mut ids = Vec::new();
    let mut total = None;
    tokio::pin!(expected);
    while total.is_none_or(|total| ids.len() < total) {
        tokio::select! {
            event = inbox.event() => {
                if event["__typename"] == "MessageAdded" {
                    ids.push(event["message"]["id"].as_str().expect("an id").to_owned());
                }
            }
            known = &mut expected, if total.is_none() => total = Some(known),
        }
    }
    ids
}

async fn rebuild_under_load(server: &Server, arguments: &[&str]) {
    const PAIRS: usize = 4;
    let people = server.people(["p0", "p1", "p2", "p3", "q0", "q1", "q2", "q3"]).await;
    let over = Arc::new(AtomicBool::new(false));
    let (report, reported) = tokio::sync::oneshot::channel();
    let following = tokio::spawn(told(Socket::inbox(server, &people[PAIRS]).await, async { reported.await.expect("a count") }));
    let mut conversing = JoinSet::new();
    for n in 0..PAIRS {
        let (from, to) = (server.person(&people[n].id), server.person(&people[n + PAIRS].id));
        let over = Arc::clone(&over);
        conversing.spawn(async move { (n, converse(from, to, over).await) });
    }
    for _ in 0..3 {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let rebuilding = tokio::task::spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
        let (ok, out, error) = rebuilding.await.expect("it ran");
        assert!(ok && out.contains("they are the current ones now"), "{out}{error}");
        assert!(!out.contains("missing") && !out.contains("stored:"), "{out}");
    }
    over.store(true, Ordering::Relaxed);
    let mut counts = [0; PAIRS];
    while let Some(done) = conversing.join_next().await {
        let (n, count) = done.expect("every answer was right");
        counts[n] = count;
    }
    report.send(counts[0]).expect("followed");
    let ids = following.await.expect("followed");
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (counts[0], counts[0]), "each message once");
    // Whoever folds finds itself in the new tables, ahead of what it knows: that is no event that cannot be folded.
    assert!(!server.log().contains("cannot be folded"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_answers_stay_right_while_views_in_a_file_are_made_anew() {
    let server = Server::start_with(&["--send-rate", "0"]);
    let data = server.data().to_str().expect("UTF-8").to_owned();
    rebuild_under_load(&server, &["projections", "rebuild", "--all", "--compare", "everything", "--data", &data]).await;
    let (ok, out, error) = run(&["projections", "verify", "--data", &data]);
    assert!(ok, "{out}{error}");
    let (ok, out, error) = run(&["projections", "drop", "--data", &data]);
    assert!(ok && out == "3 removed\n", "{out}{error}");
    let (ok, _, error) = run(&["projections", "rebuild", "nothing", "--data", &data]);
    assert!(!ok && error.contains("possible values: conversations, messages, section, users"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_answers_stay_right_while_views_in_postgresql_are_made_anew() {
    let database = Database::create().await;
    let url = database.url();
    let server = Server::start_node_with(&url, Some(&url), &["--send-rate", "0"]);
    rebuild_under_load(&server, &["projections", "rebuild", "users", "--log", &url, "--views", &url]).await;
    let (ok, out, error) = run(&["projections", "verify", "--log", &url, "--views", &url]);
    assert!(ok, "{out}{error}");
    let (ok, out, error) = run(&["projections", "drop", "--log", &url, "--views", &url]);
    assert!(ok && out == "1 removed\n", "{out}{error}");
}
