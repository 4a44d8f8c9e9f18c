//! The routes, by resource.

pub mod competitions;
pub mod coordinator;
pub mod pool;
pub mod shows;
pub mod vms;
