//! A client of the `graphql-transport-ws` protocol, frame by frame.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::waiting::PATIENCE;
use super::{Person, Server};

/// How long the service listens for somebody who says nothing, and a little more.
const SILENCE: Duration = Duration::from_secs(90);

/// Everything that tests look at in an inbox event.
pub const INBOX: &str = "__typename
    ... on MessageAdded { cursor message { id text sentAt mine sender { id } } conversation { contact { id } blocked unreadCount lastMessage { id } } }
    ... on ConversationChanged { cursor conversation { contact { id } blocked unreadCount messages(last: 100) { edges { node { id text } } } } }
    ... on ConversationRemoved { cursor contact { id } conversationId }
    ... on ContactChanged { cursor contact { id name contactable canMessage blocked } }
    ... on ChatSectionChanged { cursor chatSection { title listTemplate { number } } }
    ... on CaughtUp { cursor }
    ... on ResetRequired { cursor }";

pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// How a socket ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed(pub u16);

impl Socket {
    /// A socket that has said nothing yet.
    pub async fn open(server: &Server, protocol: Option<&str>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(protocol) = protocol {
            headers.insert("sec-websocket-protocol", protocol.parse().expect("a protocol"));
        }
        Self::try_open(&server.url, headers).await.expect("a socket")
    }

    async fn try_open(url: &str, headers: HeaderMap) -> Option<Self> {
        let mut request = format!("{}/graphql", url.replace("http", "ws")).into_client_request().expect("an address");
        request.headers_mut().extend(headers);
        let (stream, _) = tokio_tungstenite::connect_async(request).await.ok()?;
        Some(Self { stream })
    }

    /// A socket of somebody who is signed in.
    pub async fn signed_in(server: &Server, person: &Person) -> Self {
        assert_eq!(server.url, person.url);
        Self::try_sign_in(person, HeaderMap::new()).await.expect("a socket")
    }

    /// The same, or none where the service is away.
    pub async fn try_sign_in(person: &Person, mut headers: HeaderMap) -> Option<Self> {
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
        let mut socket = Self::try_open(&person.url, headers).await?;
        socket.say(&json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {}", person.token) } })).await;
        (socket.hear().await.ok()?["type"] == "connection_ack").then_some(socket)
    }

    /// The inbox of somebody, caught up.
    pub async fn inbox(server: &Server, person: &Person) -> Self {
        let mut socket = Self::signed_in(server, person).await;
        socket.subscribe_inbox(None).await;
        assert_eq!(socket.event().await["__typename"], "CaughtUp");
        socket
    }

    /// A cursor of somebody's inbox.
    pub async fn inbox_cursor(server: &Server, person: &Person) -> String {
        let mut socket = Self::signed_in(server, person).await;
        socket.subscribe_inbox(None).await;
        socket.event().await["cursor"].as_str().expect("a cursor").to_owned()
    }

    pub async fn subscribe_inbox(&mut self, after: Option<&str>) {
        let query = format!("subscription($after: String) {{ inbox(after: $after) {{ {INBOX} }} }}");
        self.subscribe("inbox", &query, json!({ "after": after })).await;
    }

    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        self.say(&json!({ "id": id, "type": "subscribe", "payload": { "query": query, "variables": variables } })).await;
    }

    pub async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        let _closed_is_heard_next = self.stream.send(Message::text(text)).await;
    }

    /// The next message, or how the socket ended.
    pub async fn hear(&mut self) -> Result<Value, Closed> {
        loop {
            match timeout(PATIENCE, self.stream.next()).await.expect("something to hear") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(Some(frame)))) => return Err(Closed(frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(Closed(0)),
            }
        }
    }

    /// The next event of the inbox.
    pub async fn event(&mut self) -> Value {
        self.try_event().await.expect("an event")
    }

    /// The same, or how the socket ended.
    pub async fn try_event(&mut self) -> Result<Value, Closed> {
        let mut message = self.hear().await?;
        assert_eq!(message["type"], "next", "{message}");
        assert!(message["payload"].get("errors").is_none(), "{message}");
        Ok(message["payload"]["data"]["inbox"].take())
    }

    /// From now on it answers nothing, pings neither, until the other side ends the connection.
    pub async fn silent(self) {
        let MaybeTlsStream::Plain(mut connection) = self.stream.into_inner() else { panic!("no TLS here") };
        let mut unanswered = Vec::new();
        let _ended = timeout(2 * SILENCE, connection.read_to_end(&mut unanswered)).await.expect("let go");
    }

    /// Waits for the socket to be closed.
    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.hear().await {
                return closed;
            }
        }
    }
}
