//! Who is a member (U2) and how many may be (U5). One stream holds every registration, so that its
//! version is the head count and the limit holds however many register at once.

use std::collections::HashSet;

use super::Refusal;
use super::ids::UserId;
use super::profile::Profile;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRegistered {
    pub user: UserId,
    pub profile: Profile,
}

/// The head count, and which of the newcomers of a command are members already.
#[derive(Clone, Debug, Default)]
pub struct Community {
    pub members: u64,
    pub registered: HashSet<UserId>,
}

impl Community {
    pub fn evolve(&mut self, event: &UserRegistered) {
        self.members += 1;
        self.registered.insert(event.user.clone());
    }
}

/// Registers newcomers, all or none. Members already, and repetitions, are passed over.
///
/// # Errors
/// [`Refusal::UserLimitReached`] when more than `limit` users would be registered.
pub fn decide(community: &Community, newcomers: Vec<(UserId, Profile)>, limit: u64) -> Result<Vec<UserRegistered>, Refusal> {
    let mut seen = HashSet::new();
    let events: Vec<UserRegistered> = newcomers
        .into_iter()
        .filter(|(user, _)| !community.registered.contains(user) && seen.insert(user.clone()))
        .map(|(user, profile)| UserRegistered { user, profile })
        .collect();
    if !events.is_empty() && community.members + events.len() as u64 > limit {
        return Err(Refusal::UserLimitReached);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::Name;

    fn newcomers(ids: &[&str]) -> Vec<(UserId, Profile)> {
        let profile = |id: &str| Profile { name: Name::from_stored(id), picture: None };
        ids.iter().map(|id| (UserId::from_stored(*id), profile(id))).collect()
    }

    fn community_of(ids: &[&str]) -> Community {
        let mut community = Community::default();
        for event in decide(&Community::default(), newcomers(ids), 5_000).expect("room for all") {
            community.evolve(&event);
        }
        community
    }

    #[test]
    fn u2_a_newcomer_is_registered_once() {
        let community = community_of(&["alice"]);
        assert_eq!(community.members, 1);
        assert_eq!(decide(&community, newcomers(&["alice"]), 5_000), Ok(vec![]));
        let events = decide(&community, newcomers(&["bob", "alice", "bob"]), 5_000).expect("room for all");
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn u5_the_limit_refuses_a_bulk_whole_and_never_those_registered() {
        let community = community_of(&["alice", "bob"]);
        assert_eq!(decide(&community, newcomers(&["carol", "dave"]), 3), Err(Refusal::UserLimitReached));
        assert_eq!(decide(&community, newcomers(&["carol", "alice"]), 3).map(|events| events.len()), Ok(1));
        assert_eq!(decide(&community, newcomers(&["alice", "bob"]), 1), Ok(vec![]));
    }
}
