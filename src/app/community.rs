//! Commands on users and on what they share: profiles, registrations, the section. They are rare, so what they are
//! decided from is the views at the log's head.

use std::collections::HashSet;

use super::access::{Administrator, Viewer};
use super::submit::ATTEMPTS;
use super::{App, AppError, Fault};
use crate::domain::community::{self, Community};
use crate::domain::event::Stream;
use crate::domain::ids::UserId;
use crate::domain::profile::{Name, Picture, Profile};
use crate::domain::section::{self, ChatSection};
use crate::domain::user::{self, User, UserCommand};
use crate::domain::{InvalidInput, Refusal};

/// A profile change: what is not given stays.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    pub name: Option<String>,
    /// `Some(None)`: back to the default image.
    pub picture: Option<Option<String>>,
}

/// A change of the section: what is not given stays.
#[derive(Clone, Debug, Default)]
pub struct SectionChange {
    pub title: Option<String>,
    pub list_template: Option<i64>,
    pub detail_template: Option<i64>,
}

/// Somebody to register ahead of their first sign-in.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: String,
    pub name: String,
    pub picture: Option<String>,
}

impl App {
    /// Whether other users may write to the viewer first (U6).
    ///
    /// # Errors
    /// A fault.
    pub async fn toggle_contactable(&self, viewer: &Viewer, contactable: bool) -> Result<(), AppError> {
        let (app, by) = (self.clone(), viewer.clone());
        self.to_its_end(viewer, async move { app.command_user(&by, by.id(), |_| UserCommand::ToggleContactable(contactable)).await }).await
    }

    /// Changes the viewer's own profile (U3).
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn update_profile(&self, viewer: &Viewer, change: ProfileChange) -> Result<(), AppError> {
        let name = change.name.as_deref().map(Name::parse).transpose()?;
        let picture = change.picture.map(|url| url.as_deref().map(Picture::parse).transpose()).transpose()?;
        let (app, by) = (self.clone(), viewer.clone());
        let command = move |user: &User| {
            let profile = Profile {
                name: name.clone().unwrap_or_else(|| user.profile.name.clone()),
                picture: picture.clone().unwrap_or_else(|| user.profile.picture.clone()),
            };
            UserCommand::UpdateProfile(profile)
        };
        self.to_its_end(viewer, async move { app.command_user(&by, by.id(), command).await }).await
    }

    /// Configures the section (C1).
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn configure_chat_section(&self, administrator: &Administrator, change: SectionChange) -> Result<ChatSection, AppError> {
        let title = change.title.as_deref().map(section::Title::parse).transpose()?;
        let list_template = change.list_template.map(TryInto::try_into).transpose()?;
        let detail_template = change.detail_template.map(TryInto::try_into).transpose()?;
        let wanted = move |present: &ChatSection| ChatSection {
            title: title.clone().unwrap_or_else(|| present.title.clone()),
            list_template: list_template.unwrap_or(present.list_template),
            detail_template: detail_template.unwrap_or(present.detail_template),
        };
        let (app, by) = (self.clone(), administrator.viewer().clone());
        self.to_its_end(administrator.viewer(), async move { app.command_section(&by, wanted).await }).await
    }

    async fn command_section(&self, viewer: &Viewer, wanted: impl Fn(&ChatSection) -> ChatSection) -> Result<ChatSection, AppError> {
        let command = self.new_id();
        for _ in 0..ATTEMPTS {
            self.views_reach_head().await?;
            let row = self.0.store.section().await?.unwrap_or_default();
            let section = wanted(&row.section);
            let events = section::decide(&row.section, section.clone());
            if self.append_or_conflict(viewer, command, Stream::Section, row.version, events).await? {
                return Ok(section);
            }
        }
        Err(Fault::Contended.into())
    }

    /// Registers users ahead of their first sign-in (U2), all or none. Who was erased comes back with what is said of them.
    ///
    /// # Errors
    /// A refusal or a fault.
    pub async fn register_users(&self, administrator: &Administrator, users: Vec<NewUser>) -> Result<Vec<UserId>, AppError> {
        let newcomers = users
            .into_iter()
            .map(|user| {
                let id = UserId::parse(&user.id).map_err(|_| Refusal::from(InvalidInput::UserId))?;
                let picture = user.picture.as_deref().map(Picture::parse).transpose()?;
                Ok((id, Profile { name: Name::parse(&user.name)?, picture }))
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        let mut once = HashSet::new();
        let ids = newcomers.iter().map(|(id, _)| id.clone()).filter(|id| once.insert(id.clone())).collect();
        let (app, by) = (self.clone(), administrator.viewer().clone());
        self.to_its_end(administrator.viewer(), async move { app.register_or_bring_back(&by, newcomers).await }).await?;
        Ok(ids)
    }

    async fn register_or_bring_back(&self, viewer: &Viewer, users: Vec<(UserId, Profile)>) -> Result<(), AppError> {
        let registered_before = self.register(viewer, users.clone()).await?;
        for (id, profile) in users.iter().filter(|(id, _)| registered_before.contains(id)) {
            self.command_user(viewer, id, |_| UserCommand::ComeBack(profile.clone())).await?;
        }
        Ok(())
    }

    /// Appends registrations within the plan's limit (U5). The views say who is a member and the
    /// stream's version how many, so a limit cannot be passed by registering at once. Returns who of them was registered before.
    pub(super) async fn register(&self, viewer: &Viewer, newcomers: Vec<(UserId, Profile)>) -> Result<HashSet<UserId>, AppError> {
        let _turn = self.0.registering.lock().await;
        let command = self.new_id();
        for _ in 0..ATTEMPTS {
            self.views_reach_head().await?;
            let members = self.0.store.members(newcomers.iter().map(|(id, _)| id.clone()).collect()).await?;
            let community = Community { members: members.count, registered: members.registered.into_iter().collect() };
            let events = community::decide(&community, newcomers.clone(), self.0.settings.user_limit)?;
            if self.append_or_conflict(viewer, command, Stream::Community, members.count, events).await? {
                return Ok(community.registered);
            }
        }
        Err(Fault::Contended.into())
    }

    /// A command on a user's stream: the viewer's own, but for an administrator.
    async fn command_user(&self, viewer: &Viewer, user: &UserId, command: impl Fn(&User) -> UserCommand) -> Result<(), AppError> {
        let id = self.new_id();
        for _ in 0..ATTEMPTS {
            self.views_reach_head().await?;
            let row = self.0.store.user(user).await?.ok_or(Refusal::UserNotFound)?;
            let events = user::decide(&row.user, user, command(&row.user))?;
            if self.append_or_conflict(viewer, id, Stream::User(user.clone()), row.version, events).await? {
                return Ok(());
            }
        }
        Err(Fault::Contended.into())
    }
}
