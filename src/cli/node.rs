//! A node of the service without its edge: both stores, and the projector between them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::arguments::Data;
use super::{keys, new_id, now};
use crate::app::following::{ProjectorError, is_known};
use crate::app::progress;
use crate::app::projector;
use crate::app::{App, Fault, Settings, Sources};
use crate::audit::parked::parked;
use crate::audit::readable::{sealed_for_good, unreadable};
use crate::domain::event::Position;
use crate::event_log::{EventLog, OpenError};
use crate::read_store::ReadStore;
use crate::storage::StoreUrl;

/// How long what is being appended may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// How long views may take to be folded and to reach the disk.
const VIEWS_PATIENCE: Duration = Duration::from_secs(8);

/// A node that runs.
pub(super) struct Node {
    pub(super) app: App,
    projecting: JoinHandle<Result<(), ProjectorError>>,
    erasing: JoinHandle<()>,
    end: watch::Sender<bool>,
}

impl Node {
    /// Opens the stores, and waits until the views show all that the log has. A log with events that this version cannot read is
    /// refused, unless they are known already or `accepts_unreadable`.
    pub(super) async fn start(data: &Data, views: &StoreUrl, settings: Settings, accepts_unreadable: bool) -> anyhow::Result<Self> {
        keys::make_data_folder(&data.data)?;
        let log_url = data.log_url();
        let (folded, diverged) = (ReadStore::last_folded(views).await, || OpenError::Diverged { place: views.to_string() });
        if EventLog::is_new(&log_url)? && folded.position > Position(0) {
            return Err(diverged().into());
        }
        let log = EventLog::open(&log_url, Some(&data.keys_url(Some(views))), Arc::new(now)).await?;
        // Views that are made anew could not tell that the log lost something.
        if !is_known(&log, folded).await? {
            return Err(diverged().into());
        }
        if !accepts_unreadable {
            check_readable(&log, views).await?;
        }
        log.note_reader().await?;
        let store = ReadStore::open(views, log.id()).await?;
        let (reporter, progress) = progress::progress();
        let app = App::new(log, store, progress, Sources { clock: Arc::new(now), uuid: Arc::new(new_id) }, settings);
        let (end, ending) = watch::channel(false);
        let mut projecting = tokio::spawn(projector::run(app.clone(), reporter, ending.clone()));
        tokio::select! {
            biased;
            ended = &mut projecting => return Err(ended_early(ended)),
            caught_up = app.views_reach_head() => if let Err(fault) = caught_up {
                return Err(if matches!(fault, Fault::Stalled) { ended_early(projecting.await) } else { fault.into() });
            },
        }
        let erasing = tokio::spawn(app.clone().erase_when_asked(ending));
        Ok(Self { app, projecting, erasing, end })
    }

    /// Comes back when a part of it has ended that nothing works without.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.projecting => ended_early(ended),
            _ = &mut self.erasing => anyhow::anyhow!("erasures are no longer looked after"),
            () = self.app.log().ended() => anyhow::anyhow!("the event log takes no more events"),
        }
    }

    /// Lets what is under way end, for a while: a store that does not answer is not waited for.
    pub(super) async fn stop(self) {
        self.end.send_replace(true);
        let views = async {
            if !self.projecting.is_finished() {
                let _lease_is_released = self.projecting.await;
            }
        };
        let log = async {
            if !self.erasing.is_finished() {
                let _asked_later = self.erasing.await;
            }
            self.app.log().close().await;
        };
        let (views, log) = tokio::join!(timeout(VIEWS_PATIENCE, views), timeout(STOP_PATIENCE, log));
        if log.is_err() {
            tracing::warn!("a store does not answer: what was being appended may be in the log, or not");
        }
        if views.is_err() {
            tracing::warn!("the views take long to end: those in a file are made anew if the machine goes down before they are flushed");
        }
    }
}

fn ended_early(ended: Result<Result<(), ProjectorError>, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => anyhow::Error::new(error).context("the views no longer follow the log"),
        Ok(Ok(())) | Err(_) => anyhow::anyhow!("the views no longer follow the log"),
    }
}

/// A version that reads a log for the first time reads all of it, before it serves. Keys that are older than the log show in
/// its newest events, at every start.
async fn check_readable(log: &EventLog, views: &StoreUrl) -> anyhow::Result<()> {
    let known = parked(views).await.unwrap_or_default();
    if let Some(event) = sealed_for_good(log, &known).await? {
        bail!(
            "the key store is older than the log: the event at position {} (version {} of {}) is sealed under a key that is not in it. Restore the newest copy of the \
             keys; or start with --accept-unreadable, which parks what is sealed so",
            event.position,
            event.version,
            event.stream
        );
    }
    if log.was_read_by_this_version().await? {
        return Ok(());
    }
    let found = unreadable(log, &known).await?;
    let Some((event, reason)) = &found.first else { return Ok(()) };
    bail!(
        "this version cannot read {} of the log's events, the first at position {} (version {} of {}): {reason}. Start the version that wrote \
         them; or this one with --accept-unreadable, which parks what they belong to",
        found.count,
        event.position,
        event.version,
        event.stream
    )
}
