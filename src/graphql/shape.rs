//! The shape that an operation's data has: its keys in the order in which they were asked for, and
//! where null may stand. The executor leaves out what failed and writes keys as they were resolved; a
//! response is what the specification says (§6.4.4, §7).

use apollo_compiler::ast::Type;
use async_graphql::{Name, Value};

use super::json::Json;

/// An object's entries.
#[derive(Debug, Default)]
pub(super) struct Shape(pub Vec<Entry>);

#[derive(Debug)]
pub(super) struct Entry {
    pub key: Name,
    pub ty: Type,
    pub inside: Inside,
}

#[derive(Debug)]
pub(super) enum Inside {
    Leaf,
    Object(Shape),
    /// By the name of the object's type, which the object has under [`TYPE_NAME`].
    OneOf(Vec<(Name, Shape)>),
}

/// The key under which the executor is asked for an object's type, beside what the client asks. No
/// client can write it.
pub(super) const TYPE_NAME: &str = " type";

impl Inside {
    /// The entries of one object; none where it has none that were asked for.
    fn entries(&self, object: &Value) -> &[Entry] {
        match self {
            Self::Leaf => &[],
            Self::Object(shape) => &shape.0,
            Self::OneOf(shapes) => {
                let Value::Object(fields) = object else { return &[] };
                let Some(Value::String(name)) = fields.get(TYPE_NAME) else { return &[] };
                shapes.iter().find(|(known, _)| known == name).map_or(&[], |(_, shape)| &shape.0)
            }
        }
    }
}

/// Puts null where something failed: there, or where a type allows it around there. None where it
/// is allowed nowhere.
pub(super) fn with_nulls(shape: &Shape, data: Value) -> Option<Value> {
    object_with_nulls(&shape.0, data)
}

fn object_with_nulls(entries: &[Entry], object: Value) -> Option<Value> {
    let Value::Object(mut fields) = object else { return Some(object) };
    for entry in entries {
        let value = fields.swap_remove(&entry.key).unwrap_or(Value::Null);
        let value = value_with_nulls(&entry.ty, &entry.inside, value)?;
        fields.insert(entry.key.clone(), value);
    }
    Some(Value::Object(fields))
}

fn value_with_nulls(ty: &Type, inside: &Inside, value: Value) -> Option<Value> {
    let completed = match value {
        Value::List(items) => {
            let items = items.into_iter().map(|item| value_with_nulls(ty.item_type(), inside, item));
            items.collect::<Option<Vec<_>>>().map(Value::List)
        }
        object @ Value::Object(_) => object_with_nulls(inside.entries(&object), object),
        leaf => Some(leaf),
    };
    let value = completed.unwrap_or(Value::Null);
    if value == Value::Null && ty.is_non_null() { None } else { Some(value) }
}

/// Writes data in its shape.
pub(super) fn write(shape: &Shape, data: &Value, json: &mut Json) {
    match data {
        Value::Object(_) => write_object(&shape.0, data, json),
        other => json.value(other),
    }
}

fn write_object(entries: &[Entry], object: &Value, json: &mut Json) {
    let Value::Object(fields) = object else { return json.value(object) };
    let mut written = json.object();
    for entry in entries {
        write_value(&entry.inside, fields.get(&entry.key).unwrap_or(&Value::Null), written.key(&entry.key));
    }
    written.end();
}

fn write_value(inside: &Inside, value: &Value, json: &mut Json) {
    match (value, inside) {
        // A row or a list of them, which are JSON in their shape already.
        (Value::Binary(rows), _) => json.raw(rows),
        (value, Inside::Leaf) => json.value(value),
        (Value::List(items), inside) => {
            let _every_item_can_be_written = json.list(items, |item, json| {
                write_value(inside, item, json);
                Some(())
            });
        }
        (object, inside) => write_object(inside.entries(object), object, json),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(key: &str, ty: &str, inside: Inside) -> Entry {
        Entry { key: Name::new(key), ty: Type::parse(ty, "type").expect("a type"), inside }
    }

    fn written(shape: &Shape, data: &Value) -> String {
        let mut json = Json::default();
        write(shape, data, &mut json);
        String::from_utf8(json.into_bytes()).expect("JSON is UTF-8")
    }

    fn completed(shape: &Shape, data: serde_json::Value) -> serde_json::Value {
        let data = with_nulls(shape, Value::from_json(data).expect("a value")).unwrap_or(Value::Null);
        serde_json::from_str(&written(shape, &data)).expect("JSON")
    }

    #[test]
    fn keys_are_in_the_order_of_the_question() {
        let shape = Shape(vec![entry("b", "Int!", Inside::Leaf), entry("a", "Int", Inside::Leaf)]);
        let data = Value::from_json(json!({ "a": 1, "b": 2, " type": "Query" })).expect("a value");
        assert_eq!(written(&shape, &data), r#"{"b":2,"a":1}"#);
    }

    #[test]
    fn null_goes_up_to_where_it_may_stand() {
        let leaf = || vec![entry("id", "ID!", Inside::Leaf), entry("name", "String", Inside::Leaf)];
        let of = |ty| Shape(vec![entry("field", ty, Inside::Object(Shape(leaf())))]);
        assert_eq!(completed(&of("T"), json!({ "field": { "id": "1" } })), json!({ "field": { "id": "1", "name": null } }));
        assert_eq!(completed(&of("T"), json!({ "field": { "name": "x" } })), json!({ "field": null }));
        assert_eq!(completed(&of("T!"), json!({ "field": { "name": "x" } })), json!(null));
        assert_eq!(completed(&of("[T]!"), json!({ "field": [{ "id": "1" }, {}] })), json!({ "field": [{ "id": "1", "name": null }, null] }));
        assert_eq!(completed(&of("[T!]"), json!({ "field": [{ "id": "1" }, {}] })), json!({ "field": null }));
        assert_eq!(completed(&of("T"), json!({})), json!({ "field": null }));
    }

    #[test]
    fn an_object_of_several_types_has_the_entries_of_its_own() {
        let of = |key: &str| Shape(vec![entry(key, "Int!", Inside::Leaf)]);
        let shape = Shape(vec![entry("node", "Node", Inside::OneOf(vec![(Name::new("A"), of("a")), (Name::new("B"), of("b"))]))]);
        assert_eq!(completed(&shape, json!({ "node": { " type": "B", "b": 1 } })), json!({ "node": { "b": 1 } }));
        assert_eq!(completed(&shape, json!({ "node": { " type": "C" } })), json!({ "node": {} }));
        assert_eq!(completed(&shape, json!({ "node": null })), json!({ "node": null }));
    }
}
