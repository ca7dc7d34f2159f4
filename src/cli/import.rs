//! `entrenous import`: an export becomes a log again.

use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::arguments::Import;
use super::{keys, now, print, progress};
use crate::audit::lines::Export;
use crate::event_log::EventLog;
use crate::event_log::copy::import;

pub(super) fn run(arguments: &Import) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(import_file(arguments))
}

async fn import_file(arguments: &Import) -> anyhow::Result<()> {
    let file = arguments.file.display();
    let events = Export::check(&arguments.file).with_context(|| format!("{file} cannot be imported"))?;
    if events == 0 {
        bail!("{file} has no events");
    }
    keys::make_data_folder(&arguments.data.data)?;
    let log = EventLog::open(&arguments.data.log_url(), Some(&arguments.data.keys_url(None)), Arc::new(now)).await?;
    let bar = progress::bar(events);
    let export = Export::open(&arguments.file).with_context(|| format!("{file} cannot be read"))?;
    let outcome = import(export, &log, |copied| bar.set_position(copied.events)).await;
    bar.finish_and_clear();
    log.close().await;
    let copied = outcome?;
    print(&format!("{} events are in the log as the export has them; {} of them were written now.\n", copied.events, copied.written))
}
