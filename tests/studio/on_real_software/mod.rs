//! The tests.

mod failover;
mod on_air;
