//! The rows that events touch, in memory: folded there, and written when their time comes.

use std::collections::{HashMap, HashSet};

use crate::domain::event::RecordedEvent;
use crate::projections::Projection;
use crate::projections::conversations::Conversations;
use crate::projections::section::Section;
use crate::projections::users::Users;
use crate::read_store::Touched;

/// The keys of the rows that events touch; messages aside, which are written once.
pub(super) fn touched(events: &[RecordedEvent]) -> Touched {
    let mut touched = Touched::default();
    for event in events {
        touched.users.extend(Users::touched(event));
        touched.conversations.extend(Conversations::touched(event));
        touched.section |= !Section::touched(event).is_empty();
    }
    touched.users.sort_unstable();
    touched.users.dedup();
    touched.conversations.sort_unstable();
    touched.conversations.dedup();
    touched
}

/// One projection's rows: loaded once, folded in memory, each changed one written once.
pub(super) struct Folding<P: Projection> {
    rows: HashMap<P::Key, P::Row>,
    /// Keys of changed rows, in the order of their first change.
    changed: Vec<P::Key>,
    is_changed: HashSet<P::Key>,
}

impl<P: Projection> Folding<P> {
    pub(super) fn from(rows: impl IntoIterator<Item = (P::Key, P::Row)>) -> Self {
        Self { rows: rows.into_iter().collect(), changed: Vec::new(), is_changed: HashSet::new() }
    }

    pub(super) fn fold(&mut self, event: &RecordedEvent) {
        for key in P::touched(event) {
            let row = self.rows.remove(&key);
            if let Some(row) = P::evolve(&key, row, event) {
                self.rows.insert(key.clone(), row);
            }
            if self.is_changed.insert(key.clone()) {
                self.changed.push(key);
            }
        }
    }

    /// Takes in rows that were loaded.
    pub(super) fn extend(&mut self, rows: impl IntoIterator<Item = (P::Key, P::Row)>) {
        self.rows.extend(rows);
    }

    pub(super) fn contains(&self, key: &P::Key) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn row(&self, key: &P::Key) -> Option<&P::Row> {
        self.rows.get(key)
    }

    pub(super) fn into_changed(mut self) -> Vec<P::Row> {
        self.changed.iter().filter_map(|key| self.rows.remove(key)).collect()
    }

    /// The changed rows, which stay, as unchanged ones.
    pub(super) fn take_changed(&mut self) -> Vec<P::Row> {
        self.is_changed.clear();
        std::mem::take(&mut self.changed).iter().filter_map(|key| self.rows.get(key).cloned()).collect()
    }
}
