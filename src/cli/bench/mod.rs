//! `entrenous bench`: load on a running service, or on one that it starts and removes again.

mod own;
mod series;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;

use self::own::Own;
use super::arguments::{Bench, Report};
use super::signals::Signals;
use super::{block_on, new_id, now, print, progress};
use crate::http::authentication::{TokenClaims, TokenSigner};
use crate::load::community::{name, user};
use crate::load::run::{Figure, Plan, Target};

/// How long tokens of a load last, in seconds.
const TOKEN_SECONDS: i64 = 24 * 3_600;

pub(super) fn run(arguments: &Bench) -> anyhow::Result<()> {
    block_on(async {
        let mut signals = Signals::heard()?;
        match arguments.soak {
            _ if !arguments.sizes.is_empty() => signals.or(series::sizes(arguments)).await,
            Some(soak) => series::soak(arguments, Duration::try_from(soak).context("a soak is longer than nothing")?, &mut signals).await,
            None => signals.or(measure(arguments)).await,
        }
    })
}

async fn measure(arguments: &Bench) -> anyhow::Result<()> {
    let own = if arguments.url.is_none() { Some(Own::start(arguments.users)?) } else { None };
    let (host, secret) = match (&arguments.url, &own) {
        (Some(url), _) => (host_of(url)?, arguments.keys.secret_or_own(&arguments.data.data)?),
        (None, Some(own)) => (own.host().to_owned(), own.secret.clone().into_bytes()),
        (None, None) => unreachable!("one is started where none is named"),
    };
    let (target, plan) = (target_of(arguments, &host, &secret), plan(arguments)?);
    let resident = own.as_ref().and_then(Own::resident_mib);

    let steps = [("registering", arguments.users as u64), ("filling", target.readers() as u64)];
    let bar = progress::bar(steps[0].1).with_message(steps[0].0);
    target.register(|done| bar.set_position(done)).await?;
    bar.set_length(steps[1].1);
    bar.set_message(steps[1].0);
    target.fill(|done| bar.set_position(done)).await?;
    bar.set_message("measuring");
    let mut figures = vec![target.lists(plan).await?, target.histories(plan).await?];
    if plan.rate > 0 {
        figures.extend(target.deliveries(plan, 0).await?);
    }
    figures.push(target.sends(plan).await?);
    let loaded = own.as_ref().and_then(Own::resident_mib);
    let idle = if plan.idle > 0 {
        bar.set_message("opening sockets");
        let open = target.idle(plan, |done| bar.set_position(done)).await?;
        let with = own.as_ref().and_then(Own::resident_mib);
        drop(open);
        with
    } else {
        None
    };
    bar.finish_and_clear();
    match arguments.format {
        Report::Table => print(&table(&figures, resident, loaded, idle.map(|mib| (plan.idle, mib)))),
        Report::Jsonl => print(&lines(&figures, resident, loaded, idle.map(|mib| (plan.idle, mib)))?),
    }
}

fn target_of(arguments: &Bench, host: &str, secret: &[u8]) -> Target {
    Target::new(host, tokens(arguments, secret), new_id)
}

fn plan(arguments: &Bench) -> anyhow::Result<Plan> {
    let duration = Duration::try_from(arguments.duration).ok().filter(|duration| !duration.is_zero()).context("a duration is longer than nothing")?;
    let pairs = arguments.pairs.unwrap_or(arguments.users * 10).max(1);
    Ok(Plan { clients: arguments.clients, pairs, rate: arguments.rate, duration, idle: arguments.idle })
}

/// `http://host:port` without a path.
fn host_of(url: &str) -> anyhow::Result<String> {
    let host = url.strip_prefix("http://").context("a load speaks HTTP without TLS: name the service itself, as http://host:port")?;
    let host = host.trim_end_matches('/');
    if host.is_empty() || host.contains('/') {
        bail!("name the service as http://host:port");
    }
    Ok(if host.contains(':') { host.to_owned() } else { format!("{host}:80") })
}

fn tokens(arguments: &Bench, secret: &[u8]) -> Vec<(String, String)> {
    let (signer, iat) = (TokenSigner::new(secret), now().0.div_euclid(1_000_000));
    let holder = |n: u64| {
        let (sub, name) = (user(n), name(n));
        let (iss, aud) = (arguments.keys.token_issuer.as_deref(), arguments.keys.token_audience.as_deref());
        let token = signer.sign(&TokenClaims { sub: &sub, name: Some(&name), roles: &[], iat, exp: iat + TOKEN_SECONDS, iss, aud });
        (sub, token)
    };
    (0..arguments.users as u64).map(holder).collect()
}

fn table(figures: &[Figure], before: Option<u64>, after: Option<u64>, idle: Option<(usize, u64)>) -> String {
    let mut text = format!(
        "{:<14}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}{:>9}{:>8}\n",
        "", "count", "a second", "p50, ms", "p90, ms", "p99, ms", "max, ms", "refused", "shed"
    );
    for Figure { what, count, per_second, p50, p90, p99, max, refused, shed } in figures {
        let _cannot_fail = writeln!(text, "{what:<14}{count:>10}{per_second:>12.0}{p50:>10.2}{p90:>10.2}{p99:>10.2}{max:>10.2}{refused:>9}{shed:>8}");
    }
    if let (Some(before), Some(after)) = (before, after) {
        let _cannot_fail = write!(text, "resident: {before} MiB at its start, {after} MiB after the load");
        if let Some((sockets, with)) = idle {
            let _cannot_fail = write!(text, ", {with} MiB with {sockets} idle subscribers");
        }
        text.push('\n');
    }
    text
}

fn lines(figures: &[Figure], before: Option<u64>, after: Option<u64>, idle: Option<(usize, u64)>) -> anyhow::Result<String> {
    let mut text = String::new();
    for figure in figures {
        text += &serde_json::to_string(figure)?;
        text.push('\n');
    }
    let (sockets, with) = idle.unzip();
    text += &json!({ "what": "resident", "mib_at_start": before, "mib_after_load": after, "idle_subscribers": sockets, "mib_with_idle": with }).to_string();
    text.push('\n');
    Ok(text)
}
