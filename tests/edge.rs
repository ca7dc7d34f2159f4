//! The edge's limits, languages and answers, by the letter.

use std::collections::HashSet;
use std::time::Duration;

use entrenous::graphql::Options;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::inside::Inside;
use crate::support::process::run;
use crate::support::socket::{Closed, Socket};
use crate::support::waiting::until;
use crate::support::{Person, Reply, Server, now, sign};

/// The media type of answers whose status says whether anything was executed.
pub const NEWER: &str = "application/graphql-response+json";

pub async fn reply(request: RequestBuilder) -> Reply {
    Reply::of(request.send().await.expect("an answer")).await
}

/// The text of an event stream, to its end.
async fn stream(request: RequestBuilder) -> String {
    let response = request.header("accept", "text/event-stream").send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &HeaderValue::from_static("text/event-stream; charset=utf-8")));
    response.text().await.expect("a stream")
}

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
async fn values_and_keys_do_not_take_all_memory() {
    let server = Server::start();
    let [alice, _] = server.people(["alice", "bob"]).await;
    let long = "A".repeat(900_000);
    let places: Vec<String> = (0..50).map(|n| format!("a{n}: user(id: $v) {{ id }}")).collect();
    let repeated = alice.request(&format!("query($v: ID!) {{ {} }}", places.join(" ")), json!({ "v": long })).await;
    assert_eq!(repeated.code(), "QUERY_TOO_COMPLEX");
    assert_eq!(alice.ask_with("query($v: ID!) { user(id: $v) { id } }", json!({ "v": long })).await["user"], Value::Null);
    assert_eq!(alice.ask_with("query($s: String) { users(search: $s) { edges { cursor } } }", json!({ "s": long })).await["users"]["edges"], json!([]));
    let mut socket = Socket::signed_in(&server, &alice).await;
    let kept = "subscription($v: String) { inbox { ... on MessageAdded { conversation { messages(after: $v) { pageInfo { hasNextPage } } } } } }";
    socket.subscribe("kept", kept, json!({ "v": long })).await;
    assert_eq!(socket.hear().await.expect("an error")["payload"][0]["extensions"]["code"], "QUERY_TOO_COMPLEX");
    let secret = "un secret";
    let refused =
        alice.request("mutation($i: SendMessageInput!) { sendMessage(input: $i) { message { id } } }", json!({ "i": { "to": "bob", "text": [secret] } })).await;
    assert!(refused.code() == "BAD_USER_INPUT" && !refused.body.to_string().contains(secret), "{}", refused.body);
}

#[tokio::test]
async fn an_answer_does_not_grow_without_end() {
    let server = Server::start_with(&["--max-batch", "2"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    for _ in 0..50 {
        alice.sent(&bob, &"語".repeat(2_000)).await;
    }
    let texts: Vec<String> = (0..90).map(|n| format!("a{n}: text")).collect();
    let query = |texts: &str| format!("{{ conversation(with: \"bob\") {{ messages(last: 50) {{ edges {{ node {{ {texts} }} }} }} }} }}");
    assert_eq!(alice.request(&query(&texts.join(" ")), json!({})).await.code(), "QUERY_TOO_COMPLEX");
    let half = query(&texts[..20].join(" "));
    alice.ask(&half).await;
    // A batch is one answer.
    let batch = reply(alice.post().json(&[json!({ "query": half }), json!({ "query": half })])).await;
    let codes: Vec<&Value> = (0..2).map(|n| &batch.body[n]["errors"][0]["extensions"]["code"]).collect();
    assert_eq!((batch.status, codes), (200, vec![&Value::Null, &json!("QUERY_TOO_COMPLEX")]));
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
async fn each_limit_is_an_option() {
    let server = Server::start_with(&[
        "--max-depth",
        "3",
        "--max-complexity",
        "60",
        "--max-aliases",
        "2",
        "--max-directives",
        "1",
        "--max-body",
        "2000",
        "--introspection",
        "off",
    ]);
    let [alice] = server.people(["alice"]).await;
    for (query, code) in [
        ("{ me { conversation { contact { id } } } }", "QUERY_TOO_COMPLEX"),
        ("{ users(first: 30) { edges { cursor } } }", ""),
        ("{ users(first: 31) { edges { cursor } } }", "QUERY_TOO_COMPLEX"),
        ("{ a: me { id } b: me { id } }", ""),
        ("{ a: me { id } b: me { id } c: me { id } }", "QUERY_TOO_COMPLEX"),
        ("{ me { id @skip(if: false) name @skip(if: false) } }", "QUERY_TOO_COMPLEX"),
        ("{ __schema { queryType { name } } }", "FORBIDDEN"),
        ("{ __typename }", ""),
    ] {
        assert_eq!(alice.request(query, json!({})).await.code(), code, "{query}");
    }
    let long = alice.request(&format!("{{ me {{ id }} }} #{}", "x".repeat(2_000)), json!({})).await;
    assert_eq!((long.status, long.code()), (413, "BAD_USER_INPUT"));
    let mut socket = Socket::signed_in(&server, &alice).await;
    socket.subscribe("long", &format!("{{ me {{ id }} }} #{}", "x".repeat(2_000)), json!({})).await;
    assert_eq!(socket.closed().await, Closed(1009));
}

#[tokio::test]
async fn introspection_in_circles_is_too_complex() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let circles = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }";
    assert_eq!(alice.request(circles, json!({})).await.code(), "QUERY_TOO_COMPLEX");
    let twice = "types { fields { type { fields { name } } } }";
    let many = |count: usize| format!("{{ {} }}", (0..count).fold(String::new(), |all, n| format!("{all} a{n}: __schema {{ {twice} }}")));
    assert_eq!(alice.request(&many(3), json!({})).await.status, 200);
    assert_eq!(alice.request(&many(60), json!({})).await.code(), "QUERY_TOO_COMPLEX");
    assert!(many(60).len() < 5_000, "it is short");
    let message = alice.ask("{ __type(name: \"Message\") { kind isOneOf } }").await["__type"].clone();
    assert_eq!((&message["kind"], message.get("isOneOf").is_some()), (&json!("OBJECT"), true));
}

#[tokio::test]
async fn many_values_are_too_complex_however_short() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let aliases = (0..99).fold(String::new(), |all, n| format!("{all} a{n}: events(filter: {{ types: $t }}) {{ __typename }}"));
    let query = format!("query($t: [String!]) {{ {aliases} }}");
    let empty = |count: usize| json!({ "t": vec![""; count] });
    assert_eq!(alice.request(&query, empty(100_000)).await.code(), "QUERY_TOO_COMPLEX");
    assert_eq!(alice.request(&query, empty(10)).await.code(), "FORBIDDEN", "which is for auditors");
    let kept = "subscription($s: String) { inbox { __typename ... on MessageAdded { conversation { messages(after: $s) @skip(if: true) { __typename } } } } }";
    let mut socket = Socket::signed_in(&server, &alice).await;
    socket.subscribe("1", kept, json!({ "s": "x".repeat(70_000) })).await;
    let refused = socket.hear().await.expect("an answer");
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("QUERY_TOO_COMPLEX")));
    let digits = alice.ask("{ user(id: 110169484474386276334) { id } }").await;
    assert_eq!(digits["user"], Value::Null, "as long as an identity provider makes them, and nobody's");
}

#[tokio::test]
async fn a_batch_is_as_long_as_allowed_and_counts_as_one() {
    let server = Server::start_with(&["--max-batch", "3", "--max-complexity", "120"]);
    let [alice] = server.people(["alice"]).await;
    let batch = async |queries: &[&str]| {
        let body: Vec<Value> = queries.iter().map(|query| json!({ "query": query })).collect();
        reply(alice.post().json(&body)).await
    };
    let me = "{ me { id } }";
    let two = batch(&[me, "{ nope }"]).await;
    assert_eq!(
        (two.status, &two.body[0], &two.body[1]["errors"][0]["extensions"]["code"]),
        (200, &json!({ "data": { "me": { "id": "alice" } } }), &json!("GRAPHQL_VALIDATION_FAILED"))
    );
    let page = "{ users(first: 50) { edges { cursor } } }";
    let dear = batch(&[page, page, me]).await;
    let codes: Vec<&Value> = (0..3).map(|n| &dear.body[n]["errors"][0]["extensions"]["code"]).collect();
    assert_eq!(codes, [&Value::Null, &json!("QUERY_TOO_COMPLEX"), &Value::Null]);
    for wrong in [vec![], vec![me; 4]] {
        assert_eq!((batch(&wrong).await.status, batch(&wrong).await.code().to_owned()), (400, "BAD_USER_INPUT".to_owned()));
    }
}

#[tokio::test]
async fn sends_above_the_rate_are_refused_before_they_are_executed() {
    let server = Server::start_with(&["--send-rate", "1"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let many = |count: usize| {
        let sends = (0..count).map(|n| format!("a{n}: sendMessage(input: {{ to: \"bob\", text: \"{n}\" }}) {{ message {{ id }} }}"));
        format!("mutation {{ {} }}", sends.collect::<Vec<_>>().join(" "))
    };
    let too_many = alice.request(&many(6), json!({})).await;
    assert_eq!((too_many.status, too_many.code()), (429, "RATE_LIMITED"), "more than a burst at once");
    alice.ask(&many(5)).await;
    let send = "mutation { sendMessage(input: { to: \"bob\", text: \"trop\" }) { message { id } } }";
    let refused = alice.request(send, json!({})).await;
    assert_eq!((refused.status, refused.code(), refused.body.get("data")), (429, "RATE_LIMITED", None), "{}", refused.body);
    let seconds = refused.headers["retry-after"].to_str().ok().and_then(|seconds| seconds.parse::<u64>().ok()).expect("seconds");
    assert!(seconds == 1 && refused.body["errors"][0]["extensions"]["retryAfter"] == seconds, "{}", refused.body);
    let mut socket = Socket::signed_in(&server, &alice).await;
    socket.subscribe("send", send, json!({})).await;
    let error = socket.hear().await.expect("an answer");
    assert!(["error", "next"].contains(&error["type"].as_str().expect("a type")), "a second may have passed: {error}");
    assert!((7..=8).contains(&server.events()), "two users, a burst, and perhaps one more");
    bob.sent(&alice, "rien à voir").await;
}

#[tokio::test]
async fn a_user_has_so_many_sockets_and_subscriptions() {
    let server = Server::start_with(&["--max-sockets", "2", "--max-subscriptions", "2"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let mut first = Socket::inbox(&server, &alice).await;
    let mut second = Socket::inbox(&server, &alice).await;
    assert!(Socket::try_sign_in(&alice, HeaderMap::new()).await.is_none());
    Socket::inbox(&server, &bob).await;
    second.subscribe("more", "subscription { inbox { __typename } }", json!({})).await;
    let refused = second.hear().await.expect("an error");
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("RATE_LIMITED")));
    let inbox = json!({ "query": "subscription { inbox { __typename } }" });
    let streamed = reply(alice.post().header("accept", "text/event-stream").json(&inbox)).await;
    assert_eq!((streamed.status, streamed.code(), streamed.headers.contains_key("retry-after")), (429, "RATE_LIMITED", true));
    // What is given back can be taken again.
    first.say(&json!({ "id": "inbox", "type": "complete" })).await;
    first.subscribe("query", "{ me { id } }", json!({})).await;
    first.hear().await.expect("an answer");
    until("there is a subscription to be had", async || {
        second.subscribe("again", "subscription { inbox { __typename } }", json!({})).await;
        second.hear().await.expect("an answer")["type"] == "next"
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_breaks_off_with_the_service() {
    let mut server = Server::start();
    let brief = sign(&server.secret(), &json!({ "sub": "alice", "exp": now() + 2 }));
    let inbox = json!({ "query": "subscription { inbox { __typename } }" });
    let text = stream(Client::new().post(format!("{}/graphql", server.url)).bearer_auth(brief).json(&inbox)).await;
    assert!(text.contains("CaughtUp") && text.contains("UNAUTHENTICATED") && text.ends_with("event: complete\ndata:\n\n"), "{text}");
    let alice = server.person("alice");
    let endless = tokio::spawn(stream(alice.post().json(&inbox)));
    let mut twin = Socket::inbox(&server, &alice).await;
    alice.ask("{ me { id } }").await;
    until("both listen", async || server.metric("entrenous_subscribers").await >= 2.0).await;
    server.signal("TERM");
    assert!(!endless.await.expect("a stream").contains("complete"), "its client comes back");
    assert_eq!(twin.closed().await, Closed(1001));
    assert!(server.wait().success(), "{}", server.log());
}

#[tokio::test]
async fn trusted_documents_are_known_by_their_id_and_may_be_all_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("documents.json");
    let path = manifest.to_str().expect("UTF-8");
    let me = "query Me { me { id } }";
    std::fs::write(&manifest, json!({ "sha256:prefixed": me, "me": me, "named": "query($id: ID!) { user(id: $id) { name } }" }).to_string()).expect("written");
    for only in [false, true] {
        let arguments = ["--trusted-documents", path, "--trusted-documents-only"];
        let server = Server::start_with(&arguments[..if only { 3 } else { 2 }]);
        let alice = server.person("alice");
        let ask = async |body: Value| reply(alice.post().json(&body)).await;
        assert_eq!(ask(json!({ "documentId": "me" })).await.body, json!({ "data": { "me": { "id": "alice" } } }));
        assert_eq!(ask(json!({ "documentId": "named", "variables": { "id": "alice" } })).await.body["data"]["user"]["name"], "alice");
        assert_eq!(ask(json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": "me" } } })).await.body["data"]["me"]["id"], "alice");
        let by_get = Client::new().get(format!("{}/graphql?documentId=me", server.url)).bearer_auth(&alice.token);
        assert_eq!(reply(by_get).await.body["data"]["me"]["id"], "alice");
        assert_eq!(ask(json!({ "query": me })).await.body["data"]["me"]["id"], "alice");
        assert_eq!(ask(json!({ "documentId": "sha256:prefixed" })).await.body["data"]["me"]["id"], "alice");
        assert_eq!(ask(json!({ "documentId": format!("sha256:{}", sha256(me)) })).await.body["data"]["me"]["id"], "alice");
        assert_eq!(ask(json!({ "documentId": "me", "query": me })).await.body["data"]["me"]["id"], "alice");
        assert_ne!(ask(json!({ "documentId": "me", "query": "{ me { name } }" })).await.code(), "", "another document than its id says");
        assert_eq!(ask(json!({ "documentId": "other" })).await.code(), "PERSISTED_QUERY_NOT_FOUND");
        assert_eq!(ask(json!({ "query": "{ me { name } }" })).await.code(), if only { "FORBIDDEN" } else { "" });
        let mut socket = Socket::signed_in(&server, &alice).await;
        socket.say(&json!({ "id": "1", "type": "subscribe", "payload": { "documentId": "me" } })).await;
        assert_eq!(socket.hear().await.expect("an answer")["payload"]["data"]["me"]["id"], "alice");
    }
    let serve = |more: &[&str]| run(&[&["serve", "--listen", "127.0.0.1:0", "--data", folder.path().to_str().expect("UTF-8")], more].concat());
    std::fs::write(&manifest, json!({ "bad": "{ nope }" }).to_string()).expect("written");
    let (ok, _, error) = serve(&["--trusted-documents", path]);
    assert!(!ok && error.contains("bad") && error.contains("nope"), "{error}");
    std::fs::write(&manifest, "[]").expect("written");
    assert!(!serve(&["--trusted-documents", path]).0);
}

#[tokio::test]
async fn a_hash_stands_for_a_document_that_was_sent_along_once() {
    let server = Server::start();
    let alice = server.person("alice");
    let (query, hash) = ("{ me { id } }", "a2d3ff7d8ed3f5cb8e5a8c0c5a7ba5e3bd0e2f4d3ea1b1e0f6c3f0bbd9ab1f0c");
    let ask = async |query: Option<&str>, hash: &str| {
        reply(alice.post().json(&json!({ "query": query, "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } } }))).await
    };
    assert_eq!(ask(None, hash).await.code(), "PERSISTED_QUERY_NOT_FOUND");
    assert_eq!(ask(Some(query), hash).await.code(), "BAD_USER_INPUT", "another document's hash");
    let hash: String = sha256(query);
    assert_eq!(ask(None, &hash).await.code(), "PERSISTED_QUERY_NOT_FOUND");
    assert_eq!(ask(Some(query), &hash).await.body["data"]["me"]["id"], "alice");
    assert_eq!(ask(None, &hash).await.body["data"]["me"]["id"], "alice");
    let parsed = server.metric("entrenous_documents_parsed_total").await;
    for _ in 0..3 {
        alice.ask(query).await;
    }
    assert!(parsed >= 1.0 && (server.metric("entrenous_documents_parsed_total").await - parsed).abs() < 0.5, "a repeated operation costs no parse");
}

#[tokio::test]
async fn b6_a_hash_tells_nobody_which_documents_others_sent() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let block = "mutation { blockUser(input: { userId: \"alice\" }) { user { blocked } } }";
    let named = |hash: String| json!({ "documentId": hash, "operationName": "x" });
    let ask = async |person: &Person, body: Value| reply(person.post().json(&body)).await;
    let registered = json!({ "query": block, "extensions": { "persistedQuery": { "version": 1, "sha256Hash": sha256(block) } } });
    assert_eq!(ask(&bob, registered).await.body["data"]["blockUser"]["user"]["blocked"], true);
    for hash in [sha256(block), format!("sha256:{}", sha256(block))] {
        assert_eq!(ask(&alice, named(hash.clone())).await.code(), "PERSISTED_QUERY_NOT_FOUND");
        assert_eq!(ask(&bob, named(hash)).await.code(), "GRAPHQL_VALIDATION_FAILED", "his own");
    }
    let mut socket = Socket::signed_in(&server, &alice).await;
    socket.say(&json!({ "id": "1", "type": "subscribe", "payload": named(sha256(block)) })).await;
    assert_eq!(socket.hear().await.expect("an answer")["payload"][0]["extensions"]["code"], "PERSISTED_QUERY_NOT_FOUND");
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

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    format!("{:x}", sha2::Sha256::digest(text))
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

#[tokio::test]
async fn an_operation_takes_no_longer_than_allowed_and_its_error_names_the_request() {
    let mut inside = Inside::start_with(Options { time: Duration::from_millis(50), ..Options::default() }).await;
    let alice = inside.sign_in("alice").await;
    inside.sign_in("bob").await;
    let _standing_still = inside.stall().await;
    let response = inside.respond(&alice, "mutation { blockUser(input: { userId: \"bob\" }) { user { id } } }").await;
    let error = &response["errors"][0];
    assert_eq!((&error["extensions"]["code"], response.get("data")), (&json!("UNAVAILABLE"), None));
    assert_eq!(error["extensions"]["requestId"], alice.request().to_string());
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask() {
    let allowed = "https://app.example.com";
    let server = Server::start_with(&["--allow-origin", allowed]);
    let preflight = async |origin: &'static str| {
        let request = Client::new().request(Method::OPTIONS, format!("{}/graphql", server.url)).header("origin", origin);
        reply(request.header("access-control-request-method", "POST").header("access-control-request-headers", "authorization,content-type")).await
    };
    let yes = preflight(allowed).await;
    assert_eq!((yes.status, yes.headers["access-control-allow-origin"].to_str().ok()), (200, Some(allowed)));
    assert!(preflight("https://evil.example").await.headers.get("access-control-allow-origin").is_none());
    let alice = server.person("alice");
    let asked = reply(alice.post().header("origin", allowed).json(&json!({ "query": "{ me { id } }" }))).await;
    assert_eq!(asked.headers["access-control-allow-origin"].to_str().ok(), Some(allowed));
    let closed = Server::start();
    let asked = Client::new().request(Method::OPTIONS, format!("{}/graphql", closed.url)).header("origin", allowed);
    assert!(reply(asked).await.headers.get("access-control-allow-origin").is_none());
    let (ok, _, error) = run(&["serve", "--allow-origin", "app.example.com/x"]);
    assert!(!ok && error.contains("--allow-origin"), "{error}");
}

#[tokio::test]
async fn a_socket_of_a_full_plan_is_told_so() {
    let server = Server::start_with(&["--user-limit", "1"]);
    server.people(["alice"]).await;
    let mut socket = Socket::open(&server, Some("graphql-transport-ws")).await;
    socket.say(&json!({ "type": "connection_init", "payload": { "token": server.person("bob").token } })).await;
    assert_eq!(socket.closed().await, Closed(4403));
    let codes: HashSet<String> = [server.person("bob").request("{ me { id } }", json!({})).await.code().to_owned()].into();
    assert_eq!(codes, HashSet::from(["USER_LIMIT_REACHED".to_owned()]));
}
