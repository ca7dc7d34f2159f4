//! `entrenous erase` and `entrenous export-user`: what a person can ask for.

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use super::arguments::{Data, Erase, ExportUser};
use super::node::Node;
use super::replay::ensure_whole;
use super::{block_on, print, progress};
use crate::app::erasing::Left;
use crate::app::{AppError, Settings};
use crate::audit::replay::{Entry, Profile, replay};
use crate::domain::Refusal;
use crate::domain::event::{Event, Position, Stream};
use crate::domain::ids::UserId;
use crate::domain::user::UserEvent;
use crate::event_log::{EventLog, OpenError};
use crate::read_store::ReadStore;
use crate::storage::StoreUrl;

/// How often it is looked whether the service has done it.
const PAUSE: Duration = Duration::from_millis(200);
/// How often at most.
const LOOKS: usize = 600;
/// How often at most once the log tells of it: a service that has yet to go over to other views, or waits for somebody who
/// reads, does it within two seconds.
const LAST_LOOKS: usize = 25;

pub(super) fn run(arguments: &Erase) -> anyhow::Result<()> {
    block_on(async {
        let (data, views) = (&arguments.views.data, &arguments.views.url());
        refuse_what_is_not_there(data, views).await?;
        match Node::start(data, views, Settings::default(), false).await {
            Ok(node) => erase_here(node, &arguments.user).await?,
            Err(error) if matches!(error.downcast_ref(), Some(OpenError::InUse { .. })) => {
                let log = data.open_log_and_keys(Some(views)).await?;
                ask_the_service(&log, &arguments.user).await?;
            }
            Err(error) => return Err(error),
        }
        print(&format!("{} is erased\n", arguments.user))
    })
}

/// No log is made for an erasure; nor, of one that nodes share, views: they would be left with everything in clear.
async fn refuse_what_is_not_there(data: &Data, views: &StoreUrl) -> anyhow::Result<()> {
    match data.log_url() {
        log if EventLog::is_new(&log)? => bail!("{log}: there is no event log here yet"),
        StoreUrl::Sqlite(_) => Ok(()),
        StoreUrl::Postgres(_) | StoreUrl::Kurrent(_) => {
            drop(data.open_log_and_keys(Some(views)).await?);
            if ReadStore::last_folded(views).await.position == Position(0) {
                bail!("there are no views at {views} that can be read: name those of a node of the service, with its --data or --views");
            }
            Ok(())
        }
    }
}

/// Nobody else has the log: this process is the service for as long as it takes.
async fn erase_here(node: Node, user: &UserId) -> anyhow::Result<()> {
    let mut outcome = node.app.erase_by_operator(user).await;
    for _ in 0..LAST_LOOKS {
        if !matches!(outcome, Ok(Left::FormerViews | Left::Pages)) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        outcome = node.app.go_on_erasing(user).await;
    }
    node.stop().await;
    match outcome {
        Ok(Left::Nowhere) => Ok(()),
        Ok(Left::FormerViews) => {
            bail!("{user} is erased but for the views of before, which a rebuild has: `entrenous serve`, or this command again, removes them when it is over")
        }
        Ok(Left::Pages) => {
            bail!(
                "{user} is erased, but pages of the views may still hold bytes of it: they have no room to be written anew, or somebody reads them. \
                 `entrenous serve`, or this command again, ends it when it can"
            )
        }
        Err(AppError::Refused(Refusal::UserNotFound)) => bail!("{user} is not registered"),
        Err(AppError::Unavailable(fault)) => Err(fault.into()),
        Err(error) => Err(error.into()),
    }
}

/// Another process has the log: it looks into the key store for what it is asked.
async fn ask_the_service(log: &EventLog, user: &UserId) -> anyhow::Result<()> {
    log.keys().request_erasure(user).await?;
    let mut last_looks = 0;
    for _ in 0..LOOKS {
        match log.keys().requested_erasures().await?.iter().find(|requested| requested.user == *user) {
            None if is_erased(log, user).await? => return Ok(()),
            None => bail!("{user} is not registered"),
            Some(requested) if requested.is_told && last_looks == LAST_LOOKS => {
                bail!(
                    "{user} is erased but for what is left of it in the views: much has to be folded, a rebuild has those of before, or pages \
                     cannot be written anew yet. The service removes it when it can"
                )
            }
            Some(requested) => last_looks += usize::from(requested.is_told),
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the service that has the log has not done it yet; it will when it can")
}

async fn is_erased(log: &EventLog, user: &UserId) -> anyhow::Result<bool> {
    let stream = Stream::User(user.clone());
    let (mut after, mut is_erased) = (0, false);
    loop {
        let events = log.read_stream(&stream, after, 1_000).await?;
        let Some(last) = events.last() else { return Ok(is_erased) };
        after = last.version;
        is_erased |= events.iter().any(|event| matches!(event.event, Event::User(UserEvent::UserErased { .. })));
    }
}

/// What a person is given of theirs.
#[derive(Serialize)]
struct PersonalData {
    user: Profile,
    conversations: Vec<Entry>,
}

pub(super) fn run_export(arguments: &ExportUser) -> anyhow::Result<()> {
    block_on(async {
        let log = arguments.data.open_log_and_keys(None).await?;
        let bar = progress::bar(log.latest().await?.0);
        let outcome = replay(&log, arguments.user.clone(), None, false, |position| bar.set_position(position.0)).await;
        bar.finish_and_clear();
        let past = outcome?;
        let Some(user) = past.profile(&arguments.user) else {
            ensure_whole(&past)?;
            bail!("{} is not registered", arguments.user);
        };
        let printed = print(&format!("{}\n", serde_json::to_string_pretty(&PersonalData { user, conversations: past.everything() })?));
        ensure_whole(&past)?;
        printed
    })
}
