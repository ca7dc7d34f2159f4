//! An inbox that is followed. Most of the time nothing is told, so what is kept meanwhile is only who listens, and which
//! known document they asked by; the plan and the executor are there for as long as it takes to say one thing.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, Field, Selection};
use async_graphql::{Error, Request, Result, Value};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::errors::TopLevel as _;
use super::executor::{Executor, Source, panicked};
use super::plan::Plan;
use super::response::Response;
use super::session::Session;
use crate::app::AppError;
use crate::app::feed::Told;

/// What a subscription's resolver is given to say, once.
pub(super) struct Delivered {
    told: Mutex<Option<Result<Told, AppError>>>,
    failed: AtomicBool,
}

impl Delivered {
    fn new(told: Result<Told, AppError>) -> Arc<Self> {
        Arc::new(Self { told: Mutex::new(Some(told)), failed: AtomicBool::new(false) })
    }

    /// None when it was taken.
    pub(super) fn take(&self, session: &Session) -> Option<Result<Told, Error>> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(told.top_level(session))
    }

    /// What could not be told must not be passed over: after an error the client resumes from its last cursor.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

/// The field of an operation that follows an inbox.
pub(super) fn inbox(document: &ExecutableDocument) -> Option<&Field> {
    let DocumentOperations::Single(operation) = &document.operations else { return None };
    match operation.node.selection_set.node.items.first().map(|only| &only.node) {
        Some(Selection::Field(field)) if field.node.name.node == "inbox" => Some(&field.node),
        _ => None,
    }
}

/// The cursor that it begins after; none where it begins now.
fn after(inbox: &Field) -> Option<String> {
    match inbox.get_argument("after")?.node.clone().into_const() {
        Some(Value::String(after)) => Some(after),
        _ => None,
    }
}

struct Follower {
    executor: Arc<Executor>,
    source: Source,
    session: Arc<Session>,
    told: Pin<Box<dyn Stream<Item = Result<Told, AppError>> + Send>>,
    has_begun: bool,
    is_over: bool,
}

/// Responses, one for each thing that is told, until one fails.
pub(super) fn follow(executor: Arc<Executor>, source: Source, inbox: &Field, session: Arc<Session>) -> BoxStream<'static, Response> {
    let told = Box::pin(session.app.inbox(&session.viewer, after(inbox).as_deref()));
    let follower = Follower { executor, source, session, told, has_begun: false, is_over: false };
    stream::unfold(follower, |mut follower| async {
        if follower.is_over {
            return None;
        }
        let response = if let Ok(response) = AssertUnwindSafe(follower.next()).catch_unwind().await {
            response?
        } else {
            follower.is_over = true;
            panicked(&follower.session)
        };
        Some((response, follower))
    })
    .boxed()
}

impl Follower {
    async fn next(&mut self) -> Option<Response> {
        while !self.is_over {
            let told = self.told.next().await?;
            // In a box, which is not there while nothing is told.
            if let Some(response) = Box::pin(self.say(told)).await {
                return Some(response);
            }
        }
        None
    }

    /// None where it is so no more: something else that says so follows.
    async fn say(&mut self, told: Result<Told, AppError>) -> Option<Response> {
        let Plan { document, shape, .. } = match self.executor.plan(&self.source) {
            Ok(plan) => plan,
            Err(refused) => {
                self.is_over = true;
                return Some(*refused);
            }
        };
        let delivered = Delivered::new(told);
        let mut request = Request::new("").data(self.session.for_next_answer()).data(Arc::clone(&delivered));
        request.set_parsed_query(document);
        let executed = self.executor.schema().execute_stream(request).next().await;
        self.is_over = delivered.failed.load(Ordering::Relaxed);
        let executed = executed?;
        self.is_over |= executed.is_err();
        let shaped = if std::mem::replace(&mut self.has_begun, true) { Response::executed } else { Response::first };
        Some(shaped(&shape, executed))
    }
}
