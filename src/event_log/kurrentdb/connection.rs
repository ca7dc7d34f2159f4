//! The client, made anew when it is dead: a first connect that failed leaves one that never works, and one
//! whose node died stays with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use kurrentdb::{Client, ClientSettings, CurrentRevision, Error};

use crate::storage::{Backoff, OpenError, StoreUrl};

/// How long the database may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often a read is tried.
const READS: usize = 5;
/// What servers say, under no code of its own, where a read of the whole log begins at a position where no record does. Older ones
/// say no more than that there is an error, which may pass.
const NO_RECORD: &str = "ReadAllResult: InvalidPosition";

/// A database and the client that reaches it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    settings: ClientSettings,
    place: Arc<str>,
    current: Arc<Mutex<Option<(u64, Client)>>>,
}

/// What is asked of a client, and may be asked again of another.
pub(super) trait Ask<'a, T>: Fn(Client) -> BoxFuture<'a, Result<T, Error>> + Send + Sync {}

impl<'a, T, F: Fn(Client) -> BoxFuture<'a, Result<T, Error>> + Send + Sync> Ask<'a, T> for F {}

/// Why the database did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    WrongExpectedVersion(CurrentRevision),
    NotFound,
    /// It will never do it.
    Refused(String),
    /// It may be otherwise in a moment. What an append did is not known.
    Passing(String),
    /// The log was closed before the outcome was found out.
    Closed,
}

impl Failure {
    pub(super) fn reason(self) -> String {
        match self {
            Self::WrongExpectedVersion(current) => format!("the stream is at {current}"),
            Self::NotFound => "there is no such stream".to_owned(),
            Self::Refused(reason) | Self::Passing(reason) => reason,
            Self::Closed => "the log is closed".to_owned(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        match error {
            Error::WrongExpectedVersion { current, .. } => Self::WrongExpectedVersion(current),
            Error::ResourceNotFound => Self::NotFound,
            Error::Grpc { code, .. } if is_final(code) => Self::Refused(reason),
            Error::ServerError(_) if reason.contains(NO_RECORD) => Self::Refused(reason),
            Error::AccessDenied | Error::UnsupportedFeature | Error::ResourceDeleted | Error::ResourceAlreadyExists => Self::Refused(reason),
            _ => Self::Passing(reason),
        }
    }
}

/// Whether the same call can never succeed. By its number: the client's own type is of another crate.
fn is_final(code: impl Into<i32>) -> bool {
    // InvalidArgument, FailedPrecondition, OutOfRange, Unimplemented.
    matches!(code.into(), 3 | 9 | 11 | 12)
}

impl Connection {
    /// # Errors
    /// When the address means nothing.
    pub(super) fn new(url: &str) -> Result<Self, OpenError> {
        let place = StoreUrl::Kurrent(url.to_owned()).to_string();
        let wrong = |reason: String| OpenError::Unreachable { place: place.clone(), reason };
        let settings = url.parse::<ClientSettings>().map_err(|_| wrong("the address means nothing to the client".to_owned()))?;
        Ok(Self { settings, place: place.into(), current: Arc::default() })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn unreachable(&self, reason: String) -> OpenError {
        OpenError::Unreachable { place: self.place.to_string(), reason }
    }

    /// A client of its own, on the runtime that asks.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Client::new(self.settings.clone()).map_err(|error| Failure::Passing(error.to_string()))
    }

    /// Asks, a few times where it may help: a read changes nothing.
    pub(super) async fn read<'a, T: Send>(&self, ask: impl Ask<'a, T>) -> Result<T, Failure> {
        let mut backoff = Backoff::new();
        for _ in 1..READS {
            match self.ask(&ask).await {
                Err(Failure::Passing(_)) => backoff.wait().await,
                answer => return answer,
            }
        }
        self.ask(&ask).await
    }

    /// Makes the same append until its outcome is known: the database knows it again by its ids.
    pub(super) async fn write<'a, T: Send>(&self, closing: &AtomicBool, append: impl Ask<'a, T>) -> Result<T, Failure> {
        let mut backoff = Backoff::new();
        loop {
            match self.ask(&append).await {
                Err(Failure::Passing(reason)) => tracing::warn!(reason, place = %self.place, "an append was interrupted and is looked after"),
                answer => return answer,
            }
            if closing.load(Ordering::SeqCst) {
                return Err(Failure::Closed);
            }
            backoff.wait().await;
        }
    }

    async fn ask<'a, T: Send>(&self, ask: &impl Ask<'a, T>) -> Result<T, Failure> {
        let (number, client) = self.current()?;
        // A database that never answers is one that did not answer in time.
        let answer = tokio::time::timeout(PATIENCE + Duration::from_secs(1), ask(client)).await.unwrap_or(Err(Error::DeadlineExceeded));
        answer.map_err(|error| {
            // A client that asked a follower goes to the leader by itself.
            let is_redirected = matches!(error, Error::NotLeaderException(_));
            let failure = Failure::from(error);
            if matches!(failure, Failure::Passing(_)) && !is_redirected {
                self.forget(number);
            }
            failure
        })
    }

    fn current(&self) -> Result<(u64, Client), Failure> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, client)) = &*current
            && *number % 2 == 0
        {
            return Ok((*number, client.clone()));
        }
        let number = current.as_ref().map_or(0, |(number, _)| number + 1);
        let client = self.client()?;
        *current = Some((number, client.clone()));
        Ok((number, client))
    }

    /// The next one who asks makes a new client, unless somebody did.
    fn forget(&self, number: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, _)) = &mut *current
            && *held == number
        {
            *held += 1;
        }
    }
}
