//! How streams end, and whose pages and sockets are let in.

use reqwest::header::HeaderValue;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;

use super::reply;
use crate::support::process::run;
use crate::support::socket::{Closed, Socket};
use crate::support::waiting::until;
use crate::support::{Server, now, sign};

/// The text of an event stream, to its end.
async fn stream(request: RequestBuilder) -> String {
    let response = request.header("accept", "text/event-stream").send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &HeaderValue::from_static("text/event-stream; charset=utf-8")));
    response.text().await.expect("a stream")
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
    assert_eq!(server.person("bob").request("{ me { id } }", json!({})).await.code(), "USER_LIMIT_REACHED");
}
