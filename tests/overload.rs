//! More than the service can do: some is refused at once and may be tried again, what is accepted is right, and
//! afterwards all is well.

use serde_json::json;

use crate::crash::whole_history;
use crate::support::{Person, Server, sign};

const SEND: &str = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_no_room_for_is_refused_at_once_and_may_be_tried_again() {
    let server = Server::start_with(&["--max-running", "2"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let flood = (0..64).map(|_| {
        let alice = server.person("alice");
        let to = bob.id.clone();
        tokio::spawn(async move {
            let (mut accepted, mut shed) = (Vec::new(), 0);
            while accepted.len() < 5 {
                let id = entrenous::cli::new_id().to_string();
                let reply = alice.request(SEND, json!({ "input": { "to": to, "text": "salut", "messageId": id } })).await;
                if reply.status == 200 {
                    assert_eq!(reply.body["data"]["sendMessage"]["message"]["id"], id.as_str(), "{}", reply.body);
                    accepted.push(id);
                } else {
                    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"), "{}", reply.body);
                    assert_eq!(reply.headers["retry-after"], "1");
                    shed += 1;
                }
            }
            (accepted, shed)
        })
    });
    let (mut accepted, mut shed) = (Vec::new(), 0);
    for client in flood.collect::<Vec<_>>() {
        let (ids, count) = client.await.expect("right answers");
        accepted.extend(ids);
        shed += count;
    }
    assert!(shed > 0, "64 do not fit where 2 do");
    let mut stored: Vec<String> = whole_history(&bob, "alice").await.into_iter().map(|(id, _)| id).collect();
    accepted.sort_unstable();
    stored.sort_unstable();
    assert_eq!(stored, accepted, "what was refused was not done");
    alice.sent(&bob, "and now there is room").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tries_many_tokens_is_refused_and_nobody_else() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let forged = |n: usize| {
        Person::new("alice", sign(b"another key, which nobody was given", &json!({ "sub": "alice", "n": n, "exp": 4_000_000_000_u64 })), &server.url)
    };
    let mut n = 0;
    let refused = loop {
        let reply = forged(n).request("{ me { id } }", json!({})).await;
        if reply.status != 401 {
            break reply;
        }
        assert_eq!(reply.code(), "UNAUTHENTICATED");
        n += 1;
    };
    assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"), "after {n}");
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(n >= 250, "a mistake costs nobody anything: {n}");
    alice.ask("{ me { id } }").await;
}
