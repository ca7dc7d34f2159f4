//! Waiting until something is so, however long a busy machine takes to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{interval, timeout};

/// Longer than anything takes that is waited for: a wait that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks, so that what is waited for has the processor meanwhile.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Looks again and again until there is something to find.
pub async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut looks = interval(BETWEEN_LOOKS);
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Looks again and again until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    found(what, async || is_so().await.then_some(())).await;
}

/// Counts what several tasks do, for whoever waits until so much is done.
#[derive(Clone)]
pub struct Tally(Arc<watch::Sender<u64>>);

impl Tally {
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub fn add_one(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until so much was counted since the beginning.
    pub async fn reaches(&self, count: u64) {
        let mut counted = self.0.subscribe();
        let reached = timeout(PATIENCE, counted.wait_for(|counted| *counted >= count)).await;
        drop(reached.unwrap_or_else(|_| panic!("{count}: not in time, it is {}", self.count())).expect("it is counted on"));
    }

    /// Waits until so much was counted from now on.
    pub async fn grows_by(&self, more: u64) {
        self.reaches(self.count() + more).await;
    }
}
