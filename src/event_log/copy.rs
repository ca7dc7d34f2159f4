//! Copies a log into another, and its keys, whatever keeps either. Ids, streams, versions, times and data stay as they
//! are; positions are the other log's own. What is there already is compared and not written again, so a copy
//! that was cut short, or whose source has grown since, is simply made again.
//!
//! Refuses to add to a log that has events which the source has not, or has otherwise.

use std::collections::{HashMap, HashSet};

use thiserror::Error;
use uuid::Uuid;

use super::{EventLog, LogError, StoredEvent};
use crate::domain::event::Position;

/// Events compared and written at once.
const WINDOW: usize = 2_000;

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Events that are in both logs, and equal.
    pub events: u64,
    /// How many of them were written by this copy.
    pub written: u64,
    /// The source's position up to which that is so.
    pub position: Position,
}

/// Why a log was not copied whole. What was written so far is right.
#[derive(Debug, Error)]
pub enum CopyError {
    #[error("both addresses are of the same log")]
    Itself,
    #[error("the log to copy to differs: event {id} (version {version} of {stream}) is not in the source, or otherwise")]
    Differs { id: Uuid, stream: String, version: u64 },
    #[error("event {id} (version {version} of {stream}) could not be written: {reason}")]
    NotWritten { id: Uuid, stream: String, version: u64, reason: String },
    /// The target's key store was used by another log.
    #[error("{lacking} keys are not in the key store to copy to as they are in the source's: their people have others there. Begin with an empty one")]
    Keys { lacking: usize },
    /// Where the events come from.
    #[error("the events cannot be read: {0}")]
    Source(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Where events to copy come from, in their order.
pub trait Source {
    /// The next events, at most `limit`; none at the end.
    fn next(&mut self, limit: usize) -> impl Future<Output = Result<Vec<StoredEvent>, CopyError>> + Send;
}

/// What a log has, from its beginning.
pub struct Whole<'a> {
    log: &'a EventLog,
    after: Position,
}

impl EventLog {
    /// Everything that the log has, as a source.
    #[must_use]
    pub fn whole(&self) -> Whole<'_> {
        Whole { log: self, after: Position(0) }
    }
}

impl Source for Whole<'_> {
    async fn next(&mut self, limit: usize) -> Result<Vec<StoredEvent>, CopyError> {
        let events = self.log.read_all_stored(self.after, limit).await?;
        self.after = events.last().map_or(self.after, |event| event.position);
        Ok(events)
    }
}

/// Copies everything that `from` has now. `told` hears of every window.
///
/// # Errors
/// [`CopyError`]
pub async fn copy(from: &EventLog, to: &EventLog, told: impl FnMut(Copied)) -> Result<Copied, CopyError> {
    if from.id() == to.id() {
        return Err(CopyError::Itself);
    }
    let copied = import(from.whole(), to, told).await?;
    // Afterwards, so that whoever registered meanwhile has theirs in it.
    match to.keys().take_in(from.keys()).await? {
        0 => Ok(copied),
        lacking => Err(CopyError::Keys { lacking }),
    }
}

/// Copies everything that a source has. `told` hears of every window.
///
/// # Errors
/// [`CopyError`]
pub async fn import(mut from: impl Source, to: &EventLog, mut told: impl FnMut(Copied)) -> Result<Copied, CopyError> {
    let (mut copied, mut reached) = (Copied::default(), Position(0));
    loop {
        let window = from.next(WINDOW).await?;
        let Some(last) = window.last() else { break };
        let position = last.position;
        let there = to.read_all_stored(reached, window.len()).await?;
        let missing = missing(&window, &there)?;
        copied.written += missing.len() as u64;
        if !missing.is_empty() {
            to.import(missing).await?;
        }
        let there = to.read_all_stored(reached, window.len()).await?;
        if let Some(event) = self::missing(&window, &there)?.first() {
            return Err(not_written(event, "it was not found afterwards"));
        }
        reached = there.last().map_or(reached, |event| event.position);
        copied.events += window.len() as u64;
        copied.position = position;
        told(copied);
    }
    match to.read_all_stored(reached, 1).await?.first() {
        Some(event) => Err(differs(event)),
        None => Ok(copied),
    }
}

/// The events of a window that the other log has not, in order; each that it has must be the same.
fn missing(window: &[StoredEvent], there: &[StoredEvent]) -> Result<Vec<StoredEvent>, CopyError> {
    let there: HashMap<Uuid, &StoredEvent> = there.iter().map(|event| (event.id, event)).collect();
    let mut missing = Vec::new();
    let mut found = 0;
    for event in window {
        match there.get(&event.id) {
            Some(same) if is_same(event, same) => found += 1,
            Some(other) => return Err(differs(other)),
            None => missing.push(event.clone()),
        }
    }
    if found == there.len() {
        return Ok(missing);
    }
    let known: HashSet<Uuid> = window.iter().map(|event| event.id).collect();
    let foreign = there.values().find(|event| !known.contains(&event.id)).expect("one was not found");
    Err(differs(foreign))
}

fn is_same(one: &StoredEvent, other: &StoredEvent) -> bool {
    StoredEvent { position: other.position, ..one.clone() } == *other
}

fn differs(event: &StoredEvent) -> CopyError {
    CopyError::Differs { id: event.id, stream: event.stream.clone(), version: event.version }
}

pub(super) fn not_written(event: &StoredEvent, reason: &str) -> CopyError {
    CopyError::NotWritten { id: event.id, stream: event.stream.clone(), version: event.version, reason: reason.to_owned() }
}
