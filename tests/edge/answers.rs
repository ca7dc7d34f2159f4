//! What is answered, to the letter, and what is refused before anything is executed.

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{NEWER, reply};
use crate::support::Server;
use crate::support::socket::{Closed, Socket};

#[tokio::test]
async fn an_answer_has_the_keys_of_the_question_in_its_order_and_null_where_it_may_stand() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    for (query, answer) in [
        (
            "{ z: me { name id } a: user(id: \"nobody\") { id } me { __typename id } }",
            r#"{"data":{"z":{"name":"alice","id":"alice"},"a":null,"me":{"__typename":"User","id":"alice"}}}"#,
        ),
        ("{ me { id } ...a } fragment a on Query { me { name } }", r#"{"data":{"me":{"id":"alice","name":"alice"}}}"#),
        ("{ me @skip(if: true) { id } }", r#"{"data":{}}"#),
        ("{ me { id @skip(if: true) } }", r#"{"data":{"me":{}}}"#),
        ("query($x: Boolean = true) { me { id @include(if: $x) } }", r#"{"data":{"me":{"id":"alice"}}}"#),
        ("{ node(id: \"bob\") { __typename ... on User { name } ... on Message { text } } }", r#"{"data":{"node":{"__typename":"User","name":"bob"}}}"#),
        ("query($o: ConversationOrder) { conversations(order: $o) { totalCount } }", r#"{"data":{"conversations":{"totalCount":1}}}"#),
        ("{ conversations(order: null) { totalCount } }", r#"{"data":{"conversations":{"totalCount":1}}}"#),
        ("{ node(id: \"chat-section/1\") { id ... on ChatSection { title } } }", r#"{"data":{"node":{"id":"chat-section/1","title":"Messages"}}}"#),
    ] {
        let response = alice.post().json(&json!({ "query": query })).send().await.expect("an answer");
        assert_eq!(response.text().await.expect("a body"), answer, "{query}");
    }
    for (query, data) in [
        ("{ me { id } users(first: -1) { edges { cursor } } }", Value::Null),
        ("{ node(id: \"alice\") { id } me { conversation { id } } }", json!({ "node": { "id": "alice" }, "me": { "conversation": null } })),
        (
            "{ conversation(with: \"bob\") { id messages(first: 101) { edges { cursor } } } me { id } }",
            json!({ "conversation": null, "me": { "id": "alice" } }),
        ),
    ] {
        assert_eq!(alice.request(query, json!({})).await.body["data"], data, "{query}");
    }
}

#[tokio::test]
async fn one_key_written_twice_is_one_command() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let send = "sendMessage(input: { to: \"bob\", text: \"une fois\" })";
    alice.ask(&format!("mutation {{ {send} {{ message {{ id }} }} {send} {{ conversation {{ id }} }} }}")).await;
    assert_eq!(bob.history(&alice).await, Some(vec!["une fois".to_owned()]));
}

#[tokio::test]
async fn what_the_specification_refuses_is_not_half_executed() {
    let server = Server::start();
    let [alice, _] = server.people(["alice", "bob"]).await;
    let events = server.events();
    let send = |to: &str, text: &str| format!("sendMessage(input: {{ to: {to}, text: {text} }}) {{ message {{ id }} }}");
    let deep = format!("{{ user(id: {}1{}) {{ id }} }}", "[".repeat(5_000), "]".repeat(5_000));
    for (query, code) in [
        (format!("mutation($t: String) {{ a: {} b: {} }}", send("\"bob\"", "\"x\""), send("\"bob\"", "$t")), "GRAPHQL_VALIDATION_FAILED"),
        (format!("mutation($t: String = \"x\") {{ {} }}", send("\"bob\"", "\"x\", text: $t")), "GRAPHQL_VALIDATION_FAILED"),
        ("mutation($to: ID) { openConversation(input: { with: $to }) { conversation { id } } }".to_owned(), "GRAPHQL_VALIDATION_FAILED"),
        (
            format!("mutation {{ {} sendMessage: markAsRead(input: {{ with: \"bob\" }}) {{ conversation {{ id }} }} }}", send("\"bob\"", "\"x\"")),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (format!("mutationx {{ {} }}", send("\"bob\"", "\"x\"")), "GRAPHQL_PARSE_FAILED"),
        ("{ me { id } me { id: name } }".to_owned(), "GRAPHQL_VALIDATION_FAILED"),
        ("{ me { __typename @odd } }".to_owned(), "GRAPHQL_VALIDATION_FAILED"),
        (deep, "QUERY_TOO_COMPLEX"),
    ] {
        let refused = alice.request(&query, json!({})).await;
        assert_eq!((refused.code(), refused.body.get("data")), (code, None), "{query}: {}", refused.body);
    }
    assert_eq!(server.events(), events);
    // What is not given stays as it is.
    alice.mutate("updateProfile", json!({ "avatarUrl": "https://exemple.fr/moi.png" }), "").await;
    let update = "mutation($url: String) { updateProfile(input: { name: \"Alice\", avatarUrl: $url }) { user { avatarUrl } } }";
    assert_eq!(alice.ask(update).await["updateProfile"]["user"]["avatarUrl"], "https://exemple.fr/moi.png");
}

#[tokio::test]
async fn variables_are_coerced_before_anything_is_executed() {
    let server = Server::start();
    let [alice, _] = server.people(["alice", "bob"]).await;
    let send = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    for (variables, place) in
        [(json!({}), "input"), (json!({ "input": { "to": "bob", "text": 7 } }), "text"), (json!({ "input": { "to": "bob", "text": "x", "odd": 1 } }), "odd")]
    {
        let refused = reply(alice.post().header("accept", NEWER).json(&json!({ "query": send, "variables": variables }))).await;
        assert_eq!((refused.status, refused.code(), refused.body.get("data")), (400, "BAD_USER_INPUT", None), "{variables}");
        assert!(refused.body["errors"][0]["message"].as_str().is_some_and(|message| message.contains(place)), "{}", refused.body);
    }
    let escaped = r#"mutation { sendMessage(input: { to: "bob", text: "\ud83d\ude00" }) { userErrors { code } } }"#;
    assert_eq!(alice.ask(escaped).await["sendMessage"]["userErrors"][0]["code"], "TEXT_HAS_EMOJI");
}

#[tokio::test]
async fn a_list_is_no_object_and_no_member_is_there_twice() {
    let server = Server::start_with(&["--max-batch", "3"]);
    let [alice] = server.people(["alice"]).await;
    for body in
        ["[[\"{ me { id } }\"]]", "{\"query\":\"{ me { id } }\",\"query\":\"{ roles }\"}", "[{\"query\":\"{ me { id } }\",\"query\":\"{ roles }\"}]", "7"]
    {
        let refused = reply(alice.post().header("content-type", "application/json").body(body)).await;
        assert_eq!((refused.status, refused.code()), (400, "BAD_USER_INPUT"), "{body}");
        assert!(refused.body["errors"][0]["message"].as_str().is_some_and(|message| message.starts_with("the request is not `{")), "{}", refused.body);
    }
    let sign_in = Client::new().post(format!("{}/sign-in", server.url)).header("content-type", "application/json").body("[\"Alice\"]");
    assert_eq!(sign_in.send().await.expect("an answer").status(), 400);
    for message in ["[\"ping\"]", "{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":[\"{ me { id } }\"]}"] {
        let mut socket = Socket::signed_in(&server, &alice).await;
        socket.say_text(message).await;
        assert_eq!(socket.closed().await, Closed(4400), "{message}");
    }
}

#[tokio::test]
async fn messages_for_people_are_in_their_language() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let to_oneself = json!({ "query": "mutation { sendMessage(input: { to: \"alice\", text: \"x\" }) { userErrors { code message field } } }" });
    let message = async |language: &'static str| {
        let reply = reply(alice.post().header("accept-language", language).json(&to_oneself)).await;
        reply.body["data"]["sendMessage"]["userErrors"][0].clone()
    };
    assert_eq!(message("fr-FR, en;q=0.5").await, json!({ "code": "SELF", "message": "c'est vous", "field": ["input", "to"] }));
    assert_eq!(message("de, en").await["message"], "that is you");
    let unknown = Client::new().post(format!("{}/graphql", server.url)).header("accept-language", "fr").json(&to_oneself);
    assert!(reply(unknown).await.body["errors"][0]["message"].as_str().is_some_and(|message| message.starts_with("connectez-vous")));
    let headers = HeaderMap::from_iter([(reqwest::header::ACCEPT_LANGUAGE, HeaderValue::from_static("fr"))]);
    let mut socket = Socket::try_sign_in(&alice, headers).await.expect("a socket");
    socket.subscribe("self", to_oneself["query"].as_str().expect("a query"), json!({})).await;
    assert_eq!(socket.hear().await.expect("an answer")["payload"]["data"]["sendMessage"]["userErrors"][0]["message"], "c'est vous");
}

#[tokio::test]
async fn what_is_out_of_range_names_its_input() {
    let server = Server::start();
    let admin = server.admin();
    for (mutation, input, field) in [
        ("configureChatSection", json!({ "title": "" }), json!(["input", "title"])),
        ("configureChatSection", json!({ "detailTemplate": 4 }), json!(["input", "detailTemplate"])),
        ("updateProfile", json!({ "name": "" }), json!(["input", "name"])),
        ("updateProfile", json!({ "avatarUrl": "moi.png" }), json!(["input", "avatarUrl"])),
        ("registerUsers", json!({ "users": [{ "id": "é", "name": "E" }] }), json!(["input", "users"])),
    ] {
        let error = admin.mutate(mutation, input, "").await["userErrors"][0].clone();
        assert_eq!((&error["code"], &error["field"]), (&json!("INVALID_INPUT"), &field), "{error}");
    }
    let twice = json!({ "users": [{ "id": "x", "name": "X" }, { "id": "x", "name": "X" }] });
    assert_eq!(admin.mutate("registerUsers", twice, "users { id }").await["users"], json!([{ "id": "x" }]));
}
