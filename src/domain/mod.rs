//! Domain decides. Synchronous and pure: no runtime, no clock, no randomness, no I/O. It takes `now`.

pub mod ids;
pub mod instance;
pub mod studio;
pub mod time;
