//! The chat section as the back office designed it (C1): a title and two templates (C2, C3).

use std::sync::Arc;

use super::line;
use super::{InvalidInput, Refusal};

/// The section's new design, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionConfigured {
    pub section: ChatSection,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatSection {
    pub title: Title,
    pub list_template: ListTemplate,
    pub detail_template: DetailTemplate,
}

impl Default for ChatSection {
    /// What everybody sees until an administrator chooses.
    fn default() -> Self {
        Self { title: Title("Messages".into()), list_template: ListTemplate::One, detail_template: DetailTemplate::One }
    }
}

impl ChatSection {
    pub fn evolve(&mut self, event: &SectionConfigured) {
        self.clone_from(&event.section);
    }
}

/// The header's title: 1 to 60 characters, normalised, trimmed, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(Arc<str>);

impl Title {
    /// The longest title, in Unicode scalar values (C1).
    pub const MAX_CHARACTERS: usize = 60;

    /// # Errors
    /// [`Refusal::InvalidInput`] when nothing of it can be seen, it is too long, or has a control character or one that turns the words after it around.
    pub fn parse(written: &str) -> Result<Self, Refusal> {
        let refusal = InvalidInput::Title.into();
        line::parse(written, Self::MAX_CHARACTERS).map(Self).ok_or(refusal)
    }

    /// A title that was parsed before it was stored.
    #[must_use]
    pub fn from_stored(title: impl Into<Arc<str>>) -> Self {
        Self(title.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the conversation list looks (C2). Each has the compose button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTemplate {
    /// Name, picture, date.
    One,
    /// Name, picture, date, badge.
    Two,
    /// Name, date, badge.
    Three,
}

impl ListTemplate {
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    #[must_use]
    pub fn shows_avatar(self) -> bool {
        matches!(self, Self::One | Self::Two)
    }

    #[must_use]
    pub fn shows_unread_badge(self) -> bool {
        matches!(self, Self::Two | Self::Three)
    }
}

impl TryFrom<i64> for ListTemplate {
    type Error = Refusal;

    fn try_from(number: i64) -> Result<Self, Refusal> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            3 => Ok(Self::Three),
            _ => Err(InvalidInput::ListTemplate.into()),
        }
    }
}

/// How a conversation looks (C3). Bubbles are square in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetailTemplate {
    /// Square photo.
    One,
    /// Round photo.
    Two,
    /// No photo.
    Three,
}

impl DetailTemplate {
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

impl TryFrom<i64> for DetailTemplate {
    type Error = Refusal;

    fn try_from(number: i64) -> Result<Self, Refusal> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            3 => Ok(Self::Three),
            _ => Err(InvalidInput::DetailTemplate.into()),
        }
    }
}

/// Configures the section; the same design again yields nothing.
#[must_use]
pub fn decide(now: &ChatSection, wanted: ChatSection) -> Vec<SectionConfigured> {
    if *now == wanted { vec![] } else { vec![SectionConfigured { section: wanted }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_a_title_has_1_to_60_characters() {
        assert!(Title::parse(&"é".repeat(60)).is_ok());
        for wrong in ["", " ", "a\nb", &"x".repeat(61)] {
            assert!(Title::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn c1_templates_are_chosen_independently_and_a_repetition_appends_nothing() {
        let mut section = ChatSection::default();
        for (list, detail) in (1..=3).flat_map(|list| (1..=3).map(move |detail| (list, detail))) {
            let wanted = ChatSection {
                title: Title::from_stored(format!("{list} and {detail}")),
                list_template: list.try_into().expect("1 to 3"),
                detail_template: detail.try_into().expect("1 to 3"),
            };
            for event in decide(&section, wanted.clone()) {
                section.evolve(&event);
            }
            assert_eq!(section, wanted);
            assert_eq!(decide(&section, wanted), vec![]);
        }
        assert!(ListTemplate::try_from(0).is_err() && ListTemplate::try_from(4).is_err());
        assert!(DetailTemplate::try_from(0).is_err() && DetailTemplate::try_from(4).is_err());
    }

    #[test]
    fn c2_the_lists_show_what_they_show() {
        let shows = |list: ListTemplate| (list.shows_avatar(), list.shows_unread_badge());
        assert_eq!(shows(ListTemplate::One), (true, false));
        assert_eq!(shows(ListTemplate::Two), (true, true));
        assert_eq!(shows(ListTemplate::Three), (false, true));
    }
}
