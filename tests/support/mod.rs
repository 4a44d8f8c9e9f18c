//! What several tests need: real servers of others, and waiting without sleeping.

#![allow(
    dead_code,
    reason = "every test is a crate of its own and uses a part of this"
)]

pub mod bucket;
pub mod contract;
pub mod eventually;
pub mod memory;
pub mod moto;
pub mod noise;
pub mod proxy;
pub mod scene;
pub mod script;
pub mod secrets;
pub mod socketio;
pub mod ssh;
pub mod sshd;
pub mod studios;

use std::time::Duration;

/// Longest time in which anything that must happen has to have happened, on a busy machine.
pub const PLENTY: Duration = Duration::from_secs(60);

/// A deadline that is meant to pass.
pub const BRIEF: Duration = Duration::from_millis(300);
