//! The user directory (U3, U4, U6): a row a registered user.

use std::sync::LazyLock;

use icu_casemap::CaseMapper;
use icu_collator::options::CollatorOptions;
use icu_collator::{Collator, CollatorBorrowed};
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use super::{Projection, Shape};
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
    /// The last event that changed the row.
    pub changed: Position,
}

impl Projection for Users {
    type Key = UserId;
    type Row = UserRow;

    const SHAPE: Shape = Shape { name: "users", version: 1, sql: include_str!("../../projections/users.sql") };

    fn touched(recorded: &RecordedEvent) -> Vec<UserId> {
        match &recorded.event {
            Event::Community(event) => vec![event.user.clone()],
            Event::User(UserEvent::ContactableChanged { user, .. } | UserEvent::ProfileUpdated { user, .. }) => vec![user.clone()],
            Event::Conversation(_) | Event::Section(_) => vec![],
        }
    }

    fn evolve(id: &UserId, row: Option<UserRow>, recorded: &RecordedEvent) -> Option<UserRow> {
        let (user, member, version) = match (&recorded.event, row) {
            (Event::Community(event), None) => (User::registered(event), recorded.version, 0),
            (Event::User(event), Some(row)) => {
                let mut user = row.user;
                user.evolve(event);
                (user, row.member, recorded.version)
            }
            (_, row) => return row,
        };
        let name = user.profile.name.as_str();
        Some(UserRow { id: id.clone(), sort_key: sort_key(name), search_name: searchable(name), user, member, version, changed: recorded.position })
    }
}

/// Sorts as the root collation does, compared byte by byte (U4).
#[must_use]
pub fn sort_key(name: &str) -> Vec<u8> {
    static COLLATOR: LazyLock<CollatorBorrowed<'static>> =
        LazyLock::new(|| Collator::try_new(icu_locale_root(), CollatorOptions::default()).expect("the root collation is compiled in"));
    let mut key = Vec::new();
    let Ok(()) = COLLATOR.write_sort_key_to(name, &mut key);
    key
}

fn icu_locale_root() -> icu_collator::CollatorPreferences {
    icu_collator::CollatorPreferences::default()
}

/// A name or a part of one without regard to case or accents (U4).
#[must_use]
pub fn searchable(name: &str) -> String {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let plain: String = DecomposingNormalizerBorrowed::new_nfkd()
        .normalize(name)
        .chars()
        .filter(|&c| c.is_ascii() || categories.get(c) != GeneralCategory::NonspacingMark)
        .collect();
    CaseMapper::new().fold_string(&plain).chars().fold(String::new(), |mut folded, c| {
        match c {
            // Strokes and ligatures that Unicode does not decompose, though a reader does.
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' => folded.push('d'),
            'ħ' => folded.push('h'),
            'ı' => folded.push('i'),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            c => folded.push(c),
        }
        folded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u4_names_sort_as_people_expect() {
        let mut names = ["Zoé", "élan", "Eve", "adam", "Éric", "zoe", "Ångström", "ödön", "李", "Олег", "3 Suisses"];
        names.sort_by_key(|name| sort_key(name));
        assert_eq!(names, ["3 Suisses", "adam", "Ångström", "élan", "Éric", "Eve", "ödön", "zoe", "Zoé", "Олег", "李"]);
    }

    #[test]
    fn u4_a_search_ignores_case_and_accents() {
        for (name, part) in
            [("José", "JOSE"), ("Straße", "STRASSE"), ("Łukasz Ødegård", "lukasz odegard"), ("ΑΘΉΝΑ", "αθηνα"), ("Œuvre", "oeuvre"), ("İzmir", "izmir")]
        {
            assert!(searchable(name).contains(&searchable(part)), "{name} {part}");
        }
    }
}
