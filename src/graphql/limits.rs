//! How much one operation may ask for. What a document may hold is looked at before anything else is done
//! with it: a fragment that is spread twice in a fragment that is spread twice… doubles at each step. One
//! pass, each fragment once.

use std::collections::{HashMap, HashSet};

use apollo_compiler::Node;
use apollo_compiler::ast::{Argument, Definition, DirectiveList, Document, FragmentDefinition, Selection, Value};

use super::errors::Code;

/// What an operator can set; each limit holds for one operation.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Fields in fields in fields…. Introspection as GraphiQL does it needs 15.
    pub depth: usize,
    /// A field is 1, a page its rows times what is asked of each.
    pub complexity: usize,
    /// Fields under another name.
    pub aliases: usize,
    pub directives: usize,
    /// Whether clients may ask for the schema.
    pub introspection: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, complexity: 10_000, aliases: 100, directives: 100, introspection: true }
    }
}

/// The longest document, in bytes. Values belong in variables.
pub(super) const MAX_DOCUMENT_BYTES: usize = 64 << 10;
/// The most fields and fragments of a document, each fragment counted wherever it is spread.
const MAX_SELECTIONS: usize = 2_000;
/// The longest key of an answer: it is written once for every row.
const MAX_NAME_BYTES: usize = 128;
/// How deep fields and fragments may be nested in each other, so that looking has an end.
const MAX_LEVELS: usize = 64;

/// Why an operation is not executed.
pub(super) type Excess = (Code, String);

pub(super) fn too_complex(what: impl Into<String>) -> Excess {
    (Code::QueryTooComplex, what.into())
}

/// Looks at a document before it is validated. Returns how many fields and fragments it selects.
///
/// # Errors
/// `QUERY_TOO_COMPLEX`, or `GRAPHQL_VALIDATION_FAILED` for a fragment inside itself.
pub(super) fn check_document(limits: &Limits, document: &Document) -> Result<usize, Excess> {
    let mut counter = Counter { fragments: HashMap::new(), counted: HashMap::new() };
    counter.fragments.extend(document.definitions.iter().filter_map(|definition| {
        let fragment = definition.as_fragment_definition()?;
        Some((fragment.name.as_str(), &**fragment))
    }));
    let mut count = Count::default();
    for definition in &document.definitions {
        match definition {
            Definition::OperationDefinition(operation) => {
                let of_variables: usize = operation.variables.iter().map(|variable| variable.directives.len()).sum();
                count.directives += operation.directives.len() + of_variables;
                for default in operation.variables.iter().filter_map(|variable| variable.default_value.as_deref()) {
                    check_value(default)?;
                }
                count.add(counter.set(&operation.selection_set, 0)?);
            }
            Definition::FragmentDefinition(fragment) => count.directives += fragment.directives.len(),
            _ => return Err((Code::ValidationFailed, "a document has operations and fragments, and defines no types".to_owned())),
        }
    }
    // Those that no operation spreads are validated, too.
    for definition in &document.definitions {
        if let Some(fragment) = definition.as_fragment_definition().filter(|fragment| !counter.counted.contains_key(fragment.name.as_str())) {
            count.add(counter.fragment(&fragment.name, 0)?);
        }
    }
    if count.selections > MAX_SELECTIONS {
        return Err(too_complex(format!("the document selects more than {MAX_SELECTIONS} fields and fragments")));
    }
    if count.aliases > limits.aliases {
        return Err(too_complex(format!("the document has {} aliases; {} are allowed", count.aliases, limits.aliases)));
    }
    if count.directives > limits.directives {
        return Err(too_complex(format!("the document has {} directives; {} are allowed", count.directives, limits.directives)));
    }
    Ok(count.selections)
}

#[derive(Clone, Copy, Default)]
struct Count {
    selections: usize,
    aliases: usize,
    directives: usize,
    /// Levels of fields and fragments in each other.
    height: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.selections = self.selections.saturating_add(other.selections);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.height = self.height.max(other.height);
    }
}

struct Counter<'a> {
    fragments: HashMap<&'a str, &'a FragmentDefinition>,
    /// What each fragment comes to; none while it is being counted.
    counted: HashMap<&'a str, Option<Count>>,
}

impl<'a> Counter<'a> {
    fn set(&mut self, set: &'a [Selection], level: usize) -> Result<Count, Excess> {
        if level > MAX_LEVELS {
            return Err(too_complex("the document is nested too deep"));
        }
        let mut count = Count::default();
        for selection in set {
            count.add(match selection {
                Selection::Field(field) => self.set(&field.selection_set, level + 1)?,
                Selection::InlineFragment(fragment) => self.set(&fragment.selection_set, level + 1)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.fragment_name, level + 1)?,
            });
            let aliases = usize::from(selection.as_field().is_some_and(|field| field.alias.is_some()));
            check_arguments(selection)?;
            if selection.as_field().is_some_and(|field| field.response_name().len() > MAX_NAME_BYTES) {
                return Err(too_complex(format!("a name is longer than {MAX_NAME_BYTES} bytes")));
            }
            count.add(Count { selections: 1, aliases, directives: directives(selection).len(), height: 0 });
        }
        count.height += 1;
        Ok(count)
    }

    /// An unknown fragment is for validation to refuse.
    fn fragment(&mut self, name: &str, level: usize) -> Result<Count, Excess> {
        let Some((name, fragment)) = self.fragments.get_key_value(name).map(|(name, fragment)| (*name, *fragment)) else { return Ok(Count::default()) };
        match self.counted.get(name) {
            Some(Some(count)) if level + count.height > MAX_LEVELS => return Err(too_complex("the document is nested too deep")),
            Some(Some(count)) => return Ok(*count),
            Some(None) => return Err((Code::ValidationFailed, "a fragment contains itself".to_owned())),
            None => {}
        }
        self.counted.insert(name, None);
        let count = self.set(&fragment.selection_set, level)?;
        self.counted.insert(name, Some(count));
        Ok(count)
    }
}

/// §5.6.3: a field of an input object is given once. Validation sees only the first.
fn check_arguments(selection: &Selection) -> Result<(), Excess> {
    let own: &[Node<Argument>] = selection.as_field().map_or(&[], |field| &field.arguments);
    let of_directives = directives(selection).iter().flat_map(|directive| &directive.arguments);
    own.iter().chain(of_directives).try_for_each(|argument| check_value(&argument.value))
}

fn check_value(value: &Value) -> Result<(), Excess> {
    match value {
        Value::List(items) => items.iter().try_for_each(|item| check_value(item)),
        Value::Object(fields) => {
            let mut names = HashSet::new();
            if let Some((twice, _)) = fields.iter().find(|(name, _)| !names.insert(name.as_str())) {
                return Err((Code::ValidationFailed, format!("the field `{twice}` of an input object is given twice")));
            }
            fields.iter().try_for_each(|(_, value)| check_value(value))
        }
        _ => Ok(()),
    }
}

fn directives(selection: &Selection) -> &DirectiveList {
    match selection {
        Selection::Field(field) => &field.directives,
        Selection::InlineFragment(fragment) => &fragment.directives,
        Selection::FragmentSpread(spread) => &spread.directives,
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::Contract;
    use super::*;

    fn checked(document: &str) -> Result<(), Code> {
        let Ok(document) = Contract::parse(document) else { panic!("not GraphQL: {document}") };
        check_document(&Limits::default(), &document).map(drop).map_err(|(code, _)| code)
    }

    #[test]
    fn fragments_count_wherever_they_are_spread() {
        let bomb = |steps: usize| {
            let steps: Vec<String> = (0..steps).map(|n| format!("fragment f{n} on User {{ ...f{} ...f{} }}", n + 1, n + 1)).collect();
            format!("{{ me {{ ...f0 }} }} {}", steps.join(" "))
        };
        assert_eq!(checked(&format!("{} fragment f3 on User {{ id }}", bomb(3))), Ok(()));
        for steps in [20, 60, 1_000] {
            assert_eq!(checked(&format!("{} fragment f{steps} on User {{ id }}", bomb(steps))), Err(Code::QueryTooComplex));
        }
        assert_eq!(checked(&format!("{{ me {{ {} }} }}", "id ".repeat(2_000))), Err(Code::QueryTooComplex));
    }

    #[test]
    fn aliases_and_directives_count_wherever_they_are_spread() {
        let repeated = |part: &str, times: usize| format!("{{ me {{ {} }} }}", part.repeat(times));
        assert_eq!(checked(&repeated("a: id ", 100)), Ok(()));
        assert_eq!(checked(&repeated("a: id ", 101)), Err(Code::QueryTooComplex));
        assert_eq!(checked(&repeated("id @skip(if: false) ", 100)), Ok(()));
        assert_eq!(checked(&repeated("id @skip(if: false) ", 101)), Err(Code::QueryTooComplex));
        let spread = |times: usize| format!("{{ me {{ {} }} }} fragment a on User {{ x: id y: id }}", "...a ".repeat(times));
        assert_eq!((checked(&spread(50)), checked(&spread(51))), (Ok(()), Err(Code::QueryTooComplex)));
        let unspread = format!("{{ me {{ id }} }} fragment a on User {{ {} }}", "x: id ".repeat(101));
        assert_eq!(checked(&unspread), Err(Code::QueryTooComplex), "it is validated, too");
        assert_eq!(checked(&format!("query {} {{ me {{ id }} }}", "@odd ".repeat(101))), Err(Code::QueryTooComplex));
    }

    #[test]
    fn a_key_is_not_long() {
        assert_eq!(checked(&format!("{{ {}: me {{ id }} }}", "a".repeat(128))), Ok(()));
        assert_eq!(checked(&format!("{{ {}: me {{ id }} }}", "a".repeat(129))), Err(Code::QueryTooComplex));
    }

    #[test]
    fn levels_count_through_fragments_in_whatever_order_they_are_spread() {
        let steps: Vec<String> = (0..70).map(|n| format!("fragment f{n} on User {{ ...f{} }}", n + 1)).collect();
        let chain = format!("{} fragment f70 on User {{ id }}", steps.join(" "));
        let spreads: Vec<String> = (0..=70).rev().map(|n| format!("...f{n}")).collect();
        assert_eq!(checked(&format!("{{ me {{ {} }} }} {chain}", spreads.join(" "))), Err(Code::QueryTooComplex));
    }

    #[test]
    fn a_field_of_an_input_object_is_given_once() {
        for value in ["{ a: 1, b: 2, a: 1 }", "[{ x: { a: 1, a: 1 } }]"] {
            assert_eq!(checked(&format!("{{ me(input: {value}) {{ id }} }}")), Err(Code::ValidationFailed), "{value}");
            assert_eq!(checked(&format!("query($v: I = {value}) {{ me {{ id }} }}")), Err(Code::ValidationFailed), "{value}");
        }
        assert_eq!(checked("{ me(input: { a: { a: 1 }, b: [{ a: 1 }, { a: 2 }] }) { id } }"), Ok(()));
    }

    #[test]
    fn a_fragment_inside_itself_is_not_valid() {
        for document in ["{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "{ me { id } } fragment a on Query { me { id } ...a ...a }"] {
            assert_eq!(checked(document), Err(Code::ValidationFailed), "{document}");
        }
    }
}
