//! The contract of read stores, against every adapter: the same answers from the same events, one who folds, and
//! batches that are written whole or not at all.

use std::fmt::Debug;
use std::sync::Arc;

use entrenous::app::catching_up::catch_up;
use entrenous::cli::new_id;
use entrenous::domain::collation::searchable;
use entrenous::domain::conversation::{Listing, Side};
use entrenous::domain::event::{Position, Timestamp};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::profile::{Name, Profile};
use entrenous::domain::text::MessageText;
use entrenous::domain::user::User;
use entrenous::event_log::EventLog;
use entrenous::projections::conversations::{ConversationRow, Surfaced};
use entrenous::projections::messages::MessageRow;
use entrenous::projections::users::UserRow;
use entrenous::read_store::{Checkpoint, DirectoryKey, Lease, ListKey, ListOrder, OpenError, Page, ReadStore, Rows, Run, Slice, StoreError, Take, UserView};
use entrenous::storage::StoreUrl;
use futures_util::future::join_all;
use serde_json::json;
use uuid::Uuid;

use crate::support::inside::{Back, Inside, Place, dump};
use crate::support::postgres::{self, Postgres};
use crate::support::tampering::tamper_with_views;
use crate::support::waiting::{PATIENCE, found, until};

const LOG: Uuid = Uuid::from_u128(0x1091);
const BOTH: [Back; 2] = [Back::Sqlite, Back::Postgres];

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

/// Names as people have them: accents, other alphabets, what `like` and sorting could trip over.
const PEOPLE: [(&str, &str); 9] = [
    ("ann", "Ann"),
    ("bob", "Élodie"),
    ("cid", "éloi"),
    ("dan", "Zoë_%"),
    ("eve", "Ωmega"),
    ("fay", "ann"),
    ("gus", "Łukasz !"),
    ("hal", "李雷"),
    ("ida", "Ann"),
];

/// A community in which everything happened. The same at every call.
async fn community() -> Inside {
    let inside = Inside::start().await;
    let mut people = Vec::new();
    for (id, name) in PEOPLE {
        let person = inside.sign_in(id).await;
        inside.mutate(&person, "updateProfile", json!({ "name": name }), "user { id }").await;
        people.push(person);
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("small")
    };
    for n in 0..400 {
        let (who, other, kind) = (draw(PEOPLE.len()), draw(PEOPLE.len()), draw(100));
        let (person, with) = (&people[who], PEOPLE[other].0);
        let (name, input, fields) = match kind {
            0..60 => ("sendMessage", json!({ "to": with, "text": format!("message {n}") }), "message { id }"),
            60..70 => ("markAsRead", json!({ "with": with }), "conversation { id }"),
            70..78 => ("blockUser", json!({ "userId": with }), "user { id }"),
            78..86 => ("unblockUser", json!({ "userId": with }), "user { id }"),
            86..92 => ("deleteConversation", json!({ "with": with }), "warning"),
            92..96 => ("openConversation", json!({ "with": with }), "conversation { id }"),
            96..98 => ("toggleContactable", json!({ "contactable": n % 2 == 0 }), "user { id }"),
            _ => ("configureChatSection", json!({ "listTemplate": n % 3 + 1 }), "chatSection { title }"),
        };
        inside.mutate(person, name, input, fields).await;
    }
    inside.app.views_reach_head().await.expect("caught up");
    inside
}

/// Opens a store, where it lets itself be opened; a file is let go of a moment after it was closed.
async fn try_open(place: &Place, log: Uuid) -> Result<ReadStore, OpenError> {
    let unless_in_use = async || match ReadStore::open(&place.views(0), log).await {
        Err(OpenError::InUse { .. }) => None,
        outcome => Some(outcome),
    };
    found("nobody else has the store open", unless_in_use).await
}

async fn open(place: &Place, log: Uuid) -> ReadStore {
    try_open(place, log).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn lead(store: &ReadStore, node: Uuid) -> Lease {
    found("the lease can be had", async || store.try_lead(node).await.expect("answered")).await
}

/// All that a list shows, page after page, from either end.
async fn pages<K, T: Debug, F: Future<Output = Result<Page<T>, StoreError>>>(key: impl Fn(&T) -> K, read: impl Fn(Slice<K>) -> F) -> Vec<String> {
    let mut told = Vec::new();
    for size in [1, 2, 100] {
        for forwards in [true, false] {
            let (mut after, mut before) = (None, None);
            loop {
                let take = if forwards { Take::First(size) } else { Take::Last(size) };
                let page = read(Slice { after, before, take }).await.expect("answered");
                told.push(format!("{size} {forwards} {page:?}"));
                let (place, more) = if forwards { (page.rows.last(), page.has_next) } else { (page.rows.first(), page.has_previous) };
                let Some(place) = place.filter(|_| more) else { break };
                (after, before) = if forwards { (Some(key(place)), None) } else { (None, Some(key(place))) };
            }
        }
    }
    told
}

fn tell(what: impl Debug, answer: impl Debug) -> String {
    format!("{what:?}: {answer:?}")
}

/// The answer to every query that there is.
async fn everything(store: &ReadStore, log: &EventLog) -> Vec<String> {
    let mut told = vec![tell("section", store.section().await.expect("answered"))];
    let events = log.read_all(Position(0), 100_000).await.expect("read");
    for (id, _) in PEOPLE {
        let viewer = user(id);
        for order in [ListOrder::OldestFirst, ListOrder::NewestFirst] {
            let key = |view: &UserView| {
                let row = view.conversation.as_ref().expect("a listed row");
                ListKey { blocked: row.side.is_blocking(), last_at: row.last_at.unwrap_or_default(), conversation: row.id }
            };
            told.extend(pages(key, |slice| store.list(&viewer, order, slice)).await);
        }
        let key = |(key, _): &(DirectoryKey, UserView)| key.clone();
        for search in ["", "ann", "ELO", "_%", "!", "ω", "李", "nobody"] {
            let search = searchable(search);
            told.extend(pages(key, |slice| store.directory(&viewer, &search, slice)).await);
        }
        told.push(tell("totals", store.totals(&viewer).await.expect("answered")));
        told.push(tell("user", store.user(&viewer).await.expect("answered")));
        let mut listed = store.listed_by(&viewer).await.expect("answered");
        listed.sort();
        told.push(tell("listed by", listed));
        for (other, _) in PEOPLE.into_iter().chain([("nobody", "")]) {
            let other = user(other);
            told.push(tell("view", store.view(&viewer, &other).await.expect("answered")));
            told.push(tell("relation", store.relation(&viewer, &other).await.expect("answered")));
            let conversation = ConversationId::between(&viewer, &other);
            told.push(tell("contact", store.contact_of(&viewer, conversation).await.expect("answered")));
            let runs = [(1, 5), (3, 3), (4, 1_000), (7, 2)].map(|(from, to)| Run { conversation, from, to });
            told.push(tell("messages", store.messages(runs.to_vec()).await.expect("answered")));
        }
        for event in &events {
            let id = MessageId(event.id);
            told.push(tell("visible", store.visible_message(&viewer, id).await.expect("answered")));
            if event.position.0 % 7 == 0 {
                told.push(tell("message", store.message(id).await.expect("answered")));
                for limit in [3, 1_000] {
                    told.push(tell("missed", store.missed(&viewer, event.position, limit).await.expect("answered")));
                }
            }
        }
    }
    told.push(tell("members", store.members(vec![user("ida"), user("nobody"), user("ann")]).await.expect("answered")));
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_the_same_events_are_answered_the_same_by_every_store() {
    let inside = community().await;
    let log = inside.app.log();
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let other = ReadStore::open(&place.views(0), log.id()).await.expect("views");
    catch_up(log, &other, new_id()).await.expect("caught up");
    let (one, two) = (everything(inside.app.store(), log).await, everything(&other, log).await);
    assert!(one.len() > 2_000, "{}", one.len());
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(one, two);
    }
    assert_eq!(one.len(), two.len());
    assert_eq!(dump(&inside.views()).await, dump(&place.views(0)).await, "row by row");
}

fn person(id: &str, member: u64) -> UserRow {
    let name = Name::from_claim(Some(id), &user(id));
    let user_of = User { profile: Profile { name, picture: None }, contactable: true, erased: false };
    UserRow {
        id: user(id),
        user: user_of,
        member,
        version: 0,
        sort_key: id.as_bytes().to_vec(),
        search_name: id.to_owned(),
        changed: Position(member),
        erased_at: Position(0),
    }
}

fn message(number: u64) -> MessageRow {
    MessageRow {
        conversation: ConversationId(Uuid::from_u128(5)),
        number,
        sender_number: number,
        id: MessageId(Uuid::from_u128(u128::from(number))),
        sender: user("ann"),
        text: MessageText::from_stored("salut"),
        sent_at: Timestamp(7),
        position: Position(number),
    }
}

/// L2: rows of one moment go by the conversation's id, the blocked ones apart.
async fn ties_are_paged_without_a_gap(back: Back) {
    /// By contact.
    const IDS: [u128; 9] = [5, 3, 8, 1, 9, 2, 7, 4, 6];
    let place = Place::new(Back::Sqlite, back).await;
    let store = open(&place, LOG).await;
    let lease = lead(&store, new_id()).await;
    let row = |(n, id): (usize, u128)| ConversationRow {
        owner: user("ann"),
        contact: user(&format!("c{n}")),
        conversation: ConversationId(Uuid::from_u128(id)),
        version: 1,
        side: Side { received: 1, blocked_at: (n % 3 == 0).then_some(1), listing: Listing::Listed, ..Side::default() },
        last_at: Some(Timestamp(if n == 8 { 8 } else { 7 })),
        latest_at: Some(Timestamp(7)),
        changed: Position(1),
        reshaped: Position(0),
        removed: Position(0),
        surfaced: Surfaced::default(),
    };
    let users = std::iter::once("ann".to_owned()).chain((0..9).map(|n| format!("c{n}"))).zip(1..).map(|(id, member)| person(&id, member)).collect();
    let rows = Rows { users, conversations: IDS.into_iter().enumerate().map(row).collect(), ..Rows::default() };
    lease.apply(rows, at(1)).await.expect("written");
    let ann = user("ann");
    let key = |view: &UserView| {
        let row = view.conversation.as_ref().expect("a listed row");
        ListKey { blocked: row.side.is_blocking(), last_at: row.last_at.unwrap_or_default(), conversation: row.id }
    };
    for (order, expected) in [
        (ListOrder::OldestFirst, ["c5", "c1", "c7", "c2", "c4", "c8", "c3", "c0", "c6"]),
        (ListOrder::NewestFirst, ["c8", "c4", "c2", "c7", "c1", "c5", "c6", "c0", "c3"]),
    ] {
        for (size, forwards) in [(1, true), (2, true), (4, true), (1, false), (2, false), (4, false)] {
            let (mut seen, mut after, mut before) = (Vec::new(), None, None);
            loop {
                let take = if forwards { Take::First(size) } else { Take::Last(size) };
                let page = store.list(&ann, order, Slice { after, before, take }).await.expect("answered");
                let ids: Vec<String> = page.rows.iter().map(|view| view.id.to_string()).collect();
                let end = if forwards { seen.len() } else { 0 };
                drop(seen.splice(end..end, ids));
                let (place, more) = if forwards { (page.rows.last(), page.has_next) } else { (page.rows.first(), page.has_previous) };
                let Some(place) = place.filter(|_| more) else { break };
                (after, before) = if forwards { (Some(key(place)), None) } else { (None, Some(key(place))) };
            }
            assert_eq!(seen, expected, "{back:?} {order:?} by {size}, forwards: {forwards}");
        }
    }
    lease.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_ties_are_paged_without_a_gap() {
    for back in BOTH {
        ties_are_paged_without_a_gap(back).await;
    }
}

fn at(position: u64) -> Checkpoint {
    Checkpoint { position: Position(position), event: Uuid::from_u128(u128::from(position)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_written_whole_with_its_checkpoint_or_not_at_all() {
    for back in BOTH {
        let place = Place::new(Back::Sqlite, back).await;
        let store = open(&place, LOG).await;
        let lease = lead(&store, new_id()).await;
        let written = lease.apply(Rows { users: vec![person("ann", 1)], messages: vec![message(1)], ..Rows::default() }, at(1)).await.expect("written");
        assert_eq!((written.users.len(), written.messages.len()), (1, 1), "the rows come back");
        // A message is written once: the second fails after the user was written.
        let twice = Rows { users: vec![person("bob", 2)], messages: vec![message(2), message(1)], ..Rows::default() };
        let failed = lease.apply(twice, at(3)).await;
        assert!(matches!(failed, Err(StoreError::Failed(_))), "{back:?}: {failed:?}");
        assert_eq!(store.checkpoint().await.expect("answered"), at(1), "{back:?}");
        assert!(store.user(&user("bob")).await.expect("answered").is_none(), "{back:?}");
        assert!(store.message(MessageId(Uuid::from_u128(2))).await.expect("answered").is_none(), "{back:?}");
        lease.apply(Rows { users: vec![person("bob", 2)], messages: vec![message(2)], ..Rows::default() }, at(2)).await.expect("written");
        lease.release().await;
        drop(store);
        let store = open(&place, LOG).await;
        assert_eq!(store.checkpoint().await.expect("answered"), at(2), "{back:?}");
        assert!(store.user(&user("bob")).await.expect("answered").is_some(), "{back:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_log_are_refused_and_of_other_folds_made_anew() {
    for back in BOTH {
        let place = Place::new(Back::Sqlite, back).await;
        let store = open(&place, LOG).await;
        let lease = lead(&store, new_id()).await;
        lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
        lease.release().await;
        drop(store);
        let refused = try_open(&place, Uuid::from_u128(0x2092)).await.err().expect("it is refused");
        assert!(matches!(refused, OpenError::Diverged { .. }), "{back:?}: {refused}");
        let store = open(&place, LOG).await;
        assert!(store.user(&user("ann")).await.expect("answered").is_some(), "{back:?}: a refusal changes nothing");
        drop(store);
        match place.views(0) {
            StoreUrl::Sqlite(path) => {
                let changed = rusqlite::Connection::open(path).expect("a file").execute("update checkpoints set version = 99 where projection = 'users'", []);
                assert_eq!(changed.expect("changed"), 1);
            }
            StoreUrl::Postgres(url) => {
                let operator = postgres::connect(&url).await;
                let changed = operator.execute("update entrenous_views.checkpoints set version = 99 where projection = 'users'", &[]).await;
                assert_eq!(changed.expect("changed"), 1);
            }
            StoreUrl::Kurrent(_) => unreachable!("it keeps no rows"),
        }
        let store = open(&place, LOG).await;
        assert_eq!(store.checkpoint().await.expect("answered"), Checkpoint::default(), "{back:?}");
        assert!(store.user(&user("ann")).await.expect("answered").is_none(), "{back:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_one_node_s() {
    let place = Place::new(Back::Sqlite, Back::Sqlite).await;
    let store = open(&place, LOG).await;
    assert!(matches!(ReadStore::open(&place.views(0), LOG).await, Err(OpenError::InUse { .. })), "its lock is the lease");
    let (one, two) = (new_id(), new_id());
    assert!(store.try_lead(one).await.expect("answered").is_some() && store.try_lead(two).await.expect("answered").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_share_a_store_one_folds_and_one_who_was_overtaken_writes_nothing() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let (here, there) = (open(&place, LOG).await, open(&place, LOG).await);
    let (one, two) = (new_id(), new_id());
    let first = lead(&here, one).await;
    assert!(there.try_lead(two).await.expect("answered").is_none());
    first.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    first.renew().await.expect("held");

    // As if it had said nothing for long enough.
    let operator = postgres::connect(&place.url()).await;
    operator.execute("update entrenous_views.projector set seen = seen - interval '4 seconds'", &[]).await.expect("changed");
    let second = there.try_lead(two).await.expect("answered").expect("it is free");
    let late = first.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert!(matches!(first.renew().await, Err(StoreError::Fenced)));
    assert_eq!(there.checkpoint().await.expect("answered"), at(1));
    assert!(there.user(&user("bob")).await.expect("answered").is_none());
    first.release().await;
    assert!(here.try_lead(one).await.expect("answered").is_none(), "one who was overtaken releases nothing");
    second.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await.expect("written");
    let mut seen = here.checkpoint_watch();
    tokio::time::timeout(PATIENCE, seen.wait_for(|checkpoint| *checkpoint == at(2))).await.expect("told").expect("open");

    second.release().await;
    let third = here.try_lead(one).await.expect("answered").expect("it was released");
    drop(third);
    lead(&there, two).await.release().await;
}

/// An erasure of somebody who wrote much takes longer than a leader may be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_middle_of_a_long_write_leads() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let (here, there) = (open(&place, LOG).await, open(&place, LOG).await);
    let (lease, other) = (lead(&here, new_id()).await, new_id());
    let operator = postgres::connect(&place.url()).await;
    operator.batch_execute("update entrenous_views.projector set seen = seen - interval '4 seconds'").await.expect("changed");
    operator.batch_execute("begin; lock table entrenous_views.messages in access exclusive mode").await.expect("locked");
    let writing = tokio::spawn(async move {
        let written = lease.apply(Rows { erased: vec![(user("ann"), Position(1))], ..Rows::default() }, at(1)).await;
        (lease, written)
    });
    let looking = postgres::connect(&place.url()).await;
    let not_granted = "select count(*) from pg_locks join pg_database on oid = database where datname = current_database() and not granted";
    until("it writes", async || looking.query_one(not_granted, &[]).await.expect("a count").get::<_, i64>(0) > 0).await;
    // What is known of its last sign of life is old, and it cannot be asked: its row is locked.
    assert!(there.try_lead(other).await.expect("answered at once").is_none());
    let moment = "select clock_timestamp()::text";
    let before: String = looking.query_one(moment, &[]).await.expect("a moment").get(0);
    operator.batch_execute("commit").await.expect("let go");
    let (lease, written) = writing.await.expect("written");
    written.expect("written");
    let seen = looking.query_one("select seen > $1::text::timestamptz from entrenous_views.projector", &[&before]).await.expect("read");
    assert!(seen.get::<_, bool>(0), "it is seen when it is done, not when it began");
    lease.renew().await.expect("held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_somebody_builds_is_not_taken_over() {
    let place = Place::new(Back::Sqlite, Back::Sqlite).await;
    drop(open(&place, LOG).await);
    let building = ReadStore::build(&place.views(0), LOG).await.expect("a generation");
    building.finish().await.expect("indexed");
    tamper_with_views(&place.views(0), "update checkpoints set version = 99").await;
    let early = ReadStore::open(&place.views(0), LOG).await.map(|_| ());
    assert!(matches!(&early, Err(OpenError::InUse { place, .. }) if place.starts_with("the next generation of ")), "{early:?}");
    drop(building);
    open(&place, LOG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_open_a_new_store_at_once_share_it() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let stores = join_all((0..5).map(|_| open(&place, LOG))).await;
    let leases = join_all(stores.iter().map(|store| async { store.try_lead(new_id()).await.expect("answered") })).await;
    assert_eq!(leases.iter().flatten().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_other_folds_keeps_a_new_node_out() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let lease = lead(&store, new_id()).await;
    postgres::connect(&place.url()).await.execute("update entrenous_views.checkpoints set version = 99", &[]).await.expect("changed");
    lease.renew().await.expect("held");
    assert!(matches!(ReadStore::open(&place.views(0), LOG).await, Err(OpenError::InUse { .. })));
    lease.release().await;
    open(&place, LOG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_replaced_and_a_lost_lease_is_had_again() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let node = new_id();
    let lease = lead(&store, node).await;
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    let operator = postgres::connect(&place.url()).await;
    let all = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name like 'entrenous%'";
    for n in 0..5 {
        assert!(store.user(&user("ann")).await.expect("answered").is_some(), "{n}");
        operator.execute(all, &[]).await.expect("terminated");
    }
    tokio::time::timeout(PATIENCE, lease.lost()).await.expect("it is told");
    let late = lease.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert_eq!(store.checkpoint().await.expect("answered"), at(1), "what became of a batch is found out by the checkpoint");
    let again = store.try_lead(node).await.expect("answered").expect("it is its own");
    again.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_and_started_again_is_asked_again() {
    let server = Arc::new(tokio::task::spawn_blocking(Postgres::private_server).await.expect("a server"));
    let url = StoreUrl::Postgres(server.url());
    let store = ReadStore::open(&url, LOG).await.expect("views");
    let lease = lead(&store, new_id()).await;
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    // Views are not waited for on the disk; what is asked for explicitly is.
    postgres::connect(&server.url()).await.batch_execute("checkpoint").await.expect("flushed");
    let stopped = Arc::clone(&server);
    tokio::task::spawn_blocking(move || stopped.stop_immediate()).await.expect("stopped");
    let refused = store.user(&user("ann")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let started = Arc::clone(&server);
    tokio::task::spawn_blocking(move || started.start()).await.expect("started");
    assert!(store.user(&user("ann")).await.expect("answered").is_some());
    lead(&store, new_id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_nobody_waits_for_any_more_leaves_no_connection_in_the_past() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let lease = lead(&store, new_id()).await;
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    for _ in 0..50 {
        let viewer = user("ann");
        // Its connection is there at once: it is dropped while its transaction begins.
        let mut read = std::pin::pin!(store.missed(&viewer, Position(0), 10));
        assert!(futures_util::poll!(read.as_mut()).is_pending());
    }
    // Where one were in the past, its moment would begin here.
    join_all((0..50).map(|_| async { store.user(&user("ann")).await.expect("answered") })).await;
    lease.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await.expect("written");
    for found in join_all((0..50).map(|_| async { store.user(&user("bob")).await.expect("answered") })).await {
        assert!(found.is_some(), "what is written is read, whatever the connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_led_in_the_tables_before_leads_no_more_in_those_made_anew() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let asleep = lead(&store, new_id()).await;
    asleep.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    let operator = postgres::connect(&place.url()).await;
    let sleep = "update entrenous_views.projector set seen = seen - interval '4 seconds'; update entrenous_views.checkpoints set version = 99";
    operator.batch_execute(sleep).await.expect("changed");
    let anew = open(&place, LOG).await;
    let lease = lead(&anew, new_id()).await;
    let late = asleep.apply(Rows { users: vec![person("bob", 2)], ..Rows::default() }, at(2)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert_eq!(anew.checkpoint().await.expect("answered"), Checkpoint::default());
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");

    // A server whose clock went back is no reason to wait for who is gone.
    operator.batch_execute("update entrenous_views.projector set seen = seen + interval '1 hour'").await.expect("changed");
    lead(&open(&place, LOG).await, new_id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_makes_doubt_of_how_far_the_views_are() {
    let place = Place::new(Back::Sqlite, Back::Postgres).await;
    let store = open(&place, LOG).await;
    let lease = lead(&store, new_id()).await;
    let mut seen = store.checkpoint_watch();
    lease.apply(Rows { users: vec![person("ann", 1)], ..Rows::default() }, at(1)).await.expect("written");
    let operator = postgres::connect(&place.url()).await;
    let listeners = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and query like 'select position%'";
    let mut doubted = Box::pin(seen.wait_for(|checkpoint| *checkpoint == Checkpoint::default()));
    let terminated = async {
        loop {
            operator.execute(listeners, &[]).await.expect("terminated");
        }
    };
    tokio::select! {
        outcome = tokio::time::timeout(PATIENCE, &mut doubted) => drop(outcome.expect("in time").expect("open")),
        () = terminated => {}
    }
    drop(doubted);
    tokio::time::timeout(PATIENCE, seen.wait_for(|checkpoint| *checkpoint == at(1))).await.expect("looked at again").expect("open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_somebody_has_open_are_not_removed() {
    let place = Place::new(Back::Sqlite, Back::Sqlite).await;
    let store = open(&place, LOG).await;
    let next = ReadStore::build(&place.views(0), LOG).await.expect("a generation");
    next.finish().await.expect("indexed");
    next.switch(&place.views(0), next.hold().await.expect("held")).await.expect("switched");
    drop(next);
    assert!(store.user(&user("ann")).await.expect("answered").is_none(), "it goes over when it leads again");
    // What built it lets go of it in a moment.
    let drop_others = async |still: fn(&str) -> bool| {
        let unless_still_held = async || match ReadStore::drop_others(&place.views(0)).await {
            Err(OpenError::InUse { holder, .. }) if still(&holder) => None,
            outcome => Some(outcome),
        };
        found("it is let go of", unless_still_held).await
    };
    let dropped = drop_others(|holder| holder.starts_with("process")).await;
    assert!(matches!(dropped, Err(OpenError::InUse { .. })), "{dropped:?}");
    lead(&store, new_id()).await;
    assert_eq!(drop_others(|_| true).await.expect("dropped"), 1);
}
