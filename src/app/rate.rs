//! How often somebody may do something: a token bucket each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use crate::domain::event::Timestamp;

/// A burst is this many seconds' worth.
const BURST_SECONDS: f64 = 5.0;
const MICROSECONDS: f64 = 1_000_000.0;
/// Above this many, those who could burst again are forgotten.
const REMEMBERED: usize = 10_000;

/// A rate for each of those whom `K` tells apart.
pub(crate) struct Rate<K> {
    per_second: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl<K: Clone + Eq + Hash> Rate<K> {
    /// 0: unlimited.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Takes a token for each of `count`, or says in how many seconds there are enough; for more than a
    /// full burst, when it is full.
    pub(crate) fn take(&self, who: &K, count: usize, now: Timestamp) -> Result<(), u64> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let full = self.per_second * BURST_SECONDS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > REMEMBERED {
            buckets.retain(|_, bucket| self.filled(bucket, now) < full);
        }
        let bucket = buckets.entry(who.clone()).or_insert(Bucket { tokens: full, at: now });
        bucket.tokens = self.filled(bucket, now);
        bucket.at = now;
        #[expect(clippy::cast_precision_loss, reason = "as many as fit into a document")]
        let price = count as f64;
        if bucket.tokens >= price {
            bucket.tokens -= price;
            return Ok(());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
        Err(((price.min(full) - bucket.tokens) / self.per_second).ceil().max(1.0) as u64)
    }

    /// A clock that went back fills nothing.
    fn filled(&self, bucket: &Bucket, now: Timestamp) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "microseconds between two of them")]
        let elapsed = (now.0 - bucket.at.0).max(0) as f64 / MICROSECONDS;
        (bucket.tokens + elapsed * self.per_second).min(self.per_second * BURST_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;

    #[test]
    fn a_burst_of_five_seconds_then_the_rate() {
        let rate = Rate::new(2);
        let user = UserId::from_stored("alice");
        let take = |seconds: i64| rate.take(&user, 1, Timestamp(seconds * 1_000_000));
        assert!((0..10).all(|_| take(0).is_ok()));
        assert_eq!(take(0), Err(1));
        assert!(take(1).is_ok() && take(1).is_ok() && take(1).is_err());
        assert!(take(0).is_err(), "a clock that goes back gives nothing");
        assert_eq!(rate.take(&UserId::from_stored("bob"), 1, Timestamp(0)), Ok(()));
    }

    #[test]
    fn several_at_once_are_let_through_together_or_not_at_all() {
        let rate = Rate::new(2);
        let user = UserId::from_stored("alice");
        let take = |count, seconds: i64| rate.take(&user, count, Timestamp(seconds * 1_000_000));
        assert_eq!((take(8, 0), take(3, 0), take(2, 0)), (Ok(()), Err(1), Ok(())));
        assert_eq!((take(25, 5), take(10, 5)), (Err(1), Ok(())), "never more than a burst");
    }

    #[test]
    fn zero_is_unlimited() {
        let rate = Rate::new(0);
        assert!((0..1_000).all(|_| rate.take(&UserId::from_stored("alice"), 1, Timestamp(0)).is_ok()));
    }
}
