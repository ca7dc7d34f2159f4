//! How much one user may have of something at once. Another device is welcome; a loop that takes ever more is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::UserId;

/// A limit a user.
pub(crate) struct Quota {
    limit: usize,
    taken: Mutex<HashMap<UserId, usize>>,
}

/// What one user has taken; given back when dropped.
pub(crate) struct Place {
    quota: Arc<Quota>,
    user: UserId,
    amount: usize,
}

impl Quota {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::default() })
    }

    /// One of what the user has left, if any is.
    pub(crate) fn take(self: &Arc<Self>, user: &UserId) -> Option<Place> {
        self.take_many(user, 1)
    }

    /// So much of what the user has left. Who has nothing yet is given also more than the limit, so that nothing is too large for ever.
    pub(crate) fn take_many(self: &Arc<Self>, user: &UserId, amount: usize) -> Option<Place> {
        let mut all = self.lock();
        let taken = all.get(user).copied().unwrap_or_default();
        if taken > 0 && taken.saturating_add(amount) > self.limit || self.limit == 0 {
            return None;
        }
        all.insert(user.clone(), taken.saturating_add(amount));
        Some(self.place(user, amount))
    }

    /// So much, whatever the limit.
    pub(crate) fn take_anyway(self: &Arc<Self>, user: &UserId, amount: usize) -> Place {
        let mut all = self.lock();
        let taken = all.entry(user.clone()).or_default();
        *taken = taken.saturating_add(amount);
        self.place(user, amount)
    }

    fn place(self: &Arc<Self>, user: &UserId, amount: usize) -> Place {
        Place { quota: Arc::clone(self), user: user.clone(), amount }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.quota.lock();
        if let Some(taken) = all.get_mut(&self.user) {
            *taken = taken.saturating_sub(self.amount);
            if *taken == 0 {
                all.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_once_and_given_back() {
        let quota = Quota::new(2);
        let (alice, bob) = (UserId::from_stored("alice"), UserId::from_stored("bob"));
        let first = quota.take(&alice).expect("a place");
        let _second = quota.take(&alice).expect("a place");
        assert!(quota.take(&alice).is_none() && quota.take(&bob).is_some());
        drop(first);
        assert!(quota.take(&alice).is_some());
        assert_eq!(quota.lock().len(), 1, "who has none is forgotten");
        assert!(Quota::new(0).take(&alice).is_none());
    }

    #[test]
    fn what_is_larger_than_the_limit_is_had_alone() {
        let quota = Quota::new(10);
        let alice = UserId::from_stored("alice");
        let large = quota.take_many(&alice, 11).expect("nothing else is taken");
        assert!(quota.take(&alice).is_none());
        drop(large);
        let small = quota.take_many(&alice, 4).expect("a place");
        assert!(quota.take_many(&alice, 7).is_none() && quota.take_many(&alice, 6).is_some());
        let owed = quota.take_anyway(&alice, 7);
        assert!(quota.take(&alice).is_none());
        drop((small, owed));
        assert_eq!(quota.lock().len(), 0);
    }
}
