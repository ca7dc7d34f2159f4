//! What auditors do with the log: read it as lines, write lines back as a log.

pub mod lines;
