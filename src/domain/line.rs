//! A short text on one line: names and titles.

use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;

/// Normalises (NFC) and trims; none where it is then empty, longer than `max_characters`, or has a
/// control character.
pub(super) fn parse(written: &str, max_characters: usize) -> Option<Arc<str>> {
    let written = written.trim();
    // Four scalar values, of four bytes, become one at most.
    if written.len() > max_characters * 16 {
        return None;
    }
    let line = ComposingNormalizerBorrowed::new_nfc().normalize(written);
    let line = line.trim();
    let fits = !line.is_empty() && line.chars().nth(max_characters).is_none() && !line.chars().any(char::is_control);
    fits.then(|| line.into())
}
