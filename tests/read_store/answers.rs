//! The same events are answered the same by every store, page by page.

use std::fmt::Debug;

use entrenous::app::catching_up::catch_up;
use entrenous::cli::new_id;
use entrenous::domain::collation::searchable;
use entrenous::domain::conversation::{Listing, Side};
use entrenous::domain::event::{Position, Timestamp};
use entrenous::domain::ids::{ConversationId, MessageId};
use entrenous::event_log::EventLog;
use entrenous::projections::conversations::{ConversationRow, Surfaced};
use entrenous::read_store::{DirectoryKey, ListKey, ListOrder, Page, ReadStore, Rows, Run, Slice, StoreError, Take, UserView};
use serde_json::json;
use uuid::Uuid;

use super::{BOTH, LOG, at, lead, open, person, user};
use crate::support::inside::{Back, Inside, Place, dump};

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
