//! What auditors do with the log: read it as lines, write lines back as a log, ask what somebody saw, and find out
//! whether it is what it was, and the views what it says.
//!
//! | what | file |
//! | --- | --- |
//! | whether the log is what it was | [`verify`], by [`checkpoint`] and [`proof`], which [`statement`] makes |
//! | whether this version can read it | [`readable`] |
//! | the log as lines, out and in | [`lines`] |
//! | what somebody saw at a moment | [`replay`] |
//! | whether the views are what the log says | [`views`]; made anew [`rebuild`]; what stands still [`parked`] |

pub mod checkpoint;
pub mod lines;
pub mod parked;
pub mod proof;
pub mod readable;
pub mod rebuild;
pub mod replay;
pub mod statement;
pub mod verify;
pub mod views;
