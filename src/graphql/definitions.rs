//! The schema's own definitions as data, read back from the SDL: which field has which type, and what
//! an input may hold. The executor knows it too, and does not tell.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::types::{BaseType, FieldDefinition, InputValueDefinition, OperationType, ServiceDocument, Type, TypeKind, TypeSystemDefinition};

/// What a type is.
pub(super) enum Definition {
    Object(HashMap<Name, Type>),
    /// An interface or a union, with the objects that it may be.
    OneOf(Vec<Name>),
    Enum(Vec<Name>),
    Input(Vec<InputField>),
    Scalar,
}

pub(super) struct InputField {
    pub name: Name,
    pub ty: Type,
    pub has_default: bool,
}

/// Every type of the schema by its name. Those of introspection are not among them.
pub(super) struct Definitions(HashMap<Name, Definition>);

impl Definitions {
    pub(super) fn of(schema: ServiceDocument) -> Self {
        let mut definitions = HashMap::new();
        let mut implementations: HashMap<Name, Vec<Name>> = HashMap::new();
        for definition in schema.definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let name = definition.node.name.node;
            let definition = match definition.node.kind {
                TypeKind::Object(object) => {
                    for interface in object.implements {
                        implementations.entry(interface.node).or_default().push(name.clone());
                    }
                    Definition::Object(object.fields.into_iter().map(|field| output_field(field.node)).collect())
                }
                TypeKind::Interface(_) => Definition::OneOf(vec![]),
                TypeKind::Union(union) => Definition::OneOf(union.members.into_iter().map(|member| member.node).collect()),
                TypeKind::Enum(values) => Definition::Enum(values.values.into_iter().map(|value| value.node.value.node).collect()),
                TypeKind::InputObject(input) => Definition::Input(input.fields.into_iter().map(|field| input_field(field.node)).collect()),
                TypeKind::Scalar => Definition::Scalar,
            };
            definitions.insert(name, definition);
        }
        for (interface, objects) in implementations {
            definitions.insert(interface, Definition::OneOf(objects));
        }
        Self(definitions)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Definition> {
        self.0.get(name)
    }

    /// The type of an object's field; none for what introspection adds.
    pub(super) fn field(&self, object: &str, field: &str) -> Option<&Type> {
        match self.get(object)? {
            Definition::Object(fields) => fields.get(field),
            Definition::OneOf(_) | Definition::Enum(_) | Definition::Input(_) | Definition::Scalar => None,
        }
    }

    /// Whether a fragment on `condition` applies to an object. What is not known is introspection's, where
    /// every type is an object.
    pub(super) fn applies(&self, condition: &str, object: &str) -> bool {
        match self.get(condition) {
            Some(Definition::OneOf(objects)) => objects.iter().any(|name| name == object),
            Some(Definition::Object(_) | Definition::Enum(_) | Definition::Input(_) | Definition::Scalar) => condition == object,
            None => true,
        }
    }
}

/// The name of an operation's root type.
pub(super) fn root(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

/// The type inside all lists.
pub(super) fn innermost(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => innermost(item),
    }
}

fn output_field(field: FieldDefinition) -> (Name, Type) {
    (field.name.node, field.ty.node)
}

fn input_field(field: InputValueDefinition) -> InputField {
    InputField { name: field.name.node, ty: field.ty.node, has_default: field.default_value.is_some() }
}
