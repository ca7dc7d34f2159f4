//! What is wrong gets a clear error of the right kind; nothing is appended, and the service's log has
//! one line.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::edge::{NEWER, reply};
use crate::support::socket::Socket;
use crate::support::{Server, nodes};

#[tokio::test]
async fn requests_that_are_none_have_their_status() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let json_body = |text: &str| alice.post().header("content-type", "application/json").body(text.to_owned());
    let get = |query: &str| Client::new().get(format!("{}/graphql?{query}", server.url)).bearer_auth(&alice.token);
    let mutation = "query=mutation%7BtoggleContactable(input:%7Bcontactable:false%7D)%7BuserErrors%7Bcode%7D%7D%7D";
    let cases = [
        (json_body("{"), 400, "BAD_USER_INPUT"),
        (json_body(""), 400, "BAD_USER_INPUT"),
        (json_body("\u{0}"), 400, "BAD_USER_INPUT"),
        (json_body("[{\"query\":\"{me{id}}\"}]"), 400, "BAD_USER_INPUT"),
        (json_body("{\"query\":7}"), 400, "BAD_USER_INPUT"),
        (json_body("{}"), 400, "BAD_USER_INPUT"),
        (json_body("{\"query\":\"{me{id}}\",\"variables\":[]}"), 400, "BAD_USER_INPUT"),
        (alice.post().header("content-type", "text/plain").body("{\"query\":\"{me{id}}\"}"), 415, "BAD_USER_INPUT"),
        (alice.post().header("content-encoding", "gzip").json(&json!({ "query": "{ me { id } }" })), 415, "BAD_USER_INPUT"),
        (json_body("{\"query\":\"{me{id}}\"}").header("accept", "text/html"), 406, "BAD_USER_INPUT"),
        (Client::new().request(Method::PUT, format!("{}/graphql", server.url)).bearer_auth(&alice.token), 405, "BAD_USER_INPUT"),
        (get("query=%7Bme%7Bid%7D%7D&variables=x"), 400, "BAD_USER_INPUT"),
        (get(""), 400, "BAD_USER_INPUT"),
        (get(mutation), 405, "BAD_USER_INPUT"),
        (json_body(&format!("{{\"query\":\"{}\"}}", "x".repeat(2 << 20))), 413, "BAD_USER_INPUT"),
    ];
    let count = cases.len();
    for (number, (request, status, code)) in cases.into_iter().enumerate() {
        let reply = reply(request).await;
        assert_eq!((reply.status, reply.code()), (status, code), "case {number}: {}", reply.body);
        assert!(!reply.body["errors"][0]["message"].as_str().unwrap_or_default().is_empty());
    }
    assert_eq!(reply(get("query=%7Bme%7Bid%7D%7D")).await.body, json!({ "data": { "me": { "id": "alice" } } }));
    assert_eq!(server.events(), 1);
    assert_eq!(server.log().lines().filter(|line| line.contains("refused")).count(), count);
}

#[tokio::test]
async fn documents_that_cannot_be_executed_have_their_code() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let deep = format!("{{ me {{ {}id{} }} }}", "conversation { contact { ".repeat(8), " } }".repeat(8));
    let deeper = format!("{{ {}id{} }}", "me { ".repeat(5_000), " }".repeat(5_000));
    let wide = "{ conversations(first: 100) { edges { node { messages(first: 100) { edges { node { id text } } } } } } }";
    let doubling: Vec<String> = (0..60).map(|n| format!("fragment f{n} on User {{ ...f{} ...f{} }}", n + 1, n + 1)).collect();
    let doubling = format!("{{ me {{ ...f0 }} }} {} fragment f60 on User {{ id }}", doubling.join(" "));
    let aliases: Vec<String> = (0..3_000).map(|n| format!("a{n}: me {{ id }}")).collect();
    let aliases = format!("{{ {} }}", aliases.join(" "));
    let long = format!("{{ me {{ id }} }} # {}", "x".repeat(70_000));
    let cases = [
        (&*doubling, "QUERY_TOO_COMPLEX"),
        (&aliases, "QUERY_TOO_COMPLEX"),
        (&long, "QUERY_TOO_COMPLEX"),
        ("{ me { ...a } } fragment a on User { ...b ...b } fragment b on User { ...a ...a }", "GRAPHQL_VALIDATION_FAILED"),
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("{ me { nope } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ user { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { me { id } } query B { me { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("mutation { sendMessage(input: { to: \"bob\", text: \"x\", colour: \"red\" }) { message { id } } }", "GRAPHQL_VALIDATION_FAILED"),
        (&deep, "QUERY_TOO_COMPLEX"),
        (&deeper, "QUERY_TOO_COMPLEX"),
        (wide, "QUERY_TOO_COMPLEX"),
    ];
    for (query, code) in cases {
        let newer = alice.post().header("accept", NEWER).json(&json!({ "query": query }));
        let newer = reply(newer).await;
        assert_eq!((newer.status, newer.code(), newer.body.get("data")), (400, code, None), "{query}: {}", newer.body);
        let older = alice.request(query, json!({})).await;
        assert_eq!((older.status, older.code(), older.body.get("data")), (200, code, None), "{query}");
    }
    assert_eq!(server.events(), 1);
    let unfinished = alice.request("{ me { id", json!({})).await;
    assert_eq!(unfinished.body["errors"].as_array().map(Vec::len), Some(1), "each error is told once: {}", unfinished.body);
}

#[tokio::test]
async fn pages_out_of_range_and_cursors_of_nothing_are_bad_input() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    let list_cursor = alice.ask("{ conversations { edges { cursor } } }").await["conversations"]["edges"][0]["cursor"].as_str().expect("a cursor").to_owned();
    for arguments in ["first: -1", "first: 101", "last: -1", "last: 101", "first: 1, last: 1", "after: \"x\"", "before: \"\"", "after: \"é\""] {
        for field in [format!("users({arguments}) {{ edges {{ cursor }} }}"), format!("conversations({arguments}) {{ edges {{ cursor }} }}")] {
            let reply = alice.request(&format!("{{ {field} }}"), json!({})).await;
            assert_eq!((reply.status, reply.code()), (200, "BAD_USER_INPUT"), "{field}: {}", reply.body);
        }
        let reply = alice.request(&format!("{{ conversation(with: \"bob\") {{ messages({arguments}) {{ edges {{ cursor }} }} }} }}"), json!({})).await;
        assert_eq!(reply.code(), "BAD_USER_INPUT", "messages({arguments})");
    }
    let of_another_list = alice.request(&format!("{{ users(after: \"{list_cursor}\") {{ edges {{ cursor }} }} }}"), json!({})).await;
    assert_eq!(of_another_list.code(), "BAD_USER_INPUT");
    let fine = alice.ask("{ none: users(first: 0) { edges { cursor } } all: users(first: 100) { edges { cursor } } }").await;
    assert_eq!((fine["none"]["edges"].as_array().map(Vec::len), fine["all"]["edges"].as_array().map(Vec::len)), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_history_is_paged_from_both_ends() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    for n in 1..=7 {
        alice.sent(&bob, &n.to_string()).await;
    }
    let page = async |arguments: &str| {
        let query = format!(
            "{{ conversation(with: \"bob\") {{ messages({arguments}) {{ edges {{ cursor node {{ text }} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }} }}"
        );
        let page = alice.ask(&query).await["conversation"]["messages"].clone();
        let texts: String = nodes(&page).iter().filter_map(|node| node["text"].as_str()).collect();
        (texts, page["pageInfo"]["hasPreviousPage"] == true, page["pageInfo"]["hasNextPage"] == true, page["pageInfo"].clone())
    };
    let (texts, previous, next, info) = page("last: 3").await;
    assert_eq!((texts.as_str(), previous, next), ("567", true, false));
    let (texts, previous, next, info) = page(&format!("last: 3, before: {}", info["startCursor"])).await;
    assert_eq!((texts.as_str(), previous, next), ("234", true, true));
    let (texts, previous, next, _) = page(&format!("last: 3, before: {}", info["startCursor"])).await;
    assert_eq!((texts.as_str(), previous, next), ("1", false, true));
    let (texts, previous, next, info) = page("first: 4").await;
    assert_eq!((texts.as_str(), previous, next), ("1234", false, true));
    let (texts, previous, next, _) = page(&format!("first: 4, after: {}", info["endCursor"])).await;
    assert_eq!((texts.as_str(), previous, next), ("567", true, false));
}

#[tokio::test]
async fn values_of_the_wrong_shape_are_bad_input() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let events = server.events();
    let send = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id } userErrors { code } } }";
    for input in [json!({}), json!({ "to": "bob" }), json!({ "to": ["bob"], "text": "x" }), json!({ "to": "bob", "text": 7 }), json!("bob"), Value::Null] {
        let reply = alice.request(send, json!({ "input": input })).await;
        assert!(["BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"].contains(&reply.code()), "{input}: {}", reply.body);
    }
    assert_eq!((server.events(), bob.list().await.len()), (events, 0));
}

#[tokio::test]
async fn t_no_text_and_no_token_reaches_the_log_of_the_service() {
    let server = Server::start_with(&["--trace", "trace,tungstenite=trace"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un secret bien gardé").await;
    alice.send(&bob, "un secret avec exemple.fr").await;
    alice.request("mutation { sendMessage(input: { to: \"bob\", text: \"un secret\" }) { nope } }", json!({})).await;
    bob.history(&alice).await;
    let mut inbox = Socket::inbox(&server, &bob).await;
    alice.sent(&bob, "un secret en direct").await;
    assert_eq!(inbox.event().await["message"]["text"], "un secret en direct");
    inbox.subscribe("send", "mutation { sendMessage(input: { to: \"alice\", text: \"un secret par la prise\" }) { message { id } } }", json!({})).await;
    assert!(inbox.hear().await.is_ok());
    let log = server.log();
    assert!(!log.is_empty());
    for (number, line) in log.lines().enumerate() {
        assert!(!line.contains("secret") && !line.contains(&alice.token) && !line.contains(&bob.token), "line {number}");
    }
}

#[tokio::test]
async fn a_client_that_never_ends_its_request_keeps_nobody_waiting() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let mut stuck = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("a socket");
    stuck.write_all(b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{").await.expect("sent");
    alice.ask("{ me { id } }").await;
    let mut mute = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("a socket");
    let mut silent = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("a socket");
    silent.write_all(b"POST /graphql HTTP/1.1\r\nhost:").await.expect("sent");
    let mut wrong = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("a socket");
    wrong.write_all(b"\x00\x01nonsense\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let _closed = tokio::time::timeout(Duration::from_secs(20), wrong.read_to_end(&mut answer)).await.expect("closed");
    let mut named = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("a socket");
    named.write_all(b"POST /sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{").await.expect("sent");
    alice.ask("{ me { id } }").await;
    let mut status = [0; 12];
    tokio::time::timeout(Duration::from_mins(1), named.read_exact(&mut status)).await.expect("in time").expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 408");
    let _let_go = tokio::time::timeout(Duration::from_mins(1), silent.read_to_end(&mut answer)).await.expect("let go");
    let _let_go = tokio::time::timeout(Duration::from_mins(1), mute.read_to_end(&mut answer)).await.expect("let go");
}
