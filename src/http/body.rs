//! Bodies of requests: up to a length, and to their end within a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use thiserror::Error;
use tokio::time::timeout;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a body that is too long which are read and passed over.
const PASSED_OVER: usize = 8 << 20;

/// Why there is no body.
#[derive(Clone, Copy, Debug, Error)]
pub(super) enum Unread {
    #[error("the request is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("the request did not end")]
    Endless,
    #[error("the request broke off")]
    Broken,
}

impl Unread {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Endless => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// A body. Some of what is too much is read all the same: whoever is still sending would not see the answer.
///
/// # Errors
/// When it is longer than `max` bytes, or takes too long, or breaks off.
pub(super) async fn read(body: Body, max: usize) -> Result<Vec<u8>, Unread> {
    timeout(PATIENCE, read_whole(body, max)).await.unwrap_or(Err(Unread::Endless))
}

async fn read_whole(body: Body, max: usize) -> Result<Vec<u8>, Unread> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Unread::Broken)?;
        length += chunk.len();
        if length <= max {
            bytes.extend_from_slice(&chunk);
        } else if length > max + PASSED_OVER {
            break;
        }
    }
    if length <= max { Ok(bytes) } else { Err(Unread::TooLong { max }) }
}
