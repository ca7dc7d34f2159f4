//! More than the service can do: some is refused at once and may be tried again, what is accepted is right, and
//! afterwards all is well.

use std::sync::Arc;

use entrenous::app::{AppError, Fault};
use entrenous::graphql::Options;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use crate::crash::whole_history;
use crate::support::inside::{Back, Inside, Place};
use crate::support::postgres;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_hangs_commands_do_not_become_ever_more() {
    const WRITERS: usize = 5_000;
    let place = Arc::new(Place::new(Back::Postgres, Back::Sqlite).await);
    let inside = Inside::start_node(Arc::clone(&place), 0, Options::default()).await;
    let alice = inside.sign_in("alice").await;
    for bob in 0..10 {
        inside.sign_in(&format!("bob{bob}")).await;
    }
    let operator = postgres::connect(&place.url()).await;
    operator.batch_execute("begin; select from entrenous_log.log for update").await.expect("the log's row");
    let mut sends: FuturesUnordered<_> = (0..WRITERS)
        .map(|n| {
            let (app, alice) = (inside.app.clone(), alice.clone());
            tokio::spawn(async move { app.send_message(&alice, &format!("bob{}", n % 10), "salut", None).await })
        })
        .collect();
    let first = sends.next().await.expect("a send").expect("no panic");
    assert!(matches!(first, Err(AppError::Unavailable(Fault::Full))), "{first:?}");
    operator.batch_execute("rollback").await.expect("free again");
    let mut sent = 0;
    while let Some(outcome) = sends.next().await {
        match outcome.expect("no panic") {
            Ok(_) => sent += 1,
            Err(error) => assert!(matches!(error, AppError::Unavailable(Fault::Full)), "{error:?}"),
        }
    }
    assert!((1..WRITERS).contains(&sent), "{sent}");
    let after = inside.app.log().latest().await.expect("a head").0;
    assert_eq!(after, 11 + sent as u64, "what was refused was not done");
}
