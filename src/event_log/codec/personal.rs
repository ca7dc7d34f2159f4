//! What is personal in an event, sealed under its author's key; in clear where it was stored before there were keys.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DecodeError;
use crate::event_log::keys::{Key, Unlocked};

pub(super) const NAME: &str = "name";
pub(super) const PICTURE: &str = "picture";
pub(super) const TEXT: &str = "text";
/// The fields that are personal.
pub(super) const PERSONAL: [&str; 3] = [NAME, PICTURE, TEXT];

/// What a person wrote or is called, sealed under its author's key. The one type that every text, name and picture passes
/// through: nothing else knows that they are not stored in clear.
#[derive(Serialize, Deserialize)]
pub(super) struct Personal<'a> {
    /// The key's name.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    sealed: Option<Cow<'a, str>>,
    /// In place of both, where it was stored before there were keys.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    clear: Option<Cow<'a, str>>,
}

/// What a personal text is, as far as it can be told.
pub(super) enum Opened<'a> {
    Text(Cow<'a, str>),
    /// Its key was destroyed, with it the text.
    Erased,
}

impl<'a> Personal<'a> {
    pub(super) fn seal(key: &'a Key, event: Uuid, field: &str, text: &str) -> Self {
        Self { key: Some(key.name().into()), sealed: Some(key.seal(event, field, text).into()), clear: None }
    }

    pub(super) fn open(&self, keys: &impl Fn(&str) -> Unlocked, event: Uuid, field: &str) -> Result<Opened<'_>, DecodeError> {
        match self {
            Self { key: Some(name), sealed: Some(sealed), clear: None } => match keys(name) {
                Unlocked::Key(key) => key.open(event, field, sealed).map(|text| Opened::Text(text.into())).ok_or(DecodeError::Sealed),
                Unlocked::Destroyed => Ok(Opened::Erased),
                Unlocked::Unknown => Err(DecodeError::NoKey(name.to_string())),
            },
            Self { key: None, sealed: None, clear: Some(clear) } => Ok(Opened::Text((&**clear).into())),
            _ => Err(DecodeError::Sealed),
        }
    }
}
