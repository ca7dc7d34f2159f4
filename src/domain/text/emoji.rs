//! T2: what Unicode presents as an emoji, by the properties of UTS #51.

use icu_properties::CodePointSetData;
use icu_properties::props::{Emoji, EmojiPresentation, ExtendedPictographic};

/// Asks for the emoji form of the character before it.
const EMOJI_PRESENTATION_SELECTOR: char = '\u{fe0f}';
/// Draws a key cap around the character before it.
const ENCLOSING_KEYCAP: char = '\u{20e3}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
/// From here on, emoji are pictographs that were encoded as such. Below, they were text before.
const PICTOGRAPHS: char = '\u{1f000}';

/// Whether a text has an emoji. Plain digits, `#`, `*`, `©` and `™` are text; so is ASCII such as `:-)`.
pub(super) fn is_in(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let emoji = CodePointSetData::new::<Emoji>();
    let presented = CodePointSetData::new::<EmojiPresentation>();
    let pictographs = CodePointSetData::new::<ExtendedPictographic>();
    let mut before = ('\0', '\0');
    for c in text.chars() {
        let found = match c {
            EMOJI_PRESENTATION_SELECTOR => true,
            ENCLOSING_KEYCAP => matches!(before.1, '0'..='9' | '#' | '*'),
            _ => {
                presented.contains(c)
                    || (c >= PICTOGRAPHS && emoji.contains(c))
                    || (before.1 == ZERO_WIDTH_JOINER && pictographs.contains(before.0) && pictographs.contains(c))
            }
        };
        if found {
            return true;
        }
        before = (before.1, c);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_in;

    #[test]
    fn t2_emoji_are_found() {
        for text in ["😀", "bien 👍", "👍🏽", "🏽", "🇫🇷", "🇫", "1️⃣", "1\u{20e3}", "#️⃣", "❤️", "©️", "™\u{fe0f}", "👨‍👩‍👧", "⛹‍♂", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴", "⌚", "a\u{fe0f}", "🫨"]
        {
            assert!(is_in(text), "{text}");
        }
    }

    #[test]
    fn t2_plain_signs_are_text() {
        for text in ["0123456789 # *", "© ® ™", ":-) ;-) <3 ^^", "← → ✓ ★ ♥", "a\u{20e3}", "می‌خواهم", "क्‍ष", "½ € № ℃"]
        {
            assert!(!is_in(text), "{text}");
        }
    }
}
