//! `entrenous copy`: a log into another, with a bar on a terminal.

use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::arguments::Copy;
use super::{block_on, now, print, progress};
use crate::event_log::EventLog;
use crate::event_log::copy::copy;

pub(super) fn run(arguments: &Copy) -> anyhow::Result<()> {
    block_on(copy_log(arguments))
}

async fn copy_log(arguments: &Copy) -> anyhow::Result<()> {
    let from = EventLog::open_read_only(&arguments.from, arguments.from_keys.as_ref()).await.context("--from")?;
    if !from.has_its_keys().await.context("--from")? {
        bail!("the keys of {} are not at hand, and what people wrote would be sealed for ever: name them with --from-keys", arguments.from);
    }
    let to = EventLog::open(&arguments.to, arguments.to_keys.as_ref(), Arc::new(now)).await.context("--to")?;
    let bar = progress::bar(from.latest().await?.0);
    let outcome = copy(&from, &to, |copied| {
        bar.set_position(copied.position.0);
        bar.set_message(format!("{} events, {} new", copied.events, copied.written));
    })
    .await;
    bar.finish_and_clear();
    to.close().await;
    let copied = outcome?;
    print(&format!("{} events are the same in both logs; {} of them were written now.\n", copied.events, copied.written))
}
