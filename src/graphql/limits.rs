//! How much a document may ask the executor to look at, before the executor looks: a fragment that is
//! spread twice in a fragment that is spread twice… doubles at each step. One pass, each fragment once.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, FragmentDefinition, OperationType, Selection, SelectionSet};

use super::errors::Code;

/// The longest document, in bytes. Values belong in variables.
pub(super) const MAX_DOCUMENT_BYTES: usize = 64 << 10;
/// The most fields and fragments of a document, each fragment counted wherever it is spread.
const MAX_SELECTIONS: usize = 2_000;

/// How deep fields and fragments may be nested in each other, so that looking has an end.
const MAX_LEVELS: usize = 64;

/// Why a document is not given to the executor.
pub(super) type Excess = (Code, &'static str);

/// # Errors
/// `QUERY_TOO_COMPLEX`, or `GRAPHQL_VALIDATION_FAILED` for a fragment inside itself.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), Excess> {
    let mut counter = Counter { fragments: &document.fragments, counted: HashMap::new() };
    let mut selections = 0_usize;
    for (_, operation) in document.operations.iter() {
        selections = selections.saturating_add(counter.count(&operation.node.selection_set.node, 0)?);
    }
    // Also those that no operation spreads: the executor validates them.
    for name in document.fragments.keys() {
        selections = selections.saturating_add(counter.count_fragment(name, 0)?);
    }
    if selections > MAX_SELECTIONS {
        return Err((Code::QueryTooComplex, "the query selects too much"));
    }
    if document
        .operations
        .iter()
        .any(|(_, operation)| operation.node.ty == OperationType::Subscription && fields(document, &operation.node.selection_set.node) != 1)
    {
        return Err((Code::ValidationFailed, "a subscription selects one field"));
    }
    Ok(())
}

/// How many fields a selection has at its own level. No fragment contains itself any more.
fn fields(document: &ExecutableDocument, set: &SelectionSet) -> usize {
    let inside = |selection: &Selection| match selection {
        Selection::Field(_) => 1,
        Selection::InlineFragment(fragment) => fields(document, &fragment.node.selection_set.node),
        Selection::FragmentSpread(spread) => {
            document.fragments.get(&spread.node.fragment_name.node).map_or(0, |fragment| fields(document, &fragment.node.selection_set.node))
        }
    };
    set.items.iter().map(|item| inside(&item.node)).sum()
}

struct Counter<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// What each fragment comes to; none while it is being counted.
    counted: HashMap<&'a str, Option<usize>>,
}

impl<'a> Counter<'a> {
    fn count(&mut self, set: &'a SelectionSet, level: usize) -> Result<usize, Excess> {
        if level > MAX_LEVELS {
            return Err((Code::QueryTooComplex, "the query is nested too deep"));
        }
        let mut selections = 0_usize;
        for item in &set.items {
            let inside = match &item.node {
                Selection::Field(field) => self.count(&field.node.selection_set.node, level + 1)?,
                Selection::InlineFragment(fragment) => self.count(&fragment.node.selection_set.node, level + 1)?,
                Selection::FragmentSpread(spread) => self.count_fragment(&spread.node.fragment_name.node, level + 1)?,
            };
            selections = selections.saturating_add(inside).saturating_add(1);
        }
        Ok(selections)
    }

    /// An unknown fragment is the executor's to refuse.
    fn count_fragment(&mut self, name: &str, level: usize) -> Result<usize, Excess> {
        let Some((name, fragment)) = self.fragments.get_key_value(name) else { return Ok(0) };
        match self.counted.get(name.as_str()) {
            Some(Some(selections)) => return Ok(*selections),
            Some(None) => return Err((Code::ValidationFailed, "a fragment contains itself")),
            None => {}
        }
        self.counted.insert(name, None);
        let selections = self.count(&fragment.node.selection_set.node, level)?;
        self.counted.insert(name, Some(selections));
        Ok(selections)
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn checked(document: &str) -> Result<(), Code> {
        check(&parse_query(document).expect("a document")).map_err(|(code, _)| code)
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
    fn a_subscription_selects_one_field() {
        for document in ["subscription { inbox { __typename } }", "subscription { ...a } fragment a on Subscription { inbox { __typename } }"] {
            assert_eq!(checked(document), Ok(()), "{document}");
        }
        for document in [
            "subscription { a: inbox { __typename } b: inbox { __typename } }",
            "subscription { ...a ...a } fragment a on Subscription { inbox { __typename } }",
        ] {
            assert_eq!(checked(document), Err(Code::ValidationFailed), "{document}");
        }
    }

    #[test]
    fn a_fragment_inside_itself_is_not_valid() {
        for document in ["{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "{ me { id } } fragment a on Query { me { id } ...a ...a }"] {
            assert_eq!(checked(document), Err(Code::ValidationFailed), "{document}");
        }
    }
}
