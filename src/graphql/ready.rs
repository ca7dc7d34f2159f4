//! Rows that were read already are written down at once. The executor makes a future, a box and a turn of each field of each
//! row, which is most of what a page costs; a field that has to be waited for, or that fails, is left to it
//! (`docs/decisions/0028-rows-without-futures.md`).

use std::borrow::Cow;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, Value};

/// An object whose fields can be had without waiting.
pub(super) trait Ready: OutputType {
    /// A field's value; none where it has to be waited for, fails, or is not known here. The same as its resolver gives.
    fn ready(&self, field: &Field) -> Option<Value>;
}

/// A list of rows.
pub(super) struct Rows<T>(pub Vec<T>);

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
        let rows = self.0.iter().map(|row| object(row, &context.item.node)).collect::<Option<Vec<_>>>();
        match rows {
            Some(rows) => Ok(Value::List(rows)),
            None => Box::pin(self.0.resolve(context, field)).await,
        }
    }
}

/// What is asked of an object, if all of it is ready.
pub(super) fn object<T: Ready>(object: &T, asked: &SelectionSet) -> Option<Value> {
    let mut fields = IndexMap::with_capacity(asked.items.len());
    for selection in &asked.items {
        // A plan has nothing else, but where an object's type is not known before.
        let Selection::Field(field) = &selection.node else { return None };
        let field = &field.node;
        let value = if field.name.node == "__typename" { text(T::type_name()) } else { object_field(object, field)? };
        fields.insert(field.response_key().node.clone(), value);
    }
    Some(Value::Object(fields))
}

fn object_field<T: Ready>(object: &T, field: &Field) -> Option<Value> {
    // A resolver parses arguments; none that is ready has any.
    if field.arguments.is_empty() { object.ready(field) } else { None }
}

/// An object in an object.
pub(super) fn within<T: Ready>(inner: &T, field: &Field) -> Option<Value> {
    object(inner, &field.selection_set.node)
}

/// The same where there may be none.
pub(super) fn perhaps<T: Ready>(inner: Option<T>, field: &Field) -> Option<Value> {
    inner.map_or(Some(Value::Null), |inner| within(&inner, field))
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}
