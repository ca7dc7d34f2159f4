//! Arguments of what is done with the log: reading, moving, replaying, proving.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::Timestamp as Instant;

use super::{Data, user};
use crate::audit::checkpoint::CheckpointVerifier;
use crate::audit::replay::Moment;
use crate::domain::event::{Position, Stream, Timestamp};
use crate::domain::ids::UserId;
use crate::event_log::selection::Selection;
use crate::storage::StoreUrl;

#[derive(Args, Debug)]
pub(in crate::cli) struct Events {
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub selection: EventSelection,
    /// Go on as the log grows.
    #[arg(long, env = "ENTRENOUS_FOLLOW")]
    pub follow: bool,
    /// How events are written.
    #[arg(long, env = "ENTRENOUS_EVENTS_FORMAT", default_value = "jsonl", value_name = "FORMAT")]
    pub format: EventFormat,
    /// What people wrote in clear, as far as the keys are at hand; null where it was erased. Such lines cannot be imported.
    #[arg(long, env = "ENTRENOUS_EVENTS_OPEN")]
    pub open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum EventFormat {
    /// JSON Lines: everything, to import again.
    Jsonl,
    /// For eyes, with what people wrote in clear.
    Table,
}

/// Which events; all without any of these.
#[derive(Args, Debug)]
pub(in crate::cli) struct EventSelection {
    /// Those of a stream, such as `community`, `section`, `user-alice` or `conversation-…`.
    #[arg(long, env = "ENTRENOUS_EVENTS_STREAM", value_name = "STREAM")]
    pub stream: Option<Stream>,
    /// Those of a type, such as `MessageSent`; can be given twice, or several with commas.
    #[arg(long = "type", env = "ENTRENOUS_EVENTS_TYPE", value_delimiter = ',', value_name = "TYPE")]
    pub types: Vec<String>,
    /// Those that concern a user.
    #[arg(long, env = "ENTRENOUS_EVENTS_USER", value_name = "USER", value_parser = user)]
    pub user: Option<UserId>,
    /// Those from a position on.
    #[arg(long, env = "ENTRENOUS_EVENTS_FROM", value_name = "POSITION")]
    pub from: Option<u64>,
    /// Those up to a position.
    #[arg(long, env = "ENTRENOUS_EVENTS_TO", value_name = "POSITION")]
    pub to: Option<u64>,
    /// Those since an instant, such as 2026-01-31T12:00:00Z.
    #[arg(long, env = "ENTRENOUS_EVENTS_SINCE", value_name = "INSTANT")]
    pub since: Option<Instant>,
    /// Those before an instant.
    #[arg(long, env = "ENTRENOUS_EVENTS_UNTIL", value_name = "INSTANT")]
    pub until: Option<Instant>,
}

impl EventSelection {
    pub fn selection(&self) -> Selection {
        let timestamp = |instant: Instant| Timestamp(instant.as_microsecond());
        Selection {
            stream: self.stream.clone(),
            types: self.types.clone(),
            user: self.user.clone(),
            positions: (self.from.map(Position), self.to.map(Position)),
            times: (self.since.map(timestamp), self.until.map(timestamp)),
        }
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Import {
    /// A file that `entrenous events` wrote, of a whole log.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Import it although keys of what people wrote are missing: what is sealed under them stays sealed.
    #[arg(long, env = "ENTRENOUS_ACCEPT_UNREADABLE")]
    pub accept_unreadable: bool,
    #[command(flatten)]
    pub data: Data,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    pub data: Data,
    /// Whose list it is.
    #[arg(long, env = "ENTRENOUS_REPLAY_USER", value_name = "USER", value_parser = user)]
    pub user: UserId,
    /// The conversation with this user, instead of the list.
    #[arg(long, env = "ENTRENOUS_REPLAY_WITH", value_name = "USER", value_parser = user)]
    pub with: Option<UserId>,
    /// After the event at a position, or all up to an instant such as 2026-01-31T12:00:00Z. Without it: now.
    #[arg(long, env = "ENTRENOUS_REPLAY_AT", value_name = "POSITION|INSTANT", value_parser = moment)]
    pub at: Option<Moment>,
    /// Name the event behind each fact.
    #[arg(long, env = "ENTRENOUS_REPLAY_WHY")]
    pub why: bool,
}

fn moment(given: &str) -> Result<Moment, String> {
    if let Ok(position) = given.parse() {
        return Ok(Moment::Position(Position(position)));
    }
    let instant: Result<Instant, _> = given.parse();
    instant
        .map(|instant| Moment::Instant(Timestamp(instant.as_microsecond())))
        .map_err(|_| "neither a position nor an instant such as 2026-01-31T12:00:00Z".to_owned())
}

/// What signs checkpoints.
#[derive(Args, Debug)]
pub(in crate::cli) struct CheckpointKey {
    /// A file with the secret that checkpoints are signed with; made where there is none. Default: checkpoint.key in the data folder.
    #[arg(long, env = "ENTRENOUS_CHECKPOINT_KEY", value_name = "FILE")]
    pub checkpoint_key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct CheckpointArguments {
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub key: CheckpointKey,
    /// Print the public key by which others verify checkpoints, instead.
    #[arg(long, env = "ENTRENOUS_CHECKPOINT_PUBLIC")]
    pub verifier: bool,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("proven").required(true))]
pub(in crate::cli) struct Prove {
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub key: CheckpointKey,
    /// That the event with this id is in the log as it is now.
    #[arg(long, env = "ENTRENOUS_PROVE_EVENT", value_name = "ID", group = "proven")]
    pub event: Option<uuid::Uuid>,
    /// That the log as it is now goes on from the checkpoint in this file.
    #[arg(long, env = "ENTRENOUS_PROVE_SINCE", value_name = "FILE", group = "proven")]
    pub since: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub key: CheckpointKey,
    /// A file with an earlier checkpoint that the log must go on from; can be given twice.
    #[arg(long, env = "ENTRENOUS_VERIFY_CHECKPOINT", value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// The public key of checkpoints. Default: that of the data folder's own.
    #[arg(long, env = "ENTRENOUS_VERIFIER", value_name = "KEY")]
    pub verifier: Option<CheckpointVerifier>,
    /// An export to verify instead of the log.
    #[arg(long, env = "ENTRENOUS_VERIFY_EXPORT", value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// A proof to check instead of the log.
    #[arg(long, env = "ENTRENOUS_VERIFY_PROOF", value_name = "FILE", conflicts_with_all = ["export", "checkpoint"])]
    pub proof: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Copy {
    /// The event log to read: sqlite:FILE, <postgres://…>, <esdb://…> or <kurrentdb://…>. It may be in use.
    #[arg(long, env = "ENTRENOUS_COPY_FROM", hide_env_values = true, value_name = "URL")]
    pub from: StoreUrl,
    /// The event log to write: empty, or an earlier copy of the same.
    #[arg(long, env = "ENTRENOUS_COPY_TO", hide_env_values = true, value_name = "URL")]
    pub to: StoreUrl,
    /// The keys of the log to read, where they are not beside it.
    #[arg(long, env = "ENTRENOUS_COPY_FROM_KEYS", hide_env_values = true, value_name = "URL")]
    pub from_keys: Option<StoreUrl>,
    /// The keys of the log to write, where they are not to be beside it: they are copied, too.
    #[arg(long, env = "ENTRENOUS_COPY_TO_KEYS", hide_env_values = true, value_name = "URL")]
    pub to_keys: Option<StoreUrl>,
}
