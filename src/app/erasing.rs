//! Erases a person: their key is destroyed, and with it what they wrote, in every copy of the log; an event says so;
//! and the views are purged. What is left is a neutral name (`docs/decisions/0023-erasure.md`).

use std::time::Duration;

use tokio::sync::watch;

use super::access::Administrator;
use super::submit::ATTEMPTS;
use super::{App, AppError, Fault, final_append_error};
use crate::domain::Refusal;
use crate::domain::event::{Metadata, Stream};
use crate::domain::ids::UserId;
use crate::domain::user::{self, UserCommand};
use crate::event_log::{Append, AppendError};
use crate::read_store::{OpenError, ReadStore};

/// How often it is looked whether another process asks for an erasure.
const LOOK: Duration = Duration::from_secs(1);

/// Where what was erased may be left, though nobody is shown it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nowhere,
    /// In views that were kept from before and that a rebuild has: they are removed when it is over. What it makes folds the
    /// erasure itself.
    FormerViews,
    /// In pages of the views, which have no room to be written anew, or are read by somebody for long.
    Pages,
}

/// When an erasure was asked for.
enum Asked {
    Now,
    /// It is noted, unless it was told of since.
    Before,
}

impl App {
    /// Erases a user for an administrator: nobody is shown anything of theirs any more. What is left in pages and in views of before
    /// goes when it can. Who was erased already stays so.
    ///
    /// # Errors
    /// [`Refusal::UserNotFound`], or a fault: what was begun is ended by [`App::erase_when_asked`].
    pub async fn erase_user(&self, administrator: &Administrator, user: &str) -> Result<UserId, AppError> {
        let user = UserId::parse(user).map_err(|_| Refusal::UserNotFound)?;
        let (app, by, erased) = (self.clone(), administrator.viewer().metadata(self.new_id()), user.clone());
        self.to_its_end(administrator.viewer(), async move { app.erase(&erased, by).await }).await?;
        Ok(user)
    }

    /// Erases a user for an operator, who is no user.
    ///
    /// # Errors
    /// As for [`App::erase_user`].
    pub async fn erase_by_operator(&self, user: &UserId) -> Result<Left, AppError> {
        self.erase(user, self.by_nobody()).await
    }

    /// Ends what was left of an erasure, as far as it can be ended now. What the person wrote since, who may have come back, is
    /// theirs.
    ///
    /// # Errors
    /// A fault.
    pub async fn go_on_erasing(&self, user: &UserId) -> Result<Left, AppError> {
        let _one_at_a_time = self.0.erasing.lock().await;
        self.end_erasure(user).await
    }

    fn by_nobody(&self) -> Metadata {
        let request = self.new_id();
        Metadata { actor: None, correlation: request, causation: request }
    }

    /// First the note and the key, then the event, which purges the views; last the note goes. Whatever comes in between,
    /// whoever finds the note does it all again. Until the log tells of it the person is given no other key.
    async fn erase(&self, user: &UserId, metadata: Metadata) -> Result<Left, AppError> {
        let _one_at_a_time = self.0.erasing.lock().await;
        self.tell_of_erasure(user, metadata, Asked::Now).await?;
        self.end_erasure(user).await
    }

    /// What is noted of a user, as far as it is still so: what they wrote since they were erased, who may have come back,
    /// is theirs.
    async fn do_as_asked(&self, user: &UserId) -> Result<(), AppError> {
        let _one_at_a_time = self.0.erasing.lock().await;
        self.tell_of_erasure(user, self.by_nobody(), Asked::Before).await?;
        self.end_erasure(user).await.map(|_| ())
    }

    /// What is left once the log tells of it.
    async fn end_erasure(&self, user: &UserId) -> Result<Left, AppError> {
        self.views_reach_head().await?;
        let left = match ReadStore::drop_others(self.0.store.url()).await {
            Ok(_) if self.0.store.clean().await? => Left::Nowhere,
            Ok(_) => Left::Pages,
            Err(OpenError::InUse { .. }) => Left::FormerViews,
            Err(error) => return Err(Fault::FormerViews(error.to_string().into()).into()),
        };
        if left == Left::Nowhere {
            self.0.log.keys().erasure_is_done(user).await?;
        }
        Ok(left)
    }

    /// Destroys the key and appends the event; nothing, where another process did both meanwhile. Of two attempts the one that
    /// began last appends the later event, and notes it.
    async fn tell_of_erasure(&self, user: &UserId, metadata: Metadata, mut asked: Asked) -> Result<(), AppError> {
        let keys = self.0.log.keys();
        let mut conflicting = None;
        for _ in 0..ATTEMPTS {
            self.views_reach_head().await?;
            let row = self.0.store.user(user).await?.ok_or(Refusal::UserNotFound)?;
            // No other try would end otherwise.
            if conflicting == Some(row.version) {
                return Err(Fault::StandsStill.into());
            }
            let attempt = self.new_id();
            let had_key = match asked {
                Asked::Now => keys.begin_erasure(user, attempt).await?,
                Asked::Before => match keys.go_on_with_erasure(user, attempt).await? {
                    Some(had_key) => had_key,
                    None => return Ok(()),
                },
            };
            asked = Asked::Before;
            let decided = user::decide(&row.user, user, UserCommand::Erase { had_key })?;
            let events = decided.into_iter().map(|event| (self.new_id(), event.into())).collect();
            let append = Append { stream: Stream::User(user.clone()), expected: row.version, metadata: metadata.clone(), events };
            match self.0.log.append(append).await {
                Ok(_) => return Ok(keys.erasure_is_told(user, attempt).await?),
                Err(AppendError::Conflict { .. }) => conflicting = Some(row.version),
                Err(error) => return Err(final_append_error(error).into()),
            }
        }
        Err(Fault::Contended.into())
    }

    /// Erases whoever other processes ask for through the key store, and ends what a crash cut short, until told to stop. What is
    /// noted for the first time may be in somebody's hands.
    pub async fn erase_when_asked(self, mut stop: watch::Receiver<bool>) {
        let (mut looked_at, mut failing) = (Vec::new(), None);
        while tokio::time::timeout(LOOK, stop.wait_for(|stop| *stop)).await.is_err() {
            let keys = self.0.log.keys();
            let asked = match keys.requested_erasures().await {
                Ok(asked) => asked,
                Err(error) => {
                    say_once(&mut failing, "it is not known whether an erasure is asked for", &error);
                    continue;
                }
            };
            let mut failed = None;
            for requested in asked.iter().filter(|requested| looked_at.contains(*requested)) {
                match self.do_as_asked(&requested.user).await {
                    // A limit is of users alone.
                    Ok(()) | Err(AppError::RateLimited { .. }) => {}
                    Err(AppError::Refused(_)) => failed = keys.withdraw_erasure(requested).await.err().map(Fault::from).or(failed),
                    Err(AppError::Unavailable(fault)) => failed = Some(fault),
                }
            }
            match failed {
                Some(fault) => say_once(&mut failing, "an erasure failed and is tried again", &fault),
                None => failing = None,
            }
            looked_at = asked;
        }
    }
}

/// Tells the operator why erasures wait, and not again each second as long as the reason is the same.
fn say_once(said: &mut Option<String>, what: &str, why: &dyn std::error::Error) {
    let why = why.to_string();
    if said.as_ref() != Some(&why) {
        tracing::error!(why, "{what}");
        *said = Some(why);
    }
}
