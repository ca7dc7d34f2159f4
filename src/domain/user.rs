//! What a registered user says of themselves: profile (U3) and whether others may write first (U6). And that they
//! were erased: what is left is a neutral name.

use super::community::UserRegistered;
use super::ids::UserId;
use super::profile::Profile;
use super::{InvalidInput, Refusal};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    ContactableChanged {
        user: UserId,
        contactable: bool,
    },
    ProfileUpdated {
        user: UserId,
        profile: Profile,
    },
    /// What the user wrote and was called is gone.
    UserErased {
        user: UserId,
    },
}

impl UserEvent {
    /// Whose event it is.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::ContactableChanged { user, .. } | Self::ProfileUpdated { user, .. } | Self::UserErased { user } => user,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub profile: Profile,
    pub contactable: bool,
    /// Until they say who they are again.
    pub erased: bool,
}

impl User {
    /// Newcomers may be contacted until they say otherwise.
    #[must_use]
    pub fn registered(event: &UserRegistered) -> Self {
        Self { profile: event.profile.clone(), contactable: true, erased: false }
    }

    pub fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::ContactableChanged { contactable, .. } => self.contactable = *contactable,
            UserEvent::ProfileUpdated { profile, .. } => (self.profile, self.erased) = (profile.clone(), false),
            UserEvent::UserErased { .. } => *self = Self { profile: Profile::erased(), contactable: false, erased: true },
        }
    }
}

/// What a user asks for themselves.
#[derive(Clone, Debug)]
pub enum UserCommand {
    ToggleContactable(bool),
    UpdateProfile(Profile),
    /// Somebody is registered who may have been erased.
    ComeBack(Profile),
    /// `had_key`: whether there was anything of theirs since they were erased last.
    Erase {
        had_key: bool,
    },
}

/// Setting what is already set yields nothing. What a profile may hold is checked where it is parsed. Who was erased can
/// be contactable again once they have said who they are, which begins with a name.
///
/// # Errors
/// [`InvalidInput::NameOfErased`].
pub fn decide(user: &User, id: &UserId, command: UserCommand) -> Result<Vec<UserEvent>, Refusal> {
    let user_id = || id.clone();
    Ok(match command {
        UserCommand::ToggleContactable(contactable) if contactable != user.contactable && !user.erased => {
            vec![UserEvent::ContactableChanged { user: user_id(), contactable }]
        }
        UserCommand::UpdateProfile(profile) if user.erased && profile != user.profile && profile.name == user.profile.name => {
            return Err(InvalidInput::NameOfErased.into());
        }
        UserCommand::UpdateProfile(profile) if profile != user.profile => {
            vec![UserEvent::ProfileUpdated { user: user_id(), profile }]
        }
        UserCommand::ComeBack(profile) if user.erased => vec![UserEvent::ProfileUpdated { user: user_id(), profile }],
        UserCommand::Erase { had_key } if had_key || !user.erased => vec![UserEvent::UserErased { user: user_id() }],
        UserCommand::ToggleContactable(_) | UserCommand::UpdateProfile(_) | UserCommand::ComeBack(_) | UserCommand::Erase { .. } => vec![],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::{Name, Picture};

    fn alice() -> (UserId, User) {
        let user = UserId::from_stored("alice");
        let profile = Profile { name: Name::from_stored("Alice"), picture: None };
        (user.clone(), User::registered(&UserRegistered { user, profile }))
    }

    fn apply(user: &mut User, id: &UserId, command: UserCommand) -> usize {
        let events = decide(user, id, command).expect("it is not refused");
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
    fn who_was_erased_is_erased_once_and_may_say_who_they_are_again() {
        let (id, mut user) = alice();
        assert_eq!(apply(&mut user, &id, UserCommand::Erase { had_key: true }), 1);
        assert_eq!(user, User { profile: Profile::erased(), contactable: false, erased: true });
        assert_eq!(apply(&mut user, &id, UserCommand::Erase { had_key: false }), 0);
        assert_eq!(apply(&mut user, &id, UserCommand::Erase { had_key: true }), 1, "they wrote since");
        assert_eq!(apply(&mut user, &id, UserCommand::ToggleContactable(true)), 0, "nobody knows who they are");
        let nameless = Profile { picture: Some(Picture::from_stored("https://exemple.fr/a.png")), ..user.profile.clone() };
        assert_eq!(decide(&user, &id, UserCommand::UpdateProfile(nameless)), Err(InvalidInput::NameOfErased.into()), "nor what they are called");
        let profile = Profile { name: Name::from_stored("Alix"), picture: None };
        assert_eq!(apply(&mut user, &id, UserCommand::UpdateProfile(profile)), 1);
        assert!(!user.erased && !user.contactable);
        assert_eq!(apply(&mut user, &id, UserCommand::ToggleContactable(true)), 1);
    }

    #[test]
    fn whoever_is_registered_again_comes_back_from_an_erasure_alone() {
        let (id, mut user) = alice();
        let profile = || Profile { name: Name::from_stored("Alix"), picture: None };
        assert_eq!(apply(&mut user, &id, UserCommand::ComeBack(profile())), 0);
        assert_eq!(apply(&mut user, &id, UserCommand::Erase { had_key: true }), 1);
        assert_eq!(apply(&mut user, &id, UserCommand::ComeBack(profile())), 1);
        assert_eq!(user, User { profile: profile(), contactable: false, erased: false });
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
