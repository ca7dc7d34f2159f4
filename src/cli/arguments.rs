//! Arguments, each with its environment variable.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

/// One-to-one text chat, event-sourced, beside an application's own authentication and community.
#[derive(Debug, Parser)]
#[command(name = "entrenous", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is read once")]
pub(super) enum Command {
    /// Serve the chat.
    Serve(Box<Serve>),
    /// Print a signed token for a user.
    Token(Token),
    /// Print the GraphQL schema.
    Schema,
    /// Print the event log as JSON Lines.
    Events(Events),
}

/// Where the data is.
#[derive(Args, Debug)]
pub(super) struct Data {
    /// The data folder: the event log, the views, and in development mode the token key.
    #[arg(long, env = "ENTRENOUS_DATA", default_value = "entrenous-data", value_name = "DIR")]
    pub data: PathBuf,
    /// The event log: sqlite:FILE. Default: events.db in the data folder.
    #[arg(long, env = "ENTRENOUS_LOG", value_name = "URL")]
    pub log: Option<StoreUrl>,
}

impl Data {
    pub fn log_path(&self) -> PathBuf {
        self.log.as_ref().map_or_else(|| self.data.join("events.db"), |StoreUrl(path)| path.clone())
    }
}

/// `sqlite:FILE`.
#[derive(Clone, Debug)]
pub(super) struct StoreUrl(pub PathBuf);

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        match url.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self(path.strip_prefix("//").unwrap_or(path).into())),
            _ => Err("this version stores in `sqlite:FILE`"),
        }
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
    /// The views: sqlite:FILE. Default: views.db in the data folder.
    #[arg(long, env = "ENTRENOUS_VIEWS", value_name = "URL")]
    pub views: Option<StoreUrl>,
    #[command(flatten)]
    pub keys: Keys,
    /// How many seconds the clocks of this service and of whoever signs tokens may differ.
    #[arg(long, env = "ENTRENOUS_TOKEN_LEEWAY", default_value_t = 0, value_name = "SECONDS")]
    pub token_leeway: u64,
    /// Where clients reach the service, such as `https://chat.example.com`: for the default image's address.
    #[arg(long, env = "ENTRENOUS_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// How many users may be registered.
    #[arg(long, env = "ENTRENOUS_USER_LIMIT", default_value_t = 5_000, value_name = "USERS")]
    pub user_limit: u64,
    /// Sends a second and user, with a burst of five times that; 0: unlimited.
    #[arg(long, env = "ENTRENOUS_SEND_RATE", default_value_t = 20, value_name = "SENDS")]
    pub send_rate: u32,
    /// How many inbox events a client may have missed and still be caught up with.
    #[arg(long, env = "ENTRENOUS_RESUME_LIMIT", default_value_t = 1_000, value_name = "EVENTS")]
    pub resume_limit: usize,
    /// What to log: error, warn, info, debug, trace, or a filter such as `entrenous=debug`.
    #[arg(long, env = "ENTRENOUS_TRACE", default_value = "info", value_name = "FILTER")]
    pub trace: String,
}

/// An address, or a name that this machine knows.
fn socket_address(given: &str) -> Result<SocketAddr, String> {
    let mut addresses = given.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "no such address".to_owned())
}

impl Serve {
    pub fn views_path(&self) -> PathBuf {
        self.views.as_ref().map_or_else(|| self.data.data.join("views.db"), |StoreUrl(path)| path.clone())
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
    /// Go on as the log grows.
    #[arg(long, env = "ENTRENOUS_FOLLOW")]
    pub follow: bool,
}
