//! The messages of the protocol, and the codes that sockets are closed with.

use std::borrow::Cow;
use std::error::Error as _;

use async_graphql::ServerError;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::error::{Error as SocketError, ProtocolError};

use crate::graphql::Response;
use crate::http::authentication::bearer;
use crate::http::parameters::{Members, Parameters};

pub(super) const PROTOCOL: &str = "graphql-transport-ws";

/// Why a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    GoingAway,
    ProtocolError,
    NotUtf8,
    TooBig,
    /// Clients may come back, a little later.
    TryAgainLater(&'static str),
    BadRequest(&'static str),
    Unauthorized,
    Forbidden(&'static str),
    SubprotocolNotAcceptable,
    InitialisationTimeout,
    SubscriberExists,
    TooManyInitialisations,
}

impl Close {
    pub(super) fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::GoingAway => (1001, "Going away"),
            Self::ProtocolError => (1002, "Protocol error"),
            Self::NotUtf8 => (1007, "Text that is not UTF-8"),
            Self::TooBig => (1009, "The message is too big"),
            Self::TryAgainLater(why) => (1013, why),
            Self::BadRequest(why) => (4400, why),
            Self::Unauthorized => (4401, "Unauthorized"),
            Self::Forbidden(why) => (4403, why),
            Self::SubprotocolNotAcceptable => (4406, "Subprotocol not acceptable"),
            Self::InitialisationTimeout => (4408, "Connection initialisation timeout"),
            Self::SubscriberExists => (4409, "Subscriber already exists"),
            Self::TooManyInitialisations => (4429, "Too many initialisation requests"),
        };
        CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
    }

    /// How to close a socket on which nothing more can be read; none where there is nobody to tell.
    pub(super) fn after(error: &axum::Error) -> Option<Self> {
        match error.source().and_then(|source| source.downcast_ref::<SocketError>())? {
            SocketError::Capacity(_) => Some(Self::TooBig),
            SocketError::Utf8(_) => Some(Self::NotUtf8),
            SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            SocketError::Protocol(_) => Some(Self::ProtocolError),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromClient {
    ConnectionInit {
        #[serde(default)]
        payload: Option<serde_json::Map<String, serde_json::Value>>,
    },
    Ping {
        #[serde(default)]
        payload: Option<serde_json::Map<String, serde_json::Value>>,
    },
    Pong {
        #[serde(default)]
        #[expect(dead_code, reason = "an object when given, and not looked at")]
        payload: Option<serde_json::Map<String, serde_json::Value>>,
    },
    Subscribe {
        id: String,
        payload: Members<Parameters>,
    },
    Complete {
        id: String,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToClient<'a> {
    ConnectionAck,
    Pong {
        /// What came with the ping.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<serde_json::Map<String, serde_json::Value>>,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

/// A response of an operation.
pub(super) fn next(id: &str, response: &Response) -> Message {
    let id = serde_json::to_string(id).expect("a text is always JSON");
    let payload = response.to_json();
    Message::Text(format!("{{\"type\":\"next\",\"id\":{id},\"payload\":{}}}", String::from_utf8_lossy(&payload)).into())
}

impl ToClient<'_> {
    pub(super) fn message(&self) -> Message {
        Message::Text(serde_json::to_string(self).expect("a message is always JSON").into())
    }
}

/// The token of a `connection_init` payload, with or without `Bearer`.
pub(super) fn token(payload: &serde_json::Map<String, serde_json::Value>) -> Option<Cow<'_, str>> {
    let value = ["authorization", "Authorization", "token"].iter().find_map(|name| payload.get(*name)?.as_str())?;
    Some(bearer(value).unwrap_or(value).into())
}
