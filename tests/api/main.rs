//! The gateway on real sockets: the real tree, simulated machines, the official Socket.IO client.

mod addresses;
mod alerts;
#[cfg(feature = "s3")]
mod archive;
mod assignment;
mod auth;
mod bounds;
mod configured;
mod documents;
mod errors;
mod executions;
mod files;
mod operations;
mod pool;
mod rehearsals;
mod served;
mod show_config;
mod shows;
mod socket;
mod socket_bounds;
mod socket_views;
mod status;
mod studio;
#[path = "../support/mod.rs"]
mod support;
