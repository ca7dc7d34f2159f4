//! What may happen: the product's rules as pure decisions over past events.
//!
//! A domain file reads top-down: events, state, `evolve`, refusals, `decide`, tests. `decide` never
//! changes state and answers `Ok` with no events when things already are as asked; `evolve` never
//! refuses. Nothing here reads a clock, a socket or a file: time, ids and chance are arguments.
//!
//! | rules | file |
//! | --- | --- |
//! | U1, S5 identifiers | [`ids`] |
//! | U2, U5 registration and the plan's limit | [`community`] |
//! | U3 names and pictures | [`profile`] |
//! | U4 how names sort and are found | [`collation`] |
//! | U6 the switch, profile changes | [`user`] |
//! | T1 to T4 message text | [`text`] |
//! | S, L3, B, D and U7 everything between two users | [`conversation`] |
//! | C1 to C3 the back office's section | [`section`] |
//! | stream names and the union of all events | [`event`] |

pub mod collation;
pub mod community;
pub mod conversation;
pub mod event;
pub mod ids;
mod line;
pub mod profile;
mod refusal;
pub mod section;
pub mod text;
pub mod user;

pub use refusal::{InvalidInput, Refusal};
