//! The rows that events touch, in memory: folded there, and written when their time comes.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

use crate::domain::event::{Event, Position, RecordedEvent};
use crate::domain::ids::UserId;
use crate::domain::text::MessageText;
use crate::domain::user::UserEvent;
use crate::projections::Projection;
use crate::projections::conversations::Conversations;
use crate::projections::messages::{MessageRow, Messages};
use crate::projections::section::Section;
use crate::projections::users::Users;
use crate::read_store::{Rows, Touched};

/// Why an event cannot be folded. The rows are as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfoldable {
    #[error("it does not follow on what is folded: another came before it, or is missing")]
    NotNext,
    #[error("its fold panicked")]
    Panicked,
}

/// The keys of the rows that events touch; messages aside, which are written once.
pub(super) fn touched(events: &[RecordedEvent]) -> Touched {
    let mut touched = Touched::default();
    for event in events {
        touched.users.extend(Users::touched(event));
        touched.conversations.extend(Conversations::touched(event));
        touched.section |= !Section::touched(event).is_empty();
    }
    touched.users.sort_unstable();
    touched.users.dedup();
    touched.conversations.sort_unstable();
    touched.conversations.dedup();
    touched
}

/// The rows of every projection that are in memory.
pub(super) struct Tables {
    pub(super) users: Folding<Users>,
    pub(super) conversations: Folding<Conversations>,
    pub(super) section: Folding<Section>,
    /// Messages that are not written yet, in their order.
    pub(super) messages: Vec<MessageRow>,
    /// Whose messages are to be overwritten where they are written, those before a position.
    erased: Vec<(UserId, Position)>,
}

impl Tables {
    pub(super) fn empty() -> Self {
        Self { users: Folding::empty(), conversations: Folding::empty(), section: Folding::empty(), messages: Vec::new(), erased: Vec::new() }
    }

    /// Takes in rows that were loaded.
    pub(super) fn extend(&mut self, loaded: Rows) {
        self.users.extend(loaded.users.into_iter().map(|row| (row.id.clone(), row)));
        self.conversations.extend(loaded.conversations.into_iter().map(|row| ((row.owner.clone(), row.contact.clone()), row)));
        self.section.extend(loaded.section.map(|row| ((), row)));
    }

    /// Folds an event into every projection, or into none.
    pub(super) fn fold(&mut self, event: &RecordedEvent) -> Result<(), Unfoldable> {
        let evolved = catch_unwind(AssertUnwindSafe(|| {
            let messages = Folding::<Messages>::empty().evolved(event)?;
            Ok((self.users.evolved(event)?, self.conversations.evolved(event)?, self.section.evolved(event)?, messages))
        }));
        let (users, conversations, section, messages) = evolved.unwrap_or(Err(Unfoldable::Panicked))?;
        self.users.change(users);
        self.conversations.change(conversations);
        self.section.change(section);
        self.messages.extend(messages.into_iter().filter_map(|(_, row)| row));
        if let Event::User(UserEvent::UserErased { user }) = &event.event {
            for message in self.messages.iter_mut().filter(|message| message.sender == *user) {
                message.text = MessageText::erased();
            }
            self.erased.push((user.clone(), event.position));
        }
        Ok(())
    }

    /// The changed rows, which stay, as unchanged ones. Messages do not.
    pub(super) fn take_changed(&mut self) -> Rows {
        Rows {
            users: self.users.take_changed(),
            conversations: self.conversations.take_changed(),
            messages: std::mem::take(&mut self.messages),
            section: self.section.take_changed().pop(),
            erased: std::mem::take(&mut self.erased),
            ..Rows::default()
        }
    }
}

/// Rows after an event, by their keys.
type Evolved<P> = Vec<(<P as Projection>::Key, Option<<P as Projection>::Row>)>;

/// One projection's rows: loaded once, folded in memory, each changed one written once.
pub(super) struct Folding<P: Projection> {
    rows: HashMap<P::Key, P::Row>,
    /// Keys of changed rows, in the order of their first change.
    changed: Vec<P::Key>,
    is_changed: HashSet<P::Key>,
}

impl<P: Projection> Folding<P> {
    fn empty() -> Self {
        Self { rows: HashMap::new(), changed: Vec::new(), is_changed: HashSet::new() }
    }

    fn extend(&mut self, rows: impl IntoIterator<Item = (P::Key, P::Row)>) {
        self.rows.extend(rows);
    }

    /// The rows after an event.
    fn evolved(&self, event: &RecordedEvent) -> Result<Evolved<P>, Unfoldable> {
        let evolve = |key: P::Key| {
            let row = self.rows.get(&key);
            if !P::is_next(row, event) {
                return Err(Unfoldable::NotNext);
            }
            let row = P::evolve(&key, row.cloned(), event);
            Ok((key, row))
        };
        P::touched(event).into_iter().map(evolve).collect()
    }

    fn change(&mut self, rows: Evolved<P>) {
        for (key, row) in rows {
            if let Some(row) = row {
                self.rows.insert(key.clone(), row);
            }
            if self.is_changed.insert(key.clone()) {
                self.changed.push(key);
            }
        }
    }

    pub(super) fn contains(&self, key: &P::Key) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn row(&self, key: &P::Key) -> Option<&P::Row> {
        self.rows.get(key)
    }

    fn take_changed(&mut self) -> Vec<P::Row> {
        self.is_changed.clear();
        std::mem::take(&mut self.changed).iter().filter_map(|key| self.rows.get(key).cloned()).collect()
    }
}
