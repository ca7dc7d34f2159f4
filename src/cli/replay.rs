//! `entrenous replay`: a user's list, or a conversation, as it was.

use anyhow::bail;
use serde::Serialize;

use super::arguments::Replay;
use super::{block_on, print, progress};
use crate::audit::replay::{self, ListRow, Moment, Profile, Seen, Why};
use crate::read_store::ParkedEntity;

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    /// The last event of the past that was asked for.
    position: u64,
    at: Option<String>,
    user: Profile,
    #[serde(flatten)]
    seen: What,
    /// Of a conversation that did not stand in the list, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a Why>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum What {
    Conversations(Vec<ListRow>),
    /// Null where it did not stand in the list.
    Conversation(Option<Box<Seen>>),
}

pub(super) fn run(arguments: &Replay) -> anyhow::Result<()> {
    block_on(print_past(arguments))
}

async fn print_past(arguments: &Replay) -> anyhow::Result<()> {
    let log = arguments.data.open_log_and_keys(None).await?;
    let bar = progress::bar(match arguments.at {
        Some(Moment::Position(position)) => position.0,
        _ => log.latest().await?.0,
    });
    let outcome = replay::replay(&log, arguments.user.clone(), arguments.at, arguments.why, |position| bar.set_position(position.0)).await;
    bar.finish_and_clear();
    let past = outcome?;
    let Some(user) = past.profile(&arguments.user) else {
        ensure_whole(&past)?;
        bail!("{} was not registered then", arguments.user);
    };
    if let Some(with) = arguments.with.as_ref().filter(|with| past.profile(with).is_none()) {
        ensure_whole(&past)?;
        bail!("{with} was not registered then");
    }
    let (position, at) = past.reached().unwrap_or_default();
    let answer = Answer {
        position: position.0,
        at: past.reached().map(|_| at.to_string()),
        user,
        seen: match &arguments.with {
            Some(with) => What::Conversation(past.conversation(with).map(Box::new)),
            None => What::Conversations(past.list()),
        },
        why: arguments.with.as_ref().and_then(|with| past.why(with)),
    };
    let printed = print(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
    ensure_whole(&past)?;
    printed
}

/// Fails where something could not be folded, and says what.
pub(super) fn ensure_whole(past: &replay::Replay) -> anyhow::Result<()> {
    let line = |parked: &ParkedEntity| format!("{} from position {} on: {}", parked.entity, parked.position, parked.reason);
    let lines: Vec<String> = past.parked().iter().map(line).collect();
    if lines.is_empty() { Ok(()) } else { bail!("something may be missing, for not all could be folded:\n{}", lines.join("\n")) }
}
