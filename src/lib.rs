//! Entrenous: one-to-one text chat, added to an application beside its own authentication and
//! community. Every change is a command that appends events; every screen is a projection of them.
//!
//! The modules are in the order of their dependencies: each imports only from those above it.

pub mod domain;
pub mod projections;
pub mod storage;
mod sqlite;
mod postgres;
mod metrics;
pub mod event_log;
pub mod read_store;
pub mod app;
pub mod audit;
pub mod graphql;
pub mod http;
pub mod load;
pub mod cli;
