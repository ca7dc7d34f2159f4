//! The chat section (C1): one row, or none while nobody configured it.

use super::{Projection, Shape};
use crate::domain::event::{Event, Position, RecordedEvent};
use crate::domain::section::ChatSection;

pub struct Section;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionRow {
    pub section: ChatSection,
    /// The version of the section's stream.
    pub version: u64,
    /// The last event that changed the row.
    pub changed: Position,
}

impl Projection for Section {
    type Key = ();
    type Row = SectionRow;

    const SHAPE: Shape = Shape { name: "section", version: 1, key: &["only_one"], sql: include_str!("../../projections/section.sql") };

    fn touched(recorded: &RecordedEvent) -> Vec<()> {
        match &recorded.event {
            Event::Section(_) => vec![()],
            Event::Community(_) | Event::User(_) | Event::Conversation(_) => vec![],
        }
    }

    fn is_next(row: Option<&SectionRow>, recorded: &RecordedEvent) -> bool {
        recorded.version == row.map_or(0, |row| row.version) + 1
    }

    fn evolve((): &(), row: Option<SectionRow>, recorded: &RecordedEvent) -> Option<SectionRow> {
        let Event::Section(event) = &recorded.event else { return row };
        let mut section = row.unwrap_or_default().section;
        section.evolve(event);
        Some(SectionRow { section, version: recorded.version, changed: recorded.position })
    }
}
