//! The last events that this node wrote, in memory: who follows close behind need not read them back.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::StoredEvent;
use crate::domain::event::Position;

/// Events kept; some hundred bytes each.
const KEPT: usize = 4_096;

/// Neighbours in the log, up to the last that was written here.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<StoredEvent>>);

impl Recent {
    /// Adds what was committed. Forgets what is older where another node wrote in between.
    pub(super) fn extend(&self, written: Vec<StoredEvent>) {
        let Some(first) = written.first() else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.back().is_some_and(|last| last.position.0 + 1 != first.position.0) {
            kept.clear();
        }
        kept.extend(written);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The events after a position, at most `limit`; none where the log itself has to be read.
    pub(super) fn after(&self, position: Position, limit: usize) -> Option<Vec<StoredEvent>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = usize::try_from((position.0 + 1).checked_sub(kept.front()?.position.0)?).ok()?;
        (skipped < kept.len()).then(|| kept.iter().skip(skipped).take(limit).cloned().collect())
    }
}
