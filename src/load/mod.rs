//! Load as clients make it, on a service that runs anywhere, and a community to make it in. For whoever sizes an
//! installation, and for the figures of `docs/performance.md`. It asks by HTTP and sockets alone, and knows nothing of
//! what is behind them; only a community is written to a log itself.

pub mod client;
pub mod community;
pub mod latencies;
pub mod plot;
pub mod run;

use std::io;

use thiserror::Error;

/// What keeps a load from being made.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("the service cannot be reached")]
    Unreachable(#[from] io::Error),
    /// An answer that no load expects.
    #[error("the service answered: {0}")]
    Wrong(String),
}
