//! The proof on software that nobody here wrote: OBS Studio, OpenSSH, systemd, EC2's and S3's API and an RTMP ingest.
//!
//! ```text
//! test ──HTTP──► understudy serve ─EC2, S3► moto ◄── the fleet: boots machines as their instances are started
//!                      │
//!                      ├──HTTP, obs-websocket, SSH──► machines: systemd, OBS under Xvfb, sshd, a show server
//!                      │                                  │ RTMP
//!                      │                                  ▼
//!                      └─ its word is checked against:   nginx-rtmp, the witness    (obsws-python reads the studios,
//!                                                                            boto3 the archive)
//! ```
//!
//! Every test runs in namespaces of its own (`in-namespaces`), with a pool of its own machines; nothing is shared,
//! and nothing is left behind. So these tests are started by `make test-studio` alone, and need root there. What they
//! measured stands in `target/tmp/studio`; none of them fails because something took long. The program is built with
//! its default features for them: they need its EC2 adapter.

#[path = "../serve_moto/coordinator.rs"]
#[allow(dead_code, reason = "shared with tests that need all of it")]
mod coordinator;
mod fleet;
mod ingest;
mod machine;
mod network;
mod producer;
mod program;
mod report;
mod rig;
#[path = "../support/mod.rs"]
mod support;

/// `cargo test`, which does not know the filters of `.config/nextest.toml`, leaves these out by this name.
mod on_real_software;

use std::time::Duration;

/// Limit on anything that is waited for: minutes on a machine that compiles meanwhile, seconds on any other.
const LIMIT: Duration = Duration::from_secs(90);
