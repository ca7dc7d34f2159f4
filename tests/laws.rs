//! What must hold for every sequence of commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use entrenous::app::access::Viewer;
use entrenous::app::catching_up;
use entrenous::audit::replay::{Moment, Replay, SeenMessage, replay};
use entrenous::domain::event::Position;
use entrenous::domain::ids::UserId;
use entrenous::graphql::Options;
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;
use futures_util::{Stream, StreamExt as _};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::model::{Command, Model};
use crate::support::inside::{Back, Inside, Place, dump, sqlite};
use crate::support::nodes;

/// Sequences a law is tried on. More by `PROPTEST_CASES`.
const CASES: u32 = 48;
/// The same where each sequence needs a database of its own.
const SLOW_CASES: u32 = 12;
/// The same where each append takes a twentieth of a second, as with the client of KurrentDB.
const FEW_CASES: u32 = 3;
const PEOPLE: usize = 4;

fn config(cases: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    Config { cases, max_shrink_iters: 400, failure_persistence: None, ..Config::default() }
}

fn run_cases<S: Strategy>(cases: u32, strategy: &S, law: impl Fn(&tokio::runtime::Runtime, S::Value) -> Result<(), TestCaseError>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let outcome = TestRunner::new(config(cases)).run(strategy, |value| law(&runtime, value));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A command of one of the people about another. Ids are drawn from few, so that some come twice.
fn command() -> impl Strategy<Value = (usize, Command)> {
    let other = |who: usize, other: usize| if other >= who { other + 1 } else { other };
    (0..PEOPLE, 0..PEOPLE - 1, 0..100u32, 0..60u128, prop::option::of(0..8usize)).prop_map(move |(who, whom, kind, id, up_to)| {
        let whom = other(who, whom);
        let id = uuid::Uuid::from_u128(id).to_string();
        let command = match kind {
            0..34 => Command::Send { to: whom, text: format!("message {}", kind % 3), id },
            34..44 => Command::Open { with: whom },
            44..54 => Command::Read { with: whom, up_to },
            54..66 => Command::Delete { with: whom },
            66..78 => Command::Block { user: whom },
            78..88 => Command::Unblock { user: whom },
            88..95 => Command::Contactable(kind % 2 == 0),
            95..98 => Command::Rename(format!("name {}", kind % 3)),
            _ => Command::ListTemplate(i64::from(kind % 3) + 1),
        };
        (who, command)
    })
}

/// The same, and now and then an erasure.
fn command_or_erasure() -> impl Strategy<Value = (usize, Command)> {
    let erasure = (0..PEOPLE, 0..PEOPLE).prop_map(|(who, user)| (who, Command::Erase { user }));
    prop_oneof![24 => command(), 1 => erasure]
}

fn names() -> Vec<String> {
    (0..PEOPLE).map(|who| format!("user{who}")).collect()
}

/// A service of one node or several, and the people who use it through each in turn.
struct World {
    nodes: Vec<Inside>,
    place: Arc<Place>,
    people: Vec<Viewer>,
    turn: AtomicUsize,
}

impl World {
    async fn new() -> Self {
        Self::at(Back::Sqlite, Back::Sqlite, 1).await
    }

    async fn at(log: Back, views: Back, nodes: usize) -> Self {
        let place = Arc::new(Place::new(log, views).await);
        let mut world = Self { nodes: Vec::new(), place, people: Vec::new(), turn: AtomicUsize::new(0) };
        for node in 0..nodes {
            world.nodes.push(Inside::start_node(Arc::clone(&world.place), node, Options::default()).await);
        }
        for name in names() {
            let person = world.node().sign_in(&name).await;
            world.people.push(person);
        }
        world
    }

    /// The next node.
    fn node(&self) -> &Inside {
        &self.nodes[self.turn.fetch_add(1, Ordering::Relaxed) % self.nodes.len()]
    }

    async fn head(&self) -> Position {
        self.nodes[0].app.log().latest().await.expect("a log")
    }

    /// What the service answers, as the model does.
    async fn run(&self, who: usize, command: &Command, model: &Model) -> Result<Value, String> {
        let name = |who: usize| names()[who].clone();
        let (mutation, input, field) = match command {
            Command::Send { to, id, text } => ("sendMessage", json!({ "to": name(*to), "text": text, "messageId": id }), "message { id }"),
            Command::Open { with } => ("openConversation", json!({ "with": name(*with) }), "conversation { id }"),
            Command::Read { with, up_to } => {
                let up_to = up_to.map(|place| model.between(who, *with).get(place).map_or_else(|| "nothing".to_owned(), |message| message.id.clone()));
                ("markAsRead", json!({ "with": name(*with), "upTo": up_to }), "conversation { id }")
            }
            Command::Delete { with } => ("deleteConversation", json!({ "with": name(*with) }), "warning"),
            Command::Block { user } => ("blockUser", json!({ "userId": name(*user) }), "user { id }"),
            Command::Unblock { user } => ("unblockUser", json!({ "userId": name(*user) }), "revealedCount"),
            Command::Contactable(on) => ("toggleContactable", json!({ "contactable": on }), "user { id }"),
            Command::Rename(to) => ("updateProfile", json!({ "name": to }), "user { id }"),
            Command::ListTemplate(number) => ("configureChatSection", json!({ "listTemplate": number }), "chatSection { title }"),
            Command::Erase { user } => ("eraseUser", json!({ "userId": name(*user) }), "user { id }"),
        };
        let payload = self.node().mutate(&self.people[who], mutation, input, field).await;
        match payload["userErrors"][0]["code"].as_str() {
            Some(code) => Err(code.to_owned()),
            None if matches!(command, Command::Delete { .. } | Command::Unblock { .. }) => Ok(payload[field].clone()),
            None => Ok(Value::Null),
        }
    }

    /// Everything that somebody is answered, as the model tells it.
    async fn seen_by(&self, who: usize) -> Value {
        let query = "{
            me { name contactable }
            users { edges { node { id name contactable canMessage blocked conversation { contact { id } } } } }
            newest: conversations(order: NEWEST_FIRST, first: 5) { edges { node { contact { id } } } }
            conversations(first: 5) { totalCount unreadCount edges { node {
                contact { id } blocked unreadCount actions lastMessage { id text mine sender { id } }
                messages(first: 100) { edges { node { id text mine sender { id } } } }
            } } }
        }";
        let data = self.node().ask(&self.people[who], query, json!({})).await;
        let rows: Vec<Value> = nodes(&data["conversations"])
            .into_iter()
            .map(|mut row| {
                row["messages"] = nodes(&row["messages"]).into();
                row
            })
            .collect();
        json!({
            "me": data["me"],
            "users": nodes(&data["users"]),
            "newest": nodes(&data["newest"]).iter().map(|node| node["contact"]["id"].clone()).collect::<Vec<_>>(),
            "totalCount": data["conversations"]["totalCount"],
            "unreadCount": data["conversations"]["unreadCount"],
            "rows": rows,
        })
    }
}

/// The model agrees after every step, whichever node is asked.
fn the_service_answers_as_the_model(log: Back, views: Back, nodes: usize, cases: u32) {
    run_cases(cases, &prop::collection::vec(command_or_erasure(), 1..40), |runtime, commands| {
        runtime.block_on(async {
            let world = World::at(log, views, nodes).await;
            let mut model = Model::new(&names());
            for (who, command) in commands {
                let answered = world.run(who, &command, &model).await;
                let expected = model.run(who, &command).map_err(str::to_owned);
                prop_assert_eq!(&answered, &expected, "{} {:?}", who, command);
                for user in 0..PEOPLE {
                    prop_assert_eq!(world.seen_by(user).await, model.seen_by(user), "user {} after {} {:?}", user, who, command);
                }
            }
            Ok(())
        })
    });
}

/// A2: what somebody saw at any moment, from the log alone.
#[test]
fn a2_a_replay_is_what_the_model_had_at_every_position() {
    run_cases(CASES, &prop::collection::vec(command(), 1..40), |runtime, commands| {
        runtime.block_on(async {
            let world = World::new().await;
            let mut model = Model::new(&names());
            let log = world.nodes[0].app.log().clone();
            let mut moments = Vec::new();
            for (who, command) in commands {
                drop(world.run(who, &command, &model).await);
                drop(model.run(who, &command));
                let last = log.at(world.head().await).await.expect("read").expect("an event");
                moments.push((last.position, last.at, (0..PEOPLE).map(|user| model.seen_by(user)).collect::<Vec<_>>()));
            }
            for (position, at, seen) in moments {
                for (user, seen) in seen.iter().enumerate() {
                    let id = UserId::parse(&names()[user]).expect("an id");
                    let until = if user % 2 == 0 { Moment::Position(position) } else { Moment::Instant(at) };
                    let past = replay(&log, id, Some(until), user == 0, |_| {}).await.expect("read");
                    prop_assert_eq!(replayed(&past, user), without_actions(seen), "user {} at {}", user, position);
                }
            }
            Ok(())
        })
    });
}

/// What a replay says, in the model's words.
fn replayed(past: &Replay, user: usize) -> Value {
    let message = |message: &SeenMessage| json!({ "id": message.id.to_string(), "text": message.text, "mine": message.sender == names()[user], "sender": { "id": message.sender } });
    let rows = past.list().into_iter().map(|row| {
        let seen = past.conversation(&UserId::parse(&row.contact.id).expect("an id")).expect("it is listed");
        assert_eq!(seen.row, row);
        json!({
            "contact": { "id": row.contact.id }, "blocked": row.blocked, "unreadCount": row.unread_count,
            "lastMessage": row.last_message.as_ref().map(message), "messages": seen.messages.iter().map(message).collect::<Vec<_>>(),
        })
    });
    let me = past.profile(&UserId::parse(&names()[user]).expect("an id")).expect("registered");
    json!({ "me": { "name": me.name, "contactable": me.contactable }, "rows": rows.collect::<Vec<_>>() })
}

fn without_actions(seen: &Value) -> Value {
    let mut rows = seen["rows"].clone();
    for row in rows.as_array_mut().expect("rows") {
        row.as_object_mut().expect("a row").remove("actions");
    }
    json!({ "me": seen["me"], "rows": rows })
}

#[test]
fn the_service_answers_as_the_model_after_every_step() {
    the_service_answers_as_the_model(Back::Sqlite, Back::Sqlite, 1, CASES);
}

#[test]
fn the_service_answers_as_the_model_with_its_views_in_postgresql() {
    the_service_answers_as_the_model(Back::Sqlite, Back::Postgres, 1, SLOW_CASES);
}

#[test]
fn the_service_answers_as_the_model_with_its_log_in_postgresql() {
    the_service_answers_as_the_model(Back::Postgres, Back::Sqlite, 1, SLOW_CASES);
}

#[test]
fn the_service_answers_as_the_model_with_all_in_postgresql() {
    the_service_answers_as_the_model(Back::Postgres, Back::Postgres, 1, SLOW_CASES);
}

#[test]
fn two_nodes_asked_in_turn_answer_as_the_model() {
    the_service_answers_as_the_model(Back::Postgres, Back::Postgres, 2, SLOW_CASES);
}

#[test]
fn two_nodes_with_views_of_their_own_asked_in_turn_answer_as_the_model() {
    the_service_answers_as_the_model(Back::Postgres, Back::Sqlite, 2, SLOW_CASES);
}

#[test]
fn the_service_answers_as_the_model_with_its_log_in_kurrentdb() {
    the_service_answers_as_the_model(Back::Kurrent, Back::Sqlite, 1, FEW_CASES);
}

#[test]
fn the_service_answers_as_the_model_with_its_log_in_kurrentdb_and_its_views_in_postgresql() {
    the_service_answers_as_the_model(Back::Kurrent, Back::Postgres, 1, FEW_CASES);
}

#[test]
fn two_nodes_on_kurrentdb_asked_in_turn_answer_as_the_model() {
    the_service_answers_as_the_model(Back::Kurrent, Back::Postgres, 2, FEW_CASES);
}

fn a_repeated_command_appends_nothing(log: Back, views: Back, nodes: usize, cases: u32) {
    run_cases(cases, &prop::collection::vec(command_or_erasure(), 1..40), |runtime, commands| {
        runtime.block_on(async {
            let world = World::at(log, views, nodes).await;
            let mut model = Model::new(&names());
            for (who, command) in commands {
                let _first = world.run(who, &command, &model).await;
                let head = world.head().await;
                let _second = world.run(who, &command, &model).await;
                prop_assert_eq!(world.head().await, head, "{} {:?}", who, command);
                let _kept_in_step = model.run(who, &command);
                let _second = model.run(who, &command);
            }
            Ok(())
        })
    });
}

#[test]
fn a_command_that_is_repeated_appends_nothing() {
    a_repeated_command_appends_nothing(Back::Sqlite, Back::Sqlite, 1, CASES);
}

#[test]
fn a_command_that_is_repeated_to_another_node_appends_nothing() {
    a_repeated_command_appends_nothing(Back::Postgres, Back::Postgres, 2, SLOW_CASES);
}

/// What grew step by step is what a rebuild makes, on whichever store.
fn rebuilt_equals_incremental(log: Back, views: Back, cases: u32) {
    run_cases(cases, &prop::collection::vec(command_or_erasure(), 1..80), |runtime, commands| {
        runtime.block_on(async {
            let world = World::at(log, views, 1).await;
            let mut model = Model::new(&names());
            for (who, command) in commands {
                let _whatever_the_answer = world.run(who, &command, &model).await;
                let _kept_in_step = model.run(who, &command);
            }
            let grown = world.nodes[0].rows().await;
            let rebuilt = sqlite(&world.place.folder().join("rebuilt.db"));
            rebuild(&world.nodes[0], &rebuilt).await;
            prop_assert_eq!(&grown, &dump(&rebuilt).await);
            Ok(())
        })
    });
}

#[test]
fn a1_rebuilt_equals_incremental_to_the_byte() {
    rebuilt_equals_incremental(Back::Sqlite, Back::Sqlite, CASES);
}

#[test]
fn a1_what_grew_in_postgresql_equals_what_is_rebuilt_in_a_file() {
    rebuilt_equals_incremental(Back::Postgres, Back::Postgres, SLOW_CASES);
}

#[test]
fn a1_what_grew_from_kurrentdb_equals_what_is_rebuilt_from_it() {
    rebuilt_equals_incremental(Back::Kurrent, Back::Postgres, FEW_CASES);
}

async fn rebuild(inside: &Inside, views: &StoreUrl) {
    let log = inside.app.log();
    let store = ReadStore::open(views, log.id()).await.expect("an empty store");
    catching_up::catch_up(log, &store, entrenous::cli::new_id()).await.expect("caught up");
}

/// What the blocked sender's open client is told until it is as new as the log, without cursors.
async fn told(inbox: &mut (impl Stream<Item = Value> + Unpin), marker: &str) -> Vec<Value> {
    let mut told = Vec::new();
    loop {
        let event = inbox.next().await.expect("a stream without end");
        if event["contact"]["name"] == marker {
            return told;
        }
        told.push(event);
    }
}

/// Alice (0) is blocked by Bob (1) in one world and not in the other; all else is the same.
#[test]
fn s4_the_blocked_sender_observes_what_they_would_without_the_block() {
    const ALICE: usize = 0;
    const BOB: usize = 1;
    run_cases(CASES, &prop::collection::vec(command(), 1..50), |runtime, commands| {
        runtime.block_on(async {
            let (with, without) = (World::new().await, World::new().await);
            let model = Model::new(&names());
            let mut inboxes = [Box::pin(with.node().inbox(&with.people[ALICE])), Box::pin(without.node().inbox(&without.people[ALICE]))];
            for inbox in &mut inboxes {
                prop_assert_eq!(&inbox.next().await.expect("an event")["__typename"], "CaughtUp");
            }
            // Bob begins by blocking Alice, in one world only.
            let mut steps = vec![(BOB, Command::Block { user: ALICE })];
            steps.extend(commands.into_iter().filter(|(_, command)| !matches!(command, Command::Read { up_to: Some(_), .. })));
            for (who, command) in steps {
                let is_bobs_block = who == BOB && matches!(command, Command::Block { user: ALICE } | Command::Unblock { user: ALICE });
                let in_with = with.run(who, &command, &model).await;
                if is_bobs_block {
                    continue;
                }
                // What Bob cannot do while he blocks, he does not do without the block either.
                if who == BOB && matches!(command, Command::Send { to: ALICE, .. }) && in_with.is_err() {
                    continue;
                }
                let in_without = without.run(who, &command, &model).await;
                if who == BOB && in_with != in_without && matches!(command, Command::Send { to: ALICE, .. }) {
                    // A conversation that Bob could reopen only because he had deleted it while blocking.
                    break;
                }
                if who == ALICE {
                    prop_assert_eq!(in_with, in_without, "{:?}", command);
                }
                prop_assert_eq!(with.seen_by(ALICE).await, without.seen_by(ALICE).await, "after {} {:?}", who, command);
            }
            let mut observed = Vec::new();
            for (world, inbox) in [&with, &without].into_iter().zip(&mut inboxes) {
                let marker = "the end of the story";
                world.run(ALICE, &Command::Rename(marker.to_owned()), &model).await.expect("renamed");
                observed.push(told(inbox, marker).await);
            }
            prop_assert_eq!(&observed[0], &observed[1]);
            Ok(())
        })
    });
}
