//! What one client may ask for: so large, so deep, so often, for so long.

use std::time::Duration;

use entrenous::graphql::Options;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::reply;
use crate::support::Server;
use crate::support::inside::Inside;
use crate::support::socket::{Closed, Socket};
use crate::support::waiting::until;

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
    socket.subscribe("sends", &many(6), json!({})).await;
    let error = socket.hear().await.expect("an answer");
    assert_eq!((&error["type"], &error["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("RATE_LIMITED")), "{error}");
    assert_eq!(server.events(), 7, "two users and a burst");
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
