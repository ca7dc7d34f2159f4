//! GraphQL requests as they travel: a JSON body, or a query string.

use axum::extract::Query;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::graphql::{Call, DocumentReference, JsonMap};

/// One operation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameters {
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    document_id: Option<String>,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<JsonMap>,
    #[serde(default)]
    extensions: Option<Map<String, Value>>,
}

/// The same in a query string, where maps are JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryString {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

/// What a body asks for.
pub(super) enum Asked {
    One(Box<Call>),
    /// As many as the operator allows.
    Batch(Vec<Call>),
}

impl Parameters {
    /// None where it names no document.
    pub(super) fn call(self) -> Option<Call> {
        let hash = || Some(self.extensions.as_ref()?.get("persistedQuery")?.get("sha256Hash")?.as_str()?.to_owned());
        let id = self.document_id.clone().or_else(hash);
        if self.query.is_none() && id.is_none() {
            return None;
        }
        let document = DocumentReference { text: self.query, id };
        Some(Call { document, operation_name: self.operation_name, variables: self.variables.unwrap_or_default() })
    }
}

const WHAT_IS_RIGHT: &str = "the request is not `{\"query\": string, \"variables\": object, \"operationName\": string, \"extensions\": object}`";

/// Reads a body.
///
/// # Errors
/// What is wrong with it.
pub(super) fn of_body(body: &[u8], max_batch: usize) -> Result<Asked, String> {
    // What nearly every body is, in one go. A list would be taken for the members in their order.
    if body.trim_ascii_start().starts_with(b"{")
        && let Ok(parameters) = std::str::from_utf8(body).map_err(drop).and_then(|body| serde_json::from_str::<Parameters>(body).map_err(drop))
    {
        return parameters.call().map(|call| Asked::One(Box::new(call))).ok_or_else(|| WHAT_IS_RIGHT.to_owned());
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("the request is not JSON: line {}, column {}", error.line(), error.column()))?;
    let one = |value: Value| {
        let parameters: Option<Parameters> = serde_json::from_value(value).ok();
        parameters.and_then(Parameters::call).ok_or_else(|| WHAT_IS_RIGHT.to_owned())
    };
    match value {
        Value::Array(_) if max_batch <= 1 => Err("send one operation a request".to_owned()),
        Value::Array(values) if values.is_empty() || values.len() > max_batch => Err(format!("a batch has 1 to {max_batch} operations, not {}", values.len())),
        Value::Array(values) => values.into_iter().map(one).collect::<Result<_, _>>().map(Asked::Batch),
        value => one(value).map(|call| Asked::One(Box::new(call))),
    }
}

/// Reads a query string.
///
/// # Errors
/// What is wrong with it.
pub(super) fn of_query(query: &str) -> Result<Call, &'static str> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build().map_err(|_| "the query string is malformed")?;
    let Query(given) = Query::<QueryString>::try_from_uri(&uri).map_err(|_| "the query string is malformed")?;
    let parameters = Parameters {
        query: given.query,
        document_id: given.document_id,
        operation_name: given.operation_name.filter(|name| !name.is_empty()),
        variables: map(given.variables.as_deref()).map_err(|_| "`variables` is not a JSON object")?,
        extensions: map(given.extensions.as_deref()).map_err(|_| "`extensions` is not a JSON object")?,
    };
    parameters.call().ok_or("the query string has no `query`")
}

/// A map as JSON; none where it is empty or null.
fn map<T: DeserializeOwned>(json: Option<&str>) -> Result<Option<T>, serde_json::Error> {
    json.filter(|json| !json.is_empty()).map_or(Ok(None), serde_json::from_str)
}
