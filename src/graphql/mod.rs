//! The GraphQL contract: `schema.graphql`, on top of the use cases. Names and shapes live here;
//! rules do not.
//!
//! | what | file |
//! | --- | --- |
//! | the contract | [`query`], [`mutation`], [`subscription`], [`types`], [`section`], [`connection`], [`cursors`]; for auditors [`audit`] |
//! | from a request to its response | [`executor`] |
//! | documents, parsed, validated and kept | [`contract`], [`documents`] |
//! | one request's operation, what it costs and may cost | [`plan`], [`values`], [`size`], [`limits`] |
//! | its answer | [`response`], [`shape`], [`ready`], [`json`], [`errors`], [`messages`] |
//! | what its resolvers share | [`session`], [`loader`] |

mod audit;
mod connection;
mod contract;
mod cursors;
mod documents;
mod errors;
mod executor;
mod follow;
mod json;
mod limits;
mod loader;
mod messages;
mod mutation;
mod plan;
mod query;
mod ready;
mod response;
mod section;
mod session;
mod shape;
mod size;
mod subscription;
mod types;
mod values;

use async_graphql::{SDLExportOptions, SchemaBuilder};

pub use apollo_compiler::ast::OperationType;
pub use apollo_compiler::response::{JsonMap, JsonValue};
pub use documents::{DocumentReference, InvalidTrusted, TrustedDocuments};
pub use errors::Code;
pub use executor::{Call, Executor, Operation, Options, pause_before_refusal};
pub use limits::Limits;
pub use messages::Language;
pub use response::Response;
pub use session::Session;

type Schema = async_graphql::Schema<query::Query, mutation::Mutation, subscription::Subscription>;

/// How deep the executor itself goes: further than any operation that it is given.
const EXECUTOR_DEPTH: usize = 256;

fn build() -> SchemaBuilder<query::Query, mutation::Mutation, subscription::Subscription> {
    async_graphql::Schema::build(query::Query, mutation::Mutation, subscription::Subscription).limit_recursive_depth(EXECUTOR_DEPTH)
}

/// The schema's definition, as `schema.graphql` has it.
#[must_use]
pub fn sdl() -> String {
    build().finish().sdl_with_options(SDLExportOptions::new().include_specified_by())
}
