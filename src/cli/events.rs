//! `entrenous events`: the log as JSON Lines, beside a service that may be writing it.

use std::io::{self, BufWriter, Write as _};

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::arguments::Events;
use crate::domain::event::Position;
use crate::event_log::{EventLog, StoredEvent};

/// Events read at once.
const BATCH: usize = 1_000;

/// One line of the export.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    position: u64,
    stream: &'a str,
    version: u64,
    id: Uuid,
    r#type: &'a str,
    at: String,
    actor: Option<&'a str>,
    correlation_id: Uuid,
    causation_id: Uuid,
    data: &'a RawValue,
}

pub(super) fn run(events: &Events) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(print_log(events))
}

async fn print_log(events: &Events) -> anyhow::Result<()> {
    let log = EventLog::open_read_only(&events.data.log_url()).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut after = Position(0);
    loop {
        let batch = log.read_all_stored(after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = last.position;
        write_lines(&mut out, &batch)?;
    }
    out.flush()?;
    if events.follow {
        let mut follow = log.follow(after);
        loop {
            tokio::select! {
                batch = follow.next_stored(BATCH) => write_lines(&mut out, &batch?)?,
                _ = tokio::signal::ctrl_c() => break,
            }
            out.flush()?;
        }
    }
    Ok(())
}

fn write_lines(out: &mut impl io::Write, events: &[StoredEvent]) -> anyhow::Result<()> {
    for event in events {
        let line = Line {
            position: event.position.0,
            stream: &event.stream,
            version: event.version,
            id: event.id,
            r#type: &event.kind,
            at: event.at.to_string(),
            actor: event.actor.as_deref(),
            correlation_id: event.correlation,
            causation_id: event.causation,
            data: serde_json::from_str(&event.data)?,
        };
        serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
