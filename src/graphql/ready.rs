//! Rows that were read already are written down at once, as JSON. The executor makes a future, a box and a turn of each field
//! of each row, and of each value a tree, which is most of what a page costs; a field that has to be waited for, or that
//! fails, is left to it (`docs/decisions/0028-rows-without-futures.md`).

use std::borrow::Cow;
use std::sync::Arc;

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, Value};

use super::json::Json;
use super::session::Session;
use super::shape::TYPE_NAME;

/// An object whose fields can be had without waiting.
pub(super) trait Ready: OutputType {
    /// Writes a field's value; none where it has to be waited for, fails, or is not known here: what was written is worth
    /// nothing then. The same as its resolver gives.
    fn write(&self, field: &Field, json: &mut Json) -> Option<()>;
}

/// A list of rows. It is resolved to bytes, of which no other value is made: JSON in the shape that was asked for.
pub(super) struct Rows<T>(pub Vec<T>);

/// One row, likewise.
pub(super) struct Row<T>(pub T);

impl<T: Ready> OutputType for Rows<T> {
    fn type_name() -> Cow<'static, str> {
        Vec::<T>::type_name()
    }

    fn qualified_type_name() -> String {
        Vec::<T>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Vec::<T>::create_type_info(registry)
    }

    async fn resolve(&self, context: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match at_once(context, |asked, json| json.list(&self.0, |row, json| object(row, asked, json))) {
            Some(json) => Ok(json),
            None => Box::pin(self.0.resolve(context, field)).await,
        }
    }
}

impl<T: Ready> OutputType for Row<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn qualified_type_name() -> String {
        T::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, context: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match at_once(context, |asked, json| object(&self.0, asked, json)) {
            Some(json) => Ok(json),
            None => Box::pin(self.0.resolve(context, field)).await,
        }
    }
}

/// What is asked, as JSON. None where a field of it is not ready: what it took of the answer's budget is given back.
fn at_once(context: &ContextSelectionSet<'_>, write: impl FnOnce(&SelectionSet, &mut Json) -> Option<()>) -> Option<Value> {
    let session = context.data_unchecked::<Arc<Session>>();
    let (mut json, left) = (Json::default(), session.budget());
    if write(&context.item.node, &mut json).is_some() {
        return Some(Value::Binary(json.into_bytes().into()));
    }
    session.restore_budget(left);
    None
}

/// Writes what is asked of an object, if all of it is ready.
pub(super) fn object<T: Ready>(object: &T, asked: &SelectionSet, json: &mut Json) -> Option<()> {
    let mut entries = json.object();
    for selection in &asked.items {
        // A plan has nothing else, but where an object's type is not known before.
        let Selection::Field(field) = &selection.node else { return None };
        let field = &field.node;
        let key = &field.response_key().node;
        if key == TYPE_NAME {
            continue;
        }
        let json = entries.key(key);
        match field.name.node.as_str() {
            "__typename" => json.value(&T::type_name()),
            // A resolver parses arguments; none that is ready has any.
            _ if !field.arguments.is_empty() => return None,
            _ => object.write(field, json)?,
        }
    }
    entries.end();
    Some(())
}

/// An object in an object.
pub(super) fn within<T: Ready>(inner: &T, field: &Field, json: &mut Json) -> Option<()> {
    object(inner, &field.selection_set.node, json)
}

/// The same where there may be none.
pub(super) fn perhaps<T: Ready>(inner: Option<T>, field: &Field, json: &mut Json) -> Option<()> {
    if let Some(inner) = inner {
        return within(&inner, field, json);
    }
    json.null();
    Some(())
}
