//! The same figures again and again: with ever more messages, or for hours. What stays as it was is drawn as a level line.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::time::Instant;

use super::own::Own;
use super::{plan, target_of};
use crate::cli::arguments::{Bench, Report};
use crate::cli::signals::Signals;
use crate::cli::{print, progress};
use crate::load::plot::{Line, Plot, Scale};
use crate::load::run::Figure;

/// Values of one step, each under its name.
type Step = Vec<(&'static str, f64)>;

/// Services with so many messages each: how long they take to start, and how fast they answer.
pub(super) async fn sizes(arguments: &Bench) -> anyhow::Result<()> {
    let plan = plan(arguments)?;
    let mut steps: Vec<(f64, Step)> = Vec::new();
    for &messages in &arguments.sizes {
        let bar = progress::bar(1).with_message(format!("{messages} messages"));
        let own = Own::seeded(arguments.users, messages).await?;
        let start = own.start_time();
        let target = target_of(arguments, own.host(), own.secret.as_bytes());
        target.register(|_| ()).await?;
        target.fill(|_| ()).await?;
        let figures = [target.lists(plan).await?, target.histories(plan).await?, target.sends(plan).await?];
        bar.finish_and_clear();
        let mut step: Step = figures.iter().map(|figure| (figure.what, figure.per_second)).collect();
        step.push(("start, ms", start.as_secs_f64() * 1_000.0));
        tell(arguments.format, "messages", messages, &step, steps.is_empty())?;
        #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
        steps.push((messages as f64, step));
    }
    let (title, across) = ("What changes as messages become more".to_owned(), "messages stored before the load".to_owned());
    let plot = Plot { title, across, up: "% of the first".to_owned(), scale: Scale::Logarithmic, lines: lines(&of_the_first(&steps)) };
    draw(arguments.plot.as_deref(), &plot)
}

/// Paced messages for so long, and what the service has in memory. What was measured is drawn also when the load fails, or is told to stop.
pub(super) async fn soak(arguments: &Bench, soak: Duration, signals: &mut Signals) -> anyhow::Result<()> {
    let own = Own::start(arguments.users)?;
    let target = target_of(arguments, own.host(), own.secret.as_bytes());
    let plan = plan(arguments)?;
    signals.or(target.register(|_| ())).await?;
    let (begun, mut steps, mut sent) = (Instant::now(), Vec::new(), 0);
    let ended = loop {
        match signals.or(target.deliveries(plan, sent)).await {
            Ok(figures) => {
                sent += figures[0].count;
                let (passed, step) = (begun.elapsed(), soaked(&figures, own.resident_mib()));
                tell(arguments.format, "seconds", passed.as_secs(), &step, steps.is_empty())?;
                steps.push((passed.as_secs_f64() / 60.0, step));
                if passed >= soak {
                    break Ok(());
                }
            }
            Err(failed) => break Err(failed),
        }
    };
    let title = format!("{} messages a second", plan.rate);
    let plot = Plot { title, across: "minutes".to_owned(), up: "ms, MiB, messages".to_owned(), scale: Scale::Linear, lines: lines(&steps) };
    draw(arguments.plot.as_deref(), &plot)?;
    ended
}

fn soaked([sends, deliveries]: &[Figure; 2], resident_mib: Option<u64>) -> Step {
    let mut step: Step =
        vec![("send p50, ms", sends.p50), ("send p99, ms", sends.p99), ("delivery p50, ms", deliveries.p50), ("delivery p99, ms", deliveries.p99)];
    #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
    step.extend([("shed", Some(sends.shed)), ("memory, MiB", resident_mib)].into_iter().filter_map(|(name, value)| Some((name, value? as f64))));
    step
}

fn tell(format: Report, across: &str, at: u64, step: &Step, is_first: bool) -> anyhow::Result<()> {
    match format {
        Report::Table => {
            if is_first {
                let names = step.iter().fold(format!("{across:>12}"), |row, (name, _)| row + &format!("{name:>18}"));
                print(&(names + "\n"))?;
            }
            let values = step.iter().fold(format!("{at:>12}"), |row, (_, value)| row + &format!("{value:>18.1}"));
            print(&(values + "\n"))
        }
        Report::Jsonl => {
            let values: serde_json::Map<_, _> = step.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            print(&format!("{}\n", json!({ across: at, "figures": values })))
        }
    }
}

/// Each value in per cent of what it was first.
fn of_the_first(steps: &[(f64, Step)]) -> Vec<(f64, Step)> {
    let Some((_, first)) = steps.first() else { return Vec::new() };
    let part = |step: &Step| step.iter().zip(first).map(|((name, value), (_, base))| (*name, value / base.max(f64::MIN_POSITIVE) * 100.0)).collect();
    steps.iter().map(|(at, step)| (*at, part(step))).collect()
}

/// A line for each value.
fn lines(steps: &[(f64, Step)]) -> Vec<Line> {
    let line = |(n, (name, _)): (usize, &(&str, f64))| {
        let points = steps.iter().filter_map(|(at, step)| Some((*at, step.get(n)?.1))).collect();
        Line { name: (*name).to_owned(), points }
    };
    steps.first().map_or_else(Vec::new, |(_, first)| first.iter().enumerate().map(line).collect())
}

fn draw(path: Option<&Path>, plot: &Plot) -> anyhow::Result<()> {
    let Some(path) = path.filter(|_| !plot.lines.is_empty()) else { return Ok(()) };
    std::fs::write(path, plot.svg()).with_context(|| format!("{} cannot be written", path.display()))
}
