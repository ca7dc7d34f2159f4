//! `entrenous seed`: a community to try things with, written straight to the log.

use std::sync::Arc;

use anyhow::bail;

use super::arguments::Seed;
use super::{block_on, keys, new_id, now, print, progress};
use crate::event_log::EventLog;
use crate::load::community::{Size, seed};

pub(super) fn run(arguments: &Seed) -> anyhow::Result<()> {
    let most = Size::most_conversations(arguments.users);
    let size = Size { users: arguments.users, conversations: arguments.conversations.unwrap_or(most.min(arguments.users * 10)), messages: arguments.messages };
    if size.conversations > most {
        bail!("{} users have {most} conversations at most", size.users);
    }
    if size.conversations == 0 && size.messages > 0 {
        bail!("messages need a conversation");
    }
    block_on(async {
        let data = &arguments.data;
        keys::make_data_folder(&data.data)?;
        let log = EventLog::open(&data.log_url(), Some(&data.keys_url(None)), Arc::new(now)).await?;
        if log.latest().await?.0 > 0 {
            bail!("the log has events: a community is made in an empty one");
        }
        let bar = progress::bar(size.conversations);
        let seeded = seed(&log, size, arguments.number, new_id, |written| bar.set_position(written)).await;
        bar.finish_and_clear();
        seeded?;
        let events = log.latest().await?;
        log.close().await;
        print(&format!("{} users, {} conversations, {} messages: {events} events\n", size.users, size.conversations, size.messages))
    })
}
