//! The types of events and the numbers of their shapes. What is stored in an older shape is brought to the next, and on, by
//! [`UPCASTS`] before it is read; what is of a newer one is refused. To change a shape: raise its number, add the step, add a
//! golden file.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::personal::PERSONAL;
use super::{DecodeError, parse};

pub(super) const USER_REGISTERED: &str = "UserRegistered";
pub(super) const CONTACTABLE_CHANGED: &str = "ContactableChanged";
pub(super) const PROFILE_UPDATED: &str = "ProfileUpdated";
pub(in crate::event_log) const USER_ERASED: &str = "UserErased";
pub(in crate::event_log) const MESSAGE_SENT: &str = "MessageSent";
pub(super) const MESSAGES_READ: &str = "MessagesRead";
pub(super) const CONVERSATION_DELETED: &str = "ConversationDeleted";
pub(super) const CONVERSATION_REOPENED: &str = "ConversationReopened";
pub(super) const USER_BLOCKED: &str = "UserBlocked";
pub(super) const USER_UNBLOCKED: &str = "UserUnblocked";
pub(super) const SECTION_CONFIGURED: &str = "SectionConfigured";

/// Every type, and the number of its present shape. The first is not written down.
const SHAPES: [(&str, u8); 11] = [
    (USER_REGISTERED, SEALED),
    (CONTACTABLE_CHANGED, FIRST),
    (PROFILE_UPDATED, SEALED),
    (USER_ERASED, FIRST),
    (MESSAGE_SENT, SEALED),
    (MESSAGES_READ, FIRST),
    (CONVERSATION_DELETED, FIRST),
    (CONVERSATION_REOPENED, FIRST),
    (USER_BLOCKED, FIRST),
    (USER_UNBLOCKED, FIRST),
    (SECTION_CONFIGURED, FIRST),
];

const FIRST: u8 = 1;
/// In which what is personal is sealed. What was stored before stays in clear.
pub(super) const SEALED: u8 = 2;

/// A type's name and the number of its present shape; none where this version does not know it.
fn shape_of(kind: &str) -> Option<(&'static str, u8)> {
    SHAPES.into_iter().find(|(known, _)| *known == kind)
}

pub(super) fn first() -> u8 {
    FIRST
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's")]
pub(super) fn is_first(shape: &u8) -> bool {
    *shape == FIRST
}

/// Brings data of a shape to the next.
struct Upcast {
    kind: &'static str,
    from: u8,
    step: fn(Value) -> Value,
}

/// Every step there ever was.
const UPCASTS: [Upcast; 3] = [
    Upcast { kind: USER_REGISTERED, from: 1, step: clear_personal },
    Upcast { kind: PROFILE_UPDATED, from: 1, step: clear_personal },
    Upcast { kind: MESSAGE_SENT, from: 1, step: clear_personal },
];

/// From the first shape to [`SEALED`].
fn clear_personal(mut data: Value) -> Value {
    for field in PERSONAL {
        if let Some(text) = data.get_mut(field) {
            *text = json!({ "clear": text.take() });
        }
    }
    data
}

/// Only the number of a shape.
#[derive(Deserialize)]
struct Shaped {
    #[serde(default = "first")]
    shape: u8,
}

/// Data of a type in its present shape, whichever it was stored in.
pub(super) fn upcast<'a>(kind: &str, data: &'a str) -> Result<Cow<'a, str>, DecodeError> {
    let (kind, present) = shape_of(kind).ok_or_else(|| DecodeError::UnknownType(kind.to_owned()))?;
    // As it is written today: one look is enough.
    let is_present = match data.strip_prefix("{\"shape\":").and_then(|rest| rest.split_once(',')) {
        Some((shape, _)) => shape.parse() == Ok(present),
        None => present == FIRST && !data.contains("\"shape\""),
    };
    if is_present {
        return Ok(data.into());
    }
    let Shaped { shape: stored } = parse(kind, data)?;
    if stored == present {
        return Ok(data.into());
    }
    let mut upcast: Value = parse(kind, data)?;
    for shape in stored..present {
        let step = UPCASTS.iter().find(|upcast| upcast.kind == kind && upcast.from == shape);
        upcast = (step.ok_or(DecodeError::Newer { kind, shape })?.step)(upcast);
    }
    if stored > present { Err(DecodeError::Newer { kind, shape: stored }) } else { Ok(upcast.to_string().into()) }
}
