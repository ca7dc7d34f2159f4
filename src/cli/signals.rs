//! Being told to stop.

use anyhow::bail;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, and SIGTERM. As long as nobody listens for them, either ends the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn heard() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// What comes of the work. Told to stop, it is dropped, and what it made for itself with it.
    pub(super) async fn or<T, E: Into<anyhow::Error>>(&mut self, work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T> {
        tokio::select! {
            outcome = work => outcome.map_err(Into::into),
            () = self.next() => bail!("told to stop"),
        }
    }
}
