//! Variables, coerced as the specification says (§6.1.2) before anything is executed.

use std::fmt::Write as _;

use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use async_graphql::{Name, Value, Variables};

use super::definitions::{Definition, Definitions};

/// What an operation's variables are: given, or their default; those that are neither stay absent.
///
/// # Errors
/// What is wrong with the first wrong one.
pub(super) fn coerce(definitions: &Definitions, operation: &OperationDefinition, mut given: Variables) -> Result<Variables, String> {
    let mut coerced = Variables::default();
    for definition in &operation.variable_definitions {
        let (name, ty) = (&definition.node.name.node, &definition.node.var_type.node);
        match (given.remove(name), &definition.node.default_value) {
            (Some(value), _) => {
                let mut path = format!("${name}");
                fits(definitions, ty, &value, &mut path).map_err(|what| format!("variable `{path}`: {what}"))?;
                coerced.insert(name.clone(), value);
            }
            (None, Some(default)) => {
                coerced.insert(name.clone(), default.node.clone());
            }
            (None, None) if ty.nullable => {}
            (None, None) => return Err(format!("variable `${name}`: a {ty} is required")),
        }
    }
    Ok(coerced)
}

/// Whether a value is one of a type. Where it is not, `path` leads to the part that is wrong.
fn fits(definitions: &Definitions, ty: &Type, value: &Value, path: &mut String) -> Result<(), String> {
    let wrong = || Err(format!("expected {ty}, found {}", kind(value)));
    match (&ty.base, value) {
        (_, Value::Null) if ty.nullable => Ok(()),
        (_, Value::Null) => wrong(),
        (BaseType::List(item), Value::List(values)) => {
            let length = path.len();
            for (index, value) in values.iter().enumerate() {
                let _never_fails = write!(path, ".{index}");
                fits(definitions, item, value, path)?;
                path.truncate(length);
            }
            Ok(())
        }
        // A single value is a list of one.
        (BaseType::List(item), value) => fits(definitions, item, value, path),
        (BaseType::Named(name), value) => match (definitions.get(name), value) {
            (Some(Definition::Input(fields)), Value::Object(given)) => {
                if let Some(unknown) = given.keys().find(|key| fields.iter().all(|field| field.name != **key)) {
                    return Err(format!("{name} has no field `{unknown}`"));
                }
                let length = path.len();
                for field in fields {
                    let _never_fails = write!(path, ".{}", field.name);
                    match given.get(&field.name) {
                        Some(value) => fits(definitions, &field.ty, value, path)?,
                        None if field.ty.nullable || field.has_default => {}
                        None => return Err(format!("a {} is required", field.ty)),
                    }
                    path.truncate(length);
                }
                Ok(())
            }
            (Some(Definition::Enum(names)), Value::String(value)) if names.iter().any(|name| name == value) => Ok(()),
            (Some(Definition::Enum(names)), Value::Enum(value)) if names.contains(value) => Ok(()),
            (None, value) if is_scalar(name, value) => Ok(()),
            (Some(_) | None, _) => wrong(),
        },
    }
}

/// Whether a value is one of a scalar that the specification defines.
fn is_scalar(name: &Name, value: &Value) -> bool {
    match (name.as_str(), value) {
        ("Int", Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        ("ID", Value::Number(number)) => number.is_i64() || number.is_u64(),
        ("Float", Value::Number(_)) | ("String" | "ID", Value::String(_)) | ("Boolean", Value::Boolean(_)) => true,
        _ => false,
    }
}

/// A value's kind, in words: the value itself may be a text that nobody else should read.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Number(_) => "another number",
        Value::String(_) | Value::Enum(_) => "a string",
        Value::Boolean(_) => "a boolean",
        Value::Binary(_) => "bytes",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, parse_schema};
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = "
        enum Colour { RED GREEN }
        input Inner { colour: Colour!, size: Int = 3 }
        input Outer { id: ID!, inner: [Inner!], name: String }
        type Query { a: Int }";

    fn coerced(definition: &str, given: serde_json::Value) -> Result<serde_json::Value, String> {
        let definitions = Definitions::of(parse_schema(SCHEMA).expect("a schema"));
        let document = parse_query(format!("query({definition}) {{ a }}")).expect("a document");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        let variables = coerce(&definitions, &operation.node, Variables::from_json(given))?;
        Ok(serde_json::to_value(&*variables).expect("JSON"))
    }

    #[test]
    fn given_values_and_defaults_are_taken() {
        assert_eq!(coerced("$a: Int", json!({})), Ok(json!({})));
        assert_eq!(coerced("$a: Int", json!({ "a": null, "z": 1 })), Ok(json!({ "a": null })));
        assert_eq!(coerced("$a: Int = 4", json!({})), Ok(json!({ "a": 4 })));
        assert_eq!(coerced("$a: [Int!]!", json!({ "a": 4 })), Ok(json!({ "a": 4 })), "a single value is a list of one");
        assert_eq!(coerced("$a: ID!, $b: Float", json!({ "a": 4, "b": 4 })), Ok(json!({ "a": 4, "b": 4 })));
        let outer = json!({ "a": { "id": "x", "inner": [{ "colour": "RED" }] } });
        assert_eq!(coerced("$a: Outer!", outer.clone()), Ok(outer));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (definition, given, complaint) in [
            ("$a: Int!", json!({}), "variable `$a`: a Int! is required"),
            ("$a: Int! = 3", json!({ "a": null }), "variable `$a`: expected Int!, found null"),
            ("$a: Int", json!({ "a": "3" }), "variable `$a`: expected Int, found a string"),
            ("$a: Int", json!({ "a": 3_000_000_000_u64 }), "variable `$a`: expected Int, found another number"),
            ("$a: Int", json!({ "a": 3.5 }), "variable `$a`: expected Int, found another number"),
            ("$a: String", json!({ "a": 3 }), "variable `$a`: expected String, found another number"),
            ("$a: [Int!]", json!({ "a": [1, null] }), "variable `$a.1`: expected Int!, found null"),
            ("$a: Colour", json!({ "a": "BLUE" }), "variable `$a`: expected Colour, found a string"),
            ("$a: Outer", json!({ "a": { "id": "x", "inner": [{ "colour": "RED" }, {}] } }), "variable `$a.inner.1.colour`: a Colour! is required"),
            ("$a: Outer", json!({ "a": { "id": "x", "odd": 1 } }), "variable `$a`: Outer has no field `odd`"),
            ("$a: Outer", json!({ "a": ["x"] }), "variable `$a`: expected Outer, found a list"),
        ] {
            assert_eq!(coerced(definition, given), Err(complaint.to_owned()));
        }
    }
}
