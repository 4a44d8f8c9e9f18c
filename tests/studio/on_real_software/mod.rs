//! The tests.

mod archived;
mod configured;
mod ending;
mod failover;
mod hosts;
mod never_starts;
mod on_air;
mod operations;
mod pm2;
mod reach;
mod runner;
mod terminal;
mod witness;
