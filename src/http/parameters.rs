//! GraphQL requests as they travel: a JSON body, or a query string.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::Query;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::graphql::{Call, DocumentReference, JsonMap};

/// What is an object in JSON. Derived readers take a list, too, for the members in their order.
pub(super) struct Members<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

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
    let call = |parameters: Members<Parameters>| parameters.0.call().ok_or_else(|| WHAT_IS_RIGHT.to_owned());
    if !body.trim_ascii_start().starts_with(b"[") {
        return call(parsed(body)?).map(|call| Asked::One(Box::new(call)));
    }
    if max_batch <= 1 {
        return Err("send one operation a request".to_owned());
    }
    let batch: Vec<Members<Parameters>> = parsed(body)?;
    if batch.is_empty() || batch.len() > max_batch {
        return Err(format!("a batch has 1 to {max_batch} operations, not {}", batch.len()));
    }
    batch.into_iter().map(call).collect::<Result<_, _>>().map(Asked::Batch)
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => WHAT_IS_RIGHT.to_owned(),
        Category::Syntax | Category::Eof | Category::Io => format!("the request is not JSON: line {}, column {}", error.line(), error.column()),
    })
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
