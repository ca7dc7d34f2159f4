//! What the service tells its operator, on standard error. Message texts and tokens never.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Libraries that tell what they transport when they are asked for details: a socket's frames, with the
/// tokens and texts in them. No filter of an operator brings that back.
const TELLTALES: [&str; 3] = ["tungstenite", "tokio_tungstenite", "hyper"];

pub(super) fn start(filter: &str) -> anyhow::Result<()> {
    let asked = EnvFilter::try_new(format!("refinery_core=warn,{filter}")).context("--trace")?;
    let discreet = Targets::new().with_default(LevelFilter::TRACE).with_targets(TELLTALES.map(|target| (target, LevelFilter::INFO)));
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines.with_filter(asked.and(discreet))).init();
    Ok(())
}
