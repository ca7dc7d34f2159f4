//! Documents that are known by their id or their hash.

use reqwest::Client;
use serde_json::{Value, json};

use super::reply;
use crate::support::process::run;
use crate::support::socket::Socket;
use crate::support::{Person, Server};

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    format!("{:x}", sha2::Sha256::digest(text))
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
        let other = ask(json!({ "documentId": "me", "query": "{ me { name } }" })).await;
        assert_eq!(other.code(), if only { "FORBIDDEN" } else { "BAD_USER_INPUT" }, "another document than its id says");
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
