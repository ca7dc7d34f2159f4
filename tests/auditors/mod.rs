//! What an auditor sees of the log (A2): any part of it, from either end, live, and as lines that become a log again.

mod exports;
mod over_graphql;
mod replay;
mod selection;

use entrenous::domain::event::Position;
use entrenous::event_log::{EventLog, StoredEvent};

use crate::support::process::run;

async fn all(log: &EventLog) -> Vec<StoredEvent> {
    log.read_all_stored(Position(0), 1_000_000).await.expect("read")
}

fn export(url: &str, more: &[&str]) -> String {
    let (ok, out, error) = run(&[&["events", "--log", url], more].concat());
    assert!(ok && error.is_empty(), "{error}");
    out
}
