//! The user directory (U3, U4, U6): a row a registered user.

use super::{Projection, Shape};
use crate::domain::collation::{searchable, sort_key};
use crate::domain::event::{Event, Position, RecordedEvent};
use crate::domain::ids::UserId;
use crate::domain::user::{User, UserEvent};

pub struct Users;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    pub id: UserId,
    pub user: User,
    /// Whose registration this was: 1 for the first.
    pub member: u64,
    /// The version of the user's own stream; 0 while it has no event.
    pub version: u64,
    /// The name's place in the directory: compares as the root collation of CLDR does.
    pub sort_key: Vec<u8>,
    /// The name as [`searchable`] makes it.
    pub search_name: String,
    /// The last event that changed the row after the registration, or nothing.
    pub changed: Position,
    /// The last erasure, or nothing.
    pub erased_at: Position,
}

impl Projection for Users {
    type Key = UserId;
    type Row = UserRow;

    const SHAPE: Shape = Shape { name: "users", version: 2, key: &["id"], sql: include_str!("../../projections/users.sql") };

    fn touched(recorded: &RecordedEvent) -> Vec<UserId> {
        match &recorded.event {
            Event::Community(event) => vec![event.user.clone()],
            Event::User(event) => vec![event.user().clone()],
            Event::Conversation(_) | Event::Section(_) => vec![],
        }
    }

    /// Of who is registered already, another registration changes nothing.
    fn is_next(row: Option<&UserRow>, recorded: &RecordedEvent) -> bool {
        !matches!(recorded.event, Event::User(_)) || row.is_some_and(|row| recorded.version == row.version + 1)
    }

    fn evolve(id: &UserId, row: Option<UserRow>, recorded: &RecordedEvent) -> Option<UserRow> {
        let nothing = Position(0);
        let (user, member, version, changed, erased_at) = match (&recorded.event, row) {
            (Event::Community(event), None) => (User::registered(event), recorded.version, 0, nothing, nothing),
            (Event::User(event), Some(row)) => {
                let mut user = row.user;
                user.evolve(event);
                let erased_at = if matches!(event, UserEvent::UserErased { .. }) { recorded.position } else { row.erased_at };
                (user, row.member, recorded.version, recorded.position, erased_at)
            }
            (_, row) => return row,
        };
        let name = user.profile.name.as_str();
        Some(UserRow { id: id.clone(), sort_key: sort_key(name), search_name: searchable(name), user, member, version, changed, erased_at })
    }
}
