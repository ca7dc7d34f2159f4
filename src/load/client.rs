//! The least that speaks HTTP/1.1 and `graphql-transport-ws`, so that a load costs the cores that it shares with the
//! service little. Without TLS.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::LoadError;

/// How an operation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A rule of the product was against it, as where one of the two blocks the other.
    Refused,
    /// The service had too much to do.
    Shed,
}

/// One connection, on which one operation at a time is asked.
pub struct Client {
    stream: BufReader<TcpStream>,
    host: String,
    body: Vec<u8>,
}

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(host: &str) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host: host.to_owned(), body: Vec::new() })
    }

    /// Asks an operation, as JSON, with a token.
    ///
    /// # Errors
    /// When the connection ends, or the answer has an error other than of overload.
    pub async fn ask(&mut self, token: &str, operation: &str) -> Result<Outcome, LoadError> {
        let (host, length) = (&self.host, operation.len());
        let request = format!(
            "POST /graphql HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{operation}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let (mut line, mut length) = (String::new(), None);
        loop {
            line.clear();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(LoadError::Unreachable(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
            if line == "\r\n" {
                break;
            }
        }
        self.body.resize(length.ok_or_else(|| LoadError::Wrong("an answer without a length".to_owned()))?, 0);
        self.stream.read_exact(&mut self.body).await?;
        self.outcome()
    }

    fn outcome(&self) -> Result<Outcome, LoadError> {
        let body = String::from_utf8_lossy(&self.body);
        let has = |part: &str| body.contains(part);
        // Of a user's data no answer of a load has a code.
        if !has("\"errors\"") && !has("\"code\"") {
            return Ok(Outcome::Done);
        }
        if has("\"RATE_LIMITED\"") || has("\"UNAVAILABLE\"") {
            return Ok(Outcome::Shed);
        }
        if has("\"CONTACT_BLOCKED\"") || has("\"NOT_CONTACTABLE\"") {
            return Ok(Outcome::Refused);
        }
        Err(LoadError::Wrong(body.chars().take(500).collect()))
    }
}

/// A socket that follows somebody's inbox.
pub struct Inbox(WebSocketStream<TcpStream>);

const INBOX: &str = "subscription { inbox { __typename ... on MessageAdded { cursor message { id } } ... on CaughtUp { cursor } } }";

impl Inbox {
    /// Opens it; from then on it is live.
    ///
    /// # Errors
    /// When nobody listens, or the token is not taken.
    pub async fn open(host: &str, token: &str) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{host}/graphql").into_client_request().map_err(wrong)?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(wrong)?;
        let mut inbox = Self(socket);
        inbox.say(&json!({ "type": "connection_init", "payload": { "token": token } })).await?;
        inbox.say(&json!({ "id": "inbox", "type": "subscribe", "payload": { "query": INBOX } })).await?;
        while inbox.next().await?["__typename"] != "CaughtUp" {}
        Ok(inbox)
    }

    async fn say(&mut self, message: &Value) -> Result<(), LoadError> {
        self.0.send(Message::text(message.to_string())).await.map_err(wrong)
    }

    /// The next event.
    ///
    /// # Errors
    /// When the socket ends.
    pub async fn next(&mut self) -> Result<Value, LoadError> {
        loop {
            let message = self.0.next().await.ok_or_else(|| LoadError::Wrong("the socket ended".to_owned()))?.map_err(wrong)?;
            let Message::Text(text) = message else {
                if let Message::Close(why) = message {
                    return Err(LoadError::Wrong(why.map_or_else(|| "the socket was closed".to_owned(), |why| why.to_string())));
                }
                continue;
            };
            let mut message: Value = serde_json::from_str(&text).map_err(|error| LoadError::Wrong(error.to_string()))?;
            match message["type"].as_str() {
                Some("next") => return Ok(message["payload"]["data"]["inbox"].take()),
                Some("ping") => self.say(&json!({ "type": "pong" })).await?,
                Some("error" | "complete") => return Err(LoadError::Wrong(text.to_string())),
                _ => {}
            }
        }
    }
}

fn wrong(error: SocketError) -> LoadError {
    match error {
        SocketError::Io(error) => LoadError::Unreachable(error),
        error => LoadError::Wrong(error.to_string()),
    }
}
