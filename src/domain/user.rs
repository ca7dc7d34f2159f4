//! What a registered user says of themselves: profile (U3) and whether others may write first (U6).

use super::community::UserRegistered;
use super::ids::UserId;
use super::profile::Profile;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    ContactableChanged { user: UserId, contactable: bool },
    ProfileUpdated { user: UserId, profile: Profile },
}

impl UserEvent {
    /// Whose event it is.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::ContactableChanged { user, .. } | Self::ProfileUpdated { user, .. } => user,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub profile: Profile,
    pub contactable: bool,
}

impl User {
    /// Newcomers may be contacted until they say otherwise.
    #[must_use]
    pub fn registered(event: &UserRegistered) -> Self {
        Self { profile: event.profile.clone(), contactable: true }
    }

    pub fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::ContactableChanged { contactable, .. } => self.contactable = *contactable,
            UserEvent::ProfileUpdated { profile, .. } => self.profile = profile.clone(),
        }
    }
}

/// What a user asks for themselves.
#[derive(Clone, Debug)]
pub enum UserCommand {
    ToggleContactable(bool),
    UpdateProfile(Profile),
}

/// Setting what is already set yields nothing. Nothing is refused: what a profile may hold is checked
/// where it is parsed.
#[must_use]
pub fn decide(user: &User, id: &UserId, command: UserCommand) -> Vec<UserEvent> {
    let user_id = || id.clone();
    match command {
        UserCommand::ToggleContactable(contactable) if contactable != user.contactable => {
            vec![UserEvent::ContactableChanged { user: user_id(), contactable }]
        }
        UserCommand::UpdateProfile(profile) if profile != user.profile => {
            vec![UserEvent::ProfileUpdated { user: user_id(), profile }]
        }
        UserCommand::ToggleContactable(_) | UserCommand::UpdateProfile(_) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::Name;

    fn alice() -> (UserId, User) {
        let user = UserId::from_stored("alice");
        let profile = Profile { name: Name::from_stored("Alice"), picture: None };
        (user.clone(), User::registered(&UserRegistered { user, profile }))
    }

    fn apply(user: &mut User, id: &UserId, command: UserCommand) -> usize {
        let events = decide(user, id, command);
        for event in &events {
            user.evolve(event);
        }
        events.len()
    }

    #[test]
    fn u6_the_switch_turns_and_turns_back_and_repeats_nothing() {
        let (id, mut user) = alice();
        assert!(user.contactable, "contactable until said otherwise");
        assert_eq!(apply(&mut user, &id, UserCommand::ToggleContactable(true)), 0);
        assert_eq!(apply(&mut user, &id, UserCommand::ToggleContactable(false)), 1);
        assert!(!user.contactable);
        assert_eq!(apply(&mut user, &id, UserCommand::ToggleContactable(false)), 0);
        assert_eq!(apply(&mut user, &id, UserCommand::ToggleContactable(true)), 1);
        assert!(user.contactable);
    }

    #[test]
    fn u3_a_profile_changes_once() {
        let (id, mut user) = alice();
        let profile = Profile { name: Name::from_stored("Alix"), picture: None };
        assert_eq!(apply(&mut user, &id, UserCommand::UpdateProfile(profile.clone())), 1);
        assert_eq!(user.profile, profile);
        assert_eq!(apply(&mut user, &id, UserCommand::UpdateProfile(profile)), 0);
    }
}
