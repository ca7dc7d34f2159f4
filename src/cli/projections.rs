//! `entrenous projections`: where the views stand, whether they are what the log says, and how they are made anew.

use anyhow::bail;

use super::arguments::{Comparison, ProjectionsCommand, Rebuild, Retry, Views};
use super::signals::Signals;
use super::{block_on, new_id, now, print, progress};
use crate::audit::parked::{parked, retry};
use crate::audit::rebuild::{Options, Rebuilt, Step, rebuild};
use crate::audit::views::{Compared, Extent, Status, compare, status};
use crate::read_store::{ParkedEntity, ReadStore};

pub(super) fn run(command: &ProjectionsCommand) -> anyhow::Result<()> {
    block_on(async {
        match command {
            ProjectionsCommand::Status(views) => print_status(views).await,
            ProjectionsCommand::Verify(views) => Box::pin(verify(views)).await,
            ProjectionsCommand::Rebuild(arguments) => Box::pin(make_anew(arguments)).await,
            ProjectionsCommand::Retry(arguments) => try_again(arguments).await,
            ProjectionsCommand::Drop(views) => {
                let dropped = ReadStore::drop_others(&views.url()).await?;
                print(&format!("{dropped} removed\n"))
            }
        }
    })
}

async fn print_status(views: &Views) -> anyhow::Result<()> {
    let log = views.data.open_log(Some(&views.url())).await?;
    let mut lines = vec![format!("{:<14} {:>10} {:>10} {:>8} {:>12} {:>7}  {}", "PROJECTION", "POSITION", "HEAD", "BEHIND", "WAITING, S", "VERSION", "SQL")];
    for Status { name, position, head, behind, waiting_since, version, sql_hash, is_current } in status(&log, &views.url()).await? {
        let waiting = waiting_since.map_or(0, |since| (now().0 - since.0).max(0) / 1_000_000);
        let note = if is_current { "" } else { " (not of this version)" };
        lines.push(format!("{name:<14} {position:>10} {head:>10} {behind:>8} {waiting:>12} {version:>7}  {}{note}", &sql_hash[..12]));
    }
    lines.extend(parked(&views.url()).await?.iter().map(line_of));
    print(&format!("{}\n", lines.join("\n")))
}

fn line_of(parked: &ParkedEntity) -> String {
    let ParkedEntity { entity, version, position, event, reason, .. } = parked;
    format!("parked: {entity} since its event {event} (version {version}, position {position}): {reason}")
}

async fn try_again(arguments: &Retry) -> anyhow::Result<()> {
    let log = arguments.views.data.open_log_and_keys(Some(&arguments.views.url())).await?;
    let (asked, left) = retry(&log, &arguments.views.url(), new_id(), arguments.entity.as_deref()).await?;
    if asked == 0 {
        match &arguments.entity {
            Some(entity) => bail!("{entity} is not parked"),
            None => return print("nothing is parked\n"),
        }
    }
    let lines: String = left.iter().map(|parked| line_of(parked) + "\n").collect();
    print(&lines)?;
    match left.len() as u64 {
        0 => print(&format!("{asked} folded again\n")),
        left => bail!("{left} of {asked} cannot be folded yet"),
    }
}

async fn verify(views: &Views) -> anyhow::Result<()> {
    let log = views.data.open_log_and_keys(Some(&views.url())).await?;
    let bar = progress::bar(log.latest().await?.0);
    // The rows that the log makes are in a temporary folder, which must not stay.
    let outcome = Signals::heard()?.or(Box::pin(compare(&log, &views.url(), new_id(), |position| bar.set_position(position.0)))).await;
    bar.finish_and_clear();
    let compared = outcome?;
    let printed = print(&lines_of(&compared, None));
    // The verdict stands whether or not anybody reads it.
    if compared.is_equal() { printed } else { bail!("the views are not what the log says") }
}

/// What a comparison found, of one projection or all.
fn lines_of(compared: &Compared, name: Option<&str>) -> String {
    let is_asked_for = |table: &str| name.is_none_or(|name| name == table);
    let mut lines: Vec<String> = compared.differences.iter().filter(|difference| is_asked_for(difference.table())).map(ToString::to_string).collect();
    if compared.more_differences > 0 {
        lines.push(format!("and {} more differences", compared.more_differences));
    }
    let rows = compared.rows.iter().filter(|(table, _)| is_asked_for(table)).map(|(table, rows)| format!("{rows} of {table}"));
    let samples = if compared.is_sampled { " (stretches of them)" } else { "" };
    lines.push(format!("compared at position {}: {} rows{samples}\n", compared.position, rows.collect::<Vec<_>>().join(", ")));
    lines.join("\n")
}

async fn make_anew(arguments: &Rebuild) -> anyhow::Result<()> {
    let log = arguments.views.data.open_log_and_keys(Some(&arguments.views.url())).await?;
    let options = Options {
        memory: usize::try_from(arguments.memory << 20)?,
        compared: match arguments.compare {
            Comparison::Nothing => Extent::Nothing,
            Comparison::Samples => Extent::Samples,
            Comparison::Everything => Extent::Everything,
        },
        switches: !arguments.prepare,
    };
    let bar = progress::bar(log.latest().await?.0);
    let begun = now();
    let outcome = rebuild(&log, &arguments.views.url(), new_id(), options, |step| match step {
        Step::Folded(position) => {
            bar.set_length(bar.length().unwrap_or_default().max(position.0));
            bar.set_position(position.0);
        }
        Step::Indexing => bar.set_message("indexing"),
        Step::Comparing => bar.set_message("comparing"),
        Step::Switching => bar.set_message("switching"),
    })
    .await;
    bar.finish_and_clear();
    let Rebuilt { from, to, compared } = outcome?;
    let found = match compared {
        Some(compared) => lines_of(&compared, arguments.name.as_deref()),
        None => "not compared\n".to_owned(),
    };
    let end = if arguments.prepare {
        "they are kept for a version that has these projections: start it, or rebuild again to use them now"
    } else {
        "they are the current ones now; those before are kept until `entrenous projections drop`"
    };
    let tenths = (now().0 - begun.0) / 100_000;
    print(&format!("{found}folded events {} to {to} in {}.{} s: {end}\n", from.0 + 1, tenths / 10, tenths % 10))
}
