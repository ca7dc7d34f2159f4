//! What auditors do with the log: read it as lines, write lines back as a log, ask what somebody saw, and find out
//! whether it is what it was, and the views what it says.

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
