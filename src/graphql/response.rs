//! What an operation is answered: data in the shape that was asked for, and errors that each have a code.

use std::sync::Arc;

use async_graphql::{Response as Executed, ServerError, Value};

use super::errors::{Code, mark};
use super::json::Json;
use super::shape::{self, Shape, TYPE_NAME, with_nulls};

/// The most errors of a response: a document of many faults must not make a long answer.
const MAX_ERRORS: usize = 20;

/// A response; `data` only where something was executed.
pub struct Response {
    data: Option<(Arc<Shape>, Value)>,
    errors: Vec<ServerError>,
}

impl Response {
    /// Nothing was executed.
    pub(super) fn refused(mut errors: Vec<ServerError>, code: Code) -> Self {
        errors.truncate(MAX_ERRORS);
        for error in &mut errors {
            mark(error, code);
        }
        Self { data: None, errors }
    }

    /// What the executor made of an operation.
    pub(super) fn executed(shape: &Arc<Shape>, executed: Executed) -> Self {
        let Executed { data, mut errors, .. } = executed;
        if errors.is_empty() {
            return Self { data: Some((Arc::clone(shape), data)), errors };
        }
        errors.truncate(MAX_ERRORS);
        for error in &mut errors {
            // An error of ours has its code; what is left is a value that has not the shape its field asks for.
            mark(error, Code::BadUserInput);
        }
        let data = with_nulls(shape, data).unwrap_or(Value::Null);
        Self { data: Some((Arc::clone(shape), data)), errors }
    }

    /// What the executor made of a subscription at first: an error of its field says that it did not begin.
    pub(super) fn first(shape: &Arc<Shape>, executed: Executed) -> Self {
        let has_begun = executed.errors.iter().all(|error| error.path.len() > 1);
        let response = Self::executed(shape, executed);
        if has_begun { response } else { Self { data: None, ..response } }
    }

    /// Whether nothing was executed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.data.is_none()
    }

    /// Whether there is no data, for whatever reason: nothing that was asked for is there.
    #[must_use]
    pub fn has_no_data(&self) -> bool {
        self.data.as_ref().is_none_or(|(_, data)| match data {
            Value::Object(fields) => fields.iter().all(|(key, value)| key == TYPE_NAME || *value == Value::Null),
            data => *data == Value::Null,
        })
    }

    #[must_use]
    pub fn errors(&self) -> &[ServerError] {
        &self.errors
    }

    /// The codes of the errors.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().filter_map(|error| match error.extensions.as_ref()?.get("code")? {
            Value::String(code) => Some(code.as_str()),
            _ => None,
        })
    }

    /// In how many seconds what came too often may come again.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.errors.iter().find_map(|error| match error.extensions.as_ref()?.get("retryAfter")? {
            Value::Number(seconds) => seconds.as_u64(),
            _ => None,
        })
    }

    pub(super) fn first_message(&self) -> String {
        self.errors.first().map(|error| error.message.clone()).unwrap_or_default()
    }

    /// The response as it travels: JSON in UTF-8.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Json::default();
        self.write(&mut json);
        json.into_bytes()
    }

    /// Several, as a list.
    #[must_use]
    pub fn list_to_json(responses: &[Self]) -> Vec<u8> {
        let mut json = Json::default();
        let _every_response_can_be_written = json.list(responses, |response, json| {
            response.write(json);
            Some(())
        });
        json.into_bytes()
    }

    fn write(&self, json: &mut Json) {
        let mut entries = json.object();
        if !self.errors.is_empty() {
            entries.key("errors").value(&self.errors);
        }
        if let Some((shape, data)) = &self.data {
            shape::write(shape, data, entries.key("data"));
        }
        entries.end();
    }
}
