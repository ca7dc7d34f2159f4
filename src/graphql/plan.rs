//! What one request asks of the executor: its operation with every fragment spread and every field
//! collected as the specification says (§6.3.2), the shape of its answer, and what it costs.
//!
//! The executor resolves a field as often as it is written; collected, a mutation that is written twice
//! under one key is done once.

use std::collections::{HashMap, HashSet};

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet,
    TypeCondition,
};
use async_graphql::{Name, Positioned, Value, Variables};

use super::connection::page_rows;
use super::definitions::{Definition, Definitions, innermost, root};
use super::shape::{Entry, Inside, Shape, TYPE_NAME};

/// The cost of introspection: its answer is long, and the same for everybody.
const INTROSPECTION_COST: usize = 500;
/// Fields of introspection that lead to further types. One in another in another makes answers without end.
const TYPE_LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

/// An operation, ready for the executor.
pub(super) struct Plan {
    pub document: ExecutableDocument,
    pub shape: Shape,
    pub size: Size,
}

/// How much an operation asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Fields in fields.
    pub depth: usize,
    /// A field is 1, a page its rows times what is asked of each.
    pub cost: usize,
    /// Lists of types in lists of types, in introspection.
    pub type_lists: usize,
    /// How many messages it sends.
    pub sends: usize,
    pub introspects: bool,
}

/// Plans an operation of a valid document.
pub(super) fn plan(
    definitions: &Definitions,
    operation: &Positioned<OperationDefinition>,
    fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
    variables: &Variables,
) -> Plan {
    let kind = operation.node.ty;
    let planner = Planner { definitions, fragments, variables };
    let mut collected = planner.object(root(kind), &[&operation.node.selection_set.node]);
    // Else an object of which nothing is left could not be told from null. A subscription's is never empty.
    if kind != OperationType::Subscription {
        collected.selections.push(type_name(operation));
    }
    let set = SelectionSet { items: collected.selections };
    let node = OperationDefinition {
        ty: kind,
        variable_definitions: operation.node.variable_definitions.clone(),
        directives: vec![],
        selection_set: Positioned::new(set, operation.node.selection_set.pos),
    };
    let operation = DocumentOperations::Single(Positioned::new(node, operation.pos));
    Plan { document: ExecutableDocument { operations: operation, fragments: HashMap::new() }, shape: Shape(collected.entries), size: collected.size }
}

struct Planner<'a> {
    definitions: &'a Definitions,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    variables: &'a Variables,
}

/// What is asked of an object.
#[derive(Default)]
struct Collected {
    selections: Vec<Positioned<Selection>>,
    entries: Vec<Entry>,
    size: Size,
}

type Groups<'a> = IndexMap<&'a Name, Vec<&'a Positioned<Field>>>;

impl<'a> Planner<'a> {
    /// What some selection sets together ask of an object of one type.
    fn object(&self, object: &str, sets: &[&'a SelectionSet]) -> Collected {
        let mut groups = Groups::new();
        let mut spread = HashSet::new();
        for set in sets {
            self.collect(object, set, &mut spread, &mut groups);
        }
        let mut collected = Collected::default();
        for (key, fields) in groups {
            self.field(object, key, &fields, &mut collected);
        }
        collected
    }

    fn collect(&self, object: &str, set: &'a SelectionSet, spread: &mut HashSet<&'a str>, groups: &mut Groups<'a>) {
        let applies = |condition: &TypeCondition| self.definitions.applies(&condition.on.node, object);
        for selection in set.items.iter().filter(|selection| self.is_included(selection.node.directives())) {
            match &selection.node {
                Selection::Field(field) => groups.entry(&field.node.response_key().node).or_default().push(field),
                Selection::InlineFragment(fragment) => {
                    if fragment.node.type_condition.as_ref().is_none_or(|condition| applies(&condition.node)) {
                        self.collect(object, &fragment.node.selection_set.node, spread, groups);
                    }
                }
                Selection::FragmentSpread(fragment) => {
                    let name = &fragment.node.fragment_name.node;
                    if let Some(fragment) = self.fragments.get(name).filter(|fragment| applies(&fragment.node.type_condition.node))
                        && spread.insert(name)
                    {
                        self.collect(object, &fragment.node.selection_set.node, spread, groups);
                    }
                }
            }
        }
    }

    fn is_included(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().all(|directive| {
            let wanted = match directive.node.name.node.as_str() {
                "include" => true,
                "skip" => false,
                _ => return true,
            };
            let condition = directive.node.get_argument("if").map(|value| self.value(&value.node));
            condition == Some(Value::Boolean(wanted))
        })
    }

    /// An argument's value, its variables put in.
    fn value(&self, value: &async_graphql_value::Value) -> Value {
        value.clone().into_const_with(|name| self.variables.get(&name).cloned().ok_or(())).unwrap_or(Value::Null)
    }

    /// One field of the answer, however often it was written.
    fn field(&self, object: &str, key: &Name, fields: &[&'a Positioned<Field>], collected: &mut Collected) {
        let first = fields[0];
        let name = &first.node.name.node;
        let ty = self.definitions.field(object, name);
        let sets: Vec<&SelectionSet> = fields.iter().map(|field| &field.node.selection_set.node).collect();
        let (items, inside, within) =
            if sets.iter().all(|set| set.items.is_empty()) { (vec![], Inside::Leaf, Size::default()) } else { self.inside(first, ty.map(innermost), &sets) };
        collected.size.add(self.size_of(&first.node, ty.map(innermost), within));
        collected.entries.push(Entry { key: key.clone(), ty: ty.cloned(), inside });
        let field = Field {
            alias: first.node.alias.clone(),
            name: first.node.name.clone(),
            arguments: first.node.arguments.clone(),
            directives: vec![],
            selection_set: Positioned::new(SelectionSet { items }, first.node.selection_set.pos),
        };
        collected.selections.push(Positioned::new(Selection::Field(Positioned::new(field, first.pos)), first.pos));
    }

    /// What is asked of the objects of a field.
    fn inside(&self, field: &Positioned<Field>, ty: Option<&Name>, sets: &[&'a SelectionSet]) -> (Vec<Positioned<Selection>>, Inside, Size) {
        let Some(Definition::OneOf(objects)) = ty.and_then(|ty| self.definitions.get(ty)) else {
            let mut collected = self.object(ty.map_or("", Name::as_str), sets);
            if collected.selections.is_empty() {
                collected.selections.push(type_name(field));
            }
            return (collected.selections, Inside::Object(Shape(collected.entries)), collected.size);
        };
        let mut size = Size::default();
        let (mut selections, mut shapes) = (vec![type_name(field)], Vec::with_capacity(objects.len()));
        for object in objects {
            let collected = self.object(object, sets);
            size = size.or(collected.size);
            if !collected.selections.is_empty() {
                selections.push(on(object, collected.selections, field));
            }
            shapes.push((object.clone(), Shape(collected.entries)));
        }
        (selections, Inside::OneOf(shapes), size)
    }

    fn size_of(&self, field: &Field, ty: Option<&Name>, within: Size) -> Size {
        let name = field.name.node.as_str();
        let introspects = matches!(name, "__schema" | "__type");
        let rows = |argument: &str| match field.get_argument(argument).map(|value| self.value(&value.node)) {
            Some(Value::Number(rows)) => rows.as_i64(),
            _ => None,
        };
        let cost = match ty {
            Some(ty) if ty.ends_with("Connection") => page_rows(rows("first"), rows("last")).saturating_mul(within.cost.max(1)),
            _ if introspects => within.cost.saturating_add(INTROSPECTION_COST),
            _ => within.cost.saturating_add(1),
        };
        Size {
            depth: within.depth + 1,
            cost,
            type_lists: within.type_lists + usize::from(ty.is_none() && TYPE_LISTS.contains(&name)),
            sends: usize::from(name == "sendMessage"),
            introspects,
        }
    }
}

impl Size {
    /// Both of two fields.
    fn add(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.cost = self.cost.saturating_add(other.cost);
        self.type_lists = self.type_lists.max(other.type_lists);
        self.sends += other.sends;
        self.introspects |= other.introspects;
    }

    /// One of two objects.
    fn or(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), cost: self.cost.max(other.cost), ..self }
    }
}

/// A question for an object's type, at the place of what it is asked for.
fn type_name<T>(at: &Positioned<T>) -> Positioned<Selection> {
    let place = |text: &str| Positioned::new(Name::new(text), at.pos);
    let field = Field {
        alias: Some(place(TYPE_NAME)),
        name: place("__typename"),
        arguments: vec![],
        directives: vec![],
        selection_set: Positioned::new(SelectionSet::default(), at.pos),
    };
    Positioned::new(Selection::Field(Positioned::new(field, at.pos)), at.pos)
}

/// `... on OBJECT { … }`
fn on<T>(object: &Name, items: Vec<Positioned<Selection>>, at: &Positioned<T>) -> Positioned<Selection> {
    let condition = TypeCondition { on: Positioned::new(object.clone(), at.pos) };
    let fragment = InlineFragment {
        type_condition: Some(Positioned::new(condition, at.pos)),
        directives: vec![],
        selection_set: Positioned::new(SelectionSet { items }, at.pos),
    };
    Positioned::new(Selection::InlineFragment(Positioned::new(fragment, at.pos)), at.pos)
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, parse_schema};
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = "
        interface Node { id: ID! }
        type User implements Node { id: ID!, name: String!, friends(first: Int, last: Int): UserConnection! }
        type Room implements Node { id: ID!, title: String }
        type UserConnection { edges: [UserEdge!]! }
        type UserEdge { node: User! }
        type Query { me: User!, node: Node }
        type Mutation { sendMessage(text: String): User! }";

    fn planned(document: &str, variables: serde_json::Value) -> Plan {
        let definitions = Definitions::of(parse_schema(SCHEMA).expect("a schema"));
        let document = parse_query(document).expect("a document");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        plan(&definitions, operation, &document.fragments, &Variables::from_json(variables))
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
        let page = |arguments: &str| size(&format!("query($n: Int) {{ me {{ friends{arguments} {{ edges {{ node {{ id }} }} }} }} }}")).cost;
        assert_eq!((page(""), page("(first: 10)"), page("(last: $n)"), page("(first: 1000000)")), (151, 31, 22, 301));
        let nested = size("{ me { friends(first: 100) { edges { node { friends(first: 100) { edges { node { id } } } } } } } }");
        assert_eq!((nested.cost, nested.depth), (100 * (300 + 2) + 1, 8));
    }

    #[test]
    fn introspection_is_dear_and_its_lists_are_counted() {
        let size = planned("{ __schema { types { fields { type { possibleTypes { fields { name } } } } } } }", json!({})).size;
        assert!(size.introspects && size.cost > INTROSPECTION_COST);
        assert_eq!((size.type_lists, size.depth), (3, 7));
    }
}
