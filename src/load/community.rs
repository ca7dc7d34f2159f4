//! A plausible community: people with names, conversations of unequal length, some read, some blocked, some deleted.
//! The same seed makes the same one, but for ids of events and times.

use futures_util::future::try_join_all;
use uuid::Uuid;

use crate::domain::community::UserRegistered;
use crate::domain::conversation::{ConversationEvent, MessageSent};
use crate::domain::event::{Event, Metadata, Stream};
use crate::domain::ids::{ConversationId, MessageId, UserId};
use crate::domain::profile::{Name, Profile};
use crate::domain::text::MessageText;
use crate::event_log::{Append, AppendError, EventLog};

const FIRST: [&str; 24] = [
    "Amina", "Bastien", "Chloé", "Diego", "Élodie", "Farid", "Greta", "Hugo", "Inès", "Jonas", "Katja", "Léo", "Maëlle", "Nadia", "Oscar", "Paula", "Quentin",
    "Rosa", "Sacha", "Théo", "Uma", "Violette", "Wassim", "Yasmine",
];
const LAST: [&str; 20] = [
    "Arnaud",
    "Benali",
    "Carvalho",
    "Dubois",
    "Ekström",
    "Fontaine",
    "Garcia",
    "Hoffmann",
    "Ivanova",
    "Jacquet",
    "Kowalska",
    "Lambert",
    "Moreau",
    "Nguyen",
    "Okafor",
    "Petit",
    "Rossi",
    "Schneider",
    "Tanaka",
    "Vidal",
];
const BEGIN: [&str; 10] = ["Bonjour, ", "Hello, ", "Dis, ", "By the way, ", "Merci ! ", "Of course: ", "Au fait, ", "No hurry, but ", "", "Salut ! "];
const MIDDLE: [&str; 10] = [
    "je passe demain vers six heures",
    "the key is under the blue pot",
    "as-tu retrouvé le carnet",
    "we are eight for dinner",
    "le train de midi est supprimé",
    "I left the book with your neighbour",
    "la répétition est déplacée à jeudi",
    "the garden needs water",
    "on garde la même salle",
    "your parcel is here",
];
const END: [&str; 6] = [".", ", si ça te va.", ", what do you think?", " :-)", ", et toi ?", "."];

/// Events of one append.
const TOGETHER: u64 = 200;
/// Appends that wait for the log at once.
const AT_ONCE: usize = 256;
/// One conversation in so many has ten times the messages of the others.
const LONG: u64 = 20;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Two at least.
    pub users: u64,
    pub conversations: u64,
    /// Over all conversations, about.
    pub messages: u64,
}

impl Size {
    /// The most conversations that so many users can have.
    #[must_use]
    pub fn most_conversations(users: u64) -> u64 {
        users.saturating_mul(users.saturating_sub(1)) / 2
    }
}

/// The id of one of its users, and of those that a load signs in.
#[must_use]
pub fn user(n: u64) -> String {
    format!("user{n}")
}

/// A name for them.
#[must_use]
pub fn name(n: u64) -> String {
    let (first, last) = (n % FIRST.len() as u64, n / FIRST.len() as u64);
    let surname = LAST[usize::try_from(last % LAST.len() as u64).unwrap_or(0)];
    let again = last / LAST.len() as u64;
    let first = FIRST[usize::try_from(first).unwrap_or(0)];
    if again == 0 { format!("{first} {surname}") } else { format!("{first} {surname} {}", again + 1) }
}

/// Writes it to an empty log. `told` hears how many conversations are written.
///
/// # Errors
/// When the log cannot be written, or is not empty.
pub async fn seed(log: &EventLog, size: Size, seed: u64, new_id: fn() -> Uuid, told: impl Fn(u64)) -> Result<(), AppendError> {
    let metadata = Metadata { actor: None, correlation: new_id(), causation: new_id() };
    let registered = |n| {
        let profile = Profile { name: Name::from_stored(name(n)), picture: None };
        (new_id(), Event::from(UserRegistered { user: UserId::from_stored(user(n)), profile }))
    };
    let mut version = 0;
    while version < size.users {
        let events: Vec<_> = (version..size.users.min(version + TOGETHER)).map(registered).collect();
        let count = events.len() as u64;
        log.append(Append { stream: Stream::Community, expected: version, metadata: metadata.clone(), events }).await?;
        version += count;
    }
    let pairs: Vec<(u64, u64)> = (0..size.conversations).map(|n| pair(n, size.users)).collect();
    for (some, pairs) in pairs.chunks(AT_ONCE).enumerate() {
        let first = (some * AT_ONCE) as u64;
        let conversations =
            pairs.iter().zip(first..).map(|((a, b), n)| converse(log, size, Chance(seed ^ n.wrapping_mul(0x9E37_79B9)), n, (*a, *b), &metadata, new_id));
        try_join_all(conversations).await?;
        told(first + pairs.len() as u64);
    }
    Ok(())
}

/// Another pair for each number below the most: who stand near each other in a circle first.
fn pair(n: u64, users: u64) -> (u64, u64) {
    let (user, step) = (n % users, n / users + 1);
    let other = (user + step) % users;
    if user < other { (user, other) } else { (other, user) }
}

async fn converse(
    log: &EventLog,
    size: Size,
    mut chance: Chance,
    n: u64,
    (a, b): (u64, u64),
    metadata: &Metadata,
    new_id: fn() -> Uuid,
) -> Result<(), AppendError> {
    let users = [UserId::from_stored(user(a)), UserId::from_stored(user(b))];
    let stream = Stream::Conversation(ConversationId::between(&users[0], &users[1]));
    let mut sent = [0; 2];
    let mut events: Vec<(Uuid, Event)> = Vec::new();
    let mut expected = 0;
    let length = length_of(n, size);
    for number in 1..=length {
        let from = usize::from(chance.one_in(2));
        sent[from] += 1;
        let (id, [sender, recipient]) = (new_id(), [users[from].clone(), users[1 - from].clone()]);
        let message = MessageSent { id: MessageId(id), sender, recipient, text: text(&mut chance), number, sender_number: sent[from] };
        events.push((id, ConversationEvent::MessageSent(message).into()));
        if chance.one_in(4) {
            let read = ConversationEvent::MessagesRead { reader: users[1 - from].clone(), contact: users[from].clone(), received: sent[from] };
            events.push((new_id(), read.into()));
        }
        if events.len() as u64 >= TOGETHER {
            let part = std::mem::take(&mut events);
            let count = part.len() as u64;
            log.append(Append { stream: stream.clone(), expected, metadata: metadata.clone(), events: part }).await?;
            expected += count;
        }
    }
    let [owner, contact] = users;
    if chance.one_in(50) {
        events.push((new_id(), ConversationEvent::UserBlocked { blocker: contact.clone(), blocked: owner.clone() }.into()));
    }
    if length > 0 && chance.one_in(30) {
        events.push((new_id(), ConversationEvent::ConversationDeleted { owner, contact }.into()));
    }
    if !events.is_empty() {
        log.append(Append { stream, expected, metadata: metadata.clone(), events }).await?;
    }
    Ok(())
}

/// One conversation in [`LONG`] is ten times as long as the others, and all together are about as many as wanted.
fn length_of(n: u64, Size { conversations, messages, .. }: Size) -> u64 {
    let long = conversations.div_ceil(LONG);
    let unit = messages / (conversations - long + 10 * long).max(1);
    let whole = if n.is_multiple_of(LONG) { 10 * unit } else { unit };
    // What is left over goes to the first, one each.
    let left = messages.saturating_sub(unit * (conversations - long + 10 * long));
    whole + left / conversations.max(1) + u64::from(n < left % conversations.max(1))
}

fn text(chance: &mut Chance) -> MessageText {
    let (begin, middle, end) = (chance.pick(&BEGIN), chance.pick(&MIDDLE), chance.pick(&END));
    MessageText::from_stored(format!("{begin}{middle}{end}"))
}

/// Numbers that look like chance, and are the same for a seed (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.next() % all.len() as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_pair_is_another_and_messages_are_as_many_as_wanted() {
        for users in [2, 3, 7, 10] {
            let most = Size::most_conversations(users);
            let pairs: HashSet<_> = (0..most).map(|n| pair(n, users)).collect();
            assert_eq!(pairs.len() as u64, most, "{users} users");
        }
        for (conversations, messages) in [(1, 1), (7, 100), (100, 12_345), (50, 0)] {
            let size = Size { users: 100, conversations, messages };
            assert_eq!((0..conversations).map(|n| length_of(n, size)).sum::<u64>(), messages, "{size:?}");
        }
    }

    #[test]
    fn names_are_of_people_and_texts_are_messages() {
        assert_eq!((name(0), name(24), name(480)), ("Amina Arnaud".into(), "Amina Benali".into(), "Amina Arnaud 2".into()));
        let mut chance = Chance(1);
        for _ in 0..1_000 {
            let text = text(&mut chance);
            assert_eq!(MessageText::parse(text.as_str()).map(|parsed| parsed.as_str().to_owned()), Ok(text.as_str().to_owned()));
        }
        for n in 0..2_000 {
            assert!(Name::parse(&name(n)).is_ok());
        }
    }
}
