//! `entrenous events`: the log, or a part of it, beside a service that may be writing it.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use super::arguments::{EventFormat, Events};
use super::{block_on, progress};
use crate::audit::lines;
use crate::domain::event::Position;
use crate::event_log::{EventLog, LogError, StoredEvent};

/// Events written at once.
const BATCH: usize = 1_000;
/// Events looked at between two looks at the progress.
const PATIENCE: usize = 20_000;

pub(super) fn run(events: &Events) -> anyhow::Result<()> {
    block_on(print_log(events))
}

async fn print_log(events: &Events) -> anyhow::Result<()> {
    let log = events.data.open_log(None).await?;
    let selection = events.selection.selection();
    let mut out = BufWriter::new(io::stdout().lock());
    if events.format == EventFormat::Table {
        writeln!(out, "{HEADER}")?;
    }
    let head = log.latest().await?;
    // What is printed on a terminal shows its progress by itself.
    let bar = if io::stdout().is_terminal() { progress::hidden() } else { progress::bar(head.0) };
    let mut walk = log.walk(selection.clone(), Position(0)).await?;
    loop {
        let batch = walk.next(BATCH, PATIENCE).await?;
        write(&mut out, events, &opened(&log, events, batch).await?)?;
        bar.set_position(walk.looked().unwrap_or_default().0);
        if walk.is_over() {
            break;
        }
    }
    out.flush()?;
    bar.finish_and_clear();
    if events.follow {
        let mut follow = log.follow(walk.looked().unwrap_or(head));
        loop {
            tokio::select! {
                batch = follow.next_stored(BATCH) => {
                    let wanted: Vec<_> = batch?.into_iter().filter(|event| selection.takes(event)).collect();
                    write(&mut out, events, &opened(&log, events, wanted).await?)?;
                }
                _ = tokio::signal::ctrl_c() => break,
            }
            out.flush()?;
        }
    }
    Ok(())
}

/// The events with what people wrote in clear, where that is wanted.
async fn opened(log: &EventLog, asked: &Events, mut events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>, LogError> {
    if asked.open || asked.format == EventFormat::Table {
        let revealed = log.reveal(&events).await?;
        for (event, data) in events.iter_mut().zip(revealed) {
            event.data = data;
        }
    }
    Ok(events)
}

const HEADER: &str = "  POSITION  AT                           TYPE                  ACTOR             STREAM AND VERSION, DATA";

fn write(out: &mut impl Write, asked: &Events, events: &[StoredEvent]) -> io::Result<()> {
    match asked.format {
        EventFormat::Jsonl if asked.open => lines::write_opened(out, events),
        EventFormat::Jsonl => lines::write(out, events),
        EventFormat::Table => events.iter().try_for_each(|event| {
            let actor = event.actor.as_deref().unwrap_or("-");
            writeln!(out, "{:>10}  {}  {:<20}  {:<16}  {} {}", event.position, event.at, event.kind, actor, event.stream, event.version)?;
            writeln!(out, "{:>10}  {}", "", printable(&event.data))
        }),
    }
}

/// What a terminal would obey is shown instead.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
