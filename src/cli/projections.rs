//! `entrenous projections`: where the views stand, and whether they are what the log says.

use anyhow::bail;

use super::arguments::{ProjectionsCommand, Views};
use super::{new_id, now, print, progress};
use crate::audit::views::{Status, compare, status};
use crate::event_log::EventLog;

pub(super) fn run(command: &ProjectionsCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            ProjectionsCommand::Status(views) => print_status(views).await,
            ProjectionsCommand::Verify(views) => verify(views).await,
        }
    })
}

async fn print_status(views: &Views) -> anyhow::Result<()> {
    let log = EventLog::open_read_only(&views.data.log_url()).await?;
    let mut lines = vec![format!("{:<14} {:>10} {:>10} {:>8} {:>12} {:>7}  {}", "PROJECTION", "POSITION", "HEAD", "BEHIND", "WAITING, S", "VERSION", "SQL")];
    for Status { name, position, head, behind, waiting_since, version, sql_hash, is_current } in status(&log, &views.url()).await? {
        let waiting = waiting_since.map_or(0, |since| (now().0 - since.0).max(0) / 1_000_000);
        let note = if is_current { "" } else { " (not of this version)" };
        lines.push(format!("{name:<14} {position:>10} {head:>10} {behind:>8} {waiting:>12} {version:>7}  {}{note}", &sql_hash[..12]));
    }
    print(&format!("{}\n", lines.join("\n")))
}

async fn verify(views: &Views) -> anyhow::Result<()> {
    let log = EventLog::open_read_only(&views.data.log_url()).await?;
    let bar = progress::bar(log.latest().await?.0);
    let outcome = compare(&log, &views.url(), new_id(), |position| bar.set_position(position.0)).await;
    bar.finish_and_clear();
    let compared = outcome?;
    let mut lines: Vec<String> = compared.differences.iter().map(ToString::to_string).collect();
    if compared.more_differences > 0 {
        lines.push(format!("and {} more", compared.more_differences));
    }
    let rows: Vec<String> = compared.rows.iter().map(|(table, rows)| format!("{rows} of {table}")).collect();
    lines.push(format!("compared at position {}: {} rows", compared.position, rows.join(", ")));
    print(&format!("{}\n", lines.join("\n")))?;
    if compared.is_equal() { Ok(()) } else { bail!("the views are not what the log says") }
}
