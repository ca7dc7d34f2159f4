//! Arguments, each with its environment variable.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::HeaderValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp as Instant};

use crate::audit::checkpoint::CheckpointVerifier;
use crate::audit::replay::Moment;
use crate::domain::event::{Position, Stream, Timestamp};
use crate::domain::ids::UserId;
use crate::event_log::selection::Selection;
use crate::event_log::{EventLog, OpenError, keys_beside};
use crate::storage::StoreUrl;
use crate::{graphql, http};

/// One-to-one text chat, event-sourced, beside an application's own authentication and community.
#[derive(Debug, Parser)]
#[command(name = "entrenous", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
pub(super) struct Data {
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
    pub async fn open_log(&self, views: Option<&StoreUrl>) -> Result<EventLog, OpenError> {
        EventLog::open_read_only(&self.log_url(), Some(&self.keys_url(views))).await
    }
}

/// Where the views are.
#[derive(Args, Debug)]
pub(super) struct ViewsUrl {
    /// The views: sqlite:FILE or <postgres://…>. Default: views.db in the data folder.
    #[arg(long, env = "ENTRENOUS_VIEWS", hide_env_values = true, value_name = "URL")]
    pub views: Option<StoreUrl>,
}

impl ViewsUrl {
    pub fn url(&self, data: &Data) -> StoreUrl {
        self.views.clone().unwrap_or_else(|| StoreUrl::Sqlite(data.data.join("views.db")))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ProjectionsCommand {
    /// Where each projection stands: its position, how far it is behind, its version; and what is parked.
    Status(Views),
    /// Fold the log anew and compare row by row; the differing rows are printed.
    Verify(Views),
    /// Make the views anew from the log while the service goes on, and put them in place of the present ones, which are
    /// kept. Interrupted, it goes on where it was.
    Rebuild(Rebuild),
    /// Try again to fold what is parked, once its cause is mended.
    Retry(Retry),
    /// Remove the views that were kept by rebuilds, and those of one that was not finished.
    Drop(Views),
}

/// What is tried again.
#[derive(Args, Debug)]
pub(super) struct Retry {
    /// What is parked, as `projections status` names it. Default: all that is.
    #[arg(value_name = "ENTITY")]
    pub entity: Option<String>,
    #[command(flatten)]
    pub views: Views,
}

/// How large a community.
#[derive(Args, Debug)]
pub(super) struct Seed {
    #[command(flatten)]
    pub data: Data,
    /// How many people; they are called user0, user1 and so on.
    #[arg(long, env = "ENTRENOUS_SEED_USERS", default_value_t = 1_000, value_name = "USERS", value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    pub users: u64,
    /// How many conversations; ten a person unless said otherwise.
    #[arg(long, env = "ENTRENOUS_SEED_CONVERSATIONS", value_name = "CONVERSATIONS")]
    pub conversations: Option<u64>,
    /// How many messages, over all conversations.
    #[arg(long, env = "ENTRENOUS_SEED_MESSAGES", default_value_t = 100_000, value_name = "MESSAGES")]
    pub messages: u64,
    /// The same number makes the same community.
    #[arg(long = "seed", env = "ENTRENOUS_SEED_NUMBER", default_value_t = 1, value_name = "NUMBER")]
    pub number: u64,
}

/// How much load, on what.
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// A running service, as http://host:port; start it with `--send-rate 0`. Without it one is started, and removed afterwards.
    #[arg(long, env = "ENTRENOUS_BENCH_URL", value_name = "URL")]
    pub url: Option<String>,
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub keys: Keys,
    /// How many users are signed in: user0, user1 and so on.
    #[arg(long, env = "ENTRENOUS_BENCH_USERS", default_value_t = 1_000, value_name = "USERS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=1_000_000))]
    pub users: usize,
    /// How many pairs of them write to each other; ten a user unless said otherwise.
    #[arg(long, env = "ENTRENOUS_BENCH_PAIRS", value_name = "PAIRS")]
    pub pairs: Option<usize>,
    /// How many clients ask again as soon as they are answered.
    #[arg(long, env = "ENTRENOUS_BENCH_CLIENTS", default_value_t = 64, value_name = "CLIENTS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub clients: usize,
    /// Messages a second whose delivery to open inboxes is measured; 0: none.
    #[arg(long, env = "ENTRENOUS_BENCH_RATE", default_value_t = 200, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub rate: u32,
    /// How long each figure is measured, such as 10s.
    #[arg(long, env = "ENTRENOUS_BENCH_DURATION", default_value = "6s", value_name = "DURATION")]
    pub duration: SignedDuration,
    /// How many sockets follow an inbox in which nothing happens, at the end.
    #[arg(long, env = "ENTRENOUS_BENCH_IDLE", default_value_t = 0, value_name = "SOCKETS")]
    pub idle: usize,
    /// How the figures look.
    #[arg(long, env = "ENTRENOUS_BENCH_FORMAT", default_value = "table", value_name = "FORMAT")]
    pub format: Report,
}

/// How figures look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Report {
    /// For eyes.
    Table,
    /// For programs: JSON, a line a figure.
    Jsonl,
}

/// Who is erased.
#[derive(Args, Debug)]
pub(super) struct Erase {
    /// The user's id.
    #[arg(value_name = "USER", value_parser = user)]
    pub user: UserId,
    #[command(flatten)]
    pub views: Views,
}

/// Whose data is wanted.
#[derive(Args, Debug)]
pub(super) struct ExportUser {
    /// The user's id.
    #[arg(value_name = "USER", value_parser = user)]
    pub user: UserId,
    #[command(flatten)]
    pub data: Data,
}

/// How views are made anew.
#[derive(Args, Debug)]
pub(super) struct Rebuild {
    /// The projection whose comparison is told. All are made anew together: they stand at one position.
    #[arg(value_name = "NAME", value_parser = ["conversations", "messages", "section", "users"])]
    pub name: Option<String>,
    /// The comparison of all projections is told, as without a name.
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    /// Memory for rows, in MiB, about: more makes it faster.
    #[arg(long, env = "ENTRENOUS_REBUILD_MEMORY", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20), value_name = "MIB")]
    pub memory: u64,
    /// How much is compared with the present views: every row, stretches of large tables, or nothing.
    #[arg(long, default_value = "samples", value_name = "HOW_MUCH")]
    pub compare: Comparison,
    /// Only prepare them: a version that has these projections finds them when it starts.
    #[arg(long)]
    pub prepare: bool,
    #[command(flatten)]
    pub views: Views,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Comparison {
    Nothing,
    Samples,
    Everything,
}

/// A log and the views made from it.
#[derive(Args, Debug)]
pub(super) struct Views {
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
pub(super) struct Keys {
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

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// The address to listen on, such as localhost:8080. Port 0: any free one.
    #[arg(long, env = "ENTRENOUS_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS", value_parser = socket_address)]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub views: ViewsUrl,
    #[command(flatten)]
    pub keys: Keys,
    /// How many seconds the clocks of this service and of whoever signs tokens may differ.
    #[arg(long, env = "ENTRENOUS_TOKEN_LEEWAY", default_value_t = 0, value_name = "SECONDS")]
    pub token_leeway: u64,
    /// Where clients reach the service, such as `https://chat.example.com`: for the default image's address.
    #[arg(long, env = "ENTRENOUS_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Serve a log although this version cannot read all of it: what those events belong to is parked.
    #[arg(long, env = "ENTRENOUS_ACCEPT_UNREADABLE")]
    pub accept_unreadable: bool,
    /// How many users may be registered.
    #[arg(long, env = "ENTRENOUS_USER_LIMIT", default_value_t = 5_000, value_name = "USERS")]
    pub user_limit: u64,
    /// Sends a second and user, with a burst of five times that; 0: unlimited.
    #[arg(long, env = "ENTRENOUS_SEND_RATE", default_value_t = 20, value_name = "SENDS")]
    pub send_rate: u32,
    /// How many inbox events a client may have missed and still be caught up with.
    #[arg(long, env = "ENTRENOUS_RESUME_LIMIT", default_value_t = 1_000, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub resume_limit: u32,
    #[command(flatten)]
    pub edge: Edge,
    /// How log lines look.
    #[arg(long, env = "ENTRENOUS_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Where to send OpenTelemetry traces (OTLP over HTTP), such as <http://localhost:4318>. Without it, none are made.
    #[arg(long, env = "ENTRENOUS_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `entrenous=debug`.
    #[arg(long, env = "ENTRENOUS_TRACE", default_value = "info", value_name = "FILTER")]
    pub trace: String,
}

/// What clients may ask for.
#[derive(Args, Debug)]
pub(super) struct Edge {
    /// How deep fields of an operation may be nested.
    #[arg(long, env = "ENTRENOUS_MAX_DEPTH", default_value_t = 16, value_name = "FIELDS")]
    pub max_depth: usize,
    /// What an operation may cost: a field is 1, a page its rows times what is asked of each.
    #[arg(long, env = "ENTRENOUS_MAX_COMPLEXITY", default_value_t = 10_000, value_name = "COST")]
    pub max_complexity: usize,
    /// How many aliases a document may have.
    #[arg(long, env = "ENTRENOUS_MAX_ALIASES", default_value_t = 100, value_name = "ALIASES")]
    pub max_aliases: usize,
    /// How many directives a document may have.
    #[arg(long, env = "ENTRENOUS_MAX_DIRECTIVES", default_value_t = 100, value_name = "DIRECTIVES")]
    pub max_directives: usize,
    /// How long a request's body, or a message on a socket, may be.
    #[arg(long, env = "ENTRENOUS_MAX_BODY", default_value_t = 1 << 20, value_name = "BYTES")]
    pub max_body: usize,
    /// How many operations one HTTP request may hold; they share the limit of complexity. 1: no batches.
    #[arg(long, env = "ENTRENOUS_MAX_BATCH", default_value_t = 1, value_name = "OPERATIONS")]
    pub max_batch: usize,
    /// How many sockets one user may have open.
    #[arg(long, env = "ENTRENOUS_MAX_SOCKETS", default_value_t = 100, value_name = "SOCKETS")]
    pub max_sockets: usize,
    /// How many subscriptions one user may have open.
    #[arg(long, env = "ENTRENOUS_MAX_SUBSCRIPTIONS", default_value_t = 200, value_name = "SUBSCRIPTIONS")]
    pub max_subscriptions: usize,
    /// How long a query or mutation may take, such as 30s; 0s: for ever.
    #[arg(long, env = "ENTRENOUS_REQUEST_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    pub request_timeout: SignedDuration,
    /// Whether clients may ask for the schema.
    #[arg(long, env = "ENTRENOUS_INTROSPECTION", default_value = "on", value_name = "POLICY")]
    pub introspection: Introspection,
    /// A JSON file of documents by id, which requests may name instead of sending them.
    #[arg(long, env = "ENTRENOUS_TRUSTED_DOCUMENTS", value_name = "FILE")]
    pub trusted_documents: Option<PathBuf>,
    /// Execute nothing but trusted documents.
    #[arg(long, env = "ENTRENOUS_TRUSTED_DOCUMENTS_ONLY", requires = "trusted_documents")]
    pub trusted_documents_only: bool,
    /// An origin whose pages may ask, and embed the client, such as <https://app.example.com>; can be given twice, or several with commas.
    #[arg(long, env = "ENTRENOUS_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN", value_parser = origin)]
    pub allow_origin: Vec<HeaderValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Introspection {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    /// JSON Lines.
    Json,
}

impl Edge {
    pub fn http_limits(&self) -> http::Limits {
        http::Limits { body: self.max_body, batch: self.max_batch, sockets: self.max_sockets, subscriptions: self.max_subscriptions }
    }

    pub fn executor_options(&self) -> anyhow::Result<graphql::Options> {
        anyhow::ensure!(!self.request_timeout.is_negative(), "--request-timeout is not negative; 0s is for ever");
        let limits = graphql::Limits {
            depth: self.max_depth,
            complexity: self.max_complexity,
            aliases: self.max_aliases,
            directives: self.max_directives,
            introspection: self.introspection == Introspection::On,
        };
        let documents = match &self.trusted_documents {
            Some(file) => {
                let json = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
                serde_json::from_slice(&json).with_context(|| format!("{} is not a JSON object of documents by id", file.display()))?
            }
            None => HashMap::new(),
        };
        let trusted = graphql::TrustedDocuments { documents, only: self.trusted_documents_only };
        Ok(graphql::Options { limits, trusted, time: self.request_timeout.unsigned_abs() })
    }
}

/// A scheme and a host, as browsers write it.
fn origin(given: &str) -> Result<HeaderValue, String> {
    let url = url::Url::parse(given).map_err(|error| error.to_string())?;
    if url.origin().ascii_serialization() == given {
        HeaderValue::from_str(given).map_err(|error| error.to_string())
    } else {
        Err("an origin is a scheme, a host and a port where it is not the usual one, such as https://app.example.com".to_owned())
    }
}

/// An address, or a name that this machine knows.
fn socket_address(given: &str) -> Result<SocketAddr, String> {
    let mut addresses = given.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "no such address".to_owned())
}

impl Serve {
    pub fn views_url(&self) -> StoreUrl {
        self.views.url(&self.data)
    }
}

#[derive(Args, Debug)]
pub(super) struct Token {
    /// The user's id: the token's `sub`.
    pub user: String,
    /// The user's name.
    #[arg(long, env = "ENTRENOUS_TOKEN_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// What the user may do beside chatting; can be given twice.
    #[arg(long, env = "ENTRENOUS_TOKEN_ROLE", value_name = "ROLE")]
    pub role: Vec<Role>,
    /// How long the token lasts, such as 30s, 15m, 1h or 24h.
    #[arg(long, env = "ENTRENOUS_TOKEN_TTL", default_value = "1h", value_name = "DURATION")]
    pub ttl: SignedDuration,
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub keys: Keys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Admin,
    Auditor,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct Events {
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
pub(super) enum EventFormat {
    /// JSON Lines: everything, to import again.
    Jsonl,
    /// For eyes, with what people wrote in clear.
    Table,
}

/// Which events; all without any of these.
#[derive(Args, Debug)]
pub(super) struct EventSelection {
    /// Those of a stream, such as `community`, `section`, `user-alice` or `conversation-…`.
    #[arg(long, env = "ENTRENOUS_EVENTS_STREAM", value_name = "STREAM")]
    pub stream: Option<Stream>,
    /// Those of a type, such as `MessageSent`; can be given twice.
    #[arg(long = "type", env = "ENTRENOUS_EVENTS_TYPE", value_name = "TYPE")]
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

fn user(given: &str) -> Result<UserId, String> {
    UserId::parse(given).map_err(|_| "a user id has 1 to 128 characters of A-Z a-z 0-9 . _ : @ | -".to_owned())
}

#[derive(Args, Debug)]
pub(super) struct Import {
    /// A file that `entrenous events` wrote, of a whole log.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub data: Data,
}

#[derive(Args, Debug)]
pub(super) struct Replay {
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
pub(super) struct CheckpointKey {
    /// A file with the secret that checkpoints are signed with; made where there is none. Default: checkpoint.key in the data folder.
    #[arg(long, env = "ENTRENOUS_CHECKPOINT_KEY", value_name = "FILE")]
    pub checkpoint_key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct CheckpointArguments {
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
pub(super) struct Prove {
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
pub(super) struct Verify {
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
pub(super) struct Copy {
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
