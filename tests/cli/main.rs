//! The real binary as people and scripts use it: against a server that says what the contract says, or
//! misbehaves to order, and against a real coordinator with simulated machines.

#[path = "../support/mod.rs"]
mod support;

mod board;
mod commands;
mod configuration;
mod demo;
mod doctor;
#[cfg(all(feature = "s3", feature = "secrets-manager"))]
mod doctor_aws;
mod files;
mod live;
#[cfg(feature = "otlp")]
mod otlp;
mod pool;
mod program;
mod real;
mod refusals;
mod rehearse;
mod rehearse_live;
mod secrets;
mod server;
mod show_configure;
mod traced;
mod words;
mod work;
