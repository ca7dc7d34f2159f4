//! A short text on one line: names and titles.

use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Normalises (NFC) and trims; none where it is then empty, longer than `max_characters`, has nothing that can be seen, or
/// a character that [`breaks_a_line`].
pub(super) fn parse(written: &str, max_characters: usize) -> Option<Arc<str>> {
    let written = written.trim();
    // Four scalar values, of four bytes, become one at most.
    if written.len() > max_characters * 16 {
        return None;
    }
    let line = ComposingNormalizerBorrowed::new_nfc().normalize(written);
    let line = line.trim();
    let fits = line.chars().nth(max_characters).is_none() && line.chars().any(is_seen) && !line.chars().any(breaks_a_line);
    fits.then(|| line.into())
}

/// Control characters, ends of lines, and what turns the direction of whatever comes after it, beyond the end of a name.
pub(super) fn breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_seen(c: char) -> bool {
    let blank = GeneralCategoryGroup::Separator.union(GeneralCategoryGroup::Other);
    let is_blank = blank.contains(CodePointMapData::<GeneralCategory>::new().get(c)) || c == '\u{2800}';
    !is_blank && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}
