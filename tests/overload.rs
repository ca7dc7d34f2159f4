//! More than the service can do: some is refused at once and may be tried again, what is accepted is right, and
//! afterwards all is well.

use std::sync::Arc;

use entrenous::app::{AppError, Fault};
use entrenous::graphql::Options;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::crash::whole_history;
use crate::support::inside::{Back, Inside, Place};
use crate::support::postgres;
use crate::support::process::run;
use crate::support::socket::Socket;
use crate::support::waiting::until;
use crate::support::{Person, Server, sign};

/// More connections that nobody reads from than a user has room for.
const MANY_UNREAD: usize = 90;
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
        assert!(n < 10_000, "nobody is refused");
    };
    assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"), "after {n}");
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(n >= 250, "a mistake costs nobody anything: {n}");
    let http = reqwest::Client::new();
    let measures = async |token: &str| {
        let asked = http.get(format!("{}/metrics", server.url)).header("via", "1.1 proxy").bearer_auth(token);
        asked.send().await.expect("an answer").status().as_u16()
    };
    let by_another_door: Vec<u16> = futures_util::stream::iter(0..1_000).map(|_| measures("no.such.token")).buffer_unordered(16).collect().await;
    assert!(by_another_door.contains(&429));
    assert_eq!(measures(&server.admin().token).await, 200);
    alice.ask("{ me { id } }").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_leaves_room_for_others() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Sqlite).await);
    let inside = Arc::new(Inside::start_node(Arc::clone(&place), 0, Options { running_of_user: 3, ..Options::default() }).await);
    let [alice, bob] = [inside.sign_in("alice").await, inside.sign_in("bob").await];
    inside.mutate(&alice, "sendMessage", json!({ "to": "bob", "text": "salut" }), "message { id }").await;
    let operator = postgres::connect(&place.url()).await;
    operator.batch_execute("begin; select from entrenous_log.log for update").await.expect("the log's row");
    let block = "mutation { blockUser(input: { userId: \"bob\" }) { user { id } } }";
    let waiting: FuturesUnordered<_> = (0..10)
        .map(|_| {
            let (inside, alice) = (Arc::clone(&inside), alice.clone());
            tokio::spawn(async move { inside.respond(&alice, block).await })
        })
        .collect();
    let answers = waiting.map(|answer| answer.expect("no panic"));
    let refused: Vec<_> = answers.take(7).collect().await;
    assert!(refused.iter().all(|answer| answer["errors"][0]["extensions"]["code"] == "RATE_LIMITED"), "{refused:?}");
    assert_eq!(inside.ask(&bob, "{ me { id } }", json!({})).await["me"]["id"], "bob");
    operator.batch_execute("rollback").await.expect("free again");
}

/// Whoever asks for much and reads nothing is given no more, and others are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_user_leaves_unread_is_bounded() {
    let server = Server::start_with(&["--send-rate", "0"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    for _ in 0..100 {
        alice.sent(&bob, &"x".repeat(2_000)).await;
    }
    let query = format!("{{ conversation(with: \"bob\") {{ messages(last: 100) {{ edges {{ node {{ {} }} }} }} }} }}", long_texts());
    // Six megabytes each: one that is unread is in the service, but for what the system keeps of a socket.
    let mut unread = Vec::new();
    let refused = loop {
        let alone = alice.request(&query, json!({})).await;
        if alone.status != 200 {
            break alone;
        }
        let mut socket = Socket::signed_in(&server, &alice).await;
        for n in 0..3 {
            socket.subscribe(&n.to_string(), &query, json!({})).await;
        }
        unread.push(socket);
        assert!(unread.len() < MANY_UNREAD, "nothing is refused");
    };
    assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"));
    assert_eq!(alice.ask("{ me { id } }").await["me"]["id"], "alice", "what is short");
    assert_eq!(bob.request(&query.replace("bob", "alice"), json!({})).await.status, 200);
    for socket in &mut unread {
        let mut over = 0;
        while over < 3 {
            // One that was left alone for too long is closed.
            let Ok(message) = socket.hear().await else { break };
            let is_refused = message["type"] == "error";
            assert!(!is_refused || message["payload"][0]["extensions"]["code"] == "RATE_LIMITED");
            over += usize::from(is_refused || message["type"] == "complete");
        }
    }
    until("what is read counts no more", async || alice.request(&query, json!({})).await.status != 429).await;
}

/// Also over connections that nobody reads from: they are ended, and what was held for them goes with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_is_let_go() {
    let server = Server::start_with(&["--send-rate", "0"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    for _ in 0..100 {
        alice.sent(&bob, &"x".repeat(2_000)).await;
    }
    let query = &format!("{{ conversation(with: \"bob\") {{ messages(last: 100) {{ edges {{ node {{ {} }} }} }} }} }}", long_texts());
    let body = json!({ "query": query }).to_string();
    let host = server.url.strip_prefix("http://").expect("an address");
    let mut unread = Vec::new();
    while alice.request(query, json!({})).await.status == 200 {
        let mut socket = tokio::net::TcpStream::connect(host).await.expect("connected");
        let head = format!("POST /graphql HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n", alice.token);
        socket.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.expect("asked");
        unread.push(socket);
        assert!(unread.len() < MANY_UNREAD, "nothing is refused");
    }
    assert_eq!(bob.request(&query.replace("bob", "alice"), json!({})).await.status, 200);
    until("what nobody reads is let go", async || alice.request(query, json!({})).await.status != 429).await;
    assert!(unread.len() > 2, "{}", unread.len());
}

/// Thirty of each message: six megabytes of a hundred of the longest.
fn long_texts() -> String {
    (0..30).fold(String::new(), |all, n| format!("{all} t{n}: text"))
}

/// How many of so many wrong tokens are told that they are, each through a proxy that says where it came from.
async fn told_apart(server: &Server, count: usize, from: impl Fn(usize) -> String) -> usize {
    let http = reqwest::Client::new();
    let ask = |n: usize| {
        let asked = http.post(format!("{}/graphql", server.url)).bearer_auth("no.such.token").header("x-forwarded-for", from(n));
        async move { asked.json(&json!({ "query": "{ me { id } }" })).send().await.expect("an answer").status().as_u16() }
    };
    let statuses: Vec<u16> = futures_util::stream::iter(0..count).map(ask).buffer_unordered(16).collect().await;
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 401).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_whoever_tries_many_tokens_is_refused_alone() {
    const MANY: usize = 1_000;
    const BURST: usize = 250;
    let server = Server::start_with(&["--trusted-proxy", "127.0.0.0/8,::1"]);
    let first = told_apart(&server, MANY, |_| "192.0.2.1".to_owned()).await;
    assert!((BURST..MANY).contains(&first), "{first}");
    let forged = told_apart(&server, MANY, |n| format!("198.51.100.{}, 192.0.2.1", n % 200)).await;
    assert!(forged < MANY, "who asks can write what stands on the left: {forged}");
    assert_eq!(told_apart(&server, BURST, |_| "192.0.2.2".to_owned()).await, BURST, "another");
    assert_eq!(told_apart(&server, MANY, |n| format!("203.0.{}.{}", n / 200, n % 200)).await, MANY, "others");

    let untold = Server::start();
    let all = told_apart(&untold, MANY, |n| format!("192.0.2.{}", n % 200)).await;
    assert!(all < MANY, "{all}");
    let (ok, _, error) = run(&["serve", "--trusted-proxy", "proxy.example.com"]);
    assert!(!ok && error.contains("a proxy is an address"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_hangs_commands_do_not_become_ever_more() {
    const WRITERS: usize = 5_000;
    let place = Arc::new(Place::new(Back::Postgres, Back::Sqlite).await);
    let inside = Inside::at(&place).await;
    // So many that none has more than one user may.
    let mut people = Vec::new();
    for n in 0..25 {
        people.push(inside.sign_in(&format!("p{n}")).await);
    }
    let operator = postgres::connect(&place.url()).await;
    operator.batch_execute("begin; select from entrenous_log.log for update").await.expect("the log's row");
    let mut sends: FuturesUnordered<_> = (0..WRITERS)
        .map(|n| {
            let (app, from, to) = (inside.app.clone(), people[n % 25].clone(), format!("p{}", (n + 1) % 25));
            tokio::spawn(async move { app.send_message(&from, &to, "salut", None).await })
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
    assert_eq!(after, 25 + sent as u64, "what was refused was not done");
}
