//! A part of the log: the events of a stream, of some types, concerning a user, between positions or instants.

use super::{EventLog, LogError, StoredEvent};
use crate::domain::event::{Position, Stream, Timestamp};
use crate::domain::ids::UserId;

/// Events looked at together.
const WINDOW: usize = 4_096;

/// Which events are wanted. What is not said does not matter.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub stream: Option<Stream>,
    /// Stored names of types; empty: all.
    pub types: Vec<String>,
    /// Who acted, is spoken of, or is spoken to.
    pub user: Option<UserId>,
    /// Both included.
    pub positions: (Option<Position>, Option<Position>),
    /// The first included, the second not.
    pub times: (Option<Timestamp>, Option<Timestamp>),
}

impl Selection {
    /// Whether an event is wanted.
    #[must_use]
    pub fn takes(&self, event: &StoredEvent) -> bool {
        let (first, last) = self.positions;
        let (since, until) = self.times;
        first.is_none_or(|first| event.position >= first)
            && last.is_none_or(|last| event.position <= last)
            && since.is_none_or(|since| event.at >= since)
            && until.is_none_or(|until| event.at < until)
            && (self.types.is_empty() || self.types.contains(&event.kind))
            && self.stream.as_ref().is_none_or(|stream| event.stream == stream.to_string())
            && self.user.as_ref().is_none_or(|user| concerns(event, user))
    }

    /// Only what is between two positions as well.
    #[must_use]
    pub fn within(self, first: Option<Position>, last: Option<Position>) -> Self {
        let lasts = self.positions.1.into_iter().chain(last);
        Self { positions: (self.positions.0.max(first), lasts.min()), ..self }
    }
}

/// An event that cannot be decoded concerns whoever acted.
fn concerns(event: &StoredEvent, user: &UserId) -> bool {
    if event.actor.as_deref() == Some(user.as_str()) {
        return true;
    }
    // An id is written in JSON as it is, so most events need not be decoded.
    event.data.contains(user.as_str()) && event.check().is_ok_and(|event| event.users().contains(&user))
}

/// Which way a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forwards,
    Backwards,
}

/// Reads the selected events of a log, one way, from some place on.
pub struct Walk {
    log: EventLog,
    selection: Selection,
    direction: Direction,
    place: Place,
    /// Events that were read and not given out yet, the next last.
    read: Vec<StoredEvent>,
    looked: Option<Position>,
    is_over: bool,
}

/// After, or before, what comes next.
enum Place {
    Log(Option<Position>),
    Stream(Stream, u64),
}

impl EventLog {
    /// The selected events after a position, in order.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn walk(&self, selection: Selection, after: Position) -> Result<Walk, LogError> {
        let after = selection.positions.0.map_or(after, |first| after.max(Position(first.0.saturating_sub(1))));
        let place = match selection.stream.clone() {
            Some(stream) => {
                let version = self.versions_up_to(&stream, after).await?;
                Place::Stream(stream, version)
            }
            // Not every log can be read from a position where nothing is.
            None if after == Position(0) || self.at(after).await?.is_some() => Place::Log(Some(after)),
            None => Place::Log(Some(Position(0))),
        };
        Ok(Walk::new(self, selection, Direction::Forwards, place))
    }

    /// The selected events before a position, or before the end, the last first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn walk_back(&self, selection: Selection, before: Option<Position>) -> Result<Walk, LogError> {
        let place = match selection.stream.clone() {
            Some(stream) => {
                let last = before.map_or(Position(u64::MAX), |before| Position(before.0.saturating_sub(1)));
                let version = self.versions_up_to(&stream, last).await?;
                Place::Stream(stream, version + 1)
            }
            None => Place::Log(before),
        };
        Ok(Walk::new(self, selection, Direction::Backwards, place))
    }

    /// How many events a stream has up to a position: probed in ever longer steps, then halved.
    async fn versions_up_to(&self, stream: &Stream, position: Position) -> Result<u64, LogError> {
        if position == Position(0) {
            return Ok(0);
        }
        let is_up_to = async |version: u64| -> Result<bool, LogError> {
            let found = self.read_stream_stored(stream, version - 1, 1).await?;
            Ok(found.first().is_some_and(|event| event.position <= position))
        };
        let (mut known, mut step) = (0, 1);
        while is_up_to(known + step).await? {
            known += step;
            step *= 2;
        }
        while step > 1 {
            step /= 2;
            if is_up_to(known + step).await? {
                known += step;
            }
        }
        Ok(known)
    }
}

impl Walk {
    fn new(log: &EventLog, selection: Selection, direction: Direction, place: Place) -> Self {
        Self { log: log.clone(), selection, direction, place, read: vec![], looked: None, is_over: false }
    }

    /// Up to where it was looked, if anywhere.
    #[must_use]
    pub fn looked(&self) -> Option<Position> {
        self.looked
    }

    /// Whether there is nothing more, for now.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over && self.read.is_empty()
    }

    /// The next events, about `limit` of them at most; looks at about `patience` events for them.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self, limit: usize, patience: usize) -> Result<Vec<StoredEvent>, LogError> {
        let (mut events, mut seen) = (Vec::new(), 0);
        while (events.len() < limit && seen < patience) || self.is_amid_a_commit() {
            let Some(event) = self.read.pop() else {
                if self.is_over || !self.read_on().await? {
                    break;
                }
                continue;
            };
            seen += 1;
            self.looked = Some(event.position);
            if self.is_past(&event) {
                self.is_over = true;
                self.read.clear();
            } else if self.selection.takes(&event) {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Where positions are those of commits, several events can have the same; a reader who comes back after one has seen all.
    fn is_amid_a_commit(&self) -> bool {
        self.looked.is_some() && self.read.last().map(|next| next.position) == self.looked
    }

    fn is_past(&self, event: &StoredEvent) -> bool {
        match self.direction {
            Direction::Forwards => self.selection.positions.1.is_some_and(|last| event.position > last),
            Direction::Backwards => self.selection.positions.0.is_some_and(|first| event.position < first),
        }
    }

    /// Whether there was something more.
    async fn read_on(&mut self) -> Result<bool, LogError> {
        // A log in a file never waits; others are to have their turn, and the walk its time limit.
        tokio::task::yield_now().await;
        let mut window = match (&mut self.place, self.direction) {
            (Place::Log(after), Direction::Forwards) => {
                let window = self.log.read_all_stored(after.unwrap_or_default(), WINDOW).await?;
                *after = window.last().map_or(*after, |event| Some(event.position));
                window
            }
            (Place::Log(before), Direction::Backwards) => {
                let window = self.log.read_before_stored(*before, WINDOW).await?;
                *before = window.first().map_or(*before, |event| Some(event.position));
                window
            }
            (Place::Stream(stream, after), Direction::Forwards) => {
                let window = self.log.read_stream_stored(stream, *after, WINDOW).await?;
                *after += window.len() as u64;
                window
            }
            (Place::Stream(stream, before), Direction::Backwards) => {
                let after = before.saturating_sub(1 + WINDOW as u64);
                let count = usize::try_from(*before - 1 - after).expect("a window");
                let window = if count == 0 { vec![] } else { self.log.read_stream_stored(stream, after, count).await? };
                *before = after + 1;
                window
            }
        };
        self.is_over = window.is_empty();
        if self.direction == Direction::Forwards {
            window.reverse();
        }
        self.read = window;
        Ok(!self.is_over)
    }
}
