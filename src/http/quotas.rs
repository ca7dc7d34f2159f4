//! How many sockets and subscriptions one user may have open. Another device is welcome; a loop that
//! opens ever more is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::UserId;

/// A limit a user.
pub(super) struct Quota {
    limit: usize,
    open: Mutex<HashMap<UserId, usize>>,
}

/// What one user has taken; given back when dropped.
pub(super) struct Place {
    quota: Arc<Quota>,
    user: UserId,
}

impl Quota {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// A place, if the user has one left.
    pub(super) fn take(self: &Arc<Self>, user: &UserId) -> Option<Place> {
        let mut open = self.lock();
        let taken = open.entry(user.clone()).or_default();
        if *taken >= self.limit {
            return None;
        }
        *taken += 1;
        Some(Place { quota: Arc::clone(self), user: user.clone() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.quota.lock();
        if let Some(taken) = open.get_mut(&self.user) {
            *taken -= 1;
            if *taken == 0 {
                open.remove(&self.user);
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
    }
}
