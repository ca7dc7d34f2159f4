//! What it looks like: one fold a file, `evolve(row or none, event) -> row`. Pure: never reads a clock
//! or a socket. The same folds serve live work, rebuilds and replay.
//!
//! A fold's table is in `projections/<name>.sql`. It is disposable: a change of the fold or of its
//! SQL means a rebuild from the log.

pub mod conversations;
pub mod messages;
pub mod section;
pub mod users;

use std::fmt::Debug;
use std::hash::Hash;

use crate::domain::event::RecordedEvent;

/// A fold over the log, a row a key.
pub trait Projection {
    type Key: Clone + Debug + Eq + Hash + Send + 'static;
    type Row: Clone + Debug + PartialEq + Send + 'static;

    /// What identifies the shape of its rows.
    const SHAPE: Shape;

    /// The rows that an event changes.
    fn touched(event: &RecordedEvent) -> Vec<Self::Key>;

    /// Whether the event is the next for a row, or for one that is not there yet. What is not cannot be folded.
    fn is_next(row: Option<&Self::Row>, event: &RecordedEvent) -> bool;

    /// The row after the event. Only called with a key that the event touches, and where it is the next.
    fn evolve(key: &Self::Key, row: Option<Self::Row>, event: &RecordedEvent) -> Option<Self::Row>;
}

/// A projection's name, version and table. Stored beside its checkpoint: other than the code's, it is rebuilt.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    /// Raised when the fold means something else with the same table.
    pub version: u32,
    /// The columns of its primary key.
    pub key: &'static [&'static str],
    pub sql: &'static str,
}

impl Shape {
    /// Its table without the indexes beside the key: rows that come in the order of their keys are written faster so.
    #[must_use]
    pub fn table(&self) -> String {
        self.lines(false)
    }

    /// The indexes beside the key, a line each, where there are none yet.
    #[must_use]
    pub fn indexes(&self) -> String {
        self.lines(true).replace(" index ", " index if not exists ")
    }

    fn lines(&self, of_indexes: bool) -> String {
        let is_index = |line: &str| line.starts_with("create index ") || line.starts_with("create unique index ");
        self.sql.lines().filter(|line| is_index(line) == of_indexes).fold(String::new(), |lines, line| lines + line + "\n")
    }
}

/// Every projection of the service.
pub const ALL: [Shape; 4] = [users::Users::SHAPE, conversations::Conversations::SHAPE, messages::Messages::SHAPE, section::Section::SHAPE];
