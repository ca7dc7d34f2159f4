//! How far a long command is: on a terminal, and only there.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on the error output, which shows nothing where that is no terminal.
pub(super) fn bar(whole: u64) -> ProgressBar {
    let bar = ProgressBar::new(whole);
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent}% {msg} {per_sec}, {eta} left").expect("a template"));
    bar
}

/// A bar that shows nothing anywhere.
pub(super) fn hidden() -> ProgressBar {
    ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
}
