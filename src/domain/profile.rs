//! A user's public face (U3): a name, and a picture or none.

use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;
use url::Url;

use super::ids::UserId;
use super::line;
use super::{InvalidInput, Refusal};

/// A name to show: 1 to 100 characters, normalised, trimmed, on one line. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in Unicode scalar values.
    pub const MAX_CHARACTERS: usize = 100;

    /// Parses a name that somebody chose.
    ///
    /// # Errors
    /// [`Refusal::InvalidInput`] when nothing of it can be seen, or it is too long, or has a control character or one that
    /// turns the direction of what comes after.
    pub fn parse(written: &str) -> Result<Self, Refusal> {
        let refusal = InvalidInput::Name.into();
        line::parse(written, Self::MAX_CHARACTERS).map(Self).ok_or(refusal)
    }

    /// The name of a token's claim, made to fit; the user's id where the claim has none.
    #[must_use]
    pub fn from_claim(claim: Option<&str>, id: &UserId) -> Self {
        let readable: String = claim.unwrap_or_default().chars().filter(|&c| !line::breaks_a_line(c)).collect();
        let readable = ComposingNormalizerBorrowed::new_nfc().normalize(readable.trim());
        let fitting: String = readable.chars().take(Self::MAX_CHARACTERS).collect();
        Self::parse(&fitting).unwrap_or_else(|_| {
            let id: String = id.as_str().chars().take(Self::MAX_CHARACTERS).collect();
            Self(id.into())
        })
    }

    /// A name that was parsed before it was stored.
    #[must_use]
    pub fn from_stored(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The address of a picture: an absolute `http` or `https` URL of at most 2,048 bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(Arc<str>);

impl Picture {
    /// The longest address, in bytes.
    pub const MAX_LENGTH: usize = 2_048;

    /// Parses an address that somebody chose.
    ///
    /// # Errors
    /// [`Refusal::InvalidInput`] when it is not such a URL.
    pub fn parse(written: &str) -> Result<Self, Refusal> {
        let refusal = InvalidInput::Picture.into();
        match Url::parse(written) {
            Ok(url) if url.as_str().len() <= Self::MAX_LENGTH && matches!(url.scheme(), "http" | "https") => Ok(Self(url.as_str().into())),
            Ok(_) | Err(_) => Err(refusal),
        }
    }

    /// An address that was parsed before it was stored.
    #[must_use]
    pub fn from_stored(url: impl Into<Arc<str>>) -> Self {
        Self(url.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What everybody may see of a user. No picture means the service's default image (U3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: Name,
    pub picture: Option<Picture>,
}

impl Profile {
    /// What is left of somebody who was erased.
    #[must_use]
    pub fn erased() -> Self {
        Self { name: Name("Deleted user".into()), picture: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u3_a_name_has_1_to_100_characters_on_one_line() {
        assert_eq!(Name::parse("  Jose\u{301} ").expect("a name").as_str(), "Jos\u{e9}");
        assert!(Name::parse(&"é".repeat(100)).is_ok());
        for name in ["李", "ليلى", "👩‍🚀", "\u{200f}ליאת", "7"] {
            assert!(Name::parse(name).is_ok(), "{name:?}");
        }
        for wrong in ["", "  ", "a\nb", "a\0", &"é".repeat(101), "\u{200b}\u{2060}", "\u{3164}", "\u{2800}", "ann\u{202e}", "\u{2067}ann", "an\u{2028}n"] {
            assert!(Name::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn u2_a_claimed_name_is_made_to_fit() {
        let id = UserId::from_stored("auth0|1");
        let name = |claim: Option<&str>| Name::from_claim(claim, &id).as_str().to_owned();
        assert_eq!(name(Some(" Zo\u{65}\u{308}\n")), "Zo\u{eb}");
        assert_eq!(name(Some(&"x".repeat(300))), "x".repeat(100));
        assert_eq!(name(Some("ann\u{202e}")), "ann");
        for nothing in [" \0 ", "\u{200b}"] {
            assert_eq!(name(Some(nothing)), "auth0|1");
        }
        assert_eq!(name(None), "auth0|1");
    }

    #[test]
    fn u3_a_picture_is_a_web_address() {
        assert!(Picture::parse("https://exemple.fr/moi.png").is_ok());
        let long = format!("https://exemple.fr/{}", "x".repeat(2_048));
        for wrong in ["", "/moi.png", "javascript:alert(1)", "data:image/png;base64,AA", &long] {
            assert!(Picture::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
