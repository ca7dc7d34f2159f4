//! Reading on as the log grows, without polling: woken by the head, read by range.

use tokio::sync::watch;

use super::{EventLog, LogError, StoredEvent};
use crate::domain::event::{Position, RecordedEvent};

/// A reader of the whole log that waits at its end.
pub struct Follow {
    log: EventLog,
    after: Position,
    head: watch::Receiver<Position>,
}

impl Follow {
    pub(super) fn new(log: EventLog, after: Position) -> Self {
        Self { head: log.head_watch(), log, after }
    }

    /// The next events, at least one and at most `limit`; waits for one where there is none.
    /// Dropping the call loses nothing.
    ///
    /// # Errors
    /// When the log cannot be read, or stopped.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<RecordedEvent>, LogError> {
        let events = self.next_stored(limit).await?;
        self.log.decode_all(events).await
    }

    /// The same, as they are stored.
    ///
    /// # Errors
    /// When the log cannot be read, or stopped.
    pub async fn next_stored(&mut self, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        loop {
            let after = self.after;
            self.head.wait_for(|head| *head > after).await.map_err(|_| LogError::Stopped("it was closed".into()))?;
            let events = self.log.read_all_stored(after, limit).await?;
            if let Some(last) = events.last() {
                self.after = last.position;
                return Ok(events);
            }
            self.check_end().await?;
            tokio::task::yield_now().await;
        }
    }

    /// Nothing came of what was known to be there.
    async fn check_end(&self) -> Result<(), LogError> {
        let known = *self.head.borrow();
        let found = self.log.latest().await?;
        if found < known { Err(LogError::Shortened { known, found }) } else { Ok(()) }
    }
}
