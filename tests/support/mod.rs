//! What tests share: the service as a process, people who use it over HTTP, and the service inside
//! the test for what needs thousands of steps.

pub mod community;
pub mod inside;
pub mod postgres;
pub mod process;
pub mod socket;
pub mod tampering;
pub mod waiting;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

pub use process::Server;

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    entrenous::cli::now().0 / 1_000_000
}

/// Signs any claims, right or wrong.
#[must_use]
pub fn sign(secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).expect("a token")
}

/// Somebody who uses the service over HTTP.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub token: String,
    url: String,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Reply {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// The code of the first top-level error.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
    }
}

/// A conversation row as tests look at it.
pub const ROW: &str = "id contact { id name } blocked unreadCount lastMessage { id text } lastMessageAt actions";

impl Person {
    pub(crate) fn new(id: &str, token: String, url: &str) -> Self {
        Self { id: id.to_owned(), token, url: url.to_owned(), http: reqwest::Client::new() }
    }

    /// A request without a body yet, over a connection of its own.
    pub fn post(&self) -> reqwest::RequestBuilder {
        reqwest::Client::new().post(format!("{}/graphql", self.url)).bearer_auth(&self.token)
    }

    /// Any GraphQL request, with whatever comes back.
    pub async fn request(&self, query: &str, variables: Value) -> Reply {
        let body = json!({ "query": query, "variables": variables });
        let response = self.http.post(format!("{}/graphql", self.url)).bearer_auth(&self.token).json(&body).send().await;
        Reply::of(response.expect("an answer")).await
    }

    /// The same, or none where the service went away meanwhile.
    pub async fn try_request(&self, query: &str, variables: Value) -> Option<Reply> {
        let body = json!({ "query": query, "variables": variables });
        let response = self.http.post(format!("{}/graphql", self.url)).bearer_auth(&self.token).json(&body).send().await.ok()?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = serde_json::from_str(&response.text().await.ok()?).ok()?;
        Some(Reply { status, headers, body })
    }

    /// The data of an operation that has no top-level error.
    pub async fn ask(&self, query: &str) -> Value {
        self.ask_with(query, json!({})).await
    }

    pub async fn ask_with(&self, query: &str, variables: Value) -> Value {
        let mut reply = self.request(query, variables).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(reply.body.get("errors").is_none(), "{query}: {}", reply.body);
        reply.body["data"].take()
    }

    /// A mutation's payload.
    pub async fn mutate(&self, name: &str, input: Value, fields: &str) -> Value {
        let kind = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
        let query = format!("mutation($input: {kind}!) {{ {name}(input: $input) {{ {fields} userErrors {{ code message field }} }} }}");
        self.ask_with(&query, json!({ "input": input })).await[name].take()
    }

    /// The code of a refusal; empty where the command was done.
    pub async fn outcome(&self, name: &str, input: Value) -> String {
        code_of(&self.mutate(name, input, "").await)
    }

    pub async fn send(&self, to: &Self, text: &str) -> Value {
        self.mutate("sendMessage", json!({ "to": to.id, "text": text }), &format!("message {{ id text sentAt mine sender {{ id }} }} conversation {{ {ROW} }}"))
            .await
    }

    /// Sends, and must succeed: the message's id.
    pub async fn sent(&self, to: &Self, text: &str) -> String {
        let payload = self.send(to, text).await;
        assert_eq!(payload["userErrors"], json!([]), "{payload}");
        payload["message"]["id"].as_str().expect("an id").to_owned()
    }

    pub async fn send_outcome(&self, to: &Self, text: &str) -> String {
        code_of(&self.send(to, text).await)
    }

    pub async fn block(&self, user: &Self) {
        assert_eq!(self.outcome("blockUser", json!({ "userId": user.id })).await, "");
    }

    pub async fn unblock(&self, user: &Self) -> Value {
        self.mutate("unblockUser", json!({ "userId": user.id }), &format!("revealedCount user {{ blocked canMessage }} conversation {{ {ROW} }}")).await
    }

    pub async fn delete(&self, user: &Self) -> Value {
        self.mutate("deleteConversation", json!({ "with": user.id }), "deletedConversationId warning").await
    }

    pub async fn open(&self, user: &Self) -> Value {
        self.mutate("openConversation", json!({ "with": user.id }), &format!("conversation {{ {ROW} messages {{ edges {{ node {{ text }} }} }} }}")).await
    }

    pub async fn read(&self, user: &Self) {
        assert_eq!(self.outcome("markAsRead", json!({ "with": user.id })).await, "");
    }

    pub async fn contactable(&self, contactable: bool) {
        assert_eq!(self.outcome("toggleContactable", json!({ "contactable": contactable })).await, "");
    }

    pub async fn templates(&self, list: i32, detail: i32) {
        assert_eq!(self.outcome("configureChatSection", json!({ "listTemplate": list, "detailTemplate": detail })).await, "");
    }

    /// The rows of the list, the oldest first.
    pub async fn list(&self) -> Vec<Value> {
        nodes(&self.ask(&format!("{{ conversations {{ edges {{ node {{ {ROW} }} }} }} }}")).await["conversations"])
    }

    /// With whom the rows are, in order.
    pub async fn contacts(&self) -> Vec<String> {
        self.list().await.iter().map(|row| row["contact"]["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// One row of the list.
    pub async fn row(&self, contact: &Self) -> Option<Value> {
        self.list().await.into_iter().find(|row| row["contact"]["id"] == contact.id.as_str())
    }

    /// The texts of a history; none where there is no conversation.
    pub async fn history(&self, contact: &Self) -> Option<Vec<String>> {
        let query = "query($with: ID!) { conversation(with: $with) { messages(last: 100) { edges { node { text } } } } }";
        let data = self.ask_with(query, json!({ "with": contact.id })).await;
        let conversation = data.get("conversation").filter(|conversation| !conversation.is_null())?;
        Some(nodes(&conversation["messages"]).iter().map(|node| node["text"].as_str().expect("a text").to_owned()).collect())
    }

    pub async fn badge(&self, contact: &Self) -> i64 {
        self.row(contact).await.expect("a row")["unreadCount"].as_i64().expect("a count")
    }

    pub async fn user(&self, user: &Self) -> Value {
        let query = "query($id: ID!) { user(id: $id) { id name avatarUrl contactable canMessage blocked conversation { id } } }";
        self.ask_with(query, json!({ "id": user.id })).await["user"].take()
    }

    pub async fn can_message(&self, user: &Self) -> bool {
        self.user(user).await["canMessage"].as_bool().expect("a boolean")
    }
}

/// The nodes of a connection.
#[must_use]
pub fn nodes(connection: &Value) -> Vec<Value> {
    connection["edges"].as_array().expect("edges").iter().map(|edge| edge["node"].clone()).collect()
}

/// The code of a payload's refusal; empty where there is none.
#[must_use]
pub fn code_of(payload: &Value) -> String {
    payload["userErrors"][0]["code"].as_str().unwrap_or_default().to_owned()
}
