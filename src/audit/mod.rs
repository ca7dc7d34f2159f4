//! What auditors do with the log: read it as lines, write lines back as a log, ask what somebody saw.

pub mod lines;
pub mod replay;
