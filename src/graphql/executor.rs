//! From a request to its response: the document is found, its operation planned and measured, and only then
//! executed. The executor underneath resolves fields; what a request and a response are is decided here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use apollo_compiler::ast::OperationType;
use apollo_compiler::request::coerce_variable_values;
use apollo_compiler::response::JsonMap;
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, ValidationMode};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use super::contract::Contract;
use super::documents::{Document, DocumentReference, Documents, InvalidTrusted, TrustedDocuments};
use super::errors::{Code, TopLevel as _, broken, without_place};
use super::follow::{follow, inbox};
use super::limits::Limits;
use super::messages::Language;
use super::plan::{Plan, plan};
use super::response::Response;
use super::session::Session;
use super::{Schema, build, sdl};
use crate::app::quota::Quota;
use crate::domain::ids::UserId;
use crate::metrics::{METRICS, RATE_LIMITED};

/// How long the refusal of an operation takes that there was no room for. Clients that ask again as soon as they are refused, as none
/// should, would otherwise be refused so often that little else is done.
const REFUSAL: Duration = Duration::from_millis(500);

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    pub trusted: TrustedDocuments,
    /// How long a query or mutation may take; zero: for ever.
    pub time: Duration,
    /// How many queries and mutations may run at once: more would only make all of them wait.
    pub running: usize,
    /// How many of those may be of one user.
    pub running_of_user: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), trusted: TrustedDocuments::default(), time: Duration::ZERO, running: 1_024, running_of_user: 256 }
    }
}

/// One operation, as a request asks for it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub document: DocumentReference,
    pub operation_name: Option<String>,
    pub variables: JsonMap,
}

/// What a plan is made of, again and again where that costs less than to keep it.
pub(super) struct Source {
    document: Arc<Document>,
    operation_name: Option<String>,
    /// Coerced.
    variables: JsonMap,
}

/// An operation that may be executed.
pub struct Operation {
    kind: OperationType,
    source: Source,
    plan: Plan,
}

impl Operation {
    #[must_use]
    pub fn kind(&self) -> OperationType {
        self.kind
    }

    /// What it counts towards the limit of complexity.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.plan.size.cost
    }
}

/// Executes operations. Every error of its responses has a code.
pub struct Executor {
    schema: Schema,
    contract: Arc<Contract>,
    documents: Documents,
    limits: Limits,
    time: Option<Duration>,
    room: Semaphore,
    shares: Arc<Quota>,
}

impl Executor {
    /// # Errors
    /// When a trusted document is not valid.
    pub fn new(options: Options) -> Result<Self, InvalidTrusted> {
        let Options { limits, trusted, time, running, running_of_user } = options;
        let contract = Arc::new(Contract::of(&sdl()));
        Ok(Self {
            // What it is given is valid already.
            schema: build().validation_mode(ValidationMode::Fast).finish(),
            documents: Documents::new(Arc::clone(&contract), limits, trusted)?,
            contract,
            limits,
            time: (!time.is_zero()).then_some(time),
            room: Semaphore::new(running.min(Semaphore::MAX_PERMITS)),
            shares: Quota::new(running_of_user),
        })
    }

    /// Finds out what a user's request asks for, and whether it may. A panic is a masked error.
    ///
    /// # Errors
    /// The response to give where nothing is to be executed.
    pub fn prepare(&self, call: &Call, user: &UserId) -> Result<Operation, Box<Response>> {
        let _span = tracing::debug_span!("prepare").entered();
        let prepared = catch_unwind(AssertUnwindSafe(|| self.planned(call, user)));
        prepared.unwrap_or_else(|_| {
            tracing::error!("an operation could not be planned: that panicked");
            Err(Box::new(Code::Internal.response(Language::default().internal())))
        })
    }

    fn planned(&self, call: &Call, user: &UserId) -> Result<Operation, Box<Response>> {
        let document = self.documents.find(&call.document, user)?;
        let operation = document.operation(call.operation_name.as_deref())?;
        let kind = operation.operation_type;
        let variables = coerce_variable_values(&self.contract.schema, operation, &call.variables)
            .map_err(|error| Box::new(Code::BadUserInput.response(&without_value(&error.message().to_string()))))?;
        let source = Source { document, operation_name: call.operation_name.clone(), variables: variables.into_inner() };
        let plan = self.plan(&source)?;
        plan.size.check(&self.limits).map_err(|(code, message)| Box::new(code.response(&message)))?;
        Ok(Operation { kind, source, plan })
    }

    pub(super) fn plan(&self, source: &Source) -> Result<Plan, Box<Response>> {
        let Source { document, operation_name, variables } = source;
        let operation = document.operation(operation_name.as_deref())?;
        plan(&self.contract, &document.executable, operation, variables).map_err(|(code, message)| Box::new(code.response(&message)))
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What an operation may cost, and those of a batch together.
    #[must_use]
    pub fn complexity_limit(&self) -> usize {
        self.limits.complexity
    }

    /// Executes a query or a mutation. A panic of a resolver is a masked error, told to the operator.
    pub async fn execute(&self, operation: Operation, session: Arc<Session>) -> Response {
        match self.try_execute(operation, session).await {
            Ok(response) => response,
            Err(refusal) => {
                pause_before_refusal().await;
                refusal
            }
        }
    }

    /// The same, if there is room for it.
    ///
    /// # Errors
    /// The refusal, to be told after [`pause_before_refusal`].
    pub async fn try_execute(&self, operation: Operation, session: Arc<Session>) -> Result<Response, Response> {
        let Some(_share) = self.shares.take(session.viewer.id()) else {
            return Err(Code::RateLimited.response("too many operations of this user run at once"));
        };
        let Ok(_room) = self.room.try_acquire() else { return Err(Code::Unavailable.response(session.language.busy())) };
        let Operation { kind, plan: Plan { document, shape, size }, .. } = operation;
        if size.sends > 0
            && let Err(error) = session.app.admit_sends(&session.viewer, size.sends).top_level(&session)
        {
            METRICS.count_commands("sendMessage", RATE_LIMITED, size.sends);
            return Ok(Response::refused(vec![without_place(error)], Code::RateLimited));
        }
        let request = planned_request(document, &session);
        let span = tracing::debug_span!("execute", graphql.operation.type = %kind);
        let executing = async {
            session.app.views_are_current().await.top_level(&session)?;
            Ok(self.schema.execute(request).await)
        };
        let executing = AssertUnwindSafe(executing).catch_unwind().instrument(span);
        let executed = match self.time {
            Some(time) => timeout(time, executing).await,
            None => Ok(executing.await),
        };
        Ok(match executed {
            Ok(Ok(Ok(executed))) => Response::executed(&shape, executed),
            Ok(Ok(Err(error))) => Response::refused(vec![without_place(error)], Code::Unavailable),
            Ok(Err(_)) => panicked(&session),
            Err(_) => {
                tracing::warn!(request = %session.viewer.request(), "an operation took too long");
                broken(&session, Code::Unavailable, session.language.too_slow())
            }
        })
    }

    /// Executes any operation as a stream of responses: one, but for a subscription. Ends after a panic.
    pub fn stream(self: &Arc<Self>, operation: Operation, session: Arc<Session>) -> BoxStream<'static, Response> {
        if operation.kind != OperationType::Subscription {
            let executor = Arc::clone(self);
            return stream::once(async move { executor.execute(operation, session).await }).boxed();
        }
        let Operation { source, plan: Plan { document, shape, .. }, .. } = operation;
        if let Some(inbox) = inbox(&document) {
            return follow(Arc::clone(self), source, inbox, session);
        }
        let responses = AssertUnwindSafe(self.schema.execute_stream(planned_request(document, &session))).catch_unwind();
        let answer = move |(place, response): (usize, Result<_, _>)| match response {
            Ok(executed) if place == 0 => Response::first(&shape, executed),
            Ok(executed) => Response::executed(&shape, executed),
            Err(_) => panicked(&session),
        };
        responses.enumerate().map(answer).boxed()
    }
}

/// Nothing of an operation is to be held meanwhile.
pub async fn pause_before_refusal() {
    sleep(REFUSAL).await;
}

fn planned_request(document: ExecutableDocument, session: &Arc<Session>) -> Request {
    let mut request = Request::new("").data(Arc::clone(session));
    request.set_parsed_query(document);
    request
}

/// What is wrong with a variable, without the value: it may be a text that nobody else should read.
fn without_value(message: &str) -> String {
    let (what, value) = message.split_once(": ").unwrap_or((message, ""));
    let expected = value.rfind(" to type ").map_or("", |at| &value[at..]);
    format!("{what}{expected}")
}

pub(super) fn panicked(session: &Session) -> Response {
    tracing::error!(request = %session.viewer.request(), "an operation panicked");
    broken(session, Code::Internal, session.language.internal())
}
