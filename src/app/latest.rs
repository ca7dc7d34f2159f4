//! Where a log that others append to ends. Whoever asks while a question is on its way shares the next
//! one's answer, so that many askers cost the log few questions.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::domain::event::Position;
use crate::event_log::{EventLog, LogError};

#[derive(Default)]
pub(super) struct Latest {
    /// How many questions were begun.
    begun: AtomicU64,
    answered: Mutex<Answer>,
}

#[derive(Clone, Copy, Default)]
struct Answer {
    /// Which question this answers, from 1.
    question: u64,
    position: Position,
}

impl Latest {
    /// The log's last position, at some moment after the call.
    pub(super) async fn position(&self, log: &EventLog) -> Result<Position, LogError> {
        let begun_before = self.begun.load(Ordering::SeqCst);
        let mut answered = self.answered.lock().await;
        if answered.question <= begun_before {
            let question = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *answered = Answer { question, position: log.latest().await? };
        }
        Ok(answered.position)
    }
}
