//! How names sort, and how a part of one is found (U4).

use std::sync::LazyLock;

use icu_casemap::CaseMapper;
use icu_collator::options::CollatorOptions;
use icu_collator::{Collator, CollatorBorrowed, CollatorPreferences};
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

/// Sorts as the root collation does, compared byte by byte (U4).
#[must_use]
pub fn sort_key(name: &str) -> Vec<u8> {
    static COLLATOR: LazyLock<CollatorBorrowed<'static>> =
        LazyLock::new(|| Collator::try_new(CollatorPreferences::default(), CollatorOptions::default()).expect("the root collation is compiled in"));
    let mut key = Vec::new();
    let Ok(()) = COLLATOR.write_sort_key_to(name, &mut key);
    key
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
