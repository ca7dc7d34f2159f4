//! Why the product refuses a command: answers to a person, not faults.

use thiserror::Error;

use super::text::TextRefusal;

/// Each names its rule; the message is for the person who asked.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// T1 to T4.
    #[error(transparent)]
    Text(#[from] TextRefusal),
    /// S1, B1: the contact is the viewer.
    #[error("that is you")]
    Oneself,
    /// S1: nobody is registered under that id.
    #[error("there is no such user")]
    UserNotFound,
    /// S5: the id already names another message.
    #[error("this message id was already used for something else")]
    MessageIdReused,
    /// S3: the viewer blocks the contact.
    #[error("you have blocked this user: unblock them first")]
    ContactBlocked,
    /// S2, U6: the contact wants no messages from newcomers.
    #[error("this user does not wish to be contacted")]
    NotContactable,
    /// D5: no row in the viewer's list.
    #[error("there is no such conversation in your list")]
    ConversationNotFound,
    /// D4: deleted while the contact was blocked.
    #[error("this conversation was deleted while the user was blocked: open it again to unblock them")]
    ConversationDeleted,
    /// L3: no such message that the viewer may see.
    #[error("there is no such message in this conversation")]
    MessageNotFound,
    /// U5: the plan is full.
    #[error("the community has reached the limit of its plan: please contact support")]
    UserLimitReached,
    /// Something given is out of its range.
    #[error(transparent)]
    InvalidInput(#[from] InvalidInput),
}

/// What is out of its range; the message says what is right.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidInput {
    #[error("{}", super::ids::InvalidUserId::WHAT_IS_RIGHT)]
    UserId,
    #[error("{}", super::ids::InvalidMessageId::WHAT_IS_RIGHT)]
    MessageId,
    #[error("a name has 1 to 100 characters, one that can be seen, and none that controls how text is shown")]
    Name,
    /// Who was erased has no name.
    #[error("say first what you are called")]
    NameOfErased,
    #[error("a picture is an http or https URL of at most 2,048 bytes")]
    Picture,
    #[error("a title has 1 to 60 characters, one that can be seen, and none that controls how text is shown")]
    Title,
    #[error("a list template is 1, 2 or 3")]
    ListTemplate,
    #[error("a detail template is 1, 2 or 3")]
    DetailTemplate,
}
