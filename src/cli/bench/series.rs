//! The same figures again and again: with ever more messages, or for hours. What stays as it was is drawn as a level line.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::time::Instant;

use super::own::Own;
use super::{plan, target_of};
use crate::cli::arguments::{Bench, Report};
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
        let own = Own::seeded(arguments.users, messages)?;
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
    let title = "What changes as messages become more";
    draw(arguments.plot.as_deref(), title, "messages stored before the load", Scale::Logarithmic, &steps)
}

/// Paced messages for so long, and what the service has in memory.
pub(super) async fn soak(arguments: &Bench, soak: Duration) -> anyhow::Result<()> {
    let own = Own::start(arguments.users)?;
    let target = target_of(arguments, own.host(), own.secret.as_bytes());
    let plan = plan(arguments)?;
    target.register(|_| ()).await?;
    let (begun, mut steps) = (Instant::now(), Vec::new());
    while begun.elapsed() < soak {
        let figures = target.deliveries(plan).await?;
        let passed = begun.elapsed();
        let mut step: Step = Vec::new();
        for (Figure { p50, p99, .. }, [half, most]) in figures.iter().zip([["send p50, ms", "send p99, ms"], ["delivery p50, ms", "delivery p99, ms"]]) {
            step.extend([(half, *p50), (most, *p99)]);
        }
        if let Some(mib) = own.resident_mib() {
            #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
            step.push(("memory, MiB", mib as f64));
        }
        tell(arguments.format, "seconds", passed.as_secs(), &step, steps.is_empty())?;
        steps.push((passed.as_secs_f64() / 60.0, step));
    }
    draw(arguments.plot.as_deref(), &format!("{} messages a second", plan.rate), "minutes", Scale::Linear, &steps)
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

/// Each value in per cent of the first.
fn draw(plot: Option<&Path>, title: &str, across: &str, scale: Scale, steps: &[(f64, Step)]) -> anyhow::Result<()> {
    let (Some(path), Some((_, first))) = (plot, steps.first()) else { return Ok(()) };
    let line = |(n, (name, base)): (usize, &(&str, f64))| {
        let point = |(at, step): &(f64, Step)| Some((*at, step.get(n)?.1 / base.max(f64::MIN_POSITIVE) * 100.0));
        Line { name: (*name).to_owned(), points: steps.iter().filter_map(point).collect() }
    };
    let lines = first.iter().enumerate().map(line).collect();
    let plot = Plot { title: title.to_owned(), across: across.to_owned(), up: "% of the first".to_owned(), scale, lines };
    std::fs::write(path, plot.svg()).with_context(|| format!("{} cannot be written", path.display()))
}
