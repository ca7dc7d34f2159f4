//! Reads the message pages that one list asks for in one call to the read store, instead of one each.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::app::{App, AppError};
use crate::projections::messages::MessageRow;
use crate::read_store::Run;

type Answer = Result<Vec<MessageRow>, AppError>;

/// Gathers what the resolvers of one request ask for. Siblings are polled one after the other before
/// any of them goes on, so the first to go on finds all their questions and asks for them together.
pub(super) struct MessageLoader {
    app: App,
    waiting: Mutex<Vec<(Run, oneshot::Sender<Answer>)>>,
}

impl MessageLoader {
    pub(super) fn new(app: App) -> Self {
        Self { app, waiting: Mutex::default() }
    }

    pub(super) async fn load(&self, run: Run) -> Answer {
        let (asker, answer) = oneshot::channel();
        self.lock().push((run, asker));
        tokio::task::yield_now().await;
        let waiting = std::mem::take(&mut *self.lock());
        if !waiting.is_empty() {
            self.answer(waiting).await;
        }
        answer.await.unwrap_or_else(|_| Err(crate::app::Fault::Stalled.into()))
    }

    async fn answer(&self, waiting: Vec<(Run, oneshot::Sender<Answer>)>) {
        let (runs, askers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        match self.app.messages(runs).await {
            Ok(pages) => {
                for (asker, page) in askers.into_iter().zip(pages) {
                    let _asker_left = asker.send(Ok(page));
                }
            }
            Err(AppError::Unavailable(fault)) => {
                for asker in askers {
                    let _asker_left = asker.send(Err(fault.clone().into()));
                }
            }
            Err(AppError::Refused(_) | AppError::RateLimited { .. }) => unreachable!("reading messages refuses nothing"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Run, oneshot::Sender<Answer>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
