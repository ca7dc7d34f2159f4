//! Every test that needs more than one module: real files, real sockets, the real binary.

mod api;
mod architecture;
mod bad_input;
mod clients;
mod command_line;
mod commands;
mod crash;
mod edge;
mod event_log;
mod golden;
mod laws;
mod model;
mod read_store;
mod readme;
mod resume;
mod sockets;
mod support;
mod telemetry;
mod tokens;
