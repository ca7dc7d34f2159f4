//! The WebSocket transport and what open clients are told.

use serde_json::{Value, json};

use crate::support::socket::{Closed, Socket};
use crate::support::waiting::until;
use crate::support::{Person, Server, now, sign};

const WS: Option<&str> = Some("graphql-transport-ws");

async fn pair(server: &Server) -> [Person; 2] {
    server.people(["alice", "bob"]).await
}

/// An event's type and what matters of it.
fn brief(event: &Value) -> String {
    let kind = event["__typename"].as_str().expect("a type");
    let detail = match kind {
        "MessageAdded" => &event["message"]["text"],
        "ConversationChanged" => &event["conversation"]["unreadCount"],
        "ConversationRemoved" | "ContactChanged" => &event["contact"]["id"],
        "ChatSectionChanged" => &event["chatSection"]["listTemplate"]["number"],
        _ => &Value::Null,
    };
    format!("{kind} {detail}").replace('"', "")
}

#[tokio::test]
async fn each_fault_of_the_protocol_has_its_close_code() {
    let server = Server::start();
    let [alice, _] = pair(&server).await;
    let init = json!({ "type": "connection_init", "payload": { "token": alice.token } });
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": { "query": "subscription { inbox { __typename } }" } });
    let close_after = async |protocol, messages: &[&str]| {
        let mut socket = Socket::open(&server, protocol).await;
        for message in messages {
            socket.say_text(message).await;
        }
        socket.closed().await
    };
    let (init, subscribe) = (init.to_string(), subscribe.to_string());
    assert_eq!(close_after(None, &[]).await, Closed(4406));
    assert_eq!(close_after(WS, &["not json"]).await, Closed(4400));
    assert_eq!(close_after(WS, &[r#"{"type":"unheard"}"#]).await, Closed(4400));
    assert_eq!(close_after(WS, &[&init, r#"{"type":"subscribe","payload":{"query":"{me{id}}"}}"#]).await, Closed(4400));
    assert_eq!(close_after(WS, &[&init, r#"{"id":"","type":"subscribe","payload":{"query":"{me{id}}"}}"#]).await, Closed(4400));
    assert_eq!(close_after(WS, &[&init, r#"{"id":"1","type":"subscribe","payload":{"variables":{}}}"#]).await, Closed(4400));
    assert_eq!(close_after(WS, &[&init, r#"{"id":"1","type":"subscribe","payload":{"query":"{me{id}}","variables":[]}}"#]).await, Closed(4400));
    assert_eq!(close_after(WS, &[r#"{"type":"connection_init","payload":"x"}"#]).await, Closed(4400));
    assert_eq!(close_after(WS, &[&subscribe]).await, Closed(4401));
    for payload in [json!(null), json!({}), json!({ "authorization": "Bearer no" }), json!({ "token": 7 })] {
        let message = json!({ "type": "connection_init", "payload": payload }).to_string();
        assert_eq!(close_after(WS, &[&message]).await, Closed(4403), "{message}");
    }
    assert_eq!(close_after(WS, &[&init, &subscribe, &subscribe]).await, Closed(4409));
    assert_eq!(close_after(WS, &[&init, &init]).await, Closed(4429));
    assert_eq!(close_after(WS, &[]).await, Closed(4408));
    assert_eq!(server.events(), 2);
}

#[tokio::test]
async fn a_socket_takes_queries_mutations_pings_and_completes() {
    let server = Server::start();
    let [alice, _] = pair(&server).await;
    for name in ["authorization", "Authorization", "token"] {
        let mut socket = Socket::open(&server, WS).await;
        socket.say(&json!({ "type": "connection_init", "payload": { name: alice.token } })).await;
        assert_eq!(socket.hear().await, Ok(json!({ "type": "connection_ack" })));
        socket.say(&json!({ "type": "ping" })).await;
        assert_eq!(socket.hear().await, Ok(json!({ "type": "pong" })));
        socket.say(&json!({ "type": "ping", "payload": { "n": 1 } })).await;
        assert_eq!(socket.hear().await, Ok(json!({ "type": "pong", "payload": { "n": 1 } })));
        socket.say(&json!({ "type": "pong" })).await;
        socket.subscribe("q", "query($id: ID!) { user(id: $id) { name } }", json!({ "id": "bob" })).await;
        assert_eq!(socket.hear().await, Ok(json!({ "id": "q", "type": "next", "payload": { "data": { "user": { "name": "bob" } } } })));
        assert_eq!(socket.hear().await, Ok(json!({ "id": "q", "type": "complete" })));
        socket.subscribe("q", "mutation { toggleContactable(input: { contactable: true }) { user { contactable } } }", json!({})).await;
        assert_eq!(socket.hear().await.expect("an answer")["payload"]["data"]["toggleContactable"]["user"]["contactable"], true);
        assert_eq!(socket.hear().await, Ok(json!({ "id": "q", "type": "complete" })));
        for wrong in ["{", "{ nope }"] {
            socket.subscribe("e", wrong, json!({})).await;
            let error = socket.hear().await.expect("an error");
            assert_eq!((&error["id"], &error["type"]), (&json!("e"), &json!("error")));
            assert!(error["payload"][0]["extensions"]["code"].as_str().is_some_and(|code| code.starts_with("GRAPHQL_")));
        }
        // An id is free again once its operation is complete, by either side.
        socket.subscribe_inbox(None).await;
        assert_eq!(socket.event().await["__typename"], "CaughtUp");
        socket.say(&json!({ "id": "inbox", "type": "complete" })).await;
        socket.subscribe_inbox(None).await;
        assert_eq!(socket.event().await["__typename"], "CaughtUp");
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let server = Server::start();
    let brief_token = sign(&server.secret(), &json!({ "sub": "alice", "exp": now() + 2 }));
    let mut socket = Socket::signed_in(&server, &Person::new("alice", brief_token, &server.url)).await;
    socket.subscribe_inbox(None).await;
    assert_eq!(socket.event().await["__typename"], "CaughtUp");
    assert_eq!(socket.closed().await, Closed(4403));
}

#[tokio::test]
async fn a_stopping_service_closes_sockets_as_going_away_and_loses_nothing() {
    let mut server = Server::start();
    let [alice, bob] = pair(&server).await;
    let mut inbox = Socket::inbox(&server, &bob).await;
    let id = alice.sent(&bob, "avant la fin").await;
    assert_eq!(inbox.event().await["message"]["id"], id.as_str());
    server.signal("TERM");
    assert_eq!(inbox.closed().await, Closed(1001));
    assert!(server.wait().success(), "{}", server.log());
    let server = server.again();
    assert_eq!(server.person("bob").history(&server.person("alice")).await, Some(vec!["avant la fin".to_owned()]));
}

#[tokio::test]
async fn open_clients_are_told_what_concerns_them_on_every_device() {
    let server = Server::start();
    let [alice, bob] = pair(&server).await;
    let admin = server.admin();
    admin.ask("{ me { id } }").await;
    let mut devices = [Socket::inbox(&server, &bob).await, Socket::inbox(&server, &bob).await];
    alice.sent(&bob, "un").await;
    bob.sent(&alice, "deux").await;
    bob.read(&alice).await;
    alice.read(&bob).await;
    admin.templates(2, 1).await;
    alice.contactable(false).await;
    bob.contactable(false).await;
    bob.delete(&alice).await;
    bob.block(&admin).await;
    alice.sent(&bob, "trois").await;
    let expected = [
        "MessageAdded un",
        "MessageAdded deux",
        "ConversationChanged 0",
        "ChatSectionChanged 2",
        "ContactChanged alice",
        "ContactChanged bob",
        "ConversationRemoved alice",
        "ContactChanged admin",
        "MessageAdded trois",
    ];
    for device in &mut devices {
        for event in expected {
            assert_eq!(brief(&device.event().await), event);
        }
    }
}

#[tokio::test]
async fn s4_a_withheld_message_makes_no_event_until_the_unblock_makes_one() {
    let server = Server::start();
    let [alice, bob] = pair(&server).await;
    let mut sender = Socket::inbox(&server, &alice).await;
    let mut blocker = Socket::inbox(&server, &bob).await;
    alice.sent(&bob, "avant").await;
    bob.block(&alice).await;
    alice.sent(&bob, "pendant").await;
    // What is told shows the row as it is then: each is read before more happens.
    for event in ["MessageAdded avant", "ConversationChanged 1"] {
        assert_eq!(brief(&blocker.event().await), event);
    }
    bob.unblock(&alice).await;
    let revealed = blocker.event().await;
    assert_eq!(brief(&revealed), "ConversationChanged 2", "B3: by one event");
    assert_eq!(revealed["conversation"]["messages"]["edges"][1]["node"]["text"], "pendant");
    alice.sent(&bob, "après").await;
    assert_eq!(brief(&blocker.event().await), "MessageAdded après");
    for event in ["MessageAdded avant", "MessageAdded pendant", "MessageAdded après"] {
        assert_eq!(brief(&sender.event().await), event);
    }
}

#[tokio::test]
async fn who_comes_back_is_told_what_was_missed_and_nothing_twice() {
    let server = Server::start();
    let [alice, bob] = pair(&server).await;
    let mut inbox = Socket::inbox(&server, &bob).await;
    alice.sent(&bob, "un").await;
    let cursor = inbox.event().await["cursor"].as_str().expect("a cursor").to_owned();
    drop(inbox);
    alice.sent(&bob, "deux").await;
    bob.block(&alice).await;
    alice.sent(&bob, "trois").await;
    let mut back = Socket::signed_in(&server, &bob).await;
    back.subscribe_inbox(Some(&cursor)).await;
    let mut last = Value::Null;
    for event in ["MessageAdded deux", "ConversationChanged 2", "CaughtUp null"] {
        last = back.event().await;
        assert_eq!(brief(&last), event);
    }
    bob.unblock(&alice).await;
    bob.delete(&alice).await;
    let server = server.again();
    let [alice, bob] = pair(&server).await;
    let mut back = Socket::signed_in(&server, &bob).await;
    back.subscribe_inbox(last["cursor"].as_str()).await;
    for event in ["ConversationRemoved alice", "CaughtUp null"] {
        assert_eq!(brief(&back.event().await), event);
    }
    alice.sent(&bob, "quatre").await;
    assert_eq!(brief(&back.event().await), "MessageAdded quatre");
}

#[tokio::test]
async fn a_conversation_that_went_and_came_back_meanwhile_is_told_as_gone_first() {
    let server = Server::start();
    let [alice, bob] = pair(&server).await;
    alice.sent(&bob, "un").await;
    let cursor = Socket::inbox_cursor(&server, &bob).await;
    alice.sent(&bob, "deux").await;
    bob.delete(&alice).await;
    alice.sent(&bob, "trois").await;
    let mut back = Socket::signed_in(&server, &bob).await;
    back.subscribe_inbox(Some(&cursor)).await;
    // Whoever keeps the old history throws it away, and asks for all of it when it comes back.
    for event in ["MessageAdded deux", "ConversationRemoved alice", "MessageAdded trois", "CaughtUp null"] {
        assert_eq!(brief(&back.event().await), event);
    }
}

#[tokio::test]
async fn what_surfaced_while_nobody_listened_is_one_change() {
    let server = Server::start_with(&["--resume-limit", "20"]);
    let [alice, bob] = pair(&server).await;
    alice.sent(&bob, "un").await;
    let cursor = Socket::inbox_cursor(&server, &bob).await;
    alice.sent(&bob, "deux").await;
    bob.block(&alice).await;
    for n in 0..40 {
        alice.sent(&bob, &n.to_string()).await;
    }
    bob.unblock(&alice).await;
    alice.sent(&bob, "trois").await;
    let mut back = Socket::signed_in(&server, &bob).await;
    back.subscribe_inbox(Some(&cursor)).await;
    for event in ["MessageAdded deux", "ConversationChanged 43", "MessageAdded trois", "CaughtUp null"] {
        assert_eq!(brief(&back.event().await), event);
    }
    // And again and again.
    for n in 0..3 {
        bob.block(&alice).await;
        alice.sent(&bob, &format!("caché {n}")).await;
        bob.unblock(&alice).await;
        for told_of in ["the block", "the unblock"] {
            assert_eq!(back.event().await["__typename"], "ConversationChanged", "{told_of} {n}");
        }
        alice.sent(&bob, &format!("montré {n}")).await;
        assert_eq!(brief(&back.event().await), format!("MessageAdded montré {n}"));
    }
    let mut back = Socket::signed_in(&server, &bob).await;
    back.subscribe_inbox(Some(&cursor)).await;
    for event in [
        "MessageAdded deux",
        "MessageAdded trois",
        "MessageAdded montré 0",
        "MessageAdded montré 1",
        "ConversationChanged 49",
        "MessageAdded montré 2",
        "CaughtUp null",
    ] {
        assert_eq!(brief(&back.event().await), event);
    }
}

#[tokio::test]
async fn what_one_did_on_another_device_is_told_on_return() {
    let server = Server::start();
    let [alice, bob, carol] = server.people(["alice", "bob", "carol"]).await;
    alice.sent(&bob, "un").await;
    let cursor = Socket::inbox_cursor(&server, &bob).await;
    bob.mutate("updateProfile", json!({ "name": "Robert" }), "user { id }").await;
    bob.block(&carol).await;
    let back = async || {
        let mut back = Socket::signed_in(&server, &bob).await;
        back.subscribe_inbox(Some(&cursor)).await;
        let mut told = Vec::new();
        loop {
            let event = back.event().await;
            if event["__typename"] == "CaughtUp" {
                return told;
            }
            told.push(brief(&event));
        }
    };
    assert_eq!(back().await, ["ContactChanged bob", "ContactChanged carol"], "a profile, and a block without a row");
    let admin = server.admin();
    admin.mutate("eraseUser", json!({ "userId": "alice" }), "user { id }").await;
    assert_eq!(back().await, ["ContactChanged bob", "ContactChanged carol", "ConversationChanged 1"], "what alice wrote is another text");
    alice.mutate("updateProfile", json!({ "name": "Alix" }), "user { id }").await;
    assert_eq!(back().await, ["ContactChanged bob", "ContactChanged carol", "ConversationChanged 1", "ContactChanged alice"]);
}

#[tokio::test]
async fn open_clients_are_told_of_an_erasure() {
    let server = Server::start();
    let [alice, bob, carol] = server.people(["alice", "bob", "carol"]).await;
    alice.sent(&bob, "un").await;
    let cursor = Socket::inbox_cursor(&server, &alice).await;
    let mut inboxes = Vec::new();
    for person in [&alice, &bob, &carol] {
        inboxes.push(Socket::inbox(&server, person).await);
    }
    server.admin().mutate("eraseUser", json!({ "userId": "alice" }), "user { id }").await;
    carol.sent(&bob, "deux").await;
    let mut told = Vec::new();
    for inbox in &mut inboxes {
        told.push(brief(&inbox.event().await));
    }
    assert_eq!(told, ["ResetRequired null", "ConversationChanged 1", "MessageAdded deux"]);
    assert_eq!(brief(&inboxes[0].event().await), "CaughtUp null");
    // Also a device that was away, and whose user has come back from another since.
    alice.mutate("updateProfile", json!({ "name": "Alix" }), "user { id }").await;
    let mut away = Socket::signed_in(&server, &alice).await;
    away.subscribe_inbox(Some(&cursor)).await;
    assert_eq!(brief(&away.event().await), "ResetRequired null");
}

#[tokio::test]
async fn b6_cursors_do_not_tell_whether_anything_happened() {
    let server = Server::start();
    let [alice, bob] = pair(&server).await;
    let quiet = [Socket::inbox_cursor(&server, &alice).await, Socket::inbox_cursor(&server, &alice).await];
    bob.block(&alice).await;
    let blocked = Socket::inbox_cursor(&server, &alice).await;
    assert!(quiet[0] != quiet[1] && quiet[1] != blocked && quiet[0] != blocked);
    for cursor in [&quiet[0], &quiet[1], &blocked] {
        let mut back = Socket::signed_in(&server, &alice).await;
        back.subscribe_inbox(Some(cursor)).await;
        assert_eq!(brief(&back.event().await), "CaughtUp null");
    }
}

#[tokio::test]
async fn one_socket_has_so_many_operations_at_once() {
    let server = Server::start();
    let [alice, _] = pair(&server).await;
    let mut socket = Socket::signed_in(&server, &alice).await;
    for n in 0..101 {
        socket.subscribe(&n.to_string(), "subscription { inbox { ... on CaughtUp { cursor } } }", json!({})).await;
    }
    let (mut caught_up, mut refused) = (0, 0);
    while caught_up + refused < 101 {
        let message = socket.hear().await.expect("an answer");
        match message["type"].as_str() {
            Some("next") => caught_up += 1,
            Some("error") if message["payload"][0]["extensions"]["code"] == "RATE_LIMITED" => refused += 1,
            _ => panic!("{message}"),
        }
    }
    assert_eq!((caught_up, refused), (100, 1));
}

#[tokio::test]
async fn a_cursor_too_old_or_not_valid_asks_for_a_reset() {
    let server = Server::start_with(&["--resume-limit", "5"]);
    let [alice, bob] = pair(&server).await;
    let mut inbox = Socket::signed_in(&server, &bob).await;
    inbox.subscribe_inbox(None).await;
    let start = inbox.event().await["cursor"].as_str().expect("a cursor").to_owned();
    for n in 0..6 {
        alice.sent(&bob, &n.to_string()).await;
    }
    let of_alice = Socket::inbox_cursor(&server, &alice).await;
    for cursor in [start.as_str(), "garbage", "", of_alice.as_str()] {
        let mut back = Socket::signed_in(&server, &bob).await;
        back.subscribe_inbox(Some(cursor)).await;
        assert_eq!(brief(&back.event().await), "ResetRequired null", "{cursor}");
        let caught_up = back.event().await;
        assert_eq!(brief(&caught_up), "CaughtUp null");
        alice.sent(&bob, "encore").await;
        assert_eq!(brief(&back.event().await), "MessageAdded encore", "live from there");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_skipped_over() {
    let server = Server::start_with(&["--resume-limit", "5000"]);
    let [alice, bob] = pair(&server).await;
    let mut inbox = Socket::inbox(&server, &bob).await;
    let texts: Vec<String> = (0..1_500).map(|n| format!("{n} {}", "x".repeat(1_900))).collect();
    for chunk in texts.chunks(50) {
        for text in chunk {
            alice.sent(&bob, text).await;
        }
    }
    for text in &texts {
        assert_eq!(inbox.event().await["message"]["text"], text.as_str());
    }
}

/// Like a telephone that went into a tunnel: the connection stands, and nobody is there.
#[tokio::test]
async fn a_client_that_is_there_no_more_is_let_go_and_its_messages_wait() {
    let server = Server::start();
    let [alice, bob] = pair(&server).await;
    let mut inbox = Socket::inbox(&server, &bob).await;
    let cursor = {
        alice.sent(&bob, "avant").await;
        inbox.event().await["cursor"].as_str().expect("a cursor").to_owned()
    };
    let gone = inbox.silent();
    alice.sent(&bob, "pendant").await;
    gone.await;
    until("it is let go", async || server.metric("entrenous_sockets").await < 0.5).await;
    let mut back = Socket::signed_in(&server, &bob).await;
    back.subscribe_inbox(Some(&cursor)).await;
    assert_eq!(brief(&back.event().await), "MessageAdded pendant");
}
