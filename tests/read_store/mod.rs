//! Read stores: what each of them must do, and what the service makes of one.

mod answers;
mod connections;
mod generations;
mod lease;
mod service;
mod writes;

use entrenous::domain::event::{Position, Timestamp};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::profile::{Name, Profile};
use entrenous::domain::text::MessageText;
use entrenous::domain::user::User;
use entrenous::projections::messages::MessageRow;
use entrenous::projections::users::UserRow;
use entrenous::read_store::{Checkpoint, Lease, OpenError, ReadStore};
use uuid::Uuid;

use crate::support::inside::{Back, Place};
use crate::support::waiting::found;

const LOG: Uuid = Uuid::from_u128(0x1091);
const BOTH: [Back; 2] = [Back::Sqlite, Back::Postgres];

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

fn person(id: &str, member: u64) -> UserRow {
    let name = Name::from_claim(Some(id), &user(id));
    let user_of = User { profile: Profile { name, picture: None }, contactable: true, erased: false };
    UserRow {
        id: user(id),
        user: user_of,
        member,
        version: 0,
        sort_key: id.as_bytes().to_vec(),
        search_name: id.to_owned(),
        changed: Position(member),
        erased_at: Position(0),
    }
}

fn message(number: u64) -> MessageRow {
    MessageRow {
        conversation: ConversationId(Uuid::from_u128(5)),
        number,
        sender_number: number,
        id: MessageId(Uuid::from_u128(u128::from(number))),
        sender: user("ann"),
        text: MessageText::from_stored("salut"),
        sent_at: Timestamp(7),
        position: Position(number),
    }
}

fn at(position: u64) -> Checkpoint {
    Checkpoint { position: Position(position), event: Uuid::from_u128(u128::from(position)) }
}

/// Opens a store, where it lets itself be opened; a file is let go of a moment after it was closed.
async fn try_open(place: &Place, log: Uuid) -> Result<ReadStore, OpenError> {
    let unless_in_use = async || match ReadStore::open(&place.views(0), log).await {
        Err(OpenError::InUse { .. }) => None,
        outcome => Some(outcome),
    };
    found("nobody else has the store open", unless_in_use).await
}

async fn open(place: &Place, log: Uuid) -> ReadStore {
    try_open(place, log).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn lead(store: &ReadStore, node: Uuid) -> Lease {
    found("the lease can be had", async || store.try_lead(node).await.expect("answered")).await
}
