//! Events as they are stored, and as this version reads them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::codec::{self, DecodeError};
use super::keys::{Keyring, Unlocked};
use super::{EventLog, LogError};
use crate::domain::event::{Event, Metadata, Position, RecordedEvent, Stream, Timestamp, UnknownStream};
use crate::domain::ids::UserId;
use crate::domain::user::UserEvent;

/// An event as it is stored and exported: names and data as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub position: Position,
    pub stream: String,
    pub version: u64,
    pub id: Uuid,
    /// The stored name of the event's type.
    pub kind: String,
    pub at: Timestamp,
    pub actor: Option<String>,
    pub correlation: Uuid,
    pub causation: Uuid,
    /// JSON.
    pub data: String,
}

/// An event that this version cannot read, and why.
#[derive(Clone, Debug)]
pub struct Undecodable {
    pub event: Box<StoredEvent>,
    pub reason: Arc<str>,
    /// The key that is not known here, by its name.
    pub(super) lacks: Option<String>,
}

impl Undecodable {
    /// Whether it is sealed under a key that the key store does not have.
    #[must_use]
    pub fn lacks_its_key(&self) -> bool {
        self.lacks.is_some()
    }
}

impl From<Undecodable> for LogError {
    fn from(undecodable: Undecodable) -> Self {
        Self::Undecodable { position: undecodable.event.position, reason: undecodable.reason }
    }
}

impl StoredEvent {
    pub(super) fn decode(self, keys: &Keyring) -> Result<RecordedEvent, Undecodable> {
        let stream = self.stream.parse().map_err(|error: UnknownStream| (error.to_string(), None));
        let event = codec::decode(&self.kind, &self.data, self.id, |name| keys.unlocked(name)).map_err(|error| match error {
            DecodeError::NoKey(ref name) => (error.to_string(), Some(name.clone())),
            error => (error.to_string(), None),
        });
        let (stream, event) = match (stream, event) {
            (Ok(stream), Ok(event)) => (stream, event),
            (Err((reason, lacks)), _) | (_, Err((reason, lacks))) => return Err(Undecodable { event: Box::new(self), reason: reason.into(), lacks }),
        };
        Ok(self.recorded(stream, event))
    }

    pub(super) fn recorded(self, stream: Stream, event: Event) -> RecordedEvent {
        RecordedEvent {
            position: self.position,
            stream,
            version: self.version,
            id: self.id,
            at: self.at,
            metadata: Metadata { actor: self.actor.map(UserId::from_stored), correlation: self.correlation, causation: self.causation },
            event,
        }
    }

    /// Whether this version can read it but for what is sealed in it, which is not looked into.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self) -> Result<Event, DecodeError> {
        codec::decode(&self.kind, &self.data, self.id, |_| Unlocked::Destroyed)
    }
}

impl EventLog {
    /// Each event as far as this version can read it.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub async fn decode_each(&self, events: Vec<StoredEvent>) -> Result<Vec<Result<RecordedEvent, Undecodable>>, LogError> {
        let decode = |event: StoredEvent| {
            let decoded = event.decode(&self.keys);
            // Here, so that what was sealed under the same key after it is not opened, as at any later time.
            if let Ok(RecordedEvent { event: Event::User(UserEvent::UserErased { user }), .. }) = &decoded {
                self.keys.forget(user);
            }
            decoded
        };
        let mut decoded: Vec<_> = events.into_iter().map(decode).collect();
        let lacking = |event: &Result<RecordedEvent, Undecodable>| event.as_ref().err().and_then(|undecodable| undecodable.lacks.clone());
        let lacks: HashSet<String> = decoded.iter().filter_map(lacking).collect();
        if !lacks.is_empty() {
            // Another node may have made the key, or destroyed it, since.
            self.keys.look_up(lacks.into_iter().collect()).await?;
            let again = |event: Result<RecordedEvent, Undecodable>| match event {
                Err(Undecodable { event, lacks: Some(_), .. }) => event.decode(&self.keys),
                event => event,
            };
            decoded = decoded.into_iter().map(again).collect();
        }
        Ok(decoded)
    }

    pub(super) async fn decode_all(&self, events: Vec<StoredEvent>) -> Result<Vec<RecordedEvent>, LogError> {
        self.decode_each(events).await?.into_iter().map(|event| event.map_err(LogError::from)).collect()
    }

    pub(super) async fn decode(&self, event: StoredEvent) -> Result<RecordedEvent, LogError> {
        Ok(self.decode_all(vec![event]).await?.remove(0))
    }

    /// The data of each event with what people wrote in clear, as far as it can be opened: null where it was erased.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub async fn reveal(&self, events: &[StoredEvent]) -> Result<Vec<String>, LogError> {
        for event in events.iter().filter(|event| event.kind == codec::USER_ERASED) {
            if let Ok(Event::User(UserEvent::UserErased { user })) = event.check() {
                self.keys.forget(&user);
            }
        }
        let (revealed, lacks) = self.reveal_known(events);
        if lacks.is_empty() {
            return Ok(revealed);
        }
        // Another process may have made the key, or destroyed it, since.
        self.keys.look_up(lacks.into_iter().collect()).await?;
        Ok(self.reveal_known(events).0)
    }

    /// The same with the keys that are known here, and the names of those that are not.
    fn reveal_known(&self, events: &[StoredEvent]) -> (Vec<String>, HashSet<String>) {
        let lacks = RefCell::new(HashSet::new());
        let unlocked = |name: &str| {
            let key = self.keys.unlocked(name);
            if matches!(key, Unlocked::Unknown) {
                lacks.borrow_mut().insert(name.to_owned());
            }
            key
        };
        let revealed = events.iter().map(|event| codec::reveal(&event.data, event.id, unlocked)).collect();
        (revealed, lacks.into_inner())
    }
}
