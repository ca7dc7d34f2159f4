//! What is appended, and found by its id. A message's id is claimed for one stream before it is used.

use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use kurrentdb::{Client, CurrentRevision, EventData};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::connection::Failure;
use super::{KurrentEventLog, Metadata, Read, UNTOLD, append_or_find, exactly, read_stream};
use crate::domain::event::{Position, Stream, Timestamp};
use crate::event_log::codec::{MESSAGE_SENT, USER_ERASED};
use crate::event_log::copy::{CopyError, not_written};
use crate::event_log::orders::{Draft, NotWritten, Outcome, Times};
use crate::event_log::{LogError, StoredEvent};

const CLAIMED: &str = "MessageIdClaimed";
/// Claims that are made, and streams that a copy writes to, at once.
const AT_ONCE: usize = 64;
/// Events that a copy writes to a stream together; well under the database's limit of 1 MiB for an append.
const TOGETHER: usize = 100;

/// Which stream may have a message's id, and after which version it was to come.
#[derive(Serialize, Deserialize)]
struct Claim {
    stream: String,
    after: u64,
}

impl KurrentEventLog {
    pub(in crate::event_log) async fn write(&self, draft: Draft) -> Outcome {
        let log = self.clone();
        // What was begun has an outcome, also where nobody waits for it any more.
        let written = tokio::spawn(async move { log.claim_and_append(draft).await });
        written.await.unwrap_or_else(|_| Err(NotWritten::Log(LogError::Stopped("the append was cut short".into()))))
    }

    pub(in crate::event_log) async fn find_stored(&self, id: Uuid) -> Result<Option<StoredEvent>, LogError> {
        let Some(claim) = self.claim(id).await? else { return Ok(None) };
        self.find_claimed(&claim, id).await
    }

    /// Events of another log. Within a window streams are written beside each other, each in its order.
    pub(in crate::event_log) async fn import(&self, events: &[StoredEvent]) -> Result<(), CopyError> {
        if let Some(event) = events.iter().find(|event| !is_plain_json(&event.data)) {
            return Err(not_written(event, "KurrentDB is given JSON, and its data is not JSON, or has spaces around it"));
        }
        // Each erasure after all before it, and before all after it: what is written before it is gone from the views.
        for events in events.chunk_by(|one, next| one.kind != USER_ERASED && next.kind != USER_ERASED) {
            self.import_streams(events).await?;
        }
        Ok(())
    }

    async fn import_streams(&self, events: &[StoredEvent]) -> Result<(), CopyError> {
        let mut streams: Vec<(String, Vec<StoredEvent>)> = Vec::new();
        for event in events {
            match streams.iter_mut().find(|(name, _)| *name == event.stream) {
                Some((_, events)) => events.push(event.clone()),
                None => streams.push((event.stream.clone(), vec![event.clone()])),
            }
        }
        // Who is registered comes before what they do.
        let (first, others): (Vec<_>, Vec<_>) = streams.into_iter().partition(|(name, _)| *name == Stream::Community.to_string());
        for group in [first, others] {
            let mut written = stream::iter(group).map(|(_, events)| self.import_stream(events)).buffer_unordered(AT_ONCE);
            while let Some(outcome) = written.next().await {
                outcome?;
            }
        }
        Ok(())
    }

    async fn import_stream(&self, events: Vec<StoredEvent>) -> Result<(), CopyError> {
        for events in events.chunks(TOGETHER) {
            for draft in Draft::of_stored(events.to_vec()) {
                let first = draft.events[0].clone();
                match self.claim_and_append(draft).await {
                    Ok(_) => {}
                    Err(NotWritten::Conflict(version)) => return Err(not_written(&first, &format!("the stream is at version {version}"))),
                    Err(NotWritten::IdTaken(_)) => return Err(not_written(&first, "the id is taken")),
                    Err(NotWritten::Log(error)) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    async fn claim(&self, id: Uuid) -> Result<Option<Claim>, LogError> {
        let found = read_stream(&self.0.connection, &claim_stream(id), 0, 1).await?;
        found.first().map(claim_of).transpose()
    }

    /// The event that an id was claimed for. It may never have come.
    async fn find_claimed(&self, claim: &Claim, id: Uuid) -> Result<Option<StoredEvent>, LogError> {
        let mut after = claim.after;
        loop {
            let page = self.read_stream(&claim.stream, after, 500).await?;
            let Some(last) = page.last() else { return Ok(None) };
            after = last.version;
            if let Some(found) = page.into_iter().find(|event| event.id == id) {
                return Ok(Some(found));
            }
        }
    }

    /// Claims messages' ids, then appends where the stream is at the expected revision.
    async fn claim_and_append(&self, mut draft: Draft) -> Outcome {
        let closed = self.0.closed.read().await;
        let clock = match &self.0.clock {
            Some(clock) if !*closed => clock,
            _ => return Err(NotWritten::Log(LogError::Stopped("it takes no more events".into()))),
        };
        let (mut known, mut is_claimed_before) = (Vec::new(), false);
        let ids: Vec<Uuid> = draft.events.iter().filter(|event| event.kind == MESSAGE_SENT).map(|event| event.id).collect();
        let name = draft.events[0].stream.clone();
        let mut claims = stream::iter(ids).map(|id| self.claim_or_find(id, &name, draft.expected)).buffered(AT_ONCE);
        while let Some(claimed) = claims.next().await {
            let Some((id, claim)) = claimed? else { continue };
            is_claimed_before = true;
            match self.find_claimed(&claim, id).await.map_err(NotWritten::Log)? {
                Some(found) => known.push(found),
                None if claim.stream != name => return Err(NotWritten::IdTaken(None)),
                None => {}
            }
        }
        drop(claims);
        if let Some(outcome) = draft.repeated(known) {
            return outcome;
        }
        if draft.times == Times::OfWriting {
            draft.events.iter_mut().for_each(|event| event.at = self.later(clock()));
        }
        let position = self.append_exactly(&draft).await?;
        if draft.events.len() > 1 || is_claimed_before || position == UNTOLD {
            // What is there, in case another append of the same id came first: the database compares no data.
            let there = self.read_stream(&draft.events[0].stream, draft.expected, draft.events.len()).await.map_err(NotWritten::Log)?;
            return draft.repeated(there).unwrap_or(Err(NotWritten::Log(LogError::Read("what was appended was not found".into()))));
        }
        draft.events.iter_mut().for_each(|event| event.position = position);
        self.0.head.advance(position);
        Ok(draft.events)
    }

    /// None where the id is claimed now; who claimed it before, otherwise.
    async fn claim_or_find(&self, id: Uuid, stream: &str, after: u64) -> Result<Option<(Uuid, Claim)>, NotWritten> {
        let claim = EventData::json(CLAIMED, &Claim { stream: stream.to_owned(), after }).expect("a claim is JSON");
        let earlier = append_or_find(&self.0.connection, &self.0.closing, &claim_stream(id), 0, claim).await;
        let earlier = earlier.map_err(|failure| NotWritten::Log(failure.into()))?;
        earlier.map(|event| Ok((id, claim_of(&event)?))).transpose().map_err(NotWritten::Log)
    }

    /// The position of the last event. An unknown outcome is found out by the same append again.
    async fn append_exactly(&self, draft: &Draft) -> Result<Position, NotWritten> {
        let events: Vec<EventData> = draft.events.iter().map(event_data).collect();
        let (name, options, events) = (&draft.events[0].stream, &exactly(draft.expected), &events);
        let append =
            move |client: Client| -> BoxFuture<'_, _> { Box::pin(async move { client.append_to_stream(name.as_str(), options, events.clone()).await }) };
        let appended = self.0.connection.write(&self.0.closing, append).await;
        match appended {
            // At 0 there is something of the database's own: that, too, means that it is not told.
            Ok(result) if result.position.commit == 0 => Ok(UNTOLD),
            Ok(result) => Ok(Position(result.position.commit)),
            Err(Failure::WrongExpectedVersion(CurrentRevision::Current(revision))) => Err(NotWritten::Conflict(revision + 1)),
            Err(Failure::WrongExpectedVersion(CurrentRevision::NoStream)) => Err(NotWritten::Conflict(0)),
            Err(failure) => Err(NotWritten::Log(failure.into())),
        }
    }

    fn later(&self, now: Timestamp) -> Timestamp {
        let at = |newest: i64| now.0.max(newest + 1);
        let newest = self.0.newest.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |newest| Some(at(newest))).expect("it always has a next");
        Timestamp(at(newest))
    }
}

fn claim_of(event: &Read) -> Result<Claim, LogError> {
    event.as_json().map_err(|error| LogError::Read(format!("a claim cannot be read: {error}").into()))
}

fn claim_stream(id: Uuid) -> String {
    format!("message-{id}")
}

/// Whether data stays as it is where JSON is kept.
fn is_plain_json(data: &str) -> bool {
    serde_json::from_str::<&RawValue>(data).is_ok_and(|json| json.get() == data)
}

fn event_data(event: &StoredEvent) -> EventData {
    let metadata = Metadata { at: event.at.0, actor: event.actor.clone(), correlation: event.correlation, causation: event.causation };
    let data = RawValue::from_string(event.data.clone()).expect("stored data is JSON");
    let json = EventData::json(&event.kind, &data).and_then(|json| json.metadata_as_json(&metadata));
    json.expect("strings and numbers are always JSON").id(event.id)
}
