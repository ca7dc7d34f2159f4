//! The values that an operation asks with: each variable in its place, of the type of its place, and no more
//! of them than a request may make the service hold.

use std::cell::Cell;

use apollo_compiler::Node;
use apollo_compiler::ast::{self, OperationType, Type};
use apollo_compiler::executable::Operation;
use apollo_compiler::response::{JsonMap, JsonValue};
use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Number, Value};

use super::contract::Contract;
use super::errors::Code;

/// The most that an operation's values take together, in bytes; each as often as it is used. What a
/// subscription asks with is kept as long as it lasts.
const MAX_VALUES: usize = 8 << 20;
const MAX_LASTING_VALUES: usize = 64 << 10;
/// What the shortest value takes.
const VALUE_BYTES: usize = size_of::<Value>();

/// Why an operation is not planned.
pub(super) type Misfit = (Code, String);

/// What an operation's values are made from.
pub(super) struct Values<'a> {
    contract: &'a Contract,
    operation: &'a Operation,
    variables: &'a JsonMap,
    /// Bytes that may still be held.
    left: Cell<usize>,
}

impl<'a> Values<'a> {
    pub(super) fn of(contract: &'a Contract, operation: &'a Operation, variables: &'a JsonMap) -> Result<Self, Misfit> {
        let lasts = operation.operation_type == OperationType::Subscription;
        let values = Self { contract, operation, variables, left: Cell::new(if lasts { MAX_LASTING_VALUES } else { MAX_VALUES }) };
        if lasts {
            // They are kept to plan it again, wherever they stand.
            values.hold(variables.values().map(bytes_of).sum())?;
        }
        Ok(values)
    }

    /// A value of a type with its variables put in; none for a variable that has none (§3.10, §6.4.1).
    /// `optional`: the place has a default.
    pub(super) fn value(&self, value: &ast::Value, ty: &Type, optional: bool) -> Result<Option<Value>, Misfit> {
        if !matches!(value, ast::Value::Variable(_)) {
            self.hold(VALUE_BYTES)?;
        }
        let found = match value {
            ast::Value::Variable(name) => self.variable(name, ty, optional)?,
            ast::Value::Null => Some(Value::Null),
            ast::Value::Enum(name) => Some(Value::Enum(Name::new(name))),
            ast::Value::String(text) => {
                self.hold(text.len())?;
                Some(Value::String(text.clone()))
            }
            ast::Value::Float(number) => Some(number.try_to_f64().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)),
            // An identifier that is longer than numbers are exact.
            ast::Value::Int(number) if ty.inner_named_type() == "ID" => {
                self.hold(number.as_str().len())?;
                Some(Value::String(number.as_str().to_owned()))
            }
            ast::Value::Int(number) => Some(number.as_str().parse().map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Number)),
            ast::Value::Boolean(truth) => Some(Value::Boolean(*truth)),
            ast::Value::List(items) => {
                let item = |item: &Node<ast::Value>| Ok(self.value(item, ty.item_type(), false)?.unwrap_or(Value::Null));
                Some(Value::List(items.iter().map(item).collect::<Result<_, Misfit>>()?))
            }
            ast::Value::Object(fields) => Some(self.input_object(fields, ty)?),
        };
        if found.as_ref().is_none_or(|found| *found == Value::Null) && ty.is_non_null() && !(found.is_none() && optional) {
            return Err((Code::BadUserInput, format!("null stands where {ty} is asked for")));
        }
        Ok(found)
    }

    fn input_object(&self, given: &[(apollo_compiler::Name, Node<ast::Value>)], ty: &Type) -> Result<Value, Misfit> {
        let definition = self.contract.schema.get_input_object(ty.inner_named_type());
        let mut fields = IndexMap::new();
        for (name, value) in given {
            let field = definition.and_then(|definition| definition.fields.get(name));
            let Some(field) = field else { continue };
            if let Some(value) = self.value(value, &field.ty, field.default_value.is_some())? {
                fields.insert(Name::new(name), value);
            }
        }
        Ok(Value::Object(fields))
    }

    /// §5.8.5: whether the variable's type is the place's, or is made so by a default.
    fn variable(&self, name: &str, ty: &Type, optional: bool) -> Result<Option<Value>, Misfit> {
        let Some(definition) = self.operation.variables.iter().find(|definition| definition.name == name) else { return Ok(None) };
        let has_default = definition.default_value.as_ref().is_some_and(|default| !default.is_null());
        let fits = if ty.is_non_null() && (has_default || optional) {
            definition.ty.is_assignable_to(&ty.clone().nullable())
        } else {
            definition.ty.is_assignable_to(ty)
        };
        if !fits {
            return Err((Code::ValidationFailed, format!("the variable `${name}` of type {} stands where {ty} is asked for", definition.ty)));
        }
        let Some(value) = self.variables.get(name) else { return Ok(None) };
        self.hold(bytes_of(value))?;
        Ok(Some(json_value(value)))
    }

    /// A value is held once for every place where it stands.
    fn hold(&self, bytes: usize) -> Result<(), Misfit> {
        let left = self.left.get().checked_sub(bytes);
        let left = left.ok_or_else(|| (Code::QueryTooComplex, "the operation's values are too long, or used too often".to_owned()))?;
        self.left.set(left);
        Ok(())
    }
}

/// Whether two fields are asked for with the same.
pub(super) fn same_arguments(one: &[Node<ast::Argument>], other: &[Node<ast::Argument>]) -> bool {
    let is_among = |argument: &Node<ast::Argument>| other.iter().any(|found| found.name == argument.name && same_value(&found.value, &argument.value));
    one.len() == other.len() && one.iter().all(is_among)
}

/// The fields of an object may come in any order.
fn same_value(one: &ast::Value, other: &ast::Value) -> bool {
    match (one, other) {
        (ast::Value::Object(one), ast::Value::Object(other)) => {
            let is_among = |(name, value): &(_, Node<ast::Value>)| other.iter().any(|(found, in_other)| found == name && same_value(value, in_other));
            one.len() == other.len() && one.iter().all(is_among)
        }
        (ast::Value::List(one), ast::Value::List(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other)),
        (one, other) => one == other,
    }
}

/// What a value takes, about.
fn bytes_of(value: &JsonValue) -> usize {
    match value {
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Number(_) => VALUE_BYTES,
        JsonValue::String(text) => VALUE_BYTES + text.as_str().len(),
        JsonValue::Array(items) => VALUE_BYTES + items.iter().map(bytes_of).sum::<usize>(),
        JsonValue::Object(fields) => VALUE_BYTES + fields.iter().map(|(name, value)| VALUE_BYTES + name.as_str().len() + bytes_of(value)).sum::<usize>(),
    }
}

/// A coerced variable as the executor takes it.
fn json_value(value: &JsonValue) -> Value {
    match value {
        JsonValue::Null => Value::Null,
        JsonValue::Bool(truth) => Value::Boolean(*truth),
        JsonValue::Number(number) => Value::Number(number.clone()),
        JsonValue::String(text) => Value::String(text.as_str().to_owned()),
        JsonValue::Array(items) => Value::List(items.iter().map(json_value).collect()),
        JsonValue::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (Name::new(name.as_str()), json_value(value))).collect()),
    }
}
