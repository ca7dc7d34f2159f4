//! What one request asks of the executor: its operation with every fragment spread, every condition
//! decided, every variable in its place and every field collected as the specification says (§6.3.2), the
//! shape of its answer, and what it costs.
//!
//! The executor resolves a field as often as it is written; collected, a mutation that is written twice
//! under one key is done once. It takes an absent variable for null; in its place there is nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use apollo_compiler::ast::{DirectiveList, OperationType};
use apollo_compiler::executable::{ExecutableDocument, Field, Operation, Selection, SelectionSet};
use apollo_compiler::response::JsonMap;
use apollo_compiler::{Node, ty};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types as asked;
use async_graphql::{Name, Pos, Positioned, Value};

use super::contract::{Contract, place};
use super::errors::Code;
use super::shape::{Entry, Inside, Shape, TYPE_NAME};
use super::size::Size;
use super::values::{Misfit, Values, same_arguments};

/// An operation, ready for the executor.
pub(super) struct Plan {
    pub document: asked::ExecutableDocument,
    pub shape: Arc<Shape>,
    pub size: Size,
}

/// Plans an operation of a valid document, with its coerced variables.
///
/// # Errors
/// When null would stand where it may not, or a variable of one type where another is asked for.
pub(super) fn plan(contract: &Contract, document: &ExecutableDocument, operation: &Operation, variables: &JsonMap) -> Result<Plan, Misfit> {
    let planner = Planner { contract, document, values: Values::of(contract, operation, variables)? };
    let mut collected = planner.object(&operation.selection_set.ty, &[&operation.selection_set])?;
    // Else an object of which nothing is left could not be told from null. A subscription's is never empty.
    if operation.operation_type != OperationType::Subscription {
        collected.selections.push(type_name(Pos::default()));
    }
    let asked_for = asked::OperationDefinition {
        ty: match operation.operation_type {
            OperationType::Query => asked::OperationType::Query,
            OperationType::Mutation => asked::OperationType::Mutation,
            OperationType::Subscription => asked::OperationType::Subscription,
        },
        variable_definitions: vec![],
        directives: vec![],
        selection_set: somewhere(asked::SelectionSet { items: collected.selections }),
    };
    let operations = asked::DocumentOperations::Single(somewhere(asked_for));
    let document = asked::ExecutableDocument { operations, fragments: HashMap::new() };
    Ok(Plan { document, shape: Arc::new(Shape(collected.entries)), size: collected.size })
}

struct Planner<'a> {
    contract: &'a Contract,
    document: &'a ExecutableDocument,
    values: Values<'a>,
}

/// What is asked of an object.
#[derive(Default)]
struct Collected {
    selections: Vec<Positioned<asked::Selection>>,
    entries: Vec<Entry>,
    size: Size,
}

type Groups<'a> = IndexMap<&'a str, Vec<&'a Node<Field>>>;

impl<'a> Planner<'a> {
    /// What some selection sets together ask of an object of one type.
    fn object(&self, object: &str, sets: &[&'a SelectionSet]) -> Result<Collected, Misfit> {
        let mut groups = Groups::new();
        let mut spread = HashSet::new();
        for set in sets {
            self.collect(object, set, &mut spread, &mut groups)?;
        }
        let mut collected = Collected::default();
        for (key, fields) in groups {
            self.field(key, &fields, &mut collected)?;
        }
        Ok(collected)
    }

    fn collect(&self, object: &str, set: &'a SelectionSet, spread: &mut HashSet<&'a str>, groups: &mut Groups<'a>) -> Result<(), Misfit> {
        for selection in &set.selections {
            if !self.is_included(selection.directives())? {
                continue;
            }
            let inside = match selection {
                Selection::Field(field) => {
                    groups.entry(field.response_key()).or_default().push(field);
                    continue;
                }
                Selection::InlineFragment(fragment) => &fragment.selection_set,
                Selection::FragmentSpread(fragment) if spread.insert(&fragment.fragment_name) => {
                    let Some(fragment) = fragment.fragment_def(self.document) else { continue };
                    &fragment.selection_set
                }
                Selection::FragmentSpread(_) => continue,
            };
            if self.contract.applies(&inside.ty, object) {
                self.collect(object, inside, spread, groups)?;
            }
        }
        Ok(())
    }

    fn is_included(&self, directives: &DirectiveList) -> Result<bool, Misfit> {
        for (name, wanted) in [("skip", false), ("include", true)] {
            let Some(condition) = directives.get(name).and_then(|directive| directive.specified_argument_by_name("if")) else { continue };
            match self.values.value(condition, &ty!(Boolean!), false)? {
                Some(Value::Boolean(condition)) if condition == wanted => {}
                Some(Value::Boolean(_)) => return Ok(false),
                Some(_) | None => return Err((Code::BadUserInput, format!("the condition of `@{name}` is neither true nor false"))),
            }
        }
        Ok(true)
    }

    /// One field of the answer, however often it was written.
    fn field(&self, key: &str, fields: &[&'a Node<Field>], collected: &mut Collected) -> Result<(), Misfit> {
        let first = fields[0];
        // §5.3.2: validation takes lists of different lengths for the same argument.
        if fields.iter().any(|field| !same_arguments(&field.arguments, &first.arguments)) {
            return Err((Code::ValidationFailed, format!("`{key}` is asked for with different arguments")));
        }
        let ty = first.ty();
        let at = place(first.location(), &self.document.sources);
        let sets: Vec<&SelectionSet> = fields.iter().map(|field| &field.selection_set).collect();
        let (items, inside, within) =
            if first.selection_set.is_empty() { (vec![], Inside::Leaf, Size::default()) } else { self.inside(at, ty.inner_named_type(), &sets)? };
        let mut arguments = Vec::with_capacity(first.arguments.len());
        for argument in &first.arguments {
            let Some(definition) = first.definition.argument_by_name(&argument.name) else { continue };
            if let Some(value) = self.values.value(&argument.value, &definition.ty, definition.default_value.is_some())? {
                arguments.push((argument.name.as_str(), value));
            }
        }
        collected.size.add(Size::of(first, &arguments, within));
        let key = Name::new(key);
        collected.entries.push(Entry { key: key.clone(), ty: ty.clone(), inside });
        let field = asked::Field {
            alias: first.alias.is_some().then(|| Positioned::new(key, at)),
            name: Positioned::new(Name::new(&first.name), at),
            arguments: arguments.into_iter().map(|(name, value)| (Positioned::new(Name::new(name), at), Positioned::new(value.into_value(), at))).collect(),
            directives: vec![],
            selection_set: Positioned::new(asked::SelectionSet { items }, at),
        };
        collected.selections.push(selected(field, at));
        Ok(())
    }

    /// What is asked of the objects of a field.
    fn inside(&self, at: Pos, ty: &str, sets: &[&'a SelectionSet]) -> Result<(Vec<Positioned<asked::Selection>>, Inside, Size), Misfit> {
        let Some(objects) = self.contract.objects(ty) else {
            let mut collected = self.object(ty, sets)?;
            if collected.selections.is_empty() {
                collected.selections.push(type_name(at));
            }
            return Ok((collected.selections, Inside::Object(Shape(collected.entries)), collected.size));
        };
        let mut size = Size::default();
        let (mut selections, mut shapes) = (vec![type_name(at)], Vec::with_capacity(objects.len()));
        for object in objects {
            let collected = self.object(object, sets)?;
            size = size.or(collected.size);
            if !collected.selections.is_empty() {
                selections.push(on(object, collected.selections, at));
            }
            shapes.push((Name::new(object), Shape(collected.entries)));
        }
        Ok((selections, Inside::OneOf(shapes), size))
    }
}

fn somewhere<T>(node: T) -> Positioned<T> {
    Positioned::new(node, Pos::default())
}

fn selected(field: asked::Field, at: Pos) -> Positioned<asked::Selection> {
    Positioned::new(asked::Selection::Field(Positioned::new(field, at)), at)
}

/// A question for an object's type.
fn type_name(at: Pos) -> Positioned<asked::Selection> {
    let field = asked::Field {
        alias: Some(Positioned::new(Name::new(TYPE_NAME), at)),
        name: Positioned::new(Name::new("__typename"), at),
        arguments: vec![],
        directives: vec![],
        selection_set: Positioned::new(asked::SelectionSet::default(), at),
    };
    selected(field, at)
}

/// `... on OBJECT { … }`
fn on(object: &str, items: Vec<Positioned<asked::Selection>>, at: Pos) -> Positioned<asked::Selection> {
    let condition = asked::TypeCondition { on: Positioned::new(Name::new(object), at) };
    let fragment = asked::InlineFragment {
        type_condition: Some(Positioned::new(condition, at)),
        directives: vec![],
        selection_set: Positioned::new(asked::SelectionSet { items }, at),
    };
    Positioned::new(asked::Selection::InlineFragment(Positioned::new(fragment, at)), at)
}

#[cfg(test)]
mod tests {
    use apollo_compiler::response::JsonValue;
    use serde_json::json;

    use super::*;
    use crate::graphql::size::INTROSPECTION_ROWS;

    const SCHEMA: &str = "
        interface Node { id: ID! }
        type User implements Node { id: ID!, name: String!, friends(first: Int, last: Int): UserConnection! }
        type Room implements Node { id: ID!, title: String }
        type UserConnection { edges: [UserEdge!]! }
        type UserEdge { node: User! }
        type Query { me: User!, node: Node }
        input Made { name: String!, note: String, tags: [String!] }
        type Mutation { sendMessage(text: String): User!, make(input: Made!): User! }";

    fn try_planned(document: &str, variables: serde_json::Value) -> Result<Plan, Misfit> {
        let contract = Contract::of(SCHEMA);
        let document = ExecutableDocument::parse_and_validate(&contract.schema, document, "document").expect("valid");
        let operation = document.operations.iter().next().expect("an operation");
        let JsonValue::Object(variables) = JsonValue::from(variables) else { panic!("an object") };
        plan(&contract, &document, operation, &variables)
    }

    fn planned(document: &str, variables: serde_json::Value) -> Plan {
        try_planned(document, variables).unwrap_or_else(|(_, message)| panic!("{message}"))
    }

    /// The keys of an answer, each with those inside it.
    fn keys(entries: &[Entry]) -> String {
        let inside = |entry: &Entry| match &entry.inside {
            Inside::Leaf => String::new(),
            Inside::Object(shape) => format!("{{{}}}", keys(&shape.0)),
            Inside::OneOf(shapes) => shapes.iter().fold(String::new(), |all, (name, shape)| format!("{all}<{name} {}>", keys(&shape.0))),
        };
        entries.iter().map(|entry| format!("{}{}", entry.key, inside(entry))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn fields_of_one_key_are_one_in_the_order_of_the_first() {
        let plan = planned("{ me { name } me { id ...a } ...b } fragment a on User { name n: name } fragment b on Query { me { x: id } }", json!({}));
        assert_eq!(keys(&plan.shape.0), "me{name id n x}");
        let twice = planned("mutation { sendMessage(text: \"a\") { id } sendMessage(text: \"a\") { name } other: sendMessage { id } }", json!({}));
        assert_eq!((keys(&twice.shape.0).as_str(), twice.size.sends), ("sendMessage{id name} other{id}", 2));
    }

    #[test]
    fn what_is_skipped_is_not_asked_for() {
        let document =
            "query($yes: Boolean!, $no: Boolean!) { me @include(if: $yes) { id @skip(if: $yes) name @skip(if: $no) ... @include(if: $no) { x: id } } }";
        assert_eq!(keys(&planned(document, json!({ "yes": true, "no": false })).shape.0), "me{name}");
        assert_eq!(keys(&planned(document, json!({ "yes": false, "no": true })).shape.0), "");
        let nullable = "query($if: Boolean = true) { me { id @skip(if: $if) } }";
        assert!(try_planned(nullable, json!({ "if": null })).is_err(), "neither yes nor no");
    }

    #[test]
    fn a_variable_stands_where_its_type_may() {
        let code = |declared: &str, value: &str, given: serde_json::Value| {
            let document = format!("mutation($v: {declared}) {{ make(input: {value}) {{ id }} }}");
            try_planned(&document, given).map(drop).map_err(|(code, _)| code)
        };
        assert_eq!(code("String!", "{ name: $v }", json!({ "v": "x" })), Ok(()));
        assert_eq!(code("String = \"x\"", "{ name: $v }", json!({ "v": "x" })), Ok(()), "a default makes it so");
        assert_eq!(code("String = \"x\"", "{ name: $v }", json!({ "v": null })), Err(Code::BadUserInput), "until null is given");
        assert_eq!(code("String", "{ name: $v }", json!({ "v": "x" })), Err(Code::ValidationFailed));
        assert_eq!(code("[String!]", "{ name: \"x\", tags: $v }", json!({ "v": [] })), Ok(()));
        assert_eq!(code("[String]", "{ name: \"x\", tags: $v }", json!({ "v": [] })), Err(Code::ValidationFailed));
        assert_eq!(code("String", "{ name: \"x\", tags: [\"y\", $v] }", json!({})), Err(Code::ValidationFailed));
    }

    #[test]
    fn fields_of_one_key_have_the_same_arguments() {
        let made = |one: &str, other: &str| {
            let make = |tags: &str| format!("make(input: {{ name: \"x\", tags: {tags} }}) {{ id }}");
            try_planned(&format!("mutation {{ {} {} }}", make(one), make(other)), json!({})).map(drop).map_err(|(code, _)| code)
        };
        assert_eq!(made("[\"a\"]", "[\"a\"]"), Ok(()));
        assert_eq!(made("[\"a\"]", "[\"a\", \"b\"]"), Err(Code::ValidationFailed));
    }

    #[test]
    fn an_absent_variable_is_absent() {
        let asked = |given: serde_json::Value| {
            let plan = planned("mutation($v: String) { make(input: { name: \"x\", note: $v }) { id } }", given);
            let asked::DocumentOperations::Single(operation) = plan.document.operations else { panic!("one") };
            let asked::Selection::Field(field) = &operation.node.selection_set.node.items[0].node else { panic!("a field") };
            field.node.arguments[0].1.node.to_string()
        };
        assert_eq!(asked(json!({})), "{name: \"x\"}");
        assert_eq!(asked(json!({ "v": null })), "{name: \"x\", note: null}");
    }

    #[test]
    fn each_possible_object_has_its_own_keys() {
        let plan = planned("{ node { __typename ... on Room { title } ...a id } } fragment a on User { name }", json!({}));
        assert_eq!(keys(&plan.shape.0), "node<User __typename name id><Room __typename title id>");
    }

    #[test]
    fn a_page_costs_its_rows_times_what_is_asked_of_each() {
        let size = |document: &str| planned(document, json!({ "n": 7 })).size;
        assert_eq!((size("{ me { id name } }").cost, size("{ me { id name } }").depth), (3, 2));
        let page = |arguments: &str| {
            size(&format!(
                "query($n: Int) {{ me {{ friends{arguments} {{ edges {{ node {{ id }} }} }} x: friends(first: $n) {{ edges {{ node {{ id }} }} }} }} }}"
            ))
            .cost
                - 21
        };
        assert_eq!((page(""), page("(first: 10)"), page("(last: $n)"), page("(first: 1000000)")), (151, 31, 22, 301));
        let nested = size("{ me { friends(first: 100) { edges { node { friends(first: 100) { edges { node { id } } } } } } } }");
        assert_eq!((nested.cost, nested.depth), (100 * (300 + 2) + 1, 8));
    }

    #[test]
    fn introspection_is_dear_and_its_lists_are_counted() {
        let size = planned("{ __schema { types { fields { type { possibleTypes { fields { name } } } } } } }", json!({})).size;
        assert!(size.introspects);
        assert_eq!(size.cost, 7 * INTROSPECTION_ROWS);
        assert_eq!((size.type_lists, size.depth), (3, 7));
    }
}
