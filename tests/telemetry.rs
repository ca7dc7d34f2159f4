//! What the service tells its operator: health, measures, traces and lines.

use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::socket::Socket;
use crate::support::{Reply, Server};

#[tokio::test]
async fn measures_follow_what_happens() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let _inbox = Socket::inbox(&server, &bob).await;
    alice.sent(&bob, "un").await;
    alice.sent(&bob, "deux").await;
    alice.send_outcome(&alice, "trois").await;
    alice.request("{ nope }", json!({})).await;
    for (name, value) in [
        ("entrenous_commands_total{command=\"sendMessage\",outcome=\"done\"}", 2.0),
        ("entrenous_commands_total{command=\"sendMessage\",outcome=\"refused\"}", 1.0),
        ("entrenous_rejected_total{code=\"GRAPHQL_VALIDATION_FAILED\"}", 1.0),
        ("entrenous_command_seconds_count", 3.0),
        ("entrenous_append_batch_sum", 4.0),
        ("entrenous_log_position", 4.0),
        ("entrenous_projection_position", 4.0),
        ("entrenous_projection_lag", 0.0),
        ("entrenous_subscribers", 1.0),
        ("entrenous_sockets", 1.0),
        ("entrenous_inbox_items_total", 2.0),
        ("entrenous_inbox_dropped_total", 0.0),
    ] {
        assert!((server.metric(name).await - value).abs() < 0.5, "{name} is {}", server.metric(name).await);
    }
    let now = entrenous::cli::now().0 / 1_000_000;
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let age = now as f64 - server.metric("entrenous_projection_progress_timestamp_seconds").await;
    assert!((0.0..60.0).contains(&age));
}

#[tokio::test]
async fn b6_measures_are_for_operators_alone() {
    let server = Server::start();
    let alice = server.person("alice");
    let metrics = || Client::new().get(format!("{}/metrics", server.url));
    let status = async |request: reqwest::RequestBuilder| Reply::of(request.send().await.expect("an answer")).await.status;
    assert_eq!(status(metrics()).await, 200, "from this machine, in development mode");
    for (name, value) in [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7"), ("via", "1.1 proxy"), ("host", "chat.example.com")] {
        assert_eq!(status(metrics().header(name, value)).await, 403, "{name}");
        assert_eq!(status(metrics().header(name, value).bearer_auth(&alice.token)).await, 403, "{name}");
        assert_eq!(status(metrics().header(name, value).bearer_auth(server.admin().token)).await, 200, "{name}");
    }
    // A proxy on this machine may look like the machine itself.
    let server = Server::start_with(&["--token-secret", "a secret of at least thirty-two bytes"]);
    assert_eq!(status(Client::new().get(format!("{}/metrics", server.url))).await, 403);
}

#[tokio::test]
async fn traces_reach_a_collector_and_go_on_with_their_callers() {
    let collector = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let endpoint = format!("http://{}", collector.local_addr().expect("an address"));
    let collected = tokio::spawn(async move {
        let (mut socket, _) = collector.accept().await.expect("the exporter");
        let mut bytes = Vec::new();
        let head = loop {
            assert!(socket.read_buf(&mut bytes).await.expect("read") > 0);
            if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
                break String::from_utf8_lossy(&bytes[..end + 4]).to_lowercase();
            }
        };
        let length: usize = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok()).expect("a length");
        while bytes.len() < head.len() + length {
            assert!(socket.read_buf(&mut bytes).await.expect("read") > 0);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("answered");
        (head.clone(), bytes.split_off(head.len()))
    });
    let mut server = Server::start_with(&["--otlp-endpoint", &endpoint]);
    let [alice, _] = server.people(["alice", "bob"]).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let send = json!({ "query": "mutation { sendMessage(input: { to: \"bob\", text: \"un secret\" }) { message { id } } }" });
    let traced =
        Client::new().post(format!("{}/graphql", server.url)).bearer_auth(&alice.token).header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    assert_eq!(Reply::of(traced.json(&send).send().await.expect("an answer")).await.status, 200);
    server.stop();
    let (head, body) = collected.await.expect("spans");
    assert!(head.starts_with("post /v1/traces "), "{head}");
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    for name in ["entrenous", "request", "prepare", "execute", "append", "project"] {
        assert!(holds(name.as_bytes()), "{name}");
    }
    let id: Vec<u8> = (0..16).map(|n| u8::from_str_radix(&trace[2 * n..2 * n + 2], 16).expect("hexadecimal")).collect();
    assert!(holds(&id), "the caller's trace");
    assert!(!holds(b"un secret") && !holds(alice.token.as_bytes()));
}

#[tokio::test]
async fn lines_can_be_json_and_name_the_request() {
    let mut server = Server::start_with(&["--log-format", "json"]);
    let id = "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f";
    let asked = Client::new().post(format!("{}/graphql", server.url)).header("x-request-id", id).json(&json!({ "query": "{ me { id } }" }));
    let reply = Reply::of(asked.send().await.expect("an answer")).await;
    assert_eq!((reply.status, reply.headers["x-request-id"].to_str().ok()), (401, Some(id)));
    server.stop();
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(lines.iter().any(|line| line["request"] == id && line["status"] == 401 && line["level"] == "INFO"), "{log}");
}

#[tokio::test]
async fn a_service_that_can_serve_is_ready() {
    let server = Server::start();
    for path in ["live", "ready"] {
        let reply = Reply::of(reqwest::get(format!("{}/health/{path}", server.url)).await.expect("an answer")).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    }
}
