//! Every test that needs more than one module: real files, real sockets, the real binary.

mod api;
mod architecture;
mod auditors;
mod bad_input;
mod clients;
mod command_line;
mod commands;
mod copy;
mod crash;
mod edge;
mod event_log;
mod event_log_file;
mod golden;
mod kurrentdb;
mod laws;
mod model;
mod nodes;
mod postgres_log;
mod read_store;
mod read_store_contract;
mod readme;
mod resume;
mod sockets;
mod support;
mod telemetry;
mod tokens;
