//! The edge's limits, languages and answers, by the letter.

mod answers;
mod connections;
mod documents;
mod limits;

use reqwest::RequestBuilder;

use crate::support::Reply;

/// The media type of answers whose status says whether anything was executed.
pub const NEWER: &str = "application/graphql-response+json";

pub async fn reply(request: RequestBuilder) -> Reply {
    Reply::of(request.send().await.expect("an answer")).await
}
