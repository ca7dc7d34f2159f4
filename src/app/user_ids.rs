//! Which ids of messages may be a user's, too. No message may have one: clients keep both in one store, by id. Nearly
//! every id is nobody's, and here that is known without a look into the views.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use uuid::Uuid;

use super::{App, AppError};
use crate::domain::community::UserRegistered;
use crate::domain::event::{Event, RecordedEvent};
use crate::domain::ids::{MessageId, UserId};
use crate::read_store::StoreError;

/// The filter's size. With a hundred thousand users whose ids are UUIDs, one in thirty ids is looked for in vain.
const BITS: u64 = 1 << 20;
/// Users read at once.
const PAGE: u64 = 10_000;

/// A Bloom filter of those users' ids that are UUIDs. They become more, never fewer.
pub(super) struct UserIds {
    words: Vec<AtomicU64>,
    /// Whether all of them are in it that the views have, so that a UUID that is not is nobody's: this node folds the views, and
    /// so hears of users before anybody is answered for them.
    is_whole: AtomicBool,
}

impl Default for UserIds {
    fn default() -> Self {
        Self { words: (0..BITS / 64).map(|_| AtomicU64::new(0)).collect(), is_whole: AtomicBool::new(false) }
    }
}

/// The bits of an id. The last eight bytes of a UUID are those of chance, or of a hash.
fn bits(id: Uuid) -> [u64; 2] {
    let (_, random) = id.as_u64_pair();
    [random % BITS, (random >> 20) % BITS]
}

impl UserIds {
    /// Whether it can be relied on from now on.
    pub(super) fn rely(&self, is_whole: bool) {
        self.is_whole.store(is_whole, Ordering::Release);
    }

    pub(super) fn add(&self, id: &UserId) {
        let Ok(id) = Uuid::try_parse(id.as_str()) else { return };
        for bit in bits(id) {
            self.word(bit).fetch_or(1 << (bit % 64), Ordering::Relaxed);
        }
    }

    pub(super) fn add_all<'a>(&self, ids: impl IntoIterator<Item = &'a UserId>) {
        for id in ids {
            self.add(id);
        }
    }

    fn may_have(&self, id: Uuid) -> bool {
        !self.is_whole.load(Ordering::Acquire) || bits(id).into_iter().all(|bit| self.word(bit).load(Ordering::Relaxed) & 1 << (bit % 64) != 0)
    }

    fn word(&self, bit: u64) -> &AtomicU64 {
        &self.words[usize::try_from(bit / 64).expect("few")]
    }
}

impl App {
    /// Whether a user has the id of a message that is to be sent.
    pub(super) async fn is_a_user(&self, id: MessageId) -> Result<bool, AppError> {
        Ok(self.0.user_ids.may_have(id.0) && self.0.store.user(&UserId::from_stored(id.to_string())).await?.is_some())
    }

    /// Learns of every user that the views have. From then on who comes is heard of.
    pub(super) async fn learn_user_ids(&self) -> Result<(), StoreError> {
        let mut after = UserId::from_stored("");
        loop {
            let page = self.0.store.user_ids(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.clone();
            self.0.user_ids.add_all(&page);
        }
        Ok(())
    }

    /// Hears of those who are registered by some events.
    pub(super) fn hear_of_users<'a>(&self, events: impl IntoIterator<Item = &'a RecordedEvent>) {
        for event in events {
            if let Event::Community(UserRegistered { user, .. }) = &event.event {
                self.0.user_ids.add(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_in_it_is_never_taken_for_nobody_s() {
        let ids = UserIds::default();
        let uuid = |n: u64| Uuid::new_v5(&Uuid::NAMESPACE_OID, &n.to_be_bytes());
        assert!(ids.may_have(uuid(1)), "nothing is known yet");
        ids.rely(true);
        assert!(!ids.may_have(uuid(1)));
        for n in 0..5_000 {
            ids.add(&UserId::from_stored(uuid(n).to_string()));
        }
        ids.add(&UserId::from_stored("alice"));
        assert!((0..5_000).all(|n| ids.may_have(uuid(n))));
        let in_vain = (5_000..15_000).filter(|n| ids.may_have(uuid(*n))).count();
        assert!(in_vain < 100, "{in_vain}");
    }
}
