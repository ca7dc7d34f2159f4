//! What decisions about a conversation are made from: both sides at a version of its stream. Never
//! read from the beginning: kept in memory, and otherwise the rows of the read store and what the
//! stream has after them.
//!
//! A state may be behind its stream at any moment: the views are, and others may append. So what the stream has
//! after the rows is looked for only once a state was found behind: by an append, or before a refusal.

use quick_cache::sync::{EntryAction, EntryResult};
use tokio::sync::MutexGuard;

use super::{App, AppError, STRIPES};
use crate::domain::Refusal;
use crate::domain::conversation::Side;
use crate::domain::event::{Event, RecordedEvent, Stream};
use crate::domain::ids::{ConversationId, UserId};
use crate::domain::user::User;
use crate::metrics::METRICS;

/// Events read at once when a stream is ahead of the views.
const TAIL: usize = 512;

/// A standing, and the contact where they had to be looked up for it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) standing: Standing,
    pub(super) contact: Option<User>,
}

/// Both sides at a version of the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) version: u64,
    /// The side of the user whose id sorts first, and the other.
    sides: [Side; 2],
}

impl App {
    /// Commands on one conversation take turns in this process, so that they rarely conflict.
    pub(super) async fn turn(&self, conversation: ConversationId) -> MutexGuard<'_, ()> {
        let [.., low, high] = *conversation.0.as_bytes();
        self.0.stripes[usize::from(u16::from_be_bytes([low, high])) % STRIPES].lock().await
    }

    /// The state that the next decision is made from; `was_behind` where the last one was not the stream's.
    pub(super) async fn standing(&self, owner: &UserId, contact: &UserId, conversation: ConversationId, was_behind: bool) -> Result<Known, AppError> {
        if let Some(standing) = self.0.standings.get(&conversation) {
            return Ok(Known { standing, contact: None });
        }
        let relation = self.0.store.relation(owner, contact).await?;
        let registered = relation.contact.ok_or(Refusal::UserNotFound)?.user;
        let mut standing = match (relation.own, relation.theirs) {
            (Some(own), Some(theirs)) => Standing { version: own.version, sides: in_order(owner, contact, own.side, theirs.side) },
            _ => Standing::default(),
        };
        let mut may_have_more = was_behind;
        while may_have_more {
            let tail = self.0.log.read_stream(&Stream::Conversation(conversation), standing.version, TAIL).await?;
            standing.evolve(owner, contact, &tail);
            may_have_more = tail.len() == TAIL;
        }
        if standing.version > 0 {
            self.keep(conversation, standing);
        }
        Ok(Known { standing, contact: Some(registered) })
    }

    pub(super) fn remember(&self, owner: &UserId, contact: &UserId, conversation: ConversationId, mut standing: Standing, recorded: &[RecordedEvent]) {
        standing.evolve(owner, contact, recorded);
        self.keep(conversation, standing);
    }

    /// Remembers a standing, unless there is a newer one.
    fn keep(&self, conversation: ConversationId, standing: Standing) {
        let newer = |_: &ConversationId, kept: &mut Standing| {
            if kept.version < standing.version {
                *kept = standing;
            }
            EntryAction::Retain(())
        };
        if let EntryResult::Vacant(place) = self.0.standings.entry(&conversation, None, newer) {
            let _taken_meanwhile = place.insert(standing);
        }
    }

    /// What others appended, once the views show it: what is remembered goes on with it. A command that began from what was
    /// before would conflict and take longer, from which its sender could learn of what the contact did for themselves (B6).
    pub(super) fn hear_of_conversations<'a>(&self, events: impl IntoIterator<Item = &'a RecordedEvent>) {
        for event in events {
            let (Event::Conversation(happened), Stream::Conversation(conversation)) = (&event.event, &event.stream) else { continue };
            if self.0.standings.get(conversation).is_none() {
                continue;
            }
            let go_on = |_: &ConversationId, kept: &mut Standing| match event.version.checked_sub(kept.version) {
                Some(1) => {
                    let (actor, contact) = happened.actor_and_contact();
                    kept.evolve(actor, contact, std::slice::from_ref(event));
                    EntryAction::Retain(())
                }
                Some(2..) => EntryAction::Remove,
                Some(0) | None => EntryAction::Retain(()),
            };
            let _what_is_not_there_is_read = self.0.standings.entry(conversation, None, go_on);
        }
    }

    /// Another was faster: the next look reads what is there.
    pub(super) fn forget(&self, conversation: ConversationId) {
        METRICS.conflicts.inc();
        self.0.standings.remove(&conversation);
    }

    /// Whether nothing was appended since. An append finds that out by itself; a refusal, or that there is nothing to
    /// do, must not be said of what is no longer so.
    pub(super) async fn is_latest(&self, conversation: ConversationId, standing: &Standing) -> Result<bool, AppError> {
        let is_latest = self.0.log.read_stream(&Stream::Conversation(conversation), standing.version, 1).await?.is_empty();
        if !is_latest {
            self.forget(conversation);
        }
        Ok(is_latest)
    }
}

fn in_order<T>(a: &UserId, b: &UserId, of_a: T, of_b: T) -> [T; 2] {
    if a <= b { [of_a, of_b] } else { [of_b, of_a] }
}

impl Standing {
    pub(super) fn side_of(&self, owner: &UserId, contact: &UserId) -> Side {
        self.sides[usize::from(owner > contact)]
    }

    fn evolve(&mut self, a: &UserId, b: &UserId, recorded: &[RecordedEvent]) {
        let owners = in_order(a, b, a, b);
        for event in recorded {
            if let Event::Conversation(happened) = &event.event {
                for (side, owner) in self.sides.iter_mut().zip(owners) {
                    side.evolve(owner, happened);
                }
            }
            self.version = event.version;
        }
    }
}
