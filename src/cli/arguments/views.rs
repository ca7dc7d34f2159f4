//! Arguments of what is done with the views.

use clap::{Args, Subcommand, ValueEnum};

use super::Views;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProjectionsCommand {
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
pub(in crate::cli) struct Retry {
    /// What is parked, as `projections status` names it. Default: all that is.
    #[arg(value_name = "ENTITY")]
    pub entity: Option<String>,
    #[command(flatten)]
    pub views: Views,
}

/// How views are made anew.
#[derive(Args, Debug)]
pub(in crate::cli) struct Rebuild {
    /// The projection whose comparison is told. All are made anew together: they stand at one position.
    #[arg(value_name = "NAME", value_parser = ["conversations", "messages", "section", "users"])]
    pub name: Option<String>,
    /// The comparison of all projections is told, as without a name.
    #[arg(long, env = "ENTRENOUS_REBUILD_ALL", conflicts_with = "name")]
    pub all: bool,
    /// Memory for rows, in MiB, about: more makes it faster.
    #[arg(long, env = "ENTRENOUS_REBUILD_MEMORY", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20), value_name = "MIB")]
    pub memory: u64,
    /// How much is compared with the present views: every row, stretches of large tables, or nothing.
    #[arg(long, env = "ENTRENOUS_REBUILD_COMPARE", default_value = "samples", value_name = "HOW_MUCH")]
    pub compare: Comparison,
    /// Only prepare them: a version that has these projections finds them when it starts.
    #[arg(long, env = "ENTRENOUS_REBUILD_PREPARE")]
    pub prepare: bool,
    #[command(flatten)]
    pub views: Views,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Comparison {
    Nothing,
    Samples,
    Everything,
}
