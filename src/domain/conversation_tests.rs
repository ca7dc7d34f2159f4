//! Given what happened, when a user asks, then this is decided: each test names its rule.

use uuid::Uuid;

use super::*;

/// Alice, Bob and what they did so far.
#[derive(Default)]
struct Between {
    alice: Side,
    bob: Side,
    messages: u64,
}

#[derive(Clone, Copy)]
enum Who {
    Alice,
    Bob,
}
use Who::{Alice, Bob};

const SWITCHED_OFF: bool = false;
const SWITCHED_ON: bool = true;

impl Between {
    fn id(who: Who) -> UserId {
        UserId::from_stored(match who {
            Alice => "alice",
            Bob => "bob",
        })
    }

    fn side(&self, who: Who) -> &Side {
        match who {
            Alice => &self.alice,
            Bob => &self.bob,
        }
    }

    fn when(&mut self, who: Who, command: ConversationCommand) -> Result<Vec<ConversationEvent>, Refusal> {
        let contact = match who {
            Alice => Bob,
            Bob => Alice,
        };
        let events = decide(self.side(who), &Self::id(who), &Self::id(contact), command)?;
        for event in &events {
            self.alice.evolve(&Self::id(Alice), event);
            self.bob.evolve(&Self::id(Bob), event);
        }
        Ok(events)
    }

    fn given(mut self, who: Who, command: ConversationCommand) -> Self {
        let events = self.when(who, command).expect("given");
        assert!(!events.is_empty(), "given, so something happens");
        self
    }

    fn given_messages(mut self, who: Who, count: u64) -> Self {
        for _ in 0..count {
            self.messages += 1;
            self = self.given(who, send(SWITCHED_ON));
        }
        self
    }
}

fn send(contactable: bool) -> ConversationCommand {
    ConversationCommand::Send { id: MessageId(Uuid::nil()), text: MessageText::from_stored("salut"), contactable }
}

fn open(contactable: bool) -> ConversationCommand {
    ConversationCommand::Open { contactable }
}

fn read_all() -> ConversationCommand {
    ConversationCommand::MarkAsRead { up_to: UpTo::LatestVisible }
}

fn read_to(number: u64, received: u64) -> ConversationCommand {
    ConversationCommand::MarkAsRead { up_to: UpTo::Message(Place { number, received }) }
}

use ConversationCommand::{Block, Delete, Unblock};

#[test]
fn s2_the_first_message_needs_a_contactable_recipient() {
    let mut pair = Between::default();
    assert_eq!(pair.when(Alice, send(SWITCHED_OFF)), Err(Refusal::NotContactable));
    assert!(pair.when(Alice, send(SWITCHED_ON)).is_ok());
    assert!(pair.when(Alice, send(SWITCHED_OFF)).is_ok(), "it stands in the sender's list now");
    assert!(pair.when(Bob, send(SWITCHED_OFF)).is_ok(), "and in the recipient's");
}

#[test]
fn s2_who_deleted_the_conversation_is_a_newcomer_again() {
    let mut pair = Between::default().given_messages(Alice, 1).given(Alice, Delete);
    assert_eq!(pair.when(Alice, send(SWITCHED_OFF)), Err(Refusal::NotContactable));
    assert!(pair.when(Alice, send(SWITCHED_ON)).is_ok());
}

#[test]
fn s3_who_blocked_must_unblock_before_writing() {
    let mut pair = Between::default().given_messages(Alice, 1).given(Alice, Block);
    assert_eq!(pair.when(Alice, send(SWITCHED_ON)), Err(Refusal::ContactBlocked));
    assert_eq!(pair.when(Alice, send(SWITCHED_OFF)), Err(Refusal::ContactBlocked), "S8: before the switch");
}

#[test]
fn s4_the_blocked_sender_has_the_same_side_as_without_the_block() {
    let free = Between::default().given_messages(Bob, 3).given_messages(Alice, 2);
    let blocked = Between::default().given_messages(Bob, 3).given(Bob, Block).given_messages(Alice, 2);
    assert_eq!(free.alice, blocked.alice);
    assert_eq!(blocked.bob.withheld(), 2);
    assert_eq!((blocked.bob.unread(), blocked.bob.last_visible()), (0, 3));
}

#[test]
fn s6_messages_are_numbered_as_they_come_whoever_writes() {
    let mut pair = Between::default().given_messages(Alice, 2).given(Bob, Block).given_messages(Alice, 1).given(Bob, Unblock);
    let events = pair.when(Bob, send(SWITCHED_ON)).expect("sent");
    let [ConversationEvent::MessageSent(message)] = events.as_slice() else { panic!("one message") };
    assert_eq!((message.number, message.sender_number), (4, 1));
}

#[test]
fn s7_a_message_brings_the_conversation_into_both_lists_again() {
    let pair = Between::default().given_messages(Alice, 1).given(Alice, Delete).given(Bob, Delete);
    assert!(!pair.alice.is_listed() && !pair.bob.is_listed());
    let pair = pair.given_messages(Alice, 1);
    assert!(pair.alice.is_listed() && pair.bob.is_listed());
    assert_eq!((pair.bob.last_visible(), pair.bob.unread()), (2, 1), "D3: all the history, and a badge for what is new");
}

#[test]
fn l3_the_badge_counts_the_contact_s_unread_messages() {
    let mut pair = Between::default().given_messages(Bob, 3).given_messages(Alice, 1);
    assert_eq!(pair.alice.unread(), 3, "sending does not mark as read");
    assert!(pair.when(Alice, read_to(2, 2)).is_ok());
    assert_eq!(pair.alice.unread(), 1);
    assert_eq!(pair.when(Alice, read_to(1, 1)), Ok(vec![]), "never backwards");
    assert!(pair.when(Alice, read_all()).is_ok());
    assert_eq!((pair.alice.unread(), pair.bob.unread()), (0, 1));
    assert_eq!(pair.when(Alice, read_all()), Ok(vec![]));
}

#[test]
fn l3_marking_as_read_needs_a_visible_message_and_a_row() {
    let mut pair = Between::default();
    assert_eq!(pair.when(Bob, read_all()), Err(Refusal::ConversationNotFound));
    let mut pair = Between::default().given_messages(Alice, 1).given(Bob, Block).given_messages(Alice, 1);
    assert_eq!(pair.when(Bob, read_to(2, 2)), Err(Refusal::MessageNotFound), "it is withheld");
    assert_eq!(pair.when(Bob, ConversationCommand::MarkAsRead { up_to: UpTo::Nothing }), Err(Refusal::MessageNotFound));
    assert_eq!(pair.when(Bob, read_all()).map(|events| events.len()), Ok(1), "B2: what is visible");
    assert_eq!((pair.bob.read, pair.bob.withheld()), (1, 1));
}

#[test]
fn b1_a_block_withholds_and_adds_no_row() {
    let pair = Between::default().given(Bob, Block).given_messages(Alice, 2);
    assert_eq!((pair.bob.withheld(), pair.bob.last_visible(), pair.bob.is_listed()), (2, 0, false));
    assert!(pair.alice.is_listed());
}

#[test]
fn b2_the_blocker_keeps_what_was_visible() {
    let pair = Between::default().given_messages(Alice, 2).given(Bob, Block).given_messages(Alice, 3);
    assert_eq!((pair.bob.last_visible(), pair.bob.unread(), pair.bob.is_listed()), (2, 2, true));
}

#[test]
fn b3_unblocking_reveals_what_was_withheld() {
    let read = Between::default().given_messages(Alice, 2).given(Bob, read_all());
    let pair = read.given(Bob, Block).given_messages(Alice, 3).given(Bob, Unblock);
    assert_eq!((pair.bob.last_visible(), pair.bob.unread()), (5, 3));
}

#[test]
fn b3_an_absent_row_comes_only_if_something_surfaces() {
    let surfaced = Between::default().given(Bob, Block).given_messages(Alice, 1).given(Bob, Unblock);
    assert!(surfaced.bob.is_listed());
    let nothing = Between::default().given(Bob, Block).given(Bob, Unblock);
    assert!(!nothing.bob.is_listed());
    let deleted = Between::default().given_messages(Alice, 1).given(Bob, Delete).given(Bob, Block);
    assert!(!deleted.given(Bob, Unblock).bob.is_listed());
    let deleted = Between::default().given_messages(Alice, 1).given(Bob, Delete).given(Bob, Block).given_messages(Alice, 1);
    let back = deleted.given(Bob, Unblock);
    assert_eq!((back.bob.is_listed(), back.bob.last_visible(), back.bob.unread()), (true, 2, 1));
}

#[test]
fn b4_blocking_again_withholds_only_what_comes_after() {
    let once = Between::default().given(Bob, Block).given_messages(Alice, 2).given(Bob, Unblock);
    let twice = once.given(Bob, Block).given_messages(Alice, 1);
    assert_eq!((twice.bob.last_visible(), twice.bob.withheld()), (2, 1));
}

#[test]
fn b5_blocks_are_each_side_s_own_and_repeat_nothing() {
    let mut pair = Between::default().given(Alice, Block).given(Bob, Block);
    assert_eq!(pair.when(Alice, Block), Ok(vec![]));
    assert!(pair.when(Alice, Unblock).is_ok_and(|events| events.len() == 1));
    assert_eq!(pair.when(Alice, Unblock), Ok(vec![]));
    assert!(!pair.alice.is_blocking() && pair.bob.is_blocking());
}

#[test]
fn b6_what_the_contact_does_for_themselves_changes_nothing() {
    let pair = Between::default().given_messages(Alice, 2).given_messages(Bob, 1);
    let before = pair.alice;
    let after = pair.given(Bob, read_all()).given(Bob, Block).given(Bob, Delete).given(Bob, open(SWITCHED_OFF)).given(Bob, Unblock);
    assert_eq!(before, after.alice);
}

#[test]
fn u7_can_message_knows_the_own_block_the_switch_and_the_row() {
    let stranger = Side::default();
    assert!(stranger.can_message(SWITCHED_ON) && !stranger.can_message(SWITCHED_OFF));
    let pair = Between::default().given_messages(Alice, 1);
    assert!(pair.alice.can_message(SWITCHED_OFF));
    let pair = pair.given(Alice, Block);
    assert!(!pair.alice.can_message(SWITCHED_ON));
    assert!(pair.bob.can_message(SWITCHED_OFF), "a block by the contact never changes it");
}

#[test]
fn d1_deleting_counts_the_visible_as_read_and_the_withheld_not() {
    let pair = Between::default().given_messages(Alice, 2).given(Bob, Block).given_messages(Alice, 3).given(Bob, Delete);
    assert_eq!((pair.bob.is_listed(), pair.bob.unread(), pair.bob.withheld()), (false, 0, 3));
    let back = pair.given(Bob, open(SWITCHED_OFF)).given(Bob, Unblock);
    assert_eq!(back.bob.unread(), 3);
    assert!(back.alice.is_listed(), "untouched for the contact");
}

#[test]
fn d2_opening_brings_the_whole_history_back_without_a_badge() {
    let pair = Between::default().given_messages(Alice, 2).given(Bob, Delete).given(Bob, open(SWITCHED_ON));
    assert_eq!((pair.bob.is_listed(), pair.bob.last_visible(), pair.bob.unread()), (true, 2, 0));
}

#[test]
fn d2_opening_needs_can_message_or_a_row() {
    let mut strangers = Between::default();
    assert_eq!(strangers.when(Bob, open(SWITCHED_OFF)), Err(Refusal::NotContactable));
    assert_eq!(strangers.when(Bob, open(SWITCHED_ON)), Ok(vec![]), "no history: an empty conversation");
    let mut standing = Between::default().given_messages(Alice, 1).given(Bob, Block);
    assert_eq!(standing.when(Bob, open(SWITCHED_OFF)), Ok(vec![]), "it stands already, though blocked");
    let mut deleted = Between::default().given_messages(Alice, 1).given(Bob, Delete);
    assert_eq!(deleted.when(Bob, open(SWITCHED_OFF)), Err(Refusal::NotContactable));
    let mut blocked_later = deleted.given(Bob, Block);
    assert_eq!(blocked_later.when(Bob, open(SWITCHED_ON)), Err(Refusal::ContactBlocked));
}

#[test]
fn d4_deleted_while_blocked_there_is_no_row_to_unblock_from() {
    let mut pair = Between::default().given_messages(Alice, 1).given(Bob, Block).given(Bob, Delete).given_messages(Alice, 1);
    assert!(!pair.bob.is_listed(), "what is withheld does not bring it back");
    assert_eq!(pair.when(Bob, Unblock), Err(Refusal::ConversationDeleted));
    assert_eq!(pair.when(Bob, Block), Ok(vec![]));
    let reopened = pair.given(Bob, open(SWITCHED_OFF));
    assert!(reopened.bob.is_listed() && reopened.bob.is_blocking(), "the greyed row");
    let mut unblocked = reopened.given(Bob, Unblock);
    assert_eq!((unblocked.bob.last_visible(), unblocked.bob.unread()), (2, 1));
    assert_eq!(unblocked.when(Bob, Unblock), Ok(vec![]));
}

#[test]
fn d5_deleting_what_is_not_there_is_refused() {
    let mut pair = Between::default();
    assert_eq!(pair.when(Alice, Delete), Err(Refusal::ConversationNotFound));
    let mut pair = Between::default().given_messages(Alice, 1).given(Alice, Delete);
    assert_eq!(pair.when(Alice, Delete), Err(Refusal::ConversationNotFound));
    let mut unseen = Between::default().given(Bob, Block).given_messages(Alice, 1);
    assert_eq!(unseen.when(Bob, Delete), Err(Refusal::ConversationNotFound));
}
