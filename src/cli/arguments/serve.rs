//! Arguments of the service itself.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::HeaderValue;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::SignedDuration;

use super::{Data, Keys, ViewsUrl};
use crate::app::Settings;
use crate::storage::StoreUrl;
use crate::{graphql, http};

#[derive(Args, Debug)]
pub(in crate::cli) struct Serve {
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
    #[arg(long, env = "ENTRENOUS_PUBLIC_URL", hide_env_values = true, value_name = "URL")]
    pub public_url: Option<String>,
    /// Serve a log although this version cannot read all of it: what those events belong to is parked.
    #[arg(long, env = "ENTRENOUS_ACCEPT_UNREADABLE")]
    pub accept_unreadable: bool,
    /// How many users may be registered.
    #[arg(long, env = "ENTRENOUS_USER_LIMIT", default_value_t = Settings::default().user_limit, value_name = "USERS")]
    pub user_limit: u64,
    /// Sends a second and user, with a burst of five times that; 0: unlimited.
    #[arg(long, env = "ENTRENOUS_SEND_RATE", default_value_t = Settings::default().send_rate, value_name = "SENDS")]
    pub send_rate: u32,
    /// How many inbox events a client may have missed and still be caught up with.
    #[arg(long, env = "ENTRENOUS_RESUME_LIMIT", default_value_t = Settings::default().resume_limit, value_name = "EVENTS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(..=1_000_000))]
    pub resume_limit: usize,
    #[command(flatten)]
    pub edge: Edge,
    /// How log lines look.
    #[arg(long, env = "ENTRENOUS_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Where to send OpenTelemetry traces (OTLP over HTTP), such as <http://localhost:4318>. Without it, none are made.
    #[arg(long, env = "ENTRENOUS_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `entrenous=debug`.
    #[arg(long, env = "ENTRENOUS_TRACE", default_value = "info", value_name = "FILTER")]
    pub trace: String,
}

/// What clients may ask for.
#[derive(Args, Debug)]
pub(in crate::cli) struct Edge {
    /// How deep fields of an operation may be nested.
    #[arg(long, env = "ENTRENOUS_MAX_DEPTH", default_value_t = graphql::Limits::default().depth, value_name = "FIELDS")]
    pub max_depth: usize,
    /// What an operation may cost: a field is 1, a page its rows times what is asked of each.
    #[arg(long, env = "ENTRENOUS_MAX_COMPLEXITY", default_value_t = graphql::Limits::default().complexity, value_name = "COST")]
    pub max_complexity: usize,
    /// How many aliases a document may have.
    #[arg(long, env = "ENTRENOUS_MAX_ALIASES", default_value_t = graphql::Limits::default().aliases, value_name = "ALIASES")]
    pub max_aliases: usize,
    /// How many directives a document may have.
    #[arg(long, env = "ENTRENOUS_MAX_DIRECTIVES", default_value_t = graphql::Limits::default().directives, value_name = "DIRECTIVES")]
    pub max_directives: usize,
    /// How long a request's body, or a message on a socket, may be.
    #[arg(long, env = "ENTRENOUS_MAX_BODY", default_value_t = http::Limits::default().body, value_name = "BYTES")]
    pub max_body: usize,
    /// How many operations one HTTP request may hold; they share the limit of complexity. 1: no batches.
    #[arg(long, env = "ENTRENOUS_MAX_BATCH", default_value_t = http::Limits::default().batch, value_name = "OPERATIONS")]
    pub max_batch: usize,
    /// How many sockets one user may have open.
    #[arg(long, env = "ENTRENOUS_MAX_SOCKETS", default_value_t = http::Limits::default().sockets, value_name = "SOCKETS")]
    pub max_sockets: usize,
    /// How many subscriptions one user may have open.
    #[arg(long, env = "ENTRENOUS_MAX_SUBSCRIPTIONS", default_value_t = http::Limits::default().subscriptions, value_name = "SUBSCRIPTIONS")]
    pub max_subscriptions: usize,
    /// How long a query or mutation may take, such as 30s; 0s: for ever.
    #[arg(long, env = "ENTRENOUS_REQUEST_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    pub request_timeout: SignedDuration,
    /// How many queries and mutations may run at once. More are refused with UNAVAILABLE: come back in a second.
    #[arg(long, env = "ENTRENOUS_MAX_RUNNING", default_value_t = graphql::Options::default().running, value_name = "OPERATIONS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_running: usize,
    /// How many of them may be of one user. More are refused with `RATE_LIMITED`.
    #[arg(long, env = "ENTRENOUS_MAX_USER_RUNNING", default_value_t = graphql::Options::default().running_of_user, value_name = "OPERATIONS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_user_running: usize,
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
    /// A proxy in front, or a network of them such as 10.0.0.0/8, whose X-Forwarded-For says where requests come from; can be given twice, or several with commas.
    #[arg(long, env = "ENTRENOUS_TRUSTED_PROXY", value_delimiter = ',', value_name = "ADDRESS", value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Introspection {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
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
        Ok(graphql::Options { limits, trusted, time: self.request_timeout.unsigned_abs(), running: self.max_running, running_of_user: self.max_user_running })
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

/// An address, or a network.
fn network(given: &str) -> Result<IpNet, String> {
    let given = given.trim();
    let address = || given.parse::<IpAddr>().map(IpNet::from);
    given.parse().or_else(|_| address()).map_err(|_| "a proxy is an address, or a network such as 10.0.0.0/8".to_owned())
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
