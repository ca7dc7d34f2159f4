//! How much an operation asks for, and whether it may.

use apollo_compiler::executable::Field;
use async_graphql::Value;

use super::connection::page_rows;
use super::errors::Code;
use super::limits::{Excess, Limits, too_complex};

/// How often a field of introspection is answered, about, wherever it stands: there are many types.
pub(super) const INTROSPECTION_ROWS: usize = 30;
/// Fields of introspection that lead to further types. One in another in another makes answers without end.
const TYPE_LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];
/// The most lists of types in lists of types. GraphiQL needs one.
const MAX_TYPE_LISTS: usize = 2;

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

impl Size {
    /// What a field asks for, with what is asked of its objects.
    pub(super) fn of(field: &Field, arguments: &[(&str, Value)], within: Size) -> Size {
        let introspects = matches!(field.name.as_str(), "__schema" | "__type");
        let rows = |name: &str| match arguments.iter().find(|(given, _)| *given == name) {
            Some((_, Value::Number(rows))) => rows.as_i64(),
            Some(_) | None => None,
        };
        let ty = field.ty().inner_named_type();
        let cost = if ty.ends_with("Connection") {
            page_rows(rows("first"), rows("last")).saturating_mul(within.cost.max(1))
        } else {
            within.cost.saturating_add(1).saturating_mul(if introspects { INTROSPECTION_ROWS } else { 1 })
        };
        Size {
            depth: within.depth + 1,
            cost,
            type_lists: within.type_lists + usize::from(ty.starts_with("__") && TYPE_LISTS.contains(&field.name.as_str())),
            sends: usize::from(field.name == "sendMessage"),
            introspects,
        }
    }

    /// Whether it may be asked for.
    ///
    /// # Errors
    /// `QUERY_TOO_COMPLEX`, or `FORBIDDEN` for introspection where it is turned off.
    pub(super) fn check(self, limits: &Limits) -> Result<(), Excess> {
        if self.introspects && !limits.introspection {
            return Err((Code::Forbidden, "introspection is turned off here".to_owned()));
        }
        if self.depth > limits.depth {
            return Err(too_complex(format!("the operation is nested {} deep; {} is allowed", self.depth, limits.depth)));
        }
        if self.type_lists > MAX_TYPE_LISTS {
            return Err(too_complex(format!("introspection is nested too deep: at most {MAX_TYPE_LISTS} lists of types in each other")));
        }
        if self.cost > limits.complexity {
            return Err(too_complex(format!("the operation costs {}; {} is allowed: ask for smaller pages", self.cost, limits.complexity)));
        }
        Ok(())
    }

    /// Both of two fields.
    pub(super) fn add(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.cost = self.cost.saturating_add(other.cost);
        self.type_lists = self.type_lists.max(other.type_lists);
        self.sends += other.sends;
        self.introspects |= other.introspects;
    }

    /// One of two objects.
    pub(super) fn or(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), cost: self.cost.max(other.cost), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_as_large_as_allowed() {
        let limits = Limits { depth: 3, complexity: 10, introspection: false, ..Limits::default() };
        let code = |size: Size| size.check(&limits).map_err(|(code, _)| code);
        assert_eq!(code(Size { depth: 3, cost: 10, ..Size::default() }), Ok(()));
        assert_eq!(code(Size { depth: 4, ..Size::default() }), Err(Code::QueryTooComplex));
        assert_eq!(code(Size { cost: 11, ..Size::default() }), Err(Code::QueryTooComplex));
        assert_eq!(code(Size { type_lists: 3, ..Size::default() }), Err(Code::QueryTooComplex));
        assert_eq!(code(Size { introspects: true, ..Size::default() }), Err(Code::Forbidden));
    }
}
