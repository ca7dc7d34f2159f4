//! `entrenous import`: an export becomes a log again.

use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::arguments::Import;
use super::{block_on, keys, now, print, progress};
use crate::audit::lines::{Export, ExportError};
use crate::event_log::EventLog;
use crate::event_log::copy::import;
use crate::event_log::keys::Keyring;

pub(super) fn run(arguments: &Import) -> anyhow::Result<()> {
    block_on(import_file(arguments))
}

async fn import_file(arguments: &Import) -> anyhow::Result<()> {
    let (file, keys_url) = (arguments.file.display(), arguments.data.keys_url(None));
    // As it is: a log that is opened to be written makes a store where there is none, and belongs to it for good.
    let known = Keyring::open_existing(&keys_url).await?;
    let events = match Export::check(&arguments.file, (!arguments.accept_unreadable).then_some(&known)) {
        Ok(0) => bail!("{file} has no events"),
        Ok(events) => events,
        Err(missing @ ExportError::NoKey { .. }) => bail!(
            "{file} cannot be imported: {missing} {keys_url}, and what people wrote would be sealed for ever: \
             put the key store of the log that was exported (its events.keys) there first, or name it with --keys; or accept it with --accept-unreadable"
        ),
        Err(error) => return Err(error).with_context(|| format!("{file} cannot be imported")),
    };
    keys::make_data_folder(&arguments.data.data)?;
    let log = EventLog::open(&arguments.data.log_url(), Some(&keys_url), Arc::new(now)).await?;
    let bar = progress::bar(events);
    let export = Export::open(&arguments.file).with_context(|| format!("{file} cannot be read"))?;
    let outcome = import(export, &log, |copied| bar.set_position(copied.events)).await;
    bar.finish_and_clear();
    log.close().await;
    let copied = outcome?;
    print(&format!("{} events are in the log as the export has them; {} of them were written now.\n", copied.events, copied.written))
}
