//! Views made anew from the log beside those that serve: folded, compared with them, and put in their place in one
//! step while the service goes on answering. Interrupted, it goes on where it was.

use uuid::Uuid;

use super::views::{Compared, Extent, ViewsError, compare_all};
use crate::app::catching_up::fold_up_to;
use crate::app::following::{ProjectorError, is_known};
use crate::domain::event::Position;
use crate::event_log::EventLog;
use crate::read_store::snapshot::Snapshot;
use crate::read_store::{ReadStore, StoreError};
use crate::storage::StoreUrl;

/// So many positions behind the log a generation is near enough to be switched to. On KurrentDB these are bytes, and take more approaches.
const NEAR: u64 = 1_000;
/// How often it is brought near, before what is left is folded while switching.
const APPROACHES: usize = 10;

/// How views are made anew.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of rows in memory, about.
    pub memory: usize,
    /// How much is compared with the views before.
    pub compared: Extent,
    /// Whether they become the current ones. Otherwise a version that has these projections finds them when it starts.
    pub switches: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Folded up to a position.
    Folded(Position),
    Indexing,
    Comparing,
    Switching,
}

/// Views that were made anew.
#[derive(Debug)]
pub struct Rebuilt {
    /// Where it began: later than 0 where it went on with what had been folded before.
    pub from: Position,
    pub to: Position,
    /// What the comparison found; none where there was nothing to compare with.
    pub compared: Option<Compared>,
}

/// Makes the views anew from a log.
///
/// # Errors
/// [`ViewsError`]. What was folded is kept, and the current views stay as they are.
pub async fn rebuild(log: &EventLog, views: &StoreUrl, node: Uuid, options: Options, mut told: impl FnMut(Step)) -> Result<Rebuilt, ViewsError> {
    // What is there may be all that is left of what the log lost.
    let folded = ReadStore::last_folded(views).await;
    if !is_known(log, folded).await? {
        return Err(ViewsError::OtherLog(folded.position));
    }
    let next = ReadStore::build(views, log.id()).await?;
    let from = next.checkpoint().await?.position;
    // No further than the current views are, to be compared at one position.
    let to = match former(views, log, from).await? {
        Some((_, position)) => position,
        None => log.latest().await?,
    };
    let fold = async |to: Position, told: &mut dyn FnMut(Step)| {
        let folded = fold_up_to(log, &next, node, to, options.memory, |position| told(Step::Folded(position))).await;
        folded.map_err(|error| if matches!(error, ProjectorError::Store(StoreError::Fenced)) { ViewsError::IsBeingRebuilt } else { error.into() })
    };
    fold(to, &mut told).await?;
    told(Step::Indexing);
    next.finish().await?;
    let mut compared = None;
    if let Some((former, position)) = former(views, log, next.checkpoint().await?.position).await?.filter(|_| options.compared != Extent::Nothing) {
        fold(position, &mut told).await?;
        told(Step::Comparing);
        compared = Some(compare_all(&former, &Snapshot::of_next(views).await?, position, options.compared).await?);
    }
    let mut reached = to;
    for _ in 0..APPROACHES {
        reached = fold(Position(u64::MAX), &mut told).await?.position;
        if log.latest().await?.0 - reached.0 < NEAR {
            break;
        }
    }
    if options.switches {
        told(Step::Switching);
        let hold = next.hold().await?;
        if hold.position().is_some() {
            reached = fold(Position(u64::MAX), &mut told).await?.position;
        }
        next.switch(views, hold).await?;
    }
    Ok(Rebuilt { from, to: reached, compared })
}

/// The current views as they are at one moment, and where they stand; none where there are none that could be
/// compared with what was folded up to a position.
async fn former(views: &StoreUrl, log: &EventLog, folded: Position) -> Result<Option<(Snapshot, Position)>, ViewsError> {
    let Ok(snapshot) = Snapshot::open(views).await else { return Ok(None) };
    let Ok(states) = snapshot.projections().await else { return Ok(None) };
    let Some(position) = states.iter().map(|state| state.position).min() else { return Ok(None) };
    let is_comparable = position >= folded && states.iter().all(|state| state.position == position && state.log == log.id() && state.is_current());
    Ok(is_comparable.then_some((snapshot, position)))
}
