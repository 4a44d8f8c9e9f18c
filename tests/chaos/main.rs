//! The real program under real trouble: killed, stopped, starved, and on a network that is slow or lies.
//!
//! ```text
//! callers ──HTTP──► understudy serve ──HTTP, obs-websocket, SSH──► simulated machines ──► ingest, the witness
//!    │                    │
//!    └── the book         └── journal
//! ```
//!
//! The far side is the simulated world over the wire, in this process; the near side is the program as an operator
//! starts it. What callers were acknowledged stands in their book, and is compared with what the program says after
//! whatever was done to it. `make chaos` runs the same for longer and writes a report (`report`).

mod book;
mod clock;
mod disk;
mod killed;
mod process;
mod proxied;
mod report;
mod scene;
mod starved;
mod stopped;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

/// Limit on anything that is waited for: minutes on a machine that compiles meanwhile, seconds on any other.
const LIMIT: Duration = Duration::from_secs(90);
