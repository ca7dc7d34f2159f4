//! What an open client folds of its inbox is what the queries answer, however often it is cut off.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::support::socket::Socket;
use crate::support::{Person, Server, nodes};

/// How often sockets are cut, over all devices and rounds.
const CUTS: usize = 200;
const DEVICES: usize = 2;
/// After each, the service ends in one way or another.
const ROUNDS: usize = 4;
/// The most events that a device hears before it is cut.
const EVENTS: usize = 12;
const CONTACTS: [&str; 3] = ["alice", "carol", "dan"];

/// A conversation as a client keeps it: its messages by when they were sent, which is their order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    messages: BTreeMap<String, String>,
    unread: i64,
    blocked: bool,
}

/// One device of a person: a store, the cursor it has reached, and what it was told.
struct Device {
    conversations: BTreeMap<String, Kept>,
    cursor: Option<String>,
    added: HashSet<String>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// The whole of one conversation, as the queries answer; none where there is none.
async fn asked(person: &Person, contact: &str) -> Option<Option<Kept>> {
    let (mut kept, mut after) = (Kept::default(), Value::Null);
    loop {
        let query = "query($with: ID!, $after: String) { conversation(with: $with) { unreadCount blocked
            messages(first: 100, after: $after) { edges { node { id sentAt } } pageInfo { hasNextPage endCursor } } } }";
        let reply = person.try_request(query, json!({ "with": contact, "after": after })).await?;
        let conversation = &reply.body["data"]["conversation"];
        if conversation.is_null() {
            return Some(None);
        }
        (kept.unread, kept.blocked) = (conversation["unreadCount"].as_i64()?, conversation["blocked"].as_bool()?);
        kept.messages.extend(nodes(&conversation["messages"]).iter().map(|node| (text(&node["sentAt"]), text(&node["id"]))));
        if conversation["messages"]["pageInfo"]["hasNextPage"] == false {
            return Some(Some(kept));
        }
        after = conversation["messages"]["pageInfo"]["endCursor"].clone();
    }
}

async fn all_asked(person: &Person) -> BTreeMap<String, Kept> {
    let mut all = BTreeMap::new();
    for contact in CONTACTS {
        if let Some(kept) = asked(person, contact).await.expect("an answer") {
            all.insert(contact.to_owned(), kept);
        }
    }
    all
}

/// Where what is kept is not what is answered, in a line each.
fn differences(kept: &BTreeMap<String, Kept>, answered: &BTreeMap<String, Kept>) -> Vec<String> {
    let mut found = Vec::new();
    for contact in CONTACTS {
        let (ours, theirs) = (kept.get(contact), answered.get(contact));
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            if ours != theirs {
                found.push(format!("{contact}: kept {}, answered {}", ours.is_some(), theirs.is_some()));
            }
            continue;
        };
        let missing: Vec<_> = theirs.messages.iter().filter(|(at, _)| !ours.messages.contains_key(*at)).collect();
        let extra: Vec<_> = ours.messages.iter().filter(|(at, _)| !theirs.messages.contains_key(*at)).collect();
        if ours != theirs {
            let of = |kept: &Kept| (kept.messages.len(), kept.unread, kept.blocked);
            found.push(format!("{contact}: kept {:?}, answered {:?}, missing {missing:?}, extra {extra:?}", of(ours), of(theirs)));
        }
    }
    found
}

impl Device {
    /// Begins like an application: subscribes, and asks for everything once that is live.
    async fn new(person: &Person) -> Self {
        let mut socket = Socket::try_sign_in(person, HeaderMap::new()).await.expect("a socket");
        socket.subscribe_inbox(None).await;
        let caught_up = socket.event().await;
        Self { conversations: all_asked(person).await, cursor: Some(text(&caught_up["cursor"])), added: HashSet::new() }
    }

    /// Folds one event. False where what it needs could not be asked: then it was not heard.
    async fn fold(&mut self, person: &Person, event: &Value) -> bool {
        let contact = || text(&event["conversation"]["contact"]["id"]);
        let mut history_of = None;
        match event["__typename"].as_str().expect("a type") {
            "MessageAdded" => {
                let message = &event["message"];
                assert!(self.added.insert(text(&message["id"])), "told twice: {event}");
                match self.conversations.get_mut(&contact()) {
                    Some(kept) => {
                        kept.messages.insert(text(&message["sentAt"]), text(&message["id"]));
                        kept.unread = event["conversation"]["unreadCount"].as_i64().expect("a count");
                        kept.blocked = event["conversation"]["blocked"] == true;
                    }
                    // A conversation that was not there has a history.
                    None => history_of = Some(contact()),
                }
            }
            "ConversationChanged" => history_of = Some(contact()),
            "ConversationRemoved" => {
                self.conversations.remove(&text(&event["contact"]["id"]));
            }
            "ContactChanged" | "ChatSectionChanged" | "CaughtUp" => {}
            other => panic!("{other}: nobody misses so much here"),
        }
        if let Some(contact) = history_of {
            match asked(person, &contact).await {
                Some(Some(kept)) => drop(self.conversations.insert(contact, kept)),
                Some(None) => drop(self.conversations.remove(&contact)),
                None => {
                    self.added.remove(event["message"]["id"].as_str().unwrap_or_default());
                    return false;
                }
            }
        }
        self.cursor = Some(text(&event["cursor"]));
        true
    }

    /// Comes back and hears so many events, each of which lets the others do something; then it is cut.
    async fn follow(&mut self, person: &Person, events: usize, doings: &Semaphore) {
        let Some(mut socket) = Socket::try_sign_in(person, HeaderMap::new()).await else { return };
        socket.subscribe_inbox(self.cursor.as_deref()).await;
        // What others do need not concern this person: while nothing comes, they do more.
        let mut impatience = interval(Duration::from_millis(20));
        let mut heard = 0;
        while heard < events {
            let event = tokio::select! {
                event = socket.try_event() => event,
                _ = impatience.tick() => {
                    doings.add_permits(1);
                    continue;
                }
            };
            let Ok(event) = event else { return };
            doings.add_permits(1);
            heard += 1;
            if !self.fold(person, &event).await {
                return;
            }
        }
    }

    /// Comes back and hears everything that there is.
    async fn catch_up(&mut self, person: &Person) {
        let mut socket = Socket::try_sign_in(person, HeaderMap::new()).await.expect("a socket");
        socket.subscribe_inbox(self.cursor.as_deref()).await;
        loop {
            let event = socket.event().await;
            assert!(self.fold(person, &event).await);
            if event["__typename"] == "CaughtUp" {
                return;
            }
        }
    }
}

fn fork(chance: &mut TestRng) -> TestRng {
    let mut seed = [0; 32];
    chance.fill_bytes(&mut seed);
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
}

/// One thing that somebody does: mostly a message, now and then something else.
async fn do_something(contact: &Person, bob: &Person, chance: u32) -> Option<()> {
    let run = async |person: &Person, mutation: &str| person.try_request(&format!("mutation {{ {mutation} {{ userErrors {{ code }} }} }}"), json!({})).await;
    let (to, from) = (&bob.id, &contact.id);
    match chance % 20 {
        0..12 => run(contact, &format!("sendMessage(input: {{ to: \"{to}\", text: \"pour bob\" }})")).await,
        12..15 => run(bob, &format!("sendMessage(input: {{ to: \"{from}\", text: \"de bob\" }})")).await,
        15 => run(bob, &format!("markAsRead(input: {{ with: \"{from}\" }})")).await,
        16 => run(bob, &format!("blockUser(input: {{ userId: \"{from}\" }})")).await,
        17 => run(bob, &format!("unblockUser(input: {{ userId: \"{from}\" }})")).await,
        18 => run(bob, &format!("deleteConversation(input: {{ with: \"{from}\" }})")).await,
        _ => run(bob, &format!("openConversation(input: {{ with: \"{from}\" }})")).await,
    }?;
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_200_times_over_restarts_and_a_rebuild_a_client_knows_what_the_queries_answer() {
    let seed: [u8; 32] = std::env::var("RESUME_SEED").ok().and_then(|seed| seed.parse::<u8>().ok()).map_or([7; 32], |seed| [seed; 32]);
    let mut chance = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut server = Server::start();
    let person = server.person("bob");
    person.ask("{ me { id } }").await;
    server.people(CONTACTS).await;
    let mut devices = Vec::new();
    for _ in 0..DEVICES {
        devices.push(Device::new(&person).await);
    }
    for round in 0..ROUNDS {
        let (bob, contacts) = (server.person("bob"), CONTACTS.map(|id| server.person(id)));
        let (doings, over) = (Arc::new(Semaphore::new(EVENTS)), Arc::new(AtomicBool::new(false)));
        let mut busy = JoinSet::new();
        for contact in contacts {
            let (bob, doings, over, mut chance) = (bob.clone(), Arc::clone(&doings), Arc::clone(&over), fork(&mut chance));
            busy.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    doings.acquire().await.expect("open").forget();
                    // Where the service is away, the next round goes on.
                    if do_something(&contact, &bob, chance.next_u32()).await.is_none() {
                        return;
                    }
                }
            });
        }
        let mut following = JoinSet::new();
        for mut device in devices.drain(..) {
            let (bob, doings) = (bob.clone(), Arc::clone(&doings));
            let cuts: Vec<usize> = (0..CUTS / DEVICES / ROUNDS).map(|_| chance.next_u32() as usize % (EVENTS + 1)).collect();
            following.spawn(async move {
                for events in cuts {
                    device.follow(&bob, events, &doings).await;
                }
                device
            });
        }
        // The service goes away while one device is done and others may still hear.
        devices.push(following.join_next().await.expect("a device").expect("no panic"));
        match round {
            0 => server.kill(),
            1 => server.signal("TERM"),
            _ => {}
        }
        while let Some(device) = following.join_next().await {
            devices.push(device.expect("no panic"));
        }
        over.store(true, Ordering::Relaxed);
        doings.add_permits(CONTACTS.len());
        while let Some(done) = busy.join_next().await {
            done.expect("no panic");
        }
        server.kill();
        if round == 2 {
            for file in ["views.db", "views.db-wal", "views.db-shm"] {
                let _may_be_gone = std::fs::remove_file(server.file(file));
            }
        }
        server = server.again();
        let bob = server.person("bob");
        let answered = all_asked(&bob).await;
        for device in &mut devices {
            device.catch_up(&bob).await;
            assert_eq!(differences(&device.conversations, &answered), Vec::<String>::new(), "round {round}, seed {seed:?}");
        }
    }
    let told: usize = devices.iter().map(|device| device.added.len()).sum();
    assert!(told > CUTS, "there was a load: {told}");
}
