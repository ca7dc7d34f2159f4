//! Arguments, each with its environment variable.

mod load;
mod log;
mod people;
mod serve;
mod views;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::domain::ids::UserId;
use crate::event_log::{EventLog, OpenError, keys_beside};
use crate::storage::StoreUrl;
pub(in crate::cli) use load::{Bench, Report, Seed};
pub(in crate::cli) use log::{CheckpointArguments, CheckpointKey, Copy, EventFormat, Events, Import, Prove, Replay, Verify};
pub(in crate::cli) use people::{Erase, ExportUser, Role, Token};
pub(in crate::cli) use serve::{LogFormat, Serve};
pub(in crate::cli) use views::{Comparison, ProjectionsCommand, Rebuild, Retry};

/// One-to-one text chat, event-sourced, beside an application's own authentication and community.
#[derive(Debug, Parser)]
#[command(name = "entrenous", version, propagate_version = true)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Serve the chat.
    Serve(Box<Serve>),
    /// Print a signed token for a user.
    Token(Token),
    /// Print the GraphQL schema.
    Schema,
    /// Print the event log, or a part of it: for eyes, or as JSON Lines, which can be imported again.
    Events(Events),
    /// Make an event log of an export. What is there already is compared, so it can be repeated.
    Import(Import),
    /// Print a user's list, or a conversation, as it was at a past moment.
    Replay(Replay),
    /// Fill an empty log with a community to try things with.
    Seed(Seed),
    /// Put load on a service, and print how fast it answers.
    Bench(Bench),
    /// Erase a person: what they wrote and were called is gone from the log, its copies and the views, for good.
    Erase(Erase),
    /// Print, as JSON, a person's profile and conversations, without what was withheld from them.
    ExportUser(ExportUser),
    /// Where the views stand, and whether they are what the log says.
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// Print a signed checkpoint of the event log: how many events it has, and the root of their Merkle tree.
    Checkpoint(CheckpointArguments),
    /// Prove that an event is in the log, or that the log goes on from a checkpoint.
    Prove(Prove),
    /// Find out whether the event log, or an export, is what it was; or check a proof.
    Verify(Verify),
    /// Copy an event log to another back end; what is there already is compared, so it can be repeated.
    Copy(Copy),
}

/// Where the data is.
#[derive(Args, Debug)]
#[expect(clippy::struct_field_names, reason = "its options' names")]
pub(in crate::cli) struct Data {
    /// The data folder: the event log, the views, and in development mode the token key.
    #[arg(long, env = "ENTRENOUS_DATA", default_value = "entrenous-data", value_name = "DIR")]
    pub data: PathBuf,
    /// The event log: sqlite:FILE, <postgres://…>, <esdb://…> or <kurrentdb://…>. Default: events.db in the data folder.
    #[arg(long, env = "ENTRENOUS_LOG", hide_env_values = true, value_name = "URL")]
    pub log: Option<StoreUrl>,
    /// The keys of what people write: sqlite:FILE or <postgres://…>. Default: events.keys beside a log in a file, the
    /// log's database, or for a log in KurrentDB the views' database, otherwise events.keys in the data folder.
    #[arg(long, env = "ENTRENOUS_KEYS", hide_env_values = true, value_name = "URL")]
    pub keys: Option<StoreUrl>,
}

impl Data {
    pub fn log_url(&self) -> StoreUrl {
        self.log.clone().unwrap_or_else(|| StoreUrl::Sqlite(self.data.join("events.db")))
    }

    /// Where the keys are, for whoever knows where the views are or does not.
    pub fn keys_url(&self, views: Option<&StoreUrl>) -> StoreUrl {
        let shared = || views.filter(|views| matches!(views, StoreUrl::Postgres(_))).cloned();
        let own = || StoreUrl::Sqlite(self.data.join("events.keys"));
        self.keys.clone().or_else(|| keys_beside(&self.log_url())).or_else(shared).unwrap_or_else(own)
    }

    /// The log, to be read, with its keys where they are at hand.
    ///
    /// # Errors
    /// When it cannot be opened, or its keys are not where they are said to be.
    pub async fn open_log(&self, views: Option<&StoreUrl>) -> anyhow::Result<EventLog> {
        let log = EventLog::open_read_only(&self.log_url(), Some(&self.keys_url(views))).await?;
        if self.keys.is_some() && !log.has_its_keys().await? {
            return Err(self.other_keys(views).into());
        }
        Ok(log)
    }

    /// The same for what is made of what people wrote: without the keys it would be nothing, and look as if there were nothing.
    ///
    /// # Errors
    /// When it cannot be opened, or its keys are not at hand.
    pub async fn open_log_and_keys(&self, views: Option<&StoreUrl>) -> anyhow::Result<EventLog> {
        let log = EventLog::open_read_only(&self.log_url(), Some(&self.keys_url(views))).await?;
        if log.has_its_keys().await? { Ok(log) } else { Err(self.other_keys(views).into()) }
    }

    fn other_keys(&self, views: Option<&StoreUrl>) -> OpenError {
        OpenError::OtherKeys { place: self.keys_url(views).to_string(), log: self.log_url().to_string() }
    }
}

/// Where the views are.
#[derive(Args, Debug)]
pub(in crate::cli) struct ViewsUrl {
    /// The views: sqlite:FILE or <postgres://…>. Default: views.db in the data folder.
    #[arg(long, env = "ENTRENOUS_VIEWS", hide_env_values = true, value_name = "URL")]
    pub views: Option<StoreUrl>,
}

impl ViewsUrl {
    pub fn url(&self, data: &Data) -> StoreUrl {
        self.views.clone().unwrap_or_else(|| StoreUrl::Sqlite(data.data.join("views.db")))
    }
}

/// A log and the views made from it.
#[derive(Args, Debug)]
pub(in crate::cli) struct Views {
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub views: ViewsUrl,
}

impl Views {
    pub fn url(&self) -> StoreUrl {
        self.views.url(&self.data)
    }
}

/// How tokens are verified. Without any of the keys, on a loopback address: development mode.
#[derive(Args, Debug)]
#[expect(clippy::struct_field_names, reason = "the fields' names are the options'")]
pub(in crate::cli) struct Keys {
    /// The secret of HS256 tokens, at least 32 bytes. Prefer the variable or a file: others can see a process's arguments.
    #[arg(long, env = "ENTRENOUS_TOKEN_SECRET", hide_env_values = true, value_name = "SECRET", group = "key")]
    pub token_secret: Option<String>,
    /// A file with the secret of HS256 tokens. Line ends at its end do not count.
    #[arg(long, env = "ENTRENOUS_TOKEN_SECRET_FILE", value_name = "FILE", group = "key")]
    pub token_secret_file: Option<PathBuf>,
    /// A PEM file with the public key of RS256, ES256 or EdDSA tokens.
    #[arg(long, env = "ENTRENOUS_TOKEN_PUBLIC_KEY", value_name = "FILE", group = "key")]
    pub token_public_key: Option<PathBuf>,
    /// A JWKS file with the public keys of tokens.
    #[arg(long, env = "ENTRENOUS_TOKEN_JWKS", value_name = "FILE", group = "key")]
    pub token_jwks: Option<PathBuf>,
    /// The `iss` that tokens must have.
    #[arg(long, env = "ENTRENOUS_TOKEN_ISSUER", value_name = "ISSUER")]
    pub token_issuer: Option<String>,
    /// The `aud` that tokens must have.
    #[arg(long, env = "ENTRENOUS_TOKEN_AUDIENCE", value_name = "AUDIENCE")]
    pub token_audience: Option<String>,
}

fn user(given: &str) -> Result<UserId, String> {
    UserId::parse(given).map_err(|error| error.to_string())
}
