//! What a user saw at a past moment: the log folded up to it, by the folds that serve live, and for each fact the
//! event behind it.

use std::collections::HashMap;

use serde::Serialize;

use crate::app::folding::Unfoldable;
use crate::app::parking::Parking;
use crate::domain::event::{Event, Position, RecordedEvent, Timestamp};
use crate::domain::ids::UserId;
use crate::event_log::{EventLog, LogError, StoredEvent};
use crate::projections::Projection;
use crate::projections::conversations::{ConversationRow, Conversations};
use crate::projections::messages::{MessageRow, Messages};
use crate::projections::users::{UserRow, Users};
use crate::read_store::ParkedEntity;

/// Events read at once.
const WINDOW: usize = 4_096;

/// A moment of the log: after the event at a position, or after all up to an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Position(Position),
    Instant(Timestamp),
}

impl Moment {
    fn includes(self, event: &StoredEvent) -> bool {
        match self {
            Self::Position(position) => event.position <= position,
            Self::Instant(instant) => event.at <= instant,
        }
    }
}

/// The event behind a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub position: u64,
    pub at: String,
    pub actor: Option<String>,
    pub stream: String,
    pub version: u64,
    pub id: uuid::Uuid,
}

impl Cause {
    fn of(event: &RecordedEvent) -> Self {
        Self {
            position: event.position.0,
            at: event.at.to_string(),
            actor: event.metadata.actor.as_ref().map(ToString::to_string),
            stream: event.stream.to_string(),
            version: event.version,
            id: event.id,
        }
    }
}

/// Causes, by the names of the facts.
pub type Why = HashMap<&'static str, Cause>;

/// A user, as others saw them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub id: String,
    pub name: String,
    /// None: the default image.
    pub picture: Option<String>,
    pub contactable: bool,
}

/// A row of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListRow {
    pub contact: Profile,
    pub blocked: bool,
    pub unread_count: u64,
    pub last_message_at: Option<String>,
    pub last_message: Option<SeenMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// A message that the user could see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenMessage {
    pub id: uuid::Uuid,
    pub sender: String,
    pub text: String,
    pub sent_at: String,
    /// What made it visible: its sending, or an unblock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Cause>,
}

/// A conversation as one of its users had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    #[serde(flatten)]
    pub row: ListRow,
    /// The oldest first.
    pub messages: Vec<SeenMessage>,
}

/// A conversation in what a person is given of theirs, whether it stood in their list or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub contact: Profile,
    pub listed: bool,
    pub blocked: bool,
    /// The oldest first, without what was withheld.
    pub messages: Vec<SeenMessage>,
}

/// What one user had at the moment that was reached.
pub struct Replay {
    viewer: UserId,
    explains: bool,
    /// What cannot be folded stands still here as it does in the views.
    parking: Parking,
    reached: Option<(Position, Timestamp)>,
    users: HashMap<UserId, UserRow>,
    rows: HashMap<UserId, ConversationRow>,
    messages: HashMap<UserId, Vec<MessageRow>>,
    why: HashMap<UserId, Why>,
    /// Up to which message a contact's conversation was visible, and since which event.
    visible: HashMap<UserId, Vec<(u64, Cause)>>,
}

/// The log up to a moment, as a user saw it. `told` hears how far it is.
///
/// # Errors
/// When the log cannot be read.
pub async fn replay(log: &EventLog, viewer: UserId, until: Option<Moment>, explains: bool, mut told: impl FnMut(Position)) -> Result<Replay, LogError> {
    let mut replay = Replay::new(viewer, explains);
    let mut after = Position(0);
    loop {
        let mut events = log.read_all_stored(after, WINDOW).await?;
        let Some(last) = events.last() else { return Ok(replay) };
        after = last.position;
        // Of an instant nothing is over before the end: times need not grow along the log, only along a stream.
        let is_over = matches!(until, Some(Moment::Position(position)) if last.position > position);
        events.retain(|event| until.is_none_or(|until| until.includes(event)));
        for event in &replay.parking.without_unreadable(log.decode_each(events).await?) {
            replay.fold(event);
        }
        if is_over {
            return Ok(replay);
        }
        told(after);
    }
}

impl Replay {
    #[must_use]
    pub fn new(viewer: UserId, explains: bool) -> Self {
        Self {
            viewer,
            explains,
            parking: Parking::default(),
            reached: None,
            users: HashMap::new(),
            rows: HashMap::new(),
            messages: HashMap::new(),
            why: HashMap::new(),
            visible: HashMap::new(),
        }
    }

    /// The last event that was folded, and its time.
    #[must_use]
    pub fn reached(&self) -> Option<(Position, Timestamp)> {
        self.reached
    }

    /// What could not be folded, and stands still since; of the whole log, for what cannot be read may be anybody's.
    #[must_use]
    pub fn parked(&self) -> &[ParkedEntity] {
        self.parking.unstored()
    }

    pub fn fold(&mut self, event: &RecordedEvent) {
        self.reached = Some((event.position, event.at));
        let Some(contact) = self.contact_of(event) else { return };
        if !self.parking.admits(event) {
            return;
        }
        let is_next = match event.event {
            Event::Conversation(_) => Conversations::is_next(self.rows.get(&contact), event),
            _ => Users::is_next(self.users.get(&contact), event),
        };
        if !is_next {
            return self.parking.park(event, Unfoldable::NotNext);
        }
        let before = self.explains.then(|| self.facts(&contact));
        for id in Users::touched(event) {
            if let Some(row) = Users::evolve(&id, self.users.remove(&id), event) {
                self.users.insert(id, row);
            }
        }
        if matches!(event.event, Event::Conversation(_)) {
            let key = (self.viewer.clone(), contact.clone());
            let row = Conversations::evolve(&key, self.rows.remove(&contact), event);
            self.rows.extend(row.map(|row| (contact.clone(), row)));
            for key in Messages::touched(event) {
                self.messages.entry(contact.clone()).or_default().extend(Messages::evolve(&key, None, event));
            }
        }
        if let Some(before) = before {
            self.explain(event, &contact, &before);
        }
    }

    /// Whose row an event may change: the other one of the viewer's conversations, or the user of a profile.
    fn contact_of(&self, event: &RecordedEvent) -> Option<UserId> {
        match &event.event {
            Event::Conversation(happened) => match happened.actor_and_contact() {
                (actor, contact) if *actor == self.viewer => Some(contact.clone()),
                (actor, contact) if *contact == self.viewer => Some(actor.clone()),
                _ => None,
            },
            Event::Community(_) | Event::User(_) => Users::touched(event).pop(),
            Event::Section(_) => None,
        }
    }

    /// What can be seen of a contact, by name.
    fn facts(&self, contact: &UserId) -> [(&'static str, serde_json::Value); 8] {
        let profile = self.profile(contact);
        let row = self.rows.get(contact);
        let side = row.map(|row| row.side).unwrap_or_default();
        [
            ("name", profile.as_ref().map(|profile| profile.name.clone()).into()),
            ("picture", profile.as_ref().and_then(|profile| profile.picture.clone()).into()),
            ("contactable", profile.as_ref().map(|profile| profile.contactable).into()),
            ("listed", side.is_listed().into()),
            ("blocked", side.is_blocking().into()),
            ("unreadCount", side.unread().into()),
            ("lastMessage", side.last_visible().into()),
            ("lastMessageAt", row.and_then(|row| row.last_at).map(|at| at.0).into()),
        ]
    }

    fn explain(&mut self, event: &RecordedEvent, contact: &UserId, before: &[(&'static str, serde_json::Value); 8]) {
        let after = self.facts(contact);
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).map(|(_, (name, _))| *name);
        let changed: Vec<&'static str> = changed.collect();
        if changed.contains(&"lastMessage") {
            let last = self.rows.get(contact).map_or(0, |row| row.side.last_visible());
            self.visible.entry(contact.clone()).or_default().push((last, Cause::of(event)));
        }
        self.why.entry(contact.clone()).or_default().extend(changed.into_iter().map(|name| (name, Cause::of(event))));
    }

    /// A user's profile; none while they were not registered.
    #[must_use]
    pub fn profile(&self, user: &UserId) -> Option<Profile> {
        let row = self.users.get(user)?;
        Some(Profile {
            id: row.id.to_string(),
            name: row.user.profile.name.as_str().to_owned(),
            picture: row.user.profile.picture.as_ref().map(|picture| picture.as_str().to_owned()),
            contactable: row.user.contactable,
        })
    }

    /// What is known of the facts about a user, whether they stood in the list or not.
    #[must_use]
    pub fn why(&self, contact: &UserId) -> Option<&Why> {
        self.why.get(contact)
    }

    /// The viewer's list, the oldest first and the blocked last (L2).
    #[must_use]
    pub fn list(&self) -> Vec<ListRow> {
        let mut rows: Vec<&ConversationRow> = self.rows.values().filter(|row| row.side.is_listed()).collect();
        rows.sort_by_key(|row| (row.side.is_blocking(), row.last_at, row.conversation.0));
        rows.into_iter().filter_map(|row| self.row(row)).collect()
    }

    /// The conversation with a user; none where it did not stand in the list.
    #[must_use]
    pub fn conversation(&self, contact: &UserId) -> Option<Seen> {
        let row = self.rows.get(contact).filter(|row| row.side.is_listed())?;
        let visible = self.messages.get(contact).into_iter().flatten().filter(|message| message.number <= row.side.last_visible());
        Some(Seen { row: self.row(row)?, messages: visible.map(|message| self.message(contact, message)).collect() })
    }

    /// Every conversation that the viewer had, by contact, with what they could see of it.
    #[must_use]
    pub fn everything(&self) -> Vec<Entry> {
        let entry = |row: &ConversationRow| {
            let messages = self.messages.get(&row.contact).into_iter().flatten().filter(|message| message.number <= row.side.last_visible());
            Some(Entry {
                contact: self.profile(&row.contact)?,
                listed: row.side.is_listed(),
                blocked: row.side.is_blocking(),
                messages: messages.map(|message| self.message(&row.contact, message)).collect(),
            })
        };
        let mut rows: Vec<&ConversationRow> = self.rows.values().collect();
        rows.sort_by(|a, b| a.contact.cmp(&b.contact));
        rows.into_iter().filter_map(entry).collect()
    }

    fn row(&self, row: &ConversationRow) -> Option<ListRow> {
        let last = self.messages.get(&row.contact).into_iter().flatten().find(|message| message.number == row.side.last_visible());
        Some(ListRow {
            contact: self.profile(&row.contact)?,
            blocked: row.side.is_blocking(),
            unread_count: row.side.unread(),
            last_message_at: row.last_at.map(|at| at.to_string()),
            last_message: last.map(|message| self.message(&row.contact, message)),
            why: self.why.get(&row.contact).cloned(),
        })
    }

    fn message(&self, contact: &UserId, message: &MessageRow) -> SeenMessage {
        let spans = self.visible.get(contact).into_iter().flatten();
        SeenMessage {
            id: message.id.0,
            sender: message.sender.to_string(),
            text: message.text.as_str().to_owned(),
            sent_at: message.sent_at.to_string(),
            why: spans.into_iter().find(|(last, _)| *last >= message.number).map(|(_, cause)| cause.clone()),
        }
    }
}
