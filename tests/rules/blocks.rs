//! Blocks and deletions (B, D).

use serde_json::{Value, json};

use crate::support::{Server, code_of, nodes};

#[tokio::test]
async fn b2_b3_a_block_withholds_and_an_unblock_reveals() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "avant").await;
    let before = bob.row(&alice).await.expect("a row");
    bob.block(&alice).await;
    alice.sent(&bob, "pendant 1").await;
    let withheld = alice.sent(&bob, "pendant 2").await;
    let during = bob.row(&alice).await.expect("B2: the greyed row");
    assert_eq!((&during["blocked"], &during["lastMessageAt"], &during["lastMessage"]), (&json!(true), &before["lastMessageAt"], &before["lastMessage"]));
    assert_eq!(bob.history(&alice).await, Some(vec!["avant".to_owned()]));
    assert_eq!(alice.history(&bob).await.map(|history| history.len()), Some(3));
    assert_eq!(bob.send_outcome(&alice, "non").await, "CONTACT_BLOCKED", "S3");
    assert_eq!(bob.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": withheld })).await["node"], Value::Null);
    assert_eq!(bob.outcome("markAsRead", json!({ "with": "alice", "upTo": withheld })).await, "MESSAGE_NOT_FOUND");
    let payload = bob.unblock(&alice).await;
    assert_eq!(payload["revealedCount"], 2, "B3");
    assert_eq!((&payload["conversation"]["unreadCount"], &payload["conversation"]["lastMessage"]["text"]), (&json!(3), &json!("pendant 2")));
    assert_eq!(payload["user"], json!({ "blocked": false, "canMessage": true }));
    assert_eq!(bob.history(&alice).await, alice.history(&bob).await);
}

#[tokio::test]
async fn b4_b5_blocking_again_withholds_only_what_comes_after_and_twice_is_once() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "avant").await;
    bob.block(&alice).await;
    alice.sent(&bob, "pendant").await;
    bob.unblock(&alice).await;
    bob.block(&alice).await;
    alice.sent(&bob, "après").await;
    assert_eq!(bob.history(&alice).await, Some(vec!["avant".to_owned(), "pendant".to_owned()]), "B4");
    let events = server.events();
    bob.block(&alice).await;
    assert_eq!(server.events(), events, "B5");
    assert_eq!(bob.unblock(&alice).await["revealedCount"], 1);
    let events = server.events();
    assert_eq!(bob.unblock(&alice).await["revealedCount"], 0);
    assert_eq!(server.events(), events, "B5");
}

#[tokio::test]
async fn b1_blocking_without_a_row_adds_none_until_something_surfaces() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    bob.block(&alice).await;
    assert!(bob.list().await.is_empty());
    let payload = alice.send(&bob, "allo").await;
    assert_eq!(code_of(&payload), "");
    assert_eq!((alice.contacts().await, bob.contacts().await), (vec!["bob".to_owned()], vec![]));
    assert_eq!(bob.history(&alice).await, None);
    assert_eq!(bob.unblock(&alice).await["revealedCount"], 1);
    assert_eq!((bob.contacts().await, bob.badge(&alice).await), (vec!["alice".to_owned()], 1));
}

#[tokio::test]
async fn d1_d2_deleting_and_opening_concern_one_side_and_lose_nothing() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let first = alice.sent(&bob, "un").await;
    bob.sent(&alice, "deux").await;
    let row = bob.row(&alice).await.expect("a row");
    let payload = bob.delete(&alice).await;
    assert_eq!((&payload["deletedConversationId"], &payload["warning"]), (&row["id"], &Value::Null));
    assert_eq!((bob.contacts().await, bob.history(&alice).await), (vec![], None));
    assert_eq!(bob.user(&alice).await["conversation"], Value::Null);
    for id in [first.as_str(), row["id"].as_str().expect("an id")] {
        assert_eq!(bob.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await["node"], Value::Null);
        assert_eq!(alice.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await["node"]["id"], id);
    }
    assert_eq!(code_of(&bob.delete(&alice).await), "CONVERSATION_NOT_FOUND", "D5");
    assert_eq!(alice.history(&bob).await.map(|history| history.len()), Some(2), "untouched for the contact");
    let opened = bob.open(&alice).await["conversation"].clone();
    assert_eq!((&opened["unreadCount"], nodes(&opened["messages"]).len()), (&json!(0), 2), "D2");
}

#[tokio::test]
async fn d3_a_new_message_brings_it_back_whole() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    bob.sent(&alice, "deux").await;
    bob.delete(&alice).await;
    alice.sent(&bob, "trois").await;
    assert_eq!(bob.badge(&alice).await, 1, "only what came since");
    assert_eq!(bob.history(&alice).await, Some(["un", "deux", "trois"].map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn d2_opening_without_history_gives_an_empty_conversation() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let events = server.events();
    let conversation = alice.open(&bob).await["conversation"].clone();
    assert_eq!((&conversation["lastMessage"], &conversation["lastMessageAt"], &conversation["actions"]), (&Value::Null, &Value::Null, &json!(["BLOCK"])));
    assert_eq!(conversation["messages"]["edges"], json!([]));
    assert_eq!((server.events(), alice.list().await.len()), (events, 0));
    assert_eq!(alice.send(&bob, "salut").await["conversation"]["id"], conversation["id"]);
    bob.contactable(false).await;
    let [carol] = server.people(["carol"]).await;
    assert_eq!(code_of(&carol.open(&bob).await), "NOT_CONTACTABLE");
    assert_eq!(code_of(&alice.open(&bob).await), "", "a row that stands");
}

#[tokio::test]
async fn d4_deleted_while_blocked_must_be_reopened_to_unblock() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    bob.block(&alice).await;
    assert_eq!(bob.delete(&alice).await["warning"], "CANNOT_UNBLOCK_WHILE_DELETED");
    alice.sent(&bob, "deux").await;
    assert!(bob.list().await.is_empty());
    assert_eq!(code_of(&bob.unblock(&alice).await), "CONVERSATION_DELETED");
    let reopened = bob.open(&alice).await["conversation"].clone();
    assert_eq!((&reopened["blocked"], &reopened["unreadCount"], nodes(&reopened["messages"]).len()), (&json!(true), &json!(0), 1));
    assert_eq!(bob.unblock(&alice).await["revealedCount"], 1);
    assert_eq!(bob.badge(&alice).await, 1);
}
