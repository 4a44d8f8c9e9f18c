//! What several tests need: real servers of others, and waiting without sleeping.

#![allow(
    dead_code,
    reason = "every test is a crate of its own and uses a part of this"
)]

pub mod eventually;
pub mod moto;
pub mod script;
pub mod sshd;
pub mod studios;

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest time in which anything that must happen has to have happened, on a busy machine.
pub const PLENTY: Duration = Duration::from_secs(20);

/// A deadline that is meant to pass.
pub const BRIEF: Duration = Duration::from_millis(300);

/// Waits until `predicate` holds, asking every few milliseconds.
///
/// # Panics
/// If it does not within [`PLENTY`]; `what` says what was waited for.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut predicate: impl FnMut() -> F) {
    let asked = Instant::now();
    while !predicate().await {
        assert!(asked.elapsed() < PLENTY, "not within {PLENTY:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
