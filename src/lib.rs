//! understudy keeps live shows on air.
//!
//! Four words, one direction: `domain` decides, `actors` own, `infra` does, `api` speaks.

// For production code; tests and benches may. Input and the world must not be able to make it panic, lose
// digits or write where a program's output is expected.
#![deny(clippy::unwrap_used, clippy::expect_used)]
#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![warn(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

pub mod config;
pub mod domain;
pub mod infra;
