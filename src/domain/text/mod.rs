//! What a message may say (T1 to T4). The order of the refusals is S8's.

mod emoji;
mod url;

use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;
use thiserror::Error;

/// The text of a message: normalised, trimmed and within the rules. Cheap to clone; its `Debug`
/// shows only its length, so that it cannot reach a log line by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageText(Arc<str>);

/// Why a text is refused: each names its rule.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TextRefusal {
    #[error("the message has a control character")]
    HasControlCharacter,
    #[error("the message is empty")]
    Empty,
    #[error("the message is longer than 2,000 characters")]
    TooLong,
    #[error("the message has a web address")]
    HasUrl,
    #[error("the message has an emoji")]
    HasEmoji,
}

impl MessageText {
    /// The longest text, in Unicode scalar values after normalisation and trimming (T1).
    pub const MAX_CHARACTERS: usize = 2_000;

    /// Normalises (NFC), trims, and checks a text that somebody wrote.
    ///
    /// # Errors
    /// The first rule broken, in the order of S8.
    pub fn parse(written: &str) -> Result<Self, TextRefusal> {
        if written.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err(TextRefusal::HasControlCharacter);
        }
        let written = written.trim();
        // No normalisation makes these few enough characters: four scalar values, of four bytes, become one at most.
        if written.len() > Self::MAX_CHARACTERS * 16 {
            return Err(TextRefusal::TooLong);
        }
        let normalised = ComposingNormalizerBorrowed::new_nfc().normalize(written);
        let text = normalised.trim();
        if text.is_empty() {
            return Err(TextRefusal::Empty);
        }
        if text.chars().nth(Self::MAX_CHARACTERS).is_some() {
            return Err(TextRefusal::TooLong);
        }
        if url::is_in(text) {
            return Err(TextRefusal::HasUrl);
        }
        if emoji::is_in(text) {
            return Err(TextRefusal::HasEmoji);
        }
        Ok(Self(text.into()))
    }

    /// What stands in the place of a text whose author was erased.
    #[must_use]
    pub fn erased() -> Self {
        Self("This message was erased.".into())
    }

    /// A text that was checked before it was stored. The rules of its day hold for it.
    #[must_use]
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for MessageText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MessageText({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<TextRefusal> {
        MessageText::parse(text).err()
    }

    #[test]
    fn t1_a_text_is_normalised_and_trimmed() {
        let text = MessageText::parse(" \n cafe\u{301} \t").expect("a plain text");
        assert_eq!(text.as_str(), "caf\u{e9}");
    }

    #[test]
    fn t1_a_text_has_1_to_2000_characters() {
        assert_eq!(refusal(""), Some(TextRefusal::Empty));
        assert_eq!(refusal(" \n\t\u{a0}\u{2003}"), Some(TextRefusal::Empty));
        assert_eq!(refusal("x"), None);
        assert_eq!(refusal(&"é".repeat(2_000)), None);
        assert_eq!(refusal(&"e\u{301}".repeat(2_000)), None, "counted after normalisation");
        assert_eq!(refusal(&"𝄞".repeat(2_000)), None, "scalar values, not UTF-16 units");
        assert_eq!(refusal(&format!("  {}  ", "x".repeat(2_000))), None, "counted after trimming");
        assert_eq!(refusal(&"x".repeat(2_001)), Some(TextRefusal::TooLong));
    }

    #[test]
    fn t1_scripts_of_the_world_are_text() {
        let stacked = format!("z{}", "\u{335}".repeat(200));
        for text in ["مرحبا بك", "שלום", "नमस्ते", "你好", "می‌خواهم", &stacked] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn t4_only_newline_and_tab_are_control_characters_of_a_text() {
        assert_eq!(refusal("one\n\ttwo"), None);
        for c in ['\0', '\r', '\u{7}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}'] {
            assert_eq!(refusal(&format!("a{c}b")), Some(TextRefusal::HasControlCharacter), "{c:?}");
        }
    }

    #[test]
    fn s8_a_text_names_its_first_refusal() {
        let everything = format!("\0 www.exemple.fr 😀 {}", "x".repeat(3_000));
        assert_eq!(refusal(&everything), Some(TextRefusal::HasControlCharacter));
        assert_eq!(refusal(&everything[1..]), Some(TextRefusal::TooLong));
        assert_eq!(refusal("www.exemple.fr 😀"), Some(TextRefusal::HasUrl));
        assert_eq!(refusal("😀"), Some(TextRefusal::HasEmoji));
    }

    #[test]
    fn a_text_does_not_print_itself() {
        let text = MessageText::parse("a secret").expect("a plain text");
        assert!(!format!("{text:?}").contains("secret"));
    }
}
