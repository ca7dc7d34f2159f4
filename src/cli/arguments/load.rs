//! Arguments of load, and of a community to put it on.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use super::{Data, Keys};

/// How large a community.
#[derive(Args, Debug)]
pub(in crate::cli) struct Seed {
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
pub(in crate::cli) struct Bench {
    /// A running service, as http://host:port; start it with `--send-rate 0`. Without it one is started, and removed afterwards.
    #[arg(long, env = "ENTRENOUS_BENCH_URL", hide_env_values = true, value_name = "URL")]
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
    /// Instead, services with so many messages each, such as 10000,100000: how long they take to start, and how fast they are.
    #[arg(long, env = "ENTRENOUS_BENCH_SIZES", value_name = "MESSAGES", value_delimiter = ',', conflicts_with = "url")]
    pub sizes: Vec<u64>,
    /// Instead, messages at the rate for so long, such as 2h, measured again after each duration, and the service's memory.
    #[arg(long, env = "ENTRENOUS_BENCH_SOAK", value_name = "DURATION", conflicts_with_all = ["url", "sizes"])]
    pub soak: Option<SignedDuration>,
    /// Where sizes or a soak are drawn, as SVG.
    #[arg(long, env = "ENTRENOUS_BENCH_PLOT", value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// How the figures look.
    #[arg(long, env = "ENTRENOUS_BENCH_FORMAT", default_value = "table", value_name = "FORMAT")]
    pub format: Report,
}

/// How figures look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Report {
    /// For eyes.
    Table,
    /// For programs: JSON, a line a figure.
    Jsonl,
}
