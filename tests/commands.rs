//! Commands when things happen at the same time, or halfway.

use std::time::Duration;

use futures_util::poll;
use serde_json::json;

use crate::support::inside::Inside;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_client_leaves_is_done_whole() {
    let inside = Inside::start().await;
    let [alice, bob] = [inside.sign_in("alice").await, inside.sign_in("bob").await];
    for round in 0..50 {
        let mut follow = inside.app.log().follow(inside.app.log().head());
        let mut block = Box::pin(inside.app.block_user(&bob, "alice"));
        let _not_waited_for = poll!(&mut block);
        drop(block);
        tokio::time::timeout(PATIENCE, follow.next(1)).await.expect("the block is appended").expect("read");
        let sent = inside.mutate(&alice, "sendMessage", json!({ "to": "bob", "text": "salut" }), "message { id }").await;
        assert_eq!(sent["userErrors"], json!([]));
        let unblocked = inside.mutate(&bob, "unblockUser", json!({ "userId": "alice" }), "revealedCount user { blocked }").await;
        assert_eq!((&unblocked["revealedCount"], &unblocked["user"]["blocked"]), (&json!(1), &json!(false)), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_whose_client_leaves_is_done_whole() {
    let inside = Inside::start().await;
    let [alice, bob] = [inside.sign_in("alice").await, inside.sign_in("bob").await];
    inside.mutate(&alice, "sendMessage", json!({ "to": "bob", "text": "salut" }), "message { id }").await;
    let mutations = [
        ("sendMessage", json!({ "to": "alice", "text": "salut" }), "message { id }"),
        ("markAsRead", json!({ "with": "alice" }), "conversation { id }"),
        ("deleteConversation", json!({ "with": "alice" }), "warning"),
        ("openConversation", json!({ "with": "alice" }), "conversation { id }"),
        ("blockUser", json!({ "userId": "alice" }), "user { id }"),
        ("unblockUser", json!({ "userId": "alice" }), "revealedCount"),
        ("toggleContactable", json!({ "contactable": false }), "user { id }"),
        ("updateProfile", json!({ "name": "Bob II" }), "user { id }"),
        ("configureChatSection", json!({ "listTemplate": 2 }), "chatSection { title }"),
        ("registerUsers", json!({ "users": [{ "id": "cleo", "name": "Cléo" }] }), "users { id }"),
        ("eraseUser", json!({ "userId": "bob" }), "user { id }"),
    ];
    for (name, input, fields) in mutations {
        let mut follow = inside.app.log().follow(inside.app.log().head());
        let mut asked = Box::pin(inside.mutate(&bob, name, input, fields));
        let _not_waited_for = poll!(&mut asked);
        drop(asked);
        let done = tokio::time::timeout(PATIENCE, follow.next(1)).await;
        assert_eq!(done.unwrap_or_else(|_| panic!("{name} was cut short")).expect("read").len(), 1, "{name}");
        inside.app.views_reach_head().await.expect("caught up");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u5_one_newcomer_who_comes_many_times_at_once_is_registered_once() {
    let inside = Inside::start().await;
    futures_util::future::join_all((0..32).map(|_| inside.sign_in("alice"))).await;
    assert_eq!(inside.app.log().head().0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mutation_answered_is_in_every_query_after_it() {
    let inside = Inside::start().await;
    let [alice, bob] = [inside.sign_in("alice").await, inside.sign_in("bob").await];
    for n in 1..200 {
        let (from, to) = if n % 3 == 0 { (&bob, "alice") } else { (&alice, "bob") };
        inside.mutate(from, "sendMessage", json!({ "to": to, "text": n.to_string() }), "message { id }").await;
        let data = inside.ask(from, "query($with: ID!) { conversation(with: $with) { lastMessage { text } } }", json!({ "with": to })).await;
        assert_eq!(data["conversation"]["lastMessage"]["text"], n.to_string());
        let on = n % 2 == 0;
        inside.mutate(&bob, "toggleContactable", json!({ "contactable": on }), "user { id }").await;
        assert_eq!(inside.ask(&alice, "{ user(id: \"bob\") { contactable } }", json!({})).await["user"]["contactable"], on);
    }
}

#[tokio::test]
async fn two_mutations_in_one_request_each_answer_for_themselves() {
    let inside = Inside::start().await;
    let alice = inside.sign_in("alice").await;
    let twice = "mutation {
        off: toggleContactable(input: { contactable: false }) { user { contactable } }
        on: toggleContactable(input: { contactable: true }) { user { contactable } }
        name: updateProfile(input: { name: \"Alix\" }) { user { name contactable } }
    }";
    let data = inside.ask(&alice, twice, json!({})).await;
    let expected = json!({ "off": { "user": { "contactable": false } }, "on": { "user": { "contactable": true } }, "name": { "user": { "name": "Alix", "contactable": true } } });
    assert_eq!(data, expected);
}

#[tokio::test]
async fn the_schema_can_be_asked_for_as_tools_do() {
    let inside = Inside::start().await;
    let alice = inside.sign_in("alice").await;
    let types = (0..9).fold("kind name".to_owned(), |inner, _| format!("kind name ofType {{ {inner} }}"));
    let query = format!(
        "{{ __schema {{ queryType {{ name }} mutationType {{ name }} subscriptionType {{ name }}
            types {{ kind name description specifiedByURL fields(includeDeprecated: true) {{ name description args {{ name type {{ {types} }} defaultValue }} type {{ {types} }} }}
                inputFields {{ name type {{ {types} }} defaultValue }} interfaces {{ {types} }} enumValues(includeDeprecated: true) {{ name }} possibleTypes {{ {types} }} }}
            directives {{ name locations args {{ name type {{ {types} }} }} }} }} }}"
    );
    let data = inside.ask(&alice, &query, json!({})).await;
    let names: Vec<&str> = data["__schema"]["types"].as_array().expect("types").iter().filter_map(|of| of["name"].as_str()).collect();
    for name in ["SendMessageInput", "SendMessagePayload", "UserEdge", "ConversationEdge", "MessageEdge", "InboxEvent", "DeleteWarning", "UserErrorCode"] {
        assert!(names.contains(&name), "{name}");
    }
}
