//! The GraphQL contract: `schema.graphql`, on top of the use cases. Names and shapes live here;
//! rules do not.

mod connection;
mod cursors;
mod errors;
mod limits;
mod loader;
mod mutation;
mod query;
mod session;
mod subscription;
mod types;

use async_graphql::parser::parse_query;
use async_graphql::{Request, Response, ServerError};
use futures_util::{Stream, StreamExt as _};

pub use errors::{Code, codes_of};
pub use session::Session;

/// The executable schema.
pub type Schema = async_graphql::Schema<query::Query, mutation::Mutation, subscription::Subscription>;

/// Fields inside fields inside fields…: how deep an operation may go. Introspection as GraphiQL does it needs 15.
const MAX_DEPTH: usize = 16;
/// What an operation may cost: a field 1, a page its rows times what is asked of each.
const MAX_COMPLEXITY: usize = 10_000;

/// Builds the schema. A request needs an `Arc<Session>` among its data.
#[must_use]
pub fn schema() -> Schema {
    async_graphql::Schema::build(query::Query, mutation::Mutation, subscription::Subscription).limit_depth(MAX_DEPTH).limit_complexity(MAX_COMPLEXITY).finish()
}

/// The schema's definition, as `schema.graphql` has it.
#[must_use]
pub fn sdl() -> String {
    schema().sdl()
}

/// Parses a request's document, and looks whether the executor may be asked to.
///
/// # Errors
/// The response to give: `GRAPHQL_PARSE_FAILED`, `QUERY_TOO_COMPLEX`, or `GRAPHQL_VALIDATION_FAILED` for
/// a fragment inside itself.
pub fn parse(mut request: Request) -> Result<Request, Box<Response>> {
    if request.query.len() > limits::MAX_DOCUMENT_BYTES {
        return Err(Box::new(Code::QueryTooComplex.response("the document is longer than 64 KiB: send values as variables")));
    }
    match parse_query(&request.query) {
        Ok(document) => {
            limits::check(&document).map_err(|(code, message)| Box::new(code.response(message)))?;
            request.set_parsed_query(document);
            Ok(request)
        }
        Err(error) => {
            let mut response = Code::ParseFailed.response("");
            let server_error = ServerError::from(error);
            response.errors[0].message = server_error.message;
            response.errors[0].locations = server_error.locations;
            Err(Box::new(response))
        }
    }
}

/// Executes a parsed query or mutation. Every error of the response has a code.
pub async fn execute(schema: &Schema, request: Request) -> Response {
    let mut response = schema.execute(request).await;
    errors::mark_unmarked(&mut response);
    response
}

/// Executes any parsed operation as a stream of responses.
pub fn execute_stream(schema: &Schema, request: Request) -> impl Stream<Item = Response> + Send + use<> {
    schema.execute_stream(request).map(|mut response| {
        errors::mark_unmarked(&mut response);
        response
    })
}
