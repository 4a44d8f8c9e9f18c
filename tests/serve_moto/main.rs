//! `understudy serve`, the program itself, against an EC2 API and an SSH server that nobody here wrote.
//!
//! ```text
//! test ──HTTP──► understudy serve ──EC2──► moto ◄── the fleet: powers machines as their instances are
//!                      │
//!                      ├──HTTP, obs-websocket──► simulated machines ──► ingest, the witness
//!                      └──SSH──────────────────► OpenSSH, one server per machine
//! ```
//!
//! Each test has a block of addresses of its own in 127.44.0.0/16, which moto gives to its instances and on which
//! their machines listen. In each there are instances that are not the pool's, and none of them is touched.

#![cfg(feature = "ec2")]

#[cfg(feature = "s3")]
mod archive;
mod block;
mod coordinator;
mod fleet;
mod losses;
mod pool;
mod power;
mod scene;
mod shell;
mod shows;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

/// Limit on anything that is waited for: minutes on a machine that compiles meanwhile, seconds on any other.
const LIMIT: Duration = Duration::from_secs(90);
