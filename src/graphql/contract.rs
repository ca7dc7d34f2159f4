//! The contract as the specification's rules see it: what documents are parsed and validated against. The
//! executor's own validation leaves several of those rules out.

use std::collections::HashMap;

use apollo_compiler::ast::{self, DirectiveList, FieldDefinition};
use apollo_compiler::executable::ExecutableDocument;
use apollo_compiler::parser::{LineColumn, Parser, SourceMap, SourceSpan};
use apollo_compiler::schema::{Component, ExtendedType, NamedType};
use apollo_compiler::validation::{DiagnosticList, Valid};
use apollo_compiler::{Schema, name, ty};
use async_graphql::{Pos, ServerError};

use super::errors::Code;
use super::response::Response;

/// How deep anything of a document may be nested, so that reading it has an end.
const MAX_NESTING: usize = 200;

pub(super) struct Contract {
    pub schema: Valid<Schema>,
    /// The objects that an interface or a union may be.
    objects: HashMap<NamedType, Vec<NamedType>>,
}

impl Contract {
    /// # Panics
    /// Never with this service's own SDL.
    pub(super) fn of(sdl: &str) -> Self {
        let mut schema = Schema::parse(sdl, "schema.graphql").expect("the SDL is GraphQL");
        complete_introspection(&mut schema);
        let schema = schema.validate().expect("the SDL is valid");
        let implementers = schema.implementers_map();
        let objects_of = |name: &NamedType, ty: &ExtendedType| match ty {
            ExtendedType::Interface(_) => Some(implementers.get(name).map(|all| all.objects.iter().cloned().collect()).unwrap_or_default()),
            ExtendedType::Union(union) => Some(union.members.iter().map(|member| member.name.clone()).collect()),
            ExtendedType::Scalar(_) | ExtendedType::Object(_) | ExtendedType::Enum(_) | ExtendedType::InputObject(_) => None,
        };
        let objects = schema.types.iter().filter_map(|(name, ty)| Some((name.clone(), objects_of(name, ty)?))).collect();
        Self { schema, objects }
    }

    /// The objects that a type may be, if it may be several.
    pub(super) fn objects(&self, ty: &str) -> Option<&[NamedType]> {
        self.objects.get(ty).map(Vec::as_slice)
    }

    /// Whether a fragment on `condition` applies to an object.
    pub(super) fn applies(&self, condition: &str, object: &str) -> bool {
        condition == object || self.objects(condition).is_some_and(|objects| objects.iter().any(|name| name == object))
    }

    /// Parses a document.
    ///
    /// # Errors
    /// `GRAPHQL_PARSE_FAILED`, or `QUERY_TOO_COMPLEX` for one that is nested too deep to be read.
    pub(super) fn parse(text: &str) -> Result<ast::Document, Box<Response>> {
        let mut parser = Parser::new().recursion_limit(MAX_NESTING);
        parser.parse_ast(text, "document.graphql").map_err(|failed| {
            Box::new(if parser.recursion_reached() > MAX_NESTING {
                Code::QueryTooComplex.response(&format!("the document is nested more than {MAX_NESTING} deep"))
            } else {
                Response::refused(errors(&failed.errors), Code::ParseFailed)
            })
        })
    }

    /// Validates a document that was measured before.
    ///
    /// # Errors
    /// `GRAPHQL_VALIDATION_FAILED`.
    pub(super) fn validate(&self, parsed: &ast::Document) -> Result<Valid<ExecutableDocument>, Box<Response>> {
        let validated = parsed.to_executable_validate(&self.schema);
        validated.map_err(|failed| Box::new(Response::refused(errors(&failed.errors), Code::ValidationFailed)))
    }
}

/// Adds what the executor's introspection knows and the validator's does not yet (§4.2.2).
fn complete_introspection(schema: &mut Schema) {
    let Some(ExtendedType::Object(ty)) = schema.types.get_mut("__Type") else { return };
    let name = name!("isOneOf");
    let field = FieldDefinition { description: None, name: name.clone(), arguments: vec![], ty: ty!(Boolean), directives: DirectiveList::new() };
    ty.make_mut().fields.insert(name, Component::new(field));
}

fn errors(diagnostics: &DiagnosticList) -> Vec<ServerError> {
    let error = |error: apollo_compiler::response::GraphQLError| {
        let locations = error.locations.into_iter().map(position).collect();
        ServerError { locations, ..ServerError::new(error.message, None) }
    };
    let mut errors: Vec<_> = diagnostics.iter().map(|diagnostic| error(diagnostic.to_json())).collect();
    // A document that ends too early is found to, by every level that it leaves open.
    errors.dedup();
    errors
}

fn position(LineColumn { line, column }: LineColumn) -> Pos {
    Pos { line, column }
}

/// Where a part of a document begins.
pub(super) fn place(location: Option<SourceSpan>, sources: &SourceMap) -> Pos {
    location.and_then(|location| location.line_column(sources)).map(position).unwrap_or_default()
}
