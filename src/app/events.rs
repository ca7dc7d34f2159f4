//! What auditors ask of the log itself (A2): a page of its events, and those that come.

use futures_util::{Stream, TryStreamExt as _, stream};

use super::access::Auditor;
use super::{App, AppError};
use crate::domain::event::Position;
use crate::event_log::LogError;
use crate::event_log::selection::Walk;
use crate::read_store::{Slice, Take};

pub use crate::event_log::StoredEvent;
pub use crate::event_log::selection::Selection;

/// Events looked at for one page, and as many again for whether there are more.
const PATIENCE: usize = 500_000;
/// Events read at once while the log grows.
const BATCH: usize = 256;

/// A part of the log.
#[derive(Debug)]
pub struct EventPage {
    /// In the log's order.
    pub events: Vec<StoredEvent>,
    pub has_previous: bool,
    pub has_next: bool,
    /// Where it was looked: further than the events where few are wanted.
    pub start: Option<Position>,
    pub end: Option<Position>,
}

impl App {
    /// The selected events between two places. A page whose search took too long has fewer than asked for, and more follow.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn events(&self, _: &Auditor, selection: Selection, slice: Slice<Position>) -> Result<EventPage, AppError> {
        let log = &self.0.log;
        let after = slice.after.map(|after| Position(after.0.saturating_add(1)));
        let before = slice.before.map(|before| Position(before.0.saturating_sub(1)));
        let selection = selection.within(after, before);
        Ok(match slice.take {
            Take::First(count) => {
                let mut walk = log.walk(selection, slice.after.unwrap_or_default()).await?;
                let events = walk.next(count, PATIENCE).await?;
                let (start, end) = (events.first().map(|event| event.position), walk.looked());
                EventPage { start, end, has_previous: slice.after.is_some(), has_next: has_more(&mut walk).await?, events }
            }
            Take::Last(count) => {
                let mut walk = log.walk_back(selection, slice.before).await?;
                let mut events = walk.next(count, PATIENCE).await?;
                events.reverse();
                let (start, end) = (walk.looked(), events.last().map(|event| event.position));
                EventPage { start, end, has_previous: has_more(&mut walk).await?, has_next: slice.before.is_some(), events }
            }
        })
    }

    /// The selected events after a position, for as long as they are read.
    pub fn event_log(&self, _: &Auditor, selection: Selection, after: Option<Position>) -> impl Stream<Item = Result<StoredEvent, AppError>> + use<> {
        let follow = self.0.log.follow(after.unwrap_or_else(|| self.0.log.head()));
        let batches = stream::try_unfold(follow, |mut follow| async move {
            // A log in a file never waits; others are to have their turn.
            tokio::task::yield_now().await;
            let events = follow.next_stored(BATCH).await?;
            Ok::<_, AppError>(Some((stream::iter(events.into_iter().map(Ok)), follow)))
        });
        batches.try_flatten().try_filter(move |event| std::future::ready(selection.takes(event)))
    }
}

/// Whether there is another selected event; where that would take too long to find out, there may be.
async fn has_more(walk: &mut Walk) -> Result<bool, LogError> {
    Ok(!walk.next(1, PATIENCE).await?.is_empty() || !walk.is_over())
}
