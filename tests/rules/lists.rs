//! The list and its rows (L), and how they are found.

use std::sync::Arc;

use serde_json::{Value, json};

use super::walk;
use crate::support::inside::{Back, Inside, Place};
use crate::support::{Server, code_of, nodes};

#[tokio::test]
async fn l1_a_row_shows_contact_date_text_badge_and_block() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    let payload = alice.send(&bob, "deux").await;
    let row = bob.row(&alice).await.expect("a row");
    assert_eq!(row["contact"], json!({ "id": "alice", "name": "alice" }));
    assert_eq!((&row["lastMessage"]["text"], &row["unreadCount"], &row["blocked"]), (&json!("deux"), &json!(2), &json!(false)));
    assert_eq!(row["lastMessageAt"], payload["message"]["sentAt"]);
    assert_eq!(row["id"], payload["conversation"]["id"]);
}

#[tokio::test]
async fn l2_the_oldest_first_the_blocked_last_in_both_orders() {
    let server = Server::start();
    let [me, a, b, c, d, last] = server.people(["me", "a", "b", "c", "d", "e"]).await;
    for contact in [&a, &b, &c, &d, &last] {
        contact.sent(&me, "salut").await;
    }
    a.sent(&me, "encore").await;
    me.block(&b).await;
    me.block(&d).await;
    assert_eq!(me.contacts().await, ["c", "e", "a", "b", "d"]);
    let newest = me.ask("{ conversations(order: NEWEST_FIRST) { edges { node { contact { id } } } totalCount unreadCount } }").await["conversations"].clone();
    let order: Vec<_> = nodes(&newest).iter().map(|node| node["contact"]["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(order, ["a", "e", "c", "d", "b"]);
    assert_eq!((&newest["totalCount"], &newest["unreadCount"]), (&json!(5), &json!(6)));
    for order in ["OLDEST_FIRST", "NEWEST_FIRST"] {
        let more = format!("order: {order},");
        let all = walk(&me, "conversations", &more, "first", "after", 50).await;
        for rows in 1..=4 {
            assert_eq!(walk(&me, "conversations", &more, "first", "after", rows).await, all, "{order} by {rows}");
            let mut pages = Vec::new();
            for page in walk(&me, "conversations", &more, "last", "before", rows).await.chunks(rows) {
                pages.splice(0..0, page.to_vec());
            }
            assert_eq!(pages, all, "{order} backwards by {rows}");
        }
    }
}

#[tokio::test]
async fn l2_a_row_that_moves_between_pages_hides_no_other() {
    let server = Server::start();
    let [me, contacts @ ..] = server.people(["me", "a", "b", "c", "d", "e"]).await;
    for contact in &contacts {
        contact.sent(&me, "salut").await;
    }
    let page = async |bounds: &str, cursor: &Value| {
        let query = format!("query($c: String) {{ conversations({bounds}: $c) {{ edges {{ cursor node {{ contact {{ id }} }} }} }} }}");
        let edges = me.ask_with(&query, json!({ "c": cursor })).await["conversations"]["edges"].take();
        let row = |edge: &Value| (edge["node"]["contact"]["id"].as_str().expect("an id").to_owned(), edge["cursor"].clone());
        edges.as_array().expect("edges").iter().map(row).unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (first, cursors) = page("first: 2, after", &Value::Null).await;
    assert_eq!(first, ["a", "b"]);
    contacts[1].sent(&me, "encore").await;
    assert_eq!(page("first: 2, after", &cursors[1]).await.0, ["c", "d"]);
    let (last, cursors) = page("last: 2, before", &Value::Null).await;
    assert_eq!(last, ["e", "b"]);
    me.delete(&contacts[4]).await;
    me.block(&contacts[0]).await;
    assert_eq!(page("last: 2, before", &cursors[0]).await.0, ["c", "d"]);
}

#[tokio::test]
async fn l3_the_badge_clears_up_to_a_message_and_tells_nobody() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    let second = alice.sent(&bob, "deux").await;
    bob.sent(&alice, "réponse").await;
    let third = alice.sent(&bob, "trois").await;
    assert_eq!(bob.badge(&alice).await, 3, "sending does not mark as read");
    let before = alice.list().await;
    let read = |id: &str| bob.mutate("markAsRead", json!({ "with": "alice", "upTo": id }), "conversation { unreadCount }");
    assert_eq!(read(&second).await["conversation"]["unreadCount"], 1);
    assert_eq!(read(&third).await["conversation"]["unreadCount"], 0);
    let events = server.events();
    assert_eq!(read(&second).await["conversation"]["unreadCount"], 0);
    bob.read(&alice).await;
    assert_eq!(server.events(), events);
    assert_eq!(alice.list().await, before, "reading is private");
    assert_eq!(code_of(&read("0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f").await), "MESSAGE_NOT_FOUND");
    assert_eq!(code_of(&read("what?").await), "MESSAGE_NOT_FOUND");
    // Messages of other conversations, the reader's own among them, are none of this one's.
    let [carol, dan] = server.people(["carol", "dan"]).await;
    let elsewhere = [carol.sent(&dan, "entre nous").await, carol.sent(&bob, "à toi").await];
    alice.sent(&bob, "quatre").await;
    let events = server.events();
    for id in elsewhere {
        assert_eq!(code_of(&read(&id).await), "MESSAGE_NOT_FOUND");
    }
    assert_eq!((bob.badge(&alice).await, server.events()), (1, events));
}

#[tokio::test]
async fn a_page_is_of_fifty_unless_asked_otherwise_and_within_both_bounds() {
    let server = Server::start();
    let [me, friend] = server.people(["me", "friend"]).await;
    for n in 0..58 {
        server.person(&format!("u{n:02}")).sent(&me, "salut").await;
        friend.sent(&me, &n.to_string()).await;
    }
    let page = async |field: &str, arguments: &str| {
        let arguments = if arguments.is_empty() { String::new() } else { format!("({arguments})") };
        let connection = format!("{field}{arguments} {{ edges {{ cursor node {{ id }} }} pageInfo {{ hasNextPage hasPreviousPage }} }}");
        if field == "messages" {
            me.ask(&format!("{{ conversation(with: \"friend\") {{ {connection} }} }}")).await["conversation"]["messages"].take()
        } else {
            me.ask(&format!("{{ {connection} }}")).await[field].take()
        }
    };
    let ids = |page: &Value| nodes(page).iter().map(|node| node["id"].clone()).collect::<Vec<_>>();
    for field in ["conversations", "users", "messages"] {
        let all = page(field, "first: 100").await;
        let cursor = |n: usize| all["edges"][n]["cursor"].as_str().expect("a cursor").to_owned();
        let expected = ids(&all);
        let plain = page(field, "").await;
        assert_eq!(ids(&plain), expected[..50], "{field}");
        assert_eq!(plain["pageInfo"], json!({ "hasNextPage": true, "hasPreviousPage": false }), "{field}");
        let (low, high) = (cursor(9), cursor(20));
        // What is left out is counted between the two places (Relay's specification, §4.4).
        for (arguments, wanted, has_previous, has_next) in [
            (format!("after: \"{low}\", before: \"{high}\""), 10..20, true, false),
            (format!("first: 3, after: \"{low}\", before: \"{high}\""), 10..13, true, true),
            (format!("last: 3, after: \"{low}\", before: \"{high}\""), 17..20, true, true),
            (format!("last: 5, after: \"{low}\""), expected.len() - 5..expected.len(), true, false),
            (format!("last: 50, after: \"{low}\""), 10..expected.len(), false, false),
            (format!("first: 5, before: \"{high}\""), 0..5, false, true),
            (format!("first: 20, before: \"{high}\""), 0..20, false, false),
            (format!("first: 9, after: \"{}\", before: \"{high}\"", cursor(19)), 20..20, true, false),
        ] {
            let page = page(field, &arguments).await;
            assert_eq!(ids(&page), expected[wanted], "{field}({arguments})");
            assert_eq!(page["pageInfo"], json!({ "hasNextPage": has_next, "hasPreviousPage": has_previous }), "{field}({arguments})");
        }
    }
}

#[tokio::test]
async fn l4_a_row_says_what_can_be_done() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let admin = server.admin();
    alice.sent(&bob, "salut").await;
    let actions = async || bob.row(&alice).await.expect("a row")["actions"].clone();
    assert_eq!(actions().await, json!(["BLOCK", "DELETE"]), "list 1 has no badge");
    for list in [2, 3] {
        admin.templates(list, 1).await;
        assert_eq!(actions().await, json!(["BLOCK", "MARK_AS_READ", "DELETE"]));
    }
    bob.block(&alice).await;
    assert_eq!(actions().await, json!(["UNBLOCK", "MARK_AS_READ", "DELETE"]));
    bob.read(&alice).await;
    assert_eq!(actions().await, json!(["UNBLOCK", "DELETE"]));
}

#[tokio::test]
async fn nodes_are_found_by_their_ids() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let message = alice.sent(&bob, "salut").await;
    let conversation = bob.row(&alice).await.expect("a row")["id"].as_str().expect("an id").to_owned();
    let node = async |id: &str| bob.ask_with("query($id: ID!) { node(id: $id) { __typename id } }", json!({ "id": id })).await["node"].clone();
    assert_eq!(node(&message).await, json!({ "__typename": "Message", "id": message }));
    assert_eq!(node(&conversation).await, json!({ "__typename": "Conversation", "id": conversation }));
    assert_eq!(node("alice").await, json!({ "__typename": "User", "id": "alice" }));
    for nothing in ["", "nobody", "conversation/", "conversation/x", "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f", "é"] {
        assert_eq!(node(nothing).await, Value::Null, "{nothing:?}");
    }
    let [carol] = server.people(["carol"]).await;
    for private in [message, conversation] {
        assert_eq!(carol.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": private })).await["node"], Value::Null);
    }
}

/// What rows say at once, and what their resolvers say when something beside has to be waited for.
#[tokio::test]
async fn every_field_of_a_row_is_the_same_whether_it_is_waited_for_or_not() {
    const USER: &str = "__typename id name avatarUrl contactable erased canMessage blocked";
    let message = |in_sender: &str| format!("__typename id text sentAt mine sender {{ id name conversation {{ id {in_sender} }} }}");
    let server = Server::start();
    let [alice, bob, carol, dave] = server.people(["alice", "bob", "carol", "dave"]).await;
    for contact in [&bob, &carol, &dave] {
        contact.sent(&alice, "salut").await;
        alice.sent(contact, "bonjour").await;
        contact.sent(&alice, "ça va ?").await;
    }
    alice.sent(&dave, "et toi ?").await;
    alice.block(&carol).await;
    alice.read(&dave).await;
    bob.contactable(false).await;
    let row = |more: &str| {
        let message = message("");
        format!(
            "__typename id blocked unreadCount lastMessageAt actions contact {{ {USER} conversation {{ id unreadCount }} }}
             lastMessage {{ {message} }} {more}"
        )
    };
    let everything = |more: &str, in_user: &str| {
        format!(
            "{{ conversations(first: 9) {{ edges {{ __typename cursor node {{ {} }} }} }}
                users(first: 9) {{ edges {{ cursor node {{ {USER} conversation {{ id blocked {in_user} }} }} }} }}
                conversation(with: \"bob\") {{ messages(last: 9) {{ edges {{ cursor node {{ {} }} }} }} }} }}",
            row(more),
            message(in_user)
        )
    };
    let page = "messages(first: 1) { edges { node { sender { id } } } }";
    let at_once = alice.ask(&everything("", "")).await;
    let mut waited_for = alice.ask(&everything(page, page)).await;
    assert_eq!(at_once["conversations"]["edges"].as_array().map(Vec::len), Some(3));
    assert_eq!(at_once["users"]["edges"].as_array().map(Vec::len), Some(3));
    for edge in waited_for["conversations"]["edges"].as_array_mut().expect("edges") {
        assert!(edge["node"].as_object_mut().expect("a row").remove("messages").is_some());
    }
    for edge in waited_for["users"]["edges"].as_array_mut().expect("edges") {
        assert!(edge["node"]["conversation"].as_object_mut().expect("a row").remove("messages").is_some());
    }
    for edge in waited_for["conversation"]["messages"]["edges"].as_array_mut().expect("edges") {
        if let Some(conversation) = edge["node"]["sender"]["conversation"].as_object_mut() {
            assert!(conversation.remove("messages").is_some());
        }
    }
    assert_eq!(at_once, waited_for);
}

/// Who is blocked in between two looks stands among those that are not, and among those that are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_a_page_shows_everybody_once_while_somebody_is_blocked() {
    for back in [Back::Sqlite, Back::Postgres] {
        let inside = Arc::new(Inside::at(&Arc::new(Place::new(back, back).await)).await);
        let me = inside.sign_in("me").await;
        for contact in ["a", "b", "c"] {
            let contact = inside.sign_in(contact).await;
            inside.mutate(&contact, "sendMessage", json!({ "to": "me", "text": "salut" }), "message { id }").await;
        }
        let blocking = {
            let (inside, me) = (Arc::clone(&inside), me.clone());
            tokio::spawn(async move {
                for _ in 0..100 {
                    for command in ["blockUser", "unblockUser"] {
                        inside.mutate(&me, command, json!({ "userId": "b" }), "__typename").await;
                    }
                }
            })
        };
        while !blocking.is_finished() {
            for order in ["OLDEST_FIRST", "NEWEST_FIRST"] {
                let query = format!("{{ conversations(first: 9, order: {order}) {{ edges {{ node {{ contact {{ id }} }} }} }} }}");
                let list = inside.ask(&me, &query, json!({})).await["conversations"].take();
                let mut seen: Vec<_> = nodes(&list).iter().map(|row| row["contact"]["id"].to_string()).collect();
                seen.sort_unstable();
                assert_eq!(seen, ["\"a\"", "\"b\"", "\"c\""], "{back:?}, {order}");
            }
        }
        blocking.await.expect("blocked and unblocked");
    }
}
