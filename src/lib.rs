//! understudy keeps live shows on air.
//!
//! Four words, one direction: `domain` decides, `actors` own, `infra` does, `api` speaks.

pub mod actors;
pub mod api;
pub mod assembly;
pub mod cli;
pub mod config;
pub mod domain;
pub mod infra;
pub mod rehearsal;
pub mod sim;
